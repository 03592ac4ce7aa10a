//! The machine that the figures belong to.

use std::fs;
use std::path::Path;
use std::process::Command;

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

    /// Whether so much else ran that the figures say little.
    pub(crate) fn is_busy(&self) -> bool {
        self.load > 0.5 * crate::stats::as_float(self.cores)
    }
}

fn commit(root: &Path) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(root)
        .args(["describe", "--always", "--dirty", "--abbrev=12"])
        .output()
        .ok()?;
    let text = String::from_utf8(output.stdout).ok()?;
    (output.status.success()).then(|| text.trim().to_owned())
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
