//! The backend under paused time: objects come through a channel, values from a map. Numbers in comments are sections of csi.md.

use std::collections::{BTreeMap, HashMap};
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::{FutureExt, StreamExt};
use jiff::Timestamp;
use latchkey_crds::external_secret::{
    ExternalSecret, Find, GeneratorRef, RemoteRef, SecretStoreRef,
};
use latchkey_csi::backend::FailureClass;
use latchkey_engine::source::{
    self, Caller, CallerNeeds, CallerScope, FetchError, GenerateError, Generated, GeneratedState,
    PodCaller, Standing, StoreMark,
};
use latchkey_engine::template::Settings;
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use serde_json::json;
use tokio::sync::{mpsc, watch};
use tokio::time::{advance, sleep};
use tokio_stream::wrappers::WatchStream;

use super::attributes::{ContentKey, Subject};
use super::events::Note;
use super::objects::{ObjectKey, Sight};
use super::*;

mod first_mounts;
mod freshness;
mod generated;
mod identity;
mod inline;
mod lanes;
mod namespaces;
mod operations;
mod optional;
mod panics;
mod recall;
mod shared_reads;
mod standing;
mod templates;
mod wishes;

const SECOND: Duration = Duration::from_secs(1);
const HOUR: Duration = Duration::from_secs(3600);
const DEADLINE: Duration = Duration::from_secs(115);

/// Values by remote key, or the failure that answers instead.
struct MapSource {
    values: Mutex<BTreeMap<String, Result<String, FetchError>>>,
    delay: Mutex<Duration>,
    calls: AtomicUsize,
    /// Generation of the one store, or why it cannot be used.
    store: Mutex<Result<i64, FetchError>>,
    /// What the store wants to know of pods.
    needs: Mutex<CallerNeeds>,
    /// On whose behalf values were asked for.
    callers: Mutex<Vec<Option<PodCaller>>>,
    pods: Arc<PodTokens>,
    /// How many values were made.
    made: AtomicUsize,
    /// Why none are made.
    generator: Mutex<Option<FetchError>>,
    /// Which of them were revoked.
    revoked: Mutex<Vec<u64>>,
    /// Why none are revoked.
    revocation: Mutex<Option<FetchError>>,
}

impl Default for MapSource {
    fn default() -> Self {
        Self {
            values: Mutex::default(),
            delay: Mutex::default(),
            calls: AtomicUsize::default(),
            store: Mutex::new(Ok(1)),
            needs: Mutex::default(),
            callers: Mutex::default(),
            pods: Arc::new(PodTokens::new("n1")),
            made: AtomicUsize::default(),
            generator: Mutex::default(),
            revoked: Mutex::default(),
            revocation: Mutex::default(),
        }
    }
}

impl Source for MapSource {
    async fn standing(
        &self,
        _: &Caller,
        stores: &[&SecretStoreRef],
    ) -> Result<Standing, FetchError> {
        let generation = self.store.lock().clone()?;
        let needs = self.needs.lock().clone();
        let mark = |_| StoreMark {
            uid: String::from("uid"),
            generation: Some(generation),
            caller: needs.clone(),
        };
        Ok(Standing(stores.iter().map(mark).collect()))
    }

    async fn secret(
        &self,
        caller: &Caller,
        _: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        assert!(!caller.namespace.is_empty() && !caller.uid.is_empty());
        self.calls.fetch_add(1, Ordering::SeqCst);
        assert_ne!(remote.key, "panic");
        let delay = *self.delay.lock();
        sleep(delay).await;
        self.callers.lock().push(caller.pod.clone());
        let wanted = self.needs.lock().scope;
        if wanted > CallerScope::Store {
            let pod = caller.pod.as_ref().expect("the store is for pods only");
            assert!(pod.scope() >= wanted);
            let proof = self
                .pods
                .proof(&caller.namespace, pod, None, Timestamp::now());
            if let Err(problem) = proof {
                return Err(FetchError::Failed {
                    class: source::FailureClass::NoToken,
                    message: problem.to_string(),
                    retry_after: None,
                });
            }
            let account = &pod.service_account;
            if remote.key == "account" {
                return Ok(SecretValue::from(format!("of {account} {:?}", pod.pod_uid)));
            }
        }
        let found = self.values.lock().get(&remote.key).cloned();
        found
            .unwrap_or(Err(FetchError::NoSecret))
            .map(SecretValue::from)
    }

    async fn secret_map(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        _: &RemoteRef,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        Err(FetchError::NoSecret)
    }

