//! Strings of several lines.

use memchr::{memchr, memchr_iter, memrchr};

use super::super::{Function, Parameter, int, text};
use super::search::negative_count;
use super::{buffer, look};
use crate::context::Context;
use crate::failure::Result;
use crate::value::{Text, Value};

pub(in crate::functions) const FUNCTIONS: &[Function] = &[
    Function {
        name: "indent",
        parameters: &[Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string with a number of blanks before each line.",
        source: "sprig",
        example: ("{{ indent 2 \"a\\nb\" }}", "  a\n  b"),
        call: indent,
    },
    Function {
        name: "nindent",
        parameters: &[Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A newline, then the string with a number of blanks before each line.",
        source: "sprig",
        example: ("x:{{ nindent 2 \"a\\nb\" }}", "x:\n  a\n  b"),
        call: nindent,
    },
    Function {
        name: "wrap",
        parameters: &[Parameter::Int, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The string broken at blanks into lines of at most so many bytes; longer words stay whole.",
        source: "sprig",
        example: (
            "{{ wrap 12 \"an operator that reads secrets\" }}",
            "an operator\nthat reads\nsecrets",
        ),
        call: wrap,
    },
    Function {
        name: "wrapWith",
        parameters: &[Parameter::Int, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The third string broken at blanks, long words too, with the second string between the lines.",
        source: "sprig",
        example: ("{{ wrapWith 2 \"--\" \"abcdef gh\" }}", "ab--cd--ef--gh"),
        call: wrap_with,
    },
];

/// Lines that are written for one step.
const LINES_PER_STEP: u64 = 4;

fn indent(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    indented(cx, arguments, b"")
}

fn nindent(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    indented(cx, arguments, b"\n")
}

/// The text with blanks before it and behind every newline, all behind `start`.
fn indented(cx: &mut Context, arguments: &[Value], start: &[u8]) -> Result<Value> {
    let (blanks, bytes) = (int(arguments, 0)?, text(arguments, 1)?.bytes());
    let Ok(blanks) = usize::try_from(blanks) else {
        return Err(negative_count());
    };
    look(cx, bytes)?;
    let lines = memchr_iter(b'\n', bytes).count() + 1;
    cx.work(lines as u64 / LINES_PER_STEP)?;
    let padding = lines.saturating_mul(blanks);
    let mut out = buffer(cx, padding.saturating_add(bytes.len() + start.len()))?;
    out.extend_from_slice(start);
    for line in bytes.split_inclusive(|byte| *byte == b'\n') {
        out.resize(out.len() + blanks, b' ');
        out.extend_from_slice(line);
    }
    if bytes.last().is_none_or(|last| *last == b'\n') {
        out.resize(out.len() + blanks, b' ');
    }
    Ok(Value::Text(Text::new(out)))
}

fn wrap(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    wrapped(cx, text(arguments, 1)?, int(arguments, 0)?, b"\n", false)
}

fn wrap_with(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let separator = match text(arguments, 1)?.bytes() {
        b"" => b"\n",
        separator => separator,
    };
    wrapped(cx, text(arguments, 2)?, int(arguments, 0)?, separator, true)
}

fn wrapped(
    cx: &mut Context,
    text: &Text,
    width: i64,
    separator: &[u8],
    cuts: bool,
) -> Result<Value> {
    let bytes = text.bytes();
    look(cx, bytes)?;
    let width = usize::try_from(width.max(1)).unwrap_or(usize::MAX);
    // Once for the length, once for the bytes.
    let (mut len, mut lines) = (0_usize, 0_u64);
    let last = for_each_line(bytes, width, cuts, |line| {
        lines += 1;
        len = len.saturating_add(line.len() + separator.len());
    });
    cx.work(lines / LINES_PER_STEP)?;
    let mut out = buffer(cx, len.saturating_add(last.len()))?;
    for_each_line(bytes, width, cuts, |line| {
        out.extend_from_slice(line);
        out.extend_from_slice(separator);
    });
    out.extend_from_slice(last);
    Ok(Value::Text(Text::new(out)))
}

/// Calls `take` with each line but the last, which it returns. Words longer than `width` are cut, or else overhang.
fn for_each_line<'a>(
    mut rest: &'a [u8],
    width: usize,
    cuts: bool,
    mut take: impl FnMut(&'a [u8]),
) -> &'a [u8] {
    while rest.len() > width {
        if let [b' ', tail @ ..] = rest {
            rest = tail;
            continue;
        }
        // A blank just behind the line counts.
        let (window, behind) = rest.split_at_checked(width + 1).unwrap_or((rest, &[]));
        let blank = memrchr(b' ', window);
        let (end, next) = match blank {
            Some(blank) => (blank, blank + 1),
            None if cuts => (width, width),
            None => match memchr(b' ', behind) {
                Some(blank) => (window.len() + blank, window.len() + blank + 1),
                None => return rest,
            },
        };
        take(rest.get(..end).unwrap_or_default());
        rest = rest.get(next..).unwrap_or_default();
    }
    rest
}
