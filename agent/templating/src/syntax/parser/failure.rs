//! Error texts.

use super::{Parser, Result};
use crate::error::ParseError;
use crate::limits::Limit;
use crate::syntax::quoted::{lossy, quote};
use crate::syntax::token::{Kind, Token};
use crate::unicode::first_rune;

/// How many bytes of a token are shown whole; of a longer one, as many characters.
const SHOWN: usize = 10;

/// What is put into an error text.
pub(super) enum Argument<'a> {
    Text(&'a [u8]),
    Number(u64),
}

impl Parser<'_> {
    /// The error whose text is `format`, in which `%s`, `%q` and `%d` take the arguments in turn, at the token read last.
    pub(super) fn fail(&self, format: &'static str, arguments: &[Argument<'_>]) -> ParseError {
        let mut message = String::new();
        let mut arguments = arguments.iter();
        let mut rest = format;
        while let Some((before, after)) = rest.split_once('%') {
            message.push_str(before);
            let (verb, after) = after.split_at_checked(1).unwrap_or_default();
            match (verb, arguments.next()) {
                ("q", Some(Argument::Text(text))) => message.push_str(&quote(text)),
                (_, Some(Argument::Text(text))) => {
                    message.push_str(&lossy(text));
                }
                (_, Some(Argument::Number(number))) => message.push_str(&number.to_string()),
                (_, None) => {}
            }
            rest = after;
        }
        message.push_str(rest);
        ParseError {
            name: self.name.to_owned(),
            line: self.line(self.tree.ahead[0].start),
            column: self.column(self.tree.ahead[0].start),
            message,
        }
    }

    /// The error that a text made elsewhere tells.
    pub(super) fn fail_with(&self, message: &str) -> ParseError {
        self.fail("%s", &[message.into()])
    }

    /// Refuses a text of too many tokens. Asked for each statement and each word.
    pub(super) fn check_length(&self) -> Result<()> {
        if self.tokens > self.most_tokens {
            return Err(self.beyond(Limit::Steps));
        }
        Ok(())
    }

    /// The error that the text is beyond a limit.
    pub(super) fn beyond(&self, limit: Limit) -> ParseError {
        self.fail_with(&format!("the template exceeds its limit of {limit}"))
    }

    /// The error that `token` does not belong into `context`, or that it is no token.
    pub(super) fn unexpected(&self, token: Token, context: &str) -> ParseError {
        if token.kind != Kind::Error {
            let shown = self.describe(token);
            return self.fail(
                "unexpected %s in %s",
                &[shown.as_str().into(), context.into()],
            );
        }
        let message = self.lexer.error();
        let line = self.tree.action.map(|start| self.line(start));
        let mut extra = String::new();
        if let Some(line) = line.filter(|line| *line != self.line(token.start)) {
            // Not "action in action".
            let words = if message.ends_with(" action") {
                " started at"
            } else {
                " in action started at"
            };
            extra = format!("{words} {}:{line}", self.name);
        }
        self.fail("%s%s", &[message.into(), extra.as_str().into()])
    }

    /// A token as error texts show it.
    fn describe(&self, token: Token) -> String {
        let source = self.source(token);
        match token.kind {
            Kind::End => "EOF".to_owned(),
            Kind::Error => self.lexer.error().to_owned(),
            Kind::Keyword(_) => {
                let word = lossy(source);
                format!("<{word}>")
            }
            _ if source.len() > SHOWN => {
                let mut rest = source;
                for _ in 0..SHOWN {
                    let length = first_rune(rest).map_or(0, |(_, length)| length);
                    rest = &rest[length..];
                }
                let shown = &source[..source.len() - rest.len()];
                format!("{}...", quote(shown))
            }
            _ => quote(source),
        }
    }

    /// How many bytes of its line are before a position.
    fn column(&self, position: usize) -> usize {
        let before = &self.text[..position];
        before
            .iter()
            .rev()
            .take_while(|byte| **byte != b'\n')
            .count()
    }

    /// The line of a position, from 1.
    fn line(&self, position: usize) -> usize {
        1 + memchr::memchr_iter(b'\n', &self.text[..position]).count()
    }
}

// === impl Argument ===

impl<'a> From<&'a str> for Argument<'a> {
    fn from(text: &'a str) -> Self {
        Self::Text(text.as_bytes())
    }
}

impl<'a> From<&'a [u8]> for Argument<'a> {
    fn from(text: &'a [u8]) -> Self {
        Self::Text(text)
    }
}