    async fn find(
        &self,
        _: &Caller,
        _: &SecretStoreRef,
        _: &Find,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        Ok(BTreeMap::new())
    }

    async fn generators_standing(
        &self,
        _: &Caller,
        generators: &[&GeneratorRef],
    ) -> Result<Standing, FetchError> {
        let generation = Some(self.store.lock().clone()?);
        let mark = |_| StoreMark {
            generation,
            ..StoreMark::default()
        };
        Ok(Standing(generators.iter().map(mark).collect()))
    }

    /// The value and the state say which one it is.
    async fn generate(
        &self,
        _: &Caller,
        _: usize,
        generator: &GeneratorRef,
    ) -> Result<Generated, GenerateError> {
        let delay = *self.delay.lock();
        sleep(delay).await;
        let failure = self.generator.lock().clone();
        if let Some(error) = failure.filter(|_| generator.name == "g") {
            return Err(GenerateError::Use(error));
        }
        let number = self.made.fetch_add(1, Ordering::SeqCst) + 1;
        let value = SecretValue::from(format!("made-{number}"));
        let state = GeneratedState {
            resource: json!({}),
            state: json!({ "n": number }),
        };
        Ok(Generated {
            data: BTreeMap::from([(String::from("token"), value)]),
            state: Some(state),
        })
    }

    async fn revoke(&self, namespace: &str, state: &GeneratedState) -> Result<(), FetchError> {
        assert_eq!(namespace, "app");
        if let Some(error) = self.revocation.lock().clone() {
            return Err(error);
        }
        self.revoked.lock().push(state.state["n"].as_u64().unwrap());
        Ok(())
    }
}

/// Objects that a test shows and hides.
#[derive(Default)]
struct Shelf(Mutex<HashMap<ObjectKey, watch::Sender<Option<Sight>>>>);

impl Shelf {
    fn put(&self, name: &str, sight: Sight) {
        self.sender(&object_key(name)).send_replace(Some(sight));
    }

    fn followers(&self, name: &str) -> usize {
        self.sender(&object_key(name)).receiver_count()
    }

    fn sender(&self, key: &ObjectKey) -> watch::Sender<Option<Sight>> {
        self.0
            .lock()
            .entry(key.clone())
            .or_insert_with(|| watch::Sender::new(None))
            .clone()
    }
}

impl Objects for Shelf {
    fn follow(&self, key: &ObjectKey) -> BoxStream<'static, Sight> {
        WatchStream::new(self.sender(key).subscribe())
            .filter_map(futures::future::ready)
            .boxed()
    }
}

struct Bench {
    volumes: Volumes<MapSource>,
    source: Arc<MapSource>,
    shelf: Arc<Shelf>,
    notes: mpsc::Receiver<Note>,
    metrics: Metrics,
    cancel: CancellationToken,
}

impl Bench {
    fn new() -> Self {
        Self::with_jitter(|| 0.0)
    }

    fn with_jitter(jitter: fn() -> f64) -> Self {
        Self::assemble(jitter, None)
    }

    fn assemble(jitter: fn() -> f64, journal: Option<Arc<Journal>>) -> Self {
        let (source, shelf) = (Arc::new(MapSource::default()), Arc::new(Shelf::default()));
        let (events, notes) = Events::channel();
        let cancel = CancellationToken::new();
        let clock = Clock::starting_at(Duration::from_secs(1_000_000));
        let objects: Arc<dyn Objects> = shelf.clone();
        let config = Config {
            rotation_events: true,
            node_name: String::from("n1"),
            journal,
            ..Config::default()
        };
        let volumes = Volumes::assemble(
            Resolver::new(
                source.clone(),
                Arc::new(Renderer::new(
                    Settings::default(),
                    Arc::new(templates::ConfigMaps),
                )),
                source.pods.clone(),
                config.metrics.clone(),
                config.journal.clone(),
            ),
            objects,
            &config,
            events,
            clock,
            jitter,
            cancel.clone(),
        );
        Self {
            volumes,
            source,
            shelf,
            notes,
            metrics: config.metrics,
            cancel,
        }
    }

    fn value(&self, key: &str, value: &str) {
        self.source
            .values
            .lock()
            .insert(key.to_owned(), Ok(value.to_owned()));
    }

    fn fails(&self, key: &str, class: source::FailureClass, retry_after: Option<Duration>) {
        let failure = FetchError::Failed {
            class,
            message: String::from("store \"s\" says no"),
            retry_after,
        };
        self.source
            .values
            .lock()
            .insert(key.to_owned(), Err(failure));
    }

