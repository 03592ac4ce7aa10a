//! What a first mount waits for, and how it fails.

use super::*;

#[tokio::test(start_paused = true)]
async fn a_missing_external_secret_is_waited_for_20_s_then_not_found() {
    // 2.2: objects are applied in any order
    let mut bench = Bench::new();
    bench.shelf.put("a", Sight::Missing);
    let began = Instant::now();
    let failure = bench.first(&plan("a")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotFound);
    assert_eq!(began.elapsed(), 20 * SECOND);
    assert_eq!(
        failure.message,
        "ExternalSecret app/a not found; create it or correct attribute externalSecret"
    );
    assert_eq!(
        bench.reasons(),
        [Reason::MountFailed(FailureClass::NotFound)]
    );

    bench.value("db", "one");
    let plan = plan("a");
    let (first, ()) = tokio::join!(bench.first(&plan), async {
        sleep(12 * SECOND).await;
        bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    });
    assert_eq!(text(&first.unwrap()), "password=one");
}

#[tokio::test(start_paused = true)]
async fn a_silent_api_server_is_unavailable_and_says_so() {
    let bench = Bench::new();
    bench
        .shelf
        .put("a", Sight::Trouble(String::from("connection refused")));
    let failure = bench.first(&plan("a")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
    assert!(
        failure
            .message
            .contains("app/a cannot be read: connection refused"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_first_mount_waits_for_a_provider_that_is_down_and_starts_when_it_returns() {
    let mut bench = Bench::new();
    bench.fails("db", source::FailureClass::Unavailable, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let plan = plan("a");
    let began = Instant::now();
    let (first, ()) = tokio::join!(bench.first(&plan), async {
        sleep(60 * SECOND).await;
        bench.value("db", "back");
    });
    assert_eq!(text(&first.unwrap()), "password=back");
    assert!(began.elapsed() <= 66 * SECOND, "{:?}", began.elapsed());
    assert_eq!(
        bench.reasons(),
        [Reason::MountFailed(FailureClass::Unavailable)]
    );
    assert!(bench.calls() < 20, "{}", bench.calls());
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_stays_down_is_unavailable_at_the_deadline() {
    let bench = Bench::new();
    bench.fails("db", source::FailureClass::Unavailable, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let began = Instant::now();
    let failure = bench.first(&plan("a")).await.unwrap_err();
    assert_eq!(
        (failure.class, began.elapsed()),
        (FailureClass::Unavailable, DEADLINE)
    );
    assert!(
        failure.message.contains("store \"s\" says no"),
        "{}",
        failure.message
    );
}

#[tokio::test(start_paused = true)]
async fn a_provider_that_never_answers_is_deadline_exceeded() {
    let bench = Bench::new();
    *bench.source.delay.lock() = HOUR;
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let failure = bench
        .volumes
        .first(&plan("a"), Instant::now() + 30 * SECOND)
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::DeadlineExceeded);
}

#[tokio::test(start_paused = true)]
async fn permanent_failures_answer_at_once() {
    // 1.6
    for (class, expected) in [
        (
            source::FailureClass::Unauthorized,
            FailureClass::Unauthenticated,
        ),
        (source::FailureClass::Denied, FailureClass::PermissionDenied),
        (
            source::FailureClass::Configuration,
            FailureClass::FailedPrecondition,
        ),
    ] {
        let bench = Bench::new();
        bench.fails("db", class, None);
        bench.shelf.put("a", one_key("a", 1, "db", "1h"));
        let began = Instant::now();
        let failure = bench.first(&plan("a")).await.unwrap_err();
        assert_eq!(
            (failure.class, began.elapsed()),
            (expected, Duration::ZERO),
            "{class:?}"
        );
    }
    let bench = Bench::new();
    bench.shelf.put("a", one_key("a", 1, "nothing", "1h"));
    assert_eq!(
        bench.first(&plan("a")).await.unwrap_err().class,
        FailureClass::NotFound
    );
}

#[tokio::test(start_paused = true)]
async fn a_missing_store_is_waited_for_like_a_missing_object() {
    let bench = Bench::new();
    bench.fails("db", source::FailureClass::StoreMissing, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let began = Instant::now();
    let failure = bench.first(&plan("a")).await.unwrap_err();
    assert_eq!(
        (failure.class, began.elapsed()),
        (FailureClass::NotFound, 20 * SECOND)
    );
}

#[tokio::test(start_paused = true)]
async fn refused_credentials_are_not_tried_again_by_every_mount() {
    let bench = Bench::new();
    bench.fails("db", source::FailureClass::Unauthorized, None);
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    for number in 0..20 {
        let plan = plan_with("a", &format!("web-{number}"), &[]);
        assert_eq!(
            bench.first(&plan).await.unwrap_err().class,
            FailureClass::Unauthenticated
        );
        advance(SECOND).await;
    }
    assert_eq!(bench.calls(), 1);
    advance(20 * SECOND).await;
    bench.value("db", "granted");
    assert_eq!(
        text(&bench.first(&plan("a")).await.unwrap()),
        "password=granted"
    );
}

/// csi-peers.md 3 (SSCSID#1483, AKV#1609): throttling makes no more calls.
#[tokio::test(start_paused = true)]
async fn what_the_provider_asks_to_wait_is_waited() {
    let bench = Bench::new();
    bench.fails("db", source::FailureClass::Unavailable, Some(40 * SECOND));
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let plan = plan("a");
    let (first, ()) = tokio::join!(bench.first(&plan), async {
        sleep(SECOND).await;
        bench.value("db", "later");
        sleep(38 * SECOND).await;
        assert_eq!(bench.calls(), 1);
    });
    assert_eq!(text(&first.unwrap()), "password=later");
}
