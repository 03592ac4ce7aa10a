//! Publishes and unpublishes of one target, one after the other and at once.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::backend::{FailureClass, Trigger, Update};
use crate::board::VolumeHealth;
use crate::error::NodeError;
use crate::events::Event;
use crate::testing::{failure, files, in_mount_namespace, until};
use crate::volumes::Published;
use crate::volumes::bench::{Bench, CONTENT, our_mounts, soon};

#[test]
fn idempotent_publish_x10_same_target() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        for _ in 0..10 {
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
        }
        assert_eq!(our_mounts(), 1);
        assert_eq!((bench.script.firsts(), bench.script.republished()), (1, 10));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        assert_eq!(bench.read("u", "conf/key"), "key-1");
    });
}

#[test]
fn publish_unpublish_publish() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
        assert_eq!(bench.script.listeners(), 0);
        bench.script.answer(Ok(files(&[("tls.crt", "cert-2")])));
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        assert_eq!(bench.read("u", "tls.crt"), "cert-2");
        assert!(!bench.root.target("u").join("conf").exists());
    });
}

/// R5: with no memory of it at all.
#[test]
fn unpublish_unknown() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.unpublish("never").await.unwrap();
        bench.root.make_volume_directory("made");
        bench.unpublish("made").await.unwrap();
        std::fs::create_dir(bench.root.target("made")).unwrap();
        bench.unpublish("made").await.unwrap();
        bench.assert_nothing_left("made");
        bench.publish("u").await.unwrap();
        let states = bench.config.plugin_directory().join("volumes");
        std::fs::remove_dir_all(states).unwrap();
        bench.restart().await;
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
        until("the tasks' end", || bench.tasks() == 0).await;
    });
}

#[test]
fn unpublish_twice_in_parallel() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        for _ in 0..20 {
            bench.publish("u").await.unwrap();
            let results = tokio::join!(bench.unpublish("u"), bench.unpublish("u"));
            assert_eq!(results, (Ok(()), Ok(())));
            bench.assert_nothing_left("u");
        }
        until("the tasks' end", || bench.tasks() == 0).await;
    });
}

/// csi.md 2.2: joined by the same digest; with another one it waits, and is refused after 5 s (csi.md 1.6).
#[test]
fn publish_during_publish_join() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        let checked = bench.checked("u");
        let one = bench.spawn_publish(checked.clone());
        until("the fetch", || bench.script.firsts() == 1).await;
        let two = bench.spawn_publish(checked);
        let other = bench.checked_with("u", "other");
        let started = Instant::now();
        let refused = bench.volumes.publish(other.clone(), (), soon(60)).await;
        assert_eq!(refused, Err(NodeError::Busy));
        assert_eq!(NodeError::Busy.code(), tonic::Code::Aborted);
        assert!(started.elapsed() >= Duration::from_secs(5));
        // One that need not wait so long is told what it would have found by itself.
        let late = bench.spawn_publish(other);
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.script.set_open(true);
        assert_eq!(one.await.unwrap(), Ok(Published::First));
        assert_eq!(two.await.unwrap(), Ok(Published::First));
        assert_eq!(late.await.unwrap(), Err(NodeError::Conflict));
        assert_eq!((bench.script.firsts(), our_mounts()), (1, 1));
    });
}

#[test]
fn publish_with_changed_spec_already_exists() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        for restarted in [false, true] {
            if restarted {
                bench.restart().await;
            }
            let changed = bench.checked_with("u", "changed");
            let error = bench.volumes.publish(changed, (), soon(10)).await;
            assert_eq!(error, Err(NodeError::Conflict));
            assert_eq!(NodeError::Conflict.code(), tonic::Code::AlreadyExists);
            assert_eq!(bench.read("u", "tls.crt"), "cert-1");
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
        }
    });
}

#[test]
fn unpublish_during_publish() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        let publish = bench.spawn_publish(bench.checked("u"));
        until("the fetch", || bench.script.firsts() == 1).await;
        bench.unpublish("u").await.unwrap();
        assert_eq!(publish.await.unwrap(), Err(NodeError::Cancelled));
        assert_eq!(NodeError::Cancelled.code(), tonic::Code::Aborted);
        bench.script.set_open(true);
        bench.assert_nothing_left("u");
        // At any other moment: whoever comes last wins, and an OK is never given for a volume that is gone.
        for delay in 0..60 {
            let publish = bench.spawn_publish(bench.checked("u"));
            tokio::time::sleep(Duration::from_micros(delay * 100)).await;
            bench.unpublish("u").await.unwrap();
            match publish.await.unwrap() {
                Ok(Published::First) | Err(NodeError::Cancelled) => {}
                other => panic!("{other:?}"),
            }
            bench.unpublish("u").await.unwrap();
            bench.assert_nothing_left("u");
        }
    });
}

