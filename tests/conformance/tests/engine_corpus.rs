//! The scenarios of the reconcile corpus that are about sources and keys (`tests/reconcile/README.md`), with the engine and the
//! Fake provider in one process: what is fetched, under which keys, and with which text it fails. No cluster, so that a
//! difference shows within a second; what becomes of the Secret is the matter of the end-to-end test.

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use futures::FutureExt as _;
use futures::future::{BoxFuture, ready};
use latchkey_crds::external_secret::{ExternalSecretSpec, Find, RemoteRef, SecretStoreRef};
use latchkey_crds::provider_fake::{Fake, FakeSpec};
use latchkey_engine::Resolution;
use latchkey_engine::source::{Caller, FailureClass, FetchError, Source};
use latchkey_engine::template::{ObjectError, ObjectKind, Renderer, Settings, TemplateObjects};
use latchkey_provider_fake::FakeProvider;
use latchkey_provider_sdk::{
    ConversionStrategy, ErrorClass, MetadataPolicy, Operation, Provider as _, ProviderError,
    ProviderReference, RequestContext,
};
use latchkey_secret::{SecretData, SecretValue};
use serde_json::{Value, json};

/// Scenarios whose errors quote the provider, the API server or a value: only the step that failed is compared.
const QUOTING: [&str; 5] = [
    "src-extract-not-an-object",
    "src-extract-property",
    "src-find-errors",
    "src-no-default-store",
    "rw-merge-not-object",
];
const NAMESPACE: &str = "team-a";

/// Every store of a scenario as a resource of one Fake provider.
struct Stores(FakeProvider<latchkey_provider_fake::FixedResources>);

struct NoObjects;

impl TemplateObjects for NoObjects {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: ObjectKind,
        name: &'a str,
        _: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        ready(Err(ObjectError::Missing(name.to_owned()))).boxed()
    }
}

impl Stores {
    fn new(stores: &BTreeMap<String, Value>) -> Self {
        let fakes = stores.iter().map(|(name, data)| {
            let spec: FakeSpec = serde_json::from_value(json!({ "data": entries(data) })).unwrap();
            let mut fake = Fake::new(name, spec);
            fake.metadata.namespace = Some(NAMESPACE.into());
            fake
        });
        Self(FakeProvider::fixed(fakes))
    }
}

/// The values of a store: a map, or a list that may have versions.
fn entries(data: &Value) -> Value {
    match data.as_object() {
        None => data.clone(),
        Some(map) => map
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect(),
    }
}

fn context(
    operation: Operation,
    caller: &Caller,
    store: &SecretStoreRef,
) -> Result<RequestContext, FetchError> {
    let reference = ProviderReference {
        api_version: "provider.secretstore.external-secrets.io/v2alpha1".into(),
        kind: "Fake".into(),
        name: store.name().to_owned(),
        namespace: caller.namespace.clone(),
    };
    RequestContext::try_new(operation, reference, &caller.namespace, "SecretStore", None)
        .map_err(fetch_error)
}

fn fetch_error(error: ProviderError) -> FetchError {
    if error.class() == ErrorClass::SecretNotFound {
        return FetchError::NoSecret;
    }
    FetchError::Failed {
        class: FailureClass::Provider,
        message: error.message().to_owned(),
        retry_after: None,
    }
}

fn remote_of(remote: &RemoteRef) -> latchkey_provider_sdk::RemoteRef {
    let policy = remote.metadata_policy.map(|policy| policy.as_str());
    latchkey_provider_sdk::RemoteRef {
        key: remote.key.clone(),
        version: remote.version.clone().unwrap_or_default(),
        property: remote.property.clone().unwrap_or_default(),
        metadata_policy: MetadataPolicy::from_wire(policy.unwrap_or_default()),
    }
}

impl Source for Stores {
    async fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        let context = context(Operation::GetSecret, caller, store)?;
        let value = self.0.get_secret(&context, &remote_of(remote)).await;
        value.map_err(fetch_error)
    }

    async fn secret_map(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretData, FetchError> {
        let context = context(Operation::GetSecretMap, caller, store)?;
        let data = self.0.get_secret_map(&context, &remote_of(remote)).await;
        data.map_err(fetch_error)
    }

    async fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        let context = context(Operation::GetAllSecrets, caller, store)?;
        let strategy = find.conversion_strategy.map(|strategy| strategy.as_str());
        let find = latchkey_provider_sdk::Find {
            path: find.path.clone(),
            name: find
                .name
                .as_ref()
                .map(|name| name.regexp.clone().unwrap_or_default()),
            tags: find.tags.clone(),
            conversion_strategy: ConversionStrategy::from_wire(strategy.unwrap_or_default()),
        };
        let data = self.0.get_all_secrets(&context, &find).await;
        data.map_err(fetch_error)
    }
}

/// A scenario as far as it goes: the stores and specs of this step.
#[derive(Default)]
struct State {
    stores: BTreeMap<String, Value>,
    specs: BTreeMap<String, Value>,
}

impl State {
    fn start(scenario: &Value) -> Self {
        let mut state = Self::default();
        for store in listed(scenario, "store", "stores") {
            state.set_store(store);
        }
        for object in listed(scenario, "externalSecret", "externalSecrets") {
            let name = object["name"].as_str().unwrap().to_owned();
            state.specs.insert(name, object["spec"].clone());
        }
        state
    }

    fn set_store(&mut self, store: &Value) {
        let name = store["name"].as_str().unwrap().to_owned();
        self.stores.insert(name, store["data"].clone());
    }

