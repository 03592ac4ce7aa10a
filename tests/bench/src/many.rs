//! Many volumes of one ExternalSecret, all of which change with it.
//!
//! The volumes are made by calls on the socket while kubelet is stopped, because a node takes no thousand pods. The object itself is
//! changed, so that no interval is part of the time.

use std::time::{Duration, Instant};

use anyhow::{Result, bail, ensure};

use crate::direct::{self, Kind, Volume};
use crate::process::Memory;
use crate::rig::{Rig, TURNING};
use crate::say;

/// Between two looks at files.
const LOOK: Duration = Duration::from_millis(2);
/// Calls at once.
const AT_ONCE: usize = 10;
/// Changes. kubelet may be stopped for 40 s only.
const CHANGES: usize = 2;
/// Longest wait for all files.
const PATIENCE: Duration = Duration::from_secs(12);
/// Between two changes: volumes take no second one before the first is swept up, 5 s after it.
const BETWEEN: Duration = Duration::from_secs(7);

/// What changes of all volumes at once took.
#[derive(Clone, Debug)]
pub(crate) struct Many {
    pub(crate) volumes: usize,
    pub(crate) changes: Vec<Change>,
    /// The agent's memory while all are mounted.
    pub(crate) memory: Memory,
}

/// One change.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Change {
    /// From before the change of the object to the first file that shows it.
    pub(crate) first: Duration,
    /// The same, to the last file.
    pub(crate) last: Duration,
    /// The agent's processor time from before the change to the last file.
    pub(crate) cpu: Duration,
}

/// Mounts `count` volumes of [`TURNING`], changes it, and looks at all their files.
pub(crate) async fn measure(rig: &Rig<'_>, count: usize) -> Result<Many> {
    say(&format!("{count} volumes of one ExternalSecret, changed"));
    let volumes = (0..count)
        .map(|_| Volume::new(rig, TURNING))
        .collect::<Result<Vec<_>>>()?;
    rig.turn("0").await?;
    rig.without_kubelet(async || {
        let outcome = changes(rig, &volumes).await;
        let ended = direct::calls(rig, Kind::Unpublish, &volumes, AT_ONCE).await?;
        ensure!(ended.failed == 0, "{} volumes stay", ended.failed);
        outcome
    })
    .await
}

async fn changes(rig: &Rig<'_>, volumes: &[Volume]) -> Result<Many> {
    let made = direct::calls(rig, Kind::Publish, volumes, AT_ONCE).await?;
    ensure!(made.failed == 0, "{} volumes were not made", made.failed);
    become_all(volumes, "0", Instant::now()).await?;
    let memory = rig.agent.memory()?;
    let mut changes = Vec::new();
    for number in 1..=CHANGES {
        if number > 1 {
            tokio::time::sleep(BETWEEN).await;
        }
        let value = (number % 2).to_string();
        let (begin, cpu) = (Instant::now(), rig.agent.cpu()?);
        rig.turn(&value).await?;
        let (first, last) = become_all(volumes, &value, begin).await?;
        let cpu = rig.agent.cpu()?.saturating_sub(cpu);
        changes.push(Change { first, last, cpu });
    }
    Ok(Many {
        volumes: volumes.len(),
        changes,
        memory,
    })
}

/// Waits until every file shows `value`; the times of the first and of the last, from `begin`.
async fn become_all(
    volumes: &[Volume],
    value: &str,
    begin: Instant,
) -> Result<(Duration, Duration)> {
    let shows = |volume: &Volume| {
        std::fs::read_to_string(volume.file("value")).is_ok_and(|found| found == value)
    };
    let mut first = None;
    let mut left: Vec<&Volume> = volumes.iter().collect();
    loop {
        let before = left.len();
        left.retain(|volume| !shows(volume));
        if left.len() < before {
            first.get_or_insert_with(|| begin.elapsed());
        }
        if left.is_empty() {
            let last = begin.elapsed();
            return Ok((first.unwrap_or(last), last));
        }
        if begin.elapsed() > PATIENCE {
            bail!("{} volumes do not show {value}", left.len());
        }
        tokio::time::sleep(LOOK).await;
    }
}
