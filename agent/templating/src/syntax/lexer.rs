//! From text to tokens.
//!
//! A token is a kind and a range of the text; nothing is copied. Lines are counted only when an error needs one.

use super::quoted::{describe_character, quote};
use super::token::{Keyword, Kind, Token};
use crate::unicode::{first_rune, is_digit, is_letter};

/// Opens and closes a comment, inside the delimiters.
const COMMENT: (&[u8], &[u8]) = (b"/*", b"*/");
/// Length of a trim marker: the minus and its blank.
const TRIM_MARKER: usize = 2;

/// Reads tokens one by one.
pub(super) struct Lexer<'t> {
    text: &'t [u8],
    left: &'t [u8],
    right: &'t [u8],
    /// Where the reading is.
    position: usize,
    /// Where the token that is being read begins.
    start: usize,
    parentheses: usize,
    inside_action: bool,
    error: Option<(usize, String)>,
}

// === impl Lexer ===

impl<'t> Lexer<'t> {
    pub(super) fn new(text: &'t [u8], left: &'t str, right: &'t str) -> Self {
        let or_default = |delimiter: &'t str, default: &'t str| {
            if delimiter.is_empty() {
                default.as_bytes()
            } else {
                delimiter.as_bytes()
            }
        };
        Self {
            text,
            left: or_default(left, "{{"),
            right: or_default(right, "}}"),
            position: 0,
            start: 0,
            parentheses: 0,
            inside_action: false,
            error: None,
        }
    }

    /// Why the text cannot be read further, once a token was [`Kind::Error`].
    pub(super) fn error(&self) -> &str {
        self.error.as_ref().map_or("", |(_, message)| message)
    }

    /// The next token. After the end or an error there is no other.
    pub(super) fn next_token(&mut self) -> Token {
        if let Some((start, _)) = self.error {
            return Token {
                kind: Kind::Error,
                start,
                end: start,
            };
        }
        if self.inside_action {
            self.action()
        } else {
            self.outside()
        }
    }

