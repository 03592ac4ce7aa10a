//! Content that is kept, once its store is not what it was (pushsecret-and-stores.md SB-25, SB-26).

use super::*;

const MINUTE: Duration = Duration::from_secs(60);

/// One pod that shows `one`, fetched a minute ago and good for an hour.
async fn mounted(bench: &Bench) -> BoxStream<'static, Update> {
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(stream.next().await), "password=one");
    advance(MINUTE).await;
    stream
}

fn refuse(bench: &Bench, class: source::FailureClass) {
    let failure = FetchError::Failed {
        class,
        message: String::from("using cluster store \"s\" is not allowed from namespace \"app\""),
        retry_after: None,
    };
    *bench.source.store.lock() = Err(failure.clone());
    bench
        .source
        .values
        .lock()
        .insert(String::from("db"), Err(failure));
}

#[tokio::test(start_paused = true)]
async fn kept_content_serves_further_pods_while_its_store_stands() {
    let bench = Bench::new();
    let _mounted = mounted(&bench).await;
    let other = plan_with("a", "web-1", &[]);
    assert_eq!(text(&bench.first(&other).await.unwrap()), "password=one");
    assert_eq!(bench.calls(), 1);
}

#[tokio::test(start_paused = true)]
async fn a_store_that_denies_ends_new_mounts_and_leaves_running_files_stale() {
    // SB-26, SB-07
    let mut bench = Bench::new();
    let mut running = mounted(&bench).await;
    refuse(&bench, source::FailureClass::Denied);
    let other = plan_with("a", "web-1", &[]);
    let failure = bench.first(&other).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::PermissionDenied);
    assert!(
        failure.message.contains("is not allowed from namespace"),
        "{}",
        failure.message
    );
    assert!(stale(running.next().await).contains("is not allowed from namespace"));
    assert_eq!(
        bench.reasons(),
        [
            Reason::MountFailed(FailureClass::PermissionDenied),
            Reason::Stale
        ]
    );
    // Nothing is fetched for it meanwhile, and no older content comes back.
    let adopted = bench.volumes.subscribe(&other).next().now_or_never();
    assert!(adopted.is_none_or(|update| matches!(update, Some(Update::Stale(..)))));

    *bench.source.store.lock() = Ok(1);
    bench.value("db", "two");
    // The failure answers for a moment.
    sleep(MINUTE).await;
    assert_eq!(text(&bench.first(&other).await.unwrap()), "password=two");
    loop {
        match running.next().await {
            Some(Update::Stale(..)) => {}
            update => break assert_eq!(content(update), "password=two"),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_refresh_that_the_store_denies_leaves_files_and_tells_staleness() {
    // SB-26, SB-08
    let mut bench = Bench::new();
    let mut running = mounted(&bench).await;
    refuse(&bench, source::FailureClass::Denied);
    let began = Instant::now();
    assert!(stale(running.next().await).contains("is not allowed from namespace"));
    assert!(began.elapsed() <= HOUR + HOUR / 5, "{:?}", began.elapsed());
    assert_eq!(bench.reasons(), [Reason::Stale]);
}

#[tokio::test(start_paused = true)]
async fn a_deleted_store_ends_new_mounts_also_while_the_pods_wait() {
    // SB-26
    let bench = Bench::new();
    let _mounted = mounted(&bench).await;
    refuse(&bench, source::FailureClass::StoreMissing);
    let other = plan_with("a", "web-1", &[]);
    let began = Instant::now();
    let failure = bench.first(&other).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::NotFound);
    assert!(began.elapsed() >= 20 * SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_changed_is_asked_anew_for_the_next_pod() {
    // SB-26
    let bench = Bench::new();
    let mut running = mounted(&bench).await;
    bench.value("db", "two");
    *bench.source.store.lock() = Ok(2);
    let other = plan_with("a", "web-1", &[]);
    assert_eq!(text(&bench.first(&other).await.unwrap()), "password=two");
    assert_eq!(bench.calls(), 2);
    assert_eq!(content(running.next().await), "password=two");
    assert_eq!(
        text(&bench.first(&plan_with("a", "web-2", &[])).await.unwrap()),
        "password=two"
    );
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_fetch_that_began_under_another_store_is_not_kept() {
    // SB-26: what was on its way when the store changed serves nobody who came later.
    let bench = Bench::new();
    *bench.source.delay.lock() = 5 * SECOND;
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    let (first, second) = (plan("a"), plan_with("a", "web-1", &[]));
    let later = async {
        sleep(2 * SECOND).await;
        *bench.source.store.lock() = Ok(2);
        bench.first(&second).await
    };
    let (first, second) = tokio::join!(bench.first(&first), later);
    assert!(first.is_ok() && second.is_ok());
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn namespaces_share_nothing_however_much_their_objects_are_alike() {
    // SB-25
    let bench = Bench::new();
    let _mounted = mounted(&bench).await;
    let key = ObjectKey {
        namespace: String::from("other"),
        name: String::from("a"),
    };
    let foreign = Plan {
        key: ContentKey {
            namespace: key.namespace.clone(),
            ..plan("a").key
        },
        ..plan("a")
    };
    bench
        .shelf
        .sender(&key)
        .send_replace(Some(one_key("a", 1, "db", "1h")));
    bench.value("db", "two");
    assert_eq!(text(&bench.first(&foreign).await.unwrap()), "password=two");
    assert_eq!((bench.calls(), bench.volumes.objects_in_use()), (2, 2));
}
