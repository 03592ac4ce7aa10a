use std::os::fd::{AsFd, OwnedFd};
use std::path::Path;
use std::time::Duration;

use rustix::fs::{Mode, OFlags};

use super::{Api, Mounter, Occupant, TmpfsOptions, inspect, mountinfo};
use crate::layout::writer;
use crate::layout::{Layout, Ownership};
use crate::mount::MountError;
use crate::target::{Parent, Roots};
use crate::testing::{KubeletRoot, files, in_mount_namespace};
use crate::volumes::disk::DiskError;

fn options() -> TmpfsOptions {
    TmpfsOptions {
        size: 64 * 1024,
        inodes: 64,
        context: None,
        read_only: true,
    }
}

fn parent(root: &KubeletRoot) -> Parent {
    root.make_volume_directory("u");
    let roots = Roots::open(&root.path().join("pods"), None).unwrap();
    let target = roots.parse(root.target("u").to_str().unwrap()).unwrap();
    roots.open_parent(&target).unwrap().unwrap()
}

fn layout(content: &[(&str, &str)], gid: Option<u32>) -> Layout {
    Layout::try_new(files(content), Ownership::of_group(gid), 1 << 20).unwrap()
}

fn options_of(point: &Path) -> String {
    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
    let point = format!(" {} ", point.display());
    mounts
        .lines()
        .rfind(|line| line.contains(&point))
        .unwrap()
        .to_owned()
}

/// Both system call families end in the same mount: ours, read-only, guarded, propagated, and writable for the agent alone.
#[test]
fn mount_both_apis_build_attach_write_and_detach() {
    in_mount_namespace(|root| async move {
        let plugin = root.path().join("plugins");
        let mounter = Mounter::start(&plugin).unwrap();
        assert_eq!(mounter.api(), Api::Descriptors);
        let noswap = mounter.noswap();
        for api in [Api::Descriptors, Api::Paths] {
            let mounter = Mounter::start(&plugin).unwrap().with_api(api);
            assert_eq!(mounter.noswap(), noswap);
            let parent = parent(&root);
            assert_eq!(inspect(&parent, None).unwrap(), Occupant::Missing);
            let built = mounter
                .build(&options(), |volume| {
                    writer::prepare_root(volume, Ownership::of_group(Some(1234)))?;
                    writer::write(volume, &layout(&[("a", "1")], Some(1234)))?;
                    Ok::<_, DiskError>(())
                })
                .unwrap();
            assert_eq!(
                inspect(&parent, None).unwrap(),
                Occupant::Missing,
                "{api:?}"
            );
            let id = mounter.attach(built, &parent).unwrap();
            let target = root.target("u");
            let found = inspect(&parent, None).unwrap();
            assert_eq!(found, Occupant::Mount { id, ours: true }, "{api:?}");
            assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "1");
            let line = options_of(&target);
            for option in [" ro,nosuid,nodev,noexec", "shared:", "tmpfs latchkey"] {
                assert!(
                    line.contains(option),
                    "{api:?}: {option} is missing in {line}"
                );
            }
            assert!(std::fs::write(target.join("x"), "").is_err());
            let metadata = std::fs::metadata(target.join("a")).unwrap();
            use std::os::unix::fs::MetadataExt;
            assert_eq!(
                (metadata.uid(), metadata.gid(), metadata.mode() & 0o7777),
                (0, 1234, 0o440)
            );
            assert_eq!(std::fs::metadata(&target).unwrap().mode() & 0o7777, 0o2750);

            let big = "x".repeat(200_000);
            let next = layout(&[("a", &big), ("b", "2")], Some(1234));
            let room = Some((next.tmpfs_size(), next.tmpfs_inodes()));
            mounter
                .write(&parent, room, |volume| {
                    Ok::<_, DiskError>(writer::write(volume, &next)?)
                })
                .unwrap();
            assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), big);
            assert!(std::fs::write(target.join("x"), "").is_err(), "{api:?}");
            mounter
                .write(&parent, None, |volume| {
                    Ok::<_, DiskError>(writer::sweep(volume)?)
                })
                .unwrap();
            let digest = writer::read_digest(mounter.open(&parent).unwrap().as_fd()).unwrap();
            assert_eq!(digest, Some(next.digest()));

            assert!(mounter.unmount_one(&parent, false).unwrap());
            assert!(!mounter.unmount_one(&parent, false).unwrap());
            std::fs::remove_dir(&target).unwrap();
            let staged = std::fs::read_dir(plugin.join("staging")).unwrap().count();
            assert_eq!(staged, 0, "{api:?}: staging slots are left");
            mounter.stop();
        }
        mounter.stop();
        let left = mountinfo::read().unwrap();
        assert!(!left.iter().any(super::is_ours));
    });
}

/// A crash before the attach leaves nothing: dropping is what the kernel does then.
#[test]
fn mount_a_failed_fill_leaves_nothing() {
    in_mount_namespace(|root| async move {
        let mounter = Mounter::start(&root.path().join("plugins")).unwrap();
        for api in [Api::Descriptors, Api::Paths] {
            let mounter = Mounter::start(&root.path().join("plugins"))
                .unwrap()
                .with_api(api);
            let failed = mounter.build(&options(), |_| {
                Err::<(), _>(MountError {
                    step: "fill",
                    source: rustix::io::Errno::IO,
                })
            });
            assert!(failed.is_err());
            assert!(!mountinfo::read().unwrap().iter().any(super::is_ours));
            mounter.stop();
        }
        mounter.stop();
    });
}