    fn calls(&self) -> usize {
        self.source.calls.load(Ordering::SeqCst)
    }

    async fn first(&self, plan: &Plan) -> Result<FileSet, Failure> {
        self.volumes.first(plan, Instant::now() + DEADLINE).await
    }

    fn reasons(&mut self) -> Vec<Reason> {
        std::iter::from_fn(|| self.notes.try_recv().ok())
            .map(|note| note.reason)
            .collect()
    }
}

fn key(name: &str) -> ContentKey {
    ContentKey {
        namespace: String::from("app"),
        subject: Subject::ExternalSecret(name.to_owned()),
        caller: None,
    }
}

fn object_key(name: &str) -> ObjectKey {
    ObjectKey {
        namespace: String::from("app"),
        name: name.to_owned(),
    }
}

fn plan_with(name: &str, pod: &str, attributes: &[(&str, &str)]) -> Plan {
    plan_of(pod, &[&[("externalSecret", name)], attributes].concat())
}

fn plan_of(pod: &str, attributes: &[(&str, &str)]) -> Plan {
    let attributes = attributes
        .iter()
        .map(|(key, value)| ((*key).to_owned(), (*value).to_owned()))
        .collect();
    let request = VolumeRequest {
        volume_id: format!("csi-{pod}"),
        namespace: String::from("app"),
        pod_name: pod.to_owned(),
        pod_uid: format!("uid-{pod}"),
        service_account: String::from("web"),
        attributes,
    };
    Plan::try_new(&request, &Rules::default()).unwrap()
}

fn plan(name: &str) -> Plan {
    plan_with(name, "web-0", &[])
}

fn object(name: &str, generation: i64, spec: serde_json::Value) -> Sight {
    let object = json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"namespace": "app", "name": name, "uid": format!("4a1c-{name}"), "generation": generation},
        "spec": spec,
    });
    Sight::Present(Box::new(
        serde_json::from_value::<ExternalSecret>(object).unwrap(),
    ))
}

fn one_key(name: &str, generation: i64, remote: &str, interval: &str) -> Sight {
    let store = json!({"name": "s", "kind": "SecretStore", "apiVersion": "secretstore.external-secrets.io/v2alpha1"});
    let data = json!([{"secretKey": "password", "remoteRef": {"key": remote}}]);
    object(
        name,
        generation,
        json!({"secretStoreRef": store, "refreshInterval": interval, "data": data}),
    )
}

fn content(update: Option<Update>) -> String {
    match update {
        Some(Update::Content(set, _)) => text(&set),
        Some(Update::Stale(reason, _)) => panic!("stale: {reason}"),
        None => panic!("the stream ended"),
    }
}

fn stale(update: Option<Update>) -> String {
    match update {
        Some(Update::Stale(reason, _)) => reason,
        Some(Update::Content(set, _)) => panic!("content: {}", text(&set)),
        None => panic!("the stream ended"),
    }
}

/// `path=content` of each file, joined by commas.
fn text(set: &FileSet) -> String {
    let file = |file: &latchkey_csi::backend::File| {
        format!(
            "{}={}",
            file.path,
            String::from_utf8_lossy(file.content.expose())
        )
    };
    set.files.iter().map(file).collect::<Vec<_>>().join(",")
}

/// csi-peers.md 3 (SSCSID#1483, AKV#1609; VCP#149): calls do not grow with pods.
#[tokio::test(start_paused = true)]
async fn a_hundred_pods_cost_one_watch_and_one_fetch() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    *bench.source.delay.lock() = SECOND;
    let plans: Vec<Plan> = (0..100)
        .map(|n| plan_with("a", &format!("web-{n}"), &[]))
        .collect();
    let firsts = futures::future::join_all(plans.iter().map(|plan| bench.first(plan))).await;
    assert!(
        firsts
            .iter()
            .all(|first| first.as_ref().is_ok_and(|set| text(set) == "password=one"))
    );
    let mut streams: Vec<_> = plans
        .iter()
        .map(|plan| bench.volumes.subscribe(plan))
        .collect();
    for stream in &mut streams {
        assert_eq!(content(stream.next().await), "password=one");
    }
    assert_eq!(
        (
            bench.calls(),
            bench.shelf.followers("a"),
            bench.volumes.objects_in_use()
        ),
        (1, 1, 1)
    );
}

