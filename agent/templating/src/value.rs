//! The values that templates work on: Go's, as far as a template can meet them.

use std::cell::{OnceCell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::rc::Rc;

use latchkey_secret::SecretValue;
use zeroize::Zeroizing;

use crate::time::{Time, Zone};
use crate::version::Version;

/// A Go value with its type. Cheap to clone.
#[derive(Clone)]
pub(crate) enum Value {
    /// The untyped nil.
    Nil,
    /// `bool`
    Bool(bool),
    /// `int`, 64 bits wide as upstream's images have it.
    Int(i64),
    /// `int64`
    Int64(i64),
    /// `uint8`: a byte of a string.
    Uint8(u8),
    /// `uint64`: parts of a version.
    Uint64(u64),
    /// `float64`
    Float(f64),
    /// `complex128`
    Complex(f64, f64),
    /// `string`
    Text(Text),
    /// A slice type.
    List(List),
    /// `map[string]interface {}`
    Dict(Dict),
    /// `map[string]string`
    StringMap(StringMap),
    /// `time.Time`
    Time(Rc<Time>),
    /// `time.Duration`, in nanoseconds.
    Duration(i64),
    /// `time.Month`, from 1.
    Month(u8),
    /// `time.Weekday`, Sunday is 0.
    Weekday(u8),
    /// `*time.Location`
    Location(Zone),
    /// `*semver.Version`; `None` is a nil pointer.
    Version(Option<Rc<Version>>),
    /// `semver.Version`, what the Inc methods return.
    SemverStruct(Rc<Version>),
    /// `sprig.certificate`
    Certificate(Rc<Certificate>),
}

/// A byte string that need not be UTF-8. Clones share the bytes, which are wiped with the last of them.
#[derive(Clone)]
pub(crate) struct Text(Bytes);

/// Where the bytes of a [`Text`] are.
#[derive(Clone)]
enum Bytes {
    /// Made by the render.
    Own(Rc<Zeroizing<Vec<u8>>>),
    /// Those of a provider's value, not copied.
    Secret(SecretValue),
    /// A name, which is no secret and not wiped.
    Name(Rc<str>),
}

/// The element type of a [`List`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Element {
    /// `[]interface {}`
    Any,
    /// `[]string`
    Text,
    /// `[]int`
    Int,
    /// `[][]interface {}`
    List,
    /// `[]uint8`
    Byte,
}

/// A slice: a window on shared elements that never change, but for [`List::sort_texts`].
#[derive(Clone)]
pub(crate) struct List {
    element: Element,
    /// `None` is a nil slice.
    items: Option<Rc<Items>>,
    start: usize,
    end: usize,
}

/// The shared part of a [`List`].
struct Items {
    values: Vec<Value>,
    /// What the elements are since they were sorted in place.
    sorted: OnceCell<Vec<Value>>,
    /// 1 more than that of the deepest list inside.
    depth: u32,
}

/// `map[string]interface {}`: a reference, so a change through one clone shows in all.
///
/// Make one with [`crate::context::Context::dict`] only, which empties it at the end of the render.
#[derive(Clone)]
pub(crate) struct Dict(Option<Rc<RefCell<BTreeMap<Text, Value>>>>);

/// `map[string]string`. Never changes.
#[derive(Clone)]
pub(crate) struct StringMap(Rc<BTreeMap<Text, Text>>);

/// sprig's `certificate` struct: both in PEM.
pub(crate) struct Certificate {
    pub(crate) certificate: Text,
    pub(crate) key: Text,
}

// === impl Value ===

impl Value {
    /// Text of a string literal of this program.
    pub(crate) fn of(text: &str) -> Self {
        Self::Text(Text::from(text))
    }

    /// The type's name as `%T` prints it.
    pub(crate) fn type_name(&self) -> &'static str {
        match self {
            Self::Nil => "<nil>",
            Self::Bool(_) => "bool",
            Self::Int(_) => "int",
            Self::Int64(_) => "int64",
            Self::Uint8(_) => "uint8",
            Self::Uint64(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::Text(_) => "string",
            Self::List(list) => list.type_name(),
            Self::Dict(_) => "map[string]interface {}",
            Self::StringMap(_) => "map[string]string",
            Self::Time(_) => "time.Time",
            Self::Duration(_) => "time.Duration",
            Self::Month(_) => "time.Month",
            Self::Weekday(_) => "time.Weekday",
            Self::Location(_) => "*time.Location",
            Self::Version(_) => "*semver.Version",
            Self::SemverStruct(_) => "semver.Version",
            Self::Certificate(_) => "sprig.certificate",
        }
    }