    fn step(&mut self, step: &Value) {
        if let Some(store) = step.get("store") {
            self.set_store(store);
        }
        if let Some(patch) = step.get("es") {
            let name = patch["name"].as_str();
            let spec = match name {
                Some(name) => self.specs.get_mut(name),
                None => self.specs.values_mut().next(),
            };
            merge_patch(spec.unwrap(), &patch["spec"]);
        }
    }

    async fn resolve(&self, name: &str) -> Result<Resolution, String> {
        let spec: ExternalSecretSpec = serde_json::from_value(self.specs[name].clone()).unwrap();
        let caller = Caller {
            namespace: NAMESPACE.into(),
            name: name.into(),
            uid: "1".into(),
            pod: None,
        };
        let renderer = Renderer::new(Settings::default(), Arc::new(NoObjects));
        let source = Stores::new(&self.stores);
        latchkey_engine::resolve(&spec, &caller, &source, &renderer, jiff::Timestamp::now())
            .await
            .map_err(|error| error.to_string())
    }
}

fn listed<'a>(scenario: &'a Value, one: &str, many: &str) -> Vec<&'a Value> {
    match (scenario.get(one), scenario.get(many)) {
        (Some(one), _) => vec![one],
        (None, Some(many)) => many.as_array().unwrap().iter().collect(),
        (None, None) => Vec::new(),
    }
}

/// RFC 7396.
fn merge_patch(target: &mut Value, patch: &Value) {
    let Some(patch) = patch.as_object() else {
        target.clone_from(patch);
        return;
    };
    if !target.is_object() {
        *target = json!({});
    }
    let target = target.as_object_mut().unwrap();
    for (key, value) in patch {
        match value {
            Value::Null => {
                target.remove(key);
            }
            _ => merge_patch(target.entry(key).or_insert(Value::Null), value),
        }
    }
}

/// Compares what one object of a step resolves to with its recording.
fn compare(
    at: &str,
    outcome: Result<Resolution, String>,
    object: &Value,
    secret: Option<&Value>,
    quotes: bool,
) {
    let events: Vec<&Value> = object["events"].as_array().unwrap().iter().collect();
    let has = |reason: &str, text: &str| {
        events
            .iter()
            .any(|event| event[1] == reason && event[2] == text)
    };
    let condition = &object["conditions"][0];
    match (condition["status"].as_str(), outcome) {
        (Some("True"), Ok(resolution)) => {
            let recorded: BTreeMap<String, Vec<u8>> = match condition["message"].as_str() {
                Some("secret synced") => secret.unwrap()["data"]
                    .as_object()
                    .unwrap()
                    .iter()
                    .map(|(key, value)| {
                        let value = STANDARD.decode(value.as_str().unwrap_or_default());
                        (key.clone(), value.unwrap())
                    })
                    .collect(),
                _ => BTreeMap::new(),
            };
            let resolved: BTreeMap<String, Vec<u8>> = resolution
                .data
                .iter()
                .map(|(key, value)| (key.clone(), value.expose().to_vec()))
                .collect();
            assert_eq!(resolved, recorded, "{at}");
            for text in &resolution.missing {
                assert!(has("MissingProviderSecret", text), "{at}: {text}");
            }
        }
        (Some("False"), Err(text)) if quotes => {
            let step = text.split_inclusive(", err: ").next().unwrap();
            let same = events
                .iter()
                .any(|event| event[2].as_str().unwrap().starts_with(step));
            assert!(same, "{at}: {text}");
        }
        (Some("False"), Err(text)) => assert!(has("UpdateFailed", &text), "{at}: {text}"),
        (_, outcome) => panic!("{at}: {condition} but {outcome:?}"),
    }
}

fn scenarios(corpus: &Path, file: &str) -> Vec<Value> {
    let text = std::fs::read_to_string(corpus.join("scenarios").join(file)).unwrap();
    // `n` is a text here, as it is for the runner.
    let options = serde_saphyr::options! { strict_booleans: true };
    let scenarios: Vec<Value> = serde_saphyr::from_str_with_options(&text, options).unwrap();
    scenarios
        .into_iter()
        .map(|scenario| {
            let id = scenario["id"].as_str().unwrap().to_owned();
            serde_json::from_str(&scenario.to_string().replace("$ID", &id)).unwrap()
        })
        .collect()
}

#[tokio::test]
async fn sources_and_keys_are_resolved_as_recorded() {
    // externalsecret.md 2.3, 3.1, 3.2, 3.4, 3.5, 3.6, 3.7, 3.8
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../reconcile");
    let recorded = std::fs::read_to_string(corpus.join("expected.jsonl")).unwrap();
    let recorded: BTreeMap<String, Value> = recorded
        .lines()
        .map(|line| serde_json::from_str::<Value>(line).unwrap())
        .map(|line| (line["id"].as_str().unwrap().to_owned(), line))
        .collect();
    let mut compared = 0;
    for file in ["keys.yaml", "sources.yaml"] {
        for scenario in scenarios(&corpus, file) {
            let id = scenario["id"].as_str().unwrap();
            let mut recording = recorded[id].clone();
            if id == "rw-collision" {
                // D-10: upstream picks at random.
                recording["steps"][0]["secrets"]["one"]["data"] = json!({ "same": "My1j" });
            }
            let mut state = State::start(&scenario);
            for (index, step) in recording["steps"].as_array().unwrap().iter().enumerate() {
                if index > 0 {
                    state.step(&scenario["steps"][index - 1]);
                }
                for (name, object) in step["externalSecrets"].as_object().unwrap() {
                    let at = format!("{id} [{}] {name}", step["name"]);
                    let secret = step["secrets"].get(name);
                    let outcome = state.resolve(name).await;
                    compare(&at, outcome, object, secret, QUOTING.contains(&id));
                    compared += 1;
                }
            }
        }
    }
    assert!(compared > 50, "only {compared} objects were compared");
}
