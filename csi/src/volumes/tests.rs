//! csi.md 11.4 on real tmpfs mounts, in a private mount namespace.

use std::collections::{BTreeMap, HashSet};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use parking_lot::Mutex;
use rustix::mount::{MountFlags, UnmountFlags};
use tokio::time::Instant;

use super::disk::Disk;
use super::{Published, Volumes, janitor};
use crate::backend::{Failure, FailureClass, Update, VolumeRequest};
use crate::board::{Board, VolumeHealth};
use crate::config::Config;
use crate::error::NodeError;
use crate::events::{Event, EventSink};
use crate::metrics::Metrics;
use crate::mount::{Mounter, is_ours, mountinfo};
use crate::publish::{Checked, spec_digest};
use crate::state::StateStore;
use crate::target::{Roots, Target};
use crate::testing::{KubeletRoot, Script, files, in_mount_namespace};

struct Bench {
    root: KubeletRoot,
    script: Script,
    config: Config,
    volumes: Volumes<Script>,
    board: Arc<Board>,
    events: Arc<Mutex<Vec<Event>>>,
}

const CONTENT: [(&str, &str); 2] = [("tls.crt", "cert-1"), ("conf/key", "key-1")];

impl Bench {
    fn new(root: KubeletRoot) -> Self {
        let script = Script::new(&CONTENT);
        let mut config = Config::new("node-1", "0");
        config.kubelet_root = root.path().to_owned();
        config.generation_grace = Duration::from_millis(50);
        let (volumes, board, events) = start(&config, &script);
        Self {
            root,
            script,
            config,
            volumes,
            board,
            events,
        }
    }

    /// As after kill -9: the old process' tasks are gone, its mounts and files are not.
    async fn restart(&mut self) {
        self.volumes.0.stop.cancel();
        (self.volumes, self.board, self.events) = start(&self.config, &self.script);
        self.volumes.recover().await.unwrap();
    }

    fn checked(&self, uid: &str) -> Checked {
        self.root.make_volume_directory(uid);
        self.checked_with(uid, "v")
    }

    fn checked_with(&self, uid: &str, attribute: &str) -> Checked {
        let target = self.target(uid);
        let request = VolumeRequest {
            volume_id: format!("csi-{uid}"),
            namespace: "n".to_owned(),
            pod_name: "p".to_owned(),
            pod_uid: uid.to_owned(),
            service_account: "s".to_owned(),
            attributes: BTreeMap::from([("a".to_owned(), attribute.to_owned())]),
        };
        let digest = spec_digest(&request, None, None);
        Checked {
            target,
            request,
            gid: None,
            context: None,
            digest,
        }
    }

    fn target(&self, uid: &str) -> Target {
        let path = self.root.target(uid);
        self.volumes
            .disk()
            .roots
            .parse(path.to_str().unwrap())
            .unwrap()
    }

    async fn publish(&self, uid: &str) -> Result<Published, NodeError> {
        let checked = self.checked(uid);
        self.volumes.publish(checked, (), soon(10)).await
    }

    async fn unpublish(&self, uid: &str) -> Result<(), NodeError> {
        self.volumes.unpublish(&self.target(uid), soon(10)).await
    }

    fn read(&self, uid: &str, path: &str) -> String {
        std::fs::read_to_string(self.root.target(uid).join(path)).unwrap()
    }

    fn states(&self) -> usize {
        let directory = self.config.plugin_directory().join("volumes");
        std::fs::read_dir(directory).unwrap().count()
    }

    fn assert_nothing_left(&self, uid: &str) {
        assert_eq!(our_mounts(), 0);
        assert!(!self.root.target(uid).exists());
        assert_eq!(self.states(), 0);
        assert!(self.volumes.0.board.targets().is_empty());
    }
}

