//! Annotations by which a store is read under the identity of pods (csi.md 9.2).
//!
//! They are annotations and no fields because the schemas of stores are upstream's: a cluster that keeps upstream's definitions
//! would drop a field it does not know, silently, and every pod would be given what the store's own identity may read.
//!
//! | annotation | value | meaning |
//! |---|---|---|
//! | [`CALLER_IDENTITY`] | `ServiceAccount` | read with a token of the pod's service account; pods of one account share values |
//! | | `Pod` | the same, and values are never shared by two pods |
//! | [`CALLER_AUDIENCE`] | an audience | which of the pod's tokens the provider is shown |

use std::collections::BTreeMap;

use latchkey_engine::source::{CallerNeeds, CallerScope};

use super::accounts::is_api_server;
use super::model::Store;

/// Annotation that has a store read under the identity of pods: `ServiceAccount` or `Pod`.
pub const CALLER_IDENTITY: &str = "latchkey.dev/caller-identity";
/// Annotation that names the audience of the token that is shown; without it, the only one of `CSIDriver.spec.tokenRequests`.
pub const CALLER_AUDIENCE: &str = "latchkey.dev/caller-audience";

/// The annotations as they were written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CallerAnnotations {
    identity: Option<String>,
    audience: Option<String>,
}

// === impl CallerAnnotations ===

impl CallerAnnotations {
    /// Those of an object.
    pub(super) fn of(annotations: &BTreeMap<String, String>) -> Self {
        Self {
            identity: annotations.get(CALLER_IDENTITY).cloned(),
            audience: annotations.get(CALLER_AUDIENCE).cloned(),
        }
    }

    /// What they ask for. Unknown words count as the narrowest scope here; [`violations`] refuses them.
    pub(super) fn needs(&self) -> CallerNeeds {
        CallerNeeds {
            scope: match self.identity.as_deref() {
                None => CallerScope::Store,
                Some("ServiceAccount") => CallerScope::ServiceAccount,
                Some(_) => CallerScope::Pod,
            },
            audience: self.audience.clone(),
        }
    }
}

/// What is wrong with the annotations of `store`, one message each.
pub(super) fn violations(store: &Store) -> Vec<String> {
    let CallerAnnotations { identity, audience } = &store.caller;
    let mut found = Vec::new();
    if let Some(word) = identity {
        if word != "ServiceAccount" && word != "Pod" {
            found.push(format!(
                "annotation {CALLER_IDENTITY} must be ServiceAccount or Pod"
            ));
        }
        if store.key.is_generator() {
            found.push(format!(
                "annotation {CALLER_IDENTITY} is for stores: a generator is asked by no pod"
            ));
        }
        let auth = store.provider.auth.as_ref();
        let account = auth.and_then(|auth| auth.service_account_ref.as_ref());
        if account.is_some_and(|account| account.is_set()) {
            found.push(format!(
                "annotation {CALLER_IDENTITY} and spec.providerConfig.auth.serviceAccountRef exclude each other"
            ));
        }
    }
    if let Some(audience) = audience {
        if identity.is_none() {
            found.push(format!(
                "annotation {CALLER_AUDIENCE} means nothing without {CALLER_IDENTITY}"
            ));
        }
        if audience.trim().is_empty() {
            found.push(format!("annotation {CALLER_AUDIENCE} is empty"));
        } else if is_api_server(audience) {
            found.push(format!(
                "annotation {CALLER_AUDIENCE} names the API server, and a provider could act there with such a token"
            ));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use latchkey_engine::source::{CallerNeeds, CallerScope};
    use serde_json::json;

    use super::super::Policy;
    use super::super::model::Store;
    use super::super::model::fixtures::{generator, namespaced};
    use super::{CALLER_AUDIENCE, CALLER_IDENTITY, CallerAnnotations};

    fn annotated(mut store: Store, annotations: &[(&str, &str)]) -> Store {
        let annotations = annotations
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        store.caller = CallerAnnotations::of(&annotations);
        store
    }

    #[test]
    fn annotations_say_under_whose_identity_a_store_is_read() {
        // csi.md 9.2
        let needs = |scope, audience: Option<&str>| CallerNeeds {
            scope,
            audience: audience.map(str::to_owned),
        };
        for (annotations, expected) in [
            (vec![], needs(CallerScope::Store, None)),
            (
                vec![(CALLER_IDENTITY, "ServiceAccount")],
                needs(CallerScope::ServiceAccount, None),
            ),
            (
                vec![(CALLER_IDENTITY, "Pod"), (CALLER_AUDIENCE, "vault")],
                needs(CallerScope::Pod, Some("vault")),
            ),
        ] {
            let store = annotated(namespaced(json!({}), json!({})), &annotations);
            let usable = Policy::default().check(&store).unwrap();
            assert_eq!(usable.caller, expected, "{annotations:?}");
        }
    }

    #[test]
    fn what_cannot_be_meant_makes_the_store_unusable() {
        let plain = || namespaced(json!({}), json!({}));
        let account = json!({"auth": {"serviceAccountRef": {"name": "a"}}});
        for (store, annotations, part) in [
            (
                plain(),
                vec![(CALLER_IDENTITY, "serviceaccount")],
                "must be ServiceAccount or Pod",
            ),
            (
                plain(),
                vec![(CALLER_IDENTITY, "")],
                "must be ServiceAccount or Pod",
            ),
            (
                plain(),
                vec![(CALLER_AUDIENCE, "vault")],
                "means nothing without",
            ),
            (
                plain(),
                vec![(CALLER_IDENTITY, "Pod"), (CALLER_AUDIENCE, " ")],
                "is empty",
            ),
            (
                plain(),
                vec![
                    (CALLER_IDENTITY, "Pod"),
                    (CALLER_AUDIENCE, "https://kubernetes.default.svc"),
                ],
                "names the API server",
            ),
            (
                namespaced(account, json!({})),
                vec![(CALLER_IDENTITY, "Pod")],
                "exclude each other",
            ),
            (
                generator(json!({}), json!({})),
                vec![(CALLER_IDENTITY, "Pod")],
                "is for stores",
            ),
        ] {
            let store = annotated(store, &annotations);
            let error = Policy::default().check(&store).unwrap_err();
            assert_eq!(error.reason, "InvalidStoreConfiguration", "{error}");
            assert!(error.message.contains(part), "{error}");
        }
    }
}
