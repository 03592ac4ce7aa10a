//! Pipelines, commands and their words.

use super::{Parser, Result};
use crate::functions;
use crate::syntax::ast::{Builtin, Command, Expression, Pipeline, Position, Span, Variables};
use crate::syntax::token::{Keyword, Kind};
use crate::syntax::{number, on_enough_stack, quoted};
use crate::value::Text;

/// How deep parentheses may be: Go's number.
const MAXIMUM_PARENTHESES: u32 = 10_000;

impl<'t> Parser<'t> {
    /// Variables with `:=` or `=`, if any, and commands up to the token `end`.
    pub(super) fn pipeline(&mut self, context: &'static str, end: Kind) -> Result<Pipeline> {
        let mut pipeline = Pipeline {
            position: self.peek_non_space().position(),
            is_assignment: false,
            variables: Variables::default(),
            commands: Box::default(),
        };
        self.declarations(&mut pipeline, context)?;
        let mark = self.commands.len();
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => {
                    pipeline.commands = self.commands.drain(mark..).collect();
                    self.check(&pipeline, context)?;
                    return Ok(pipeline);
                }
                Kind::Bool
                | Kind::CharacterConstant
                | Kind::Complex
                | Kind::Keyword(Keyword::Dot | Keyword::Nil)
                | Kind::Field
                | Kind::Identifier
                | Kind::Number
                | Kind::RawString
                | Kind::String
                | Kind::Variable
                | Kind::LeftParenthesis => {
                    self.back_up();
                    let command = self.command()?;
                    self.commands.push(command);
                }
                _ => return Err(self.unexpected(token, context)),
            }
        }
    }

    /// The variables that a pipeline sets.
    fn declarations(&mut self, pipeline: &mut Pipeline, context: &'static str) -> Result<()> {
        loop {
            let variable = self.peek_non_space();
            if variable.kind != Kind::Variable {
                return Ok(());
            }
            self.next();
            // Blanks are tokens: to know that `$x` in `$x y` is an argument, two more must be read.
            let after = self.peek();
            let next = self.peek_non_space();
            let is_comma = next.kind == Kind::Character && self.source(next) == b",";
            if !is_comma && !matches!(next.kind, Kind::Assign | Kind::Declare) {
                if after.kind == Kind::Space {
                    self.back_up_to(&[variable, after]);
                } else {
                    self.back_up_to(&[variable]);
                }
                return Ok(());
            }
            self.next_non_space();
            let name = self.source(variable);
            pipeline.variables.push(variable.span());
            self.tree.variables.declare(name);
            if !is_comma {
                pipeline.is_assignment = next.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipeline.variables.as_slice().len() >= 2 {
                return Err(self.fail("too many declarations in %s", &[context.into()]));
            }
            let ahead = self.peek_non_space().kind;
            if !matches!(
                ahead,
                Kind::Variable | Kind::RightDelimiter | Kind::RightParenthesis
            ) {
                return Err(self.fail("range can only initialize variables", &[]));
            }
        }
    }

    /// What must hold for a whole pipeline.
    fn check(&self, pipeline: &Pipeline, context: &'static str) -> Result<()> {
        if pipeline.commands.is_empty() {
            return Err(self.fail("missing value for %s", &[context.into()]));
        }
        for (index, command) in pipeline.commands.iter().enumerate().skip(1) {
            if command.words.first().is_some_and(Expression::is_constant) {
                return Err(self.fail(
                    "non executable command in pipeline stage %d",
                    &[super::failure::Argument::Number(index as u64 + 1)],
                ));
            }
        }
        Ok(())
    }

    /// Words up to a `|`, which is read too, or to the end of the pipeline.
    fn command(&mut self) -> Result<Command> {
        let position = self.peek_non_space().position();
        let mark = self.words.len();
        loop {
            self.peek_non_space();
            if let Some(word) = self.operand()? {
                self.words.push(word);
            }
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParenthesis => self.back_up(),
                Kind::Pipe => {}
                _ => return Err(self.unexpected(token, "operand")),
            }
            break;
        }
        if self.words.len() == mark {
            return Err(self.fail("empty command", &[]));
        }
        let words = self.words.drain(mark..).collect();
        Ok(Command { position, words })
    }

    /// A term and the fields after it; `None` if what is ahead is none.
    fn operand(&mut self) -> Result<Option<Expression>> {
        self.check_length()?;
        let first = self.peek_non_space();
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let position = self.peek().position();
        // Nothing is between the fields of a chain.
        let mut fields = self.peek().span();
        while self.peek().kind == Kind::Field {
            fields.end = self.next().span().end;
        }
        Ok(Some(match term {
            Expression::Field(_, before) => {
                let start = before.start;
                Expression::Field(position, Span { start, ..fields })
            }
            Expression::Variable(_, name, _) => Expression::Variable(position, name, fields),
            constant if constant.is_constant() => {
                // One token, which prints as it is written.
                let shown = self.source(first);
                return Err(self.fail("unexpected . after term %q", &[shown.into()]));
            }
            operand => Expression::Chain(position, Box::new(operand), fields),
        }))
    }

    /// A constant, a name, a field, a variable or a pipeline in parentheses; `None` if what is ahead is none.
    fn term(&mut self) -> Result<Option<Expression>> {
        let token = self.next_non_space();
        let position = token.position();
        let source = self.source(token);
        Ok(Some(match token.kind {
            Kind::Identifier => self.callee(position, source)?,
            Kind::Keyword(Keyword::Dot) => Expression::Dot(position),
            Kind::Keyword(Keyword::Nil) => Expression::Nil(position),
            Kind::Variable => {
                if !self.tree.variables.contains(source) {
                    return Err(self.fail("undefined variable %q", &[source.into()]));
                }
                Expression::Variable(position, token.span(), Span::default())
            }
            Kind::Field => Expression::Field(position, token.span()),
            Kind::Bool => Expression::Bool(position, source == b"true"),
            Kind::CharacterConstant | Kind::Complex | Kind::Number => {
                match number::parse(token.kind, source) {
                    Ok(number) => Expression::Number(position, token.span(), Box::new(number)),
                    Err(message) => return Err(self.fail_with(&message)),
                }
            }
            Kind::LeftParenthesis => self.parenthesized()?,
            Kind::String | Kind::RawString if quoted::is_plain(source) => {
                Expression::Plain(position, token.span())
            }
            Kind::String | Kind::RawString => match quoted::unquote(source) {
                Some(bytes) => {
                    Expression::Escaped(position, token.span(), Box::new(Text::new(bytes)))
                }
                None => return Err(self.fail_with("invalid syntax")),
            },
            _ => {
                self.back_up();
                return Ok(None);
            }
        }))
    }

    /// The pipeline after a left parenthesis.
    fn parenthesized(&mut self) -> Result<Expression> {
        if self.tree.parentheses >= MAXIMUM_PARENTHESES {
            return Err(self.fail("max expression depth exceeded", &[]));
        }
        self.tree.parentheses += 1;
        let pipeline =
            on_enough_stack(|| self.pipeline("parenthesized pipeline", Kind::RightParenthesis))?;
        self.tree.parentheses -= 1;
        Ok(Expression::Pipeline(pipeline.position, Box::new(pipeline)))
    }

    /// What a name calls.
    fn callee(&self, position: Position, name: &[u8]) -> Result<Expression> {
        let found = std::str::from_utf8(name).ok().and_then(|name| {
            let function = functions::find(name).map(|it| Expression::Function(position, it));
            function.or_else(|| Builtin::find(name).map(|it| Expression::Builtin(position, it)))
        });
        found.ok_or_else(|| self.fail("function %q not defined", &[name.into()]))
    }
}

// === impl Expression ===

impl Expression {
    /// Whether it is a value that has no fields and cannot be called.
    fn is_constant(&self) -> bool {
        matches!(
            self,
            Self::Bool(..)
                | Self::Dot(_)
                | Self::Nil(_)
                | Self::Number(..)
                | Self::Plain(..)
                | Self::Escaped(..)
        )
    }
}
