//! `map[string]string`.

use std::rc::Rc;

use latchkey_secret::SecretData;

use super::Text;

/// `map[string]string`, by key. Never changes.
#[derive(Clone)]
pub(crate) struct StringMap(Rc<Vec<(Text, Text)>>);

// === impl StringMap ===

impl StringMap {
    /// A map of entries in any order, no two of which have one key. The caller pays.
    pub(crate) fn new(mut entries: Vec<(Text, Text)>) -> Self {
        entries.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        Self(Rc::new(entries))
    }

    /// The map of a provider's data, whose values it shares. Its keys lie in one place.
    pub(crate) fn of_data(data: &SecretData) -> Self {
        let length = data.keys().map(String::len).sum();
        let mut keys = Vec::with_capacity(length);
        for key in data.keys() {
            keys.extend_from_slice(key.as_bytes());
        }
        let keys = Text::whole(keys);
        let mut start = 0;
        let entries = data.iter().map(|(key, value)| {
            let end = start + key.len();
            let key = keys.part(start, end);
            start = end;
            (key, Text::secret(value.clone()))
        });
        Self(Rc::new(entries.collect()))
    }

    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn get(&self, key: &[u8]) -> Option<&Text> {
        let found = self.0.binary_search_by(|(known, _)| known.bytes().cmp(key));
        let entry = self.0.get(found.ok()?)?;
        Some(&entry.1)
    }

    pub(crate) fn is_same(&self, other: &Self) -> bool {
        Rc::ptr_eq(&self.0, &other.0)
    }

    /// The entries by key.
    pub(crate) fn entries(&self) -> impl ExactSizeIterator<Item = (&Text, &Text)> {
        self.0.iter().map(|(key, value)| (key, value))
    }
}

#[cfg(test)]
mod tests {
    use latchkey_secret::{SecretData, SecretValue};

    use super::StringMap;
    use crate::value::Text;

    #[test]
    fn the_map_of_data_has_its_keys_and_values() {
        let data: SecretData = [("b-c", "2"), ("", "none"), ("é", "3"), ("a", "1")]
            .into_iter()
            .map(|(key, value)| (key.to_owned(), SecretValue::from(value.to_owned())))
            .collect();
        let map = StringMap::of_data(&data);
        let entries: Vec<_> = map
            .entries()
            .map(|(key, value)| (key.to_lossy().into_owned(), value.to_lossy().into_owned()))
            .collect();
        let expected = [("", "none"), ("a", "1"), ("b-c", "2"), ("é", "3")];
        assert_eq!(
            entries,
            expected.map(|(key, value)| (key.to_owned(), value.to_owned()))
        );
        for (key, value) in expected {
            let found = map.get(key.as_bytes()).map(Text::bytes);
            assert_eq!(found, Some(value.as_bytes()), "{key}");
        }
        assert!(map.get(b"b").is_none());
    }

    #[test]
    fn entries_are_found_whatever_their_order_was() {
        let entry = |key| (Text::word(key), Text::word(key));
        let map = StringMap::new(vec![entry("_10"), entry("_2"), entry("_0")]);
        assert!(map.get(b"_10").is_some());
        assert!(map.entries().is_sorted());
    }
}
