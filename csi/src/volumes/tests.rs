//! Volumes on real tmpfs mounts, in a private mount namespace. What csi.md 11.4 names is in [`crate::conformance`].

use std::collections::HashSet;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};

use super::bench::{Bench, CONTENT, our_mounts, soon};
use super::{Published, janitor};
use crate::backend::{FailureClass, Trigger, Update, VolumeSettings};
use crate::board::VolumeHealth;
use crate::error::NodeError;
use crate::testing::{failure, files, in_mount_namespace, until};

/// Nothing foreign in kubelet's directory (R15), and an empty directory is what a reboot leaves.
#[test]
fn mount_publish_uses_an_empty_directory_and_touches_nothing_else() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.root.make_volume_directory("u");
        std::fs::create_dir(bench.root.target("u")).unwrap();
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        bench.unpublish("u").await.unwrap();
        let parent = bench.root.target("u").parent().unwrap().to_owned();
        let left = std::fs::read_dir(parent)
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect::<Vec<_>>();
        assert_eq!(left, ["vol_data.json"]);
    });
}

#[test]
fn mount_the_nodes_budget_holds() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.config.max_total_bytes = 2 * 64 * 1024;
        bench.restart().await;
        bench.publish("a").await.unwrap();
        bench.publish("b").await.unwrap();
        assert_eq!(bench.publish("c").await, Err(NodeError::Budget));
        bench.unpublish("a").await.unwrap();
        bench.publish("c").await.unwrap();
    });
}

#[test]
fn mount_rotation_shows_new_content_and_removes_the_old_after_the_grace() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let data = bench.root.target("u").join("..data");
        let first = std::fs::read_link(&data).unwrap();
        bench
            .script
            .update(Update::Content(files(&CONTENT), Trigger::Interval));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            std::fs::read_link(&data).unwrap(),
            first,
            "equal content is not written"
        );

        let big = "x".repeat(300_000);
        bench.script.update(Update::Content(
            files(&[("tls.crt", "cert-2"), ("big", &big)]),
            Trigger::Interval,
        ));
        until("the rotation", || {
            std::fs::read_link(&data).unwrap() != first
        })
        .await;
        assert_eq!(bench.read("u", "tls.crt"), "cert-2");
        assert_eq!(bench.read("u", "big"), big);
        let old = bench.root.target("u").join(&first);
        until("the sweep", || {
            !old.exists() && !bench.root.target("u").join("conf").is_symlink()
        })
        .await;
        // A refused set changes nothing.
        bench
            .script
            .update(Update::Content(files(&[("../x", "1")]), Trigger::Interval));
        until("staleness", || {
            bench.health("u") == Some(VolumeHealth::Stale)
        })
        .await;
        assert_eq!(bench.read("u", "tls.crt"), "cert-2");
    });
}

/// R14 and csi.md 7.2.
#[test]
fn mount_a_restart_adopts_volumes_without_a_write() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let data = bench.root.target("u").join("..data");
        let generation = std::fs::read_link(&data).unwrap();
        bench.restart().await;
        assert_eq!(bench.script.subscribed(), 2);
        bench
            .script
            .update(Update::Content(files(&CONTENT), Trigger::Interval));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(std::fs::read_link(&data).unwrap(), generation);
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!((bench.script.firsts(), our_mounts()), (1, 1));
        bench.script.update(Update::Content(
            files(&[("tls.crt", "cert-2")]),
            Trigger::Interval,
        ));
        until("a rotation by the new process", || {
            bench.read("u", "tls.crt") == "cert-2"
        })
        .await;
        bench.restart().await;
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// csi.md 7.1: the state knows when the content was last current, though nothing was written since.
#[test]
fn mount_the_last_success_survives_a_restart() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let file = {
            let directory = bench.config.plugin_directory().join("volumes");
            let mut files = std::fs::read_dir(directory).unwrap();
            files.next().unwrap().unwrap().path()
        };
        let read = || {
            let text = std::fs::read_to_string(&file).unwrap();
            serde_json::from_str::<serde_json::Value>(&text).unwrap()
        };
        let mut state = read();
        let generation = state["generation"].clone();
        let earlier = jiff::Timestamp::now() - jiff::SignedDuration::from_hours(1);
        state["lastSuccess"] = earlier.to_string().into();
        std::fs::write(&file, state.to_string()).unwrap();
        bench.restart().await;
        let age = || {
            let status = bench.board.get(&bench.target("u")).unwrap();
            status.last_success.unwrap().elapsed()
        };
        assert!(age() > Duration::from_secs(3500));
        bench
            .script
            .update(Update::Content(files(&CONTENT), Trigger::Interval));
        until("the note", || read()["lastSuccess"] != state["lastSuccess"]).await;
        assert_eq!(read()["generation"], generation);
        assert!(age() < Duration::from_secs(3500));
    });
}

