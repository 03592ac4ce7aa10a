//! Removal of the cgroups that containers leave behind when they end with their cluster.
//!
//! containerd puts each container of kubelet's into `/k8s.io/<container>`, in every hierarchy, and all clusters of a machine
//! share that folder. Only the containers that a cluster's own folder names are removed.

use std::fs;
use std::path::{Path, PathBuf};

use crate::layout::Layout;

const ROOT: &str = "/sys/fs/cgroup";

/// Removes the cgroups of the containers in a cluster's folder. Those with processes in them stay: the kernel sees to it.
pub(crate) fn remove(layout: &Layout) {
    let containers = containers(layout);
    for top in hierarchies() {
        let shared = top.join("k8s.io");
        for container in &containers {
            remove_below(&shared.join(container));
        }
        // Refused as long as another cluster has containers.
        fs::remove_dir(&shared).ok();
    }
}

/// Names of all containers and sandboxes that containerd knew of, on all nodes.
fn containers(layout: &Layout) -> Vec<String> {
    let mut found = Vec::new();
    for node in names(&layout.file("nodes")) {
        for kind in ["containers", "sandboxes"] {
            let folder = format!("nodes/{node}/containerd/io.containerd.grpc.v1.cri/{kind}");
            found.extend(names(&layout.file(&folder)));
        }
    }
    found
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).into_iter().flatten().flatten();
    entries
        .filter_map(|entry| entry.file_name().into_string().ok())
        .collect()
}

/// The unified hierarchy is at the root itself; version 1 has one folder per controller.
fn hierarchies() -> Vec<PathBuf> {
    let mut all = vec![PathBuf::from(ROOT)];
    all.extend(
        names(Path::new(ROOT))
            .iter()
            .map(|name| Path::new(ROOT).join(name))
            .filter(|path| path.is_dir()),
    );
    all
}

/// Bottom-up, as the kernel wants it.
fn remove_below(folder: &Path) {
    for name in names(folder) {
        let path = folder.join(name);
        if path.is_dir() {
            remove_below(&path);
        }
    }
    fs::remove_dir(folder).ok();
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn containers_and_sandboxes_of_all_nodes_are_found() -> anyhow::Result<()> {
        let folder = tempfile::tempdir()?;
        for path in [
            "n1/containerd/io.containerd.grpc.v1.cri/sandboxes/a",
            "n2/containerd/io.containerd.grpc.v1.cri/containers/b",
        ] {
            fs::create_dir_all(folder.path().join("nodes").join(path))?;
        }
        let mut found = containers(&Layout::new(folder.path())?);
        found.sort();
        assert_eq!(found, ["a", "b"]);
        Ok(())
    }
}
