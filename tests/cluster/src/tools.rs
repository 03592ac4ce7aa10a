//! The Go programs of the rig: pinned sources, built once into the cache, found again by the digest of what they are made of.
//!
//! `kube` and `dns` are small programs of this crate (folders of the same names) that link Kubernetes, etcd and CoreDNS at the
//! versions their go.mod and go.sum pin; containerd, runc, helm and csi-sanity are installed at a version, each with the
//! dependencies of its own go.mod (those of containerd and runc do not go together). The sources are part of this program, so
//! that it works wherever it was built: several checkouts may share one target folder. A build that is interrupted goes on
//! where it stopped, because Go's own cache (`GOCACHE`, `GOMODCACHE`) keeps what was compiled and fetched.

use std::fs::{self, File};
use std::io::{BufRead as _, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use aws_lc_rs::digest::{Context as Digest, SHA256};

use crate::{cache, prerequisites};

/// Kubernetes version that is built and that the programs report; the same as in `kube/go.mod`.
pub const KUBERNETES_VERSION: &str = "v1.35.4";
/// containerd version. Kubernetes gives pods user namespaces from containerd 2.0 and runc 1.2 on.
pub const CONTAINERD_VERSION: &str = "v2.2.9";
/// runc version, the one that this containerd is released with.
pub const RUNC_VERSION: &str = "v1.3.6";
/// helm version.
pub const HELM_VERSION: &str = "v4.3.1";
/// csi-sanity version.
pub const CSI_SANITY_VERSION: &str = "v5.6.0";
/// Pause between two lines of progress.
const PROGRESS: Duration = Duration::from_secs(15);

/// Paths of the built programs.
#[derive(Clone, Debug)]
pub struct Tools {
    /// Kubernetes and etcd; the first argument picks the program.
    pub kube: PathBuf,
    /// CoreDNS.
    pub dns: PathBuf,
    /// containerd.
    pub containerd: PathBuf,
    /// containerd's client.
    pub ctr: PathBuf,
    /// containerd's process per pod.
    pub shim: PathBuf,
    /// runc.
    pub runc: PathBuf,
    /// helm.
    pub helm: PathBuf,
    /// csi-sanity.
    pub csi_sanity: PathBuf,
}

impl Tools {
    /// Finds the built programs.
    ///
    /// # Errors
    /// When one is missing; the text says how to build it.
    pub fn find() -> Result<Self> {
        Self::each(|tool| {
            let path = tool.output()?;
            if !path.exists() {
                bail!(
                    "{} is not built; run `make tools` (or `cluster tools`) first",
                    tool.name
                );
            }
            Ok(path)
        })
    }

    /// Builds the programs that are missing, telling `report` about progress every 15 seconds. Cold, on two cores: a quarter of an hour.
    ///
    /// # Errors
    /// When Go is missing or a build fails; the text has the last lines of Go's output.
    pub fn build(report: &dyn Fn(&str)) -> Result<Self> {
        let folder = cache::folder()?.join("tools");
        fs::create_dir_all(&folder)?;
        let lock = File::create(folder.join("lock"))?;
        lock.lock()
            .context("failed to wait for another build of the tools")?;
        Self::each(|tool| {
            let path = tool.output()?;
            if !path.exists() {
                prerequisites::check_to_build()?;
                tool.build(&path, report)?;
            }
            Ok(path)
        })
    }

    fn each(mut path: impl FnMut(&Tool) -> Result<PathBuf>) -> Result<Self> {
        let v = KUBERNETES_VERSION;
        let (major, minor) = v
            .trim_start_matches('v')
            .rsplit_once('.')
            .and_then(|(start, _)| start.split_once('.'))
            .context("bad Kubernetes version")?;
        let stamp = "k8s.io/component-base/version";
        let containerd = |program: &'static str| {
            let package = format!("github.com/containerd/containerd/v2/cmd/{program}");
            Tool::module(program, package, CONTAINERD_VERSION)
        };
        Ok(Self {
            kube: path(&Tool {
                name: "kube",
                source: Source::Files(&KUBE),
                link: format!(
                    "-s -w -X {stamp}.gitVersion={v} -X {stamp}.gitMajor={major} -X {stamp}.gitMinor={minor}"
                ),
                c_parts: None,
            })?,
            dns: path(&Tool {
                name: "dns",
                source: Source::Files(&DNS),
                link: "-s -w".to_owned(),
                c_parts: None,
            })?,
            containerd: path(&containerd("containerd"))?,
            ctr: path(&containerd("ctr"))?,
            shim: path(&containerd("containerd-shim-runc-v2"))?,
            runc: path(&Tool {
                c_parts: Some("seccomp"),
                ..Tool::module("runc", "github.com/opencontainers/runc", RUNC_VERSION)
            })?,
            helm: path(&Tool::module(
                "helm",
                "helm.sh/helm/v4/cmd/helm",
                HELM_VERSION,
            ))?,
            csi_sanity: path(&Tool::module(
                "csi-sanity",
                "github.com/kubernetes-csi/csi-test/v5/cmd/csi-sanity",
                CSI_SANITY_VERSION,
            ))?,
        })
    }
}

/// Names and contents of a module's files.
type Files = [(&'static str, &'static str); 3];

const KUBE: Files = [
    ("go.mod", include_str!("../kube/go.mod")),
    ("go.sum", include_str!("../kube/go.sum")),
    ("main.go", include_str!("../kube/main.go")),
];
const DNS: Files = [
    ("go.mod", include_str!("../dns/go.mod")),
    ("go.sum", include_str!("../dns/go.sum")),
    ("main.go", include_str!("../dns/main.go")),
];

