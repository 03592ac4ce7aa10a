//! Text, actions and the control structures.

use std::rc::Rc;

use super::{Node, Parser, Result};
use crate::limits::Limit;
use crate::syntax::ast::{Block, Branch, Name, Pipeline, Statement, TemplateCall};
use crate::syntax::token::{Keyword, Kind, Token};
use crate::syntax::{on_enough_stack, quoted};

/// A control structure with a pipeline and blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Control {
    If,
    With,
    Range,
}

impl Parser<'_> {
    /// Statements up to an `{{ end }}` or `{{ else }}`.
    pub(super) fn block(&mut self) -> Result<(Block, Node)> {
        if self.depth >= self.nesting {
            return Err(self.beyond(Limit::Nesting));
        }
        self.depth += 1;
        let result = on_enough_stack(|| self.statements());
        self.depth -= 1;
        result
    }

    fn statements(&mut self) -> Result<(Block, Node)> {
        let mark = self.statements.len();
        while self.peek_non_space().kind != Kind::End {
            match self.text_or_action()? {
                Node::Statement(statement) => self.statements.push(statement),
                end => return Ok((self.take_statements(mark), end)),
            }
        }
        Err(self.fail("unexpected EOF", &[]))
    }

    pub(super) fn text_or_action(&mut self) -> Result<Node> {
        self.check_length()?;
        let token = self.next_non_space();
        match token.kind {
            Kind::Text => Ok(Node::Statement(Statement::Text(token.span()))),
            Kind::LeftDelimiter => {
                self.tree.action = Some(token.start);
                let node = self.action()?;
                self.tree.action = None;
                Ok(node)
            }
            _ => Err(self.unexpected(token, "input")),
        }
    }

    /// What follows a left delimiter.
    fn action(&mut self) -> Result<Node> {
        let token = self.next_non_space();
        let statement = match token.kind {
            Kind::Keyword(Keyword::Block) => self.block_clause()?,
            Kind::Keyword(Keyword::Break) => {
                self.loop_exit("{{break}}", "{{break}} outside {{range}}")?;
                Statement::Break(token.position())
            }
            Kind::Keyword(Keyword::Continue) => {
                self.loop_exit("{{continue}}", "{{continue}} outside {{range}}")?;
                Statement::Continue(token.position())
            }
            Kind::Keyword(Keyword::Else) => return self.else_clause(),
            Kind::Keyword(Keyword::End) => {
                self.expect(Kind::RightDelimiter, "end")?;
                return Ok(Node::End);
            }
            Kind::Keyword(Keyword::If) => self.control(Control::If)?,
            Kind::Keyword(Keyword::Range) => self.control(Control::Range)?,
            Kind::Keyword(Keyword::Template) => self.template_clause()?,
            Kind::Keyword(Keyword::With) => self.control(Control::With)?,
            _ => {
                self.back_up();
                Statement::Action(self.pipeline("command", Kind::RightDelimiter)?)
            }
        };
        Ok(Node::Statement(statement))
    }

    fn loop_exit(&mut self, context: &'static str, outside: &'static str) -> Result<()> {
        self.expect(Kind::RightDelimiter, context)?;
        if self.tree.ranges == 0 {
            return Err(self.fail(outside, &[]));
        }
        Ok(())
    }

    /// `{{ else }}`. The `if` or `with` of `{{ else if }}` and `{{ else with }}` stays ahead.
    fn else_clause(&mut self) -> Result<Node> {
        let ahead = self.peek_non_space().kind;
        if !matches!(ahead, Kind::Keyword(Keyword::If | Keyword::With)) {
            self.expect(Kind::RightDelimiter, "else")?;
        }
        Ok(Node::Else)
    }

    /// `if`, `with` or `range` to its `{{ end }}`; the keyword is past. The links of an `else if` chain are parsed one after
    /// the other, so that a long chain is no deep recursion.
    fn control(&mut self, control: Control) -> Result<Statement> {
        let mark = self.tree.variables.mark();
        let mut links = Vec::with_capacity(1);
        let mut otherwise = loop {
            let pipeline = self.pipeline(control.context(), Kind::RightDelimiter)?;
            let (then, next) = self.body(control)?;
            links.push((pipeline, then));
            if matches!(next, Node::End) {
                break None;
            }
            if control.chains_with() == Some(self.peek().kind) {
                self.next();
                continue;
            }
            let (block, end) = self.block()?;
            if !matches!(end, Node::End) {
                return Err(self.fail("expected end; found %s", &[end.name().into()]));
            }
            break Some(block);
        };
        self.tree.variables.forget(mark);
        let mut chain = None;
        while let Some((pipeline, then)) = links.pop() {
            otherwise = chain
                .take()
                .map(|link| Block(Box::new([link])))
                .or(otherwise);
            chain = Some(control.statement(pipeline, then, otherwise.take()));
        }
        // There is one link at least.
        chain.ok_or_else(|| self.fail("unexpected EOF", &[]))
    }

    fn body(&mut self, control: Control) -> Result<(Block, Node)> {
        let more = u32::from(control == Control::Range);
        self.tree.ranges += more;
        let body = self.block()?;
        self.tree.ranges -= more;
        Ok(body)
    }

    /// `{{ block "name" pipeline }}` to its `{{ end }}`; the keyword is past.
    fn block_clause(&mut self) -> Result<Statement> {
        const CONTEXT: &str = "block clause";
        let token = self.next_non_space();
        let name = self.template_name(token, CONTEXT)?;
        let pipeline = self.pipeline(CONTEXT, Kind::RightDelimiter)?;
        let end = self.in_new_tree(|parser| {
            let (block, end) = parser.block()?;
            if matches!(end, Node::End) {
                parser.define(Rc::clone(&name), block)?;
            }
            Ok(end)
        })?;
        if !matches!(end, Node::End) {
            return Err(self.fail("unexpected %s in %s", &[end.name().into(), CONTEXT.into()]));
        }
        Ok(Statement::Template(Box::new(TemplateCall {
            position: token.position(),
            name,
            argument: Some(pipeline),
        })))
    }

    /// `{{ template "name" pipeline }}`; the keyword is past.
    fn template_clause(&mut self) -> Result<Statement> {
        const CONTEXT: &str = "template clause";
        let token = self.next_non_space();
        let name = self.template_name(token, CONTEXT)?;
        let argument = if self.next_non_space().kind == Kind::RightDelimiter {
            None
        } else {
            self.back_up();
            Some(self.pipeline(CONTEXT, Kind::RightDelimiter)?)
        };
        Ok(Statement::Template(Box::new(TemplateCall {
            position: token.position(),
            name,
            argument,
        })))
    }

    /// The name that `token` quotes.
    pub(super) fn template_name(&mut self, token: Token, context: &str) -> Result<Name> {
        if !matches!(token.kind, Kind::String | Kind::RawString) {
            return Err(self.unexpected(token, context));
        }
        match quoted::unquote(self.source(token)) {
            Some(name) => Ok(name.into()),
            None => Err(self.fail_with("invalid syntax")),
        }
    }
}

// === impl Control ===

impl Control {
    /// The keyword, as error texts name the pipeline after it.
    fn context(self) -> &'static str {
        match self {
            Self::If => "if",
            Self::With => "with",
            Self::Range => "range",
        }
    }

    /// The keyword that makes another link of a chain when it follows `else`.
    fn chains_with(self) -> Option<Kind> {
        match self {
            Self::If => Some(Kind::Keyword(Keyword::If)),
            Self::With => Some(Kind::Keyword(Keyword::With)),
            Self::Range => None,
        }
    }

    fn statement(self, pipeline: Pipeline, then: Block, otherwise: Option<Block>) -> Statement {
        let branch = Box::new(Branch {
            position: pipeline.position,
            pipeline,
            then,
            otherwise,
        });
        match self {
            Self::If => Statement::If(branch),
            Self::With => Statement::With(branch),
            Self::Range => Statement::Range(branch),
        }
    }
}
