//! Removal of the cgroups that containers leave behind.

use std::fs;
use std::path::{Path, PathBuf};

const ROOT: &str = "/sys/fs/cgroup";

/// Removes the cgroup `name` and all below it, in every hierarchy. Those with processes in them stay: they are not ours.
pub(crate) fn remove(name: &str) {
    for top in hierarchies() {
        remove_below(&top.join(name));
    }
}

/// The unified hierarchy is at the root itself; version 1 has one folder per controller.
fn hierarchies() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from(ROOT)];
    all.extend(
        fs::read_dir(ROOT)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| entry.path().is_dir())
            .map(|entry| entry.path()),
    );
    all
}

/// Bottom-up; the kernel refuses a folder that has processes.
fn remove_below(folder: &Path) {
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
            remove_below(&entry.path());
        }
    }
    fs::remove_dir(folder).ok();
}
