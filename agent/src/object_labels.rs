//! Labels of the series about objects (`externalsecret.md` 8.1): which object it is, and, if wanted, what its own labels say.
//!
//! With `--enable-extended-metric-labels` the series have the labels of [`EXTENDED`] too. An object's identity wins over all of
//! its labels (D-05): none of them can be called `name`, `namespace`, `condition` or `status` here.

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use latchkey_crds::conditions::ConditionStatus;
use parking_lot::Mutex;
use prometheus_client::encoding::{EncodeLabel as _, EncodeLabelSet, LabelSetEncoder};

/// Labels that the extended sets have beside the object's identity.
const EXTENDED: [&str; 6] = [
    "app_kubernetes_io_name",
    "app_kubernetes_io_instance",
    "app_kubernetes_io_version",
    "app_kubernetes_io_component",
    "app_kubernetes_io_part_of",
    "app_kubernetes_io_managed_by",
];

/// The two states that a condition's series tell.
pub(crate) const STATES: [ConditionStatus; 2] = [ConditionStatus::True, ConditionStatus::False];

/// Labels of a series about an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ObjectLabels {
    name: String,
    namespace: String,
    #[prometheus(flatten)]
    extended: Extended,
}

/// Labels of a series about a condition of an object.
#[derive(Clone, Debug, PartialEq, Eq, Hash, EncodeLabelSet)]
pub(crate) struct ConditionLabels {
    name: String,
    namespace: String,
    condition: &'static str,
    status: &'static str,
    #[prometheus(flatten)]
    extended: Extended,
}

/// Makes the labels of objects of one kind. Clones share what they know.
#[derive(Clone, Default)]
pub(crate) struct ObjectLabeler {
    /// The extended labels by namespace and name; `None` if they are not wanted.
    known: Option<Arc<Mutex<Known>>>,
}

/// The extended labels of objects, by namespace and name.
type Known = HashMap<(String, String), Extended>;

/// Values of [`EXTENDED`], if they are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
struct Extended(Option<Arc<[String; EXTENDED.len()]>>);

// === impl ObjectLabeler ===

impl ObjectLabeler {
    /// Makes the extended sets, if `extended`.
    pub(crate) fn new(extended: bool) -> Self {
        Self {
            known: extended.then(Arc::default),
        }
    }

    /// Takes note of an object's labels. If it had others, `remove_outdated` is called before, while the old ones are still
    /// what this makes.
    pub(crate) fn describe(
        &self,
        namespace: &str,
        name: &str,
        labels: Option<&BTreeMap<String, String>>,
        remove_outdated: impl FnOnce(),
    ) {
        let Some(known) = &self.known else {
            return;
        };
        let key = (namespace.to_owned(), name.to_owned());
        let new = Extended::of(labels);
        let is_outdated = known.lock().get(&key).is_some_and(|old| *old != new);
        if is_outdated {
            remove_outdated();
        }
        known.lock().insert(key, new);
    }

    /// Forgets an object's labels. Its series must be gone before.
    pub(crate) fn forget(&self, namespace: &str, name: &str) {
        if let Some(known) = &self.known {
            known
                .lock()
                .remove(&(namespace.to_owned(), name.to_owned()));
        }
    }

    /// Forgets all.
    pub(crate) fn clear(&self) {
        if let Some(known) = &self.known {
            known.lock().clear();
        }
    }

    /// The labels of a series about an object. `namespace` is empty for one of the whole cluster.
    pub(crate) fn object(&self, namespace: &str, name: &str) -> ObjectLabels {
        ObjectLabels {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            extended: self.extended(namespace, name),
        }
    }

    /// The labels of a series about a condition of an object.
    pub(crate) fn condition(
        &self,
        namespace: &str,
        name: &str,
        condition: &'static str,
        status: ConditionStatus,
    ) -> ConditionLabels {
        ConditionLabels {
            name: name.to_owned(),
            namespace: namespace.to_owned(),
            condition,
            status: status.as_str(),
            extended: self.extended(namespace, name),
        }
    }

    fn extended(&self, namespace: &str, name: &str) -> Extended {
        let Some(known) = &self.known else {
            return Extended::default();
        };
        let key = (namespace.to_owned(), name.to_owned());
        let known = known.lock().get(&key).cloned();
        known.unwrap_or_else(|| Extended::of(None))
    }
}

// === impl Extended ===

impl Extended {
    /// Labels of an object whose names, with runs of other characters than letters, digits and spaces replaced, are known.
    fn of(labels: Option<&BTreeMap<String, String>>) -> Self {
        let mut values: [String; EXTENDED.len()] = Default::default();
        for (key, value) in labels.into_iter().flatten() {
            let key = normalized(key);
            if let Some(position) = EXTENDED.iter().position(|known| *known == key) {
                values[position].clone_from(value);
            }
        }
        Self(Some(Arc::new(values)))
    }
}

