//! Content that volumes of an earlier process show (csi.md 6.5).

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// What the volume of a pod showed when the earlier process ended.
#[derive(Clone)]
struct Left {
    plan: Plan,
    set: FileSet,
}

/// One pod of an earlier process, with attributes beside the object.
async fn left(bench: &Bench, attributes: &[(&str, &str)]) -> Left {
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let plan = plan_with("a", "old-0", attributes);
    let set = bench.first(&plan).await.unwrap();
    Left { plan, set }
}

/// What the next process finds `age` later.
struct Found {
    bench: Bench,
    /// How often the volume was read.
    reads: Arc<AtomicUsize>,
    stream: BoxStream<'static, Update>,
}

/// The agent starts anew, and its provider is away.
fn found(left: &Left, age: Duration) -> Found {
    let bench = Bench::new();
    bench.fails("db", source::FailureClass::Unavailable, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let reads = Arc::new(AtomicUsize::new(0));
    let stream = adopt(&bench, left, age, &reads);
    Found {
        bench,
        reads,
        stream,
    }
}

fn adopt(
    bench: &Bench,
    left: &Left,
    age: Duration,
    reads: &Arc<AtomicUsize>,
) -> BoxStream<'static, Update> {
    let Some(revision) = &left.set.revision else {
        return bench.volumes.subscribe(&left.plan);
    };
    let (files, reads) = (left.set.files.clone(), Arc::clone(reads));
    let read = move || {
        reads.fetch_add(1, Ordering::SeqCst);
        futures::future::ready(Some(files.clone())).boxed()
    };
    let shown = Shown::new(revision.to_string(), Instant::now() - age, read);
    bench.volumes.resume(&left.plan, shown)
}

fn cached(pod: &str) -> Plan {
    cached_with(pod, &[])
}

fn cached_with(pod: &str, attributes: &[(&str, &str)]) -> Plan {
    let policy = [("startPolicy", "AllowCached"), ("maxStaleness", "1h")];
    plan_with("a", pod, &[&policy, attributes].concat())
}

impl Found {
    fn reads(&self) -> usize {
        self.reads.load(Ordering::SeqCst)
    }

    /// A pod that may start with older content has to wait all the same.
    async fn refuses(&self, pod: &str) {
        let failure = self.bench.first(&cached(pod)).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::Unavailable, "{pod}");
    }
}

/// Its age is that of the content, and who is stale stays so.
#[tokio::test(start_paused = true)]
async fn a_pod_may_start_with_what_a_volume_of_an_earlier_process_shows() {
    let left = left(&Bench::new(), &[]).await;
    assert_eq!(left.set.age, Duration::ZERO);
    let mut found = found(&left, 30 * MINUTE);
    let failure = found.bench.first(&plan_with("a", "new-0", &[])).await;
    assert_eq!(
        (failure.unwrap_err().class, found.reads()),
        (FailureClass::Unavailable, 0),
        "RequireFresh"
    );
    let set = found.bench.first(&cached("new-1")).await.unwrap();
    assert_eq!(text(&set), "password=one");
    assert_eq!(set.revision, left.set.revision, "good for the next restart");
    assert!(set.age >= 30 * MINUTE, "{:?}", set.age);
    // Kept for those that follow, whatever they show of it.
    let items = ("items", "[{key: password, path: pw}]");
    let set = found.bench.first(&cached_with("new-2", &[items])).await;
    assert_eq!((text(&set.unwrap()).as_str(), found.reads()), ("pw=one", 1));
    assert!(stale(found.stream.next().await).contains("says no"));
    let mut other = found.bench.volumes.subscribe(&cached("new-1"));
    assert!(stale(other.next().await).contains("says no"));

    found.bench.value("db", "two");
    sleep(10 * MINUTE).await;
    assert_eq!(content(other.next().await), "password=two");
    let set = found.bench.first(&cached("new-3")).await.unwrap();
    assert_eq!((text(&set).as_str(), found.reads()), ("password=two", 1));
}

