use std::fs::Permissions;
use std::os::unix::fs::PermissionsExt as _;

use super::*;
use crate::backend::File;

fn files(pairs: &[(&str, &str)]) -> FileSet {
    let file = |(path, content): &(&str, &str)| File {
        path: (*path).to_owned(),
        mode: None,
        content: (*content).to_owned().into(),
    };
    FileSet {
        files: pairs.iter().map(file).collect(),
        ..FileSet::default()
    }
}

fn access() -> Access {
    Access {
        uid: rustix::process::geteuid().as_raw(),
        gid: rustix::process::getegid().as_raw(),
        default_mode: 0o400,
        is_open: false,
        limit: 1 << 20,
    }
}

fn place() -> (tempfile::TempDir, Directory) {
    let parent = tempfile::tempdir().unwrap();
    let directory = Directory::new(parent.path().join("shown"), None);
    (parent, directory)
}

fn mode(path: &Path) -> u32 {
    std::fs::metadata(path).unwrap().mode() & 0o7777
}

#[test]
fn files_appear_with_their_modes_and_only_changes_are_written() {
    let (_parent, directory) = place();
    let set = files(&[("user", "u"), ("conf/password", "p")]);
    let shown = directory.show(set.clone(), access()).unwrap();
    assert!(shown.changed);
    let path = directory.path();
    assert_eq!(std::fs::read(path.join("conf/password")).unwrap(), b"p");
    assert_eq!(mode(&path.join("user")), 0o400);
    assert_eq!((mode(path), mode(&path.join("conf"))), (0o2750, 0o2550));

    let before = std::fs::metadata(path).unwrap();
    let again = directory.show(set.clone(), access()).unwrap();
    assert_eq!(again, Shown::default());
    let after = std::fs::metadata(path).unwrap();
    assert_eq!(
        (before.ctime(), before.ctime_nsec()),
        (after.ctime(), after.ctime_nsec())
    );

    let open = Access {
        is_open: true,
        default_mode: 0o444,
        ..access()
    };
    let shown = directory.show(set, open).unwrap();
    assert!(shown.changed && shown.untidy);
    assert_eq!(
        (
            mode(path),
            mode(&path.join("conf")),
            mode(&path.join("user"))
        ),
        (0o755, 0o555, 0o444)
    );
    directory.sweep().unwrap();
    let generations = std::fs::read_dir(path).unwrap().filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().starts_with("..") && name != "..data"
    });
    assert_eq!(generations.count(), 1);
    assert!(directory.is_intact());
}

/// The writer replaces what is in its way, so it must not be let loose on a directory that is somebody's.
#[test]
fn a_directory_with_other_things_in_it_is_refused_and_not_touched() {
    let (_parent, directory) = place();
    std::fs::create_dir(directory.path()).unwrap();
    std::fs::write(directory.path().join("mine"), "content").unwrap();
    let error = directory
        .show(files(&[("mine", "other")]), access())
        .unwrap_err();
    assert!(error.to_string().contains("\"mine\""), "{error}");
    assert_eq!(
        std::fs::read(directory.path().join("mine")).unwrap(),
        b"content"
    );
    assert!(directory.sweep().is_err());
}

#[test]
fn places_that_others_could_replace_are_refused() {
    let (parent, directory) = place();
    std::fs::set_permissions(parent.path(), Permissions::from_mode(0o777)).unwrap();
    let error = directory.show(files(&[("a", "1")]), access()).unwrap_err();
    assert!(
        error.to_string().contains("written by everybody"),
        "{error}"
    );
    std::fs::set_permissions(parent.path(), Permissions::from_mode(0o1777)).unwrap();
    directory.show(files(&[("a", "1")]), access()).unwrap();

    let link = parent.path().join("link");
    std::os::unix::fs::symlink(directory.path(), &link).unwrap();
    let through = Directory::new(link, None);
    assert!(through.show(files(&[("a", "2")]), access()).is_err());
    assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"1");
}

#[test]
fn what_breaks_a_bound_leaves_the_old_content() {
    let (_parent, directory) = place();
    directory.show(files(&[("a", "1")]), access()).unwrap();
    let small = Access {
        limit: 2,
        ..access()
    };
    let error = directory.show(files(&[("a", "123")]), small).unwrap_err();
    assert!(matches!(error, DirectoryError::Layout(_)), "{error}");
    assert_eq!(std::fs::read(directory.path().join("a")).unwrap(), b"1");
}

#[test]
fn mount_an_own_tmpfs_is_mounted_once_and_taken_over() {
    crate::testing::with_mount_namespace(|_| {
        let (parent, _) = place();
        let directory = Directory::new(parent.path().to_owned(), Some(1 << 20));
        directory.prepare().unwrap();
        assert!(
            directory
                .show(files(&[("a", "1")]), access())
                .unwrap()
                .changed
        );
        let again = Directory::new(parent.path().to_owned(), Some(1 << 20));
        assert!(!again.show(files(&[("a", "1")]), access()).unwrap().changed);
        assert!(is_in_memory(parent.path()));
        let mounts = mountinfo::read().unwrap();
        let at_path = |mount: &&mountinfo::MountInfo| Path::new(&mount.point) == parent.path();
        assert_eq!(mounts.iter().filter(at_path).count(), 1);
        rustix::mount::unmount(parent.path(), rustix::mount::UnmountFlags::DETACH).unwrap();
        assert!(!directory.is_intact());

        // A tmpfs would hide what is there.
        std::fs::write(parent.path().join("mine"), "content").unwrap();
        let error = directory.prepare().unwrap_err();
        assert!(error.to_string().contains("would hide"), "{error}");
    });
}
