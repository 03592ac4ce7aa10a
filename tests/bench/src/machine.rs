//! The machine that the figures belong to.

use std::fs;
use std::path::Path;
use std::process::Command;
use std::time::{Duration, Instant};

/// Pause between two looks at the load.
const PAUSE: Duration = Duration::from_secs(2);

/// Facts about the machine and the moment, in words.
#[derive(Clone, Debug)]
pub(crate) struct Machine {
    /// UTC, to the minute.
    pub(crate) date: String,
    /// Number and model of the processors.
    pub(crate) processors: String,
    /// Main memory.
    pub(crate) memory: String,
    /// Release of the kernel.
    pub(crate) kernel: String,
    /// Commit that was measured, if this is a checkout.
    pub(crate) commit: String,
    /// How many tasks wanted a processor just before, on average over a minute.
    pub(crate) load: f64,
    /// Number of processors.
    pub(crate) cores: usize,
}

impl Machine {
    /// This machine, now. `root` is the checkout.
    pub(crate) fn look(root: &Path) -> Self {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let cpu = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let model = field(&cpu, "model name").unwrap_or("unknown model");
        let memory = fs::read_to_string("/proc/meminfo").unwrap_or_default();
        let kilobytes: u64 = field(&memory, "MemTotal")
            .and_then(|text| text.trim_end_matches(" kB").parse().ok())
            .unwrap_or_default();
        let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
        Self {
            date: jiff::Timestamp::now()
                .strftime("%Y-%m-%d %H:%M UTC")
                .to_string(),
            processors: format!("{cores} × {model}"),
            memory: format!("{:.1} GiB", as_gib(kilobytes)),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .unwrap_or_default()
                .trim()
                .to_owned(),
            commit: commit(root).unwrap_or_else(|| "unknown".to_owned()),
            load: load
                .split(' ')
                .next()
                .and_then(|text| text.parse().ok())
                .unwrap_or_default(),
            cores,
        }
    }

    /// As [`Machine::look`], once the load has fallen enough for figures to mean something, and after `patience` in any case.
    #[expect(
        clippy::disallowed_methods,
        reason = "nothing runs yet that could be blocked"
    )]
    pub(crate) fn look_when_quiet(root: &Path, patience: Duration, say: &dyn Fn(&str)) -> Self {
        let begun = Instant::now();
        let mut machine = Self::look(root);
        if machine.is_busy() {
            say("waiting for the machine to become quiet");
        }
        while machine.is_busy() && begun.elapsed() < patience {
            std::thread::sleep(PAUSE);
            machine = Self::look(root);
        }
        machine
    }

    /// Whether so much else ran that the figures say little.
    pub(crate) fn is_busy(&self) -> bool {
        self.load > 0.5 * crate::stats::as_float(self.cores)
    }
}

/// The commit, marked if anything but the page of figures differs from it: another comparison may have been written there before.
fn commit(root: &Path) -> Option<String> {
    let git = |arguments: &[&str]| {
        let output = Command::new("git")
            .arg("-C")
            .arg(root)
            .args(arguments)
            .output()
            .ok()?;
        let text = String::from_utf8(output.stdout).ok()?;
        output.status.success().then(|| text.trim().to_owned())
    };
    let commit = git(&["describe", "--always", "--abbrev=12"])?;
    let page = ":(exclude)docs/performance.md";
    let changes = git(&[
        "status",
        "--porcelain",
        "--untracked-files=no",
        "--",
        ".",
        page,
    ])?;
    Some(if changes.is_empty() {
        commit
    } else {
        format!("{commit}-dirty")
    })
}

fn field<'text>(text: &'text str, key: &str) -> Option<&'text str> {
    text.lines().find_map(|line| {
        let (name, value) = line.split_once(':')?;
        (name.trim() == key).then(|| value.trim())
    })
}

fn as_gib(kilobytes: u64) -> f64 {
    let mebibytes = u32::try_from(kilobytes / 1024).unwrap_or(u32::MAX);
    f64::from(mebibytes) / 1024.0
}
