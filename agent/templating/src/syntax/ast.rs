//! The tree of a template.

use std::collections::BTreeMap;
use std::ops::Range;
use std::rc::Rc;

use crate::functions::Function;
use crate::value::Text;

/// A byte offset in the template's text, from 0. Errors show it as line and column.
pub(crate) type Position = usize;

/// A template's name: bytes, for a quoted one need not be UTF-8.
pub(crate) type Name = Rc<[u8]>;

/// All templates of one text: the one that bears the text's name, and those it defines.
pub(crate) struct Forest {
    /// By name. The text's own is always there.
    pub(crate) templates: BTreeMap<Name, Rc<Block>>,
    /// The whole text, for its literal parts and for positions.
    pub(crate) text: Text,
}

/// A list of statements.
pub(crate) struct Block(pub(crate) Vec<Statement>);

/// What stands between two delimiters, or outside of any.
pub(crate) enum Statement {
    /// Literal text, trimmed: a range of [`Forest::text`].
    Text(Position, Range<usize>),
    /// `{{ pipeline }}`
    Action(Position, Pipeline),
    /// `{{ if }}`; `else if` is an `if` alone in `otherwise`.
    If(Box<Branch>),
    /// `{{ with }}`
    With(Box<Branch>),
    /// `{{ range }}`
    Range(Box<Branch>),
    /// `{{ template "name" pipeline }}`
    Template {
        position: Position,
        name: Name,
        argument: Option<Pipeline>,
    },
    /// `{{ break }}`
    Break(Position),
    /// `{{ continue }}`
    Continue(Position),
}

/// `if`, `with` or `range`.
pub(crate) struct Branch {
    pub(crate) position: Position,
    pub(crate) pipeline: Pipeline,
    pub(crate) then: Block,
    pub(crate) otherwise: Option<Block>,
}

/// Commands joined by `|`, with the variables that take the result.
pub(crate) struct Pipeline {
    pub(crate) position: Position,
    /// Whether it is `=` and not `:=`.
    pub(crate) is_assignment: bool,
    /// Names with their `$`; at most two, and two only in `range`.
    pub(crate) variables: Vec<Rc<str>>,
    pub(crate) commands: Vec<Command>,
}

/// One stage of a pipeline: a value, or a callee with its arguments.
pub(crate) struct Command {
    pub(crate) position: Position,
    /// Never empty.
    pub(crate) words: Vec<Expression>,
}

/// A word of a command.
pub(crate) enum Expression {
    /// A function's name.
    Callee(Position, Callee),
    /// `.a.b`
    Field(Position, Vec<Rc<str>>),
    /// `$x.a.b`: the name with its `$`, then the fields.
    Variable(Position, Rc<str>, Vec<Rc<str>>),
    /// `(pipeline).a.b` and `f.a`.
    Chain(Position, Box<Expression>, Vec<Rc<str>>),
    /// `.`
    Dot(Position),
    /// `nil`
    Nil(Position),
    /// `true`, `false`
    Bool(Position, bool),
    /// A string: as written (with its quotes), and its bytes.
    Text(Position, Rc<str>, Text),
    /// A number.
    Number(Position, Number),
    /// `(pipeline)`
    Pipeline(Position, Box<Pipeline>),
}

/// What a name calls.
#[derive(Clone, Copy)]
pub(crate) enum Callee {
    /// A built-in of Go's text/template.
    Builtin(Builtin),
    /// One of the function table.
    Function(&'static Function),
}

/// Go's built-ins that the function table does not hide.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Builtin {
    And,
    Or,
    Not,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    Len,
    Index,
    Print,
    Println,
    Printf,
    Html,
    Js,
    Urlquery,
    Call,
}

/// A numeric constant, which takes its type from where it is used: Go's `NumberNode`.
#[derive(Clone)]
pub(crate) struct Number {
    /// As written.
    pub(crate) source: Rc<str>,
    /// Its value as an int, if it has an exact one.
    pub(crate) int: Option<i64>,
    /// Its value as an unsigned integer, if it has an exact one.
    pub(crate) uint: Option<u64>,
    /// Its value as a float, if it has one.
    pub(crate) float: Option<f64>,
    /// Its value as a complex number; always there when the others are.
    pub(crate) complex: (f64, f64),
    /// Whether it is written as an imaginary or complex number.
    pub(crate) is_complex: bool,
    /// Whether it is written as a character.
    pub(crate) is_character: bool,
}

// === impl Forest ===

impl Forest {
    /// Line (from 1) and column (bytes, from 0) of a position.
    pub(crate) fn line_and_column(&self, position: Position) -> (usize, usize) {
        let before = &self.text.bytes()[..position.min(self.text.bytes().len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        (line, before.len() - start)
    }
}

// === impl Expression ===

impl Expression {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Callee(position, _)
            | Self::Field(position, _)
            | Self::Variable(position, ..)
            | Self::Chain(position, ..)
            | Self::Dot(position)
            | Self::Nil(position)
            | Self::Bool(position, _)
            | Self::Text(position, ..)
            | Self::Number(position, _)
            | Self::Pipeline(position, _) => *position,
        }
    }
}

impl Builtin {
    /// The built-in of a name.
    pub(crate) fn find(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|builtin| builtin.name() == name)
    }

    /// Its name in a template.
    pub(crate) const fn name(self) -> &'static str {
        match self {
            Self::And => "and",
            Self::Or => "or",
            Self::Not => "not",
            Self::Eq => "eq",
            Self::Ne => "ne",
            Self::Lt => "lt",
            Self::Le => "le",
            Self::Gt => "gt",
            Self::Ge => "ge",
            Self::Len => "len",
            Self::Index => "index",
            Self::Print => "print",
            Self::Println => "println",
            Self::Printf => "printf",
            Self::Html => "html",
            Self::Js => "js",
            Self::Urlquery => "urlquery",
            Self::Call => "call",
        }
    }

    const ALL: [Self; 18] = [
        Self::And,
        Self::Or,
        Self::Not,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::Len,
        Self::Index,
        Self::Print,
        Self::Println,
        Self::Printf,
        Self::Html,
        Self::Js,
        Self::Urlquery,
        Self::Call,
    ];
}

impl Callee {
    /// The word that names it in a template.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Builtin(builtin) => builtin.name(),
            Self::Function(function) => function.name,
        }
    }
}

// === impl Branch ===

impl Drop for Branch {
    /// Nested blocks may be deeper than a small stack. A long chain of `else if` is taken apart link by link, so that its drop
    /// is not even as deep as the chain is long.
    fn drop(&mut self) {
        super::on_enough_stack(|| {
            self.then.0.clear();
            let mut rest = self.otherwise.take();
            while let Some(mut block) = rest {
                rest = match block.0.as_mut_slice() {
                    [Statement::If(link) | Statement::With(link)] => link.otherwise.take(),
                    _ => None,
                };
            }
        });
    }
}

// === impl Pipeline ===

impl Drop for Pipeline {
    /// Parentheses may be as deep as Go allows, which is deeper than a small stack.
    fn drop(&mut self) {
        super::on_enough_stack(|| self.commands.clear());
    }
}
