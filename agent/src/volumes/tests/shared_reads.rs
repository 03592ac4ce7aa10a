//! csi.md 6.4: reads of several ExternalSecrets that the provider is asked for once, and those that it is not.

use futures::future::join_all;
use latchkey_crds::external_secret::StoreKind;

use super::super::metrics::Saved;
use super::super::shared_reads::SharedReads;
use super::*;

fn caller(namespace: &str) -> Caller {
    Caller {
        namespace: namespace.to_owned(),
        name: String::from("es"),
        uid: String::from("4a1c"),
        pod: None,
    }
}

fn store(name: &str) -> SecretStoreRef {
    SecretStoreRef {
        name: Some(name.to_owned()),
        kind: Some(StoreKind::SecretStore),
        ..SecretStoreRef::default()
    }
}

fn remote(key: &str) -> RemoteRef {
    RemoteRef {
        key: key.to_owned(),
        ..RemoteRef::default()
    }
}

fn shared(source: &Arc<MapSource>) -> SharedReads<MapSource> {
    SharedReads::new(Arc::clone(source), Metrics::default())
}

#[tokio::test(start_paused = true)]
async fn what_many_external_secrets_read_at_once_is_asked_for_once() {
    let bench = Bench::new();
    bench.value("db", "one");
    *bench.source.delay.lock() = SECOND;
    let names: Vec<_> = (0..10).map(|number| format!("es-{number}")).collect();
    for name in &names {
        bench.shelf.put(name, one_key(name, 1, "db", "1h"));
    }
    let plans: Vec<_> = names.iter().map(|name| plan(name)).collect();
    let sets = join_all(plans.iter().map(|plan| bench.first(plan))).await;
    for set in sets {
        assert_eq!(text(&set.unwrap()), "password=one");
    }
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.metrics.count(Saved::InFlight), 9);
}

#[tokio::test(start_paused = true)]
async fn an_answer_serves_for_three_seconds_and_is_wiped_then() {
    let bench = Bench::new();
    bench.value("db", "one");
    for name in ["a", "b", "c"] {
        bench.shelf.put(name, one_key(name, 1, "db", "1h"));
    }
    bench.first(&plan("a")).await.unwrap();
    sleep(2 * SECOND).await;
    bench.first(&plan("b")).await.unwrap();
    assert_eq!(bench.calls(), 1);
    assert_eq!(bench.metrics.count(Saved::Recent), 1);
    assert_eq!(bench.volumes.registry.resolver.reads.len(), 1);
    sleep(2 * SECOND).await;
    assert_eq!(bench.volumes.registry.resolver.reads.len(), 0);
    bench.first(&plan("c")).await.unwrap();
    assert_eq!(bench.calls(), 2);
}

/// A change of the ExternalSecret is answered by what the provider says after it.
#[tokio::test(start_paused = true)]
async fn what_follows_a_change_takes_no_older_answer() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "1h"));
    bench.first(&plan("a")).await.unwrap();
    let mut updates = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(updates.next().await), "password=one");
    bench.value("db", "two");
    bench.shelf.put("a", one_key("a", 2, "db", "1h"));
    assert_eq!(content(updates.next().await), "password=two");
    assert_eq!(bench.calls(), 2);
}

/// The interval is what an object says, also where it is shorter than answers are kept.
#[tokio::test(start_paused = true)]
async fn a_refresh_never_takes_its_own_last_answer() {
    let bench = Bench::new();
    bench.value("db", "0");
    bench.shelf.put("a", one_key("a", 1, "db", "1s"));
    bench.first(&plan("a")).await.unwrap();
    let mut updates = bench.volumes.subscribe(&plan("a"));
    assert_eq!(content(updates.next().await), "password=0");
    for round in 1..5 {
        bench.value("db", &round.to_string());
        let expected = format!("password={round}");
        assert_eq!(content(updates.next().await), expected);
    }
}

