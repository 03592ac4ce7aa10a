//! `auth.serviceAccountRef`: whose token accompanies the calls of a store (pushsecret-and-stores.md B2, P-TLS-5).
//!
//! Such a token says to the provider who asks, and must say so to nobody else: it is bound to audiences, and none of them may be
//! the API server's (SB-29). What a spec says is checked here; what the token itself says, in [`crate::providers`].

use latchkey_crds::secret_store::ServiceAccountTokenRef;

use super::model::Store;

/// The field, for messages.
const FIELD: &str = "spec.providerConfig.auth.serviceAccountRef";

/// A ServiceAccount whose token accompanies calls, on behalf of one generation of one store.
///
/// The whole of it is the key under which a token is kept, so that a store that changed never sees the one from before (P-CL-2,
/// SB-26).
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct TokenSource {
    /// Namespace of the ServiceAccount, never empty.
    pub namespace: String,
    /// Name of the ServiceAccount.
    pub name: String,
    /// Who may accept the token; never empty.
    pub audiences: Vec<String>,
    /// UID of the store.
    pub store: String,
    /// `metadata.generation` of the store.
    pub generation: Option<i64>,
}

// === impl TokenSource ===

impl TokenSource {
    /// What `store` names; `None` if its calls carry no token. The namespace is not checked here.
    pub(super) fn of(store: &Store) -> Option<Self> {
        let reference = reference(store)?;
        let namespace = reference.namespace.as_deref().unwrap_or_default();
        Some(Self {
            namespace: if namespace.is_empty() {
                store.key.namespace.clone()
            } else {
                namespace.to_owned()
            },
            name: reference.name.clone().unwrap_or_default(),
            audiences: reference.audiences(),
            store: store.uid.clone(),
            generation: store.generation,
        })
    }
}

fn reference(store: &Store) -> Option<&ServiceAccountTokenRef> {
    let auth = store.provider.auth.as_ref()?;
    auth.service_account_ref
        .as_ref()
        .filter(|reference| reference.is_set())
}

/// Audiences that no store may ask for, one message each.
pub(super) fn violations(store: &Store) -> Vec<String> {
    let Some(reference) = reference(store) else {
        return Vec::new();
    };
    let violation = |(index, audience): (usize, &String)| {
        if audience.trim().is_empty() {
            return Some(format!("{FIELD}.audiences[{index}] is empty"));
        }
        is_api_server(audience).then(|| {
            format!(
                "{FIELD}.audiences[{index}] \"{audience}\" is the API server's, and a provider could act there with such a token"
            )
        })
    };
    reference
        .audiences
        .iter()
        .enumerate()
        .filter_map(violation)
        .collect()
}

/// Whether `audience` is how clusters usually call their API server. Others are found by the token's own issuer.
pub(super) fn is_api_server(audience: &str) -> bool {
    let audience = audience.trim().to_ascii_lowercase();
    let host = audience
        .strip_prefix("https://")
        .unwrap_or(&audience)
        .trim_end_matches('/');
    let host = host.split(['/', ':']).next().unwrap_or_default();
    host == "kubernetes" || host == "kubernetes.default" || host.starts_with("kubernetes.default.")
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::super::model::fixtures::{cluster, cluster_generator, generator, namespaced};
    use super::{TokenSource, is_api_server, violations};

    #[test]
    fn accounts_are_beside_their_namespaced_store_and_named_in_full_by_cluster_ones() {
        // B2, AMB-08, P-TLS-5: the default audience.
        let auth = |reference: serde_json::Value| json!({"auth": {"serviceAccountRef": reference}});
        let own = TokenSource {
            namespace: "team-a".into(),
            name: "caller".into(),
            audiences: vec!["external-secrets-provider".into()],
            store: "u1".into(),
            generation: Some(2),
        };
        assert_eq!(
            TokenSource::of(&namespaced(auth(json!({"name": "caller"})), json!({}))),
            Some(own.clone())
        );
        assert_eq!(
            TokenSource::of(&generator(
                auth(json!({"name": "caller", "namespace": "team-a"})),
                json!({})
            )),
            Some(TokenSource {
                store: "u3".into(),
                generation: Some(4),
                ..own.clone()
            })
        );
        let full = json!({"name": "caller", "namespace": "p", "audiences": ["bao", "vault"]});
        for store in [
            cluster(auth(full.clone()), json!({})),
            cluster_generator(auth(full), json!({})),
        ] {
            let found = TokenSource::of(&store).unwrap();
            assert_eq!(
                (&*found.namespace, found.audiences.join(",")),
                ("p", "bao,vault".to_owned())
            );
        }
        for unset in [
            json!({}),
            json!({"name": ""}),
            json!({"audiences": ["kubernetes"]}),
        ] {
            let store = namespaced(auth(unset), json!({}));
            assert_eq!(TokenSource::of(&store), None);
            assert_eq!(violations(&store), Vec::<String>::new());
        }
    }

    #[test]
    fn audiences_of_the_api_server_are_told_from_others() {
        // SB-29.
        for (audience, expected) in [
            ("https://kubernetes.default.svc", true),
            ("https://kubernetes.default.svc/", true),
            ("https://kubernetes.default.svc.cluster.local", true),
            ("HTTPS://Kubernetes.Default.svc:443/x", true),
            ("kubernetes.default", true),
            ("kubernetes", true),
            ("external-secrets-provider", false),
            ("vault", false),
            ("kubernetes-vault", false),
            ("https://kubernetes.example.com", false),
        ] {
            assert_eq!(is_api_server(audience), expected, "{audience}");
        }
    }
}
