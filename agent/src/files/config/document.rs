//! YAML with the line of every field, and a reader that collects what is wrong with it.

use std::cell::RefCell;
use std::collections::HashMap;
use std::fmt;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::{self, Deserializer, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Value};
use serde_saphyr::Spanned;

use crate::volumes::attributes::{distance, quoted};

/// Most values in a file, and deepest nesting.
const MAX_NODES: usize = 200_000;
const MAX_DEPTH: usize = 64;

/// One thing that is wrong with a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mistake {
    /// The file.
    pub file: PathBuf,
    /// Where in it, counted from 1.
    pub line: Option<u64>,
    /// Path of the field, as in `entries[0].directory`; empty for the file as a whole.
    pub path: String,
    /// What is wrong, and what would be right.
    pub text: String,
}

/// A parsed file. Its lines are found by the path of a field.
pub(super) struct Document {
    file: PathBuf,
    lines: HashMap<String, u64>,
    mistakes: RefCell<Vec<Mistake>>,
}

/// A map of a document, of which only known keys are read.
pub(super) struct Fields<'a> {
    document: &'a Document,
    path: String,
    map: &'a Map<String, Value>,
}

struct Node(Spanned<Kind>);

enum Kind {
    Plain(Value),
    List(Vec<Node>),
    Map(Vec<(Spanned<String>, Node)>),
}

impl fmt::Display for Mistake {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.file.display())?;
        if let Some(line) = self.line {
            write!(formatter, ":{line}")?;
        }
        if !self.path.is_empty() {
            write!(formatter, ": {}", self.path)?;
        }
        write!(formatter, ": {}", self.text)
    }
}

// === impl Document ===

impl Document {
    /// Reads `text`, which is that of `file`.
    pub(super) fn parse(file: &Path, text: &str) -> Result<(Self, Value), Mistake> {
        let options = serde_saphyr::options! {
            with_snippet: false,
            strict_booleans: true,
            budget: serde_saphyr::budget! { max_nodes: MAX_NODES, max_depth: MAX_DEPTH },
        };
        let node: Node =
            serde_saphyr::from_str_with_options(text, options).map_err(|error| Mistake {
                file: file.to_owned(),
                line: error.location().map(|location| location.line()),
                path: String::new(),
                text: format!("is not YAML: {}", one_line(&error.to_string())),
            })?;
        let mut lines = HashMap::new();
        let value = flatten(node, String::new(), &mut lines);
        let document = Self {
            file: file.to_owned(),
            lines,
            mistakes: RefCell::default(),
        };
        Ok((document, value))
    }

    /// Notes a mistake in the field at `path`.
    pub(super) fn wrong(&self, path: &str, text: impl Into<String>) {
        self.mistakes.borrow_mut().push(Mistake {
            file: self.file.clone(),
            line: self.line(path),
            path: path.to_owned(),
            text: text.into(),
        });
    }

    /// All mistakes so far, in the order of the file.
    pub(super) fn into_mistakes(self) -> Vec<Mistake> {
        let mut mistakes = self.mistakes.into_inner();
        mistakes.sort_by_key(|mistake| mistake.line);
        mistakes
    }

    /// How many there are.
    pub(super) fn count(&self) -> usize {
        self.mistakes.borrow().len()
    }

    /// Line of the field, or of the nearest one around it.
    fn line(&self, path: &str) -> Option<u64> {
        let mut path = path;
        loop {
            if let Some(line) = self.lines.get(path) {
                return Some(*line);
            }
            path = &path[..path.rfind(['.', '['])?];
        }
    }

    /// The map at `path`; other values, and keys other than `known`, are mistakes.
    pub(super) fn fields<'a>(
        &'a self,
        path: &str,
        value: &'a Value,
        known: &[&str],
    ) -> Option<Fields<'a>> {
        let Value::Object(map) = value else {
            self.wrong(path, format!("must be a map with {}", known.join(", ")));
            return None;
        };
        for key in map.keys() {
            if !known.contains(&key.as_str()) {
                self.wrong(&join(path, key), unknown(key, known.iter().copied()));
            }
        }
        Some(Fields {
            document: self,
            path: path.to_owned(),
            map,
        })
    }
}

// === impl Fields ===

impl<'a> Fields<'a> {
    pub(super) fn at(&self, key: &str) -> String {
        join(&self.path, key)
    }

