//! csi-test's `csi-sanity` against the CSI plugin, with only the skips that csi.md 11 allows.
//!
//! The plugin runs in this process, as root in a mount namespace of its own, with a backend that always has the same two files.
//! A stub controller serves what some node specs create volumes with; the specs of the Controller service itself are skipped,
//! because inline volumes have no controller.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::stream::BoxStream;
use latchkey_cluster::tools::Tools;
use latchkey_csi::backend::{Backend, Failure, File, FileSet, Refusal, Update, VolumeRequest};
use latchkey_csi::{Config, Plugin};
use nix::mount::MsFlags;
use tokio_util::sync::CancellationToken;

#[path = "csi_sanity/controller.rs"]
mod controller;
#[path = "csi_sanity/report.rs"]
mod report;

use report::Outcome;

/// Specs that must have run and passed: csi.md 11.2, all that concern a node plugin with VOLUME_MOUNT_GROUP and
/// GET_VOLUME_STATS. Each is a piece of the spec's full name.
const MUST_PASS: [&str; 15] = [
    "GetPluginCapabilities should return appropriate capabilities",
    "Probe should return appropriate information",
    "GetPluginInfo should return appropriate information",
    "NodeGetCapabilities should return appropriate capabilities",
    "NodeGetInfo should return appropriate values",
    "NodePublishVolume should fail when no volume id is provided",
    "NodePublishVolume should fail when no target path is provided",
    "NodePublishVolume should fail when no volume capability is provided",
    "NodeUnpublishVolume should fail when no volume id is provided",
    "NodeUnpublishVolume should fail when no target path is provided",
    "NodeUnpublishVolume should remove target path",
    "NodeGetVolumeStats should fail when no volume id is provided",
    "NodeGetVolumeStats should fail when no volume path is provided",
    "NodeGetVolumeStats should fail when volume is not found",
    "NodeGetVolumeStats should fail when volume does not exist on the specified path",
];

/// What may be skipped: services and capabilities that an inline plugin does not have (csi.md 11.2).
const MAY_SKIP: [&str; 11] = [
    "Controller Server",
    "GroupController",
    "SnapshotMetadata",
    "NodeStageVolume",
    "NodeUnstageVolume",
    "NodeExpandVolume",
    "with single node multi writer capability",
    // New in csi-test 5.6, behind capabilities that are not advertised.
    "NodeGetVolumeHealth",
    "NodeGetStorageHealth",
    "Node Service should work",
    "Node Service should be idempotent",
];

#[derive(Clone)]
struct Static;

impl Backend for Static {
    type Plan = ();

    fn plan(&self, _: &VolumeRequest) -> Result<(), Refusal> {
        Ok(())
    }

    async fn first(&self, (): &(), _: tokio::time::Instant) -> Result<FileSet, Failure> {
        let file = |path: &str, content: &str| File {
            path: path.to_owned(),
            mode: None,
            content: content.to_owned().into(),
        };
        Ok(FileSet {
            files: vec![file("user", "sanity"), file("nested/password", "hunter2")],
            ..FileSet::default()
        })
    }

    fn subscribe(&self, (): &()) -> BoxStream<'static, Update> {
        Box::pin(futures::stream::pending())
    }
}

#[test]
fn mount_csi_sanity_passes_with_the_allowed_skips_only() -> Result<()> {
    assert!(
        nix::unistd::geteuid().is_root(),
        "this test mounts: run it as root"
    );
    let program = csi_sanity()?;
    let test = std::thread::spawn(move || -> Result<()> {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS)?;
        let private = MsFlags::MS_PRIVATE | MsFlags::MS_REC;
        nix::mount::mount(None::<&str>, "/", None::<&str>, private, None::<&str>)?;
        // Threads of this runtime, and the programs they start, are in the same namespace.
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        runtime.block_on(run(program))
    });
    match test.join() {
        Ok(result) => result,
        Err(panic) => std::panic::resume_unwind(panic),
    }
}