impl EncodeLabelSet for Extended {
    fn encode(&self, encoder: &mut LabelSetEncoder) -> fmt::Result {
        let values = self.0.iter().flat_map(|values| values.iter());
        for (key, value) in EXTENDED.into_iter().zip(values) {
            (key, value.as_str()).encode(encoder.encode_label())?;
        }
        Ok(())
    }
}

fn normalized(key: &str) -> String {
    let mut normalized = String::with_capacity(key.len());
    for character in key.chars() {
        if character.is_ascii_alphanumeric() || character == ' ' {
            normalized.push(character);
        } else if !normalized.ends_with('_') {
            normalized.push('_');
        }
    }
    normalized
}

#[cfg(test)]
mod tests {
    use prometheus_client::encoding::text::encode;
    use prometheus_client::metrics::family::Family;
    use prometheus_client::metrics::gauge::Gauge;
    use prometheus_client::registry::Registry;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let own = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
        pairs.iter().map(own).collect()
    }

    /// The label set of one object and of one condition, as they are exposed.
    fn shown(labeler: &ObjectLabeler) -> (String, String) {
        let (objects, conditions) = (
            Family::<ObjectLabels, Gauge>::default(),
            Family::<ConditionLabels, Gauge>::default(),
        );
        drop(objects.get_or_create(&labeler.object("a", "x")));
        let condition = labeler.condition("a", "x", "Ready", ConditionStatus::True);
        drop(conditions.get_or_create(&condition));
        let mut registry = Registry::default();
        registry.register("o", "h", objects);
        registry.register("c", "h", conditions);
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        let line = |start: &str| {
            let line = text.lines().find_map(|line| line.strip_prefix(start));
            line.unwrap().trim_end_matches(" 0").to_owned()
        };
        (line("o"), line("c"))
    }

    #[test]
    fn label_sets_have_upstreams_names_and_are_empty_without_labels() {
        // externalsecret.md 8.1, E230
        let (object, condition) = shown(&ObjectLabeler::new(false));
        assert_eq!(object, r#"{name="x",namespace="a"}"#);
        assert_eq!(
            condition,
            r#"{name="x",namespace="a",condition="Ready",status="True"}"#
        );
        let empty = r#"app_kubernetes_io_name="",app_kubernetes_io_instance="",app_kubernetes_io_version="",app_kubernetes_io_component="",app_kubernetes_io_part_of="",app_kubernetes_io_managed_by=""}"#;
        let (object, condition) = shown(&ObjectLabeler::new(true));
        assert_eq!(object, format!(r#"{{name="x",namespace="a",{empty}"#));
        assert_eq!(
            condition,
            format!(r#"{{name="x",namespace="a",condition="Ready",status="True",{empty}"#)
        );
    }

    #[test]
    fn labels_are_matched_by_their_letters_and_digits_and_others_are_ignored() {
        // externalsecret.md 8.1, E231, D-05: `a@1` is `a_1`
        let set = |pairs: &[(&str, &str)]| {
            let labeler = ObjectLabeler::new(true);
            labeler.describe("a", "x", Some(&labels(pairs)), || panic!("it is new"));
            shown(&labeler).1
        };
        for key in [
            "app.kubernetes.io/name",
            "app_kubernetes_io_name",
            "app@kubernetes..io-/name",
        ] {
            let found = set(&[(key, "web")]);
            assert!(
                found.contains(r#",app_kubernetes_io_name="web","#),
                "{key}: {found}"
            );
        }
        let nothing = set(&[]);
        let liars = [
            "name",
            "namespace",
            "condition",
            "status",
            "other",
            "app kubernetes io name",
        ];
        for key in liars {
            assert_eq!(set(&[(key, "liar")]), nothing, "{key}");
        }
    }

    #[test]
    fn changed_labels_have_the_outdated_series_removed_first() {
        let labeler = ObjectLabeler::new(true);
        let (first, second) = (
            labels(&[("app.kubernetes.io/name", "one")]),
            labels(&[("app.kubernetes.io/name", "two")]),
        );
        let calls = std::cell::Cell::new(0);
        let describe = |labels: &BTreeMap<String, String>, expected: &str| {
            labeler.describe("a", "x", Some(labels), || {
                assert!(shown(&labeler).0.contains(expected));
                calls.set(calls.get() + 1);
            });
        };
        describe(&first, "never");
        describe(&first, "never");
        assert_eq!(calls.get(), 0);
        describe(&second, r#"app_kubernetes_io_name="one""#);
        assert_eq!(calls.get(), 1);
        assert!(
            shown(&labeler)
                .0
                .contains(r#"app_kubernetes_io_name="two""#)
        );
        labeler.forget("a", "x");
        assert!(shown(&labeler).0.contains(r#"app_kubernetes_io_name="""#));
        // Without them there is nothing to note.
        let plain = ObjectLabeler::new(false);
        for labels in [&first, &second] {
            plain.describe("a", "x", Some(labels), || panic!("no label is exposed"));
        }
    }
}