    pub(super) fn get(&self, key: &str) -> Option<&'a Value> {
        self.map.get(key).filter(|value| !value.is_null())
    }

    pub(super) fn wrong(&self, key: &str, text: impl Into<String>) {
        self.document.wrong(&self.at(key), text);
    }

    /// A text that is not empty.
    pub(super) fn text(&self, key: &str) -> Option<&'a str> {
        match self.get(key)? {
            Value::String(text) if !text.is_empty() => Some(text),
            Value::String(_) => {
                self.wrong(key, "must not be empty");
                None
            }
            Value::Number(_) | Value::Bool(_) => {
                self.wrong(key, "must be text; put it in quotes");
                None
            }
            _ => {
                self.wrong(key, "must be text");
                None
            }
        }
    }

    /// The same, and a mistake if it is not there.
    pub(super) fn required(&self, key: &str) -> Option<&'a str> {
        if self.get(key).is_none() {
            self.document
                .wrong(&self.path, format!("lacks {key}, which is required"));
            return None;
        }
        self.text(key)
    }

    pub(super) fn list(&self, key: &str) -> &'a [Value] {
        match self.get(key) {
            None => &[],
            Some(Value::Array(items)) => items,
            Some(_) => {
                self.wrong(key, "must be a list");
                &[]
            }
        }
    }

    /// The map at `key`, if there is one.
    pub(super) fn fields(&self, key: &str, known: &[&str]) -> Option<Fields<'a>> {
        self.document.fields(&self.at(key), self.get(key)?, known)
    }
}

/// Where `key` of the map at `path` is.
pub(super) fn join(path: &str, key: &str) -> String {
    if path.is_empty() {
        key.to_owned()
    } else {
        format!("{path}.{key}")
    }
}

/// What to say of a key that is none of `known`.
pub(super) fn unknown<'k>(key: &str, known: impl Iterator<Item = &'k str> + Clone) -> String {
    match nearest(key, known.clone()) {
        Some(near) => format!("unknown key {}; did you mean {near}?", quoted(key)),
        None => {
            let known: Vec<&str> = known.collect();
            format!(
                "unknown key {}; known are {}",
                quoted(key),
                known.join(", ")
            )
        }
    }
}

/// The one of `known` that was probably meant.
pub(super) fn nearest<'k>(wrong: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    let wrong = wrong.to_ascii_lowercase();
    if wrong.len() > 64 {
        return None;
    }
    known
        .map(|known| (distance(&wrong, &known.to_ascii_lowercase()), known))
        .min_by_key(|(steps, _)| *steps)
        .filter(|(steps, known)| *steps <= (known.len() / 3).max(1))
        .map(|(_, known)| known)
}

fn one_line(text: &str) -> String {
    let line = text.lines().map(str::trim).collect::<Vec<_>>().join(" ");
    line.chars().take(256).collect()
}

fn flatten(node: Node, path: String, lines: &mut HashMap<String, u64>) -> Value {
    let line = node.0.referenced.line();
    match node.0.value {
        Kind::Plain(value) => {
            lines.entry(path).or_insert(line);
            value
        }
        Kind::List(items) => {
            let items = items.into_iter().enumerate();
            let items = items
                .map(|(index, item)| flatten(item, format!("{path}[{index}]"), lines))
                .collect();
            lines.entry(path).or_insert(line);
            Value::Array(items)
        }
        Kind::Map(pairs) => {
            let mut map = Map::new();
            for (key, value) in pairs {
                let below = join(&path, &key.value);
                // The line of the key: the value of a block begins below it.
                lines.insert(below.clone(), key.referenced.line());
                map.insert(key.value, flatten(value, below, lines));
            }
            lines.entry(path).or_insert(line);
            Value::Object(map)
        }
    }
}

// === impl Node ===

impl<'de> Deserialize<'de> for Node {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Spanned::deserialize(deserializer).map(Self)
    }
}

impl<'de> Deserialize<'de> for Kind {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        deserializer.deserialize_any(KindVisitor)
    }
}

struct KindVisitor;

impl<'de> Visitor<'de> for KindVisitor {
    type Value = Kind;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a value")
    }

    fn visit_unit<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Plain(Value::Null))
    }

    fn visit_none<E: de::Error>(self) -> Result<Kind, E> {
        Ok(Kind::Plain(Value::Null))
    }

    fn visit_some<D: Deserializer<'de>>(self, deserializer: D) -> Result<Kind, D::Error> {
        Kind::deserialize(deserializer)
    }

    fn visit_bool<E: de::Error>(self, value: bool) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_i64<E: de::Error>(self, value: i64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_u64<E: de::Error>(self, value: u64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_f64<E: de::Error>(self, value: f64) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_str<E: de::Error>(self, value: &str) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_string<E: de::Error>(self, value: String) -> Result<Kind, E> {
        Ok(Kind::Plain(value.into()))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Kind, A::Error> {
        let mut list = Vec::new();
        while let Some(item) = items.next_element()? {
            list.push(item);
        }
        Ok(Kind::List(list))
    }

    fn visit_map<A: MapAccess<'de>>(self, mut entries: A) -> Result<Kind, A::Error> {
        let mut pairs = Vec::new();
        while let Some(pair) = entries.next_entry()? {
            pairs.push(pair);
        }
        Ok(Kind::Map(pairs))
    }
}
