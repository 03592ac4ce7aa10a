//! What a change costs, and what a volume costs the API server.

use std::time::Duration;

use super::{number, seconds, table};
use crate::many::Change;
use crate::measure::Figures;
use crate::rig::INTERVAL;
use crate::stats::{Samples, as_float, median};

pub(super) fn rotation(figures: &Figures) -> String {
    let rotations = &figures.rotations;
    let all = |time: fn(&Change) -> Duration| -> Samples {
        figures.many.changes.iter().map(time).collect()
    };
    let interval = Duration::from_secs(INTERVAL);
    let row = |what: &str, period: String, times: &Samples, base: Option<Duration>| {
        vec![
            what.to_owned(),
            period,
            times.len().to_string(),
            number(times.quantile(0.5).and_then(seconds), 3),
            number(times.max().and_then(seconds), 3),
            number(
                base.and_then(|base| Some(seconds(times.max()?)? / seconds(base)?)),
                2,
            ),
        ]
    };
    let rows = [
        row(
            "value at the provider -> file",
            format!("refreshInterval {INTERVAL} s"),
            &rotations.latchkey,
            Some(interval),
        ),
        row(
            "ExternalSecret -> file",
            "the change".to_owned(),
            &rotations.event,
            None,
        ),
        row(
            &format!(
                "ExternalSecret -> the first of {} files",
                figures.many.volumes
            ),
            "the change".to_owned(),
            &all(|change| change.first),
            None,
        ),
        row(
            "... -> the last of them",
            "the change".to_owned(),
            &all(|change| change.last),
            None,
        ),
        row(
            "Secret -> file of kubelet's volume",
            format!("syncFrequency {}", figures.sync_frequency),
            &rotations.secret,
            None,
        ),
    ];
    let headers = [
        "changed -> file changed",
        "paced by",
        "changes",
        "p50 s",
        "max s",
        "max / interval",
    ];
    let cpu = median(
        figures
            .many
            .changes
            .iter()
            .map(|change| 1000.0 * change.cpu.as_secs_f64() / as_float(figures.many.volumes)),
    );
    format!(
        "### Rotation\n\n{}\nThe {} volumes take {} ms of the agent's processor time each.\n",
        table(&headers, &rows),
        figures.many.volumes,
        number(cpu, 2)
    )
}

pub(super) fn asked(figures: &Figures) -> String {
    let asked = figures.asked;
    let each = |count: usize| number(Some(as_float(count) / as_float(asked.publishes)), 3);
    let row = vec![
        "publish, content at hand".to_owned(),
        asked.publishes.to_string(),
        each(asked.requests),
        each(asked.writes),
    ];
    let headers = ["call", "calls", "API requests each", "of them writes"];
    format!("### The API server\n\n{}", table(&headers, &[row]))
}
