//! Defects of other drivers, each as a test here: the rows of csi-peers.md 3 and 4 that lie in this crate, in their order in
//! [`table`]. Each test names its rows by the identifiers of the first column.

mod authority;
mod escape;
mod table;

use std::time::Duration;

use rustix::mount::{MountFlags, MountPropagationFlags, UnmountFlags};
use tonic::Code;

use crate::backend::{FailureClass, Trigger, Update};
use crate::board::VolumeHealth;
use crate::events::Event;
use crate::plugin::rig::Running;
use crate::testing::{failure, files, in_mount_namespace, until};
use crate::volumes::Published;
use crate::volumes::bench::{Bench, CONTENT, our_mounts};

/// csi.md R1; csi-peers.md 3 (SSCSID#1051, ARO-HCP#5355): the provider outlives kubelet's patience, kubelet tries again. The retry
/// joins what still runs, and its OK means complete content.
#[test]
fn sscsid_1051_an_ok_after_a_timeout_is_never_an_empty_volume() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.script.set_open(false);
        for _ in 0..3 {
            let mut request = tonic::Request::new(running.request("u"));
            request.set_timeout(Duration::from_millis(100));
            let answer = running.node().node_publish_volume(request).await;
            answer.unwrap_err();
            assert!(!running.root.target("u").exists(), "an empty volume");
        }
        let retry = tokio::spawn({
            let (mut node, request) = (running.node(), running.request("u"));
            async move { node.node_publish_volume(request).await }
        });
        tokio::time::sleep(Duration::from_millis(100)).await;
        running.script.set_open(true);
        retry.await.unwrap().unwrap();
        let file = running.root.target("u").join("password");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "canary-7f3a");
        assert_eq!(our_mounts(), 1);
        running.stop().await;
    });
}

/// csi-peers.md 3 (cert-manager csi-driver#636, csi-lib PR#211): of two publishes at once the first fails late. The second must
/// not take that for a volume.
#[test]
fn csi_driver_636_a_joined_publish_that_fails_fails_for_both() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        bench.script.answer(Err(failure(FailureClass::Unavailable)));
        let one = bench.spawn_publish(bench.checked("u"));
        until("the fetch", || bench.script.firsts() == 1).await;
        let two = bench.spawn_publish(bench.checked("u"));
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.script.set_open(true);
        for publish in [one, two] {
            let error = publish.await.unwrap().unwrap_err();
            assert_eq!(error.code(), Code::Unavailable);
        }
        bench.assert_nothing_left("u");
        bench.script.answer(Ok(files(&CONTENT)));
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        assert_eq!(bench.read("u", "conf/key"), "key-1");
    });
}

/// csi-peers.md 3 (csi-lib#74): after a hundred republishes with a failing backend the running container still gets the new
/// content, because nothing was ever unmounted under it.
#[test]
fn csi_lib_74_a_running_container_sees_new_content_after_failures() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let target = bench.root.target("u");
        let inside = tempfile::tempdir().unwrap();
        let mounted = inside.path().to_owned();
        let (asks, questions) = std::sync::mpsc::channel::<()>();
        let (answers, content) = std::sync::mpsc::channel();
        // What a runtime does: its own mount namespace, the volume bound read-only into it.
        let container = std::thread::spawn(move || {
            nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
            let private = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
            rustix::mount::mount_change("/", private).unwrap();
            rustix::mount::mount_bind(&target, &mounted).unwrap();
            let flags = MountFlags::BIND | MountFlags::RDONLY;
            rustix::mount::mount_remount(&mounted, flags, "").unwrap();
            while questions.recv().is_ok() {
                answers
                    .send(std::fs::read_to_string(mounted.join("tls.crt")))
                    .unwrap();
            }
            rustix::mount::unmount(&mounted, UnmountFlags::DETACH).unwrap();
        });
        let seen = || {
            asks.send(()).unwrap();
            content.recv().unwrap().unwrap()
        };
        assert_eq!(seen(), "cert-1");
        bench.script.answer(Err(failure(FailureClass::Unavailable)));
        for _ in 0..100 {
            bench
                .script
                .update(Update::Stale("down".to_owned(), Trigger::Interval));
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
        }
        assert_eq!(seen(), "cert-1");
        let new = files(&[("tls.crt", "cert-2")]);
        bench.script.update(Update::Content(new, Trigger::Interval));
        until("the rotation", || bench.read("u", "tls.crt") == "cert-2").await;
        assert_eq!(seen(), "cert-2");
        drop(asks);
        container.join().unwrap();
    });
}

