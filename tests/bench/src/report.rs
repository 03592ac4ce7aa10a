//! The report in Markdown.

mod changes;

use std::fmt::Write as _;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context as _, Result};

use crate::direct::Calls;
use crate::images::Size;
use crate::measure::{Figures, Held};
use crate::metrics::Histogram;
use crate::pods::{Batch, Source};
use crate::process::Memory;
use crate::stats::{Samples, as_float, median};
use crate::syncs::{Pass, Work};

/// What is replaced in a page by [`write_into`]: everything between these two lines.
const BEGIN: &str = "<!-- begin: written by `make bench` -->";
const END: &str = "<!-- end: written by `make bench` -->";

/// All figures as Markdown.
pub(crate) fn render(figures: &Figures) -> String {
    let mut text = String::new();
    for part in [
        machine(figures),
        crate::targets::render(figures),
        publish(figures),
        pods(figures),
        changes::rotation(figures),
        changes::asked(figures),
        syncs(&figures.syncs),
        memory(figures),
        images(figures),
    ] {
        text.push_str(&part);
        text.push('\n');
    }
    text.truncate(text.trim_end().len());
    text.push('\n');
    text
}

/// Puts `report` into the page at `path`, between its two markers.
pub(crate) fn write_into(path: &Path, report: &str) -> Result<()> {
    let page = std::fs::read_to_string(path)
        .with_context(|| format!("failed to read {}", path.display()))?;
    let page = replaced(&page, report)
        .with_context(|| format!("{} has no lines {BEGIN} and {END}", path.display()))?;
    std::fs::write(path, page).with_context(|| format!("failed to write {}", path.display()))
}

fn replaced(page: &str, report: &str) -> Option<String> {
    let (before, rest) = page.split_once(BEGIN)?;
    let (_, after) = rest.split_once(END)?;
    Some(format!("{before}{BEGIN}\n\n{report}\n{END}{after}"))
}

fn machine(figures: &Figures) -> String {
    let machine = &figures.machine;
    let mut text = table(
        &["machine", ""],
        &[
            vec!["date".into(), machine.date.clone()],
            vec!["commit".into(), machine.commit.clone()],
            vec!["processors".into(), machine.processors.clone()],
            vec!["memory".into(), machine.memory.clone()],
            vec!["kernel".into(), machine.kernel.clone()],
            vec![
                "Kubernetes".into(),
                format!(
                    "{}, one node, all parts on this machine",
                    figures.kubernetes
                ),
            ],
            vec![
                "kubelet's syncFrequency".into(),
                figures.sync_frequency.clone(),
            ],
            vec![
                "load before the run".into(),
                format!("{:.2} (1 minute)", machine.load),
            ],
            vec!["this program".into(), profile().into()],
            vec![
                "length of the run".into(),
                format!("{:.0} s", figures.length.as_secs_f64()),
            ],
        ],
    );
    if machine.is_busy() {
        text.push_str("\n**The machine was busy with other things: these figures say little.**\n");
    }
    text
}

fn profile() -> &'static str {
    match cfg!(debug_assertions) {
        true => "built without optimisation: its own part of each call is large",
        false => "built with optimisation",
    }
}

fn publish(figures: &Figures) -> String {
    let mut rows: Vec<Vec<String>> = figures.calls.iter().map(calls_row).collect();
    let fetched = &figures.fetched;
    for (label, times) in [
        (
            "publish, first of its ExternalSecret (asks the provider)",
            &fetched.times,
        ),
        ("... of that the provider's answer", &fetched.provider),
        ("... of that everything else", &fetched.beyond),
    ] {
        let mut row = vec![label.to_owned(), "1".to_owned(), times.len().to_string()];
        row.extend(quantiles(times));
        row.extend(["-".to_owned(), "-".to_owned(), "0".to_owned()]);
        rows.push(row);
    }
    let headers = [
        "call",
        "at once",
        "calls",
        "p50 ms",
        "p95 ms",
        "p99 ms",
        "max ms",
        "calls/s",
        "agent CPU ms/call",
        "failed",
    ];
    format!("### Calls on the CSI socket\n\n{}", table(&headers, &rows))
}

