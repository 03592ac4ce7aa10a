//! Mounts go before refreshes (csi.md 2.2).

use super::*;

#[tokio::test(start_paused = true)]
async fn a_mount_does_not_wait_behind_refreshes_that_are_in_line() {
    let bench = Bench::new();
    bench.value("db", "one");
    bench.shelf.put("a", one_key("a", 1, "db", "10m"));
    let _stream = bench.volumes.subscribe(&plan("a"));
    let lane = &bench.volumes.registry.refresh_lane;
    let places = u32::try_from(lane.available_permits()).unwrap();
    let others = lane.acquire_many(places).await.unwrap();
    sleep(HOUR).await;
    assert_eq!(bench.calls(), 0, "the refresh is in line");
    let began = Instant::now();
    assert_eq!(
        text(&bench.first(&plan("a")).await.unwrap()),
        "password=one"
    );
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
    drop(others);
}
