//! csi-peers.md 4: writers with privileges that were led out of their volume.

use std::collections::BTreeMap;
use std::os::fd::AsFd;
use std::os::unix::fs::symlink;
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{Mode, OFlags};
use rustix::mount::MountFlags;

use crate::backend::{File, FileSet, Trigger, Update};
use crate::layout::{Layout, Ownership, writer};
use crate::testing::{files, in_mount_namespace, until};
use crate::volumes::Published;
use crate::volumes::bench::{Bench, our_mounts};

/// Every entry below `directory`, with the content of files and the destination of links.
fn everything(directory: &Path) -> BTreeMap<String, String> {
    let mut found = BTreeMap::new();
    let mut left = vec![directory.to_owned()];
    while let Some(path) = left.pop() {
        let shown = path.display().to_string();
        let metadata = path.symlink_metadata().unwrap();
        let content = if metadata.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            left.extend(entries.map(|entry| entry.unwrap().path()));
            String::new()
        } else if metadata.is_symlink() {
            path.read_link().unwrap().display().to_string()
        } else {
            std::fs::read_to_string(&path).unwrap()
        };
        found.insert(shown, content);
    }
    found
}

/// Names as an attacker chooses them: the tricks of the corpus, and any mixture of their pieces.
fn hostile() -> impl Strategy<Value = String> {
    let tricks = prop_oneof![
        Just("../../../etc/cron.d/x".to_owned()),
        Just("/etc/shadow".to_owned()),
        Just("a/../../b".to_owned()),
        Just("..data/x".to_owned()),
        Just("link/x".to_owned()),
        Just("link".to_owned()),
        Just("a\0b".to_owned()),
        Just("x".repeat(300)),
        Just(vec!["d"; 40].join("/")),
    ];
    prop_oneof![tricks, "(\\.\\.|\\.|/|a|b|link|..data|\\\\|~|%2e){0,8}"]
}

fn ownership() -> Ownership {
    Ownership {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        ..Ownership::of_group(None)
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, ..ProptestConfig::default() })]

    /// CVE-2020-8567: no name of a key makes the writer touch anything outside the volume, whatever lies in the volume.
    #[test]
    fn cve_2020_8567_no_name_leads_out_of_the_volume(names in proptest::collection::vec(hostile(), 1..4)) {
        let world = tempfile::tempdir().unwrap();
        let outside = world.path().join("outside");
        std::fs::create_dir_all(outside.join("deep")).unwrap();
        std::fs::write(outside.join("deep/precious"), "precious").unwrap();
        let volume = world.path().join("volume");
        std::fs::create_dir(&volume).unwrap();
        // Planted by a container that could write.
        symlink(&outside, volume.join("link")).unwrap();
        symlink(&outside, volume.join("a")).unwrap();
        let before = everything(&outside);
        let root = rustix::fs::open(&volume, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap();
        for chosen in names.iter().map(std::slice::from_ref).chain([&names[..]]) {
            let set = chosen.iter().map(|name| File { path: name.clone(), mode: None, content: "evil".to_owned().into() });
            let set = FileSet { files: set.collect(), ..FileSet::default() };
            let Ok(layout) = Layout::try_new(set, ownership(), 1 << 20) else { continue };
            writer::write(root.as_fd(), &layout).unwrap();
            writer::sweep(root.as_fd()).unwrap();
        }
        prop_assert_eq!(everything(&outside), before);
        let entries = std::fs::read_dir(world.path()).unwrap().count();
        prop_assert_eq!(entries, 2);
    }
}

/// CVE-2020-8568: a path is never taken from a file that somebody could have written. A tampered state is put aside, and nothing
/// at the place that it names is looked at.
#[test]
fn cve_2020_8568_a_tampered_state_file_is_refused() {
    in_mount_namespace(|root| async move {
        let mut bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let victim = bench.root.path().join("victim");
        std::fs::create_dir(&victim).unwrap();
        let other = bench.root.target("other").display().to_string();
        bench.root.make_volume_directory("other");
        let directory = bench.config.plugin_directory().join("volumes");
        let file = std::fs::read_dir(&directory).unwrap().next().unwrap();
        let file = file.unwrap().path();
        let text = std::fs::read_to_string(&file).unwrap();
        let honest = bench.root.target("u").display().to_string();
        for path in [victim.display().to_string(), other, "../../etc".to_owned()] {
            std::fs::write(&file, text.replace(&honest, &path)).unwrap();
            bench.restart().await;
            assert!(file.with_extension("bad").exists());
            bench.script.update(Update::Content(
                files(&[("tls.crt", "evil")]),
                Trigger::Interval,
            ));
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
            assert_eq!(std::fs::read_dir(&victim).unwrap().count(), 0);
            assert!(!bench.root.target("other").exists());
            assert_eq!(bench.read("u", "tls.crt"), "cert-1");
        }
        assert_eq!(bench.publish("u").await, Ok(Published::Again));
        assert_eq!(our_mounts(), 1);
    });
}

/// CVE-2017-1002102: a container that can write plants links where the agent writes and removes; nothing outside changes, and the
/// volume shows what it should.
#[test]
fn cve_2017_1002102_links_of_a_container_are_not_followed() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        bench.publish("u").await.unwrap();
        let outside = tempfile::tempdir().unwrap();
        std::fs::create_dir(outside.path().join("deep")).unwrap();
        std::fs::write(outside.path().join("deep/precious"), "precious").unwrap();
        let before = everything(outside.path());
        let volume = bench.root.target("u");
        // A privileged container remounts its volume.
        rustix::mount::mount_remount(&volume, MountFlags::BIND, "").unwrap();
        for name in ["new", "..2020_01_01_00_00_00.1", "..data_tmp", "nested"] {
            symlink(outside.path().join("deep"), volume.join(name)).unwrap();
        }
        let generation = volume.join(std::fs::read_link(volume.join("..data")).unwrap());
        std::fs::remove_dir_all(&generation).unwrap();
        symlink(outside.path().join("deep"), &generation).unwrap();
        bench.script.update(Update::Content(
            files(&[("new", "1"), ("nested/precious", "2")]),
            Trigger::Interval,
        ));
        until("the rotation", || {
            std::fs::read_to_string(volume.join("new")).is_ok_and(|shown| shown == "1")
                && std::fs::read_to_string(volume.join("nested/precious"))
                    .is_ok_and(|shown| shown == "2")
        })
        .await;
        until("the sweep", || generation.symlink_metadata().is_err()).await;
        assert_eq!(everything(outside.path()), before);
    });
}
