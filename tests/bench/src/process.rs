//! What the kernel says about a process of a node (proc(5)).

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, bail};
use latchkey_cluster::Cluster;
use nix::unistd::SysconfVar;

/// A process, by its folder below `/proc`.
#[derive(Clone, Debug)]
pub(crate) struct Process(PathBuf);

/// Memory of a process, bytes.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident, pages of its program included (`VmRSS`).
    pub(crate) rss: u64,
    /// Its share of the resident pages: shared ones count by the number of sharers (`Pss`).
    pub(crate) pss: u64,
    /// Resident and its own: heap and stacks (`RssAnon`).
    pub(crate) own: u64,
    /// Highest `VmRSS` so far (`VmHWM`).
    pub(crate) peak: u64,
}

// === impl Process ===

impl Process {
    /// The only process of `node` whose command line `is_it`.
    pub(crate) fn find(
        cluster: &Cluster,
        node: &str,
        what: &str,
        is_it: impl Fn(&[&str]) -> bool,
    ) -> Result<Self> {
        let mut found = Vec::new();
        for entry in fs::read_dir(cluster.node_path(node, "/proc")?)? {
            let path = entry?.path();
            // What is no process has no such file; processes end while the folder is read.
            let line = fs::read_to_string(path.join("cmdline")).unwrap_or_default();
            let words: Vec<&str> = line.trim_end_matches('\0').split('\0').collect();
            let number = path.file_name().map(|name| name.to_string_lossy());
            if number.is_some_and(|number| number.parse::<u32>().is_ok()) && is_it(&words) {
                found.push(path);
            }
        }
        match found.as_slice() {
            [one] => Ok(Self(one.clone())),
            others => bail!("{} processes on {node} are the {what}", others.len()),
        }
    }

    /// Its number, as the processes of the cluster see it.
    pub(crate) fn number(&self) -> String {
        let name = self.0.file_name().unwrap_or_default();
        name.to_string_lossy().into_owned()
    }

    /// Its memory now.
    pub(crate) fn memory(&self) -> Result<Memory> {
        let status = self.read("status")?;
        let rollup = self.read("smaps_rollup")?;
        Ok(Memory {
            rss: kilobytes(&status, "VmRSS:")?,
            pss: kilobytes(&rollup, "Pss:")?,
            own: kilobytes(&status, "RssAnon:")?,
            peak: kilobytes(&status, "VmHWM:")?,
        })
    }

    /// Processor time that it used so far, in steps of the kernel's clock (10 ms).
    pub(crate) fn cpu(&self) -> Result<Duration> {
        let ticks = nix::unistd::sysconf(SysconfVar::CLK_TCK)?.context("no clock tick")?;
        let used = cpu_ticks(&self.read("stat")?).context("unexpected text in stat")?;
        let milliseconds = used.saturating_mul(1000) / u64::try_from(ticks)?.max(1);
        Ok(Duration::from_millis(milliseconds))
    }

    fn read(&self, file: &str) -> Result<String> {
        read(&self.0.join(file))
    }
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("failed to read {}", path.display()))
}

/// User and system time in `/proc/<pid>/stat`; the name of the program, which may hold anything, ends at the last `)`.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn kilobytes(text: &str, key: &str) -> Result<u64> {
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key))
        .with_context(|| format!("no {key} in the process's status"))?;
    let number: u64 = line.trim().trim_end_matches("kB").trim().parse()?;
    Ok(number * 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_are_found_behind_any_name() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 900 0 3 0 21 13 0 0 20 0 5 0 99 1 2";
        assert_eq!(cpu_ticks(stat), Some(34));
        assert_eq!(cpu_ticks("7 (a"), None);
    }

    #[test]
    fn this_process_has_memory_and_used_time() -> Result<()> {
        let this = Process(PathBuf::from("/proc/self"));
        let memory = this.memory()?;
        assert!(memory.own <= memory.rss && memory.pss <= memory.rss && memory.rss <= memory.peak);
        assert!(memory.own > 0);
        this.cpu()?;
        Ok(())
    }
}
