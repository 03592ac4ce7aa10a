//! A controller that runs inside the test, against the real API server, with a shelf of values as its provider.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::Api;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use latchkey::namespaces::WatchNamespaces;
use latchkey::shards::Ownership;
use latchkey::sync;
use latchkey::templates::ApiObjects;
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::{self, ConditionStatus};
use latchkey_crds::external_secret::{ExternalSecret, Find, RemoteRef, SecretStoreRef};
use latchkey_engine::source::{Caller, FailureClass, FetchError, Source};
use latchkey_engine::template::{Renderer, Settings};
use latchkey_secret::{SecretData, SecretValue};
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take. Much longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);

pub(crate) const DEFINITIONS: [&str; 3] = [
    include_str!("../../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!(
        "../../../../charts/latchkey/crds/secretstore.external-secrets.io_secretstores.yaml"
    ),
    include_str!(
        "../../../../charts/latchkey/crds/secretstore.external-secrets.io_clustersecretstores.yaml"
    ),
];

type Fields = BTreeMap<String, String>;
/// The class of a failure and what the provider says.
type Told = (FailureClass, String);

/// The provider: remote secrets by key, each a map of fields, or a failure and its text. An absent one does not exist.
#[derive(Default)]
pub(crate) struct Shelf {
    secrets: Mutex<BTreeMap<String, Result<Fields, Told>>>,
    calls: Mutex<BTreeMap<String, usize>>,
}

impl Shelf {
    pub(crate) fn put(&self, key: &str, fields: &[(&str, &str)]) {
        let fields = fields
            .iter()
            .map(|(field, value)| ((*field).to_owned(), (*value).to_owned()))
            .collect();
        self.secrets.lock().insert(key.to_owned(), Ok(fields));
    }

    pub(crate) fn break_with(&self, key: &str, message: &str) {
        self.fail(key, FailureClass::Provider, message);
    }

    pub(crate) fn fail(&self, key: &str, class: FailureClass, message: &str) {
        let failure = Err((class, message.to_owned()));
        self.secrets.lock().insert(key.to_owned(), failure);
    }

    pub(crate) fn remove(&self, key: &str) {
        self.secrets.lock().remove(key);
    }

    /// How often a key was asked for.
    pub(crate) fn calls(&self, key: &str) -> usize {
        self.calls.lock().get(key).copied().unwrap_or_default()
    }

    fn fields(&self, remote: &RemoteRef) -> Result<BTreeMap<String, String>, FetchError> {
        *self.calls.lock().entry(remote.key.clone()).or_default() += 1;
        match self.secrets.lock().get(&remote.key) {
            None => Err(FetchError::NoSecret),
            Some(Ok(fields)) => Ok(fields.clone()),
            Some(Err((class, message))) => Err(FetchError::Failed {
                class: *class,
                message: message.clone(),
                retry_after: None,
            }),
        }
    }
}

impl Source for Shelf {
    async fn secret(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        let fields = self.fields(remote)?;
        let value = fields.get(remote.property.as_deref().unwrap_or("value"));
        value
            .cloned()
            .map(SecretValue::from)
            .ok_or(FetchError::NoSecret)
    }

    async fn secret_map(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretData, FetchError> {
        Ok(self
            .fields(remote)?
            .into_iter()
            .map(|(key, value)| (key, SecretValue::from(value)))
            .collect())
    }

    /// The field `value` of every secret whose key starts with the expression; a broken one fails the search.
    async fn find(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        let prefix = find.name.as_ref().and_then(|name| name.regexp.as_deref());
        let prefix = prefix.unwrap_or_default();
        let keys: Vec<String> = self.secrets.lock().keys().cloned().collect();
        let mut found = SecretData::new();
        for key in keys.into_iter().filter(|key| key.starts_with(prefix)) {
            let remote = RemoteRef {
                key: key.clone(),
                ..RemoteRef::default()
            };
            if let Some(value) = self.fields(&remote)?.remove("value") {
                found.insert(key, SecretValue::from(value));
            }
        }
        Ok(found)
    }
}

/// A running controller that looks at the test's namespace only.
pub(crate) struct Rig {
    pub(crate) shelf: Arc<Shelf>,
    pub(crate) objects: Api<ExternalSecret>,
    pub(crate) secrets: Api<Secret>,
    events: Api<Event>,
    registry: Registry,
    stop: CancellationToken,
    task: Option<JoinHandle<Result<(), sync::Error>>>,
}

impl Rig {
    pub(crate) async fn start(cx: &Context) -> Result<Self> {
        Self::start_with(cx, |_| ()).await
    }

