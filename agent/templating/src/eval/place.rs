//! Where an error happened, in Go's words.

use std::fmt;

use super::Evaluator;
use crate::error::RenderError;
use crate::failure::{Failure, Kind};
use crate::format;
use crate::syntax::Shown;
use crate::syntax::ast::{Command, Expression, Pipeline, Position, Statement};

/// A node of the tree that an error can point at.
#[derive(Clone, Copy)]
pub(super) enum Node<'t> {
    None,
    Statement(&'t Statement),
    Pipeline(&'t Pipeline),
    Command(&'t Command),
    Expression(&'t Expression),
}

// === impl Node ===

impl Node<'_> {
    fn position(self) -> Option<Position> {
        Some(match self {
            Self::None => return None,
            Self::Statement(statement) => statement.position(),
            Self::Pipeline(pipeline) => pipeline.position,
            Self::Command(command) => command.position,
            Self::Expression(Expression::Pipeline(_, pipeline)) => pipeline.position,
            Self::Expression(expression) => expression.position(),
        })
    }
}

impl fmt::Display for Shown<'_, Node<'_>> {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = self.1;
        match self.0 {
            Node::None => Ok(()),
            Node::Statement(statement) => Shown(*statement, text).fmt(formatter),
            Node::Pipeline(pipeline) => Shown(*pipeline, text).fmt(formatter),
            Node::Command(command) => Shown(*command, text).fmt(formatter),
            Node::Expression(expression) => Shown(*expression, text).fmt(formatter),
        }
    }
}

/// A text of the template as `%q` prints it.
pub(super) fn quoted(text: &[u8]) -> String {
    let mut out = Vec::with_capacity(text.len() + 2);
    format::quote(text, &mut out);
    String::from_utf8_lossy(&out).into_owned()
}

// === impl Evaluator ===

impl Evaluator<'_> {
    /// The error for a failure at the node touched last; `name` is that of the whole text.
    pub(super) fn place(&self, name: &str, failure: &Failure) -> RenderError {
        let position = self
            .node
            .position()
            .map(|position| self.forest.line_and_column(position));
        let place = match position {
            Some((line, column)) => format!(
                "template: {name}:{line}:{column}: executing {} at <{}>: ",
                quoted(self.template),
                Shown(&self.node, self.text())
            ),
            None => format!("template: {name}: "),
        };
        let limit = match failure.kind() {
            Kind::Limit(limit) => Some(limit),
            Kind::Plain | Kind::ShowsData => None,
        };
        RenderError {
            place,
            message: failure.text().to_owned(),
            shows_data: failure.kind() == Kind::ShowsData,
            position,
            limit,
        }
    }
}
