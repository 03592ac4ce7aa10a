//! Refreshes, staleness, and the end of a volume.

use super::*;

#[tokio::test(start_paused = true)]
async fn content_is_refreshed_every_interval() {
    // 6.4
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10m"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=one");
    bench.value("db", "two");
    let began = Instant::now();
    assert_eq!(content(stream.next().await), "password=two");
    assert!(began.elapsed() <= 11 * 60 * SECOND, "{:?}", began.elapsed());
    let began = Instant::now();
    assert_eq!(content(stream.next().await), "password=two");
    assert_eq!(began.elapsed(), 600 * SECOND);
}

#[tokio::test(start_paused = true)]
async fn an_interval_of_zero_never_refreshes() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "0s"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=one");
    assert!(
        tokio::time::timeout(1000 * HOUR, stream.next())
            .await
            .is_err()
    );
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_change_of_the_object_is_followed_at_once_and_more_within_a_second_by_one_fetch() {
    // 6.4
    let bench = Bench::new();
    bench.value("db", "one");
    bench.value("db2", "two");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=one");
    let began = Instant::now();
    bench.shelf.put("a", one_key("a", 2, "db2", "1h"));
    assert_eq!(content(stream.next().await), "password=two");
    assert!(began.elapsed() < Duration::from_millis(10));
    bench.value("db2", "three");
    for generation in 3..6 {
        sleep(Duration::from_millis(100)).await;
        bench.shelf.put("a", one_key("a", generation, "db2", "1h"));
    }
    assert_eq!(content(stream.next().await), "password=three");
    assert!(began.elapsed().abs_diff(SECOND) < Duration::from_millis(10));
    assert_eq!(bench.calls(), 3);
    sleep(5 * SECOND).await;
    assert!(stream.next().now_or_never().is_none());
}

#[tokio::test(start_paused = true)]
async fn a_new_pod_never_gets_content_of_an_older_spec() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.value("db2", "two");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    let _mounted = bench.volumes.subscribe(&plan("a"));
    bench.shelf.put("a", one_key("a", 2, "db2", "1h"));
    sleep(Duration::from_millis(1)).await;
    let began = Instant::now();
    assert_eq!(
        text(&bench.first(&plan_with("a", "web-1", &[])).await.unwrap()),
        "password=two"
    );
    assert!(began.elapsed() < SECOND, "a waiting pod is not debounced");
}

#[tokio::test(start_paused = true)]
async fn a_failed_refresh_keeps_content_and_tells_staleness_until_it_is_fresh_again() {
    let mut bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10s"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=one");
    bench.fails("db", source::FailureClass::Unavailable, None);
    for _ in 0..8 {
        assert!(stale(stream.next().await).contains("store \"s\" says no"));
    }
    bench.value("db", "one");
    assert_eq!(content(stream.next().await), "password=one");
    assert_eq!(bench.reasons(), [Reason::Stale, Reason::Fresh]);
}

#[tokio::test(start_paused = true)]
async fn failures_back_off_up_to_seven_minutes() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10s"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    content(stream.next().await);
    bench.fails("db", source::FailureClass::Unavailable, None);
    stale(stream.next().await);
    let mut pauses = Vec::new();
    for _ in 0..11 {
        let began = Instant::now();
        stale(stream.next().await);
        pauses.push(began.elapsed().as_secs());
    }
    assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 420, 420]);
}

