//! Series in the text formats of Prometheus and OpenMetrics, as much of them as histograms need.

use std::collections::BTreeMap;
use std::time::Duration;

/// All series of one scrape.
#[derive(Clone, Debug, Default)]
pub(crate) struct Scrape(Vec<Series>);

#[derive(Clone, Debug)]
struct Series {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

/// A histogram, summed over all its series that were asked for.
#[derive(Clone, Debug, Default, PartialEq)]
pub(crate) struct Histogram {
    /// Number of observations.
    pub(crate) count: f64,
    /// Sum of the observations, seconds.
    pub(crate) sum: f64,
    /// Upper bounds in seconds and the number of observations up to each.
    buckets: Vec<(f64, f64)>,
}

// === impl Scrape ===

impl Scrape {
    /// Reads every line that is a series; comments and exemplars are passed over.
    pub(crate) fn parse(text: &str) -> Self {
        Self(text.lines().filter_map(parse_line).collect())
    }

    /// The sum of the series `name` that carry all of `labels`.
    pub(crate) fn counter(&self, name: &str, labels: &[(&str, &str)]) -> f64 {
        let is_it = |series: &&Series| {
            let mut wanted = labels.iter();
            series.name == name
                && wanted
                    .all(|(key, value)| series.labels.get(*key).is_some_and(|have| have == value))
        };
        self.0.iter().filter(is_it).map(|series| series.value).sum()
    }

    /// The histogram `name`, of the series that carry all of `labels`.
    pub(crate) fn histogram(&self, name: &str, labels: &[(&str, &str)]) -> Histogram {
        let of = |suffix: &str| {
            let name = format!("{name}_{suffix}");
            self.0.iter().filter(move |series| {
                series.name == name
                    && labels.iter().all(|(key, value)| {
                        series.labels.get(*key).is_some_and(|have| have == value)
                    })
            })
        };
        let mut buckets: Vec<(f64, f64)> = Vec::new();
        for series in of("bucket") {
            let Some(bound) = series.labels.get("le").and_then(|text| parse_number(text)) else {
                continue;
            };
            match buckets
                .iter_mut()
                .find(|(have, _)| have.total_cmp(&bound).is_eq())
            {
                Some((_, count)) => *count += series.value,
                None => buckets.push((bound, series.value)),
            }
        }
        buckets.sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
        Histogram {
            count: of("count").map(|series| series.value).sum(),
            sum: of("sum").map(|series| series.value).sum(),
            buckets,
        }
    }
}

// === impl Histogram ===

impl Histogram {
    /// What was observed after `before`, an earlier scrape of the same histogram.
    pub(crate) fn since(&self, before: &Self) -> Self {
        let earlier = |bound: f64| {
            let found = before
                .buckets
                .iter()
                .find(|(have, _)| have.total_cmp(&bound).is_eq());
            found.map_or(0.0, |(_, count)| *count)
        };
        Self {
            count: self.count - before.count,
            sum: self.sum - before.sum,
            buckets: self
                .buckets
                .iter()
                .map(|(bound, count)| (*bound, count - earlier(*bound)))
                .collect(),
        }
    }

    /// Both together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        let nothing = Self::default();
        let mut sum = self.since(&nothing);
        sum.count += other.count;
        sum.sum += other.sum;
        for (bound, count) in &other.buckets {
            match sum
                .buckets
                .iter_mut()
                .find(|(have, _)| have.total_cmp(bound).is_eq())
            {
                Some((_, have)) => *have += count,
                None => sum.buckets.push((*bound, *count)),
            }
        }
        sum.buckets
            .sort_unstable_by(|(one, _), (other, _)| one.total_cmp(other));
        sum
    }

    /// The mean observation. `None` without observations.
    pub(crate) fn mean(&self) -> Option<Duration> {
        (self.count > 0.0)
            .then(|| Duration::try_from_secs_f64(self.sum / self.count).ok())
            .flatten()
    }

    /// The bound of the bucket that holds the quantile `q`: the quantile is at most that. `None` without observations, or
    /// where only the last, unbounded bucket holds it.
    pub(crate) fn quantile_bound(&self, q: f64) -> Option<Duration> {
        let (bound, _) = self
            .buckets
            .iter()
            .find(|(_, count)| self.count > 0.0 && *count >= q * self.count)?;
        Duration::try_from_secs_f64(*bound).ok()
    }
}