/// A process that somebody starts in between has our open files for a moment: read-only is waited for, not given up.
#[test]
fn mount_a_file_that_is_still_open_for_writing_elsewhere_is_waited_for() {
    in_mount_namespace(|root| async move {
        let plugin = root.path().join("plugins");
        for api in [Api::Descriptors, Api::Paths] {
            let mounter = Mounter::start(&plugin).unwrap().with_api(api);
            let (hand_over, file) = std::sync::mpsc::channel();
            let elsewhere = std::thread::spawn(move || {
                let file: OwnedFd = file.recv().unwrap();
                std::thread::park_timeout(Duration::from_millis(20));
                drop(file);
            });
            let built = mounter.build(&options(), |volume| {
                let flags = OFlags::CREATE | OFlags::WRONLY | OFlags::CLOEXEC;
                let file = rustix::fs::openat(volume, "a", flags, Mode::RUSR).unwrap();
                hand_over.send(file).unwrap();
                Ok::<_, MountError>(())
            });
            built.unwrap();
            elsewhere.join().unwrap();
        }
    });
}

#[test]
fn mount_a_restart_clears_the_staging_of_a_killed_process() {
    in_mount_namespace(|root| async move {
        let plugin = root.path().join("plugins");
        let mounter = Mounter::start(&plugin).unwrap();
        let built = mounter
            .build(&options(), |_| Ok::<_, MountError>(()))
            .unwrap();
        // As a killed process would: the staged mount stays.
        std::mem::forget(built);
        assert!(mountinfo::read().unwrap().iter().any(super::is_ours));
        let again = Mounter::start(&plugin).unwrap();
        assert!(!mountinfo::read().unwrap().iter().any(super::is_ours));
        again.stop();
        let staging = plugin.join("staging");
        assert!(
            !mountinfo::read()
                .unwrap()
                .iter()
                .any(|mount| Path::new(&mount.point) == staging)
        );
    });
}

#[test]
fn mount_foreign_file_systems_are_not_unmounted() {
    in_mount_namespace(|root| async move {
        let mounter = Mounter::start(&root.path().join("plugins")).unwrap();
        let parent = parent(&root);
        let target = root.target("u");
        std::fs::create_dir(&target).unwrap();
        rustix::mount::mount_bind("/proc", &target).unwrap();
        let found = inspect(&parent, None).unwrap();
        assert!(
            matches!(found, Occupant::Mount { ours: false, .. }),
            "{found:?}"
        );
        assert!(mounter.unmount_one(&parent, false).is_err());
        assert!(target.join("self").exists());
        rustix::mount::unmount(&target, rustix::mount::UnmountFlags::DETACH).unwrap();
        mounter.stop();
    });
}

/// The agent's container is another mount namespace than kubelet's: attach, content, flags and unmount must reach kubelet's, and
/// what is staged must not (csi.md R9, 5.1, 7.2).
#[test]
fn mount_what_is_attached_reaches_the_host_read_only_and_what_is_staged_does_not() {
    in_mount_namespace(|root| async move {
        let target = root.target("u");
        let plugin = root.path().join("plugins");
        for api in [Api::Descriptors, Api::Paths] {
            let parent_path = root.path().join("pods");
            root.make_volume_directory("u");
            let (plugin, path) = (plugin.clone(), target.to_str().unwrap().to_owned());
            let (attached, wait_attached) = std::sync::mpsc::channel::<()>();
            let (go_on, wait_go_on) = std::sync::mpsc::channel::<()>();
            let agent = std::thread::spawn(move || {
                nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
                let mounter = Mounter::start(&plugin).unwrap().with_api(api);
                let roots = Roots::open(&parent_path, None).unwrap();
                let parent = roots
                    .open_parent(&roots.parse(&path).unwrap())
                    .unwrap()
                    .unwrap();
                let write = |content: &str| layout(&[("a", content)], None);
                let built = mounter
                    .build(&options(), |volume| {
                        writer::write(volume, &write("1"))?;
                        Ok::<_, DiskError>(())
                    })
                    .unwrap();
                mounter.attach(built, &parent).unwrap();
                attached.send(()).unwrap();
                wait_go_on.recv().unwrap();
                mounter
                    .write(&parent, None, |volume| {
                        attached.send(()).unwrap();
                        wait_go_on.recv().unwrap();
                        Ok::<_, DiskError>(writer::write(volume, &write("2"))?)
                    })
                    .unwrap();
                attached.send(()).unwrap();
                wait_go_on.recv().unwrap();
                assert!(mounter.unmount_one(&parent, false).unwrap());
                mounter.stop();
            });
            wait_attached.recv().unwrap();
            assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "1");
            let line = options_of(&target);
            assert!(line.contains(" ro,nosuid,nodev,noexec"), "{api:?}: {line}");
            assert!(std::fs::write(target.join("x"), "").is_err(), "{api:?}");
            go_on.send(()).unwrap();
            wait_attached.recv().unwrap();
            let ours = mountinfo::read()
                .unwrap()
                .iter()
                .filter(|mount| super::is_ours(mount))
                .count();
            assert_eq!(
                ours, 1,
                "{api:?}: the writable clone is visible on the host"
            );
            go_on.send(()).unwrap();
            wait_attached.recv().unwrap();
            assert_eq!(std::fs::read_to_string(target.join("a")).unwrap(), "2");
            assert!(std::fs::write(target.join("x"), "").is_err(), "{api:?}");
            go_on.send(()).unwrap();
            agent.join().unwrap();
            let left = mountinfo::read().unwrap();
            assert!(
                !left
                    .iter()
                    .any(|mount| mount.source.starts_with(super::SOURCE)),
                "{left:?}"
            );
            std::fs::remove_dir(&target).unwrap();
        }
    });
}