async fn run(program: PathBuf) -> Result<()> {
    let directory = tempfile::tempdir()?;
    let root = directory.path();
    for name in ["pods", "plugins", "plugins_registry", "targets"] {
        std::fs::create_dir(root.join(name))?;
    }
    let mut config = Config::new("sanity-node", "0.0.0");
    config.kubelet_root = root.to_owned();
    config.relaxations.extra_target_root = Some(root.join("targets"));
    config.relaxations.allow_writable = true;
    let socket = config.csi_socket();
    let cancel = CancellationToken::new();
    let plugin = tokio::spawn(Plugin::new(config).run(Static, cancel.clone()));
    let controller_socket = root.join("controller.sock");
    let controller = tokio::spawn(controller::serve(controller_socket.clone(), cancel.clone()));
    for path in [&socket, &controller_socket] {
        wait_for(path).await?;
    }

    let report = root.join("report.xml");
    let mut command = Command::new(program);
    command
        .arg(format!("--csi.endpoint={}", socket.display()))
        .arg(format!(
            "--csi.controllerendpoint={}",
            controller_socket.display()
        ))
        .arg(format!(
            "--csi.mountdir={}",
            root.join("targets/mount").display()
        ))
        .arg(format!(
            "--csi.stagingdir={}",
            root.join("targets/staging").display()
        ))
        .arg(r"--ginkgo.skip=\[Controller Server\]")
        .arg(format!("--ginkgo.junit-report={}", report.display()))
        .arg("--ginkgo.no-color");
    let ran = tokio::task::spawn_blocking(move || command.output());
    let output = tokio::time::timeout(Duration::from_secs(120), ran)
        .await
        .context("csi-sanity did not end within 2 minutes")???;
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    judge(&std::fs::read_to_string(&report).unwrap_or_default(), &text)?;
    ensure!(
        output.status.success(),
        "csi-sanity ended with {}:\n{text}",
        output.status
    );

    let mounts = std::fs::read_to_string("/proc/thread-self/mountinfo")?;
    ensure!(
        !mounts.contains("- tmpfs latchkey "),
        "csi-sanity left mounts:\n{mounts}"
    );
    cancel.cancel();
    plugin.await??;
    controller.await??;
    Ok(())
}

/// Every spec that concerns us passed, nothing failed, nothing else was skipped.
fn judge(report: &str, output: &str) -> Result<()> {
    let specs = report::parse(report);
    ensure!(
        !specs.is_empty(),
        "csi-sanity wrote no report; it said:\n{output}"
    );
    let mut wrong = Vec::new();
    for spec in &specs {
        match spec.outcome {
            Outcome::Passed => {}
            Outcome::Failed => wrong.push(format!("failed: {}", spec.name)),
            Outcome::Skipped if MAY_SKIP.iter().any(|piece| spec.name.contains(piece)) => {}
            Outcome::Skipped => {
                wrong.push(format!("skipped, and must not be: {}", spec.name));
            }
        }
    }
    for must in MUST_PASS {
        let passed = |spec: &report::Spec| {
            spec.name.contains(must) && matches!(spec.outcome, Outcome::Passed)
        };
        if !specs.iter().any(passed) {
            wrong.push(format!("did not pass: {must}"));
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{}\n\nall specs:\n{}\n{output}",
            wrong.join("\n"),
            report::list(&specs)
        );
    }
    Ok(())
}

fn csi_sanity() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("CSI_SANITY") {
        return Ok(path.into());
    }
    #[expect(clippy::print_stderr, reason = "a cold build takes minutes")]
    let tools = Tools::build(&|line| eprintln!("{line}"))?;
    Ok(tools.csi_sanity)
}

async fn wait_for(socket: &Path) -> Result<()> {
    for _ in 0..200 {
        if tokio::net::UnixStream::connect(socket).await.is_ok() {
            return Ok(());
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    bail!("nobody serves {}", socket.display())
}
