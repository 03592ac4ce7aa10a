//! The values that templates work on: Go's, as far as a template can meet them.

mod dict;
mod string_map;
mod text;

use std::cell::OnceCell;
use std::rc::Rc;

pub(crate) use self::dict::Dict;
pub(crate) use self::string_map::StringMap;
pub(crate) use self::text::Text;
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

/// sprig's `certificate` struct: both in PEM.
pub(crate) struct Certificate {
    pub(crate) certificate: Text,
    pub(crate) key: Text,
}

// === impl Value ===

impl Value {
    /// Text of a string literal of this program.
    pub(crate) fn of(text: &'static str) -> Self {
        Self::Text(Text::word(text))
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