#[tokio::test(start_paused = true)]
async fn a_hundred_pods_read_one_volume_once() {
    let left = left(&Bench::new(), &[]).await;
    let found = found(&left, MINUTE);
    let other = Left {
        plan: plan_with("a", "old-1", &[]),
        ..left
    };
    let _other = adopt(&found.bench, &other, 2 * MINUTE, &found.reads);
    let plans: Vec<Plan> = (0..100).map(|n| cached(&format!("new-{n}"))).collect();
    let firsts = futures::future::join_all(plans.iter().map(|plan| found.bench.first(plan))).await;
    for first in firsts {
        let set = first.unwrap();
        assert_eq!(text(&set), "password=one");
        assert!(set.age < 2 * MINUTE, "the newest is taken: {:?}", set.age);
    }
    assert_eq!(found.reads(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_answers_goes_first_and_one_that_hangs_is_away_at_the_deadline() {
    let left = left(&Bench::new(), &[]).await;
    for (delay, expected) in [(SECOND, "password=two"), (HOUR, "password=one")] {
        let found = found(&left, MINUTE);
        found.bench.value("db", "two");
        *found.bench.source.delay.lock() = delay;
        let set = found.bench.first(&cached("new-0")).await.unwrap();
        assert_eq!(text(&set), expected);
    }
}

/// Too old; another version of the object; other stores, or stores that deny; refused credentials; gone; a mount that does not give
/// its files.
#[tokio::test(start_paused = true)]
async fn what_does_not_fit_serves_nobody() {
    let left = left(&Bench::new(), &[]).await;
    let old = found(&left, 2 * HOUR);
    old.refuses("old").await;
    assert_eq!(old.reads(), 0);

    let changed = found(&left, MINUTE);
    changed.bench.shelf.put("a", one_key("a", 2, "db", "1h"));
    changed.refuses("changed").await;
    assert_eq!(changed.reads(), 0);

    let annotated = found(&left, MINUTE);
    let mut sight = one_key("a", 1, "db", "1h");
    if let Sight::Present(object) = &mut sight {
        let annotations = object.metadata.annotations.get_or_insert_default();
        annotations.insert(String::from("x"), String::from("y"));
    }
    annotated.bench.shelf.put("a", sight);
    annotated.refuses("annotated").await;
    assert_eq!(annotated.reads(), 0);

    let moved = found(&left, MINUTE);
    *moved.bench.source.store.lock() = Ok(2);
    moved.refuses("moved").await;
    assert_eq!(moved.reads(), 0);

    // Not before it was read once: what is kept is doubted like all that is kept.
    let moving = found(&left, MINUTE);
    moving.bench.first(&cached("moving-0")).await.unwrap();
    *moving.bench.source.store.lock() = Ok(2);
    moving.refuses("moving-1").await;
    assert_eq!(moving.reads(), 1);

    let refused = found(&left, MINUTE);
    let class = source::FailureClass::Unauthorized;
    refused.bench.fails("db", class, None);
    let failure = refused.bench.first(&cached("refused")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unauthenticated);

    let gone = found(&left, MINUTE);
    gone.bench.volumes.released(&left.plan);
    gone.refuses("gone").await;
    assert_eq!(gone.reads(), 0);

    let bench = Bench::new();
    bench.fails("db", source::FailureClass::Unavailable, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let revision = left.set.revision.as_deref().unwrap().to_owned();
    let read = || futures::future::ready(None).boxed();
    let shown = Shown::new(revision, Instant::now(), read);
    let _stream = bench.volumes.resume(&left.plan, shown);
    assert!(bench.first(&cached("unreadable")).await.is_err());
}

/// A volume whose files are not all keys under their own names has no revision.
#[tokio::test(start_paused = true)]
async fn only_volumes_that_show_everything_are_read_back() {
    let bench = Bench::new();
    let whole = left(&bench, &[]).await;
    assert!(whole.set.revision.is_some());
    let items = ("items", "[{key: password, path: pw}]");
    let picked = left(&bench, &[items]).await;
    assert_eq!(picked.set.revision, None);
    // Attributes that say how files look, and not which, do not matter.
    let dressed = left(&bench, &[("uid", "7"), ("defaultMode", "0400")]).await;
    assert_eq!(dressed.set.revision, whole.set.revision);

    let optional = plan_with("b", "old-1", &[("optional", "true")]);
    let data = json!([
        {"secretKey": "password", "remoteRef": {"key": "db"}},
        {"secretKey": "missing", "remoteRef": {"key": "nothing"}},
    ]);
    let store = json!({"name": "s"});
    let spec = json!({"secretStoreRef": store, "data": data});
    bench.shelf.put("b", object("b", 1, spec));
    let set = bench.first(&optional).await.unwrap();
    assert_eq!((text(&set).as_str(), set.revision), ("password=one", None));
}

/// csi.md 9.2: what was fetched for one service account is for its pods.
#[tokio::test(start_paused = true)]
async fn content_of_an_account_is_for_its_pods_only() {
    let needs = |bench: &Bench| bench.source.needs.lock().scope = CallerScope::ServiceAccount;
    let earlier = Bench::new();
    needs(&earlier);
    let publish = async |bench: &Bench, plan: &Plan| {
        let token = latchkey_csi::backend::ServiceAccountToken {
            token: SecretValue::from(String::from("canary")),
            expires_at: Timestamp::now() + jiff::SignedDuration::from_mins(10),
        };
        let tokens = ServiceAccountTokens::from_iter([(String::from("vault"), token)]);
        bench.volumes.tokens(plan, &tokens);
        bench.first(plan).await
    };
    earlier.value("db", "one");
    earlier.shelf.put("a", one_key("a", 1, "db", "1h"));
    let plan = plan_with("a", "old-0", &[]);
    let set = publish(&earlier, &plan).await.unwrap();
    let found = found(&Left { plan, set }, MINUTE);
    needs(&found.bench);
    let same = publish(&found.bench, &cached("new-0")).await.unwrap();
    assert_eq!(text(&same), "password=one");
    let mut other = cached("new-1");
    other.pod.service_account = String::from("other");
    assert!(publish(&found.bench, &other).await.is_err());
    assert_eq!(found.reads(), 1);
}

/// Nothing of it tells a value, and equal keys of other objects, stores or identities never fit.
#[test]
fn an_identity_tells_versions_apart_and_holds_no_value() {
    let object = |edit: fn(&mut ExternalSecret)| {
        let Sight::Present(mut object) = one_key("a", 1, "db", "1h") else {
            unreachable!("the object is there")
        };
        edit(&mut object);
        super::super::state::Seen::new(*object).revision
    };
    let mark = |generation| StoreMark {
        uid: String::from("store"),
        generation: Some(generation),
        caller: CallerNeeds::default(),
    };
    let as_caller = |caller| ContentKey { caller, ..key("a") };
    let account = |pod_uid| PodCaller {
        service_account: String::from("web"),
        pod_uid,
        audience: None,
    };
    let one = Standing(vec![mark(1)]);
    let labels = |object: &mut ExternalSecret| {
        object.metadata.labels = Some([(String::from("x"), String::from("y"))].into());
    };
    let annotations = |object: &mut ExternalSecret| {
        object.metadata.annotations = Some([(String::from("x"), String::from("y"))].into());
    };
    let all = [
        (key("a"), object(|_| {}), one.clone()),
        (key("b"), object(|_| {}), one.clone()),
        (as_caller(Some(account(None))), object(|_| {}), one.clone()),
        (
            as_caller(Some(account(Some(String::from("u"))))),
            object(|_| {}),
            one.clone(),
        ),
        (
            key("a"),
            object(|object| object.metadata.uid = Some(String::from("other"))),
            one.clone(),
        ),
        (
            key("a"),
            object(|object| object.metadata.generation = Some(2)),
            one.clone(),
        ),
        (key("a"), object(labels), one.clone()),
        (key("a"), object(annotations), one.clone()),
        (key("a"), object(|_| {}), Standing(vec![mark(2)])),
        (key("a"), object(|_| {}), Standing(vec![mark(1), mark(1)])),
        (key("a"), object(|_| {}), Standing::default()),
    ];
    let identity = |(key, revision, standing): &(ContentKey, Arc<_>, Standing)| {
        super::super::recall::identity(key, revision, standing)
    };
    let known: std::collections::BTreeSet<String> = all.iter().map(identity).collect();
    assert_eq!(known.len(), all.len(), "{known:?}");
    assert_eq!(identity(&all[0]), "1 4a1c-a 1 387f6170a3c41f74");
}