#[tokio::test(start_paused = true)]
async fn a_mount_while_others_are_stale_asks_anew_and_does_not_take_old_content() {
    // 6.5 RequireFresh
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10s"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    content(stream.next().await);
    bench.fails("db", source::FailureClass::Unavailable, None);
    for _ in 0..12 {
        stale(stream.next().await);
    }
    let other = plan_with("a", "web-1", &[]);
    assert_eq!(
        bench.first(&other).await.unwrap_err().class,
        FailureClass::Unavailable
    );
    bench.value("db", "two");
    let began = Instant::now();
    assert_eq!(text(&bench.first(&other).await.unwrap()), "password=two");
    assert!(began.elapsed() < 2 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn an_adopted_volume_is_followed_without_a_first_mount_and_waits_for_its_phase() {
    // 7.2
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let mut stream = bench.volumes.subscribe(&plan("a"));
    let began = Instant::now();
    assert_eq!(content(stream.next().await), "password=one");
    assert!(
        began.elapsed() >= HOUR / 10 && began.elapsed() <= HOUR + HOUR / 10,
        "{:?}",
        began.elapsed()
    );
}

#[tokio::test(start_paused = true)]
async fn content_goes_with_the_last_volume_and_the_watch_some_minutes_later() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    sleep(9 * SECOND).await;
    let stream = bench.volumes.subscribe(&plan("a"));
    let second = bench.volumes.subscribe(&plan_with("a", "web-1", &[]));
    drop(stream);
    sleep(HOUR / 2).await;
    assert_eq!(
        (bench.volumes.objects_in_use(), bench.shelf.followers("a")),
        (1, 1)
    );
    let calls = bench.calls();
    let entry = bench.volumes.registry.find(&key("a")).unwrap();
    let weak = Arc::downgrade(entry.state.borrow().content.as_ref().unwrap());
    drop((entry, second));
    sleep(11 * SECOND).await;
    assert_eq!(
        (bench.volumes.objects_in_use(), bench.shelf.followers("a")),
        (1, 1)
    );
    assert!(weak.upgrade().is_none(), "content outlives its volumes");
    // Nobody would read what a change or an interval brings.
    bench.shelf.put("a", one_key("a", 2, "db", "10s"));
    sleep(250 * SECOND).await;
    assert_eq!(bench.shelf.followers("a"), 1);
    sleep(50 * SECOND).await;
    assert_eq!(
        (bench.volumes.objects_in_use(), bench.shelf.followers("a")),
        (0, 0)
    );
    sleep(10 * HOUR).await;
    assert_eq!(bench.calls(), calls);
}

#[tokio::test(start_paused = true)]
async fn a_pod_soon_after_the_last_one_needs_no_new_watch_and_gets_current_content() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.value("db2", "two");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    sleep(60 * SECOND).await;
    bench.shelf.put("a", one_key("a", 2, "db2", "1h"));
    sleep(SECOND).await;
    let began = Instant::now();
    let first = bench.first(&plan("a")).await.unwrap();
    assert_eq!((text(&first).as_str(), bench.calls()), ("password=two", 2));
    assert_eq!(
        (began.elapsed(), bench.shelf.followers("a")),
        (Duration::ZERO, 1)
    );
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=two");
    bench.value("db2", "three");
    assert_eq!(content(stream.next().await), "password=three");
    assert!(began.elapsed() <= HOUR + HOUR / 10, "{:?}", began.elapsed());
    assert_eq!(bench.calls(), 3);
}

#[tokio::test(start_paused = true)]
async fn an_object_that_fails_or_is_gone_while_nobody_uses_it_is_told_to_the_next_pod() {
    let bench = Bench::new();
    bench.fails("db", source::FailureClass::Unavailable, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    assert!(bench.first(&plan("a")).await.is_err());
    let calls = bench.calls();
    sleep(60 * SECOND).await;
    assert!(bench.calls() <= calls + 4, "it is tried for nobody");
    bench.value("db", "one");
    let began = Instant::now();
    assert_eq!(
        text(&bench.first(&plan("a")).await.unwrap()),
        "password=one"
    );
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    sleep(60 * SECOND).await;
    bench.shelf.put("a", Sight::Missing);
    sleep(SECOND).await;
    let failure = bench.first(&plan("a")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotFound);
}

#[tokio::test(start_paused = true)]
async fn few_objects_that_nobody_uses_keep_their_watch() {
    let bench = Bench::new();
    bench.value("db", "one");
    for number in 0..40 {
        let name = format!("a{number}");
        bench.shelf.put(&name, one_key(&name, 1, "db", "1h"));
        bench.first(&plan(&name)).await.unwrap();
    }
    sleep(11 * SECOND).await;
    assert_eq!(bench.volumes.objects_in_use(), 32);
    sleep(300 * SECOND).await;
    assert_eq!(bench.volumes.objects_in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_dropped_wait_drops_nothing_but_the_wait() {
    let bench = Bench::new();
    bench.value("db", "one");
    *bench.source.delay.lock() = 5 * SECOND;
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let plan = plan("a");
    assert!(
        tokio::time::timeout(SECOND, bench.first(&plan))
            .await
            .is_err()
    );
    assert_eq!(text(&bench.first(&plan).await.unwrap()), "password=one");
    assert_eq!(bench.calls(), 1, "the second wait joins the running fetch");
}

#[tokio::test(start_paused = true)]
async fn a_deleted_object_leaves_the_files_and_counts_as_stale() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    content(stream.next().await);
    bench.shelf.put("a", Sight::Missing);
    assert!(stale(stream.next().await).contains("does not exist any more"));
    sleep(10 * HOUR).await;
    assert!(stream.next().now_or_never().is_none());
    assert_eq!(bench.calls(), 1);
    bench.value("db", "two");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    assert_eq!(content(stream.next().await), "password=two");
}
