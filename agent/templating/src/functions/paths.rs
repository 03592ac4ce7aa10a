//! Slash-separated paths.

use super::{Function, Parameter, text};
use crate::context::Context;
use crate::failure::Result;
use crate::value::Value;

pub(super) const FUNCTIONS: &[Function] = &[
    path_function(
        "base",
        "The last element of a path, given as a string; trailing slashes do not count.",
        ("{{ base \"/etc/tls/ca.crt\" }}", "ca.crt"),
        base,
    ),
    path_function(
        "clean",
        "The shortest path that means the same as a string: without `.`, without `..` where possible, without double slashes.",
        ("{{ clean \"/a/../b//c/\" }}", "/b/c"),
        clean,
    ),
    path_function(
        "dir",
        "All but the last element of a path, given as a string, and cleaned.",
        ("{{ dir \"/etc/tls/ca.crt\" }}", "/etc/tls"),
        dir,
    ),
    path_function(
        "ext",
        "The file name extension of a path, given as a string, with its dot; empty if there is none.",
        ("{{ ext \"backup.tar.gz\" }}", ".gz"),
        ext,
    ),
    test_function(
        "isAbs",
        "Whether a path, given as a string, begins with a slash.",
        ("{{ isAbs \"/etc\" }}", "true"),
    ),
    path_function(
        "osBase",
        "The same as `base`.",
        ("{{ osBase \"/etc/tls/ca.crt\" }}", "ca.crt"),
        base,
    ),
    path_function(
        "osClean",
        "The same as `clean`.",
        ("{{ osClean \"/a/../b//c/\" }}", "/b/c"),
        clean,
    ),
    path_function(
        "osDir",
        "The same as `dir`.",
        ("{{ osDir \"/etc/tls/ca.crt\" }}", "/etc/tls"),
        dir,
    ),
    path_function(
        "osExt",
        "The same as `ext`.",
        ("{{ osExt \"backup.tar.gz\" }}", ".gz"),
        ext,
    ),
    test_function(
        "osIsAbs",
        "The same as `isAbs`.",
        ("{{ osIsAbs \"etc\" }}", "false"),
    ),
];

const fn path_function(
    name: &'static str,
    summary: &'static str,
    example: (&'static str, &'static str),
    call: super::Call,
) -> Function {
    Function {
        name,
        parameters: &[Parameter::Text],
        variadic: None,
        result: "string",
        summary,
        source: "sprig",
        example,
        call,
    }
}

const fn test_function(
    name: &'static str,
    summary: &'static str,
    example: (&'static str, &'static str),
) -> Function {
    Function {
        result: "bool",
        ..path_function(name, summary, example, is_abs)
    }
}

fn base(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let path = text(arguments, 0)?.bytes();
    if path.is_empty() {
        return Ok(Value::of("."));
    }
    let end = path.iter().rposition(|&byte| byte != b'/');
    let Some(end) = end else {
        return Ok(Value::of("/"));
    };
    let trimmed = path.get(..=end).unwrap_or_default();
    cx.text(split(trimmed).1)
}

fn clean(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    cleaned(cx, text(arguments, 0)?.bytes())
}

fn dir(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    cleaned(cx, split(text(arguments, 0)?.bytes()).0)
}

fn ext(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let name = split(text(arguments, 0)?.bytes()).1;
    let dot = name.iter().rposition(|&byte| byte == b'.');
    let extension = dot.and_then(|dot| name.get(dot..));
    cx.text(extension.unwrap_or_default())
}

fn is_abs(_cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    Ok(Value::Bool(text(arguments, 0)?.bytes().starts_with(b"/")))
}

/// A path up to and with its last slash, and what follows.
fn split(path: &[u8]) -> (&[u8], &[u8]) {
    let slash = path.iter().rposition(|&byte| byte == b'/');
    path.split_at(slash.map_or(0, |slash| slash + 1))
}

/// Go's `path.Clean`.
fn cleaned(cx: &mut Context, path: &[u8]) -> Result<Value> {
    // The result and a word for every second byte at most.
    cx.allocate(path.len().saturating_mul(4))?;
    let rooted = path.starts_with(b"/");
    let mut out = Vec::with_capacity(path.len() + 1);
    // Where each kept element that `..` may take back begins.
    let mut starts = Vec::new();
    if rooted {
        out.push(b'/');
    }
    for element in path.split(|&byte| byte == b'/') {
        match element {
            b"" | b"." => {}
            b".." => match starts.pop() {
                Some(start) => out.truncate(start),
                None if rooted => {}
                None => append(&mut out, element),
            },
            _ => {
                starts.push(out.len());
                append(&mut out, element);
            }
        }
    }
    if out.is_empty() {
        out.push(b'.');
    }
    cx.text(out)
}

/// Appends an element, behind a slash if there is none yet.
fn append(out: &mut Vec<u8>, element: &[u8]) {
    if !out.is_empty() && out != b"/" {
        out.push(b'/');
    }
    out.extend_from_slice(element);
}

#[cfg(test)]
mod tests {
    use crate::functions::testing::call;

    #[test]
    fn paths_are_taken_apart_as_by_go() {
        for (function, path, expected) in [
            ("base", "", "."),
            ("base", "//", "/"),
            ("base", "a/", "a"),
            ("base", "a/b//", "b"),
            ("dir", "", "."),
            ("dir", "file", "."),
            ("dir", "a/b/", "a/b"),
            ("dir", "/x", "/"),
            ("dir", "a/../b", "."),
            ("ext", ".env", ".env"),
            ("ext", "a.d/x", ""),
            ("ext", "x.", "."),
            ("clean", "", "."),
            ("clean", "/..", "/"),
            ("clean", "a/../..", ".."),
            ("clean", "../a/../../b", "../../b"),
            ("clean", "/a/b/../../..//c/.", "/c"),
            ("clean", "./", "."),
            ("osBase", "a\\b", "a\\b"),
        ] {
            assert_eq!(
                call(function, &[path.into()]),
                expected,
                "{function} {path}"
            );
        }
    }
}
