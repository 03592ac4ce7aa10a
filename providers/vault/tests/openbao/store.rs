//! Stores and credentials as tests need them.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use latchkey_provider_sdk::{
    CallerToken, Credential, KeySelector, MetadataPolicy, Metrics, ProviderError, RemoteRef,
    ServiceAccountSelector,
};
use latchkey_provider_vault::backend::Store;
use latchkey_provider_vault::credentials::CredentialSource;
use latchkey_provider_vault::settings::Settings;
use latchkey_provider_vault::{Backend, BackendOptions, Limits};
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

/// Credentials with given values, in place of a cluster's.
pub(crate) struct Given {
    /// `<name>/<key>` to value, for Secrets and ConfigMaps alike.
    pub(crate) objects: Mutex<BTreeMap<String, String>>,
    /// The token that every service account gets.
    pub(crate) account_token: Mutex<String>,
    /// How many service account tokens were requested.
    pub(crate) requests: AtomicUsize,
    /// Audiences of the last request.
    pub(crate) audiences: Mutex<Vec<String>>,
    pub(crate) namespace: String,
    pub(crate) is_cluster_wide: bool,
    pub(crate) reconcile_id: Option<String>,
    /// The pod that reads are for.
    pub(crate) caller: Option<CallerToken>,
    version: AtomicU64,
}

// === impl Given ===

impl Given {
    /// Credentials of a namespaced store.
    pub(crate) fn new(objects: &[(&str, &str)]) -> Self {
        let objects = objects
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
            .collect();
        Self {
            objects: Mutex::new(objects),
            account_token: Mutex::default(),
            requests: AtomicUsize::new(0),
            audiences: Mutex::default(),
            namespace: "team".to_owned(),
            is_cluster_wide: false,
            reconcile_id: None,
            caller: None,
            version: AtomicU64::new(1),
        }
    }

    /// A token in Secret `vault`, key `token`.
    pub(crate) fn token(token: &str) -> Self {
        Self::new(&[("vault/token", token)])
    }

    /// Service accounts whose tokens are `token`.
    pub(crate) fn account(token: &str) -> Self {
        let given = Self::new(&[]);
        *given.account_token.lock() = token.to_owned();
        given
    }

    /// Nothing but the token of a pod.
    pub(crate) fn pod(token: &str) -> Self {
        let token = SecretValue::from(token.to_owned());
        Self {
            caller: Some(CallerToken::try_new(token).unwrap()),
            ..Self::account("the provider's own, which nobody may use here")
        }
    }

    /// Replaces a value, as a rotation does.
    pub(crate) fn rotate(&self, object: &str, value: &str) {
        self.objects
            .lock()
            .insert(object.to_owned(), value.to_owned());
        self.version.fetch_add(1, Ordering::Relaxed);
    }

    fn find(&self, selector: KeySelector<'_>) -> Result<Credential, ProviderError> {
        let value = self
            .objects
            .lock()
            .get(&format!("{}/{}", selector.name, selector.key))
            .cloned();
        let missing = || {
            ProviderError::credentials_not_found(format!(
                "cannot find secret data for key: \"{}\"",
                selector.key
            ))
        };
        let version = format!("{}@{}", selector.name, self.version.load(Ordering::Relaxed));
        Ok(Credential {
            value: SecretValue::from(value.ok_or_else(missing)?),
            version,
        })
    }
}

impl CredentialSource for Given {
    fn namespace(&self) -> &str {
        &self.namespace
    }

    fn reconcile_id(&self) -> Option<&str> {
        self.reconcile_id.as_deref()
    }

    fn caller(&self) -> Option<&CallerToken> {
        self.caller.as_ref()
    }

    fn is_cluster_wide(&self) -> bool {
        self.is_cluster_wide
    }

    async fn secret_key(&self, selector: KeySelector<'_>) -> Result<Credential, ProviderError> {
        self.find(selector)
    }

    async fn config_map_key(&self, selector: KeySelector<'_>) -> Result<Credential, ProviderError> {
        self.find(selector)
    }

    async fn service_account_token(
        &self,
        selector: ServiceAccountSelector<'_>,
    ) -> Result<SecretValue, ProviderError> {
        self.requests.fetch_add(1, Ordering::Relaxed);
        *self.audiences.lock() = selector.audiences.to_vec();
        Ok(SecretValue::from(self.account_token.lock().clone()))
    }

    async fn own_pod_token(&self) -> Result<SecretValue, ProviderError> {
        Ok(SecretValue::from(self.account_token.lock().clone()))
    }
}

/// A backend with the default limits.
pub(crate) fn backend() -> Backend {
    backend_with(Limits::default(), 1024)
}

/// A backend that keeps the tokens of `token_cache_size` stores.
pub(crate) fn backend_with(limits: Limits, token_cache_size: usize) -> Backend {
    Backend::new(BackendOptions {
        limits,
        token_cache_size,
        read_cache_ttl: Duration::ZERO,
        metrics: Metrics::register(&mut Registry::default()),
        stop: CancellationToken::new(),
    })
}

/// A store for `server` with KV version 2 at `secret`, a token in Secret `vault`, and `changes` on top of it; a change to
/// `null` removes the field.
pub(crate) fn store(server: &str, changes: Value) -> Store {
    let mut spec = json!({
        "server": server,
        "path": "secret",
        "auth": {"tokenSecretRef": {"name": "vault", "key": "token"}},
    });
    for (key, value) in changes.as_object().unwrap() {
        match value {
            Value::Null => drop(spec.as_object_mut().unwrap().remove(key)),
            _ => spec[key] = value.clone(),
        }
    }
    let settings = Settings::try_from_spec(&serde_json::from_value(spec).unwrap()).unwrap();
    // A changed resource has another generation.
    let revision = format!("{server} {changes}");
    Store {
        namespace: "team".to_owned(),
        name: "vault".to_owned(),
        revision,
        settings,
    }
}

/// A reference to the whole of `key`.
pub(crate) fn key(key: &str) -> RemoteRef {
    RemoteRef {
        key: key.to_owned(),
        ..RemoteRef::default()
    }
}

/// A reference to one property of `key`.
pub(crate) fn property(name: &str, property: &str) -> RemoteRef {
    RemoteRef {
        property: property.to_owned(),
        ..key(name)
    }
}

/// A reference to one version of `key`.
pub(crate) fn version(name: &str, version: &str) -> RemoteRef {
    RemoteRef {
        version: version.to_owned(),
        ..key(name)
    }
}

/// A reference to the metadata of `key`.
pub(crate) fn metadata(name: &str) -> RemoteRef {
    RemoteRef {
        metadata_policy: MetadataPolicy::Fetch,
        ..key(name)
    }
}

/// A value as text.
pub(crate) fn text(value: &SecretValue) -> &str {
    std::str::from_utf8(value.expose()).unwrap()
}
