//! Reading ahead.

use super::{Parser, Result};
use crate::syntax::token::{Kind, Token};

impl<'t> Parser<'t> {
    /// The next token.
    pub(super) fn next(&mut self) -> Token {
        match self.tree.pending {
            0 => {
                self.tokens += 1;
                self.tree.ahead[0] = self.lexer.next_token();
            }
            _ => self.tree.pending -= 1,
        }
        self.tree.ahead[self.tree.pending]
    }

    /// Gives the token read last back.
    pub(super) fn back_up(&mut self) {
        self.tree.pending += 1;
    }

    /// Gives the token read last back, and the one or two `before` it, which were read first to last.
    pub(super) fn back_up_to(&mut self, before: &[Token]) {
        for (place, token) in self.tree.ahead[1..].iter_mut().zip(before.iter().rev()) {
            *place = *token;
        }
        self.tree.pending = 1 + before.len();
    }

    /// The token that is next, without reading it.
    pub(super) fn peek(&mut self) -> Token {
        let token = self.next();
        self.back_up();
        token
    }

    /// The next token that is no blank.
    pub(super) fn next_non_space(&mut self) -> Token {
        loop {
            let token = self.next();
            if token.kind != Kind::Space {
                return token;
            }
        }
    }

    /// The token that is next, blanks left out.
    pub(super) fn peek_non_space(&mut self) -> Token {
        let token = self.next_non_space();
        self.back_up();
        token
    }

    /// The next token, which must be of `kind`.
    pub(super) fn expect(&mut self, kind: Kind, context: &'static str) -> Result<Token> {
        let token = self.next_non_space();
        if token.kind != kind {
            return Err(self.unexpected(token, context));
        }
        Ok(token)
    }

    /// The text of a token.
    pub(super) fn source(&self, token: Token) -> &'t [u8] {
        let text: &'t [u8] = self.text;
        &text[token.start..token.end]
    }
}
