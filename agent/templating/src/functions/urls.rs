//! URLs, as Go's `net/url` takes them apart and puts them together.

mod address;
mod escape;
mod normal;
mod parse;

use self::escape::{Part, escape};
pub(crate) use self::normal::normal;
use self::parse::{User, parse};
use super::{Function, Parameter, dict, text};
use crate::context::Context;
use crate::failure::{Failure, Result};
use crate::output::Output;
use crate::value::{Dict, Text, Value};

pub(super) const FUNCTIONS: &[Function] = &[
    Function {
        name: "urlJoin",
        parameters: &[Parameter::Dict],
        variadic: None,
        result: "string",
        summary: "The URL that is made of a dict with the keys of `urlParse`; `hostname` is ignored.",
        source: "sprig",
        example: (
            "{{ dict \"scheme\" \"https\" \"host\" \"vis.test\" \"path\" \"/a b\" | urlJoin }}",
            "https://vis.test/a%20b",
        ),
        call: join,
    },
    Function {
        name: "urlParse",
        parameters: &[Parameter::Text],
        variadic: None,
        result: "dict",
        summary: "The parts of a URL, given as a string, in a dict of strings: `scheme`, `userinfo`, `host` with the port, `hostname`, `path`, `query`, `fragment`, `opaque`.",
        source: "sprig",
        example: (
            "{{ (urlParse \"https://vis.test:8443/a%20b\").path }}",
            "/a b",
        ),
        call: take_apart,
    },
];

fn take_apart(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let raw = text(arguments, 0)?.bytes();
    // The parts, and what is made on the way to them.
    cx.allocate(raw.len().saturating_mul(6))?;
    let url = parse(raw)
        .map_err(|problem| Failure::showing_data(format!("unable to parse url: {problem}")))?;
    let hostname = url.hostname().to_vec();
    let parts = [
        ("scheme", url.scheme),
        ("host", url.host),
        ("hostname", hostname),
        ("path", url.path),
        ("query", url.query),
        ("opaque", url.opaque),
        ("fragment", url.fragment),
        (
            "userinfo",
            url.user.map(|user| user.encoded()).unwrap_or_default(),
        ),
    ];
    let dict = cx.dict()?;
    dict.reserve(parts.len());
    cx.allocate(parts.len() * size_of::<(Text, Value)>())?;
    for (key, part) in parts {
        dict.insert(Text::word(key), Value::Text(Text::new(part)));
    }
    Ok(Value::Dict(dict))
}

fn join(cx: &mut Context, arguments: &[Value]) -> Result<Value> {
    let dict = dict(arguments, 0)?;
    let scheme = part(dict, "scheme")?;
    cx.work(PARTS)?;
    let host = part(dict, "host")?;
    let path = part(dict, "path")?;
    let query = part(dict, "query")?;
    let opaque = part(dict, "opaque")?;
    let fragment = part(dict, "fragment")?;
    let user = user(cx, part(dict, "userinfo")?.bytes())?;

    let mut out = Output::new(cx);
    if !scheme.bytes().is_empty() {
        out.write(cx, scheme.bytes())?;
        out.write(cx, b":")?;
    }
    if opaque.bytes().is_empty() {
        authority(cx, &mut out, host.bytes(), path.bytes(), user)?;
        write_path(cx, &mut out, host.bytes(), path.bytes())?;
    } else {
        out.write(cx, opaque.bytes())?;
    }
    if !query.bytes().is_empty() {
        out.write(cx, b"?")?;
        out.write(cx, query.bytes())?;
    }
    if !fragment.bytes().is_empty() {
        out.write(cx, b"#")?;
        write_escaped(cx, &mut out, fragment.bytes(), Part::Fragment)?;
    }
    out.into_text(cx).map(Value::Text)
}

/// Steps for looking up the parts of a URL.
const PARTS: u64 = 10;

/// A part of the URL; absent ones are empty.
fn part(dict: &Dict, key: &str) -> Result<Text> {
    match dict.get(key.as_bytes()) {
        None => Ok(Text::default()),
        Some(Value::Text(text)) => Ok(text),
        Some(Value::Nil) => Err(Failure::nil_pointer()),
        Some(other) => Err(Failure::plain(format!(
            "unable to parse {key} key, must be of type string, but {} found",
            other.kind_name()
        ))),
    }
}

/// The user that a URL with this in front of its host has.
fn user(cx: &mut Context, userinfo: &[u8]) -> Result<Option<User>> {
    if userinfo.is_empty() {
        return Ok(None);
    }
    cx.allocate(userinfo.len().saturating_mul(6))?;
    let url = [b"proto://", userinfo, b"@host"].concat();
    let url = parse(&zeroize::Zeroizing::new(url)).map_err(|problem| {
        Failure::showing_data(format!("unable to parse userinfo in dict: {problem}"))
    })?;
    Ok(url.user)
}

/// What stands between the scheme and the path.
fn authority(
    cx: &mut Context,
    out: &mut Output,
    host: &[u8],
    path: &[u8],
    user: Option<User>,
) -> Result<()> {
    if host.is_empty() && user.is_none() && (out.bytes().is_empty() || path.is_empty()) {
        return Ok(());
    }
    out.write(cx, b"//")?;
    if let Some(user) = user {
        out.write(cx, &user.encoded())?;
        out.write(cx, b"@")?;
    }
    write_escaped(cx, out, host, Part::Host)
}

fn write_path(cx: &mut Context, out: &mut Output, host: &[u8], path: &[u8]) -> Result<()> {
    if !path.is_empty() && !path.starts_with(b"/") && !host.is_empty() {
        out.write(cx, b"/")?;
    }
    // A colon in the first segment would make that a scheme.
    let segment = path.split(|&byte| byte == b'/').next().unwrap_or_default();
    if out.bytes().is_empty() && segment.contains(&b':') {
        out.write(cx, b"./")?;
    }
    if path == b"*" {
        return out.write(cx, path);
    }
    write_escaped(cx, out, path, Part::Path)
}

fn write_escaped(cx: &mut Context, out: &mut Output, text: &[u8], part: Part) -> Result<()> {
    cx.work(text.len() as u64 / 4)?;
    out.room(cx, text.len().saturating_mul(3))?;
    escape(text, part, |bytes| out.extend(bytes));
    Ok(())
}

#[cfg(test)]
mod tests;
