//! The parts of a path.

use crate::json::{self, Escape};

use super::modifier;

/// One component and what follows it.
pub(super) struct Component<'a> {
    pub(super) pattern: Pattern,
    pub(super) next: Next<'a>,
}

/// What follows a component.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next<'a> {
    End,
    /// Behind a `.`.
    Path(&'a str),
    /// Behind a `|`, or behind a `.` that a modifier or selectors follow.
    Pipe(&'a str),
}

/// The name of a member, perhaps with wildcards.
pub(super) struct Pattern(Vec<Token>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Token {
    Byte(u8),
    /// `?`: one character.
    One,
    /// `*`: any number of characters.
    Many,
}

/// One of several paths.
pub(super) struct Selector<'a> {
    name: Option<&'a str>,
    pub(super) path: &'a str,
}

/// Splits the first component off.
pub(super) fn component(path: &str) -> Component<'_> {
    let mut tokens = Vec::new();
    let mut characters = path.char_indices();
    while let Some((index, character)) = characters.next() {
        match character {
            '.' => {
                let rest = &path[index + 1..];
                let next = if starts_pipe(rest) {
                    Next::Pipe(rest)
                } else {
                    Next::Path(rest)
                };
                return Component {
                    pattern: Pattern(tokens),
                    next,
                };
            }
            '|' => {
                return Component {
                    pattern: Pattern(tokens),
                    next: Next::Pipe(&path[index + 1..]),
                };
            }
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            '\\' => {
                if let Some((_, escaped)) = characters.next() {
                    push_literal(&mut tokens, escaped);
                }
            }
            other => push_literal(&mut tokens, other),
        }
    }
    Component {
        pattern: Pattern(tokens),
        next: Next::End,
    }
}

fn push_literal(tokens: &mut Vec<Token>, character: char) {
    tokens.extend(character.encode_utf8(&mut [0; 4]).bytes().map(Token::Byte));
}

/// Whether what follows a `.` applies to the value as a whole.
fn starts_pipe(rest: &str) -> bool {
    rest.starts_with(['[', '{']) || modifier::parse(rest).is_some()
}

// === impl Pattern ===

impl Pattern {
    /// The index that this component names in an array.
    pub(super) fn index(&self) -> Option<usize> {
        let mut index = None::<usize>;
        for token in &self.0 {
            let Token::Byte(digit @ b'0'..=b'9') = token else {
                return None;
            };
            index = Some(
                index
                    .unwrap_or(0)
                    .checked_mul(10)?
                    .checked_add(usize::from(digit - b'0'))?,
            );
        }
        index
    }

    /// Whether the whole of `name` matches. Linear but for patterns with several stars, then the product of both lengths.
    pub(super) fn matches(&self, name: &[u8]) -> bool {
        let (mut token, mut byte) = (0, 0);
        let mut retry: Option<(usize, usize)> = None;
        while byte < name.len() {
            match self.0.get(token) {
                Some(Token::Byte(wanted)) if *wanted == name[byte] => {
                    token += 1;
                    byte += 1;
                    continue;
                }
                Some(Token::One) => {
                    token += 1;
                    byte += character_width(name, byte);
                    continue;
                }
                Some(Token::Many) => {
                    retry = Some((token, byte));
                    token += 1;
                    continue;
                }
                _ => {}
            }
            let Some((star, start)) = retry else {
                return false;
            };
            retry = Some((star, start + 1));
            token = star + 1;
            byte = start + 1;
        }
        self.0[token..].iter().all(|token| *token == Token::Many)
    }
}

fn character_width(text: &[u8], start: usize) -> usize {
    text[start + 1..]
        .iter()
        .take(3)
        .take_while(|byte| **byte & 0xc0 == 0x80)
        .count()
        + 1
}

/// A pattern over plain text, for queries.
pub(super) fn wildcard_match(text: &[u8], pattern: &str) -> bool {
    let mut tokens = Vec::new();
    let mut characters = pattern.chars();
    while let Some(character) = characters.next() {
        match character {
            '*' => tokens.push(Token::Many),
            '?' => tokens.push(Token::One),
            '\\' => push_literal(&mut tokens, characters.next().unwrap_or('\\')),
            other => push_literal(&mut tokens, other),
        }
    }
    Pattern(tokens).matches(text)
}