/// SB-26: a store that changed serves nothing that came from it as it was.
#[tokio::test(start_paused = true)]
async fn only_the_same_question_of_the_same_store_is_shared() {
    let source = Arc::new(MapSource::default());
    for key in ["db", "other"] {
        let value = Ok(String::from("one"));
        source.values.lock().insert(key.to_owned(), value);
    }
    let reads = shared(&source);
    let reader = reads.reader(None, None);
    let calls = || source.calls.load(Ordering::SeqCst);
    let (app, s, db) = (caller("app"), store("s"), remote("db"));
    for _ in 0..2 {
        let value = reader.secret(&app, &s, &db).await.unwrap();
        assert_eq!(value.expose(), b"one");
    }
    assert_eq!(calls(), 1);
    let version = RemoteRef {
        version: Some(String::from("2")),
        ..remote("db")
    };
    let others = [
        (caller("web"), store("s"), remote("db")),
        (caller("app"), store("t"), remote("db")),
        (caller("app"), store("s"), remote("other")),
        (caller("app"), store("s"), version),
    ];
    for (number, (caller, store, remote)) in others.iter().enumerate() {
        reader.secret(caller, store, remote).await.unwrap();
        assert_eq!(calls(), number + 2);
    }
    *source.store.lock() = Ok(2);
    reader.secret(&app, &s, &db).await.unwrap();
    assert_eq!(calls(), 6);
}

#[tokio::test(start_paused = true)]
async fn a_failure_is_told_to_those_who_waited_and_kept_for_nobody() {
    let source = Arc::new(MapSource::default());
    *source.delay.lock() = SECOND;
    let reads = shared(&source);
    let (caller, store, remote) = (caller("app"), store("s"), remote("db"));
    let read = || async {
        let reader = reads.reader(None, None);
        reader.secret(&caller, &store, &remote).await
    };
    let (one, other) = tokio::join!(read(), read());
    assert!(matches!(one, Err(FetchError::NoSecret)));
    assert!(matches!(other, Err(FetchError::NoSecret)));
    assert_eq!(source.calls.load(Ordering::SeqCst), 1);
    assert_eq!(reads.len(), 0);
    let value = Ok(String::from("one"));
    source.values.lock().insert(String::from("db"), value);
    assert_eq!(read().await.unwrap().expose(), b"one");
}

#[tokio::test(start_paused = true)]
async fn a_read_goes_on_without_the_one_that_began_it_and_ends_with_the_last() {
    let source = Arc::new(MapSource::default());
    let value = Ok(String::from("one"));
    source.values.lock().insert(String::from("db"), value);
    *source.delay.lock() = 2 * SECOND;
    let reads = shared(&source);
    let (caller, store, remote) = (caller("app"), store("s"), remote("db"));
    let read = || async {
        let reader = reads.reader(None, None);
        reader.secret(&caller, &store, &remote).await
    };
    let impatient = tokio::time::timeout(SECOND, read());
    let (gone, served) = tokio::join!(impatient, read());
    assert!(gone.is_err());
    assert_eq!(served.unwrap().expose(), b"one");
    assert_eq!(source.calls.load(Ordering::SeqCst), 1);

    sleep(3 * SECOND).await;
    let nobody = tokio::time::timeout(SECOND, read()).await;
    assert!(nobody.is_err());
    assert_eq!(reads.len(), 0, "nobody waits any more");
}

#[tokio::test(start_paused = true)]
async fn what_is_large_or_too_much_is_not_kept() {
    let source = Arc::new(MapSource::default());
    let large = "x".repeat((1 << 20) + 1);
    source
        .values
        .lock()
        .insert(String::from("large"), Ok(large));
    let reads = shared(&source);
    let (app, s) = (caller("app"), store("s"));
    let reader = reads.reader(None, None);
    reader.secret(&app, &s, &remote("large")).await.unwrap();
    assert_eq!(reads.len(), 0);
    for number in 0..300 {
        let key = format!("k{number}");
        let value = Ok(String::from("small"));
        source.values.lock().insert(key.clone(), value);
        reader.secret(&app, &s, &remote(&key)).await.unwrap();
    }
    assert_eq!(reads.len(), 256);
    for number in 0..10 {
        let key = format!("m{number}");
        let value = Ok("x".repeat(1 << 20));
        source.values.lock().insert(key.clone(), value);
    }
    sleep(4 * SECOND).await;
    for number in 0..10 {
        let key = format!("m{number}");
        reader.secret(&app, &s, &remote(&key)).await.unwrap();
    }
    assert_eq!(reads.len(), 4, "four MiB and no more");
}