/// csi.md 6.3: someone with write access tampered.
#[test]
fn mount_a_volume_without_content_is_rebuilt_in_place() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        break_content(&bench, "u");
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        assert_eq!((bench.script.firsts(), our_mounts()), (2, 1));
    });
}

/// csi.md 1.4: what is in use is detached in the end.
/// csi.md 2.2, 6.3: a healthy volume is published again while the file system hangs on others, because that takes no thread.
#[test]
fn mount_a_republish_does_not_wait_for_a_file_system_that_hangs() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let (running, hanging) = std::sync::mpsc::channel();
        let (releases, calls): (Vec<_>, Vec<_>) = (0..4)
            .map(|_| {
                let (release, wait) = std::sync::mpsc::channel::<()>();
                let (volumes, running) = (bench.volumes.clone(), running.clone());
                let hang = move || {
                    running.send(()).unwrap();
                    wait.recv()
                };
                let call = tokio::spawn(async move { volumes.0.blocking.run(hang).await });
                (release, call)
            })
            .unzip();
        until("the hanging calls", {
            let hanging = parking_lot::Mutex::new((0, hanging));
            move || {
                let mut hanging = hanging.lock();
                hanging.0 += hanging.1.try_iter().count();
                hanging.0 == 4
            }
        })
        .await;
        let again = tokio::time::timeout(Duration::from_secs(10), bench.publish("u"));
        assert_eq!(again.await.unwrap(), Ok(Published::Again));
        drop(releases);
        for call in calls {
            assert!(call.await.unwrap().unwrap().is_err());
        }
    });
}

/// What is told without a thread is told of the volume's own mount only, and only while it shows something.
#[test]
fn mount_a_volume_is_intact_at_once_only_by_its_own_mount_and_content() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let (target, path) = (bench.target("u"), bench.root.target("u"));
        let id = bench.board.get(&target).unwrap().mount_id.unwrap();
        let disk = bench.volumes.disk();
        assert!(disk.is_intact_at_once(&target, id));
        assert!(!disk.is_intact_at_once(&target, id + 1));
        assert!(!disk.is_intact_at_once(&bench.target("w"), id));
        // Another tmpfs upon it.
        rustix::mount::mount("x", &path, "tmpfs", MountFlags::empty(), None).unwrap();
        assert!(!disk.is_intact_at_once(&target, id));
        rustix::mount::unmount(&path, UnmountFlags::empty()).unwrap();
        assert!(disk.is_intact_at_once(&target, id));
        break_content(&bench, "u");
        assert!(!disk.is_intact_at_once(&target, id));
        rustix::mount::unmount(&path, UnmountFlags::empty()).unwrap();
        assert!(!disk.is_intact_at_once(&target, id));
    });
}

#[test]
fn mount_unpublish_of_a_volume_in_use_succeeds() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let open = std::fs::File::open(bench.root.target("u").join("tls.crt")).unwrap();
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
        assert_eq!(std::io::read_to_string(open).unwrap(), "cert-1");
    });
}