    /// The kind's name as `reflect.Kind` prints it.
    pub(crate) fn kind_name(&self) -> &'static str {
        match self {
            Self::Nil => "invalid",
            Self::Bool(_) => "bool",
            Self::Int(_) | Self::Month(_) | Self::Weekday(_) => "int",
            Self::Int64(_) | Self::Duration(_) => "int64",
            Self::Uint8(_) => "uint8",
            Self::Uint64(_) => "uint64",
            Self::Float(_) => "float64",
            Self::Complex(..) => "complex128",
            Self::Text(_) => "string",
            Self::List(_) => "slice",
            Self::Dict(_) | Self::StringMap(_) => "map",
            Self::Time(_) | Self::SemverStruct(_) | Self::Certificate(_) => "struct",
            Self::Version(_) | Self::Location(_) => "ptr",
        }
    }

    /// Go template's truth: what `if` takes for true.
    pub(crate) fn is_true(&self) -> bool {
        match self {
            Self::Nil => false,
            Self::Bool(value) => *value,
            Self::Int(value) | Self::Int64(value) | Self::Duration(value) => *value != 0,
            Self::Uint8(value) | Self::Month(value) | Self::Weekday(value) => *value != 0,
            Self::Uint64(value) => *value != 0,
            Self::Float(value) => *value != 0.0,
            Self::Complex(real, imaginary) => *real != 0.0 || *imaginary != 0.0,
            Self::Text(text) => !text.bytes().is_empty(),
            Self::List(list) => list.len() > 0,
            Self::Dict(dict) => dict.len() > 0,
            Self::StringMap(map) => map.len() > 0,
            Self::Version(version) => version.is_some(),
            Self::Time(_) | Self::Location(_) | Self::SemverStruct(_) | Self::Certificate(_) => {
                true
            }
        }
    }

    /// The bytes of a string; `None` for other types.
    pub(crate) fn as_bytes(&self) -> Option<&[u8]> {
        match self {
            Self::Text(text) => Some(text.bytes()),
            _ => None,
        }
    }

    /// How deep lists are inside this one: 0 for anything else. Dicts count as 0, see [`Dict`].
    fn depth(&self) -> u32 {
        match self {
            Self::List(list) => list.depth(),
            _ => 0,
        }
    }
}

// === impl Text ===

impl Text {
    pub(crate) fn new(bytes: Vec<u8>) -> Self {
        Self(Bytes::Own(Rc::new(Zeroizing::new(bytes))))
    }

    /// The bytes of `value`, shared.
    pub(crate) fn secret(value: SecretValue) -> Self {
        Self(Bytes::Secret(value))
    }

    /// A key or another word that is no secret.
    pub(crate) fn name(name: &str) -> Self {
        Self(Bytes::Name(name.into()))
    }

    pub(crate) fn bytes(&self) -> &[u8] {
        match &self.0 {
            Bytes::Own(bytes) => bytes,
            Bytes::Secret(value) => value.expose(),
            Bytes::Name(name) => name.as_bytes(),
        }
    }

    /// For error texts only: each byte that is not UTF-8 becomes U+FFFD.
    pub(crate) fn to_lossy(&self) -> std::borrow::Cow<'_, str> {
        match std::str::from_utf8(self.bytes()) {
            Ok(text) => text.into(),
            Err(_) => crate::unicode::runes(self.bytes())
                .collect::<String>()
                .into(),
        }
    }
}

impl Default for Text {
    fn default() -> Self {
        Self::new(Vec::new())
    }
}

impl From<&str> for Text {
    fn from(text: &str) -> Self {
        Self::new(text.as_bytes().to_vec())
    }
}

impl std::borrow::Borrow<[u8]> for Text {
    fn borrow(&self) -> &[u8] {
        self.bytes()
    }
}

impl PartialEq for Text {
    fn eq(&self, other: &Self) -> bool {
        self.bytes() == other.bytes()
    }
}

impl Eq for Text {}

impl PartialOrd for Text {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Text {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.bytes().cmp(other.bytes())
    }
}

impl fmt::Debug for Text {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Text({} bytes)", self.bytes().len())
    }
}

// === impl List ===

impl List {
    /// The nil slice of a type.
    pub(crate) fn nil(element: Element) -> Self {
        Self {
            element,
            items: None,
            start: 0,
            end: 0,
        }
    }

    /// A slice of `values`, which must all be of the element type. Use [`crate::context::Context::list`], which pays for it
    /// and bounds the depth.
    pub(crate) fn new(element: Element, values: Vec<Value>) -> Self {
        let depth = values.iter().map(Value::depth).max().unwrap_or(0) + 1;
        let end = values.len();
        Self {
            element,
            items: Some(Rc::new(Items {
                values,
                sorted: OnceCell::new(),
                depth,
            })),
            start: 0,
            end,
        }
    }

    pub(crate) fn element(&self) -> Element {
        self.element
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.items.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.end - self.start
    }

    /// The elements of the window.
    pub(crate) fn values(&self) -> &[Value] {
        match &self.items {
            Some(items) => &items.now()[self.start..self.end],
            None => &[],
        }
    }

