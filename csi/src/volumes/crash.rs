//! kill -9 at each boundary between two system calls equals a shutdown (csi.md 7.6): no partial volume, no mount that nobody
//! knows, and the next process goes on from there.
//!
//! The process that is killed is this test binary again, running only [`crash_child`] in the mount namespace of the test. It ends
//! itself at the boundary that it is told ([`crate::step`]).

use std::collections::{BTreeMap, BTreeSet};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use tokio::time::Instant;

use super::bench::{soon, start_with};
use super::{Published, Volumes};
use crate::backend::{ServiceAccountTokens, Trigger, Update, VolumeRequest};
use crate::config::Config;
use crate::mount::{Api, is_ours, mountinfo};
use crate::publish::{Checked, spec_digest};
use crate::step;
use crate::testing::{KubeletRoot, Script, files, in_mount_namespace, until};

/// What the child is told: kubelet's root; the boundary at which it ends, or 0 to list the boundaries; the system calls that make
/// mounts; a seed for random work, or none for the one life of a volume.
const ROOT: &str = "LATCHKEY_CSI_CRASH_ROOT";
const AT: &str = "LATCHKEY_CSI_CRASH_AT";
const API: &str = "LATCHKEY_CSI_CRASH_API";
const SEED: &str = "LATCHKEY_CSI_CRASH_SEED";

/// How many random rounds are run, if not [`DEFAULT_ROUNDS`].
const ROUNDS: &str = "LATCHKEY_CSI_CRASH_ROUNDS";
const DEFAULT_ROUNDS: u64 = 1000;

/// csi.md 11.4 counts 23 of them; here is one after nearly every system call.
const FEWEST_BOUNDARIES: usize = 23;

const UIDS: [&str; 4] = ["u0", "u1", "u2", "u3"];

fn config(root: &Path) -> Config {
    let mut config = Config::new("node-1", "0");
    config.kubelet_root = root.to_owned();
    config.generation_grace = Duration::from_millis(2);
    config
}

fn target(root: &Path, uid: &str) -> PathBuf {
    let pods = root.join("pods");
    pods.join(uid).join("volumes/kubernetes.io~csi/v/mount")
}

fn checked(volumes: &Volumes<Script>, root: &Path, uid: &str) -> Checked {
    let path = target(root, uid);
    let request = VolumeRequest {
        volume_id: format!("csi-{uid}"),
        namespace: "n".to_owned(),
        pod_name: "p".to_owned(),
        pod_uid: uid.to_owned(),
        service_account: "s".to_owned(),
        attributes: BTreeMap::new(),
    };
    let digest = spec_digest(&request, None, None);
    let target = volumes.disk().roots.parse(path.to_str().unwrap()).unwrap();
    Checked {
        target,
        request,
        gid: None,
        context: None,
        tokens: ServiceAccountTokens::default(),
        digest,
    }
}

fn pair(value: u64) -> crate::backend::FileSet {
    // Long enough for a write to be more than one page.
    let value = value.to_string().repeat(3000);
    files(&[("crt", &value), ("nested/key", &value)])
}

// === the process that is killed ===

#[test]
#[ignore = "the process that the crash tests kill"]
fn crash_child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let number = |name: &str| std::env::var(name).ok()?.parse::<u64>().ok();
    let api = match std::env::var(API).as_deref() {
        Ok("mount") => Api::Paths,
        _ => Api::Descriptors,
    };
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    match number(AT) {
        None | Some(0) => step::record(),
        Some(at) => step::arm(at),
    }
    runtime.block_on(async {
        let script = Script::new(&[]);
        let (volumes, _, _) = start_with(&config(&root), &script, Some(api));
        volumes.recover().await.unwrap();
        match number(SEED) {
            Some(seed) => random_work(&volumes, &script, &root, seed).await,
            None => one_life(&volumes, &script, &root).await,
        }
        volumes.stop().await;
    });
    if number(AT) == Some(0) {
        std::fs::write(root.join("boundaries"), step::names().join("\n")).unwrap();
    }
}

/// Publish, rotate to a larger set, sweep, unpublish.
async fn one_life(volumes: &Volumes<Script>, script: &Script, root: &Path) {
    script.answer(Ok(pair(1)));
    let checked = checked(volumes, root, UIDS[0]);
    let volume = target(root, UIDS[0]);
    volumes
        .publish(checked.clone(), (), soon(10))
        .await
        .unwrap();
    let old = volume.join(std::fs::read_link(volume.join("..data")).unwrap());
    let value = "2".repeat(40_000);
    script.update(Update::Content(
        files(&[("crt", &value), ("nested/key", &value), ("another", &value)]),
        Trigger::Interval,
    ));
    until("the sweep", || !old.exists()).await;
    volumes.unpublish(&checked.target, soon(10)).await.unwrap();
}