/// R4 and csi-peers.md 3 (SSCSID#1051): the wait is dropped, the work is not, and an OK means complete content.
#[test]
fn client_cancel_at_each_stage() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        // While the backend has nothing.
        bench.script.set_open(false);
        for delay in [0, 1, 5, 20] {
            let publish = bench.volumes.publish(bench.checked("u"), (), soon(60));
            let _ = tokio::time::timeout(Duration::from_millis(delay), publish).await;
        }
        assert_eq!(our_mounts(), 0);
        bench.script.set_open(true);
        assert_complete_after_retry(&bench).await;
        // At any moment of the mount.
        for delay in 0..80 {
            let publish = bench.volumes.publish(bench.checked("u"), (), soon(60));
            let _ = tokio::time::timeout(Duration::from_micros(delay * 100), publish).await;
            assert_complete_after_retry(&bench).await;
        }
        // And of the unmount.
        for delay in 0..40 {
            bench.publish("u").await.unwrap();
            let unpublish = bench.unpublish("u");
            let _ = tokio::time::timeout(Duration::from_micros(delay * 100), unpublish).await;
            bench.unpublish("u").await.unwrap();
            bench.assert_nothing_left("u");
        }
    });
}

async fn assert_complete_after_retry(bench: &Bench) {
    bench.publish("u").await.unwrap();
    assert_eq!(bench.read("u", "tls.crt"), "cert-1");
    assert_eq!(bench.read("u", "conf/key"), "key-1");
    assert_eq!(our_mounts(), 1);
    bench.unpublish("u").await.unwrap();
    bench.assert_nothing_left("u");
}

#[test]
fn deadline_1_ms_100_ms() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        for milliseconds in [1, 100] {
            bench.script.set_open(false);
            let deadline = Instant::now() + Duration::from_millis(milliseconds);
            let error = bench
                .volumes
                .publish(bench.checked("u"), (), deadline)
                .await
                .unwrap_err();
            assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
            bench.assert_nothing_left("u");
            bench.script.set_open(true);
            bench.publish("u").await.unwrap();
            assert_eq!(bench.read("u", "tls.crt"), "cert-1");
            bench.unpublish("u").await.unwrap();
            bench.assert_nothing_left("u");
        }
    });
}

/// What the backend waited for is worth more than that the time is up.
#[test]
fn a_backend_that_gives_up_at_its_deadline_has_the_last_word() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        let failed = failure(FailureClass::DeadlineExceeded);
        bench.script.answer(Err(failed.clone()));
        bench.script.set_open(false);
        let deadline = Instant::now() + Duration::from_millis(100);
        let script = bench.script.clone();
        tokio::spawn(async move {
            tokio::time::sleep_until(deadline + Duration::from_millis(20)).await;
            script.set_open(true);
        });
        let publish = bench.volumes.publish(bench.checked("u"), (), deadline);
        let error = publish.await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        assert!(error.to_string().contains(&failed.message), "{error}");
    });
}

#[test]
fn one_thousand_volumes_in_parallel() {
    const VOLUMES: usize = 1000;
    in_mount_namespace(|root| async move {
        let bench = Arc::new(Bench::new(root));
        let publishes = (0..VOLUMES).map(|index| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let checked = bench.checked(&format!("u{index}"));
                bench.volumes.publish(checked, (), soon(300)).await
            })
        });
        for publish in publishes.collect::<Vec<_>>() {
            assert_eq!(publish.await.unwrap(), Ok(Published::First));
        }
        assert_eq!(our_mounts(), VOLUMES);
        assert_eq!(bench.states(), VOLUMES);
        for index in 0..VOLUMES {
            assert_eq!(bench.read(&format!("u{index}"), "conf/key"), "key-1");
        }
        let unpublishes = (0..VOLUMES).map(|index| {
            let bench = bench.clone();
            tokio::spawn(async move {
                let target = bench.target(&format!("u{index}"));
                bench.volumes.unpublish(&target, soon(300)).await
            })
        });
        for unpublish in unpublishes.collect::<Vec<_>>() {
            unpublish.await.unwrap().unwrap();
        }
        bench.assert_nothing_left("u0");
        until("the tasks' end", || bench.tasks() == 0).await;
    });
}

/// R3: whatever the provider does, and without asking it.
#[test]
fn republish_with_failing_backend_stays_ok_100_times() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        bench.script.answer(Err(failure(FailureClass::Unavailable)));
        bench.script.update(Update::Stale(
            "provider is down".to_owned(),
            Trigger::Interval,
        ));
        until("staleness", || {
            bench.health("u") == Some(VolumeHealth::Stale)
        })
        .await;
        for _ in 0..100 {
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
        }
        assert_eq!((bench.script.firsts(), our_mounts()), (1, 1));
        let told = |wanted: fn(&Event) -> bool| {
            let events = bench.events.lock();
            events.iter().filter(|event| wanted(event)).count()
        };
        let stale = told(|event| matches!(event, Event::Stale { .. }));
        assert_eq!(stale, 1, "told once");
        bench
            .script
            .update(Update::Content(files(&CONTENT), Trigger::Interval));
        until("freshness", || bench.health("u") == Some(VolumeHealth::Ok)).await;
        assert_eq!(told(|event| matches!(event, Event::Fresh { .. })), 1);
    });
}