pub(super) fn start(
    config: &Config,
    script: &Script,
) -> (Volumes<Script>, Arc<Board>, Arc<Mutex<Vec<Event>>>) {
    let directory = config.plugin_directory();
    std::fs::create_dir_all(&directory).unwrap();
    let disk = Disk {
        mounter: Mounter::start(&directory).unwrap(),
        roots: Roots::open(&config.kubelet_root.join("pods"), None).unwrap(),
        store: StateStore::open(&directory).unwrap(),
        context: None,
        read_only: true,
    };
    let board = Arc::new(Board::default());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let sink = EventSink::new(move |event| seen.lock().push(event));
    let metrics = Metrics::new(board.clone());
    let config = Arc::new(config.clone());
    let volumes = Volumes::new(config, script.clone(), disk, metrics, board.clone(), sink);
    (volumes, board, events)
}

fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

fn our_mounts() -> usize {
    mountinfo::read()
        .unwrap()
        .iter()
        .filter(|mount| is_ours(mount))
        .count()
}

fn failure(class: FailureClass) -> Failure {
    Failure {
        class,
        message: "scripted".to_owned(),
        retry_after: None,
    }
}

/// Waits until `condition` holds; a test that waits in vain fails.
async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..500 {
        if condition() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{what} did not happen");
}

#[test]
fn mount_publish_is_idempotent_and_unpublish_leaves_nothing() {
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
        let usage = bench
            .volumes
            .usage("csi-u", bench.target("u"))
            .await
            .unwrap();
        assert_eq!(usage.bytes, 64 * 1024);
        assert!(usage.free_bytes < usage.bytes);
        let other = bench.volumes.usage("csi-other", bench.target("u")).await;
        assert_eq!(other, Err(NodeError::NotFound));

        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
        assert_eq!(bench.script.listeners(), 0);
        // R5: again, and of what never was.
        bench.unpublish("u").await.unwrap();
        bench.unpublish("never").await.unwrap();
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        let (one, two) = tokio::join!(bench.unpublish("u"), bench.unpublish("u"));
        assert_eq!((one, two), (Ok(()), Ok(())));
        bench.assert_nothing_left("u");
        until("the tasks' end", || {
            bench.volumes.0.entries.lock().is_empty()
        })
        .await;
    });
}

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

/// csi.md 1.3 checks 18 to 20.
#[test]
fn mount_publish_refuses_what_is_not_its_own() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let changed = bench.checked_with("u", "changed");
        let result = bench.volumes.publish(changed, (), soon(10)).await;
        assert_eq!(result, Err(NodeError::Conflict));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");

        for (uid, expected) in [
            ("file", NodeError::Occupied("a file")),
            ("link", NodeError::Occupied("a symbolic link")),
            ("full", NodeError::Occupied("a directory with files in it")),
            ("foreign", NodeError::Foreign),
            ("tmpfs", NodeError::Foreign),
        ] {
            bench.root.make_volume_directory(uid);
            let target = bench.root.target(uid);
            match uid {
                "file" => std::fs::write(&target, "x").unwrap(),
                "link" => std::os::unix::fs::symlink("/etc", &target).unwrap(),
                "full" => std::fs::create_dir_all(target.join("x")).unwrap(),
                _ => {
                    std::fs::create_dir(&target).unwrap();
                    let (kind, flags) = (
                        if uid == "tmpfs" { "tmpfs" } else { "proc" },
                        MountFlags::empty(),
                    );
                    rustix::mount::mount("other", &target, kind, flags, None).unwrap();
                }
            }
            let before = mountinfo::read().unwrap().len();
            assert_eq!(bench.publish(uid).await, Err(expected), "{uid}");
            assert_eq!(mountinfo::read().unwrap().len(), before, "{uid}");
        }
        assert_eq!(bench.script.firsts(), 1, "nothing was fetched for them");
        // A foreign file system stays at unpublish, stacked tmpfs go.
        assert!(bench.unpublish("foreign").await.is_err());
        for _ in 0..2 {
            rustix::mount::mount(
                "other",
                bench.root.target("tmpfs"),
                "tmpfs",
                MountFlags::empty(),
                None,
            )
            .unwrap();
        }
        bench.unpublish("tmpfs").await.unwrap();
        assert!(!bench.root.target("tmpfs").exists());
        for uid in ["full", "file", "link"] {
            assert!(bench.unpublish(uid).await.is_err(), "{uid}");
            assert!(bench.root.target(uid).symlink_metadata().is_ok(), "{uid}");
        }
    });
}

