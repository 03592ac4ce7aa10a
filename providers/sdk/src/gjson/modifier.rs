//! Modifiers: `@name` or `@name:argument`.
//!
//! `this`, `valid`, `keys`, `values`, `reverse`, `flatten`, `join`, `ugly`, `pretty`, `tostr`, `fromstr`, `group`, `dig`.

mod layout;

use crate::json::{self, Escape, Kind};

use super::{Found, Limits, MAX_DEPTH};

/// A modifier with its argument.
pub(super) struct Call<'a> {
    name: Name,
    argument: &'a str,
}

#[derive(Clone, Copy)]
enum Name {
    This,
    Valid,
    Keys,
    Values,
    Reverse,
    Flatten,
    Join,
    Ugly,
    Pretty,
    ToString,
    FromString,
    Group,
    Dig,
}

/// Parses a modifier at the start of a path, and what follows it. An unknown name is no modifier but a member.
pub(super) fn parse(path: &str) -> Option<(Call<'_>, &str)> {
    let text = path.strip_prefix('@')?;
    let end = text.find(['.', '|', ':']).unwrap_or(text.len());
    let name = match &text[..end] {
        "this" => Name::This,
        "valid" => Name::Valid,
        "keys" => Name::Keys,
        "values" => Name::Values,
        "reverse" => Name::Reverse,
        "flatten" => Name::Flatten,
        "join" => Name::Join,
        "ugly" => Name::Ugly,
        "pretty" => Name::Pretty,
        "tostr" => Name::ToString,
        "fromstr" => Name::FromString,
        "group" => Name::Group,
        "dig" => Name::Dig,
        _ => return None,
    };
    let rest = &text[end..];
    let Some(rest) = rest.strip_prefix(':') else {
        return Some((Call { name, argument: "" }, rest));
    };
    let end = match rest.as_bytes().first() {
        Some(b'{' | b'[' | b'"') => json::value_end(rest.as_bytes(), 0),
        _ => rest.find('|').unwrap_or(rest.len()),
    };
    Some((
        Call {
            name,
            argument: rest.get(..end)?,
        },
        rest.get(end..)?,
    ))
}

/// Applies a modifier to the value that `text` starts with.
pub(super) fn apply<'a>(call: &Call<'_>, text: &'a [u8], limits: Limits<'_>) -> Option<Found<'a>> {
    let text = json::trim(text);
    let kind = json::kind(text)?;
    Some(match call.name {
        Name::This => Found::borrowed(text),
        Name::Valid if json::is_valid(text) => Found::borrowed(text),
        Name::Valid => return None,
        Name::Keys => list(match kind {
            Kind::Object => json::members(text).map(|member| member.key).collect(),
            Kind::Array => json::elements(text).map(|_| b"null".as_slice()).collect(),
            _ => vec![b"null".as_slice()],
        }),
        Name::Values => match kind {
            Kind::Object => list(json::members(text).map(|member| member.value).collect()),
            Kind::Array => Found::borrowed(text),
            _ => list(vec![text]),
        },
        Name::Reverse => match kind {
            Kind::Array => {
                let mut elements: Vec<&[u8]> = json::elements(text).collect();
                elements.reverse();
                list(elements)
            }
            Kind::Object => {
                let mut members: Vec<_> = json::members(text)
                    .map(|member| (member.key, member.value))
                    .collect();
                members.reverse();
                object(&members)
            }
            _ => Found::borrowed(text),
        },
        Name::Flatten => match kind {
            Kind::Array => {
                let mut flat = Vec::new();
                flatten(text, option(call.argument, "deep"), &mut flat, limits);
                list(flat)
            }
            _ => Found::borrowed(text),
        },
        Name::Join => match kind {
            Kind::Array => join(text, option(call.argument, "preserve")),
            _ => Found::borrowed(text),
        },
        Name::Ugly => Found::owned(layout::ugly(text)),
        Name::Pretty => Found::owned(layout::pretty(text, call.argument)?),
        Name::ToString => {
            let mut out = Vec::with_capacity(text.len() + 2);
            json::write_string(&mut out, text, Escape::Html);
            Found::owned(out)
        }
        Name::FromString => {
            if kind != Kind::String || !json::is_valid(text) {
                return None;
            }
            Found::owned(std::mem::take(&mut *json::unescape(text)))
        }
        Name::Group => {
            if kind != Kind::Object {
                return None;
            }
            group(text)
        }
        Name::Dig => {
            let mut found = Vec::new();
            dig(text, call.argument, &mut found, limits);
            list(found)
        }
    })
}

