//! Volumes that can do with less: attribute `optional` (csi.md 8).

use super::*;

const OPTIONAL: (&str, &str) = ("optional", "true");

/// An ExternalSecret with keys `a` and `b` from remote keys of the same names.
fn two_keys(name: &str, policy: &str) -> Sight {
    let data = json!([
        {"secretKey": "a", "remoteRef": {"key": "a"}},
        {"secretKey": "b", "remoteRef": {"key": "b"}},
    ]);
    let target = json!({"deletionPolicy": policy});
    let spec = json!({"secretStoreRef": {"name": "s"}, "target": target, "data": data});
    object(name, 1, spec)
}

#[tokio::test(start_paused = true)]
async fn without_an_external_secret_the_volume_is_empty_and_fills_when_it_appears() {
    let mut bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", Sight::Missing);
    let plan = plan_with("a", "web-0", &[OPTIONAL]);
    let began = Instant::now();
    assert_eq!(text(&bench.first(&plan).await.unwrap()), "");
    assert_eq!(began.elapsed(), Duration::ZERO);
    let mut stream = bench.volumes.subscribe(&plan);
    let nothing = tokio::time::timeout(60 * SECOND, stream.next()).await;
    assert!(nothing.is_err(), "an absent object is no trouble");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    assert_eq!(content(stream.next().await), "password=one");
    bench.shelf.put("a", Sight::Missing);
    assert!(stale(stream.next().await).contains("does not exist any more"));
    assert_eq!(bench.reasons(), [Reason::Stale]);
}

#[tokio::test(start_paused = true)]
async fn missing_remote_keys_are_left_out_for_it_alone_and_come_later() {
    let bench = Bench::new();
    bench.value("a", "one");
    bench.shelf.put("x", two_keys("x", "Retain"));
    let (optional, strict) = (plan_with("x", "web-0", &[OPTIONAL]), plan("x"));
    assert_eq!(text(&bench.first(&optional).await.unwrap()), "a=one");
    let failure = bench.first(&strict).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotFound);
    assert!(
        failure.message.contains("spec.data[1] (key: b)"),
        "{}",
        failure.message
    );

    let mut streams = [&optional, &strict].map(|plan| bench.volumes.subscribe(plan));
    assert_eq!(content(streams[0].next().await), "a=one");
    assert!(stale(streams[1].next().await).contains("(key: b)"));
    bench.value("b", "two");
    let began = Instant::now();
    for stream in &mut streams {
        loop {
            match stream.next().await {
                Some(Update::Content(set, _)) if text(&set) == "a=one" => {}
                Some(Update::Stale(..)) => {}
                update => break assert_eq!(content(update), "a=one,b=two"),
            }
        }
    }
    assert!(
        began.elapsed() < 60 * SECOND,
        "sooner than the interval: {:?}",
        began.elapsed()
    );
    assert_eq!(bench.volumes.objects_in_use(), 1, "both share one entry");
}

#[tokio::test(start_paused = true)]
async fn what_vanishes_at_the_provider_is_absent_for_it_and_kept_for_others() {
    let bench = Bench::new();
    bench.value("a", "one");
    bench.value("b", "two");
    bench.shelf.put("x", two_keys("x", "Retain"));
    let mut streams = [plan_with("x", "web-0", &[OPTIONAL]), plan("x")]
        .map(|plan| bench.volumes.subscribe(&plan));
    bench.first(&plan("x")).await.unwrap();
    for stream in &mut streams {
        assert_eq!(content(stream.next().await), "a=one,b=two");
    }
    bench.source.values.lock().remove("b");
    assert_eq!(content(streams[0].next().await), "a=one");
    assert!(stale(streams[1].next().await).contains("(key: b)"));
}

