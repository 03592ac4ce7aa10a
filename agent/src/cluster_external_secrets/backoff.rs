//! When a failed object is looked at again (`externalsecret.md` 2.13, 6.2 step 9).

use std::collections::HashMap;
use std::time::Duration;

use parking_lot::Mutex;

/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, inclusive.
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 60);

/// How often each object failed since its last success.
#[derive(Default)]
pub(super) struct Backoff(Mutex<HashMap<String, u32>>);

// === impl Backoff ===

impl Backoff {
    /// Counts a failure; the pause before the next look.
    pub(super) fn failed(&self, name: &str) -> Duration {
        let mut failures = self.0.lock();
        let count = failures.entry(name.to_owned()).or_default();
        let pause = FIRST_PAUSE
            .saturating_mul(1 << (*count).min(16))
            .min(LONGEST_PAUSE);
        *count = count.saturating_add(1);
        pause
    }

    /// Forgets an object that succeeded or is gone.
    pub(super) fn forget(&self, name: &str) {
        self.0.lock().remove(name);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pauses_double_up_to_seven_minutes_and_begin_again_after_a_success() {
        let backoff = Backoff::default();
        let pauses: Vec<u64> = (0..11).map(|_| backoff.failed("x").as_secs()).collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 420, 420]);
        backoff.forget("x");
        assert_eq!(backoff.failed("x").as_secs(), 1);
    }
}
