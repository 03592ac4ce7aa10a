use std::fs;
use std::os::fd::AsFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};
use std::path::Path;

use proptest::prelude::*;
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::{current_generation, is_intact, needs_sweep, read_digest, read_files, sweep, write};
use crate::backend::{File, FileSet};
use crate::layout::{Layout, Ownership};

/// The user who runs the test owns the files, so that it runs without root, too.
fn ownership(grouped: bool) -> Ownership {
    Ownership {
        uid: rustix::process::getuid().as_raw(),
        gid: rustix::process::getgid().as_raw(),
        grouped,
        default_mode: None,
    }
}

fn layout(files: &[(&str, &str)]) -> Layout {
    let file = |(path, content): &(&str, &str)| File {
        path: (*path).to_owned(),
        mode: None,
        content: (*content).to_owned().into(),
    };
    Layout::try_new(
        FileSet {
            files: files.iter().map(file).collect(),
            ..FileSet::default()
        },
        ownership(false),
        1 << 20,
    )
    .unwrap()
}

fn open(path: &Path) -> std::os::fd::OwnedFd {
    rustix::fs::open(path, OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
}

fn listing(path: &Path) -> Vec<String> {
    let mut names = fs::read_dir(path)
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .map(|name| {
            if name.starts_with("..2") {
                "..generation".to_owned()
            } else {
                name
            }
        })
        .collect::<Vec<_>>();
    names.sort();
    names
}

#[test]
fn a_volume_looks_as_applications_expect() {
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    let layout = layout(&[
        ("tls.crt", "cert"),
        ("conf/app.yaml", "a: 1"),
        ("conf/deep/x", ""),
        ("empty", ""),
    ]);
    let written = write(root.as_fd(), &layout).unwrap();
    assert!(!written.untidy);
    assert_eq!(
        listing(directory.path()),
        ["..data", "..generation", "conf", "empty", "tls.crt"]
    );
    assert_eq!(
        fs::read_link(directory.path().join("..data"))
            .unwrap()
            .to_str(),
        Some(written.generation.as_str())
    );
    assert_eq!(
        fs::read_link(directory.path().join("conf"))
            .unwrap()
            .to_str(),
        Some("..data/conf")
    );
    assert_eq!(
        fs::read_to_string(directory.path().join("tls.crt")).unwrap(),
        "cert"
    );
    assert_eq!(
        fs::read_to_string(directory.path().join("conf/app.yaml")).unwrap(),
        "a: 1"
    );
    assert_eq!(fs::read(directory.path().join("empty")).unwrap(), b"");
    let mode = |path: &str| {
        fs::metadata(directory.path().join(path))
            .unwrap()
            .permissions()
            .mode()
            & 0o7777
    };
    assert_eq!(mode("tls.crt"), 0o444);
    assert_eq!(mode("conf"), 0o555);
    assert_eq!(read_digest(root.as_fd()).unwrap(), Some(layout.digest()));
    assert!(is_intact(root.as_fd()));
    assert!(!needs_sweep(root.as_fd()).unwrap());
}

/// csi.md R10, R13: what somebody planted is neither followed nor waited for, and nothing beyond the limit is read.
#[test]
fn files_are_read_back_within_their_limit_and_through_no_planted_entry() {
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    let layout = layout(&[("a", "12345"), ("b/c", "678")]);
    let generation = write(root.as_fd(), &layout).unwrap().generation;
    let read = |limit| read_files(root.as_fd(), &generation, limit);
    let files = read(8).unwrap();
    let read_layout = |files| {
        let set = FileSet {
            files,
            ..FileSet::default()
        };
        Layout::try_new(set, ownership(false), 8).unwrap()
    };
    assert_eq!(read_layout(files).digest(), layout.digest());
    assert_eq!(read(7).unwrap_err().source, Errno::FBIG);
    assert_eq!(
        read_files(root.as_fd(), "..other", 8).unwrap_err().source,
        Errno::STALE
    );
    let planted = directory.path().join(&generation).join("b");
    fs::set_permissions(&planted, fs::Permissions::from_mode(0o755)).unwrap();
    let planted = planted.join("d");
    symlink("/etc/passwd", &planted).unwrap();
    assert_eq!(read(1 << 20).unwrap_err().source, Errno::LOOP);
    fs::remove_file(&planted).unwrap();
    let mode = Mode::from(0o600);
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, &planted, pipe, mode, 0).unwrap();
    assert_eq!(read(1 << 20).unwrap_err().source, Errno::INVAL);
}

