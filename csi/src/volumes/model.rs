//! Any sequence of publishes, rotations, unpublishes, crashes and accidents leaves the node as a small model says.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, Ordering};

use proptest::prelude::*;
use proptest::test_runner::{TestCaseError, TestRunner};
use rustix::mount::{MountFlags, UnmountFlags};

use super::Published;
use super::bench::{Bench, our_mounts, soon};
use crate::backend::{FailureClass, FileSet, Trigger, Update};
use crate::board::VolumeHealth;
use crate::error::{NodeError, is_final};
use crate::testing::{KubeletRoot, failure, files, until, with_mount_namespace};

const UIDS: [&str; 3] = ["a", "b", "c"];

/// Sequences that are tried, and the most steps in one.
const CASES: u32 = 40;
const STEPS: usize = 24;

/// One step; the numbers are indexes of [`UIDS`].
#[derive(Clone, Copy, Debug)]
enum Step {
    Publish(usize),
    /// With attributes that differ from the first ones.
    PublishChanged(usize),
    /// While the backend fails in this way.
    PublishFailing(usize, FailureClass),
    /// With content that breaks the rules.
    PublishBad(usize),
    Unpublish(usize),
    /// New content for all volumes.
    Rotate,
    /// New content that breaks the rules.
    RotateBad,
    /// A refresh that fails.
    Fail,
    /// The process is killed, the next one starts.
    Crash,
    /// The node: all mounts are gone, and the state is of an earlier boot.
    Reboot,
    /// A cleaner removes the state files; then a crash.
    WipeAndCrash,
    /// Somebody unmounts the volume.
    Unmount(usize),
    /// A container removes `..data`.
    Break(usize),
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let uid = 0..UIDS.len();
    let class = prop_oneof![
        Just(FailureClass::Unavailable),
        Just(FailureClass::NotFound),
        Just(FailureClass::FailedPrecondition),
    ];
    let step = prop_oneof![
        6 => uid.clone().prop_map(Step::Publish),
        1 => uid.clone().prop_map(Step::PublishChanged),
        1 => (uid.clone(), class).prop_map(|(uid, class)| Step::PublishFailing(uid, class)),
        1 => uid.clone().prop_map(Step::PublishBad),
        3 => uid.clone().prop_map(Step::Unpublish),
        3 => Just(Step::Rotate),
        1 => Just(Step::RotateBad),
        1 => Just(Step::Fail),
        2 => Just(Step::Crash),
        1 => Just(Step::Reboot),
        1 => Just(Step::WipeAndCrash),
        1 => uid.clone().prop_map(Step::Unmount),
        1 => uid.prop_map(Step::Break),
    ];
    proptest::collection::vec(step, 1..=STEPS)
}

/// A volume as it should be.
#[derive(Clone, Debug)]
struct Model {
    /// What it shows; `None` where `..data` is gone.
    content: Option<u64>,
    /// Whether a mount is there.
    mounted: bool,
    /// Whether the process follows the backend for it: not after its state was lost, until the next publish.
    followed: bool,
    /// Whether the running process knows it as mounted with these attributes.
    known: bool,
}

struct Node {
    bench: Bench,
    volumes: BTreeMap<usize, Model>,
    next: u64,
    boots: u64,
}

fn content(value: u64) -> FileSet {
    let text = value.to_string();
    // Names come and go with the content.
    let extra = format!("extra-{}/x", value % 3);
    files(&[("crt", &text), ("key", &text), (&extra, &text)])
}

fn bad() -> FileSet {
    files(&[("../x", "1")])
}

impl Node {
    fn new() -> Self {
        let mut bench = Bench::new(KubeletRoot::new());
        bench.config.generation_grace = std::time::Duration::ZERO;
        Self {
            bench,
            volumes: BTreeMap::new(),
            next: 0,
            boots: 0,
        }
    }

    fn fresh(&mut self) -> u64 {
        self.next += 1;
        self.next
    }

