use std::os::unix::fs::PermissionsExt;
use std::time::Duration;

use rustix::mount::{MountFlags, UnmountFlags};

use super::{
    Answer, AskError, Outcome, PodName, Release, Request, Selection, VolumeReport, ask, offline,
};
use crate::backend::{Trigger, Update};
use crate::config::Config;
use crate::plugin::rig::Running;
use crate::testing::{KubeletRoot, in_mount_namespace};
use crate::volumes::bench::our_mounts;

const ALL: Selection = Selection {
    pod: None,
    force: false,
};

const FORCED: Selection = Selection {
    pod: None,
    force: true,
};

async fn answer(config: &Config, request: Request) -> Result<Answer, AskError> {
    let socket = config.admin_socket();
    tokio::task::spawn_blocking(move || ask(&socket, &request, Duration::from_secs(30)))
        .await
        .unwrap()
}

async fn volumes(config: &Config) -> Vec<VolumeReport> {
    match answer(config, Request::Volumes).await.unwrap() {
        Answer::Volumes(volumes) => volumes,
        other => panic!("{other:?}"),
    }
}

async fn released(config: &Config, selection: Selection) -> Vec<Release> {
    match answer(config, Request::Release(selection)).await.unwrap() {
        Answer::Released(released) => released,
        other => panic!("{other:?}"),
    }
}

/// UIDs and outcomes.
fn outcomes(releases: &[Release]) -> Vec<(&str, Outcome)> {
    releases
        .iter()
        .map(|release| (release.name.pod_uid.as_str(), release.outcome))
        .collect()
}

/// What kubelet does at last when a pod is gone, as far as it matters here.
fn forget(root: &KubeletRoot, uid: &str) {
    let directory = root.target(uid).parent().unwrap().to_owned();
    std::fs::remove_file(directory.join("vol_data.json")).unwrap();
}