#[test]
fn modes_are_as_asked_whatever_the_umask() {
    let directory = tempfile::tempdir().unwrap();
    let file = |path: &str, mode| File {
        path: path.to_owned(),
        mode,
        content: "x".to_owned().into(),
    };
    let files = vec![file("key", Some(0o600)), file("d/other", None)];
    let set = FileSet {
        files,
        ..FileSet::default()
    };
    let layout = Layout::try_new(set, ownership(true), 1 << 20).unwrap();
    write(open(directory.path()).as_fd(), &layout).unwrap();
    let mode = |path: &str| fs::metadata(directory.path().join(path)).unwrap().mode() & 0o7777;
    assert_eq!(mode("key"), 0o600);
    assert_eq!(mode("d/other"), 0o440);
    assert_eq!(mode("d"), 0o2550);
}

#[test]
fn a_rotation_keeps_the_previous_generation_until_the_sweep() {
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    let first = write(
        root.as_fd(),
        &layout(&[("a", "old-and-long"), ("gone", "x"), ("was-file", "x")]),
    )
    .unwrap();
    let second = write(
        root.as_fd(),
        &layout(&[("a", "new"), ("was-file/nested", "y")]),
    )
    .unwrap();
    assert!(second.untidy);
    assert_eq!(
        fs::read_to_string(directory.path().join("a")).unwrap(),
        "new"
    );
    assert_eq!(
        fs::read_to_string(directory.path().join("was-file/nested")).unwrap(),
        "y"
    );
    assert_eq!(
        fs::read_to_string(directory.path().join(&first.generation).join("a")).unwrap(),
        "old-and-long"
    );
    assert_eq!(
        listing(directory.path()),
        ["..data", "..generation", "..generation", "a", "was-file"]
    );
    sweep(root.as_fd()).unwrap();
    assert_eq!(
        listing(directory.path()),
        ["..data", "..generation", "a", "was-file"]
    );
}

/// csi.md 6.1 step 3: kubelet's own writer stays stuck for ever on such leftovers.
#[test]
fn leftovers_of_a_crash_do_not_stop_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    write(root.as_fd(), &layout(&[("a", "1")])).unwrap();
    symlink(
        "..2020_01_01_00_00_00.1",
        directory.path().join("..data_tmp"),
    )
    .unwrap();
    symlink(
        "..2020_01_01_00_00_00.1",
        directory.path().join("..data_tmp.abc"),
    )
    .unwrap();
    fs::create_dir_all(directory.path().join("..2020_01_01_00_00_00.1/nested/deep")).unwrap();
    fs::write(
        directory
            .path()
            .join("..2020_01_01_00_00_00.1/nested/deep/f"),
        "x",
    )
    .unwrap();
    assert!(needs_sweep(root.as_fd()).unwrap());
    write(root.as_fd(), &layout(&[("a", "2")])).unwrap();
    sweep(root.as_fd()).unwrap();
    assert_eq!(listing(directory.path()), ["..data", "..generation", "a"]);
    assert_eq!(fs::read_to_string(directory.path().join("a")).unwrap(), "2");
}

/// A crash between the rename and the links: the sweep finishes it.
#[test]
fn a_sweep_finishes_an_interrupted_write() {
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    write(root.as_fd(), &layout(&[("a", "1"), ("b", "2")])).unwrap();
    fs::remove_file(directory.path().join("b")).unwrap();
    symlink("..data/gone", directory.path().join("gone")).unwrap();
    assert!(needs_sweep(root.as_fd()).unwrap());
    sweep(root.as_fd()).unwrap();
    assert_eq!(
        listing(directory.path()),
        ["..data", "..generation", "a", "b"]
    );
    assert!(!needs_sweep(root.as_fd()).unwrap());
}