    async fn take(&mut self, step: Step) {
        match step {
            Step::Publish(uid) => self.publish(uid).await,
            Step::PublishChanged(uid) => self.publish_changed(uid).await,
            Step::PublishFailing(uid, class) => {
                let error = Err(failure(class));
                self.publish_in_vain(uid, error, class_is_final(class))
                    .await;
            }
            Step::PublishBad(uid) => self.publish_in_vain(uid, Ok(bad()), true).await,
            Step::Unpublish(uid) => {
                self.bench.unpublish(UIDS[uid]).await.unwrap();
                self.volumes.remove(&uid);
                assert!(!self.bench.root.target(UIDS[uid]).exists());
            }
            Step::Rotate => self.rotate().await,
            Step::RotateBad => {
                self.trouble(Update::Content(bad(), Trigger::Interval))
                    .await
            }
            Step::Fail => {
                self.trouble(Update::Stale("down".to_owned(), Trigger::Interval))
                    .await
            }
            Step::Crash => {
                self.bench.restart().await;
                for volume in self.volumes.values_mut() {
                    volume.known = volume.followed && volume.mounted;
                }
            }
            Step::Reboot => self.reboot().await,
            Step::WipeAndCrash => self.wipe_and_crash().await,
            Step::Unmount(uid) => self.unmount(uid),
            Step::Break(uid) => self.break_content(uid),
        }
    }

    async fn publish(&mut self, uid: usize) {
        let value = self.fresh();
        self.bench.script.answer(Ok(content(value)));
        let published = self.bench.publish(UIDS[uid]).await.unwrap();
        let old = self.volumes.get(&uid).filter(|volume| volume.mounted);
        let (expected, shown) = match old {
            Some(Model {
                content: Some(shown),
                ..
            }) => (Published::Again, *shown),
            Some(_) => (Published::Again, value),
            None => (Published::First, value),
        };
        assert_eq!(published, expected);
        let volume = Model {
            content: Some(shown),
            mounted: true,
            followed: true,
            known: true,
        };
        self.volumes.insert(uid, volume);
    }

    async fn publish_changed(&mut self, uid: usize) {
        let Some(volume) = self.volumes.get(&uid) else {
            return;
        };
        if !(volume.mounted && volume.known && volume.followed) {
            return;
        }
        let changed = self.bench.checked_with(UIDS[uid], "changed");
        let refused = self.bench.volumes.publish(changed, (), soon(10)).await;
        assert_eq!(refused, Err(NodeError::Conflict));
    }

    /// The backend has nothing: an error, unless the volume is mounted and needs nothing.
    async fn publish_in_vain(
        &mut self,
        uid: usize,
        answer: Result<FileSet, crate::backend::Failure>,
        last: bool,
    ) {
        self.bench.script.answer(answer);
        let result = self.bench.publish(UIDS[uid]).await;
        match self.volumes.get_mut(&uid) {
            Some(volume) if volume.mounted => {
                (volume.known, volume.followed) = (true, true);
                assert_eq!(result.is_ok(), volume.content.is_some(), "{result:?}");
            }
            volume => {
                let error = result.unwrap_err();
                assert_eq!(is_final(error.code()), last, "{error}");
                // What was lost stays so, until it is published or unpublished.
                if let Some(volume) = volume {
                    volume.known = false;
                }
            }
        }
    }

    async fn rotate(&mut self) {
        let value = self.fresh();
        self.bench
            .script
            .update(Update::Content(content(value), Trigger::Interval));
        for (uid, volume) in &mut self.volumes {
            if !volume.followed || !volume.known {
                continue;
            }
            let uid = UIDS[*uid];
            if volume.mounted {
                volume.content = Some(value);
                let shown = self.bench.root.target(uid).join("key");
                let text = value.to_string();
                until("the rotation", || {
                    std::fs::read_to_string(&shown).is_ok_and(|shown| shown == text)
                })
                .await;
            } else {
                // It is noticed that the mount is gone.
                let board = &self.bench;
                until("the loss", || board.health(uid) == Some(VolumeHealth::Lost)).await;
                volume.known = false;
            }
        }
    }

    /// Nothing changes but the health.
    async fn trouble(&mut self, update: Update) {
        self.bench.script.update(update);
        for (uid, volume) in &self.volumes {
            if volume.followed && volume.known {
                let bench = &self.bench;
                until("staleness", || {
                    bench.health(UIDS[*uid]) == Some(VolumeHealth::Stale)
                })
                .await;
            }
        }
    }

