//! What was promised, and whether it holds. A target that could not be measured counts as missed.

use std::time::Duration;

use crate::direct::{Calls, Kind};
use crate::measure::Figures;
use crate::report::{as_megabytes, milliseconds, mount_ratio, number, sizes, started_ratio, table};
use crate::rig::INTERVAL;
use crate::stats::as_float;
use crate::syncs::{FOREIGN, Pass, Work};

struct Target {
    what: String,
    wanted: String,
    measured: String,
    is_met: bool,
}

/// All targets as Markdown.
pub(crate) fn render(figures: &Figures) -> String {
    let mut targets = weights(figures);
    targets.extend(calls(figures));
    targets.extend(beside_kubelet(figures));
    targets.extend(syncs(figures));
    let rows: Vec<Vec<String>> = targets.into_iter().map(Target::row).collect();
    format!(
        "### Targets\n\n{}",
        table(&["target", "wanted", "measured", "verdict"], &rows)
    )
}

impl Target {
    fn new(
        what: impl Into<String>,
        wanted: impl Into<String>,
        measured: String,
        is_met: Option<bool>,
    ) -> Self {
        Self {
            what: what.into(),
            wanted: wanted.into(),
            measured,
            is_met: is_met.unwrap_or(false),
        }
    }

    fn row(self) -> Vec<String> {
        let verdict = if self.is_met { "met" } else { "**missed**" };
        vec![self.what, self.wanted, self.measured, verdict.to_owned()]
    }
}

/// What External Secrets Operator 2.9.0 needs on such a machine, seconds of processor time: 9.2 for 1,000 such objects at its
/// defaults, 212 for 10,000 with 50 workers.
fn peer_cpu(objects: usize) -> f64 {
    let share = as_float(objects) / 1000.0;
    if objects < 10_000 {
        9.2 * share
    } else {
        21.2 * share
    }
}

fn syncs(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    for pass in &figures.syncs {
        targets.extend(match pass.work {
            Work::First => first_sync(pass),
            Work::Restart | Work::RestartBesideForeign => vec![Target::new(
                format!(
                    "{}, {} objects: calls of the provider, writes",
                    pass.work.label(),
                    pass.objects
                ),
                "0, 0",
                format!("{}, {}", pass.provider_calls, pass.writes),
                Some(pass.provider_calls == 0 && pass.writes == 0),
            )],
        });
    }
    targets.extend(foreign(&figures.syncs));
    targets
}

fn first_sync(pass: &Pass) -> Vec<Target> {
    let objects = pass.objects;
    let most = 8.0 * as_float(objects) / 1000.0;
    let (took, cpu) = (pass.took.as_secs_f64(), pass.cpu.as_secs_f64());
    let peak = as_megabytes(pass.memory.peak);
    vec![
        Target::new(
            format!("{objects} ExternalSecrets to Secrets"),
            format!("< {most:.0} s"),
            format!("{took:.1} s"),
            Some(took < most),
        ),
        Target::new(
            format!("API requests of each of {objects}"),
            "<= 4",
            format!("{:.2}", pass.requests_each()),
            Some(pass.requests_each() <= 4.0),
        ),
        Target::new(
            format!("processor time for {objects}"),
            format!("< {:.1} s", peer_cpu(objects) / 4.0),
            format!("{cpu:.2} s"),
            Some(cpu < peer_cpu(objects) / 4.0),
        ),
        Target::new(
            format!("highest RSS with {objects}"),
            "< 150 MB",
            format!("{peak:.1} MB"),
            Some(peak < 150.0),
        ),
    ]
}

/// What foreign Secrets add to the memory of an agent that restarts.
fn foreign(passes: &[Pass]) -> Option<Target> {
    let rss = |work: Work| {
        let pass = passes.iter().rev().find(|pass| pass.work == work)?;
        Some(as_megabytes(pass.memory.rss))
    };
    let grown = rss(Work::RestartBesideForeign)? / rss(Work::Restart)?;
    Some(Target::new(
        format!("RSS beside {FOREIGN} foreign Secrets of 10 KB, over without"),
        "<= 1.05 x",
        format!("{grown:.3} x"),
        Some(grown <= 1.05),
    ))
}

