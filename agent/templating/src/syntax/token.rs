//! Tokens: what the lexer makes of the text.

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Kind {
    /// The text cannot be read further; [`super::lexer::Lexer::error`] says why.
    Error,
    /// `true`, `false`
    Bool,
    /// A printable ASCII character that is nothing else.
    Character,
    /// `'a'`
    CharacterConstant,
    /// `1+2i`
    Complex,
    /// `=`
    Assign,
    /// `:=`
    Declare,
    End,
    /// `.name`
    Field,
    /// A name.
    Identifier,
    LeftDelimiter,
    LeftParenthesis,
    Number,
    Pipe,
    RawString,
    RightDelimiter,
    RightParenthesis,
    /// A run of blanks inside an action.
    Space,
    String,
    /// Literal text, outside of any action.
    Text,
    /// `$`, `$name`
    Variable,
    /// A keyword, or the dot.
    Keyword(Keyword),
}

/// The words that are no names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keyword {
    Block,
    Break,
    Continue,
    Define,
    Dot,
    Else,
    End,
    If,
    Nil,
    Range,
    Template,
    With,
}

/// A token: the range `start..end` of the text.
#[derive(Clone, Copy, Debug)]
pub(super) struct Token {
    pub(super) kind: Kind,
    pub(super) start: usize,
    pub(super) end: usize,
}

// === impl Keyword ===

impl Keyword {
    /// The keyword that a word is.
    pub(super) fn find(word: &[u8]) -> Option<Self> {
        Some(match word {
            b"block" => Self::Block,
            b"break" => Self::Break,
            b"continue" => Self::Continue,
            b"define" => Self::Define,
            b"else" => Self::Else,
            b"end" => Self::End,
            b"if" => Self::If,
            b"nil" => Self::Nil,
            b"range" => Self::Range,
            b"template" => Self::Template,
            b"with" => Self::With,
            _ => return None,
        })
    }
}
