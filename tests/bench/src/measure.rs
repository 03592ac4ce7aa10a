//! The run: what is measured, in which order.
//!
//! Memory comes first, on an agent that did nothing before; then calls on the socket, then pods, then rotation. Whatever is
//! compared alternates within the run.

use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use latchkey_cluster::Cluster;

use crate::direct::{self, Calls, Fetched, Kind, Volume};
use crate::images::{self, Size};
use crate::machine::Machine;
use crate::pods::{self, Batch, Source, Starts};
use crate::process::Memory;
use crate::rig::{Rig, SHARED, own};
use crate::rotation::{self, Rotations};
use crate::say;
use crate::syncs::{self, Pass};

/// Time for an agent to come to rest before its memory is read.
const REST: Duration = Duration::from_secs(15);
/// Time over which the processor's use by an agent at rest is counted.
const WATCHED: Duration = Duration::from_secs(30);
/// Pause between batches.
const BETWEEN: Duration = Duration::from_secs(2);

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// Rounds of pods.
    pub(crate) rounds: usize,
    /// Single pods in each round, of each kind.
    pub(crate) singles: usize,
    /// Pods at once, and ExternalSecrets of their own.
    pub(crate) pods: usize,
    /// Volumes for calls on the socket.
    pub(crate) volumes: usize,
    /// Changes of the value at the provider.
    pub(crate) changes: usize,
    /// Changes of the Secret.
    pub(crate) secret_changes: usize,
    /// ExternalSecrets that become Secrets, one run for each number.
    pub(crate) external_secrets: Vec<usize>,
}

/// The agent at one moment.
#[derive(Clone, Debug)]
pub(crate) struct Held {
    pub(crate) what: String,
    pub(crate) memory: Memory,
    /// Share of a processor over the time before, where that was a time of rest.
    pub(crate) cpu: Option<f64>,
}

/// Memory before and after `volumes` volumes of one ExternalSecret were mounted.
#[derive(Clone, Debug)]
pub(crate) struct Grown {
    pub(crate) volumes: usize,
    pub(crate) before: Memory,
    pub(crate) after: Memory,
}

/// Everything that was measured.
pub(crate) struct Figures {
    pub(crate) machine: Machine,
    pub(crate) kubernetes: String,
    pub(crate) sync_frequency: String,
    pub(crate) length: Duration,
    /// Memory of an agent that has nothing to do and never had.
    pub(crate) idle: Memory,
    pub(crate) grown: Grown,
    pub(crate) held: Vec<Held>,
    pub(crate) calls: Vec<Calls>,
    pub(crate) fetched: Fetched,
    pub(crate) batches: Vec<Batch>,
    pub(crate) rotations: Rotations,
    pub(crate) syncs: Vec<Pass>,
    pub(crate) images: Vec<(String, Size)>,
}

/// Measures everything on `cluster`, which is new.
pub(crate) async fn run(
    cluster: &Cluster,
    machine: Machine,
    sync_frequency: &str,
    images: &Path,
    root: &Path,
    extent: &Extent,
) -> Result<Figures> {
    let begin = Instant::now();
    say("installing the charts");
    let rig = Rig::install(cluster, images, root).await?;
    let mut held = vec![at_rest(&rig, "idle: just installed, no object").await?];
    let idle = held
        .iter()
        .map(|held| held.memory)
        .next()
        .unwrap_or_default();
    rig.apply_objects(extent.pods).await?;
    say(&format!(
        "{} first publishes, each with a call of the provider",
        extent.pods
    ));
    let (fetched, of_their_own) = rig
        .without_kubelet(async || first_publishes(&rig, extent.pods).await)
        .await?;
    held.push(
        at_rest(
            &rig,
            &format!("{0} volumes of {0} ExternalSecrets", extent.pods),
        )
        .await?,
    );
    direct::calls(&rig, Kind::Unpublish, &of_their_own, 1).await?;
    let (calls, grown) = calls(&rig, extent).await?;
    let batches = batches(&rig, extent, &mut held).await?;
    say(&format!(
        "{} changes at the provider, {} of a Secret",
        extent.changes, extent.secret_changes
    ));
    let rotations = rotation::measure(&rig, extent.changes, extent.secret_changes).await?;
    held.push(at_rest(&rig, "after all of this, nothing mounted").await?);
    // Last, because the agent is started anew for it.
    let syncs = syncs::measure(&rig, &extent.external_secrets).await?;
    Ok(Figures {
        machine,
        kubernetes: rig.kubernetes().await?,
        sync_frequency: sync_frequency.to_owned(),
        length: begin.elapsed(),
        idle,
        grown,
        held,
        calls,
        fetched,
        batches,
        rotations,
        syncs,
        images: sizes(images)?,
    })
}