fn calls_row(calls: &Calls) -> Vec<String> {
    let mut row = vec![
        calls.kind.label().to_owned(),
        calls.at_once.to_string(),
        calls.times.len().to_string(),
    ];
    row.extend(quantiles(&calls.times));
    row.extend([
        format!("{:.0}", calls.rate()),
        format!("{:.2}", calls.cpu_each()),
        calls.failed.to_string(),
    ]);
    row
}

fn quantiles(times: &Samples) -> [String; 4] {
    [0.5, 0.95, 0.99, 1.0].map(|q| milliseconds(times.quantile(q)))
}

fn pods(figures: &Figures) -> String {
    let mut rows = Vec::new();
    for count in sizes(&figures.batches) {
        for source in [Source::Secret, Source::Latchkey] {
            rows.push(pods_row(figures, count, source));
        }
    }
    let headers = [
        "pods at once",
        "volume",
        "batches",
        "started p50 s",
        "started p99 s",
        "p50 / Secret",
        "kubelet's mount, mean ms",
        "mount / Secret",
        "of the mount in the driver, mean ms",
        "mount without that / Secret",
        "first NodePublishVolume mean ms",
        "p50 ms",
        "p99 ms",
        "NodePublishVolume per pod",
        "NodeGetCapabilities per pod",
        "calls of the provider, ms per batch",
        "agent CPU ms/pod",
    ];
    format!("### Pods on the real kubelet\n\n{}", table(&headers, &rows))
}

fn pods_row(figures: &Figures, count: usize, source: Source) -> Vec<String> {
    let batches = batches(figures, count, source);
    let started = batches
        .iter()
        .fold(Samples::default(), |all, batch| all.and(&batch.started));
    let publishes = sum(batches.iter().map(|batch| &batch.publishes));
    let provider = median_of(&batches, |batch| Some(1000.0 * batch.provider.sum));
    let cpu = median_of(&batches, |batch| {
        Some(1000.0 * batch.cpu.as_secs_f64() / as_float(batch.count))
    });
    let each = |count: fn(&Batch) -> f64| {
        median_of(&batches, |batch| Some(count(batch) / as_float(batch.count)))
    };
    // A mount that is repeated is a publish that is repeated.
    let driver = median_of(&batches, |batch| {
        Some(1000.0 * seconds(batch.all_publishes.mean()?)?)
    });
    let floor = ratio(figures, count, |batch| {
        let mount = seconds(batch.mounts.mean()?)?;
        let driver = batch.all_publishes.mean().unwrap_or_default();
        Some(mount - driver.as_secs_f64())
    });
    let only = |text: String| match source {
        Source::Secret => "-".to_owned(),
        Source::Latchkey => text,
    };
    vec![
        count.to_string(),
        source.label().to_owned(),
        batches.len().to_string(),
        number(started.quantile(0.5).and_then(seconds), 2),
        number(started.quantile(0.99).and_then(seconds), 2),
        only(number(started_ratio(figures, count), 2)),
        number(
            median_of(&batches, |batch| {
                Some(1000.0 * seconds(batch.mounts.mean()?)?)
            }),
            1,
        ),
        only(number(mount_ratio(figures, count), 2)),
        only(number(driver, 1)),
        only(number(floor, 2)),
        milliseconds(publishes.mean()),
        only(at_most(&publishes, 0.5)),
        only(at_most(&publishes, 0.99)),
        only(number(each(|batch| batch.calls[0]), 1)),
        only(number(each(|batch| batch.calls[1]), 1)),
        only(number(provider, 1)),
        only(number(cpu, 1)),
    ]
}

