//! The tokens of a YAML text.

use super::source::Mark;
use crate::value::Text;

/// A token and where it begins.
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) mark: Mark,
}

/// What a token is.
pub(super) enum Kind {
    StreamEnd,
    /// `%YAML` with its numbers.
    Version(u8, u8),
    /// `%TAG` with handle and prefix.
    TagDirective(Vec<u8>, Vec<u8>),
    /// `---`
    DocumentStart,
    /// `...`
    DocumentEnd,
    BlockSequenceStart,
    BlockMappingStart,
    /// Where the indentation goes back.
    BlockEnd,
    FlowSequenceStart,
    FlowSequenceEnd,
    FlowMappingStart,
    FlowMappingEnd,
    /// `-`
    BlockEntry,
    /// `,`
    FlowEntry,
    /// `?`, or where a simple key begins.
    Key,
    /// `:`
    Value,
    /// `*name`
    Alias(Text),
    /// `&name`
    Anchor(Text),
    /// `!handle!suffix`
    Tag(Vec<u8>, Vec<u8>),
    Scalar {
        value: Text,
        /// Whether it stands without quotes and not as a block.
        plain: bool,
    },
}
