//! Pipelines, commands and their words.

use std::rc::Rc;

use super::{Parser, Result};
use crate::functions;
use crate::syntax::ast::{Builtin, Callee, Command, Expression, Pipeline};
use crate::syntax::token::{Keyword, Kind, Token};
use crate::syntax::{number, on_enough_stack, quoted};
use crate::value::Text;

/// How deep parentheses may be: Go's number.
const MAXIMUM_PARENTHESES: u32 = 10_000;

impl<'t> Parser<'t> {
    /// Variables with `:=` or `=`, if any, and commands up to the token `end`.
    pub(super) fn pipeline(&mut self, context: &'static str, end: Kind) -> Result<Pipeline> {
        let mut pipeline = Pipeline {
            position: self.peek_non_space().start,
            is_assignment: false,
            variables: Vec::new(),
            commands: Vec::new(),
        };
        self.declarations(&mut pipeline, context)?;
        loop {
            let token = self.next_non_space();
            match token.kind {
                kind if kind == end => {
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
                    pipeline.commands.push(command);
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
            pipeline.variables.push(text(name));
            self.tree.variables.declare(name);
            if !is_comma {
                pipeline.is_assignment = next.kind == Kind::Assign;
                return Ok(());
            }
            if context != "range" || pipeline.variables.len() >= 2 {
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
        let position = self.peek_non_space().start;
        let mut words = Vec::new();
        loop {
            self.peek_non_space();
            words.extend(self.operand()?);
            let token = self.next();
            match token.kind {
                Kind::Space => continue,
                Kind::RightDelimiter | Kind::RightParenthesis => self.back_up(),
                Kind::Pipe => {}
                _ => return Err(self.unexpected(token, "operand")),
            }
            break;
        }
        if words.is_empty() {
            return Err(self.fail("empty command", &[]));
        }
        Ok(Command { position, words })
    }

    /// A term and the fields after it; `None` if what is ahead is none.
    fn operand(&mut self) -> Result<Option<Expression>> {
        let first = self.peek_non_space();
        let Some(term) = self.term()? else {
            return Ok(None);
        };
        if self.peek().kind != Kind::Field {
            return Ok(Some(term));
        }
        let position = self.peek().start;
        let mut fields = Vec::new();
        while self.peek().kind == Kind::Field {
            let field = self.next();
            fields.push(self.field_name(field));
        }
        Ok(Some(match term {
            Expression::Field(_, mut names) => {
                names.append(&mut fields);
                Expression::Field(position, names)
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
        let position = token.start;
        let source = self.source(token);
        Ok(Some(match token.kind {
            Kind::Identifier => Expression::Callee(position, self.callee(source)?),
            Kind::Keyword(Keyword::Dot) => Expression::Dot(position),
            Kind::Keyword(Keyword::Nil) => Expression::Nil(position),
            Kind::Variable => {
                if !self.tree.variables.contains(source) {
                    return Err(self.fail("undefined variable %q", &[source.into()]));
                }
                Expression::Variable(position, text(source), Vec::new())
            }
            Kind::Field => Expression::Field(position, vec![self.field_name(token)]),
            Kind::Bool => Expression::Bool(position, source == b"true"),
            Kind::CharacterConstant | Kind::Complex | Kind::Number => {
                match number::parse(token.kind, source) {
                    Ok(number) => Expression::Number(position, number),
                    Err(message) => return Err(self.fail_with(&message)),
                }
            }
            Kind::LeftParenthesis => self.parenthesized()?,
            Kind::String | Kind::RawString => match quoted::unquote(source) {
                Some(bytes) => Expression::Text(position, text(source), Text::new(bytes)),
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
    fn callee(&self, name: &[u8]) -> Result<Callee> {
        let function = std::str::from_utf8(name).ok().and_then(|name| {
            let function = functions::find(name).map(Callee::Function);
            function.or_else(|| Builtin::find(name).map(Callee::Builtin))
        });
        function.ok_or_else(|| self.fail("function %q not defined", &[name.into()]))
    }

    /// The name of a field, without its dot.
    fn field_name(&self, token: Token) -> Rc<str> {
        text(self.source(token).get(1..).unwrap_or_default())
    }
}

// === impl Expression ===

impl Expression {
    /// Whether it is a value that has no fields and cannot be called.
    fn is_constant(&self) -> bool {
        matches!(
            self,
            Self::Bool(..) | Self::Dot(_) | Self::Nil(_) | Self::Number(..) | Self::Text(..)
        )
    }
}

/// The bytes of a token that is UTF-8 unless it is a quoted string.
fn text(source: &[u8]) -> Rc<str> {
    quoted::lossy(source).into()
}
