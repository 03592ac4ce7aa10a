//! Inline data: keys of a store in the attributes, without an ExternalSecret (csi.md 8).

use super::*;

const ATTRIBUTES: [(&str, &str); 2] = [
    (
        "data",
        "[{secretKey: password, remoteRef: {key: db}}, {secretKey: user, remoteRef: {key: name}}]",
    ),
    ("secretStore", "s"),
];

#[tokio::test(start_paused = true)]
async fn inline_data_is_fetched_once_for_all_pods_and_every_hour() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.value("name", "me");
    let plans = ["web-0", "web-1"].map(|pod| plan_of(pod, &ATTRIBUTES));
    for plan in &plans {
        assert_eq!(
            text(&bench.first(plan).await.unwrap()),
            "password=one,user=me"
        );
    }
    let mut stream = bench.volumes.subscribe(&plans[0]);
    let _other = bench.volumes.subscribe(&plans[1]);
    assert_eq!(content(stream.next().await), "password=one,user=me");
    assert_eq!((bench.calls(), bench.volumes.objects_in_use()), (2, 1));
    bench.value("db", "two");
    let began = Instant::now();
    assert_eq!(content(stream.next().await), "password=two,user=me");
    assert!(began.elapsed() <= HOUR + HOUR / 10, "{:?}", began.elapsed());
    assert_eq!(bench.calls(), 4);
}

#[tokio::test(start_paused = true)]
async fn failures_of_inline_data_name_the_store_and_the_key() {
    let bench = Bench::new();
    bench.value("name", "me");
    let failure = bench
        .first(&plan_of("web-0", &ATTRIBUTES))
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::NotFound);
    assert_eq!(
        failure.message,
        "inline data of SecretStore app/s: error processing spec.data[0] (key: db), err: Secret does not exist; \
         create the remote secret or correct the key"
    );
}

#[tokio::test(start_paused = true)]
async fn what_the_administrator_switched_off_is_not_mounted_and_what_is_mounted_goes_on() {
    // 9.3 (c), R3
    let bench = Bench::new();
    bench.value("db", "one");
    bench.value("name", "me");
    let forbidden = Plan {
        forbidden: Some(String::from("attribute data is switched off")),
        ..plan_of("web-0", &ATTRIBUTES)
    };
    let failure = bench.first(&forbidden).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::PermissionDenied);
    assert_eq!(bench.calls(), 0);
    let mut adopted = bench.volumes.subscribe(&forbidden);
    assert_eq!(content(adopted.next().await), "password=one,user=me");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_denies_the_namespace_denies_inline_data() {
    // SB-26: kept content is for nobody whom the store does not admit now.
    let bench = Bench::new();
    bench.value("db", "one");
    bench.value("name", "me");
    let _stream = bench.volumes.subscribe(&plan_of("web-0", &ATTRIBUTES));
    bench.first(&plan_of("web-0", &ATTRIBUTES)).await.unwrap();
    sleep(60 * SECOND).await;
    let denied = FetchError::Failed {
        class: source::FailureClass::Denied,
        message: String::from("not allowed from namespace \"app\""),
        retry_after: None,
    };
    *bench.source.store.lock() = Err(denied);
    bench.fails("db", source::FailureClass::Denied, None);
    let failure = bench
        .first(&plan_of("web-1", &ATTRIBUTES))
        .await
        .unwrap_err();
    assert_eq!(failure.class, FailureClass::PermissionDenied);
}