    /// Go's `cap`: the window's length and what lies behind it.
    pub(crate) fn capacity(&self) -> usize {
        self.items
            .as_ref()
            .map_or(0, |items| items.values.len() - self.start)
    }

    /// The window from `from` to `to`, relative to this one; `None` beyond the capacity or the wrong way round.
    pub(crate) fn window(&self, from: usize, to: usize) -> Option<Self> {
        if from > to || to > self.capacity() {
            return None;
        }
        Some(Self {
            element: self.element,
            items: self.items.clone(),
            start: self.start + from,
            end: self.start + to,
        })
    }

    /// Sorts the texts of the window by bytes, in place: every list that shares them shows it, as in Go. `false` if that cannot
    /// be done, because another window on them was sorted before. The caller pays.
    pub(crate) fn sort_texts(&self) -> bool {
        let Some(items) = &self.items else {
            return true;
        };
        if self
            .values()
            .is_sorted_by(|one, other| one.as_bytes() <= other.as_bytes())
        {
            return true;
        }
        let mut values = items.values.clone();
        values[self.start..self.end]
            .sort_unstable_by(|one, other| one.as_bytes().cmp(&other.as_bytes()));
        items.sorted.set(values).is_ok()
    }

    /// Whether both are the same window on the same elements.
    pub(crate) fn is_same(&self, other: &Self) -> bool {
        let same_items = match (&self.items, &other.items) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        };
        same_items && self.start == other.start && self.end == other.end
    }

    /// How deep lists lie in lists: 1 for a flat one.
    pub(crate) fn depth(&self) -> u32 {
        self.items.as_ref().map_or(1, |items| items.depth)
    }

    /// The slice type's name.
    pub(crate) fn type_name(&self) -> &'static str {
        match self.element {
            Element::Any => "[]interface {}",
            Element::Text => "[]string",
            Element::Int => "[]int",
            Element::List => "[][]interface {}",
            Element::Byte => "[]uint8",
        }
    }
}

// === impl Items ===

impl Items {
    /// The elements as they are now.
    fn now(&self) -> &[Value] {
        self.sorted.get().unwrap_or(&self.values)
    }
}

// === impl Dict ===

impl Dict {
    pub(crate) fn new() -> Self {
        Self(Some(Rc::default()))
    }

    /// The nil map.
    pub(crate) fn nil() -> Self {
        Self(None)
    }

    pub(crate) fn is_nil(&self) -> bool {
        self.0.is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| map.borrow().len())
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Value> {
        self.0.as_ref()?.borrow().get(key).cloned()
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.0
            .as_ref()
            .is_some_and(|map| map.borrow().contains_key(key))
    }

    /// Sets an entry. `false` for the nil map, which takes none. The caller pays.
    pub(crate) fn insert(&self, key: Text, value: Value) -> bool {
        let Some(map) = &self.0 else {
            return false;
        };
        // The old value is dropped after the borrow ends: its drop may look at this very dict.
        let old = map.borrow_mut().insert(key, value);
        drop(old);
        true
    }

    pub(crate) fn remove(&self, key: &[u8]) {
        if let Some(map) = &self.0 {
            let old = map.borrow_mut().remove(key);
            drop(old);
        }
    }

    /// The entries as they are now, by key. Later changes do not show.
    pub(crate) fn entries(&self) -> Vec<(Text, Value)> {
        let Some(map) = &self.0 else {
            return Vec::new();
        };
        map.borrow()
            .iter()
            .map(|(key, value)| (key.clone(), value.clone()))
            .collect()
    }

    /// Calls `step` with each entry, by key, until it fails. `step` must not change this dict.
    pub(crate) fn try_each<E>(
        &self,
        mut step: impl FnMut(&Text, &Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(map) = &self.0 else {
            return Ok(());
        };
        map.borrow()
            .iter()
            .try_for_each(|(key, value)| step(key, value))
    }

    /// The keys in order.
    pub(crate) fn keys(&self) -> Vec<Text> {
        let Some(map) = &self.0 else {
            return Vec::new();
        };
        map.borrow().keys().cloned().collect()
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (Some(one), Some(other)) => Rc::ptr_eq(one, other),
            (None, None) => true,
            _ => false,
        }
    }

    pub(crate) fn clear(&self) {
        if let Some(map) = &self.0 {
            let old = std::mem::take(&mut *map.borrow_mut());
            drop(old);
        }
    }
}

// === impl StringMap ===

impl StringMap {
    pub(crate) fn new(entries: BTreeMap<Text, Text>) -> Self {
        Self(Rc::new(entries))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Text> {
        self.0.get(key)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The entries by key.
    pub(crate) fn entries(&self) -> impl Iterator<Item = (&Text, &Text)> {
        self.0.iter()
    }
}