/// R2: after a final code kubelet never calls Unpublish.
#[test]
fn mount_a_failed_publish_leaves_nothing() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        for class in [
            FailureClass::FailedPrecondition,
            FailureClass::NotFound,
            FailureClass::Unavailable,
        ] {
            bench.script.answer(Err(failure(class)));
            let expected = NodeError::Backend {
                class,
                message: "scripted".to_owned(),
            };
            assert_eq!(bench.publish("u").await, Err(expected));
            bench.assert_nothing_left("u");
        }
        for bad in ["../escape", "/etc/passwd", "a//b", "..data"] {
            bench.script.answer(Ok(files(&[("good", "1"), (bad, "2")])));
            let error = bench.publish("u").await.unwrap_err();
            assert!(matches!(error, NodeError::Content(_)), "{error}");
            bench.assert_nothing_left("u");
        }
        let big = "x".repeat((1 << 20) + 1);
        bench.script.answer(Ok(files(&[("big", &big)])));
        assert!(matches!(
            bench.publish("u").await,
            Err(NodeError::Content(_))
        ));
        bench.assert_nothing_left("u");
        let failed = bench
            .events
            .lock()
            .iter()
            .filter(|event| matches!(event, Event::MountFailed { .. }))
            .count();
        assert_eq!(failed, 8);
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

/// csi.md 2.2: joined by the same digest, refused with another.
#[test]
fn mount_publishes_of_one_target_share_one_fetch() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        let checked = bench.checked("u");
        let publish = |checked: Checked| {
            let volumes = bench.volumes.clone();
            tokio::spawn(async move { volumes.publish(checked, (), soon(10)).await })
        };
        let one = publish(checked.clone());
        until("the fetch", || bench.script.firsts() == 1).await;
        // Asked before the third, whose answer therefore tells that this one has joined.
        let mut two = Box::pin(bench.volumes.publish(checked, (), soon(10)));
        assert!(futures::poll!(two.as_mut()).is_pending());
        let other = bench.checked_with("u", "other");
        assert_eq!(
            bench.volumes.publish(other, (), soon(10)).await,
            Err(NodeError::Busy)
        );
        bench.script.set_open(true);
        assert_eq!(one.await.unwrap(), Ok(Published::First));
        assert_eq!(two.await, Ok(Published::First));
        assert_eq!((bench.script.firsts(), our_mounts()), (1, 1));
    });
}

/// R4 and csi-peers.md 3 (SSCSID#1051): the wait is dropped, the work is not.
#[test]
fn mount_a_cancelled_publish_goes_on_and_the_retry_finds_complete_content() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        for delay in [0, 1, 5, 20] {
            let checked = bench.checked("u");
            let publish = bench.volumes.publish(checked, (), soon(10));
            let _ = tokio::time::timeout(Duration::from_millis(delay), publish).await;
        }
        assert_eq!(our_mounts(), 0);
        bench.script.set_open(true);
        bench.publish("u").await.unwrap();
        assert_eq!(bench.read("u", "conf/key"), "key-1");
        assert_eq!(our_mounts(), 1);
    });
}

#[test]
fn mount_a_publish_that_waits_in_vain_answers_at_its_deadline() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        let checked = bench.checked("u");
        let deadline = Instant::now() + Duration::from_millis(100);
        let error = bench
            .volumes
            .publish(checked, (), deadline)
            .await
            .unwrap_err();
        assert_eq!(error.code(), tonic::Code::DeadlineExceeded);
        bench.assert_nothing_left("u");
    });
}

#[test]
fn mount_unpublish_ends_a_publish_that_waits() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.script.set_open(false);
        let checked = bench.checked("u");
        let volumes = bench.volumes.clone();
        let publish = tokio::spawn(async move { volumes.publish(checked, (), soon(10)).await });
        until("the fetch", || bench.script.firsts() == 1).await;
        bench.unpublish("u").await.unwrap();
        assert_eq!(publish.await.unwrap(), Err(NodeError::Cancelled));
        bench.script.set_open(true);
        tokio::time::sleep(Duration::from_millis(50)).await;
        bench.assert_nothing_left("u");
    });
}