#[test]
fn mount_the_janitor_removes_what_kubelet_forgot_twice() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("forgotten").await.unwrap();
        bench.publish("wanted").await.unwrap();
        let record = bench
            .root
            .target("forgotten")
            .with_file_name("vol_data.json");
        std::fs::remove_file(record).unwrap();
        let suspects = janitor::sweep(&bench.volumes, &HashSet::new()).await;
        assert_eq!(suspects, HashSet::from([bench.target("forgotten")]));
        assert_eq!(our_mounts(), 2);
        janitor::sweep(&bench.volumes, &suspects).await;
        assert_eq!(our_mounts(), 1);
        assert!(!bench.root.target("forgotten").exists());
        assert_eq!(bench.read("wanted", "tls.crt"), "cert-1");
    });
}

/// csi.md 7.6: no new volumes, old ones stay, Unpublish is answered.
#[test]
fn mount_shutdown_refuses_new_volumes_and_leaves_the_mounted() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("a").await.unwrap();
        bench.publish("b").await.unwrap();
        bench.script.set_open(false);
        let checked = bench.checked("waits");
        let volumes = bench.volumes.clone();
        let waiting = tokio::spawn(async move { volumes.publish(checked, (), soon(10)).await });
        until("the fetch", || bench.script.firsts() == 3).await;
        bench.volumes.drain().await;
        assert_eq!(waiting.await.unwrap(), Err(NodeError::ShuttingDown));
        assert_eq!(bench.publish("new").await, Err(NodeError::ShuttingDown));
        assert_eq!(bench.publish("a").await, Ok(Published::Again));
        bench.unpublish("b").await.unwrap();
        bench.volumes.stop().await;
        assert_eq!(our_mounts(), 1);
        assert_eq!(bench.read("a", "tls.crt"), "cert-1");
        assert_eq!(bench.states(), 1);
    });
}

/// csi.md 1.5.
#[test]
fn mount_usage_is_told_to_the_volume_at_its_own_path_only() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let usage = async |id: &str| bench.volumes.usage(id, bench.target("u")).await;
        let told = usage("csi-u").await.unwrap();
        assert_eq!(told.bytes, 64 * 1024);
        assert!(told.free_bytes < told.bytes && told.free_inodes < told.inodes);
        assert_eq!(usage("csi-other").await, Err(NodeError::NotFound));
        bench.unpublish("u").await.unwrap();
        assert_eq!(usage("csi-u").await, Err(NodeError::NotFound));
    });
}

/// csi.md 8: uid, gid, defaultMode and sizeLimit, at the first publish and at a rotation.
#[test]
fn mount_attributes_decide_owner_mode_and_size() {
    in_mount_namespace(|root| async move {
        use std::os::unix::fs::MetadataExt;
        let bench = Bench::new(root);
        bench.script.set_settings(VolumeSettings {
            uid: Some(1000),
            gid: Some(2000),
            default_mode: Some(0o400),
            size_limit: Some(20),
        });
        bench.publish("u").await.unwrap();
        let look = || {
            let file = std::fs::metadata(bench.root.target("u").join("tls.crt")).unwrap();
            (file.uid(), file.gid(), file.mode() & 0o7777)
        };
        assert_eq!(look(), (1000, 2000, 0o400));
        bench.script.update(Update::Content(
            files(&[("tls.crt", "cert-2")]),
            Trigger::Interval,
        ));
        until("the rotation", || bench.read("u", "tls.crt") == "cert-2").await;
        assert_eq!(look(), (1000, 2000, 0o400));
        let large = "x".repeat(21);
        bench.script.update(Update::Content(
            files(&[("tls.crt", &large)]),
            Trigger::Interval,
        ));
        until("staleness", || {
            bench.health("u") == Some(VolumeHealth::Stale)
        })
        .await;
        bench.script.answer(Ok(files(&[("tls.crt", &large)])));
        assert!(matches!(
            bench.publish("w").await,
            Err(NodeError::Content(_))
        ));
    });
}

