//! The tree of a template.

use std::collections::BTreeMap;
use std::rc::Rc;

use crate::functions::Function;
use crate::value::Text;

/// A byte offset in the template's text, from 0. Errors show it as line and column. A tree has many, and no text of 4 GiB is
/// taken.
pub(crate) type Position = u32;

/// A template's name: bytes, for a quoted one need not be UTF-8.
pub(crate) type Name = Rc<[u8]>;

/// A part of the template's text: the tree copies none of it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: Position,
    pub(crate) end: Position,
}

/// All templates of one text: the one that bears the text's name, and those it defines.
pub(crate) struct Forest {
    /// The name of the text.
    pub(crate) name: String,
    /// The template of that name.
    pub(crate) own: Block,
    /// The others by name.
    pub(crate) defined: BTreeMap<Name, Definition>,
    /// The whole text, which the spans are parts of.
    pub(crate) text: Text,
}

/// A template that the text defines.
pub(crate) struct Definition {
    pub(crate) block: Block,
    /// Whether it holds nothing but blanks; another one by its name may replace it then.
    pub(crate) is_blank: bool,
}

/// A list of statements.
#[derive(Default)]
pub(crate) struct Block(pub(crate) Box<[Statement]>);

/// What stands between two delimiters, or outside of any.
pub(crate) enum Statement {
    /// Literal text, trimmed.
    Text(Span),
    /// `{{ pipeline }}`
    Action(Pipeline),
    /// `{{ if }}`; `else if` is an `if` alone in `otherwise`.
    If(Box<Branch>),
    /// `{{ with }}`
    With(Box<Branch>),
    /// `{{ range }}`
    Range(Box<Branch>),
    /// `{{ template "name" pipeline }}`
    Template(Box<TemplateCall>),
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

/// What runs another template.
pub(crate) struct TemplateCall {
    pub(crate) position: Position,
    pub(crate) name: Name,
    pub(crate) argument: Option<Pipeline>,
}

/// Commands joined by `|`, with the variables that take the result.
pub(crate) struct Pipeline {
    pub(crate) position: Position,
    /// Whether it is `=` and not `:=`.
    pub(crate) is_assignment: bool,
    pub(crate) variables: Variables,
    pub(crate) commands: Box<[Command]>,
}

/// Names of variables with their `$`; at most two, and two only in `range`.
#[derive(Clone, Copy, Default)]
pub(crate) struct Variables {
    names: [Span; 2],
    count: u8,
}

/// One stage of a pipeline: a value, or a callee with its arguments.
pub(crate) struct Command {
    pub(crate) position: Position,
    /// Never empty.
    pub(crate) words: Box<[Expression]>,
}

/// A word of a command.
pub(crate) enum Expression {
    /// The name of a built-in of Go's text/template.
    Builtin(Position, Builtin),
    /// The name of one of the function table.
    Function(Position, &'static Function),
    /// `.a.b`, dots included.
    Field(Position, Span),
    /// `$x.a.b`: the name with its `$`, then the fields with their dots.
    Variable(Position, Span, Span),
    /// `(pipeline).a.b` and `f.a`: the fields with their dots.
    Chain(Position, Box<Expression>, Span),
    /// `.`
    Dot(Position),
    /// `nil`
    Nil(Position),
    /// `true`, `false`
    Bool(Position, bool),
    /// A string whose bytes are as written: the place with its quotes.
    Plain(Position, Span),
    /// A string with escapes: as written (with its quotes), and its bytes.
    Escaped(Position, Span, Box<Text>),
    /// A number: as written, and what it may be.
    Number(Position, Span, Box<Number>),
    /// `(pipeline)`
    Pipeline(Position, Box<Pipeline>),
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

// === impl Span ===

impl Span {
    /// What stands there in the text.
    pub(crate) fn of(self, text: &[u8]) -> &[u8] {
        text.get(self.start as usize..self.end as usize)
            .unwrap_or_default()
    }

    /// The same for names, which are made of letters and digits.
    pub(crate) fn name(self, text: &[u8]) -> &str {
        std::str::from_utf8(self.of(text)).unwrap_or_default()
    }

    pub(crate) fn is_empty(self) -> bool {
        self.start == self.end
    }
}

// === impl Forest ===

impl Forest {
    /// The template of a name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<&Block> {
        if name == self.name.as_bytes() {
            return Some(&self.own);
        }
        self.defined.get(name).map(|definition| &definition.block)
    }

    /// Line (from 1) and column (bytes, from 0) of a position.
    pub(crate) fn line_and_column(&self, position: Position) -> (usize, usize) {
        let text = self.text.bytes();
        let before = &text[..(position as usize).min(text.len())];
        let line = 1 + before.iter().filter(|byte| **byte == b'\n').count();
        let start = before
            .iter()
            .rposition(|byte| *byte == b'\n')
            .map_or(0, |newline| newline + 1);
        (line, before.len() - start)
    }
}

// === impl Statement ===

impl Statement {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Text(span) => span.start,
            Self::Action(pipeline) => pipeline.position,
            Self::Template(call) => call.position,
            Self::If(branch) | Self::With(branch) | Self::Range(branch) => branch.position,
            Self::Break(position) | Self::Continue(position) => *position,
        }
    }
}

// === impl Variables ===

impl Variables {
    /// Adds a name; a third one is left out.
    pub(crate) fn push(&mut self, name: Span) {
        if let Some(place) = self.names.get_mut(usize::from(self.count)) {
            *place = name;
            self.count += 1;
        }
    }

    pub(crate) fn as_slice(&self) -> &[Span] {
        self.names
            .get(..usize::from(self.count))
            .unwrap_or_default()
    }
}

// === impl Expression ===

impl Expression {
    pub(crate) fn position(&self) -> Position {
        match self {
            Self::Builtin(position, _)
            | Self::Function(position, _)
            | Self::Field(position, _)
            | Self::Variable(position, ..)
            | Self::Chain(position, ..)
            | Self::Dot(position)
            | Self::Nil(position)
            | Self::Bool(position, _)
            | Self::Plain(position, _)
            | Self::Escaped(position, ..)
            | Self::Number(position, ..)
            | Self::Pipeline(position, _) => *position,
        }
    }

    /// The bytes of a string.
    pub(crate) fn string(&self, text: &Text) -> Option<Text> {
        match self {
            Self::Plain(_, span) => Some(text.part(
                (span.start as usize).saturating_add(1),
                (span.end as usize).saturating_sub(1),
            )),
            Self::Escaped(_, _, bytes) => Some(Text::clone(bytes)),
            _ => None,
        }
    }
}

// === impl Builtin ===

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

// === impl Branch ===

impl Drop for Branch {
    /// Nested blocks may be deeper than a small stack. A long chain of `else if` is taken apart link by link, so that its drop
    /// is not even as deep as the chain is long.
    fn drop(&mut self) {
        super::on_enough_stack(|| {
            drop(std::mem::take(&mut self.then));
            let mut rest = self.otherwise.take();
            while let Some(mut block) = rest {
                rest = match &mut *block.0 {
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
        super::on_enough_stack(|| drop(std::mem::take(&mut self.commands)));
    }
}
