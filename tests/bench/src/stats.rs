//! Samples of a time, and what is said about them.

use std::time::Duration;

/// Measured times in order.
#[derive(Clone, Debug, Default)]
pub(crate) struct Samples(Vec<Duration>);

// === impl Samples ===

impl Samples {
    /// How many there are.
    pub(crate) fn len(&self) -> usize {
        self.0.len()
    }

    /// The smallest sample that at least the share `q` (0 to 1) of all samples does not exceed: the nearest rank, never a
    /// value between two samples. `None` without samples.
    pub(crate) fn quantile(&self, q: f64) -> Option<Duration> {
        let count = self.0.len();
        let rank = (1..=count)
            .find(|rank| as_float(*rank) >= q * as_float(count))
            .unwrap_or(count);
        self.0.get(rank.saturating_sub(1)).copied()
    }

    /// The largest sample.
    pub(crate) fn max(&self) -> Option<Duration> {
        self.0.last().copied()
    }

    /// These and those together.
    pub(crate) fn and(&self, other: &Self) -> Self {
        self.0.iter().chain(&other.0).copied().collect()
    }
}

impl FromIterator<Duration> for Samples {
    fn from_iter<I: IntoIterator<Item = Duration>>(times: I) -> Self {
        let mut times: Vec<Duration> = times.into_iter().collect();
        times.sort_unstable();
        Self(times)
    }
}

/// The middle of `values`; the mean of the two in the middle of an even number. `None` without values.
pub(crate) fn median(values: impl IntoIterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.into_iter().collect();
    values.sort_unstable_by(f64::total_cmp);
    let half = values.len() / 2;
    let upper = *values.get(half)?;
    match values.len() % 2 {
        0 => Some(values.get(half - 1)?.midpoint(upper)),
        _ => Some(upper),
    }
}

/// A count as a number to calculate with.
pub(crate) fn as_float(count: usize) -> f64 {
    u32::try_from(count).map_or(f64::from(u32::MAX), f64::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_quantile_is_the_nearest_rank() {
        let samples: Samples = (1..=200).rev().map(Duration::from_millis).collect();
        for (q, expected) in [(0.0, 1), (0.5, 100), (0.95, 190), (0.99, 198), (1.0, 200)] {
            assert_eq!(
                samples.quantile(q),
                Some(Duration::from_millis(expected)),
                "{q}"
            );
        }
        assert_eq!(Samples::default().quantile(0.5), None);
        let one: Samples = [Duration::from_millis(7)].into_iter().collect();
        assert_eq!(one.quantile(0.99), Some(Duration::from_millis(7)));
    }

    #[test]
    fn the_median_of_an_even_number_lies_between_the_middle_two() {
        assert_eq!(median([3.0, 1.0, 2.0]), Some(2.0));
        assert_eq!(median([4.0, 1.0, 2.0, 3.0]), Some(2.5));
        assert_eq!(median([]), None);
    }
}