/// Whether the JSON object `argument` has a member `name` that is true.
fn option(argument: &str, name: &str) -> bool {
    json::member(argument.as_bytes(), name)
        .is_some_and(|value| json::kind(value) == Some(Kind::True))
}

fn list(elements: Vec<&[u8]>) -> Found<'static> {
    let mut out = vec![b'['];
    out.extend_from_slice(&elements.join(&b','));
    out.push(b']');
    Found::owned(out)
}

fn object(members: &[(&[u8], &[u8])]) -> Found<'static> {
    let mut out = vec![b'{'];
    for (index, (key, value)) in members.iter().enumerate() {
        if index > 0 {
            out.push(b',');
        }
        out.extend_from_slice(key);
        out.push(b':');
        out.extend_from_slice(value);
    }
    out.push(b'}');
    Found::owned(out)
}

fn flatten<'a>(text: &'a [u8], deep: bool, out: &mut Vec<&'a [u8]>, limits: Limits<'_>) {
    for element in json::elements(text) {
        if json::kind(element) != Some(Kind::Array) {
            out.push(element);
        } else if deep && limits.depth < MAX_DEPTH {
            flatten(element, deep, out, limits.deeper());
        } else {
            out.extend(json::elements(element));
        }
    }
}

/// Objects of an array as one; without `preserve` the last of duplicate keys wins, at the place of the first.
fn join(text: &[u8], preserve: bool) -> Found<'static> {
    let mut members: Vec<(&[u8], &[u8])> = Vec::new();
    for member in json::elements(text)
        .filter(|element| json::kind(element) == Some(Kind::Object))
        .flat_map(json::members)
    {
        match members.iter_mut().find(|(key, _)| *key == member.key) {
            Some((_, value)) if !preserve => *value = member.value,
            _ => members.push((member.key, member.value)),
        }
    }
    object(&members)
}

/// An object of arrays as an array of objects.
fn group(text: &[u8]) -> Found<'static> {
    let mut objects: Vec<Vec<(&[u8], &[u8])>> = Vec::new();
    for member in json::members(text).filter(|member| json::kind(member.value) == Some(Kind::Array))
    {
        for (index, element) in json::elements(member.value).enumerate() {
            if objects.len() <= index {
                objects.push(Vec::new());
            }
            objects[index].push((member.key, element));
        }
    }
    let written: Vec<Found<'_>> = objects.iter().map(|members| object(members)).collect();
    list(written.iter().map(Found::raw).collect())
}

/// Everything that `path` names in the value and in every value below it.
fn dig<'a>(text: &'a [u8], path: &str, out: &mut Vec<&'a [u8]>, limits: Limits<'_>) {
    if limits.depth > MAX_DEPTH || path.is_empty() {
        return;
    }
    if let Some(Found {
        raw: std::borrow::Cow::Borrowed(raw),
    }) = super::evaluate(text, path, limits.deeper()).as_ref()
    {
        out.push(raw);
    }
    match json::kind(text) {
        Some(Kind::Object) => {
            json::members(text).for_each(|member| dig(member.value, path, out, limits.deeper()))
        }
        Some(Kind::Array) => {
            json::elements(text).for_each(|element| dig(element, path, out, limits.deeper()))
        }
        _ => {}
    }
}
