//! What the machine must offer, checked before anything is started, each lack answered with what to install.

use std::path::{Path, PathBuf};

use anyhow::{Result, bail};

/// Programs that a cluster runs, and the Debian package that has each.
const PROGRAMS: &[(&str, &str)] = &[
    ("iptables", "iptables"),
    ("busybox", "busybox-static"),
    ("ip", "iproute2"),
    ("nsenter", "util-linux"),
    ("mount", "mount"),
];

/// Programs that build the Go programs with parts in C, and the Debian package that has each.
const COMPILERS: &[(&str, &str)] = &[("cc", "gcc"), ("pkg-config", "pkg-config")];

/// What runc is built with, of Debian's package `libseccomp-dev`.
const SECCOMP_HEADER: &str = "/usr/include/seccomp.h";

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
    let mut packages = missing(PROGRAMS);
    if !Path::new(CNI_PLUGINS).join("bridge").exists() {
        packages.push("containernetworking-plugins");
    }
    none_of(&packages)
}

/// Checks that the Go programs can be built here.
///
/// # Errors
/// One line that says which Go is needed, or names everything missing and the command that installs it.
pub fn check_to_build() -> Result<()> {
    if find("go").is_none() {
        bail!(
            "missing program: go, 1.26 or newer, builds the Kubernetes programs; install Go and put it on PATH"
        );
    }
    let mut packages = missing(COMPILERS);
    if !Path::new(SECCOMP_HEADER).exists() {
        packages.push("libseccomp-dev");
    }
    none_of(&packages)
}

/// The packages of those `programs` that are not there.
fn missing(programs: &[(&str, &'static str)]) -> Vec<&'static str> {
    let lacking = programs.iter().filter(|(name, _)| find(name).is_none());
    lacking.map(|(_, package)| *package).collect()
}

fn none_of(packages: &[&str]) -> Result<()> {
    if !packages.is_empty() {
        bail!(
            "missing programs; install them with `make setup` or: apt-get install --no-install-recommends {}",
            packages.join(" ")
        );
    }
    Ok(())
}
