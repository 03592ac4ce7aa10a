//! `map[string]interface {}`.

use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Text, Value};

/// `map[string]interface {}`: a reference, so a change through one clone shows in all.
///
/// Make one with [`crate::context::Context::dict`] only, which empties it at the end of the render.
#[derive(Clone)]
pub(crate) struct Dict(Option<Rc<RefCell<Map>>>);

/// Entries by key.
enum Map {
    /// Up to [`FEW`] in their order: a tree takes ten times the memory for one entry.
    Few(Vec<(Text, Value)>),
    Many(BTreeMap<Text, Value>),
}

/// The most entries that are looked through as a list.
const FEW: usize = 16;

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

    /// Makes place for `count` entries in an empty dict, if they are few.
    pub(crate) fn reserve(&self, count: usize) {
        if let Some(map) = &self.0
            && let Map::Few(entries) = &mut *map.borrow_mut()
        {
            entries.reserve_exact(count.min(FEW));
        }
    }

    pub(crate) fn len(&self) -> usize {
        self.0.as_ref().map_or(0, |map| match &*map.borrow() {
            Map::Few(entries) => entries.len(),
            Map::Many(entries) => entries.len(),
        })
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<Value> {
        match &*self.0.as_ref()?.borrow() {
            Map::Few(entries) => {
                let entry = entries.get(find(entries, key).ok()?)?;
                Some(entry.1.clone())
            }
            Map::Many(entries) => entries.get(key).cloned(),
        }
    }

    pub(crate) fn contains(&self, key: &[u8]) -> bool {
        self.0.as_ref().is_some_and(|map| match &*map.borrow() {
            Map::Few(entries) => find(entries, key).is_ok(),
            Map::Many(entries) => entries.contains_key(key),
        })
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
        match &*map.borrow() {
            Map::Few(entries) => entries.clone(),
            Map::Many(entries) => entries
                .iter()
                .map(|(key, value)| (key.clone(), value.clone()))
                .collect(),
        }
    }

    /// Calls `step` with each entry, by key, until it fails. `step` must not change this dict.
    pub(crate) fn try_each<E>(
        &self,
        mut step: impl FnMut(&Text, &Value) -> Result<(), E>,
    ) -> Result<(), E> {
        let Some(map) = &self.0 else {
            return Ok(());
        };
        match &*map.borrow() {
            Map::Few(entries) => entries.iter().try_for_each(|(key, value)| step(key, value)),
            Map::Many(entries) => entries.iter().try_for_each(|(key, value)| step(key, value)),
        }
    }

    /// The keys in order.
    pub(crate) fn keys(&self) -> Vec<Text> {
        let Some(map) = &self.0 else {
            return Vec::new();
        };
        match &*map.borrow() {
            Map::Few(entries) => entries.iter().map(|(key, _)| key.clone()).collect(),
            Map::Many(entries) => entries.keys().cloned().collect(),
        }
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

// === impl Map ===

impl Map {
    /// Sets an entry and returns the old value.
    fn insert(&mut self, key: Text, value: Value) -> Option<Value> {
        let entries = match self {
            Self::Few(entries) => entries,
            Self::Many(entries) => return entries.insert(key, value),
        };
        match find(entries, key.bytes()) {
            Ok(place) => {
                let entry = entries.get_mut(place)?;
                Some(std::mem::replace(&mut entry.1, value))
            }
            Err(place) if entries.len() < FEW => {
                if entries.len() == entries.capacity() {
                    // As many again; two at first, where `Vec` takes four.
                    entries.reserve_exact(entries.len().max(2));
                }
                entries.insert(place, (key, value));
                None
            }
            Err(_) => {
                let mut many: BTreeMap<_, _> = std::mem::take(entries).into_iter().collect();
                many.insert(key, value);
                *self = Self::Many(many);
                None
            }
        }
    }

    fn remove(&mut self, key: &[u8]) -> Option<(Text, Value)> {
        match self {
            Self::Few(entries) => {
                let place = find(entries, key).ok()?;
                Some(entries.remove(place))
            }
            Self::Many(entries) => entries.remove_entry(key),
        }
    }
}

impl Default for Map {
    fn default() -> Self {
        Self::Few(Vec::new())
    }
}

/// Where the entry of a key is, or belongs.
fn find(entries: &[(Text, Value)], key: &[u8]) -> Result<usize, usize> {
    entries.binary_search_by(|(known, _)| known.bytes().cmp(key))
}

#[cfg(test)]
mod tests {
    use super::{Dict, FEW};
    use crate::value::{Text, Value};

    #[test]
    fn entries_are_by_key_however_many_there_are() {
        let dict = Dict::new();
        // Backwards, and each twice.
        for number in (0..2 * FEW).rev().chain(0..2 * FEW) {
            let key = format!("{number:03}");
            assert!(dict.insert(Text::from(&*key), Value::Int(number as i64)));
        }
        assert_eq!(dict.len(), 2 * FEW);
        let keys: Vec<_> = dict
            .keys()
            .iter()
            .map(|key| key.to_lossy().into_owned())
            .collect();
        assert!(keys.is_sorted());
        assert!(matches!(dict.get(b"017"), Some(Value::Int(17))));
        dict.remove(b"017");
        assert!(!dict.contains(b"017"));
        assert_eq!(dict.entries().len(), 2 * FEW - 1);
    }

    #[test]
    fn a_few_entries_are_set_and_removed_in_place() {
        let dict = Dict::new();
        dict.reserve(3);
        for (key, number) in [("b", 1), ("a", 2), ("b", 3)] {
            dict.insert(Text::word(key), Value::Int(number));
        }
        assert_eq!(dict.len(), 2);
        assert!(matches!(dict.get(b"b"), Some(Value::Int(3))));
        dict.remove(b"a");
        dict.remove(b"none");
        assert_eq!(dict.keys(), [Text::word("b")]);
        dict.clear();
        assert_eq!(dict.len(), 0);
    }

    #[test]
    fn the_nil_dict_takes_nothing() {
        assert!(!Dict::nil().insert(Text::word("a"), Value::Nil));
        assert_eq!(Dict::nil().len(), 0);
    }
}