/// R3: whatever the provider does.
#[test]
fn mount_a_republish_never_fails_and_never_fetches() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        bench.script.answer(Err(failure(FailureClass::Unavailable)));
        bench
            .script
            .update(Update::Stale("provider is down".to_owned()));
        until("staleness", || {
            bench.board.get(&bench.target("u")).unwrap().health == VolumeHealth::Stale
        })
        .await;
        let slowest = Mutex::new(Duration::ZERO);
        for _ in 0..100 {
            let started = Instant::now();
            assert_eq!(bench.publish("u").await, Ok(Published::Again));
            let mut slowest = slowest.lock();
            *slowest = slowest.max(started.elapsed());
        }
        assert_eq!((bench.script.firsts(), our_mounts()), (1, 1));
        let stale = bench
            .events
            .lock()
            .iter()
            .filter(|event| matches!(event, Event::Stale { .. }))
            .count();
        assert_eq!(stale, 1, "told once");
        bench.script.update(Update::Content(files(&CONTENT)));
        until("freshness", || {
            bench.board.get(&bench.target("u")).unwrap().health == VolumeHealth::Ok
        })
        .await;
        assert!(
            bench
                .events
                .lock()
                .iter()
                .any(|event| matches!(event, Event::Fresh { .. }))
        );
    });
}

#[test]
fn mount_rotation_shows_new_content_and_removes_the_old_after_the_grace() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let data = bench.root.target("u").join("..data");
        let first = std::fs::read_link(&data).unwrap();
        bench.script.update(Update::Content(files(&CONTENT)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(
            std::fs::read_link(&data).unwrap(),
            first,
            "equal content is not written"
        );

        let big = "x".repeat(300_000);
        bench.script.update(Update::Content(files(&[
            ("tls.crt", "cert-2"),
            ("big", &big),
        ])));
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
            .update(Update::Content(files(&[("../x", "1")])));
        until("staleness", || {
            bench.board.get(&bench.target("u")).unwrap().health == VolumeHealth::Stale
        })
        .await;
        assert_eq!(bench.read("u", "tls.crt"), "cert-2");
    });
}

/// R12: readers see one set or the other, never a mixture, never nothing.
#[test]
fn mount_readers_see_consistent_pairs_during_rotations() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.config.generation_grace = Duration::from_millis(100);
        bench.restart().await;
        bench
            .script
            .answer(Ok(files(&[("crt", "0"), ("key", "0")])));
        bench.publish("u").await.unwrap();
        let (done, reads) = (
            Arc::new(AtomicBool::new(false)),
            Arc::new(AtomicUsize::new(0)),
        );
        let readers = (0..8).map(|_| {
            let (target, done, reads) = (bench.root.target("u"), done.clone(), reads.clone());
            // Blocking threads of this runtime share the test's mount namespace.
            tokio::task::spawn_blocking(move || {
                let read = |path: &Path| match std::fs::read_to_string(path) {
                    // A reader that was held up for longer than the grace starts over.
                    Err(error) if error.kind() == std::io::ErrorKind::NotFound => None,
                    text => Some(text.unwrap()),
                };
                while !done.load(Ordering::Relaxed) {
                    // As a careful application: resolve the generation once, then read both.
                    let generation =
                        target.join(std::fs::read_link(target.join("..data")).unwrap());
                    let pair = (read(&generation.join("crt")), read(&generation.join("key")));
                    let (Some(crt), Some(key)) = pair else {
                        continue;
                    };
                    assert_eq!(crt, key);
                    assert_ne!(read(&target.join("crt")).as_deref(), Some(""));
                    reads.fetch_add(1, Ordering::Relaxed);
                }
            })
        });
        let readers = readers.collect::<Vec<_>>();
        for round in 1..=25 {
            let value = round.to_string();
            bench
                .script
                .update(Update::Content(files(&[("crt", &value), ("key", &value)])));
            until("the rotation", || bench.read("u", "key") == value).await;
        }
        done.store(true, Ordering::Relaxed);
        for reader in readers {
            reader.await.unwrap();
        }
        assert!(reads.load(Ordering::Relaxed) > 100);
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
        bench.script.update(Update::Content(files(&CONTENT)));
        tokio::time::sleep(Duration::from_millis(100)).await;
        assert_eq!(std::fs::read_link(&data).unwrap(), generation);
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!((bench.script.firsts(), our_mounts()), (1, 1));
        bench
            .script
            .update(Update::Content(files(&[("tls.crt", "cert-2")])));
        until("a rotation by the new process", || {
            bench.read("u", "tls.crt") == "cert-2"
        })
        .await;
        bench.restart().await;
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

