//! The nodes print as Go's `String` methods do: that is the CONTEXT of an error.

use std::fmt::{self, Display, Formatter, Write};
use std::rc::Rc;

use super::ast::{Command, Expression, Pipeline, Statement};

/// A pipeline in parentheses has none of its own: what stands around it writes them.
impl Display for Expression {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Callee(_, callee) => formatter.write_str(callee.name()),
            Self::Field(_, names) => fields(names, formatter),
            Self::Variable(_, name, names) => {
                formatter.write_str(name)?;
                fields(names, formatter)
            }
            Self::Chain(_, operand, names) => {
                operand.print_as_operand(formatter)?;
                fields(names, formatter)
            }
            Self::Dot(_) => formatter.write_char('.'),
            Self::Nil(_) => formatter.write_str("nil"),
            Self::Bool(_, value) => write!(formatter, "{value}"),
            Self::Text(_, source, _) => formatter.write_str(source),
            Self::Number(_, number) => formatter.write_str(&number.source),
            Self::Pipeline(_, pipeline) => pipeline.fmt(formatter),
        }
    }
}

impl Display for Command {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (index, word) in self.words.iter().enumerate() {
            if index > 0 {
                formatter.write_char(' ')?;
            }
            word.print_as_operand(formatter)?;
        }
        Ok(())
    }
}

impl Display for Pipeline {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        for (index, variable) in self.variables.iter().enumerate() {
            if index > 0 {
                formatter.write_str(", ")?;
            }
            formatter.write_str(variable)?;
        }
        if !self.variables.is_empty() {
            formatter.write_str(if self.is_assignment { " = " } else { " := " })?;
        }
        for (index, command) in self.commands.iter().enumerate() {
            if index > 0 {
                formatter.write_str(" | ")?;
            }
            super::on_enough_stack(|| command.fmt(formatter))?;
        }
        Ok(())
    }
}

/// Literal text and control structures are never the CONTEXT of an error and print as nothing.
impl Display for Statement {
    fn fmt(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(..) | Self::If(_) | Self::With(_) | Self::Range(_) => Ok(()),
            Self::Action(_, pipeline) => write!(formatter, "{{{{{pipeline}}}}}"),
            Self::Template { name, argument, .. } => {
                let mut quoted = Vec::new();
                crate::format::quote(name, &mut quoted);
                formatter.write_str("{{template ")?;
                formatter.write_str(&String::from_utf8_lossy(&quoted))?;
                if let Some(pipeline) = argument {
                    write!(formatter, " {pipeline}")?;
                }
                formatter.write_str("}}")
            }
            Self::Break(_) => formatter.write_str("{{break}}"),
            Self::Continue(_) => formatter.write_str("{{continue}}"),
        }
    }
}

fn fields(names: &[Rc<str>], formatter: &mut Formatter<'_>) -> fmt::Result {
    for name in names {
        formatter.write_char('.')?;
        formatter.write_str(name)?;
    }
    Ok(())
}

// === impl Expression ===

impl Expression {
    /// As it stands in a command or before a field: a pipeline in its parentheses.
    fn print_as_operand(&self, formatter: &mut Formatter<'_>) -> fmt::Result {
        match self {
            Self::Pipeline(_, pipeline) => write!(formatter, "({pipeline})"),
            other => other.fmt(formatter),
        }
    }
}