enum Source {
    /// A module of this crate.
    Files(&'static Files),
    /// A package of a public module.
    Module {
        package: String,
        version: &'static str,
    },
}

struct Tool {
    name: &'static str,
    source: Source,
    link: String,
    /// Build tags of a program with parts in C; every other one is built without a C compiler.
    c_parts: Option<&'static str>,
}

impl Tool {
    /// The program of a public module's package, whose last part is `name`.
    fn module(name: &'static str, package: impl Into<String>, version: &'static str) -> Self {
        Self {
            name,
            source: Source::Module {
                package: package.into(),
                version,
            },
            link: "-s -w".to_owned(),
            c_parts: None,
        }
    }

    /// Where the program is or will be: its folder's name carries the digest of its sources.
    fn output(&self) -> Result<PathBuf> {
        let mut inputs: Vec<Vec<u8>> = vec![self.link.clone().into_bytes()];
        match &self.source {
            Source::Files(files) => {
                inputs.extend(files.iter().map(|(_, text)| text.as_bytes().to_vec()));
            }
            Source::Module { package, version } => {
                inputs.push(format!("{package}@{version}").into_bytes())
            }
        }
        inputs.extend(self.c_parts.map(|tags| tags.as_bytes().to_vec()));
        let key = digest(inputs.iter().map(Vec::as_slice));
        Ok(cache::folder()?
            .join("tools")
            .join(format!("{}-{}", self.name, &key[..16]))
            .join(self.name))
    }

    fn build(&self, output: &Path, report: &dyn Fn(&str)) -> Result<()> {
        let folder = output.parent().context("tool path without a folder")?;
        fs::create_dir_all(folder)?;
        // Built beside the final name, so that a half-written program is never found.
        let building = folder.join("building");
        let verb = match self.source {
            Source::Files(_) => "build",
            Source::Module { .. } => "install",
        };
        let c = if self.c_parts.is_some() { "1" } else { "0" };
        let mut go = Command::new("go");
        go.env("CGO_ENABLED", c)
            .args([verb, "-v", "-trimpath", "-ldflags", &self.link])
            .args(["-tags", self.c_parts.unwrap_or_default()]);
        let made = match &self.source {
            Source::Files(files) => {
                let sources = folder.join("source");
                fs::create_dir_all(&sources)?;
                for (name, text) in files.iter() {
                    fs::write(sources.join(name), text)?;
                }
                go.arg("-o").arg(&building).arg(".").current_dir(sources);
                building
            }
            Source::Module { package, version } => {
                go.env("GOBIN", &building)
                    .arg(format!("{package}@{version}"))
                    .current_dir(folder);
                building.join(self.name)
            }
        };
        run_with_progress(go, self.name, report)?;
        fs::rename(&made, output)
            .with_context(|| format!("failed to move {} into the cache", self.name))
    }
}

/// Runs Go with `-v`, which names each package it compiled, and reports the count now and then.
fn run_with_progress(mut go: Command, name: &str, report: &dyn Fn(&str)) -> Result<()> {
    let begin = Instant::now();
    report(&format!("{name}: building with Go"));
    let mut child = go
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("failed to start go")?;
    let output = child.stderr.take().context("go has no standard error")?;
    let (sender, lines) = mpsc::sync_channel::<String>(1000);
    let reader = std::thread::spawn(move || {
        for line in BufReader::new(output).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    let (mut packages, mut fetched, mut last) =
        (0_u32, 0_u32, std::collections::VecDeque::<String>::new());
    let mut reported = Instant::now();
    loop {
        match lines.recv_timeout(PROGRESS) {
            Ok(line) => {
                match line.starts_with("go: downloading") {
                    true => fetched += 1,
                    false => packages += 1,
                }
                last.push_back(line);
                if last.len() > 15 {
                    last.pop_front();
                }
            }
            Err(mpsc::RecvTimeoutError::Timeout) => {}
            Err(mpsc::RecvTimeoutError::Disconnected) => break,
        }
        if reported.elapsed() >= PROGRESS {
            report(&format!(
                "{name}: {} s, {fetched} modules fetched, {packages} packages compiled",
                begin.elapsed().as_secs()
            ));
            reported = Instant::now();
        }
    }
    drop(lines);
    let status = child.wait()?;
    reader.join().ok();
    if !status.success() {
        bail!(
            "failed to build {name}: go ended with {status}\n{}",
            Vec::from(last).join("\n")
        );
    }
    report(&format!("{name}: built in {} s", begin.elapsed().as_secs()));
    Ok(())
}

/// SHA-256 over all parts and their lengths, in hexadecimal.
pub(crate) fn digest<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut context = Digest::new(&SHA256);
    for part in parts {
        context.update(&(part.len() as u64).to_be_bytes());
        context.update(part);
    }
    hexadecimal(context.finish().as_ref())
}

/// Lower-case hexadecimal digits of `bytes`.
pub(crate) fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_version_stamp_is_the_version_in_go_mod() {
        let text = include_str!("../kube/go.mod");
        assert!(text.contains(&format!("k8s.io/kubernetes {KUBERNETES_VERSION}\n")));
    }

    #[test]
    fn every_staging_module_is_replaced_by_its_release() {
        let release = KUBERNETES_VERSION.replace("v1.", "v0.");
        let replaced: Vec<&str> = include_str!("../kube/go.mod")
            .lines()
            .filter(|line| line.trim_start().starts_with("k8s.io/") && line.contains("=>"))
            .collect();
        assert!(!replaced.is_empty());
        for line in replaced {
            assert!(line.ends_with(&release), "{line}");
        }
    }

    #[test]
    fn a_changed_part_changes_the_digest() {
        let base = digest([b"ab".as_slice(), b"c"]);
        assert_eq!(base, digest([b"ab".as_slice(), b"c"]));
        assert_ne!(base, digest([b"a".as_slice(), b"bc"]));
    }
}
