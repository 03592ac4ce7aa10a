//! What the machine must offer, checked before anything is started, each lack answered with what to install.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Programs that a cluster runs, and the Debian package that has each.
const PROGRAMS: &[(&str, &str)] = &[
    ("containerd", "containerd"),
    ("ctr", "containerd"),
    ("runc", "runc"),
    ("iptables", "iptables"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// Where Debian keeps the CNI plugins.
pub(crate) const CNI_PLUGINS: &str = "/usr/lib/cni";

/// Finds `program` on PATH, or in the folders that hold system programs where PATH lacks them.
#[must_use]
pub fn find(program: &str) -> Option<PathBuf> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/local/sbin", "/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(program))
        .find(|file| file.is_file())
}

/// Checks that a cluster can run here: root, and every program present.
///
/// # Errors
/// One line that names everything missing and the command that installs it.
pub fn check_to_run() -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        bail!("a cluster needs root: it makes namespaces, mounts and cgroups (try sudo)");
    }
    let mut packages: Vec<&str> = PROGRAMS
        .iter()
        .filter(|(name, _)| find(name).is_none())
        .map(|(_, package)| *package)
        .collect();
    if !Path::new(CNI_PLUGINS).join("bridge").exists() {
        packages.push("containernetworking-plugins");
    }
    packages.dedup();
    if !packages.is_empty() {
        bail!(
            "missing programs; install them with `make setup` or: apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    Ok(())
}

/// Checks that the Go programs can be built here.
///
/// # Errors
/// One line that says which Go is needed.
pub fn check_to_build() -> Result<()> {
    if find("go").is_none() {
        bail!(
            "missing program: go, 1.26 or newer, builds the Kubernetes programs; install Go and put it on PATH"
        );
    }
    Ok(())
}