#[tokio::test(start_paused = true)]
async fn nothing_at_all_is_an_empty_volume_under_every_deletion_policy() {
    for policy in ["Retain", "Delete", "Merge"] {
        let bench = Bench::new();
        bench.shelf.put("x", two_keys("x", policy));
        let plan = plan_with("x", "web-0", &[OPTIONAL]);
        assert_eq!(text(&bench.first(&plan).await.unwrap()), "", "{policy}");
        let failure = bench.first(&super::plan("x")).await.unwrap_err();
        assert_eq!(failure.class, FailureClass::NotFound, "{policy}");
    }
}

#[tokio::test(start_paused = true)]
async fn failures_are_never_hidden() {
    for (class, expected) in [
        (source::FailureClass::Unavailable, FailureClass::Unavailable),
        (
            source::FailureClass::Unauthorized,
            FailureClass::Unauthenticated,
        ),
        (source::FailureClass::Denied, FailureClass::PermissionDenied),
        (source::FailureClass::StoreMissing, FailureClass::NotFound),
    ] {
        let bench = Bench::new();
        bench.value("a", "one");
        bench.fails("b", class, None);
        bench.shelf.put("x", two_keys("x", "Retain"));
        let failure = bench
            .first(&plan_with("x", "web-0", &[OPTIONAL]))
            .await
            .unwrap_err();
        assert_eq!(failure.class, expected, "{class:?}");
    }
    let bench = Bench::new();
    bench
        .shelf
        .put("x", Sight::Trouble(String::from("refused")));
    let failure = bench
        .first(&plan_with("x", "web-0", &[OPTIONAL]))
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
}

#[tokio::test(start_paused = true)]
async fn a_failure_after_less_content_counts_as_stale_until_it_is_over() {
    let mut bench = Bench::new();
    bench.value("a", "one");
    bench.shelf.put("x", two_keys("x", "Retain"));
    let plan = plan_with("x", "web-0", &[OPTIONAL]);
    bench.first(&plan).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan);
    assert_eq!(content(stream.next().await), "a=one");
    bench.fails("b", source::FailureClass::Unavailable, None);
    loop {
        match stream.next().await {
            Some(Update::Stale(reason, _)) => {
                break assert!(reason.contains("says no"), "{reason}");
            }
            update => assert_eq!(content(update), "a=one"),
        }
    }
    bench.source.values.lock().remove("b");
    loop {
        match stream.next().await {
            Some(Update::Stale(..)) => {}
            update => break assert_eq!(content(update), "a=one"),
        }
    }
    assert_eq!(bench.reasons(), [Reason::Stale, Reason::Fresh]);
}

#[tokio::test(start_paused = true)]
async fn a_template_that_needs_what_is_missing_fails_with_the_cause() {
    let bench = Bench::new();
    bench.value("a", "one");
    for (template, expected) in [("{{ .a }}", Some("out=one")), ("{{ .a }}{{ .b }}", None)] {
        let data = json!([
            {"secretKey": "a", "remoteRef": {"key": "a"}},
            {"secretKey": "b", "remoteRef": {"key": "b"}},
        ]);
        let target = json!({"template": {"data": {"out": template}}});
        let spec = json!({"secretStoreRef": {"name": "s"}, "target": target, "data": data});
        let name = if expected.is_some() { "x" } else { "y" };
        bench.shelf.put(name, object(name, 1, spec));
        let first = bench.first(&plan_with(name, "web-0", &[OPTIONAL])).await;
        match expected {
            Some(expected) => assert_eq!(text(&first.unwrap()), expected),
            None => {
                let failure = first.unwrap_err();
                assert_eq!(failure.class, FailureClass::NotFound);
                assert!(failure.message.contains("(key: b)"), "{}", failure.message);
            }
        }
    }
}

#[tokio::test(start_paused = true)]
async fn items_without_a_key_are_left_out() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let items = "[{key: password, path: db/pw}, {key: user, path: db/user}]";
    let plan = plan_with("a", "web-0", &[OPTIONAL, ("items", items)]);
    assert_eq!(text(&bench.first(&plan).await.unwrap()), "db/pw=one");
}
