//! What is refused: foreign targets, content out of bounds, nodes that swap; and what SELinux makes of a mount.

use std::path::Path;

use rustix::mount::MountFlags;

use crate::backend::FailureClass;
use crate::config::{CONTAINER_FILE_LABEL, Selinux};
use crate::error::{NodeError, is_final};
use crate::layout::Ownership;
use crate::layout::writer;
use crate::mount::{Mounter, TmpfsOptions, mountinfo};
use crate::plugin::Swap;
use crate::target::Roots;
use crate::testing::{failure, files, in_mount_namespace};
use crate::volumes::bench::{Bench, our_mounts};
use crate::volumes::disk::{DiskError, Labels};

/// A publish on what `make` put at the target fails with `expected`, fetches nothing and changes nothing.
async fn assert_refused(bench: &Bench, expected: NodeError, make: impl FnOnce(&Path)) {
    bench.root.make_volume_directory("u");
    make(&bench.root.target("u"));
    let before = mountinfo::read().unwrap();
    assert_eq!(expected.code(), tonic::Code::FailedPrecondition);
    assert_eq!(bench.publish("u").await, Err(expected));
    assert_eq!(mountinfo::read().unwrap(), before);
    assert_eq!(bench.script.firsts(), 0);
    assert!(bench.root.target("u").symlink_metadata().is_ok());
}

#[test]
fn target_is_symlink() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        let outside = tempfile::tempdir().unwrap();
        std::fs::write(outside.path().join("precious"), "x").unwrap();
        assert_refused(&bench, NodeError::Occupied("a symbolic link"), |target| {
            std::os::unix::fs::symlink(outside.path(), target).unwrap();
        })
        .await;
        assert!(bench.unpublish("u").await.is_err());
        assert!(outside.path().join("precious").exists());
        assert!(bench.root.target("u").is_symlink());
    });
}

#[test]
fn target_is_file() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        assert_refused(&bench, NodeError::Occupied("a file"), |target| {
            std::fs::write(target, "x").unwrap();
        })
        .await;
        let error = bench.unpublish("u").await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Internal);
        assert!(bench.root.target("u").is_file());
    });
}

#[test]
fn target_is_non_empty_dir() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        let full = NodeError::Occupied("a directory with files in it");
        assert_refused(&bench, full, |target| {
            std::fs::create_dir_all(target.join("one")).unwrap();
            std::fs::write(target.join("two"), "x").unwrap();
        })
        .await;
        let error = bench.unpublish("u").await.unwrap_err();
        assert!(error.to_string().contains("2 entries"), "{error}");
        assert!(bench.root.target("u").join("two").exists());
    });
}

#[test]
fn target_is_foreign_mount() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        assert_refused(&bench, NodeError::Foreign, |target| {
            std::fs::create_dir(target).unwrap();
            rustix::mount::mount("other", target, "proc", MountFlags::empty(), None).unwrap();
        })
        .await;
        let error = bench.unpublish("u").await.unwrap_err();
        assert_eq!(error.code(), tonic::Code::Internal);
        assert!(bench.root.target("u").join("self").exists());
    });
}

/// csi.md 1.4: a tmpfs that is not ours is refused at a publish, and an unpublish takes all of them away.
#[test]
fn target_is_stacked_tmpfs_x3() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        assert_refused(&bench, NodeError::Foreign, |target| {
            std::fs::create_dir(target).unwrap();
            for _ in 0..3 {
                rustix::mount::mount("other", target, "tmpfs", MountFlags::empty(), None).unwrap();
            }
        })
        .await;
        bench.unpublish("u").await.unwrap();
        bench.assert_nothing_left("u");
        let pods = bench.root.path().join("pods").display().to_string();
        let mounts = mountinfo::read().unwrap();
        assert!(!mounts.iter().any(|mount| mount.point.starts_with(&pods)));
    });
}

/// R2: after a final code kubelet never calls Unpublish.
#[test]
fn final_error_leaves_no_mount_mountinfo_diff() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        let before = mountinfo::read().unwrap();
        let classes = [
            (FailureClass::Unavailable, false),
            (FailureClass::DeadlineExceeded, false),
            (FailureClass::NotFound, true),
            (FailureClass::FailedPrecondition, true),
            (FailureClass::PermissionDenied, true),
            (FailureClass::Unauthenticated, true),
        ];
        for (class, last) in classes {
            bench.script.answer(Err(failure(class)));
            let error = bench.publish("u").await.unwrap_err();
            assert_eq!(is_final(error.code()), last, "{class:?}");
            assert_eq!(mountinfo::read().unwrap(), before, "{class:?}");
            bench.assert_nothing_left("u");
        }
        for bad in ["../escape", "/etc/passwd", "a//b", "..data"] {
            bench.script.answer(Ok(files(&[("good", "1"), (bad, "2")])));
            let error = bench.publish("u").await.unwrap_err();
            assert_eq!(error.code(), tonic::Code::FailedPrecondition);
            assert_eq!(mountinfo::read().unwrap(), before, "{bad}");
            bench.assert_nothing_left("u");
        }
        // The state cannot be saved: the volume is built by then, and must go.
        let states = bench.config.plugin_directory().join("volumes");
        std::fs::remove_dir(&states).unwrap();
        std::fs::write(&states, "in the way").unwrap();
        bench.script.answer(Ok(files(&[("a", "1")])));
        let error = bench.publish("u").await.unwrap_err();
        // The state file that cannot exist cannot be removed either: kubelet shall unpublish.
        assert_eq!((error.code(), our_mounts()), (tonic::Code::Aborted, 0));
        std::fs::remove_file(&states).unwrap();
        bench.unpublish("u").await.unwrap();
        assert_eq!(mountinfo::read().unwrap(), before);
    });
}