    fn rest(&self) -> &'t [u8] {
        self.text.get(self.position..).unwrap_or_default()
    }

    /// The token that ends here.
    fn token(&mut self, kind: Kind) -> Token {
        let start = std::mem::replace(&mut self.start, self.position);
        Token {
            kind,
            start,
            end: self.position,
        }
    }

    /// Leaves out what was read.
    fn ignore(&mut self) {
        self.start = self.position;
    }

    fn fail(&mut self, message: String) -> Token {
        self.error = Some((self.start, message));
        Token {
            kind: Kind::Error,
            start: self.start,
            end: self.start,
        }
    }

    /// Literal text up to the next action, or that action's delimiter. Comments are passed over.
    fn outside(&mut self) -> Token {
        loop {
            let Some(length) = find(self.rest(), self.left) else {
                self.position = self.text.len();
                let is_end = self.position == self.start;
                return self.token(if is_end { Kind::End } else { Kind::Text });
            };
            if length > 0
                && let Some(token) = self.literal(length)
            {
                return token;
            }
            self.position += self.left.len();
            let marker = if is_left_trim(self.rest()) {
                TRIM_MARKER
            } else {
                0
            };
            if !self.text[self.position + marker..].starts_with(COMMENT.0) {
                let token = self.token(Kind::LeftDelimiter);
                self.inside_action = true;
                self.parentheses = 0;
                self.position += marker;
                self.ignore();
                return token;
            }
            self.position += marker;
            self.ignore();
            if let Err(token) = self.comment() {
                return token;
            }
        }
    }

    /// The `length` bytes before a delimiter, less what its marker trims; `None` if nothing is left.
    fn literal(&mut self, length: usize) -> Option<Token> {
        let end = self.position + length;
        let text = &self.text[self.start..end];
        let trims = is_left_trim(&self.text[end + self.left.len()..]);
        self.position = self.start + if trims { trim_end(text) } else { text.len() };
        let token = self.token(Kind::Text);
        self.position = end;
        self.ignore();
        (token.end > token.start).then_some(token)
    }

    /// Passes over a comment, whose opener is ahead, and the right delimiter.
    fn comment(&mut self) -> Result<(), Token> {
        self.position += COMMENT.0.len();
        let Some(length) = find(self.rest(), COMMENT.1) else {
            return Err(self.fail("unclosed comment".to_owned()));
        };
        self.position += length + COMMENT.1.len();
        let Some(trims) = self.at_right_delimiter() else {
            return Err(self.fail("comment ends before closing delimiter".to_owned()));
        };
        self.pass_right_delimiter(trims);
        self.ignore();
        Ok(())
    }

    /// Whether the right delimiter is ahead, and then whether with a trim marker.
    fn at_right_delimiter(&self) -> Option<bool> {
        let rest = self.rest();
        if is_right_trim(rest) && rest[TRIM_MARKER..].starts_with(self.right) {
            Some(true)
        } else {
            rest.starts_with(self.right).then_some(false)
        }
    }

    /// Passes over the right delimiter, its marker and the blanks that the marker trims.
    fn pass_right_delimiter(&mut self, trims: bool) {
        if trims {
            self.position += TRIM_MARKER + self.right.len();
            self.position += self
                .rest()
                .iter()
                .take_while(|byte| is_space(**byte))
                .count();
        } else {
            self.position += self.right.len();
        }
    }

    fn right_delimiter(&mut self, trims: bool) -> Token {
        if trims {
            self.start += TRIM_MARKER;
        }
        let start = self.start;
        self.pass_right_delimiter(trims);
        self.ignore();
        self.inside_action = false;
        Token {
            kind: Kind::RightDelimiter,
            start,
            end: start + self.right.len(),
        }
    }

    /// The next token of an action.
    fn action(&mut self) -> Token {
        if let Some(trims) = self.at_right_delimiter() {
            if self.parentheses == 0 {
                return self.right_delimiter(trims);
            }
            return self.fail("unclosed left paren".to_owned());
        }
        let Some(&first) = self.text.get(self.position) else {
            return self.fail("unclosed action".to_owned());
        };
        match first {
            b' ' | b'\t' | b'\r' | b'\n' => self.space(),
            b'=' => self.single(Kind::Assign),
            b':' => self.declaration(),
            b'|' => self.single(Kind::Pipe),
            b'"' => self.quoted(b'"', Kind::String, "unterminated quoted string"),
            b'\'' => self.quoted(
                b'\'',
                Kind::CharacterConstant,
                "unterminated character constant",
            ),
            b'`' => self.raw_string(),
            b'$' => self.field_or_variable(Kind::Variable),
            b'.' if self.starts_field() => self.field_or_variable(Kind::Field),
            b'.' | b'+' | b'-' | b'0'..=b'9' => self.number(),
            b'(' => {
                self.parentheses += 1;
                self.single(Kind::LeftParenthesis)
            }
            b')' => self.right_parenthesis(),
            _ => self.word_or_other(),
        }
    }

    /// The token of one byte.
    fn single(&mut self, kind: Kind) -> Token {
        self.position += 1;
        self.token(kind)
    }

    /// A run of blanks, which leaves one to a trimming right delimiter.
    fn space(&mut self) -> Token {
        let length = self
            .rest()
            .iter()
            .take_while(|byte| is_space(**byte))
            .count();
        self.position += length - 1;
        if self.at_right_delimiter() == Some(true) {
            if length == 1 {
                return self.right_delimiter(true);
            }
        } else {
            self.position += 1;
        }
        self.token(Kind::Space)
    }

    fn declaration(&mut self) -> Token {
        if self.text.get(self.position + 1) != Some(&b'=') {
            return self.fail("expected :=".to_owned());
        }
        self.position += 2;
        self.token(Kind::Declare)
    }

    fn right_parenthesis(&mut self) -> Token {
        let Some(open) = self.parentheses.checked_sub(1) else {
            return self.fail("unexpected right paren".to_owned());
        };
        self.parentheses = open;
        self.single(Kind::RightParenthesis)
    }

    /// A string or a character constant, on one line.
    fn quoted(&mut self, quote: u8, kind: Kind, unterminated: &str) -> Token {
        self.position += 1;
        loop {
            let mut byte = self.text.get(self.position).copied();
            if byte == Some(b'\\') {
                // Whatever is escaped cannot end the string.
                self.position += 1;
                byte = match self.text.get(self.position) {
                    Some(b'\n') | None => None,
                    Some(_) => Some(0),
                };
            }
            self.position += 1;
            match byte {
                None | Some(b'\n') => return self.fail(unterminated.to_owned()),
                Some(byte) if byte == quote => return self.token(kind),
                Some(_) => {}
            }
        }
    }

    fn raw_string(&mut self) -> Token {
        self.position += 1;
        match find(self.rest(), b"`") {
            Some(length) => {
                self.position += length + 1;
                self.token(Kind::RawString)
            }
            None => self.fail("unterminated raw quoted string".to_owned()),
        }
    }

    /// Whether the dot ahead does not begin a number.
    fn starts_field(&self) -> bool {
        let next = self.text.get(self.position + 1);
        next.is_some_and(|byte| !byte.is_ascii_digit())
    }

    /// `.name`, `$name`, or the dot or dollar sign alone.
    fn field_or_variable(&mut self, kind: Kind) -> Token {
        self.position += 1;
        if self.at_terminator() {
            let is_dot = kind == Kind::Field;
            return self.token(if is_dot {
                Kind::Keyword(Keyword::Dot)
            } else {
                kind
            });
        }
        self.pass_alphanumeric();
        if !self.at_terminator() {
            return self.bad_character();
        }
        self.token(kind)
    }

    fn word_or_other(&mut self) -> Token {
        let Some((character, _)) = self.peek() else {
            return self.fail("unclosed action".to_owned());
        };
        if is_alphanumeric(character) {
            return self.word();
        }
        if character == ' ' || character.is_ascii_graphic() {
            return self.single(Kind::Character);
        }
        self.fail(format!(
            "unrecognized character in action: {}",
            describe_character(character)
        ))
    }

    fn word(&mut self) -> Token {
        self.pass_alphanumeric();
        if !self.at_terminator() {
            return self.bad_character();
        }
        let kind = match &self.text[self.start..self.position] {
            b"true" | b"false" => Kind::Bool,
            word => Keyword::find(word).map_or(Kind::Identifier, Kind::Keyword),
        };
        self.token(kind)
    }

    fn pass_alphanumeric(&mut self) {
        while let Some((character, length)) = self.peek()
            && is_alphanumeric(character)
        {
            self.position += length;
        }
    }

    fn bad_character(&mut self) -> Token {
        let character = self.peek().map_or('\0', |(character, _)| character);
        self.fail(format!("bad character {}", describe_character(character)))
    }

    /// Whether what is ahead may follow a name.
    fn at_terminator(&self) -> bool {
        match self.text.get(self.position) {
            None | Some(b' ' | b'\t' | b'\r' | b'\n' | b'.' | b',' | b'|' | b':' | b')' | b'(') => {
                true
            }
            Some(_) => self.rest().starts_with(self.right),
        }
    }

    /// A number. What it lets pass and is none, the parser finds.
    fn number(&mut self) -> Token {
        if !self.scan_number() {
            return self.bad_number();
        }
        if !matches!(self.text.get(self.position), Some(b'+' | b'-')) {
            return self.token(Kind::Number);
        }
        if !self.scan_number() || !self.text[..self.position].ends_with(b"i") {
            return self.bad_number();
        }
        self.token(Kind::Complex)
    }

    fn bad_number(&mut self) -> Token {
        let number = quote(&self.text[self.start..self.position]);
        self.fail(format!("bad number syntax: {number}"))
    }

    /// Passes over one number; `false` if a letter or digit follows, which is passed over too.
    fn scan_number(&mut self) -> bool {
        self.accept(b"+-");
        let mut digits: &[u8] = b"0123456789_";
        let mut exponent: &[u8] = b"eE";
        if self.accept(b"0") {
            if self.accept(b"xX") {
                (digits, exponent) = (b"0123456789abcdefABCDEF_", b"pP");
            } else if self.accept(b"oO") {
                (digits, exponent) = (b"01234567_", b"");
            } else if self.accept(b"bB") {
                (digits, exponent) = (b"01_", b"");
            }
        }
        while self.accept(digits) {}
        if self.accept(b".") {
            while self.accept(digits) {}
        }
        if self.accept(exponent) {
            self.accept(b"+-");
            while self.accept(b"0123456789_") {}
        }
        self.accept(b"i");
        match self.peek() {
            Some((character, length)) if is_alphanumeric(character) => {
                self.position += length;
                false
            }
            _ => true,
        }
    }

    /// Passes over the byte ahead if it is one of `bytes`.
    fn accept(&mut self, bytes: &[u8]) -> bool {
        let next = self.text.get(self.position);
        let accepts = next.is_some_and(|byte| bytes.contains(byte));
        self.position += usize::from(accepts);
        accepts
    }

    /// The character ahead and its length in bytes.
    fn peek(&self) -> Option<(char, usize)> {
        first_rune(self.rest())
    }
}

/// Whether a name may hold `character`.
fn is_alphanumeric(character: char) -> bool {
    character == '_' || is_letter(character) || is_digit(character)
}

/// Where `needle`, which is not empty, first is in `haystack`.
fn find(haystack: &[u8], needle: &[u8]) -> Option<usize> {
    let (&first, others) = needle.split_first()?;
    memchr::memchr_iter(first, haystack).find(|at| haystack[at + 1..].starts_with(others))
}

/// The blanks that separate words and that trim markers remove.
fn is_space(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t' | b'\r' | b'\n')
}

/// Length of `text` without the blanks at its end.
fn trim_end(text: &[u8]) -> usize {
    text.iter()
        .rposition(|byte| !is_space(*byte))
        .map_or(0, |last| last + 1)
}

/// Whether the trim marker that follows a left delimiter is ahead.
fn is_left_trim(text: &[u8]) -> bool {
    matches!(text, [b'-', blank, ..] if is_space(*blank))
}

/// Whether the trim marker that precedes a right delimiter is ahead.
fn is_right_trim(text: &[u8]) -> bool {
    matches!(text, [blank, b'-', ..] if is_space(*blank))
}