/// Waits for the admin socket, which is served after those of kubelet.
async fn start(root: KubeletRoot) -> Running {
    let running = Running::start(root).await;
    let mut patience = 15_000;
    while matches!(
        answer(&running.config, Request::Volumes).await,
        Err(AskError::Absent { .. })
    ) && patience > 0
    {
        patience -= 1;
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    running
}

/// csi.md 10: how each volume is can be seen on the node, without its content.
#[test]
fn mount_volumes_are_shown_with_their_state_and_without_a_value() {
    in_mount_namespace(|root| async {
        let running = start(root).await;
        assert_eq!(volumes(&running.config).await, []);
        for uid in ["b", "a"] {
            running.publish(running.request(uid)).await.unwrap();
        }
        let shown = volumes(&running.config).await;
        let uids: Vec<_> = shown.iter().map(|one| one.name.pod_uid.as_str()).collect();
        assert_eq!(uids, ["a", "b"]);
        let one = &shown[0];
        let name = (&*one.name.namespace, &*one.name.pod, &*one.name.volume);
        assert_eq!(name, ("shop", "web-0", "v"));
        let target = running.root.target("a");
        assert_eq!(one.name.target, target.display().to_string());
        let link = std::fs::read_link(target.join("..data")).unwrap();
        assert_eq!(one.generation.as_deref(), link.to_str());
        assert_eq!((&*one.state, &*one.source), ("ok", "script"));
        assert_eq!(one.next_refresh_seconds, Some(60));
        assert_eq!(one.last_error, None);
        assert!(one.age_seconds.is_some_and(|age| age < 60), "{one:?}");
        assert!(one.bytes > 0);
        let json = serde_json::to_string(&shown).unwrap();
        assert!(!json.contains("canary"), "{json}");

        let stale = Update::Stale("down\nand out".to_owned(), Trigger::Interval);
        running.script.update(stale);
        let mut shown = volumes(&running.config).await;
        for _ in 0..15_000 {
            if shown.iter().all(|one| one.state == "stale") {
                break;
            }
            tokio::time::sleep(Duration::from_millis(2)).await;
            shown = volumes(&running.config).await;
        }
        assert_eq!(shown[1].last_error.as_deref(), Some("down and out"));
        running.stop().await;
    });
}

/// csi.md 3.2: root alone.
#[test]
fn mount_the_admin_socket_is_private() {
    in_mount_namespace(|root| async {
        let running = start(root).await;
        let metadata = std::fs::symlink_metadata(running.config.admin_socket()).unwrap();
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        running.stop().await;
    });
}

#[test]
fn mount_what_is_no_request_is_refused_within_bounds() {
    use std::io::{Read, Write};
    in_mount_namespace(|root| async {
        let running = start(root).await;
        let say = |text: Vec<u8>| {
            let socket = running.config.admin_socket();
            tokio::task::spawn_blocking(move || {
                let mut stream = std::os::unix::net::UnixStream::connect(socket).unwrap();
                // The far end may have closed already.
                let _ = stream.write_all(&text);
                let mut answer = String::new();
                let _ = stream.read_to_string(&mut answer);
                answer
            })
        };
        assert!(
            say(b"{\"ask\":\"reboot\"}\n".to_vec())
                .await
                .unwrap()
                .contains("refused")
        );
        // Longer than any request, and without an end: it is not waited for.
        let long = say(vec![b'x'; 64 * 1024]).await.unwrap();
        assert!(long.is_empty() || long.contains("refused"), "{long}");
        assert_eq!(volumes(&running.config).await, []);
        running.stop().await;
    });
}

/// csi.md 7.4: volumes of pods that are gone go, those of others only by force, and twice is as good as once.
#[test]
fn mount_a_running_agent_lets_go_of_volumes_that_kubelet_forgot() {
    in_mount_namespace(|root| async {
        let running = start(root).await;
        for uid in ["a", "b", "c"] {
            running.publish(running.request(uid)).await.unwrap();
        }
        forget(&running.root, "b");
        let releases = released(&running.config, ALL).await;
        let expected = [
            ("a", Outcome::Kept),
            ("b", Outcome::Released),
            ("c", Outcome::Kept),
        ];
        assert_eq!(outcomes(&releases), expected);
        assert!(releases[0].reason.as_deref().unwrap().contains("--force"));
        assert!(!running.root.target("b").exists());
        assert_eq!(our_mounts_of(&running.root, &["a", "b", "c"]), 2);
        assert_eq!(running.script.released(), 1);

        let releases = released(&running.config, ALL).await;
        assert_eq!(
            outcomes(&releases),
            [("a", Outcome::Kept), ("c", Outcome::Kept)]
        );
        let pod = |name: &str| Selection {
            pod: Some(PodName {
                namespace: "shop".to_owned(),
                name: name.to_owned(),
            }),
            force: true,
        };
        assert_eq!(released(&running.config, pod("web-1")).await, []);
        let releases = released(&running.config, pod("web-0")).await;
        let expected = [("a", Outcome::Released), ("c", Outcome::Released)];
        assert_eq!(outcomes(&releases), expected);
        assert_eq!(released(&running.config, FORCED).await, []);
        assert_eq!(volumes(&running.config).await, []);
        running.stop().await;
    });
}

/// csi.md 7.4 without an agent: state files and mounts tell what is there.
#[test]
fn mount_without_an_agent_the_disk_tells_what_to_release() {
    in_mount_namespace(|root| async {
        let running = start(root).await;
        let config = running.config.clone();
        for uid in ["a", "b", "c", "d"] {
            running.publish(running.request(uid)).await.unwrap();
        }
        let refused = offline::release(&config, &ALL).unwrap_err().to_string();
        assert!(refused.contains("an agent runs"), "{refused}");
        assert!(offline::unregister(&config).is_err());
        let root = running.stop().await;
        let socket = config.admin_socket();
        let absent = ask(&socket, &Request::Volumes, Duration::from_secs(1));
        assert!(matches!(absent, Err(AskError::Absent { .. })), "{absent:?}");

        // One is known by its mount alone, one by its state alone.
        let states = config.plugin_directory().join("volumes");
        std::fs::remove_file(state_of(&states, "b")).unwrap();
        rustix::mount::unmount(root.target("c"), UnmountFlags::DETACH).unwrap();
        for uid in ["b", "c"] {
            forget(&root, uid);
        }
        // Something else lies on top of the last one.
        forget(&root, "d");
        let top = root.target("d");
        rustix::mount::mount("other", &top, "tmpfs", MountFlags::empty(), None).unwrap();

        let mut releases = offline::release(&config, &ALL).unwrap();
        releases.sort_by(|one, other| one.name.pod_uid.cmp(&other.name.pod_uid));
        let expected = [
            ("a", Outcome::Kept),
            ("b", Outcome::Released),
            ("c", Outcome::Released),
            ("d", Outcome::Failed),
        ];
        assert_eq!(outcomes(&releases), expected, "{releases:?}");
        assert!(!root.target("b").exists() && !root.target("c").exists());
        rustix::mount::unmount(&top, UnmountFlags::DETACH).unwrap();

        let mut releases = offline::release(&config, &FORCED).unwrap();
        releases.sort_by(|one, other| one.name.pod_uid.cmp(&other.name.pod_uid));
        let expected = [("a", Outcome::Released), ("d", Outcome::Released)];
        assert_eq!(outcomes(&releases), expected, "{releases:?}");
        assert_eq!(offline::release(&config, &FORCED).unwrap(), []);
        assert_eq!(our_mounts(), 0);
        assert!(
            root.target("a").parent().unwrap().exists(),
            "it is kubelet's"
        );

        for _ in 0..2 {
            offline::unregister(&config).unwrap();
            assert!(!config.registration_socket().exists());
            assert!(!config.plugin_directory().exists());
        }
        assert_eq!(offline::release(&config, &ALL).unwrap(), []);
    });
}

#[test]
fn a_server_that_does_not_answer_is_not_waited_for_for_ever() {
    let directory = tempfile::tempdir().unwrap();
    let socket = directory.path().join("admin.sock");
    let _listener = std::os::unix::net::UnixListener::bind(&socket).unwrap();
    let late = ask(&socket, &Request::Volumes, Duration::from_millis(10));
    assert!(matches!(late, Err(AskError::Late { .. })), "{late:?}");
}

fn our_mounts_of(root: &KubeletRoot, uids: &[&str]) -> usize {
    let mounts = crate::mount::mountinfo::read().unwrap();
    let is_one = |uid: &&&str| {
        let target = root.target(uid).display().to_string();
        mounts.iter().any(|mount| mount.point == target)
    };
    uids.iter().filter(is_one).count()
}

/// The state file of the volume of a pod.
fn state_of(states: &std::path::Path, uid: &str) -> std::path::PathBuf {
    let is_of = |path: &std::path::PathBuf| {
        std::fs::read_to_string(path).is_ok_and(|text| text.contains(&format!("\"csi-{uid}\"")))
    };
    std::fs::read_dir(states)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(is_of)
        .unwrap()
}