/// csi.md 2.2: also a volume that is being rebuilt gives way to an unpublish, and a second publish joins.
#[test]
fn mount_a_repair_is_joined_and_ended_like_a_first_publish() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        break_content(&bench, "u");
        bench.script.set_open(false);
        let one = bench.spawn_publish(bench.checked("u"));
        until("the fetch", || bench.script.firsts() == 2).await;
        let two = bench.spawn_publish(bench.checked("u"));
        bench.unpublish("u").await.unwrap();
        assert_eq!(one.await.unwrap(), Err(NodeError::Cancelled));
        // It joined, or it came after the unpublish and waits for content of its own.
        bench.script.set_open(true);
        let two = two.await.unwrap();
        assert!(
            matches!(two, Err(NodeError::Cancelled) | Ok(Published::First)),
            "{two:?}"
        );
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// csi.md 1.6: a panic ends neither the process nor the target, and INTERNAL promises that nothing is mounted.
#[test]
fn mount_a_panic_of_the_backend_is_an_answer() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.panic_next(1);
        let error = bench.publish("u").await.unwrap_err();
        assert_eq!(error, NodeError::Panicked);
        bench.assert_nothing_left("u");
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        // While the volume is mounted nothing is taken away, and the code says so.
        break_content(&bench, "u");
        bench.script.panic_next(1);
        let error = bench.publish("u").await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Aborted);
        assert_eq!(our_mounts(), 1);
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// What belongs to a volume is released with it, and nothing else is.
#[test]
fn mount_the_backend_is_told_when_a_volume_ends() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        bench.publish("u").await.unwrap();
        assert_eq!(bench.script.released(), 0);
        bench.unpublish("u").await.unwrap();
        bench.unpublish("u").await.unwrap();
        assert_eq!(bench.script.released(), 1);
        bench.script.answer(Err(failure(FailureClass::NotFound)));
        bench.publish("u").await.unwrap_err();
        assert_eq!(bench.script.released(), 2);
    });
}

/// csi.md 7.5: the janitor finds mounts of ours that no task looks after, and never takes one that kubelet knows.
#[test]
fn mount_the_janitor_takes_care_of_strays() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        for uid in ["forgotten", "wanted"] {
            bench.root.make_volume_directory(uid);
            let target = bench.root.target(uid);
            std::fs::create_dir(&target).unwrap();
            rustix::mount::mount("latchkey", &target, "tmpfs", MountFlags::empty(), None).unwrap();
        }
        let record = bench
            .root
            .target("forgotten")
            .with_file_name("vol_data.json");
        std::fs::remove_file(record).unwrap();
        let suspects = janitor::sweep(&bench.volumes, &HashSet::new()).await;
        assert_eq!(suspects, HashSet::from([bench.target("forgotten")]));
        // Between the look at kubelet's directory and the unmount kubelet may publish: its record is looked for again.
        bench.root.make_volume_directory("forgotten");
        let both = HashSet::from([bench.target("forgotten"), bench.target("wanted")]);
        janitor::sweep(&bench.volumes, &both).await;
        assert!(
            !bench
                .volumes
                .reap(&bench.target("wanted"), soon(10))
                .await
                .unwrap()
        );
        assert_eq!(our_mounts(), 2);
        let record = bench
            .root
            .target("forgotten")
            .with_file_name("vol_data.json");
        std::fs::remove_file(record).unwrap();
        janitor::sweep(&bench.volumes, &suspects).await;
        assert_eq!(our_mounts(), 1);
        // The other one is rebuilt by the next publish: it is ours and has no content.
        assert_eq!(bench.publish("wanted").await, Ok(Published::Again));
        assert_eq!(bench.read("wanted", "tls.crt"), "cert-1");
    });
}

/// Someone with write access takes the content of a volume away.
fn break_content(bench: &Bench, uid: &str) {
    let target = bench.root.target(uid);
    rustix::mount::mount_remount(&target, MountFlags::BIND, "").unwrap();
    std::fs::remove_file(target.join("..data")).unwrap();
}