/// csi.md 5.2: the option is used where the kernel has it; where not, swap decides, and the settings may refuse.
#[test]
fn noswap_refused() {
    let table = [
        ((true, false, false), Swap::Kept),
        ((true, true, true), Swap::Kept),
        ((false, false, true), Swap::Kept),
        ((false, true, false), Swap::Exposed),
        ((false, true, true), Swap::Refused),
    ];
    for ((noswap, on, required), expected) in table {
        assert_eq!(Swap::of(noswap, on, required), expected);
    }
    in_mount_namespace(|root| async move {
        root.make_volume_directory("u");
        let roots = Roots::open(&root.path().join("pods"), None).unwrap();
        let target = roots.parse(root.target("u").to_str().unwrap()).unwrap();
        let parent = roots.open_parent(&target).unwrap().unwrap();
        let plugin = root.path().join("plugins");
        for accepted in [true, false] {
            let mut mounter = Mounter::start(&plugin).unwrap();
            if accepted && !mounter.noswap() {
                continue;
            }
            if !accepted {
                mounter = mounter.without_noswap();
            }
            let options = TmpfsOptions {
                size: 64 * 1024,
                inodes: 64,
                context: None,
                read_only: true,
            };
            let built = mounter
                .build(&options, |volume| {
                    Ok::<_, DiskError>(writer::prepare_root(volume, Ownership::of_group(None))?)
                })
                .unwrap();
            mounter.attach(built, &parent).unwrap();
            let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo").unwrap();
            let point = format!(" {} ", target.path());
            let line = mounts.lines().find(|line| line.contains(&point)).unwrap();
            assert_eq!(line.contains("noswap"), accepted, "{line}");
            assert!(
                line.contains("size=64k") && line.contains("nr_inodes=64"),
                "{line}"
            );
            assert!(mounter.unmount_one(&parent, false).unwrap());
            mounter.stop();
        }
    });
}

/// FAILED_PRECONDITION, because trying again does not help (csi.md 1.6), and nothing is left.
#[test]
fn size_exceeded() {
    in_mount_namespace(|root| async move {
        let bench = Bench::new(root);
        let most = "x".repeat(1 << 20);
        bench.script.answer(Ok(files(&[("big", &most)])));
        bench.publish("u").await.unwrap();
        assert_eq!(bench.read("u", "big").len(), 1 << 20);
        bench.unpublish("u").await.unwrap();
        let names = (0..1025).map(|index| index.to_string()).collect::<Vec<_>>();
        let many = names
            .iter()
            .map(|name| (name.as_str(), ""))
            .collect::<Vec<_>>();
        let more = format!("{most}y");
        for content in [
            &[("big", more.as_str())][..],
            &[("big", most.as_str()), ("one", "y")],
            &many,
        ] {
            bench.script.answer(Ok(files(content)));
            let error = bench.publish("u").await.unwrap_err();
            assert_eq!(error.code(), tonic::Code::FailedPrecondition);
            bench.assert_nothing_left("u");
        }
    });
}

/// csi.md 5.4. The flags themselves are parsed in `publish`; here is what becomes of them.
#[test]
fn selinux_option_parsing() {
    let label = || Some("u:r:t:s0:c1,c2".to_owned());
    let default = || Selinux::Context(CONTAINER_FILE_LABEL.to_owned());
    let requested = Some("u:r:t:s0:c1,c2");
    let table = [
        // Without SELinux the kernel refuses the option.
        (default(), false, None, (None, true)),
        (Selinux::Relabel, false, requested, (None, true)),
        (
            default(),
            true,
            None,
            (Some(CONTAINER_FILE_LABEL.to_owned()), true),
        ),
        (default(), true, requested, (label(), true)),
        // The runtime relabels the files: the mount must be writable.
        (Selinux::Relabel, true, None, (None, false)),
        (Selinux::Relabel, true, requested, (label(), true)),
        (Selinux::Off, true, None, (None, true)),
    ];
    for (setting, present, requested, expected) in table {
        let found = Labels::of(&setting, present).of_mount(requested);
        assert_eq!(found, expected, "{setting:?} {present} {requested:?}");
    }
    in_mount_namespace(|root| async move {
        // A kernel without SELinux refuses the label of a request nowhere: it is not passed on.
        let bench = Bench::new(root);
        let mut checked = bench.checked("u");
        checked.context = Some("u:r:t:s0".to_owned());
        let published = bench
            .volumes
            .publish(checked, (), crate::volumes::bench::soon(10))
            .await;
        published.unwrap();
    });
}
