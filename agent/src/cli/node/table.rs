//! Results as columns for a person.

use latchkey_csi::operations::{Release, VolumeName, VolumeReport};

/// What stands where nothing is known.
const NOTHING: &str = "-";

/// All volumes, one a line.
pub(super) fn of_volumes(volumes: &[VolumeReport]) -> String {
    let head = [
        "NAMESPACE",
        "POD",
        "VOLUME",
        "SOURCE",
        "STATE",
        "AGE",
        "NEXT",
        "GENERATION",
        "LAST ERROR",
    ];
    let row = |report: &VolumeReport| {
        let VolumeReport {
            name,
            source,
            state,
            age_seconds,
            generation,
            next_refresh_seconds,
            last_error,
            bytes: _,
        } = report;
        let [namespace, pod, volume] = who(name);
        [
            namespace,
            pod,
            volume,
            cell(source),
            cell(state),
            time(*age_seconds),
            time(*next_refresh_seconds),
            cell(generation.as_deref().unwrap_or_default()),
            cell(last_error.as_deref().unwrap_or_default()),
        ]
    };
    if volumes.is_empty() {
        return String::from("no volumes\n");
    }
    aligned(head, volumes.iter().map(row))
}

/// What became of each volume, one a line.
pub(super) fn of_releases(releases: &[Release]) -> String {
    let row = |release: &Release| {
        let [namespace, pod, volume] = who(&release.name);
        [
            cell(release.outcome.as_str()),
            namespace,
            pod,
            volume,
            cell(release.reason.as_deref().unwrap_or_default()),
        ]
    };
    if releases.is_empty() {
        return String::from("nothing to release\n");
    }
    let head = ["OUTCOME", "NAMESPACE", "POD", "VOLUME", "REASON"];
    aligned(head, releases.iter().map(row))
}

/// Namespace, pod and volume; the UID where nobody remembers the pod's name.
fn who(name: &VolumeName) -> [String; 3] {
    let pod = if name.pod.is_empty() {
        &name.pod_uid
    } else {
        &name.pod
    };
    [cell(&name.namespace), cell(pod), cell(&name.volume)]
}

/// A text that moves no cursor.
fn cell(text: &str) -> String {
    if text.is_empty() {
        return NOTHING.to_owned();
    }
    text.chars()
        .map(|character| {
            if character.is_control() {
                ' '
            } else {
                character
            }
        })
        .collect()
}

/// Seconds in the largest unit that leaves at least two of it.
fn time(seconds: Option<u64>) -> String {
    match seconds {
        None => NOTHING.to_owned(),
        Some(seconds @ 0..120) => format!("{seconds}s"),
        Some(seconds @ 120..7200) => format!("{}m", seconds / 60),
        Some(seconds @ 7200..172_800) => format!("{}h", seconds / 3600),
        Some(seconds) => format!("{}d", seconds / 86_400),
    }
}

fn aligned<const COUNT: usize>(
    head: [&str; COUNT],
    rows: impl Iterator<Item = [String; COUNT]>,
) -> String {
    let rows: Vec<_> = std::iter::once(head.map(str::to_owned))
        .chain(rows)
        .collect();
    let width = |column: usize| {
        let widths = rows.iter().map(|row| row[column].chars().count());
        widths.max().unwrap_or_default()
    };
    let widths: [usize; COUNT] = std::array::from_fn(width);
    let mut text = String::new();
    for row in &rows {
        let mut line = String::new();
        for (cell, width) in row.iter().zip(widths) {
            line.push_str(&format!("{cell:width$}   "));
        }
        text.push_str(line.trim_end());
        text.push('\n');
    }
    text
}
