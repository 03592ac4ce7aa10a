//! csi.md 10: what is told of volumes.

use latchkey_csi::backend::VolumeRequest;
use latchkey_csi::events::Event;

use super::super::metrics::Saved;
use super::*;

fn request() -> VolumeRequest {
    VolumeRequest {
        volume_id: String::from("csi-1"),
        namespace: String::from("app"),
        pod_name: String::from("web"),
        pod_uid: String::from("0a-1"),
        service_account: String::from("default"),
        attributes: BTreeMap::from([(String::from("externalSecret"), String::from("db"))]),
    }
}

#[tokio::test(start_paused = true)]
async fn what_the_plugin_notices_is_an_event_of_the_pod_or_of_the_node() {
    let mut bench = Bench::new();
    bench.value("k", "one");
    bench.shelf.put("db", one_key("db", 1, "k", "1h"));
    bench.first(&plan("db")).await.unwrap();
    let request = request();
    let stale = |reason: &str| Event::Stale {
        request: request.clone(),
        reason: reason.to_owned(),
        age: HOUR,
    };
    for event in [
        Event::Rotated {
            request: request.clone(),
        },
        stale("down"),
        // Told a moment ago.
        stale("still down"),
        Event::Fresh {
            request: request.clone(),
        },
        Event::VolumeLost {
            request: request.clone(),
        },
        Event::SwapExposed,
        Event::SwapExposed,
        Event::RegistrationFailed {
            message: String::from("no"),
        },
    ] {
        bench.volumes.hear(&event);
    }
    let notes: Vec<_> = std::iter::from_fn(|| bench.notes.try_recv().ok()).collect();
    let told: Vec<_> = notes
        .iter()
        .map(|note| (note.reason, note.regarding.kind.as_deref().unwrap()))
        .collect();
    let expected = [
        (Reason::Rotated, "Pod"),
        (Reason::Stale, "Pod"),
        (Reason::Fresh, "Pod"),
        (Reason::Lost, "Pod"),
        (Reason::SwapExposed, "Node"),
        (Reason::RegistrationFailed, "Node"),
    ];
    assert_eq!(told, expected);
    assert_eq!(notes[0].regarding.uid.as_deref(), Some("0a-1"));
    assert_eq!(
        notes[1].text,
        "files are 3600 s old, from SecretStore/s: down"
    );
    assert_eq!(notes[4].regarding.name.as_deref(), Some("n1"));
}

/// Off unless asked for: a rotation is what should happen.
#[tokio::test(start_paused = true)]
async fn a_rotation_is_told_by_request_only() {
    let mut bench = Bench::new();
    let config = Config {
        rotation_events: false,
        ..(*bench.volumes.config).clone()
    };
    bench.volumes.config = Arc::new(config);
    bench.volumes.hear(&Event::Rotated { request: request() });
    assert_eq!(bench.reasons(), []);
}

#[tokio::test(start_paused = true)]
async fn an_operator_sees_source_next_refresh_and_trouble() {
    let bench = Bench::new();
    bench.value("k", "one");
    bench.shelf.put("db", one_key("db", 1, "k", "1h"));
    let nothing = bench.volumes.describe(&plan("db"));
    assert_eq!(nothing.source, "ExternalSecret/db");
    assert_eq!((nothing.next_refresh, nothing.trouble), (None, None));
    bench.first(&plan("db")).await.unwrap();
    let _updates = bench.volumes.subscribe(&plan("db"));
    sleep(SECOND).await;
    let well = bench.volumes.describe(&plan("db"));
    let next = well.next_refresh.unwrap();
    assert!(next > SECOND && next <= HOUR + HOUR / 10, "{next:?}");
    assert_eq!(well.trouble, None);

    bench.fails("k", source::FailureClass::Unavailable, None);
    sleep(next + SECOND).await;
    let trouble = bench.volumes.describe(&plan("db")).trouble.unwrap();
    assert!(trouble.contains("says no"), "{trouble}");
}

/// csi.md 6.4: what another volume of the same ExternalSecret has is a call saved.
#[tokio::test(start_paused = true)]
async fn mounts_that_need_no_fetch_are_counted() {
    let bench = Bench::new();
    bench.value("k", "one");
    bench.shelf.put("db", one_key("db", 1, "k", "1h"));
    bench.first(&plan("db")).await.unwrap();
    assert_eq!(bench.metrics.count(Saved::Source), 0);
    for _ in 0..3 {
        sleep(SECOND).await;
        bench.first(&plan("db")).await.unwrap();
    }
    assert_eq!(bench.metrics.count(Saved::Source), 3);
    assert_eq!(bench.calls(), 1);
}