    async fn reboot(&mut self) {
        self.bench.kill().await;
        for (uid, volume) in &self.volumes {
            if volume.mounted {
                self.detach(*uid);
            }
        }
        self.boots += 1;
        let states = self.bench.config.plugin_directory().join("volumes");
        for file in std::fs::read_dir(states).unwrap() {
            let file = file.unwrap().path();
            let text = std::fs::read_to_string(&file).unwrap();
            let earlier = format!("earlier-{}", self.boots);
            std::fs::write(&file, text.replace(&crate::state::boot_id(), &earlier)).unwrap();
        }
        self.volumes.clear();
        self.bench.restart().await;
        assert_eq!(self.bench.states(), 0);
    }

    async fn wipe_and_crash(&mut self) {
        self.bench.kill().await;
        let states = self.bench.config.plugin_directory().join("volumes");
        std::fs::remove_dir_all(states).unwrap();
        self.bench.restart().await;
        self.volumes.retain(|_, volume| volume.mounted);
        for volume in self.volumes.values_mut() {
            (volume.followed, volume.known) = (false, false);
        }
    }

    fn unmount(&mut self, uid: usize) {
        if let Some(volume) = self.volumes.get_mut(&uid)
            && volume.mounted
        {
            volume.mounted = false;
            self.detach(uid);
        }
    }

    fn detach(&self, uid: usize) {
        let target = self.bench.root.target(UIDS[uid]);
        rustix::mount::unmount(target, UnmountFlags::DETACH).unwrap();
    }

    fn break_content(&mut self, uid: usize) {
        if let Some(volume) = self.volumes.get_mut(&uid)
            && volume.mounted
            && volume.content.take().is_some()
        {
            let target = self.bench.root.target(UIDS[uid]);
            rustix::mount::mount_remount(&target, MountFlags::BIND, "").unwrap();
            std::fs::remove_file(target.join("..data")).unwrap();
        }
    }

    /// What holds after every step.
    fn check(&self) {
        let mounted = self.volumes.values().filter(|volume| volume.mounted);
        assert_eq!(our_mounts_of_volumes(), mounted.count());
        for (uid, volume) in &self.volumes {
            let read = |name: &str| {
                let path = self.bench.root.target(UIDS[*uid]).join(name);
                std::fs::read_to_string(path).ok()
            };
            let expected = volume
                .mounted
                .then_some(volume.content)
                .flatten()
                .map(|value| value.to_string());
            assert_eq!(read("crt"), expected, "{volume:?}");
            assert_eq!(read("key"), expected, "{volume:?}");
        }
    }

    async fn end(mut self) {
        for uid in 0..UIDS.len() {
            self.take(Step::Unpublish(uid)).await;
        }
        self.bench.assert_nothing_left(UIDS[0]);
        self.bench.volumes.stop().await;
    }
}

/// Clones in the staging directory come and go with rotations and sweeps.
fn our_mounts_of_volumes() -> usize {
    let mounts = crate::mount::mountinfo::read().unwrap();
    let ours = mounts.iter().filter(|mount| crate::mount::is_ours(mount));
    ours.filter(|mount| !mount.point.contains("/staging/"))
        .count()
}

fn class_is_final(class: FailureClass) -> bool {
    let message = String::new();
    is_final(NodeError::Backend { class, message }.code())
}

#[test]
fn mount_any_sequence_leaves_what_the_model_says() {
    with_mount_namespace(|runtime| {
        static RAN: AtomicU64 = AtomicU64::new(0);
        let config = ProptestConfig {
            cases: CASES,
            failure_persistence: None,
            ..ProptestConfig::default()
        };
        let mut runner = TestRunner::new(config);
        let result = runner.run(&steps(), |steps| {
            let run = async {
                let mut node = Node::new();
                for step in steps {
                    node.take(step).await;
                    node.check();
                    RAN.fetch_add(1, Ordering::Relaxed);
                }
                node.end().await;
            };
            let run = std::panic::AssertUnwindSafe(|| runtime.block_on(run));
            std::panic::catch_unwind(run).map_err(|_| TestCaseError::fail("see the panic above"))
        });
        result.unwrap();
        assert_eq!(our_mounts(), 0);
        assert!(RAN.load(Ordering::Relaxed) > u64::from(CASES));
    });
}