/// Started, p50: this driver's over the Secret's of the same round, the median over rounds.
pub(crate) fn started_ratio(figures: &Figures, count: usize) -> Option<f64> {
    ratio(figures, count, |batch| {
        seconds(batch.started.quantile(0.5)?)
    })
}

/// kubelet's mean mount: this driver's over the Secret's of the same round, the median over rounds.
pub(crate) fn mount_ratio(figures: &Figures, count: usize) -> Option<f64> {
    ratio(figures, count, |batch| seconds(batch.mounts.mean()?))
}

fn ratio(figures: &Figures, count: usize, value: impl Fn(&Batch) -> Option<f64>) -> Option<f64> {
    let ours = batches(figures, count, Source::Latchkey);
    let theirs = batches(figures, count, Source::Secret);
    median(
        ours.iter()
            .zip(&theirs)
            .filter_map(|(ours, theirs)| Some(value(ours)? / value(theirs)?)),
    )
}

/// Sizes of batches, ascending.
pub(crate) fn sizes(batches: &[Batch]) -> Vec<usize> {
    let mut sizes: Vec<usize> = batches.iter().map(|batch| batch.count).collect();
    sizes.sort_unstable();
    sizes.dedup();
    sizes
}

fn batches(figures: &Figures, count: usize, source: Source) -> Vec<&Batch> {
    let is_it = |batch: &&Batch| batch.count == count && batch.source == source;
    figures.batches.iter().filter(is_it).collect()
}

fn median_of(batches: &[&Batch], value: impl Fn(&Batch) -> Option<f64>) -> Option<f64> {
    median(batches.iter().filter_map(|batch| value(batch)))
}

fn sum<'a>(histograms: impl Iterator<Item = &'a Histogram>) -> Histogram {
    histograms.fold(Histogram::default(), |sum, one| sum.and(one))
}

/// ExternalSecrets to Secrets as Markdown; nothing if that was not measured.
pub(crate) fn syncs(passes: &[Pass]) -> String {
    if passes.is_empty() {
        return String::new();
    }
    let row = |pass: &Pass| {
        vec![
            pass.work.label(),
            pass.objects.to_string(),
            number(pass.began.map(|time| time.as_secs_f64()), 1),
            match pass.work {
                Work::First => number(Some(pass.took.as_secs_f64()), 1),
                _ => String::from("-"),
            },
            number(Some(pass.requests_each()), 2),
            number(Some(pass.writes_each()), 2),
            pass.provider_calls.to_string(),
            number(Some(pass.cpu.as_secs_f64()), 2),
            megabytes(pass.memory.rss),
            megabytes(pass.memory.peak),
        ]
    };
    let rows: Vec<Vec<String>> = passes.iter().map(row).collect();
    let headers = [
        "ExternalSecrets to Secrets",
        "objects",
        "first Ready after, s",
        "all after, s",
        "API requests an object",
        "of them writes",
        "calls of the provider",
        "agent CPU s",
        "RSS MB",
        "highest RSS MB",
    ];
    format!(
        "### Secrets, two `data` entries each over {} namespaces\n\n{}\n\n{}",
        crate::syncs::NAMESPACES,
        table(&headers, &rows),
        requests(passes),
    )
}

/// Requests of a kind that are not worth a line if there are fewer.
const FEW: usize = 20;

/// What the requests of first syncs were: about the objects, and the agent's own, which its running time decides.
fn requests(passes: &[Pass]) -> String {
    let mut rows = Vec::new();
    for pass in passes.iter().filter(|pass| pass.work == Work::First) {
        let mut add = |about: &str, kind: &str, count: usize| {
            let cells = [&pass.objects.to_string(), about, kind, &count.to_string()];
            rows.push(cells.map(str::to_owned).to_vec());
        };
        for (kind, count) in &pass.kinds {
            add("the objects", kind, *count);
        }
        let own = &pass.housekeeping;
        for (kind, count) in own.iter().filter(|(_, count)| **count >= FEW) {
            add("the agent's own affairs", kind, *count);
        }
        let rest = own.values().filter(|count| **count < FEW).sum();
        add("the agent's own affairs", "all others", rest);
    }
    table(
        &["objects synced first", "about", "request", "number"],
        &rows,
    )
}