/// csi.md R10; CVE-2017-1002102: what a container planted must not lead the agent out of the volume.
#[test]
fn planted_links_are_not_followed() {
    let outside = tempfile::tempdir().unwrap();
    fs::create_dir(outside.path().join("victim")).unwrap();
    fs::write(outside.path().join("victim/file"), "precious").unwrap();
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    write(root.as_fd(), &layout(&[("a", "1")])).unwrap();
    symlink(
        outside.path().join("victim"),
        directory.path().join("..2020_planted"),
    )
    .unwrap();
    symlink(outside.path().join("victim"), directory.path().join("b")).unwrap();
    fs::remove_file(directory.path().join("..data")).unwrap();
    symlink(
        outside.path().join("victim"),
        directory.path().join("..data"),
    )
    .unwrap();
    assert_eq!(current_generation(root.as_fd()).unwrap(), None);
    assert_eq!(read_digest(root.as_fd()).unwrap(), None);
    assert!(!is_intact(root.as_fd()));
    write(root.as_fd(), &layout(&[("a", "2"), ("b", "3")])).unwrap();
    sweep(root.as_fd()).unwrap();
    assert_eq!(
        fs::read_to_string(outside.path().join("victim/file")).unwrap(),
        "precious"
    );
    assert_eq!(listing(outside.path()), ["victim"]);
    assert_eq!(fs::read_to_string(directory.path().join("b")).unwrap(), "3");
}

/// What a container with write access planted must not freeze its volume (csi.md 6.1): a tree too deep to remove, and files in
/// the place of links.
#[test]
fn what_is_planted_does_not_stop_a_rotation() {
    let directory = tempfile::tempdir().unwrap();
    let root = open(directory.path());
    write(root.as_fd(), &layout(&[("a", "1")])).unwrap();
    let deep = vec!["d"; 40].join("/");
    fs::create_dir_all(directory.path().join("..planted").join(deep)).unwrap();
    fs::create_dir_all(directory.path().join("b/full")).unwrap();
    fs::write(directory.path().join("c"), "planted").unwrap();
    let written = write(
        root.as_fd(),
        &layout(&[("a", "2"), ("b", "3"), ("c", "4"), ("z", "5")]),
    )
    .unwrap();
    assert!(written.untidy);
    for (name, content) in [("a", "2"), ("b", "3"), ("c", "4"), ("z", "5")] {
        let shown = fs::read_to_string(directory.path().join(name)).unwrap();
        assert_eq!(shown, content, "{name}");
    }
    assert!(sweep(root.as_fd()).is_err(), "the sweep says what is left");
}

#[test]
fn a_generation_that_is_a_link_is_not_read() {
    let outside = tempfile::tempdir().unwrap();
    let directory = tempfile::tempdir().unwrap();
    symlink(outside.path(), directory.path().join("..planted")).unwrap();
    symlink("..planted", directory.path().join("..data")).unwrap();
    let root = open(directory.path());
    assert!(!is_intact(root.as_fd()));
    assert!(read_digest(root.as_fd()).is_err());
}

fn any_files() -> impl Strategy<Value = Vec<(String, String)>> {
    proptest::collection::btree_map("[abc](/[ab]){0,2}", "[xy]{0,3}", 0..6)
        .prop_map(|map| map.into_iter().collect())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 64, ..ProptestConfig::default() })]

    /// After any sequence of rotations the volume shows exactly the last legal set.
    #[test]
    fn rotations_converge_to_the_last_set(sets in proptest::collection::vec(any_files(), 1..5)) {
        let directory = tempfile::tempdir().unwrap();
        let root = open(directory.path());
        for files in sets {
            let file = |(path, content): &(String, String)| File { path: path.clone(), mode: None, content: content.clone().into() };
            let set = FileSet { files: files.iter().map(file).collect(), ..FileSet::default() };
            let Ok(layout) = Layout::try_new(set, ownership(false), 1 << 20) else { continue };
            write(root.as_fd(), &layout).unwrap();
            prop_assert_eq!(read_digest(root.as_fd()).unwrap(), Some(layout.digest()));
            for (path, content) in &files {
                prop_assert_eq!(&fs::read_to_string(directory.path().join(path)).unwrap(), content);
            }
            sweep(root.as_fd()).unwrap();
            prop_assert!(!needs_sweep(root.as_fd()).unwrap());
        }
    }
}
