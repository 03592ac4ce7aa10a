//! What single volumes want: attributes `refreshInterval`, `startPolicy`, `maxStaleness` (csi.md 6.5, 8).

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

async fn gap(stream: &mut BoxStream<'static, Update>) -> Duration {
    let began = Instant::now();
    assert_eq!(content(stream.next().await), "password=one");
    began.elapsed()
}

#[tokio::test(start_paused = true)]
async fn the_shortest_wish_of_all_volumes_wins_while_its_volume_lives() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let subscribe = |pod: &str, wish: Option<&str>| {
        let wish = wish.map(|wish| ("refreshInterval", wish));
        bench
            .volumes
            .subscribe(&plan_with("a", pod, wish.as_slice()))
    };
    let mut longer = subscribe("web-0", Some("2h"));
    gap(&mut longer).await;
    assert_eq!(gap(&mut longer).await, 2 * HOUR, "alone, it may lengthen");
    let plain = subscribe("web-1", None);
    gap(&mut longer).await;
    assert_eq!(gap(&mut longer).await, HOUR);
    let shorter = subscribe("web-2", Some("10m"));
    assert!(
        gap(&mut longer).await <= 11 * MINUTE,
        "it does not wait for the old plan"
    );
    assert_eq!(gap(&mut longer).await, 10 * MINUTE);
    drop(shorter);
    gap(&mut longer).await;
    assert_eq!(gap(&mut longer).await, HOUR);
    drop(plain);
    gap(&mut longer).await;
    assert_eq!(gap(&mut longer).await, 2 * HOUR);
    assert_eq!(bench.volumes.objects_in_use(), 1);
}

#[tokio::test(start_paused = true)]
async fn zero_is_never_and_a_wish_ends_never() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    let never = plan_with("a", "web-0", &[("refreshInterval", "0s")]);
    let mut stream = bench.volumes.subscribe(&never);
    gap(&mut stream).await;
    let waited = tokio::time::timeout(1000 * HOUR, stream.next()).await;
    assert!(waited.is_err() && bench.calls() == 1, "{}", bench.calls());

    bench.shelf.put("b", one_key("b", 1, "db", "0s"));
    let often = plan_with("b", "web-0", &[("refreshInterval", "30s")]);
    let mut stream = bench.volumes.subscribe(&often);
    gap(&mut stream).await;
    assert_eq!(gap(&mut stream).await, 30 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn only_the_policy_periodic_refreshes_by_itself() {
    // externalsecret.md 2.4
    for (policy, calls) in [("Periodic", 10), ("OnChange", 1), ("CreatedOnce", 1)] {
        let bench = Bench::new();
        bench.value("db", "one");
        let data = json!([{"secretKey": "k", "remoteRef": {"key": "db"}}]);
        let spec = json!({"secretStoreRef": {"name": "s"}, "refreshPolicy": policy, "data": data});
        bench.shelf.put("a", object("a", 1, spec));
        bench.first(&plan("a")).await.unwrap();
        let _stream = bench.volumes.subscribe(&plan("a"));
        sleep(9 * HOUR + HOUR / 2).await;
        let fetched = bench.calls();
        assert!(
            fetched.abs_diff(calls) <= 1 && (calls == 1) == (fetched == 1),
            "{policy}: {fetched}"
        );
    }
}

/// One running volume whose content is ten minutes old when the provider goes.
async fn outage(bench: &Bench) -> BoxStream<'static, Update> {
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10m"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    gap(&mut stream).await;
    bench.fails("db", source::FailureClass::Unavailable, None);
    stale(stream.next().await);
    stream
}

fn cached(pod: &str, max_staleness: &str) -> Plan {
    let policy = ("startPolicy", "AllowCached");
    plan_with("a", pod, &[policy, ("maxStaleness", max_staleness)])
}

#[tokio::test(start_paused = true)]
async fn a_pod_may_start_with_kept_content_while_the_provider_is_down() {
    // 6.5
    let bench = Bench::new();
    let _running = outage(&bench).await;
    let began = Instant::now();
    let first = bench.first(&cached("web-1", "1h")).await;
    assert_eq!(text(&first.unwrap()), "password=one");
    assert!(began.elapsed() <= 5 * SECOND, "{:?}", began.elapsed());
    let failure = bench.first(&cached("web-2", "1s")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable, "too old");
    let failure = bench
        .first(&plan_with("a", "web-3", &[]))
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable, "RequireFresh");
    bench.value("db", "two");
    sleep(SECOND).await;
    let first = bench.first(&cached("web-4", "1h")).await;
    assert_eq!(
        text(&first.unwrap()),
        "password=two",
        "what is fresh goes first"
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_hangs_is_down_at_the_deadline() {
    // 6.5
    let bench = Bench::new();
    let _running = outage(&bench).await;
    *bench.source.delay.lock() = HOUR;
    bench.value("db", "two");
    let first = bench.first(&cached("web-1", "1h")).await;
    assert_eq!(text(&first.unwrap()), "password=one");
}

#[tokio::test(start_paused = true)]
async fn kept_content_is_not_for_those_whom_the_store_or_the_provider_refuses() {
    // 6.5 with SB-26: a store that changed or denies the namespace, and credentials that are refused, are no outage.
    let bench = Bench::new();
    let _running = outage(&bench).await;
    *bench.source.store.lock() = Ok(2);
    let failure = bench.first(&cached("web-1", "1h")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);

    for class in [
        source::FailureClass::Unauthorized,
        source::FailureClass::Denied,
    ] {
        let bench = Bench::new();
        let _running = outage(&bench).await;
        bench.fails("db", class, None);
        // The outage answers for a moment.
        sleep(2 * SECOND).await;
        let failure = bench.first(&cached("web-1", "1h")).await.unwrap_err();
        assert_ne!(failure.class, FailureClass::Unavailable, "{class:?}");
    }
}

#[tokio::test(start_paused = true)]
async fn kept_content_of_an_older_spec_is_not_served() {
    let bench = Bench::new();
    let _running = outage(&bench).await;
    bench.shelf.put("a", one_key("a", 2, "db", "10m"));
    sleep(Duration::from_millis(1)).await;
    let failure = bench.first(&cached("web-1", "1h")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
}