/// csi-peers.md 3 (csi-lib#18, csi-driver#78): a cleaner wipes the state while the agent runs. Mounts are untouched, and the
/// agent goes on, also after a restart.
#[test]
fn csi_lib_18_a_wiped_state_directory_harms_no_volume() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        bench.publish("w").await.unwrap();
        std::fs::remove_dir_all(bench.config.plugin_directory().join("volumes")).unwrap();
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        let new = files(&[("tls.crt", "cert-2")]);
        bench.script.update(Update::Content(new, Trigger::Interval));
        for uid in ["u", "w"] {
            until("the rotation", || bench.read(uid, "tls.crt") == "cert-2").await;
        }
        until("the states", || bench.states() == 2).await;
        std::fs::remove_dir_all(bench.config.plugin_directory().join("volumes")).unwrap();
        bench.restart().await;
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(our_mounts(), 2);
        bench.unpublish("u").await.unwrap();
        bench.unpublish("w").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// csi-peers.md 3 (SSCSID 1.6 rotation gate): republishes are no clock. An hour of them, one every ten seconds, asks for nothing;
/// how often the provider is asked is the backend's affair.
#[test]
fn sscsid_1_6_an_hour_of_republishes_fetches_nothing() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let generation = || std::fs::read_link(bench.root.target("u").join("..data")).unwrap();
        let first = generation();
        for _ in 0..360 {
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
        }
        assert_eq!(bench.script.firsts(), 1);
        assert_eq!(bench.script.republished(), 360);
        assert_eq!(generation(), first);
    });
}

/// csi-peers.md 3 (SSCSID 1.6, "rotation failure invisible"): one failed refresh is an event, a state and an age.
#[test]
fn sscsid_1_6_a_failed_refresh_is_seen() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.publish(running.request("u")).await.unwrap();
        running
            .script
            .update(Update::Stale("down".to_owned(), Trigger::Interval));
        until("staleness", || {
            let metrics = running.metrics();
            metrics.contains("latchkey_csi_volumes{state=\"stale\"} 1")
                && metrics.contains("latchkey_csi_volume_age_seconds_count 1")
                && metrics.contains(
                    "latchkey_csi_rotations_total{result=\"failed\",trigger=\"interval\"} 1",
                )
        })
        .await;
        let root = running.stop().await;
        let bench = Bench::new(root);
        bench.publish("w").await.unwrap();
        bench
            .script
            .update(Update::Stale("down".to_owned(), Trigger::Interval));
        until("the event", || {
            let events = bench.events.lock();
            events
                .iter()
                .any(|event| matches!(event, Event::Stale { reason, .. } if reason == "down"))
        })
        .await;
        assert_eq!(bench.health("w"), Some(VolumeHealth::Stale));
    });
}

/// csi-peers.md 3 (kubelet#121271): the one error that a republish may have, a volume that lost its content, touches neither the
/// mount nor kubelet's record.
#[test]
fn kubelet_121271_an_error_of_a_republish_removes_nothing() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let target = bench.root.target("u");
        rustix::mount::mount_remount(&target, MountFlags::BIND, "").unwrap();
        std::fs::remove_file(target.join("..data")).unwrap();
        for (class, code) in [
            (FailureClass::NotFound, Code::Internal),
            (FailureClass::FailedPrecondition, Code::Internal),
            (FailureClass::Unavailable, Code::Unavailable),
        ] {
            bench.script.answer(Err(failure(class)));
            let error = bench.publish("u").await.unwrap_err();
            assert_eq!(error.code(), code, "{class:?}");
            assert_eq!(our_mounts(), 1);
            assert!(target.with_file_name("vol_data.json").exists());
            assert_eq!(bench.health("u"), Some(VolumeHealth::Stale));
        }
        bench.script.answer(Ok(files(&CONTENT)));
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        assert_eq!(bench.health("u"), Some(VolumeHealth::Ok));
    });
}

/// csi-peers.md 3 (STK#169): killed between unmount and rmdir; kubelet, restarted as well, unpublishes again and finds nothing
/// in its way. The kill at each boundary is in `volumes::crash`.
#[test]
fn stk_169_an_unpublish_goes_on_after_a_kill_in_its_middle() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        rustix::mount::unmount(bench.root.target("u"), UnmountFlags::empty()).unwrap();
        bench.restart().await;
        assert_eq!(bench.health("u"), Some(VolumeHealth::Lost));
        for _ in 0..2 {
            bench.unpublish("u").await.unwrap();
            bench.assert_nothing_left("u");
        }
        let parent = bench.root.target("u").parent().unwrap().to_owned();
        std::fs::remove_file(parent.join("vol_data.json")).unwrap();
        std::fs::remove_dir(parent).unwrap();
    });
}

