//! Holds `docs/metrics.md` against what processes expose. Part of the tests of each crate that has series.

use std::collections::BTreeSet;

const PAGE: &str = include_str!("../docs/metrics.md");

/// Panics unless the tables below the heading `## {section}` name exactly the series of an exposition in the OpenMetrics text
/// format, with their types and their labels in order.
pub(crate) fn assert_documented(section: &str, exposition: &str) {
    let (documented, exposed) = (documented(section), exposed(exposition));
    let missing: Vec<_> = exposed.difference(&documented).collect();
    assert!(missing.is_empty(), "not in docs/metrics.md: {missing:#?}");
    let invented: Vec<_> = documented.difference(&exposed).collect();
    assert!(
        invented.is_empty(),
        "in docs/metrics.md, but not exposed: {invented:#?}"
    );
}

/// Rows as `name type label,label`.
fn documented(section: &str) -> BTreeSet<String> {
    let (_, rest) = PAGE
        .split_once(&format!("\n## {section}\n"))
        .unwrap_or_else(|| panic!("docs/metrics.md has no section {section}"));
    let section = rest.split("\n## ").next().unwrap_or_default();
    let rows = section
        .lines()
        .filter(|line| line.starts_with("| `"))
        .map(|line| {
            let mut cells = line.trim_matches('|').split('|').map(str::trim);
            let mut cell = || cells.next().unwrap_or_default().replace(['`', ' '], "");
            format!("{} {} {}", cell(), cell(), cell())
        });
    rows.collect()
}

/// The same of an exposition. The label that tells buckets apart does not count.
fn exposed(text: &str) -> BTreeSet<String> {
    let (mut family, mut kind) = ("", "");
    let mut found = BTreeSet::new();
    for line in text.lines() {
        if let Some(descriptor) = line.strip_prefix("# TYPE ") {
            (family, kind) = descriptor.split_once(' ').unwrap_or_default();
        }
        if line.starts_with('#') {
            continue;
        }
        let labels = match line.split_once('{') {
            Some((_, labels)) => labels.rsplit_once('}').map_or(labels, |(labels, _)| labels),
            None => "",
        };
        let names: Vec<_> = labels
            .split("\",")
            .filter_map(|label| Some(label.split_once('=')?.0))
            .filter(|name| *name != "le")
            .collect();
        let suffix = match kind {
            "counter" => "_total",
            "info" => "_info",
            _ => "",
        };
        found.insert(format!("{family}{suffix} {kind} {}", names.join(",")));
    }
    found
}
