//! Values that generators make: one set for each object, identity and node (6.4).

use tempfile::TempDir;

use super::*;

const GRACE: Duration = Duration::from_secs(120);

impl Bench {
    /// The agent of a node whose disk is `directory`.
    fn on(directory: &TempDir) -> Self {
        let journal = Journal::open(directory.path().join("generated"), GRACE);
        Self::assemble(|| 0.0, Some(journal))
    }

    fn made(&self) -> usize {
        self.source.made.load(Ordering::SeqCst)
    }

    fn revoked(&self) -> Vec<u64> {
        self.source.revoked.lock().clone()
    }

    fn journal(&self) -> &Journal {
        self.volumes.config.journal.as_ref().unwrap()
    }
}

fn generator(name: &str) -> serde_json::Value {
    json!({"sourceRef": {"generatorRef": {
        "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": "Generator", "name": name,
    }}})
}

fn lease(generation: i64, interval: &str) -> Sight {
    let spec = json!({"refreshInterval": interval, "dataFrom": [generator("g")]});
    object("a", generation, spec)
}

fn down() -> Option<FetchError> {
    Some(FetchError::Failed {
        class: source::FailureClass::Unavailable,
        message: String::from("generator \"g\" says no"),
        retry_after: None,
    })
}

/// csi-peers.md 3 (VCP#149): values do not grow with pods.
#[tokio::test(start_paused = true)]
async fn volumes_share_one_value_that_is_revoked_with_the_last_of_them() {
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    *bench.source.delay.lock() = SECOND;
    bench.shelf.put("a", lease(1, "1h"));
    let plans: Vec<Plan> = (0..20)
        .map(|n| plan_with("a", &format!("web-{n}"), &[]))
        .collect();
    let firsts = futures::future::join_all(plans.iter().map(|plan| bench.first(plan))).await;
    for first in firsts {
        assert_eq!(text(&first.unwrap()), "token=made-1");
    }
    let mut streams: Vec<_> = plans
        .iter()
        .map(|plan| bench.volumes.subscribe(plan))
        .collect();
    let late = plan_with("a", "late", &[]);
    assert_eq!(text(&bench.first(&late).await.unwrap()), "token=made-1");
    for plan in &plans {
        bench.volumes.republished(plan);
    }
    streams.truncate(1);
    sleep(60 * SECOND).await;
    assert_eq!((bench.made(), bench.revoked()), (1, vec![]));
    drop(streams);
    bench.volumes.released(&plans[0]);
    sleep(11 * SECOND).await;
    assert_eq!((bench.made(), bench.revoked()), (1, vec![1]));
    assert!(bench.journal().is_empty());
}

#[tokio::test(start_paused = true)]
async fn a_renewal_replaces_the_value_and_revokes_the_old_one_after_the_grace() {
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    bench.shelf.put("a", lease(1, "10m"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "token=made-1");
    let began = Instant::now();
    assert_eq!(content(stream.next().await), "token=made-2");
    assert_eq!(began.elapsed().as_secs(), 600);
    sleep(GRACE - SECOND).await;
    assert!(bench.revoked().is_empty());
    sleep(2 * SECOND).await;
    assert_eq!(bench.revoked(), [1]);
    // An object that has no values made any more lets go of the last ones.
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 2, "db", "1h"));
    assert_eq!(content(stream.next().await), "password=one");
    sleep(GRACE + SECOND).await;
    assert_eq!((bench.revoked(), bench.made()), (vec![1, 2], 2));
}