fn memory(figures: &Figures) -> String {
    let rows: Vec<Vec<String>> = figures.held.iter().map(held_row).collect();
    let headers = [
        "agent (roles node and sync)",
        "RSS MB",
        "PSS MB",
        "heap and stacks MB",
        "highest RSS MB",
        "CPU, thousandths of a core",
    ];
    format!("### Memory\n\n{}", table(&headers, &rows))
}

fn held_row(held: &Held) -> Vec<String> {
    let Memory {
        rss,
        pss,
        own,
        peak,
    } = held.memory;
    vec![
        held.what.clone(),
        megabytes(rss),
        megabytes(pss),
        megabytes(own),
        megabytes(peak),
        number(held.cpu.map(|share| 1000.0 * share), 1),
    ]
}

fn images(figures: &Figures) -> String {
    let rows: Vec<Vec<String>> = figures
        .images
        .iter()
        .map(|(name, size)| {
            let Size {
                layers,
                compressed,
                program,
            } = size;
            vec![
                name.clone(),
                megabytes(*layers),
                megabytes(*compressed),
                megabytes(*program),
            ]
        })
        .collect();
    let headers = ["image", "layers MB", "compressed MB", "program MB"];
    format!("### Images\n\n{}", table(&headers, &rows))
}

/// A Markdown table.
pub(crate) fn table(headers: &[&str], rows: &[Vec<String>]) -> String {
    let mut text = String::new();
    // Writing to a String does not fail.
    let _ = writeln!(text, "| {} |", headers.join(" | "));
    let _ = writeln!(text, "|{}", "---|".repeat(headers.len()));
    for row in rows {
        let _ = writeln!(text, "| {} |", row.join(" | "));
    }
    text
}

/// The bound of the bucket that holds a quantile.
fn at_most(histogram: &Histogram, q: f64) -> String {
    histogram.quantile_bound(q).map_or_else(
        || "-".to_owned(),
        |bound| format!("≤ {}", bound.as_secs_f64() * 1000.0),
    )
}

/// Milliseconds with two digits.
pub(crate) fn milliseconds(time: Option<Duration>) -> String {
    number(time.map(|time| 1000.0 * time.as_secs_f64()), 2)
}

/// Millions of bytes with one digit.
pub(crate) fn megabytes(bytes: u64) -> String {
    format!("{:.1}", as_megabytes(bytes))
}

/// Millions of bytes.
pub(crate) fn as_megabytes(bytes: u64) -> f64 {
    let kilobytes = u32::try_from(bytes / 1000).unwrap_or(u32::MAX);
    f64::from(kilobytes) / 1000.0
}

/// A number with `digits` behind the point, `-` where there is none.
pub(crate) fn number(value: Option<f64>, digits: usize) -> String {
    value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
}

fn seconds(time: Duration) -> Option<f64> {
    Some(time.as_secs_f64()).filter(|seconds| *seconds > 0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_between_the_markers_is_replaced() {
        let page = format!("head\n{BEGIN}\nold\n{END}\ntail\n");
        let once = replaced(&page, "new\n").unwrap();
        assert_eq!(once, format!("head\n{BEGIN}\n\nnew\n\n{END}\ntail\n"));
        assert_eq!(replaced(&once, "new\n").unwrap(), once);
        assert_eq!(replaced("head\n", "new\n"), None);
    }

    #[test]
    fn a_table_has_a_rule_under_its_head() {
        let text = table(&["a", "b"], &[vec!["1".into(), "2".into()]]);
        assert_eq!(text, "| a | b |\n|---|---|\n| 1 | 2 |\n");
    }
}