/// csi-peers.md 3 (STK publish): a second publish stacks nothing, and a value that shrinks keeps no tail of the old one.
#[test]
fn stk_publish_stacks_no_mount_and_leaves_no_tail() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench
            .script
            .answer(Ok(files(&[("key", "a-long-old-value")])));
        bench.publish("u").await.unwrap();
        bench.publish("u").await.unwrap();
        assert_eq!(our_mounts(), 1);
        bench.script.update(Update::Content(
            files(&[("key", "short")]),
            Trigger::Interval,
        ));
        until("the rotation", || bench.read("u", "key") == "short").await;
        bench.publish("u").await.unwrap();
        assert_eq!(
            (bench.read("u", "key").as_str(), our_mounts()),
            ("short", 1)
        );
    });
}

/// csi-peers.md 3 (spiffe-csi 0.2.12): a restarted kubelet publishes everything again, and so does one whose agent restarted too.
#[test]
fn spiffe_csi_restarts_of_kubelet_add_no_mounts() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        for round in 0..5 {
            if round % 2 == 1 {
                bench.restart().await;
            }
            let again = tokio::join!(bench.publish("u"), bench.publish("u"));
            assert_eq!(again, (Ok(Published::Again), Ok(Published::Again)));
            assert_eq!((our_mounts(), bench.states()), (1, 1));
        }
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// csi-peers.md 3 (kubernetes#123604): generations that power losses left go with the next rotation.
#[test]
fn kubernetes_123604_old_generations_are_removed() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let target = bench.root.target("u");
        rustix::mount::mount_remount(&target, MountFlags::BIND, "").unwrap();
        for index in 0..5 {
            let old = target.join(format!("..2020_01_01_00_00_0{index}.1/nested"));
            std::fs::create_dir_all(&old).unwrap();
            std::fs::write(old.join("key"), "old").unwrap();
        }
        bench.script.update(Update::Content(
            files(&[("tls.crt", "cert-2")]),
            Trigger::Interval,
        ));
        until("the sweep", || {
            let names = std::fs::read_dir(&target).unwrap();
            let names = names.map(|entry| entry.unwrap().file_name());
            let hidden = names.filter(|name| name.to_str().unwrap().starts_with(".."));
            hidden.count() == 2 && bench.read("u", "tls.crt") == "cert-2"
        })
        .await;
    });
}

/// csi.md R6; csi-peers.md 3 (SSCSID#895, #1079, #1582, spiffe README, CM#29): a pod that was deleted while the driver was away is released
/// as soon as the driver is back, without a word to the provider.
#[test]
fn sscsid_895_an_unpublish_after_an_absence_needs_nobody() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.publish(running.request("u")).await.unwrap();
        let root = running.stop().await;
        let running = Running::start(root).await;
        running.script.set_open(false);
        running.end("u").await.unwrap();
        assert_eq!((running.script.firsts(), our_mounts()), (0, 0));
        assert!(!running.root.target("u").exists());
        running.stop().await;
    });
}

/// csi-peers.md 3 (SSCSID 4 MiB): more than a gRPC message, far more than a volume: a clear answer that is not tried again soon.
#[test]
fn sscsid_4_mib_an_answer_that_is_too_large_is_told_clearly() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        let large = "x".repeat(5 << 20);
        bench.script.answer(Ok(files(&[("large", &large)])));
        let error = bench.publish("u").await.unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        let text = "5242880 bytes are more than the volume's limit of 1048576 bytes";
        assert!(error.to_string().contains(text), "{error}");
        bench.assert_nothing_left("u");
    });
}

/// csi-peers.md 4 (no id, podInfoOnMount false): a pod's author can then write the keys that say whose pod it is. Nothing in the
/// request is believed, also not for a volume that is mounted.
#[test]
fn pod_info_on_mount_false_a_spoofed_identity_is_refused() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.publish(running.request("u")).await.unwrap();
        running.handle.set_pod_info_on_mount(false);
        let mut spoofed = running.request("w");
        let namespace = "csi.storage.k8s.io/pod.namespace".to_owned();
        spoofed
            .volume_context
            .insert(namespace, "kube-system".to_owned());
        for request in [spoofed, running.request("u")] {
            let status = running.publish(request).await.unwrap_err();
            assert_eq!(status.code(), Code::FailedPrecondition);
            assert!(status.message().contains("podInfoOnMount"));
        }
        assert_eq!((running.script.firsts(), our_mounts()), (1, 1));
        running.stop().await;
    });
}