#[tokio::test(start_paused = true)]
async fn a_renewal_that_fails_keeps_the_old_value() {
    // R3, R12
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    bench.shelf.put("a", lease(1, "10m"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "token=made-1");
    *bench.source.generator.lock() = down();
    for _ in 0..12 {
        assert!(stale(stream.next().await).contains("generator \"g\" says no"));
    }
    assert_eq!((bench.made(), bench.revoked()), (1, vec![]));
    *bench.source.generator.lock() = None;
    assert_eq!(content(stream.next().await), "token=made-2");
    sleep(GRACE + SECOND).await;
    assert_eq!(bench.revoked(), [1]);
}

#[tokio::test(start_paused = true)]
async fn what_was_made_for_a_failed_or_abandoned_mount_is_revoked() {
    let template = json!({"data": {"x": "{{ fail \"no\" }}"}});
    for spec in [
        json!({"dataFrom": [generator("other"), generator("g")]}),
        json!({"dataFrom": [generator("other")], "target": {"template": template}}),
    ] {
        let directory = TempDir::new().unwrap();
        let bench = Bench::on(&directory);
        *bench.source.generator.lock() = down();
        bench.shelf.put("a", object("a", 1, spec));
        let deadline = Instant::now() + SECOND;
        assert!(bench.volumes.first(&plan("a"), deadline).await.is_err());
        sleep(60 * SECOND).await;
        let (made, revoked) = (bench.made(), bench.revoked().len());
        assert!(made >= 1 && made == revoked, "{made} {revoked}");
    }
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    *bench.source.delay.lock() = 5 * SECOND;
    bench.shelf.put("a", lease(1, "1h"));
    let plan = plan("a");
    let wait = bench.first(&plan);
    assert!(tokio::time::timeout(SECOND, wait).await.is_err());
    bench.volumes.released(&plan);
    sleep(20 * SECOND).await;
    assert_eq!((bench.made(), bench.revoked()), (1, vec![1]));
}

#[tokio::test(start_paused = true)]
async fn nothing_is_made_while_something_else_is_missing() {
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    let data = json!([{"secretKey": "k", "remoteRef": {"key": "db"}}]);
    let spec = json!({"secretStoreRef": {"name": "s"}, "dataFrom": [generator("g")], "data": data});
    bench.shelf.put("a", object("a", 1, spec));
    let plan = plan_with("a", "web-0", &[("optional", "true")]);
    let failure = bench.first(&plan).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotFound);
    assert_eq!(bench.made(), 0);
    bench.value("db", "one");
    // A failure answers further mounts for a second.
    sleep(2 * SECOND).await;
    assert_eq!(
        text(&bench.first(&plan).await.unwrap()),
        "k=one,token=made-1"
    );
}

#[tokio::test(start_paused = true)]
async fn created_once_is_made_once() {
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    let once = |generation| {
        let spec = json!({"refreshPolicy": "CreatedOnce", "refreshInterval": "1s", "dataFrom": [generator("g")]});
        object("a", generation, spec)
    };
    bench.shelf.put("a", once(1));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "token=made-1");
    bench.shelf.put("a", once(2));
    sleep(10 * HOUR).await;
    assert!(stream.next().now_or_never().is_none());
    assert_eq!((bench.made(), bench.revoked()), (1, vec![]));
}

#[tokio::test(start_paused = true)]
async fn a_generator_that_changed_or_denies_gives_a_new_pod_nothing_old() {
    // pushsecret-and-stores.md SB-26
    let directory = TempDir::new().unwrap();
    let bench = Bench::on(&directory);
    bench.shelf.put("a", lease(1, "1h"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "token=made-1");
    sleep(SECOND).await;
    *bench.source.store.lock() = Ok(2);
    let other = plan_with("a", "web-1", &[]);
    assert_eq!(text(&bench.first(&other).await.unwrap()), "token=made-2");
    assert_eq!(content(stream.next().await), "token=made-2");
}

#[tokio::test(start_paused = true)]
async fn after_a_restart_a_value_lasts_as_long_as_it_was_meant_to() {
    // 7.6
    let directory = TempDir::new().unwrap();
    let mut once = json!({"refreshPolicy": "CreatedOnce", "dataFrom": [generator("g")]});
    {
        let bench = Bench::on(&directory);
        bench.shelf.put("a", lease(1, "10m"));
        bench.shelf.put("b", object("b", 1, once.take()));
        for name in ["a", "b", "c"] {
            bench
                .shelf
                .put("c", object("c", 1, json!({"dataFrom": [generator("g")]})));
            bench.first(&plan(name)).await.unwrap();
        }
        assert_eq!(bench.journal().len(), 3);
        bench.cancel.cancel();
        bench.volumes.join().await;
    }
    let bench = Bench::on(&directory);
    bench.source.made.store(3, Ordering::SeqCst);
    bench.shelf.put("a", lease(1, "10m"));
    let once = json!({"refreshPolicy": "CreatedOnce", "dataFrom": [generator("g")]});
    bench.shelf.put("b", object("b", 1, once));
    let mut adopted = bench.volumes.subscribe(&plan("a"));
    let _adopted_too = bench.volumes.subscribe(&plan("b"));
    let began = Instant::now();
    assert_eq!(content(adopted.next().await), "token=made-4");
    let took = began.elapsed().as_secs();
    assert!((500..=600).contains(&took), "{took}");
    assert_eq!(bench.revoked(), [3], "nobody claimed it");
    sleep(GRACE + SECOND).await;
    assert_eq!((bench.revoked(), bench.made()), (vec![3, 1], 4));
}
