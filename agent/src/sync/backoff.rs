//! When a failed object is looked at again (`externalsecret.md` 2.13).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, inclusive.
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 60);
/// Longest pause while a store is not ready: looking costs no call to a provider (`pushsecret-and-stores.md` B4).
const LONGEST_PAUSE_FOR_STORE: Duration = Duration::from_secs(5);
/// How long an object may wait for its store before an event says so (B4).
const PATIENCE_WITH_STORE: Duration = Duration::from_secs(60);
/// Retries per second over all objects, once [`BURST`] is used up.
const RATE: f64 = 10.0;
/// Retries that may come at once.
const BURST: f64 = 100.0;

/// Namespace and name of an object.
pub(super) type Key = (String, String);

/// Failures of objects since their last success.
pub(super) struct Backoff(Mutex<State>);

struct State {
    failures: HashMap<Key, Failures>,
    tokens: f64,
    filled: Instant,
}

struct Failures {
    count: u32,
    first: Instant,
}

// === impl Backoff ===

impl Default for Backoff {
    fn default() -> Self {
        Self(Mutex::new(State {
            failures: HashMap::new(),
            tokens: BURST,
            filled: Instant::now(),
        }))
    }
}

impl Backoff {
    /// Counts a failure and returns the pause before the next look: the longest of the object's own, the provider's wish (both up
    /// to 7 minutes) and the rate of all retries.
    pub(super) fn failed(
        &self,
        key: &Key,
        retry_after: Option<Duration>,
        waits_for_store: bool,
        now: Instant,
    ) -> Duration {
        let mut state = self.0.lock();
        let failures = state.failures.entry(key.clone()).or_insert(Failures {
            count: 0,
            first: now,
        });
        let longest = if waits_for_store {
            LONGEST_PAUSE_FOR_STORE
        } else {
            LONGEST_PAUSE
        };
        let own = FIRST_PAUSE
            .saturating_mul(1 << failures.count.min(16))
            .min(longest);
        failures.count = failures.count.saturating_add(1);
        own.max(retry_after.unwrap_or_default().min(LONGEST_PAUSE))
            .max(state.reserve(now))
    }

    /// Whether a failure that comes every few seconds deserves an event again: the first, the second, the fourth and so on do.
    pub(super) fn is_worth_telling(&self, key: &Key) -> bool {
        let state = self.0.lock();
        let failures = state.failures.get(key);
        failures.is_none_or(|failures| failures.count.is_power_of_two())
    }

    /// Whether the object has been failing for so long that waiting for a store deserves an event.
    pub(super) fn is_impatient(&self, key: &Key, now: Instant) -> bool {
        let state = self.0.lock();
        state
            .failures
            .get(key)
            .is_some_and(|failures| now.duration_since(failures.first) >= PATIENCE_WITH_STORE)
    }

    /// Forgets an object that succeeded or is gone.
    pub(super) fn forget(&self, key: &Key) {
        self.0.lock().failures.remove(key);
    }
}

// === impl State ===

impl State {
    /// Takes one token and returns how long to wait for it.
    fn reserve(&mut self, now: Instant) -> Duration {
        let gained = now.saturating_duration_since(self.filled).as_secs_f64() * RATE;
        self.tokens = (self.tokens + gained).min(BURST) - 1.0;
        self.filled = now;
        Duration::from_secs_f64((-self.tokens / RATE).max(0.0))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(name: &str) -> Key {
        (String::from("a"), String::from(name))
    }

    #[test]
    fn pauses_double_up_to_seven_minutes_and_begin_again_after_a_success() {
        // externalsecret.md 2.13
        let (backoff, now) = (Backoff::default(), Instant::now());
        let pauses: Vec<u64> = (0..12)
            .map(|_| backoff.failed(&key("x"), None, false, now).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 8, 16, 32, 64, 128, 256, 420, 420, 420]);
        backoff.forget(&key("x"));
        assert_eq!(backoff.failed(&key("x"), None, false, now).as_secs(), 1);
    }

    #[test]
    fn a_provider_may_ask_for_a_longer_pause() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        assert_eq!(
            backoff
                .failed(&key("x"), Some(Duration::from_secs(30)), false, now)
                .as_secs(),
            30
        );
        assert_eq!(
            backoff
                .failed(&key("x"), Some(Duration::from_secs(9999)), false, now)
                .as_secs(),
            420
        );
    }

    #[test]
    fn a_store_that_is_not_ready_is_looked_at_often_and_complained_about_late() {
        // pushsecret-and-stores.md B4
        let (backoff, now) = (Backoff::default(), Instant::now());
        let pauses: Vec<u64> = (0..5)
            .map(|_| backoff.failed(&key("x"), None, true, now).as_secs())
            .collect();
        assert_eq!(pauses, [1, 2, 4, 5, 5]);
        assert!(!backoff.is_impatient(&key("x"), now + Duration::from_secs(59)));
        assert!(backoff.is_impatient(&key("x"), now + Duration::from_secs(60)));
    }

    #[test]
    fn a_store_that_stays_not_ready_is_told_less_and_less_often() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let told: Vec<u32> = (1..20)
            .filter(|_| {
                backoff.failed(&key("x"), None, true, now);
                backoff.is_worth_telling(&key("x"))
            })
            .collect();
        assert_eq!(told, [1, 2, 4, 8, 16]);
    }

    #[test]
    fn many_failing_objects_share_a_rate() {
        // externalsecret.md 2.13: 10 per second, burst 100
        let (backoff, now) = (Backoff::default(), Instant::now());
        let last = (0..150)
            .map(|n| backoff.failed(&key(&n.to_string()), None, false, now))
            .last();
        assert_eq!(last.unwrap().as_secs(), 5);
        let later = now + Duration::from_secs(60);
        assert_eq!(backoff.failed(&key("y"), None, false, later).as_secs(), 1);
    }
}