#[test]
fn mount_a_restart_without_state_adopts_by_the_next_publish() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        bench.publish("w").await.unwrap();
        let directory = bench.config.plugin_directory().join("volumes");
        for entry in std::fs::read_dir(&directory).unwrap() {
            std::fs::remove_file(entry.unwrap().path()).unwrap();
        }
        bench.restart().await;
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        until("the state", || bench.states() == 1).await;
        assert_eq!((bench.script.firsts(), our_mounts()), (2, 2));
        bench
            .script
            .update(Update::Content(files(&[("tls.crt", "cert-2")])));
        until("a rotation", || bench.read("u", "tls.crt") == "cert-2").await;
        bench.unpublish("u").await.unwrap();
        bench.unpublish("w").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// State without mount: of this boot it is lost and rebuilt, of an earlier one it goes.
#[test]
fn mount_a_vanished_mount_is_rebuilt_by_the_next_publish() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        // While running.
        rustix::mount::unmount(bench.root.target("u"), UnmountFlags::DETACH).unwrap();
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        assert!(
            bench
                .events
                .lock()
                .iter()
                .any(|event| matches!(event, Event::VolumeLost { .. }))
        );
        // While nobody looked.
        rustix::mount::unmount(bench.root.target("u"), UnmountFlags::DETACH).unwrap();
        bench.restart().await;
        assert_eq!(
            bench.board.get(&bench.target("u")).unwrap().health,
            VolumeHealth::Lost
        );
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        // An earlier boot.
        rustix::mount::unmount(bench.root.target("u"), UnmountFlags::DETACH).unwrap();
        let state = std::fs::read_dir(bench.config.plugin_directory().join("volumes"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let text = std::fs::read_to_string(&state)
            .unwrap()
            .replace(&crate::state::boot_id(), "earlier");
        std::fs::write(&state, text).unwrap();
        bench.restart().await;
        assert_eq!(
            bench
                .board
                .get(&bench.target("u"))
                .map(|status| status.health),
            None
        );
        assert_eq!(bench.states(), 0);
        assert_eq!(bench.publish("u").await, Ok(Published::First));
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
    });
}

/// csi.md 6.3: someone with write access tampered.
#[test]
fn mount_a_volume_without_content_is_rebuilt_in_place() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let target = bench.root.target("u");
        let flags = MountFlags::BIND;
        rustix::mount::mount_remount(&target, flags, "").unwrap();
        std::fs::remove_file(target.join("..data")).unwrap();
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        assert_eq!((bench.script.firsts(), our_mounts()), (2, 1));
    });
}

/// csi.md 1.4: what is in use is detached in the end.
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

#[test]
fn mount_a_hundred_volumes_at_once() {
    in_mount_namespace(|root| async move {
        let bench = Arc::new(Bench::new(root));
        let tasks = (0..100).map(|index| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.publish(&format!("u{index}")).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap().unwrap();
        }
        assert_eq!(our_mounts(), 100);
        let tasks = (0..100).map(|index| {
            let bench = bench.clone();
            tokio::spawn(async move { bench.unpublish(&format!("u{index}")).await })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await.unwrap().unwrap();
        }
        bench.assert_nothing_left("u0");
        assert!(Path::new(&bench.config.plugin_directory().join("staging")).exists());
    });
}