/// Works until it is killed.
async fn random_work(volumes: &Volumes<Script>, script: &Script, root: &Path, seed: u64) {
    for step in 0_u64.. {
        // SplitMix64: the same seed, the same work.
        let mut random = seed.wrapping_add(step.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        random = (random ^ (random >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        random = (random ^ (random >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        random ^= random >> 31;
        let uid = UIDS[usize::try_from(random % 4).unwrap()];
        let checked = checked(volumes, root, uid);
        script.answer(Ok(pair(random >> 32)));
        match (random >> 8) % 4 {
            0 => volumes.unpublish(&checked.target, soon(10)).await.unwrap(),
            1 | 2 => drop(volumes.publish(checked, (), soon(10)).await.unwrap()),
            _ => {
                script.update(Update::Content(pair(random >> 32), Trigger::Interval));
                tokio::time::sleep(Duration::from_millis(3)).await;
            }
        }
    }
}

fn spawn_child(root: &Path, at: u64, seed: Option<u64>, api: Api) -> Child {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command
        .args(["--exact", "volumes::crash::crash_child", "--ignored"])
        .env(ROOT, root)
        .env(AT, at.to_string())
        .env(API, api.as_str())
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    if let Some(seed) = seed {
        command.env(SEED, seed.to_string());
    }
    command.spawn().unwrap()
}

async fn wait_for(mut child: Child, what: &str) -> ExitStatus {
    let deadline = Instant::now() + Duration::from_secs(60);
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if Instant::now() > deadline {
            child.kill().unwrap();
            panic!("{what}: the child did not end");
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
}

// === what it leaves ===

fn mounted(root: &Path) -> Vec<PathBuf> {
    let pods = root.join("pods");
    let mounts = mountinfo::read().unwrap();
    let ours = mounts.iter().filter(|mount| is_ours(mount));
    let points = ours.map(|mount| PathBuf::from(&mount.point));
    points.filter(|point| point.starts_with(&pods)).collect()
}

fn states(root: &Path) -> BTreeSet<PathBuf> {
    let directory = config(root).plugin_directory().join("volumes");
    let Ok(entries) = std::fs::read_dir(directory) else {
        return BTreeSet::new();
    };
    let json = |path: &PathBuf| {
        path.extension()
            .is_some_and(|extension| extension == "json")
    };
    entries
        .map(|entry| entry.unwrap().path())
        .filter(json)
        .collect()
}

fn assert_complete(volume: &Path, what: &str) {
    let read = |name: &str| {
        std::fs::read_to_string(volume.join(name)).unwrap_or_else(|error| {
            panic!("{what}: {} has no {name}: {error}", volume.display());
        })
    };
    let crt = read("crt");
    assert_eq!(crt, read("nested/key"), "{what}: a mixture");
    assert!(crt.len() >= 3000, "{what}: partial content");
}

/// What must hold at the very moment of the kill: each volume that is there is complete and known to the next process.
fn assert_sound(root: &Path, what: &str) {
    let mounted = mounted(root);
    let places = mounted.iter().collect::<BTreeSet<_>>();
    assert_eq!(places.len(), mounted.len(), "{what}: stacked mounts");
    for volume in &mounted {
        assert_complete(volume, what);
    }
    let known = states(root).len();
    assert!(known >= mounted.len(), "{what}: a mount without a state");
}

/// The next process: publishes, rotates and unpublishes everything, and nothing is left.
async fn assert_goes_on(root: &Path, uids: &[&str], what: &str) {
    let script = Script::new(&[]);
    script.answer(Ok(pair(7)));
    let (volumes, board, _) = start_with(&config(root), &script, None);
    volumes.recover().await.unwrap();
    assert_sound(root, what);
    for uid in uids {
        let checked = checked(&volumes, root, uid);
        let published = volumes.publish(checked, (), soon(20)).await.unwrap();
        assert!(matches!(published, Published::First | Published::Again));
        assert_complete(&target(root, uid), what);
    }
    script.update(Update::Content(pair(8), Trigger::Interval));
    let new = "8".repeat(3000);
    let tidy = |volume: &Path| {
        let names = std::fs::read_dir(volume).unwrap();
        let names = names.map(|entry| entry.unwrap().file_name());
        let names = names.collect::<BTreeSet<_>>();
        names.len() == 4
    };
    for uid in uids {
        let volume = target(root, uid);
        until("a rotation by the next process", || {
            std::fs::read_to_string(volume.join("nested/key")).is_ok_and(|shown| shown == new)
                && tidy(&volume)
        })
        .await;
        let target = checked(&volumes, root, uid).target;
        volumes.unpublish(&target, soon(20)).await.unwrap();
        assert!(!volume.exists(), "{what}: the target is left");
    }
    assert_eq!(mounted(root), [""; 0].map(PathBuf::from), "{what}");
    assert_eq!(states(root).len(), 0, "{what}");
    assert!(board.targets().is_empty(), "{what}");
    volumes.stop().await;
    let mounts = mountinfo::read().unwrap();
    let left = mounts
        .iter()
        .filter(|mount| mount.source.starts_with("latchkey"));
    assert_eq!(left.count(), 0, "{what}: mounts are left");
}

/// Reads pairs as a careful application does, from outside the killed processes, until `done`.
fn read_pairs(
    root: &Path,
    done: &Arc<AtomicBool>,
    reads: &Arc<AtomicU64>,
) -> std::thread::JoinHandle<()> {
    let (root, done, reads) = (root.to_owned(), done.clone(), reads.clone());
    // A thread of this one's: it shares the test's mount namespace.
    std::thread::spawn(move || {
        while !done.load(Ordering::Relaxed) {
            for uid in UIDS {
                let volume = target(&root, uid);
                let Ok(generation) = std::fs::read_link(volume.join("..data")) else {
                    continue;
                };
                let generation = volume.join(generation);
                let read = |name: &str| std::fs::read_to_string(generation.join(name));
                // Unpublished, or past its grace, in between.
                let (Ok(crt), Ok(key)) = (read("crt"), read("nested/key")) else {
                    continue;
                };
                assert_eq!(crt, key, "a reader saw a mixture");
                assert!(crt.len() >= 3000, "a reader saw partial content");
                reads.fetch_add(1, Ordering::Relaxed);
            }
        }
    })
}

// === the tests ===

#[test]
fn kill_9_at_each_syscall_boundary_then_restart_and_re_run() {
    in_mount_namespace(|root: KubeletRoot| async move {
        let path = root.path().to_owned();
        root.make_volume_directory(UIDS[0]);
        for api in [Api::Descriptors, Api::Paths] {
            let ended = wait_for(spawn_child(&path, 0, None, api), "the list").await;
            assert!(ended.success(), "{ended:?}");
            let names = std::fs::read_to_string(path.join("boundaries")).unwrap();
            let names = names.lines().map(str::to_owned).collect::<Vec<_>>();
            let different = names.iter().collect::<BTreeSet<_>>();
            assert!(different.len() >= FEWEST_BOUNDARIES, "{different:?}");
            for (index, name) in names.iter().enumerate() {
                let at = u64::try_from(index).unwrap() + 1;
                let what = format!("{} boundary {at} ({name})", api.as_str());
                let ended = wait_for(spawn_child(&path, at, None, api), &what).await;
                // The order of a sweep and a rotation may differ by a boundary or two from one run to the next.
                let killed = ended.signal() == Some(9);
                assert!(
                    killed || (ended.success() && at + 8 > names.len() as u64),
                    "{what}: {ended:?}"
                );
                assert_sound(&path, &what);
                assert_goes_on(&path, &UIDS[..1], &what).await;
            }
        }
    });
}

/// Any work, killed anywhere, a thousand times in a row on the same node; readers watch from outside.
#[test]
fn kill_9_at_random_boundaries_again_and_again() {
    in_mount_namespace(|root: KubeletRoot| async move {
        let path = root.path().to_owned();
        for uid in UIDS {
            root.make_volume_directory(uid);
        }
        let rounds = std::env::var(ROUNDS).ok();
        let rounds = rounds.map_or(DEFAULT_ROUNDS, |rounds| rounds.parse().unwrap());
        let first = rand::random::<u64>();
        let (done, reads) = (Arc::default(), Arc::default());
        let reader = read_pairs(&path, &done, &reads);
        for round in 0..rounds {
            let seed = first.wrapping_add(round);
            let at = 1 + seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) % 250;
            let api = if round % 4 == 3 {
                Api::Paths
            } else {
                Api::Descriptors
            };
            let what = format!("round {round}, seed {seed}, boundary {at}");
            let ended = wait_for(spawn_child(&path, at, Some(seed), api), &what).await;
            assert_eq!(ended.signal(), Some(9), "{what}: {ended:?}");
            assert_sound(&path, &what);
        }
        done.store(true, Ordering::Relaxed);
        reader.join().expect("no reader saw a mixture");
        assert!(reads.load(Ordering::Relaxed) > rounds);
        assert_goes_on(&path, &UIDS, "the end").await;
    });
}
