//! A panic in the work for one ExternalSecret is a bug; what it may cost is a fetch, never the rotation.

use std::sync::atomic::AtomicBool;

use super::*;

static PANICS: AtomicBool = AtomicBool::new(false);

fn jitter() -> f64 {
    assert!(!PANICS.swap(false, Ordering::SeqCst), "asked for");
    0.0
}

#[tokio::test(start_paused = true)]
async fn volumes_rotate_on_after_a_panic_and_an_unused_object_is_forgotten() {
    let bench = Bench::with_jitter(jitter);
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10m"));
    bench.first(&plan("a")).await.unwrap();
    let mut stream = bench.volumes.subscribe(&plan("a"));
    for value in ["one", "two", "three"] {
        bench.value("db", value);
        assert_eq!(content(stream.next().await), format!("password={value}"));
    }
    PANICS.store(true, Ordering::SeqCst);
    for value in ["four", "five"] {
        bench.value("db", value);
        let began = Instant::now();
        let next = tokio::time::timeout(HOUR, stream.next()).await;
        let next = next.expect("the volume rotates on");
        assert_eq!(content(next), format!("password={value}"));
        assert!(began.elapsed() <= 12 * 60 * SECOND, "{:?}", began.elapsed());
    }
    assert!(!PANICS.load(Ordering::SeqCst), "nothing panicked");
    drop(stream);
    sleep(311 * SECOND).await;
    assert_eq!(bench.volumes.objects_in_use(), 0);
}

#[tokio::test(start_paused = true)]
async fn a_panic_while_resolving_fails_the_fetch_and_nothing_else() {
    let bench = Bench::new();
    bench.shelf.put("a", one_key("a", 1, "panic", "1h"));
    let failure = bench.first(&plan("a")).await.unwrap_err();
    assert!(
        failure.message.contains("fail internally"),
        "{}",
        failure.message
    );
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 2, "db", "1h"));
    sleep(Duration::from_millis(1)).await;
    assert_eq!(
        text(&bench.first(&plan("a")).await.unwrap()),
        "password=one"
    );
}