#[tokio::test(start_paused = true)]
async fn only_admitted_service_accounts_may_mount() {
    // 9.3
    let bench = Bench::new();
    bench.value("db", "one");
    for (annotation, is_admitted) in [
        ("web", true),
        ("other, web ", true),
        ("other", false),
        ("", false),
        ("web2", false),
    ] {
        let mut sight = one_key("a", 1, "db", "1h");
        if let Sight::Present(object) = &mut sight {
            let annotations = object.metadata.annotations.get_or_insert_default();
            annotations.insert(ALLOWED_SERVICE_ACCOUNTS.to_owned(), annotation.to_owned());
        }
        bench.shelf.put("a", sight);
        sleep(2 * SECOND).await;
        let first = bench.first(&plan("a")).await;
        assert_eq!(first.is_ok(), is_admitted, "{annotation:?}");
        if let Err(failure) = first {
            assert_eq!(failure.class, FailureClass::PermissionDenied);
            assert!(
                failure
                    .message
                    .contains("does not admit service account web"),
                "{}",
                failure.message
            );
        }
    }
    assert!(bench.first(&plan("a")).await.is_err());
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert!(stale(stream.next().await).contains("does not admit"));
}

#[tokio::test(start_paused = true)]
async fn items_that_do_not_fit_are_named() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let fitting = plan_with("a", "web-0", &[("items", "[{key: password, path: db/pw}]")]);
    assert_eq!(text(&bench.first(&fitting).await.unwrap()), "db/pw=one");
    let wrong = plan_with("a", "web-1", &[("items", "[{key: user, path: user}]")]);
    let failure = bench.first(&wrong).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::FailedPrecondition);
    assert_eq!(
        failure.message,
        "ExternalSecret app/a has no key \"user\", which attribute items asks for"
    );
}

#[tokio::test(start_paused = true)]
async fn a_broken_object_never_disturbs_another() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("good", one_key("good", 1, "db", "1h"));
    bench.shelf.put(
        "bad",
        Sight::Unreadable(String::from("missing field `remoteRef`")),
    );
    bench
        .shelf
        .put("ugly", one_key("ugly", 1, "db", "tomorrow"));
    let (good, bad) = (plan("good"), plan("bad"));
    let (first, failure) = tokio::join!(bench.first(&good), bench.first(&bad));
    assert_eq!(text(&first.unwrap()), "password=one");
    let failure = failure.unwrap_err();
    assert_eq!(failure.class, FailureClass::FailedPrecondition);
    assert!(
        failure
            .message
            .contains("app/bad is not valid: missing field"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn what_is_not_supported_or_not_valid_is_named() {
    for (spec, part) in [
        (
            json!({"secretStoreRef": {"name": "s"}, "refreshInterval": "tomorrow", "data": [{"secretKey": "k", "remoteRef": {"key": "db"}}]}),
            "spec.refreshInterval",
        ),
        (
            json!({"secretStoreRef": {"name": "s"}, "data": [{"secretKey": "k", "remoteRef": {"key": "db", "decodingStrategy": "Base64"}}]}),
            "error applying decoding strategy Base64 to data",
        ),
    ] {
        let bench = Bench::new();
        bench.value("db", "canary!");
        bench.shelf.put("a", object("a", 1, spec));
        let failure = bench.first(&plan("a")).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::FailedPrecondition);
        assert!(failure.message.contains(part), "{}", failure.message);
        assert!(!failure.message.contains("canary"), "{}", failure.message);
    }
}

#[tokio::test(start_paused = true)]
async fn volumes_only_objects_and_objects_with_a_secret_are_served_alike() {
    for policy in ["None", "Owner"] {
        let bench = Bench::new();
        bench.value("db", "one");
        let data = json!([{"secretKey": "k", "remoteRef": {"key": "db"}}]);
        let store = json!({"name": "s"});
        let spec =
            json!({"secretStoreRef": store, "target": {"creationPolicy": policy}, "data": data});
        bench.shelf.put("a", object("a", 1, spec));
        assert_eq!(text(&bench.first(&plan("a")).await.unwrap()), "k=one");
    }
}

#[tokio::test(start_paused = true)]
async fn a_stopping_agent_answers_waits_with_unavailable_and_ends_its_tasks() {
    let bench = Bench::new();
    let plan = plan("a");
    let (first, ()) = tokio::join!(bench.first(&plan), async {
        sleep(SECOND).await;
        bench.cancel.cancel();
    });
    let failure = first.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
    assert!(failure.message.contains("shutting down"));
    assert!(bench.volumes.subscribe(&plan).next().await.is_none());
    bench.volumes.join().await;
}