/// Measures ExternalSecrets to Secrets only.
pub(crate) async fn secrets(
    cluster: &Cluster,
    images: &Path,
    root: &Path,
    counts: &[usize],
) -> Result<Vec<Pass>> {
    say("installing the charts");
    let rig = Rig::install(cluster, images, root).await?;
    rig.apply_objects(0).await?;
    syncs::measure(&rig, counts).await
}

/// Waits until the agent rests, watches it, and reads its memory.
async fn at_rest(rig: &Rig<'_>, what: &str) -> Result<Held> {
    say(&format!("the agent at rest: {what}"));
    tokio::time::sleep(REST).await;
    let (begin, before) = (Instant::now(), rig.agent.cpu()?);
    tokio::time::sleep(WATCHED).await;
    let used = rig.agent.cpu()?.saturating_sub(before);
    Ok(Held {
        what: what.to_owned(),
        memory: rig.agent.memory()?,
        cpu: Some(used.as_secs_f64() / begin.elapsed().as_secs_f64()),
    })
}

/// One volume of each of `count` ExternalSecrets; they stay mounted.
async fn first_publishes(rig: &Rig<'_>, count: usize) -> Result<(Fetched, Vec<Volume>)> {
    let volumes = (0..count)
        .map(|number| Volume::new(rig, &own(number)))
        .collect::<Result<Vec<_>>>()?;
    Ok((direct::fetched(rig, &volumes).await?, volumes))
}

/// The calls on the socket, one at a time and many at once, on volumes of one ExternalSecret whose content is at hand.
async fn calls(rig: &Rig<'_>, extent: &Extent) -> Result<(Vec<Calls>, Grown)> {
    // Holds the content, so that no call of the figures waits for the provider.
    let keeper = [Volume::new(rig, SHARED)?];
    rig.without_kubelet(async || direct::calls(rig, Kind::Publish, &keeper, 1).await)
        .await?;
    let volumes = (0..extent.volumes)
        .map(|_| Volume::new(rig, SHARED))
        .collect::<Result<Vec<_>>>()?;
    let before = rig.agent.memory()?;
    let mut after = before;
    let mut all = Vec::new();
    for at_once in [1, 10, 50] {
        say(&format!(
            "calls on the socket: {} volumes, {at_once} at once",
            extent.volumes
        ));
        rig.without_kubelet(async || {
            for kind in [Kind::Empty, Kind::Publish, Kind::Republish, Kind::Unpublish] {
                all.push(direct::calls(rig, kind, &volumes, at_once).await?);
                if kind == Kind::Publish && at_once == 1 {
                    after = rig.agent.memory()?;
                }
            }
            Ok(())
        })
        .await?;
    }
    direct::calls(rig, Kind::Unpublish, &keeper, 1).await?;
    let grown = Grown {
        volumes: extent.volumes,
        before,
        after,
    };
    Ok((all, grown))
}

/// Pods, one at a time and many at once, alternating between the two kinds of volume.
async fn batches(rig: &Rig<'_>, extent: &Extent, held: &mut Vec<Held>) -> Result<Vec<Batch>> {
    let starts = Starts::listen(rig)?;
    let mut all = Vec::new();
    for source in [Source::Secret, Source::Latchkey] {
        // The first pod of each kind pays for what is loaded and cached once.
        pods::batch(rig, &starts, source, SHARED, 1).await?;
    }
    for round in 0..extent.rounds {
        let plan = std::iter::repeat_n(1, extent.singles).chain([extent.pods]);
        for (number, count) in plan.enumerate() {
            let order = match (round + number) % 2 {
                0 => [Source::Secret, Source::Latchkey],
                _ => [Source::Latchkey, Source::Secret],
            };
            for source in order {
                let batch = pods::batch(rig, &starts, source, SHARED, count).await?;
                say(&format!(
                    "round {}: {count} pods with {}, started after {} s (p50)",
                    round + 1,
                    source.label(),
                    crate::report::number(
                        batch.started.quantile(0.5).map(|time| time.as_secs_f64()),
                        2
                    )
                ));
                all.push(batch);
                tokio::time::sleep(BETWEEN).await;
            }
        }
    }
    let created = pods::create(rig, Source::Latchkey, SHARED, extent.pods).await?;
    pods::all_run(rig, &created, &starts).await?;
    let what = format!(
        "{} running pods, volumes of one ExternalSecret",
        extent.pods
    );
    held.push(at_rest(rig, &what).await?);
    pods::delete(rig, &created).await?;
    Ok(all)
}

fn sizes(folder: &Path) -> Result<Vec<(String, Size)>> {
    ["latchkey", "provider-fake", "provider-vault"]
        .into_iter()
        .map(|name| (name, folder.join(format!("{name}.tar"))))
        // provider-vault is not needed by the run and may not have been built.
        .filter(|(_, path)| path.exists())
        .map(|(name, path)| Ok((name.to_owned(), images::size(&path)?)))
        .collect()
}
