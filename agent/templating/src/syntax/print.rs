//! The nodes print as Go's `String` methods do: that is the CONTEXT of an error.

use std::fmt::{self, Display, Formatter, Write};

use super::ast::{Command, Expression, Pipeline, Span, Statement};

/// A node that prints, with the text that it is a node of.
pub(crate) struct Shown<'a, T>(pub(crate) &'a T, pub(crate) &'a [u8]);

/// A pipeline in parentheses has none of its own: what stands around it writes them.
impl Display for Shown<'_, Expression> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self(word, text) = *self;
        match word {
            Expression::Builtin(_, builtin) => formatter.write_str(builtin.name()),
            Expression::Function(_, function) => formatter.write_str(function.name),
            Expression::Field(_, span)
            | Expression::Plain(_, span)
            | Expression::Escaped(_, span, _)
            | Expression::Number(_, span, _) => part(*span, text, formatter),
            Expression::Variable(_, name, fields) => {
                part(*name, text, formatter)?;
                part(*fields, text, formatter)
            }
            Expression::Chain(_, operand, fields) => {
                Shown(&**operand, text).print_as_operand(formatter)?;
                part(*fields, text, formatter)
            }
            Expression::Dot(_) => formatter.write_char('.'),
            Expression::Nil(_) => formatter.write_str("nil"),
            Expression::Bool(_, value) => write!(formatter, "{value}"),
            Expression::Pipeline(_, pipeline) => Shown(&**pipeline, text).fmt(formatter),
        }
    }
}

impl Display for Shown<'_, Command> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self(command, text) = *self;
        for (index, word) in command.words.iter().enumerate() {
            if index > 0 {
                formatter.write_char(' ')?;
            }
            Shown(word, text).print_as_operand(formatter)?;
        }
        Ok(())
    }
}

impl Display for Shown<'_, Pipeline> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self(pipeline, text) = *self;
        let variables = pipeline.variables.as_slice();
        for (index, variable) in variables.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            part(*variable, text, formatter)?;
        }
        if !variables.is_empty() {
            formatter.write_str(if pipeline.is_assignment {
                " = "
            } else {
                " := "
            })?;
        }
        for (index, command) in pipeline.commands.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" | ")?;
            }
            super::on_enough_stack(|| Shown(command, text).fmt(formatter))?;
        }
        Ok(())
    }
}

/// Literal text and control structures are never the CONTEXT of an error and print as nothing.
impl Display for Shown<'_, Statement> {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        let Self(statement, text) = *self;
        match statement {
            Statement::Text(_) | Statement::If(_) | Statement::With(_) | Statement::Range(_) => {
                Ok(())
            }
            Statement::Action(pipeline) => write!(formatter, "{{{{{}}}}}", Shown(pipeline, text)),
            Statement::Template(call) => {
                let mut quoted = Vec::new();
                crate::format::quote(&call.name, &mut quoted);
                formatter.write_str("{{template ")?;
                formatter.write_str(&String::from_utf8_lossy(&quoted))?;
                if let Some(pipeline) = &call.argument {
                    write!(formatter, " {}", Shown(pipeline, text))?;
                }
                formatter.write_str("}}")
            }
            Statement::Break(_) => formatter.write_str("{{break}}"),
            Statement::Continue(_) => formatter.write_str("{{continue}}"),
        }
    }
}

fn part(span: Span, text: &[u8], formatter: &mut Formatter<'_>) -> fmt::Result {
    formatter.write_str(&super::quoted::lossy(span.of(text)))
}

// === impl Shown ===

impl Shown<'_, Expression> {
    /// As it stands in a command or before a field: a pipeline in its parentheses.
    fn print_as_operand(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self.0 {
            Expression::Pipeline(_, pipeline) => {
                write!(formatter, "({})", Shown(&**pipeline, self.1))
            }
            _ => self.fmt(formatter),
        }
    }
}
