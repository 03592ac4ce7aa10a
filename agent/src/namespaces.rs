//! The namespaces that an agent works in (`--watch-namespaces`).
//!
//! Without the flag it works in all of them, with requests that concern the whole cluster. With it, every request names one of the
//! given namespaces, so that Roles are enough; what exists outside namespaces (ClusterSecretStore, ClusterGenerator,
//! ClusterExternalSecret, the labels of namespaces) is then out of reach, and whoever refers to it is told so.

use std::collections::BTreeSet;
use std::fmt;
use std::sync::Arc;

use k8s_openapi::NamespaceResourceScope;
use kube::api::Api;
use kube::{Client, Resource};

/// The most namespaces that may be given: each costs a watch per kind. An agent that has more to do should work in all.
pub const MOST_NAMESPACES: usize = 100;

/// Names that a text lists before it counts the rest.
const LISTED_NAMES: usize = 3;

/// All namespaces, or some. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchNamespaces(Option<Arc<BTreeSet<String>>>);

/// What one watch covers: all namespaces, or one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Place(Option<Arc<str>>);

// === impl WatchNamespaces ===

impl WatchNamespaces {
    /// All namespaces.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// These namespaces. None at all stands for all, as an empty flag does.
    #[must_use]
    pub fn of<T: Into<String>>(names: impl IntoIterator<Item = T>) -> Self {
        let names: BTreeSet<String> = names.into_iter().map(Into::into).collect();
        Self((!names.is_empty()).then(|| Arc::new(names)))
    }

    /// Whether there is no limit, so that also what exists outside namespaces is in reach.
    #[must_use]
    pub fn is_all(&self) -> bool {
        self.0.is_none()
    }

    /// The names; `None` for all namespaces.
    #[must_use]
    pub fn names(&self) -> Option<&BTreeSet<String>> {
        self.0.as_deref()
    }

    /// Whether objects of `namespace` are worked on.
    #[must_use]
    pub fn contains(&self, namespace: &str) -> bool {
        self.names().is_none_or(|names| names.contains(namespace))
    }

    /// What the watches of one kind cover together.
    #[must_use]
    pub fn places(&self) -> Vec<Place> {
        match self.names() {
            None => vec![Place::all()],
            Some(names) => names.iter().map(|name| Place::of(name)).collect(),
        }
    }

    /// How many of `total` passes at once are left to each of the places; at least one.
    #[must_use]
    pub fn share(&self, total: u16) -> u16 {
        let places = self.names().map_or(1, BTreeSet::len);
        total
            .div_ceil(u16::try_from(places).unwrap_or(u16::MAX))
            .max(1)
    }
}

impl fmt::Display for WatchNamespaces {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some(names) = self.names() else {
            return formatter.write_str("all namespaces");
        };
        let listed: Vec<&str> = names
            .iter()
            .take(LISTED_NAMES)
            .map(String::as_str)
            .collect();
        let word = if names.len() == 1 {
            "namespace"
        } else {
            "namespaces"
        };
        write!(formatter, "{word} {}", listed.join(", "))?;
        match names.len().saturating_sub(LISTED_NAMES) {
            0 => Ok(()),
            more => write!(formatter, " and {more} more"),
        }
    }
}

// === impl Place ===

impl Place {
    /// All namespaces.
    #[must_use]
    pub fn all() -> Self {
        Self(None)
    }

    /// One namespace.
    #[must_use]
    pub fn of(namespace: &str) -> Self {
        Self(Some(namespace.into()))
    }

    /// The only namespace; `None` for all.
    #[must_use]
    pub fn namespace(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// Whether it covers `namespace`.
    #[must_use]
    pub fn covers(&self, namespace: &str) -> bool {
        self.0.as_deref().is_none_or(|own| own == namespace)
    }

    /// Objects of a kind there.
    #[must_use]
    pub fn api<K>(&self, client: &Client) -> Api<K>
    where
        K: Resource<Scope = NamespaceResourceScope, DynamicType: Default>,
    {
        match &self.0 {
            Some(namespace) => Api::namespaced(client.clone(), namespace),
            None => Api::all(client.clone()),
        }
    }
}

impl fmt::Display for Place {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            Some(namespace) => write!(formatter, "namespace {namespace}"),
            None => formatter.write_str("all namespaces"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn none_given_means_all_and_each_one_given_is_a_place_of_its_own() {
        let none: [&str; 0] = [];
        let all = WatchNamespaces::of(none);
        assert_eq!(all, WatchNamespaces::all());
        assert!(all.is_all() && all.contains("any") && all.names().is_none());
        assert_eq!(all.places(), [Place::all()]);
        let some = WatchNamespaces::of(["b", "a", "b"]);
        assert!(!some.is_all() && some.contains("a") && !some.contains("c"));
        assert_eq!(some.places(), [Place::of("a"), Place::of("b")]);
        assert!(Place::of("a").covers("a") && !Place::of("a").covers("b"));
        assert!(Place::all().covers("b"));
    }

    #[test]
    fn the_places_share_the_passes_and_each_has_at_least_one() {
        assert_eq!(WatchNamespaces::all().share(8), 8);
        for (count, share) in [(1, 8), (2, 4), (3, 3), (8, 1), (100, 1)] {
            let names = (0..count).map(|number| format!("n{number}"));
            assert_eq!(WatchNamespaces::of(names).share(8), share, "{count}");
        }
    }

    #[test]
    fn many_names_are_counted_rather_than_listed() {
        let text = |names: &[&str]| WatchNamespaces::of(names.iter().copied()).to_string();
        assert_eq!(text(&[]), "all namespaces");
        assert_eq!(text(&["a"]), "namespace a");
        assert_eq!(text(&["c", "a", "b"]), "namespaces a, b, c");
        assert_eq!(
            text(&["e", "d", "c", "b", "a"]),
            "namespaces a, b, c and 2 more"
        );
        assert_eq!(Place::of("a").to_string(), "namespace a");
    }
}
