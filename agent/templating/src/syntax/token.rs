//! Tokens: what the lexer makes of the text.

use super::ast::{Position, Span};

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

// === impl Token ===

impl Token {
    /// Where it begins. A text whose positions do not fit is refused before its first token is read.
    pub(super) fn position(self) -> Position {
        Position::try_from(self.start).unwrap_or(Position::MAX)
    }

    /// Its place in the text.
    pub(super) fn span(self) -> Span {
        Span {
            start: self.position(),
            end: Position::try_from(self.end).unwrap_or(Position::MAX),
        }
    }
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