fn weights(figures: &Figures) -> Vec<Target> {
    let image = figures
        .images
        .iter()
        .find(|(name, _)| name == "latchkey")
        .map(|(_, size)| as_megabytes(size.layers));
    let idle = as_megabytes(figures.idle.rss);
    let (volumes, growth) = growth(figures);
    vec![
        Target::new(
            "agent image, uncompressed",
            "< 25 MB",
            format!("{} MB", number(image, 1)),
            image.map(|size| size < 25.0),
        ),
        Target::new(
            "idle agent, RSS",
            "< 30 MB",
            format!("{idle:.1} MB"),
            Some(idle < 30.0),
        ),
        Target::new(
            format!("heap per volume, over {volumes} volumes of one ExternalSecret"),
            "< 8 KiB",
            format!("{:.1} KiB", growth / 1024.0),
            Some(growth < 8.0 * 1024.0),
        ),
    ]
}

fn calls(figures: &Figures) -> Vec<Target> {
    let publish = figures.fetched.beyond.quantile(0.5);
    let slow = figures.fetched.beyond.quantile(0.99);
    let republish = figures
        .calls
        .iter()
        .find(|calls| calls.kind == Kind::Republish && calls.at_once == 1);
    let republish = republish.and_then(|calls| calls.times.quantile(0.99));
    let failed: usize = figures.calls.iter().map(|calls: &Calls| calls.failed).sum();
    vec![
        Target::new(
            "publish beyond the provider's answer, p50",
            "< 10 ms",
            format!("{} ms", milliseconds(publish)),
            publish.map(|time| time < Duration::from_millis(10)),
        ),
        Target::new(
            "publish beyond the provider's answer, p99",
            "< 50 ms",
            format!("{} ms", milliseconds(slow)),
            slow.map(|time| time < Duration::from_millis(50)),
        ),
        Target::new(
            "republish with nothing due, p99",
            "< 2 ms",
            format!("{} ms", milliseconds(republish)),
            republish.map(|time| time < Duration::from_millis(2)),
        ),
        Target::new("failed calls", "0", failed.to_string(), Some(failed == 0)),
    ]
}

fn beside_kubelet(figures: &Figures) -> Vec<Target> {
    let mut targets = Vec::new();
    for count in sizes(&figures.batches) {
        let pods = if count == 1 {
            "1 pod".to_owned()
        } else {
            format!("{count} pods at once")
        };
        let most = if count == 1 { 2.0 } else { 4.0 };
        let mount = mount_ratio(figures, count);
        targets.push(Target::new(
            format!("kubelet's mount, {pods}, over its Secret volume"),
            format!("<= {most} x"),
            format!("{} x", number(mount, 2)),
            mount.map(|ratio| ratio <= most),
        ));
        let started = started_ratio(figures, count);
        targets.push(Target::new(
            format!("container started, {pods}, over its Secret volume"),
            "<= 1.10 x",
            format!("{} x", number(started, 2)),
            started.map(|ratio| ratio <= 1.10),
        ));
    }
    let most = Duration::from_secs(INTERVAL + 2);
    let slowest = figures.rotations.latchkey.max();
    targets.push(Target::new(
        "value at the provider -> file, slowest",
        format!("<= refreshInterval + 2 s = {} s", most.as_secs()),
        format!("{} s", number(slowest.map(|time| time.as_secs_f64()), 2)),
        slowest.map(|time| time <= most),
    ));
    targets
}

/// The number of volumes by which the heap grew, and the growth for each in bytes.
pub(crate) fn growth(figures: &Figures) -> (usize, f64) {
    let grown = &figures.grown;
    let bytes = grown.after.own.saturating_sub(grown.before.own);
    let kilobytes = f64::from(u32::try_from(bytes / 1024).unwrap_or(u32::MAX));
    (
        grown.volumes,
        kilobytes * 1024.0 / as_float(grown.volumes.max(1)),
    )
}