    pub(crate) async fn start_with(
        cx: &Context,
        change: impl FnOnce(&mut sync::Config),
    ) -> Result<Self> {
        latchkey_e2e::ensure_absent(cx).await?;
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let kinds = [
            "crd/externalsecrets.external-secrets.io",
            "crd/secretstores.secretstore.external-secrets.io",
            "crd/clustersecretstores.secretstore.external-secrets.io",
        ];
        cx.kubectl(
            &[
                &["wait", "--for=condition=Established", "--timeout=60s"],
                &kinds[..],
            ]
            .concat(),
        )
        .await?;
        let (shelf, metrics, stop) = (
            Arc::new(Shelf::default()),
            sync::Metrics::default(),
            CancellationToken::new(),
        );
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let mut config = sync::Config {
            namespaces: WatchNamespaces::of([cx.namespace()]),
            ..sync::Config::default()
        };
        change(&mut config);
        let task = tokio::spawn(sync::run(
            cx.client(),
            Arc::clone(&shelf),
            Arc::new(Renderer::new(
                Settings::default(),
                Arc::new(ApiObjects::new(cx.client(), true)),
            )),
            config,
            metrics,
            Arc::new(Ownership::of_everything()),
            stop.clone(),
        ));
        Ok(Self {
            shelf,
            objects: Api::namespaced(cx.client(), cx.namespace()),
            secrets: Api::namespaced(cx.client(), cx.namespace()),
            events: Api::namespaced(cx.client(), cx.namespace()),
            registry,
            stop,
            task: Some(task),
        })
    }

    /// Stops the controller and checks that it ends in time and well.
    pub(crate) async fn stop(mut self) -> Result<()> {
        self.stop.cancel();
        let task = self
            .task
            .take()
            .context("the controller was stopped before")?;
        tokio::time::timeout(PATIENCE, task)
            .await
            .context("the controller did not end")???;
        Ok(())
    }

    /// Creates an ExternalSecret; `spec` is added to one with the store `shelf`.
    pub(crate) async fn create(&self, name: &str, spec: Value) -> Result<ExternalSecret> {
        self.create_with(name, json!({}), spec).await
    }

    pub(crate) async fn create_with(
        &self,
        name: &str,
        metadata: Value,
        spec: Value,
    ) -> Result<ExternalSecret> {
        let mut object = json!({
            "apiVersion": "external-secrets.io/v1",
            "kind": "ExternalSecret",
            "metadata": { "name": name },
            "spec": { "secretStoreRef": { "apiVersion": "secretstore.external-secrets.io/v2alpha1", "name": "shelf" } },
        });
        merge(&mut object["metadata"], metadata);
        merge(&mut object["spec"], spec);
        Ok(self
            .objects
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?)
    }