/// Splits at the first `|` that stands outside of brackets and strings.
pub(super) fn split_pipe(path: &str) -> (&str, Option<&str>) {
    match find_outside(path, &['|']) {
        Some(index) => (&path[..index], Some(&path[index + 1..])),
        None => (path, None),
    }
}

/// Index of the first of `wanted` outside of brackets, strings and escapes.
fn find_outside(text: &str, wanted: &[char]) -> Option<usize> {
    let mut depth = 0_usize;
    let mut index = 0;
    let bytes = text.as_bytes();
    while let Some(&byte) = bytes.get(index) {
        match byte {
            b'\\' => index += 1,
            b'"' => {
                index = json::string_end(bytes, index);
                continue;
            }
            _ if depth == 0 && wanted.contains(&char::from(byte)) => return Some(index),
            b'(' | b'[' | b'{' => depth += 1,
            b')' | b']' | b'}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        index += 1;
    }
    None
}

/// Index of the bracket that closes the one at the start of `text`.
pub(super) fn closing(text: &str) -> Option<usize> {
    let inner = text.get(1..)?;
    find_outside(inner, &[')', ']', '}']).map(|index| index + 1)
}

/// A literal at the start of a path: its JSON text and what follows.
pub(super) fn literal(path: &str) -> Option<(&[u8], &str)> {
    let text = path.strip_prefix('!')?;
    let start = json::kind(text.as_bytes())?;
    let end = match start {
        json::Kind::String | json::Kind::Object | json::Kind::Array => {
            json::value_end(text.as_bytes(), 0)
        }
        _ => text
            .find(['.', '|', ',', ' ', ']', '}'])
            .unwrap_or(text.len()),
    };
    Some((text.as_bytes().get(..end)?, text.get(end..)?))
}

/// Several paths at the start of a path, and what follows them.
pub(super) fn selectors(path: &str) -> Option<(Vec<Selector<'_>>, &str)> {
    if !path.starts_with(['{', '[']) {
        return None;
    }
    let close = closing(path)?;
    let rest = &path[close + 1..];
    if !rest.is_empty() && !rest.starts_with(['.', '|']) {
        return None;
    }
    let mut list = Vec::new();
    let mut inner = &path[1..close];
    while !inner.is_empty() {
        let end = find_outside(inner, &[',']).unwrap_or(inner.len());
        list.push(selector(&inner[..end], path.starts_with('{')));
        inner = inner.get(end + 1..).unwrap_or_default();
    }
    Some((list, rest))
}

fn selector(text: &str, named: bool) -> Selector<'_> {
    if named
        && !text.starts_with('@')
        && let Some(colon) = find_outside(text, &[':'])
    {
        let name = &text[..colon];
        if !name.contains(['.', '|', '@', '#']) || name.starts_with('"') {
            return Selector {
                name: Some(name),
                path: &text[colon + 1..],
            };
        }
    }
    Selector {
        name: None,
        path: text,
    }
}

// === impl Selector ===

impl Selector<'_> {
    /// Writes the name of this selector: the given one, else the last component of the path if it is a plain word, else `_`.
    pub(super) fn write_name(&self, out: &mut Vec<u8>) {
        match self.name {
            Some(name) if name.starts_with('"') && json::is_valid(name.as_bytes()) => {
                out.extend_from_slice(name.as_bytes())
            }
            Some(name) => json::write_string(out, name.as_bytes(), Escape::Html),
            None => {
                let last = self.path.rsplit(['.', '|']).next().unwrap_or_default();
                let simple = !last.is_empty()
                    && last
                        .bytes()
                        .all(|byte| byte > b' ' && !br#"[]{}()#|!@*?\":,"#.contains(&byte));
                json::write_string(
                    out,
                    if simple { last.as_bytes() } else { b"_" },
                    Escape::Html,
                );
            }
        }
    }
}
