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
use crate::many::{self, Many};
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
/// The same for volumes of running pods, which kubelet publishes again once in 60 to 90 seconds.
const WATCHED_LONG: Duration = Duration::from_secs(60);
/// Calls of a kind that does nearly nothing for each volume: the kernel counts processor time in steps of 10 ms.
const REPEATED: usize = 5;
/// Until the API server has written what it was asked into its log.
const LOGGED: Duration = Duration::from_secs(2);
/// Pause between batches.
const BETWEEN: Duration = Duration::from_secs(2);

/// How much of everything.
#[derive(Clone, Debug)]
pub(crate) struct Extent {
    /// Rounds of pods.
    pub(crate) rounds: usize,
    /// Single pods in each round, of each kind.
    pub(crate) singles: usize,
    /// Pods at once, one batch of each kind in a round for each number.
    pub(crate) pods: Vec<usize>,
    /// ExternalSecrets with a volume of their own.
    pub(crate) objects: usize,
    /// Volumes of one ExternalSecret at rest.
    pub(crate) idle_volumes: usize,
    /// Volumes of one ExternalSecret that change at once.
    pub(crate) many: usize,
    /// Volumes for calls on the socket.
    pub(crate) volumes: usize,
    /// Changes of the value at the provider, and of an ExternalSecret.
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

/// What the agent asked the API server for while volumes were published whose content was at hand, Leases apart.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Asked {
    /// First publishes.
    pub(crate) publishes: usize,
    pub(crate) requests: usize,
    /// Those of them that write.
    pub(crate) writes: usize,
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
    /// Volumes at rest, and the agent with them.
    pub(crate) idle_volumes: (usize, Memory),
    /// Volumes of running pods, and the processor time of the agent with them, as a share of a processor.
    pub(crate) idle_pods: (usize, f64),
    pub(crate) asked: Asked,
    pub(crate) held: Vec<Held>,
    pub(crate) calls: Vec<Calls>,
    pub(crate) fetched: Fetched,
    pub(crate) batches: Vec<Batch>,
    pub(crate) rotations: Rotations,
    pub(crate) many: Many,
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
    let mut held = vec![at_rest(&rig, "idle: just installed, no object", WATCHED).await?];
    let idle = held
        .iter()
        .map(|held| held.memory)
        .next()
        .unwrap_or_default();
    rig.apply_objects(extent.objects).await?;
    held.push(idle_volumes(&rig, extent.idle_volumes).await?);
    let idle_volumes = held.last().map(|held| held.memory).unwrap_or_default();
    say(&format!(
        "{} first publishes, each with a call of the provider",
        extent.objects
    ));
    let (fetched, of_their_own) = rig
        .without_kubelet(async || first_publishes(&rig, extent.objects).await)
        .await?;
    let what = format!("{0} volumes of {0} ExternalSecrets", extent.objects);
    held.push(at_rest(&rig, &what, WATCHED).await?);
    direct::calls(&rig, Kind::Unpublish, &of_their_own, 1).await?;
    let (calls, grown, asked) = calls(&rig, extent).await?;
    let batches = batches(&rig, extent).await?;
    held.push(idle_pods(&rig, extent).await?);
    let idle_pods = held.last().and_then(|held| held.cpu).unwrap_or_default();
    say(&format!(
        "{} changes at the provider, {} of a Secret",
        extent.changes, extent.secret_changes
    ));
    let rotations = rotation::measure(&rig, extent.changes, extent.secret_changes).await?;
    let many = many::measure(&rig, extent.many).await?;
    held.push(Held {
        what: format!("{} volumes of one ExternalSecret", many.volumes),
        memory: many.memory,
        cpu: None,
    });
    held.push(at_rest(&rig, "after all of this, nothing mounted", WATCHED).await?);
    // Last, because the agent is started anew for it.
    let syncs = match extent.external_secrets.as_slice() {
        [] => Vec::new(),
        counts => syncs::measure(&rig, counts).await?,
    };
    Ok(Figures {
        machine,
        kubernetes: rig.kubernetes().await?,
        sync_frequency: sync_frequency.to_owned(),
        length: begin.elapsed(),
        idle,
        grown,
        idle_volumes: (extent.idle_volumes, idle_volumes),
        idle_pods: (most(&extent.pods), idle_pods),
        asked,
        held,
        calls,
        fetched,
        batches,
        rotations,
        many,
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

/// Waits until the agent rests, watches it for `watched`, and reads its memory.
async fn at_rest(rig: &Rig<'_>, what: &str, watched: Duration) -> Result<Held> {
    say(&format!("the agent at rest: {what}"));
    tokio::time::sleep(REST).await;
    let (begin, before) = (Instant::now(), rig.agent.cpu()?);
    tokio::time::sleep(watched).await;
    let used = rig.agent.cpu()?.saturating_sub(before);
    Ok(Held {
        what: what.to_owned(),
        memory: rig.agent.memory()?,
        cpu: Some(used.as_secs_f64() / begin.elapsed().as_secs_f64()),
    })
}

/// The agent with `count` volumes of one ExternalSecret, and nothing before.
async fn idle_volumes(rig: &Rig<'_>, count: usize) -> Result<Held> {
    let volumes = (0..count)
        .map(|_| Volume::new(rig, SHARED))
        .collect::<Result<Vec<_>>>()?;
    rig.without_kubelet(async || direct::calls(rig, Kind::Publish, &volumes, 1).await)
        .await?;
    let what = format!("{count} volumes of one ExternalSecret, and nothing before");
    let held = at_rest(rig, &what, WATCHED).await?;
    direct::calls(rig, Kind::Unpublish, &volumes, 1).await?;
    Ok(held)
}

/// The agent with as many running pods as there are at once.
async fn idle_pods(rig: &Rig<'_>, extent: &Extent) -> Result<Held> {
    let count = most(&extent.pods);
    let starts = Starts::listen(rig)?;
    let created = pods::create(rig, Source::Latchkey, SHARED, count).await?;
    pods::all_run(rig, &created, &starts).await?;
    let what = format!("{count} running pods, volumes of one ExternalSecret");
    let held = at_rest(rig, &what, WATCHED_LONG).await?;
    pods::delete(rig, &created).await?;
    Ok(held)
}

fn most(counts: &[usize]) -> usize {
    counts.iter().copied().max().unwrap_or_default()
}

/// One volume of each of `count` ExternalSecrets; they stay mounted.
async fn first_publishes(rig: &Rig<'_>, count: usize) -> Result<(Fetched, Vec<Volume>)> {
    let volumes = (0..count)
        .map(|number| Volume::new(rig, &own(number)))
        .collect::<Result<Vec<_>>>()?;
    Ok((direct::fetched(rig, &volumes).await?, volumes))
}

/// The calls on the socket, one at a time and many at once, on volumes of one ExternalSecret whose content is at hand.
async fn calls(rig: &Rig<'_>, extent: &Extent) -> Result<(Vec<Calls>, Grown, Asked)> {
    // Holds the content, so that no call of the figures waits for the provider.
    let keeper = [Volume::new(rig, SHARED)?];
    rig.without_kubelet(async || direct::calls(rig, Kind::Publish, &keeper, 1).await)
        .await?;
    let volumes = (0..extent.volumes)
        .map(|_| Volume::new(rig, SHARED))
        .collect::<Result<Vec<_>>>()?;
    let again: Vec<Volume> = std::iter::repeat_n(volumes.as_slice(), REPEATED)
        .flatten()
        .cloned()
        .collect();
    let before = rig.agent.memory()?;
    let mut after = before;
    tokio::time::sleep(LOGGED).await;
    let mark = rig.requests()?.len();
    let mut all = Vec::new();
    for at_once in [1, 10, 50] {
        say(&format!(
            "calls on the socket: {} volumes, {at_once} at once",
            extent.volumes
        ));
        rig.without_kubelet(async || {
            for kind in [Kind::Empty, Kind::Publish, Kind::Republish, Kind::Unpublish] {
                let volumes = match kind {
                    Kind::Empty | Kind::Republish => &again,
                    Kind::Publish | Kind::Unpublish => &volumes,
                };
                all.push(direct::calls(rig, kind, volumes, at_once).await?);
                if kind == Kind::Publish && at_once == 1 {
                    after = rig.agent.memory()?;
                }
            }
            Ok(())
        })
        .await?;
    }
    tokio::time::sleep(LOGGED).await;
    let mut requests = rig.requests()?.split_off(mark);
    // The role `sync` renews them whatever happens to volumes.
    requests.retain(|request| request.object_ref.resource != "leases");
    let is_publish = |calls: &&Calls| calls.kind == Kind::Publish;
    let asked = Asked {
        publishes: all
            .iter()
            .filter(is_publish)
            .map(|calls| calls.times.len())
            .sum(),
        requests: requests.len(),
        writes: requests
            .iter()
            .filter(|request| syncs::is_write(request))
            .count(),
    };
    direct::calls(rig, Kind::Unpublish, &keeper, 1).await?;
    let grown = Grown {
        volumes: extent.volumes,
        before,
        after,
    };
    Ok((all, grown, asked))
}

/// Pods, one at a time and many at once, alternating between the two kinds of volume.
async fn batches(rig: &Rig<'_>, extent: &Extent) -> Result<Vec<Batch>> {
    let starts = Starts::listen(rig)?;
    let mut all = Vec::new();
    for source in [Source::Secret, Source::Latchkey] {
        // The first pod of each kind pays for what is loaded and cached once.
        pods::batch(rig, &starts, source, SHARED, 1).await?;
    }
    for round in 0..extent.rounds {
        let plan = std::iter::repeat_n(1, extent.singles).chain(extent.pods.iter().copied());
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
