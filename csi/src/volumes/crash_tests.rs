//! kill -9 at any moment equals a shutdown (csi.md 7.6): no partial volume, no mount that nobody knows, and the next process goes
//! on from there.
//!
//! The process that is killed is this test binary again, running only [`crash_child`] in the mount namespace of the test.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::time::Instant;

use super::tests::start;
use super::{Published, Volumes};
use crate::backend::{Update, VolumeRequest};
use crate::config::Config;
use crate::mount::{is_ours, mountinfo};
use crate::publish::{Checked, spec_digest};
use crate::testing::{Script, files, in_mount_namespace};

/// Tells the child where kubelet's root is.
const ROOT: &str = "LATCHKEY_CSI_CRASH_ROOT";

const UIDS: [&str; 4] = ["u0", "u1", "u2", "u3"];

const ROUNDS: u64 = 20;

fn config(root: &Path) -> Config {
    let mut config = Config::new("node-1", "0");
    config.kubelet_root = root.to_owned();
    config.generation_grace = Duration::from_millis(5);
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
        digest,
    }
}

fn pair(value: usize) -> crate::backend::FileSet {
    // Long enough for a write to be more than one page.
    let value = value.to_string().repeat(3000);
    files(&[("crt", &value), ("nested/key", &value)])
}

/// Publishes, rotates and unpublishes until it is killed.
#[test]
#[ignore = "the process that the crash test kills"]
fn crash_child() {
    let Some(root) = std::env::var_os(ROOT).map(PathBuf::from) else {
        return;
    };
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(async {
        let script = Script::new(&[]);
        let (volumes, _, _) = start(&config(&root), &script);
        volumes.recover().await.unwrap();
        for step in 0.. {
            script.answer(Ok(pair(step)));
            let deadline = Instant::now() + Duration::from_secs(10);
            let checked = checked(&volumes, &root, UIDS[step % UIDS.len()]);
            volumes
                .publish(checked.clone(), (), deadline)
                .await
                .unwrap();
            script.update(Update::Content(pair(step + 1)));
            if step % 3 == 0 {
                volumes.unpublish(&checked.target, deadline).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(u64::try_from(step % 8).unwrap())).await;
        }
    });
}

fn spawn_child(root: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "volumes::crash_tests::crash_child", "--ignored"])
        .env(ROOT, root)
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap()
}

fn mounted() -> Vec<PathBuf> {
    let mounts = mountinfo::read().unwrap();
    let ours = mounts.iter().filter(|mount| is_ours(mount));
    ours.map(|mount| PathBuf::from(&mount.point)).collect()
}

fn assert_complete(volume: &Path) {
    let read = |name: &str| std::fs::read_to_string(volume.join(name)).unwrap();
    let crt = read("crt");
    assert_eq!(crt, read("nested/key"), "a mixture in {}", volume.display());
    assert!(crt.len() >= 3000, "partial content in {}", volume.display());
}

#[test]
fn mount_kill_9_at_any_moment_leaves_no_partial_and_no_unknown_volume() {
    in_mount_namespace(|root| async move {
        let root_path = root.path().to_owned();
        for uid in UIDS {
            root.make_volume_directory(uid);
        }
        for round in 0..ROUNDS {
            let mut child = spawn_child(&root_path);
            let moment = Instant::now();
            while mounted().is_empty() && moment.elapsed() < Duration::from_secs(20) {
                tokio::time::sleep(Duration::from_millis(1)).await;
            }
            tokio::time::sleep(Duration::from_micros(rand::random_range(0..100_000))).await;
            child.kill().unwrap();
            assert_eq!(
                child.wait().unwrap().code(),
                None,
                "the child ended by itself"
            );

            let pods = root_path.join("pods");
            for volume in mounted().iter().filter(|point| point.starts_with(&pods)) {
                assert_complete(volume);
            }
            let script = Script::new(&[]);
            script.answer(Ok(pair(7)));
            let (volumes, _, _) = start(&config(&root_path), &script);
            volumes.recover().await.unwrap();
            let deadline = Instant::now() + Duration::from_secs(20);
            for (index, uid) in UIDS.iter().enumerate() {
                let checked = checked(&volumes, &root_path, uid);
                let published = volumes
                    .publish(checked.clone(), (), deadline)
                    .await
                    .unwrap();
                assert!(matches!(published, Published::First | Published::Again));
                assert_complete(&target(&root_path, uid));
                if index as u64 % 2 == round % 2 || round + 1 == ROUNDS {
                    volumes.unpublish(&checked.target, deadline).await.unwrap();
                }
            }
            let left = if round + 1 == ROUNDS {
                0
            } else {
                UIDS.len() / 2
            };
            assert_eq!(mounted().len(), left, "round {round}: {:?}", mounted());
            volumes.stop().await;
        }
        let states = std::fs::read_dir(config(&root_path).plugin_directory().join("volumes"));
        assert_eq!(states.unwrap().count(), 0);
    });
}
