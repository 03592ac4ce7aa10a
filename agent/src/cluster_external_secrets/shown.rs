//! Which objects a watch has shown, so that those which vanish while it is broken are noticed.

use std::collections::HashSet;
use std::hash::Hash;

use kube::runtime::watcher::Event;

/// The keys of the objects that a watch has shown.
#[derive(Debug)]
pub(super) struct Shown<K> {
    known: HashSet<K>,
    /// Those of the list that the watch is reading, if it is.
    listed: Option<HashSet<K>>,
}

// === impl Shown ===

impl<K> Default for Shown<K> {
    fn default() -> Self {
        Self {
            known: HashSet::new(),
            listed: None,
        }
    }
}

impl<K: Clone + Eq + Hash> Shown<K> {
    /// Takes note of an event. Answers the object that exists, if the event shows one, and the keys of those that are gone.
    pub(super) fn note<'a, T>(
        &mut self,
        event: &'a Event<T>,
        key: impl Fn(&T) -> K,
    ) -> (Option<&'a T>, Vec<K>) {
        match event {
            Event::Apply(object) => {
                self.known.insert(key(object));
                (Some(object), Vec::new())
            }
            Event::InitApply(object) => {
                let key = key(object);
                if let Some(listed) = &mut self.listed {
                    listed.insert(key.clone());
                }
                self.known.insert(key);
                (Some(object), Vec::new())
            }
            Event::Delete(object) => {
                let key = key(object);
                self.known.remove(&key);
                (None, vec![key])
            }
            Event::Init => {
                self.listed = Some(HashSet::new());
                (None, Vec::new())
            }
            Event::InitDone => {
                // Deletions while the watch was broken are not told: what the new list lacks is gone.
                let listed = self.listed.take().unwrap_or_default();
                let gone: Vec<K> = self.known.difference(&listed).cloned().collect();
                self.known = listed;
                (None, gone)
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_new_list_lacks_is_gone() {
        let mut shown = Shown::default();
        let mut note = |event: Event<&'static str>| {
            let (applied, mut gone) = shown.note(&event, |name| (*name).to_owned());
            gone.sort();
            (applied.is_some(), gone)
        };
        let none = Vec::<String>::new;
        assert_eq!(note(Event::Init), (false, none()));
        assert_eq!(note(Event::InitApply("a")), (true, none()));
        assert_eq!(note(Event::InitApply("b")), (true, none()));
        assert_eq!(note(Event::InitDone), (false, none()));
        assert_eq!(note(Event::Apply("c")), (true, none()));
        assert_eq!(note(Event::Delete("b")), (false, vec![String::from("b")]));
        note(Event::Init);
        note(Event::InitApply("c"));
        assert_eq!(note(Event::InitDone), (false, vec![String::from("a")]));
    }
}
