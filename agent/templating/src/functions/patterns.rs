//! Regular expressions.

use std::rc::Rc;

use super::{Function, Parameter, int, text};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::format;
use crate::output::Output;
use crate::pattern::{Pattern, Replacement, Search, Trouble};
use crate::value::{Element, List, Text, Value};

/// What `regexQuoteMeta` puts a backslash before.
const SPECIAL: &[u8] = br"\.+*?()|[]{}^$";

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "regexMatch",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether a Go regular expression (the first string) matches anywhere in the second; false where it is none.",
        source: "sprig",
        example: (r#"{{ regexMatch "^[a-z]+-[0-9]+$" "node-17" }}"#, "true"),
        call: |cx, arguments| match compile(cx, text(arguments, 0)?) {
            Ok(pattern) => matches(cx, &pattern, arguments),
            Err(Trouble::Syntax(_)) => Ok(Value::Bool(false)),
            Err(Trouble::Failure(failure)) => Err(failure),
        },
    },
    Function {
        name: "mustRegexMatch",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "bool",
        summary: "Whether a Go regular expression (the first string) matches anywhere in the second; fails where it is none.",
        source: "sprig",
        example: (r#"{{ mustRegexMatch "[0-9]" "node" }}"#, "false"),
        call: |cx, arguments| {
            let pattern = must_compile(cx, text(arguments, 0)?)?;
            matches(cx, &pattern, arguments)
        },
    },
    Function {
        name: "regexFind",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The first match of a regular expression (the first string) in the second; empty where there is none.",
        source: "sprig",
        example: (r#"{{ regexFind "[0-9]+" "node-17-a2" }}"#, "17"),
        call: |cx, arguments| {
            let pattern = panic_compile(cx, text(arguments, 0)?)?;
            find(cx, &pattern, arguments)
        },
    },
    Function {
        name: "mustRegexFind",
        parameters: &[Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The same as `regexFind` with another error text.",
        source: "sprig",
        example: (r#"{{ mustRegexFind "a|ab" "cab" }}"#, "a"),
        call: |cx, arguments| {
            let pattern = must_compile(cx, text(arguments, 0)?)?;
            find(cx, &pattern, arguments)
        },
    },
    Function {
        name: "regexFindAll",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Int],
        variadic: None,
        result: "strings",
        summary: "The matches of a regular expression (the first string) in the second, at most so many; a negative number is all.",
        source: "sprig",
        example: (
            r#"{{ regexFindAll "[0-9]+" "1, 22, 333" -1 | join "+" }}"#,
            "1+22+333",
        ),
        call: |cx, arguments| {
            let pattern = panic_compile(cx, text(arguments, 0)?)?;
            find_all(cx, &pattern, arguments)
        },
    },
    Function {
        name: "mustRegexFindAll",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Int],
        variadic: None,
        result: "strings",
        summary: "The same as `regexFindAll` with another error text.",
        source: "sprig",
        example: (
            r#"{{ mustRegexFindAll "[0-9]+" "1, 22, 333" 2 | join "+" }}"#,
            "1+22",
        ),
        call: |cx, arguments| {
            let pattern = must_compile(cx, text(arguments, 0)?)?;
            find_all(cx, &pattern, arguments)
        },
    },
    Function {
        name: "regexReplaceAll",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The second string with the matches of a regular expression (the first) replaced by the third, in which `${1}` and `${name}` are groups and `$$` is a dollar.",
        source: "sprig",
        example: (
            r#"{{ regexReplaceAll "a(x*)b" "-ab-axxb-" "${1}W" }}"#,
            "-W-xxW-",
        ),
        call: |cx, arguments| {
            let pattern = panic_compile(cx, text(arguments, 0)?)?;
            let template = text(arguments, 2)?.bytes();
            let replacement = Replacement::template(cx, &pattern, template)?;
            replace_all(cx, &pattern, arguments, &replacement)
        },
    },
    Function {
        name: "mustRegexReplaceAll",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The same as `regexReplaceAll` with another error text.",
        source: "sprig",
        example: (
            r#"{{ mustRegexReplaceAll "(?P<y>\\d+)-(?P<m>\\d+)" "2031-07" "${m}/${y}" }}"#,
            "07/2031",
        ),
        call: |cx, arguments| {
            let pattern = must_compile(cx, text(arguments, 0)?)?;
            let template = text(arguments, 2)?.bytes();
            let replacement = Replacement::template(cx, &pattern, template)?;
            replace_all(cx, &pattern, arguments, &replacement)
        },
    },
    Function {
        name: "regexReplaceAllLiteral",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The second string with the matches of a regular expression (the first) replaced by the third as it is.",
        source: "sprig",
        example: (r#"{{ regexReplaceAllLiteral "\\s+" "a  b" "$1" }}"#, "a$1b"),
        call: |cx, arguments| {
            let pattern = panic_compile(cx, text(arguments, 0)?)?;
            let replacement = Replacement::literal(text(arguments, 2)?.bytes());
            replace_all(cx, &pattern, arguments, &replacement)
        },
    },
    Function {
        name: "mustRegexReplaceAllLiteral",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Text],
        variadic: None,
        result: "string",
        summary: "The same as `regexReplaceAllLiteral` with another error text.",
        source: "sprig",
        example: (
            r#"{{ mustRegexReplaceAllLiteral "[ab]" "cab" "$" }}"#,
            "c$$",
        ),
        call: |cx, arguments| {
            let pattern = must_compile(cx, text(arguments, 0)?)?;
            let replacement = Replacement::literal(text(arguments, 2)?.bytes());
            replace_all(cx, &pattern, arguments, &replacement)
        },
    },
    Function {
        name: "regexSplit",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Int],
        variadic: None,
        result: "strings",
        summary: "What lies between the matches of a regular expression (the first string) in the second, in at most so many pieces; a negative number is all.",
        source: "sprig",
        example: (
            r#"{{ regexSplit "[,;] ?" "a, b;c" -1 | join "|" }}"#,
            "a|b|c",
        ),
        call: |cx, arguments| {
            let pattern = panic_compile(cx, text(arguments, 0)?)?;
            split(cx, &pattern, arguments)
        },
    },
    Function {
        name: "mustRegexSplit",
        parameters: &[Parameter::Text, Parameter::Text, Parameter::Int],
        variadic: None,
        result: "strings",
        summary: "The same as `regexSplit` with another error text.",
        source: "sprig",
        example: (r#"{{ mustRegexSplit "z+" "pizza" 1 | join "|" }}"#, "pizza"),
        call: |cx, arguments| {
            let pattern = must_compile(cx, text(arguments, 0)?)?;
            split(cx, &pattern, arguments)
        },
    },
    Function {
        name: "regexQuoteMeta",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary: "A regular expression that matches just this string.",
        source: "sprig",
        example: (r#"{{ regexQuoteMeta "1.5$" }}"#, r"1\.5\$"),
        call: |cx, arguments| {
            let mut out = Output::new(cx);
            let bytes = text(arguments, 0)?.bytes();
            out.room(cx, bytes.len())?;
            for byte in bytes {
                out.room(cx, 2)?;
                if SPECIAL.contains(byte) {
                    out.push(b'\\');
                }
                out.push(*byte);
            }
            out.into_text(cx).map(Value::Text)
        },
    },
];

/// Compiles a pattern, or takes it from those of this render.
fn compile(cx: &mut Context, text: &Text) -> Result<Rc<Pattern>, Trouble> {
    if let Some(pattern) = cx.patterns.get(text) {
        return Ok(pattern);
    }
    cx.work(text.bytes().len() as u64 / 8)
        .map_err(Trouble::Failure)?;
    let pattern = Rc::new(Pattern::new(cx, text.bytes())?);
    cx.patterns.add(text.clone(), Rc::clone(&pattern));
    Ok(pattern)
}

/// With the failure of the functions whose names begin with `must`.
fn must_compile(cx: &mut Context, text: &Text) -> Result<Rc<Pattern>> {
    compile(cx, text).map_err(|trouble| match trouble {
        Trouble::Syntax(text) => Failure::showing_data(text),
        Trouble::Failure(failure) => failure,
    })
}

/// With the failure of the others, which is the text of a panic.
fn panic_compile(cx: &mut Context, text: &Text) -> Result<Rc<Pattern>> {
    compile(cx, text).map_err(|trouble| match trouble {
        Trouble::Syntax(reason) => {
            let mut quoted = Vec::new();
            if format::can_backquote(text.bytes()) {
                quoted = [b"`", text.bytes(), b"`"].concat();
            } else {
                format::quote(text.bytes(), &mut quoted);
            }
            let quoted = String::from_utf8_lossy(&quoted);
            Failure::showing_data(format!("regexp: Compile({quoted}): {reason}"))
        }
        Trouble::Failure(failure) => failure,
    })
}

fn matches(cx: &mut Context, pattern: &Pattern, arguments: &[Value]) -> Result<Value> {
    let mut search = Search::new(cx, pattern, text(arguments, 1)?.bytes(), false)?;
    Ok(Value::Bool(search.find(cx, 0)?.is_some()))
}

fn find(cx: &mut Context, pattern: &Pattern, arguments: &[Value]) -> Result<Value> {
    let text = text(arguments, 1)?.bytes();
    let mut search = Search::new(cx, pattern, text, false)?;
    match search.find(cx, 0)? {
        Some(span) => cx.text(piece(text, span)),
        None => cx.text(""),
    }
}

fn piece(text: &[u8], (start, end): (usize, usize)) -> &[u8] {
    text.get(start..end).unwrap_or_default()
}

/// A count as Go has it: a negative one is none.
fn at_most(count: i64) -> usize {
    usize::try_from(count).unwrap_or(usize::MAX)
}

fn find_all(cx: &mut Context, pattern: &Pattern, arguments: &[Value]) -> Result<Value> {
    let text = text(arguments, 1)?.bytes();
    let most = at_most(int(arguments, 2)?);
    let mut search = Search::new(cx, pattern, text, false)?;
    let mut found = Vec::new();
    search.each(cx, most, |cx, span| {
        found.push(cx.text(piece(text, span))?);
        Ok(())
    })?;
    if found.is_empty() {
        return Ok(Value::List(List::nil(Element::Text)));
    }
    cx.list(Element::Text, found)
}

fn replace_all(
    cx: &mut Context,
    pattern: &Pattern,
    arguments: &[Value],
    replacement: &Replacement<'_>,
) -> Result<Value> {
    let source = text(arguments, 1)?;
    replaced(cx, pattern, source, replacement).map(Value::Text)
}

/// `ReplaceAllString`.
pub(crate) fn replaced(
    cx: &mut Context,
    pattern: &Pattern,
    source: &Text,
    replacement: &Replacement<'_>,
) -> Result<Text> {
    let text = source.bytes();
    let mut search = Search::new(cx, pattern, text, replacement.has_groups())?;
    let mut out = Output::new(cx);
    let (mut from, mut last_end, mut has_match) = (0, 0, false);
    while from <= text.len() {
        let Some((start, end)) = search.find(cx, from)? else {
            break;
        };
        if !has_match {
            out.room(cx, text.len())?;
            has_match = true;
        }
        out.write(cx, piece(text, (last_end, start)))?;
        // Nothing right behind a match is no second one.
        if end > last_end || start == 0 {
            replacement.write(cx, &search, &mut out)?;
        }
        last_end = end;
        from = search.next_rune(from).max(end);
    }
    if !has_match {
        return Ok(source.clone());
    }
    out.write(cx, piece(text, (last_end, text.len())))?;
    out.into_text(cx)
}

fn split(cx: &mut Context, pattern: &Pattern, arguments: &[Value]) -> Result<Value> {
    let (source, text) = (text(arguments, 0)?, text(arguments, 1)?.bytes());
    let most = at_most(int(arguments, 2)?);
    if most == 0 {
        return Ok(Value::List(List::nil(Element::Text)));
    }
    if text.is_empty() && !source.bytes().is_empty() {
        return cx.list(Element::Text, vec![Value::of("")]);
    }
    let mut search = Search::new(cx, pattern, text, false)?;
    let mut pieces = Vec::new();
    let (mut begin, mut end) = (0, 0);
    search.each(cx, most, |cx, span| {
        if pieces.len() + 1 == most {
            return Ok(());
        }
        end = span.0;
        if span.1 != 0 {
            pieces.push(cx.text(piece(text, (begin, end)))?);
        }
        begin = span.1;
        Ok(())
    })?;
    if end != text.len() {
        pieces.push(cx.text(piece(text, (begin, text.len())))?);
    }
    cx.list(Element::Text, pieces)
}