    pub(crate) async fn change(&self, name: &str, patch: Value) -> Result<()> {
        self.objects
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Deletes an ExternalSecret and waits until it is gone.
    pub(crate) async fn delete(&self, name: &str) -> Result<()> {
        self.objects.delete(name, &DeleteParams::default()).await?;
        eventually(PATIENCE, &format!("{name} is gone"), async || {
            Ok(self.objects.get_opt(name).await?.is_none().then_some(()))
        })
        .await
    }

    /// Waits for the Ready condition of the object's current generation-independent state.
    pub(crate) async fn ready(
        &self,
        name: &str,
        status: ConditionStatus,
        message: &str,
    ) -> Result<ExternalSecret> {
        eventually(
            PATIENCE,
            &format!("{name} Ready={status} {message}"),
            async || {
                let object = self.objects.get(name).await?;
                let conditions = object
                    .status
                    .as_ref()
                    .map(|status| status.conditions.as_slice())
                    .unwrap_or_default();
                let found = conditions::find(conditions, conditions::READY);
                let as_wanted = found.is_some_and(|found| {
                    found.status == status && found.message.as_deref() == Some(message)
                });
                ensure!(as_wanted, "it is {found:?}");
                Ok(Some(object))
            },
        )
        .await
    }

    pub(crate) async fn synced(&self, name: &str) -> Result<ExternalSecret> {
        self.ready(name, ConditionStatus::True, "secret synced")
            .await
    }

    pub(crate) async fn failed(&self, name: &str, message: &str) -> Result<ExternalSecret> {
        let object = self.ready(name, ConditionStatus::False, message).await?;
        let conditions = object
            .status
            .as_ref()
            .map(|status| status.conditions.clone())
            .unwrap_or_default();
        ensure!(
            conditions.len() == 1 && conditions[0].reason.as_deref() == Some("SecretSyncedError"),
            "{conditions:?}"
        );
        Ok(object)
    }

    /// Waits until a Secret holds exactly these keys and values.
    pub(crate) async fn holds(&self, name: &str, expected: &[(&str, &str)]) -> Result<Secret> {
        eventually(PATIENCE, &format!("secret {name}"), async || {
            let secret = self.secrets.get(name).await?;
            let found = texts(&secret);
            let expected: BTreeMap<_, _> = expected
                .iter()
                .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
                .collect();
            ensure!(found == expected, "it holds {found:?}");
            Ok(Some(secret))
        })
        .await
    }

    /// Waits for an event about an object. Those of failures are warnings, and all come from upstream's component
    /// (`externalsecret.md` 8.2).
    pub(crate) async fn event(&self, name: &str, reason: &str, note: &str) -> Result<()> {
        let type_ = match reason {
            "UpdateFailed" => "Warning",
            _ => "Normal",
        };
        eventually(
            PATIENCE,
            &format!("event {reason} \"{note}\" about {name}"),
            async || {
                let events = self.events_about(name).await?;
                let found = events.iter().any(|event| {
                    event.reason.as_deref() == Some(reason)
                        && event.note.as_deref() == Some(note)
                        && event.type_.as_deref() == Some(type_)
                        && event.reporting_controller.as_deref() == Some("external-secrets")
                });
                let seen: Vec<_> = events
                    .into_iter()
                    .map(|event| (event.type_, event.reason, event.note))
                    .collect();
                ensure!(found, "seen {seen:?}");
                Ok(Some(()))
            },
        )
        .await
    }

    /// Waits for an event whose text contains `part`.
    pub(crate) async fn event_part(&self, name: &str, reason: &str, part: &str) -> Result<()> {
        let what = format!("event {reason} with \"{part}\" about {name}");
        eventually(PATIENCE, &what, async || {
            let events = self.events_about(name).await?;
            let found = events.iter().any(|event| {
                event.reason.as_deref() == Some(reason)
                    && event
                        .note
                        .as_deref()
                        .is_some_and(|note| note.contains(part))
            });
            let seen: Vec<_> = events.into_iter().map(|event| event.note).collect();
            ensure!(found, "seen {seen:?}");
            Ok(Some(()))
        })
        .await
    }

    pub(crate) async fn events_about(&self, name: &str) -> Result<Vec<Event>> {
        let events = self.events.list(&ListParams::default()).await?.items;
        let about = |event: &Event| {
            event
                .regarding
                .as_ref()
                .is_some_and(|object| object.name.as_deref() == Some(name))
        };
        Ok(events.into_iter().filter(about).collect())
    }

    /// The exposed metrics.
    pub(crate) fn metrics(&self) -> Result<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    /// Checks that a planted value is in no event, no status and no metric.
    pub(crate) async fn assert_not_told(&self, value: &str) -> Result<()> {
        let events = serde_json::to_string(&self.events.list(&ListParams::default()).await?.items)?;
        let objects =
            serde_json::to_string(&self.objects.list(&ListParams::default()).await?.items)?;
        for (place, text) in [
            ("events", events),
            ("objects", objects),
            ("metrics", self.metrics()?),
        ] {
            ensure!(!text.contains(value), "{place} tell a secret value");
        }
        Ok(())
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

pub(crate) fn texts(secret: &Secret) -> BTreeMap<String, String> {
    let text = |bytes: &k8s_openapi::ByteString| String::from_utf8_lossy(&bytes.0).into_owned();
    secret
        .data
        .iter()
        .flatten()
        .map(|(key, bytes)| (key.clone(), text(bytes)))
        .collect()
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