fn parse_line(line: &str) -> Option<Series> {
    let line = line.trim_start();
    if line.is_empty() || line.starts_with('#') {
        return None;
    }
    let end = line.find(['{', ' '])?;
    let (name, rest) = line.split_at(end);
    let (labels, rest) = match rest.strip_prefix('{') {
        Some(inside) => parse_labels(inside)?,
        None => (BTreeMap::new(), rest),
    };
    let value = parse_number(rest.split_ascii_whitespace().next()?)?;
    Some(Series {
        name: name.to_owned(),
        labels,
        value,
    })
}

/// Labels up to the closing brace, and what follows it.
fn parse_labels(mut text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    loop {
        text = text.trim_start_matches([',', ' ']);
        if let Some(rest) = text.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (key, rest) = text.split_once("=\"")?;
        let mut value = String::new();
        let mut characters = rest.char_indices();
        loop {
            match characters.next()? {
                (at, '"') => {
                    text = rest.get(at + 1..)?;
                    break;
                }
                (_, '\\') => match characters.next()? {
                    (_, 'n') => value.push('\n'),
                    (_, other) => value.push(other),
                },
                (_, other) => value.push(other),
            }
        }
        labels.insert(key.to_owned(), value);
    }
}

fn parse_number(text: &str) -> Option<f64> {
    match text {
        "+Inf" => Some(f64::INFINITY),
        _ => text.parse().ok(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = r#"
# HELP t Times, with a { in it
t_sum{op="publish",first="true"} 0.030
t_count{op="publish",first="true"} 3
t_bucket{le="0.005",op="publish",first="true"} 1
t_bucket{le="0.01",op="publish",first="true"} 2
t_bucket{le="+Inf",op="publish",first="true"} 3 # {trace="a"} 0.02
t_sum{op="publish",first="false"} 1
t_count{op="publish",first="false"} 1
t_bucket{op="publish",first="false",le="0.01"} 0
t_bucket{op="publish",first="false",le="+Inf"} 1
odd{text="a \"quoted\", b } c"} 1.5e3
plain 7
"#;

    #[test]
    fn labels_select_series_and_may_hold_anything() {
        let scrape = Scrape::parse(TEXT);
        assert_eq!(scrape.0.len(), 11);
        let odd = scrape.0.iter().find(|series| series.name == "odd");
        assert_eq!(
            odd.map(|series| series.labels["text"].as_str()),
            Some("a \"quoted\", b } c")
        );
        assert_eq!(scrape.histogram("t", &[("first", "true")]).count, 3.0);
        assert_eq!(scrape.histogram("t", &[("op", "publish")]).count, 4.0);
        assert_eq!(scrape.histogram("t", &[("op", "other")]).count, 0.0);
        assert_eq!(scrape.counter("t_count", &[("op", "publish")]), 4.0);
        assert_eq!(scrape.counter("t_count", &[("first", "true")]), 3.0);
        assert_eq!(scrape.counter("t", &[]), 0.0);
    }

    #[test]
    fn quantiles_are_bounds_of_buckets_and_differences_are_taken_per_bucket() {
        let all = Scrape::parse(TEXT).histogram("t", &[("first", "true")]);
        assert_eq!(all.mean(), Some(Duration::from_millis(10)));
        assert_eq!(all.quantile_bound(0.3), Some(Duration::from_millis(5)));
        assert_eq!(all.quantile_bound(0.5), Some(Duration::from_millis(10)));
        assert_eq!(all.quantile_bound(0.99), None);
        let none = all.since(&all);
        assert_eq!((none.count, none.mean()), (0.0, None));
        assert_eq!(none.quantile_bound(0.5), None);
        assert_eq!(all.since(&Histogram::default()), all);
        assert_eq!(all.and(&all).since(&all), all);
    }

    #[test]
    fn half_a_line_is_no_series() {
        for line in [
            "",
            "# x 1",
            "x",
            "x{",
            "x{a=\"",
            "x{a=\"b\"}",
            "x{a} 1",
            "x y",
        ] {
            assert!(parse_line(line).is_none(), "{line}");
        }
    }
}
