//! When a failed object is looked at again (`externalsecret.md` 2.13; provider-protocol.md P-RT-5).

use std::collections::HashMap;
use std::time::{Duration, Instant};

use parking_lot::Mutex;

use crate::schedule::phase;

/// Pause after the first failure; doubles with each further one.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause, inclusive.
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 60);
/// Longest pause while a store is not ready, which is looked up and costs no call to a provider. Once it is ready, the object is
/// looked at without waiting for this.
const LONGEST_PAUSE_FOR_STORE: Duration = Duration::from_secs(30);
/// The same while nobody has looked at the store yet (`pushsecret-and-stores.md` B4).
const LONGEST_PAUSE_FOR_NEW_STORE: Duration = Duration::from_secs(5);
/// Pauses of this length and more are shortened by up to a tenth, so that objects that failed together come back apart.
const SPREAD_FROM: Duration = Duration::from_secs(8);
/// Longest wait that a provider or the API server may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// How long an object may wait for its store before an event says so (B4).
const PATIENCE_WITH_STORE: Duration = Duration::from_secs(60);
/// Retries per second over all objects, once [`BURST`] is used up.
const RATE: f64 = 10.0;
/// Retries that may come at once.
const BURST: f64 = 100.0;

/// Namespace and name of an object.
pub(super) type Key = (String, String);

/// How the pauses between the looks at a failed object grow.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pace {
    /// From one second to seven minutes.
    Growing,
    /// As [`Self::Growing`], up to half a minute: a store is not ready.
    Store,
    /// As [`Self::Growing`], up to a few seconds: a store is new.
    NewStore,
    /// Seven minutes from the first time on: the credentials were refused, and asking again would only lock them.
    Parked,
}

// === impl Pace ===

impl Pace {
    /// The first pause, and the longest.
    const fn bounds(self) -> (Duration, Duration) {
        match self {
            Self::Growing => (FIRST_PAUSE, LONGEST_PAUSE),
            Self::Store => (FIRST_PAUSE, LONGEST_PAUSE_FOR_STORE),
            Self::NewStore => (FIRST_PAUSE, LONGEST_PAUSE_FOR_NEW_STORE),
            Self::Parked => (LONGEST_PAUSE, LONGEST_PAUSE),
        }
    }
}

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
    /// Counts a failure and returns the pause before the next look: the longest of the object's own, of what the provider or the API
    /// server asked for, and of the rate of all retries. What was asked for is never shortened.
    pub(super) fn failed(
        &self,
        key: &Key,
        pace: Pace,
        retry_after: Option<Duration>,
        now: Instant,
    ) -> Duration {
        let mut state = self.0.lock();
        let failures = state.failures.entry(key.clone()).or_insert(Failures {
            count: 0,
            first: now,
        });
        let count = failures.count;
        failures.count = count.saturating_add(1);
        let (first, longest) = pace.bounds();
        let share = phase::share(&format!("{}/{} {count}", key.0, key.1)) / 10.0;
        let mut own = first.saturating_mul(1 << count.min(16)).min(longest);
        if own >= SPREAD_FROM {
            own -= own.mul_f64(share);
        }
        let asked = retry_after.unwrap_or_default().min(LONGEST_RETRY_AFTER);
        own.max(asked + asked.mul_f64(share))
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

    /// The pauses after that many failures in a row, in whole seconds.
    fn pauses<const N: usize>(name: &str, pace: Pace) -> [u64; N] {
        let (backoff, now) = (Backoff::default(), Instant::now());
        std::array::from_fn(|_| backoff.failed(&key(name), pace, None, now).as_secs())
    }

    fn is_near(pause: u64, wanted: u64) -> bool {
        pause <= wanted && (pause == wanted || wanted >= 8) && pause + 1 >= wanted - wanted / 10
    }

    #[test]
    fn pauses_double_up_to_seven_minutes_and_begin_again_after_a_success() {
        // externalsecret.md 2.13; provider-protocol.md P-RT-5
        let wanted = [1, 2, 4, 8, 16, 32, 64, 128, 256, 420, 420, 420];
        for name in ["x", "y", "z"] {
            let found: [u64; 12] = pauses(name, Pace::Growing);
            let is_as_wanted = found.iter().zip(wanted).all(|(f, w)| is_near(*f, w));
            assert!(is_as_wanted, "{found:?}");
        }
        let (backoff, now) = (Backoff::default(), Instant::now());
        let failed = || {
            backoff
                .failed(&key("x"), Pace::Growing, None, now)
                .as_secs()
        };
        assert_eq!([failed(), failed(), failed()], [1, 2, 4]);
        backoff.forget(&key("x"));
        assert_eq!(failed(), 1);
    }

    #[test]
    fn a_provider_may_ask_for_a_longer_pause_and_is_never_asked_earlier() {
        // provider-protocol.md P-RT-3
        let now = Instant::now();
        for (asked, least, most) in [
            (30, 30, 33),
            (1200, 1200, 1320),
            (9999, 3600, 3960),
            (0, 1, 1),
        ] {
            for name in ["x", "y", "z"] {
                let backoff = Backoff::default();
                let asked = Some(Duration::from_secs(asked));
                let pause = backoff.failed(&key(name), Pace::Growing, asked, now);
                assert!(
                    (least..=most).contains(&pause.as_secs()),
                    "{asked:?} {pause:?}"
                );
            }
        }
        // The growing pause of the object itself may be longer.
        let backoff = Backoff::default();
        for _ in 0..9 {
            backoff.failed(&key("x"), Pace::Growing, None, now);
        }
        let asked = Some(Duration::from_secs(1));
        let pause = backoff.failed(&key("x"), Pace::Growing, asked, now);
        assert!(is_near(pause.as_secs(), 420), "{pause:?}");
    }

    #[test]
    fn refused_credentials_are_not_tried_again_for_minutes() {
        let found: [u64; 4] = pauses("x", Pace::Parked);
        assert!(found.iter().all(|pause| is_near(*pause, 420)), "{found:?}");
        let (backoff, now) = (Backoff::default(), Instant::now());
        let asked = Some(Duration::from_secs(900));
        assert!(backoff.failed(&key("x"), Pace::Parked, asked, now) >= Duration::from_secs(900));
    }

    #[test]
    fn objects_that_failed_together_come_back_apart() {
        let now = Instant::now();
        for pace in [Pace::Parked, Pace::Growing] {
            let mut pauses: Vec<Duration> = (0..50)
                .map(|number| {
                    let (backoff, key) = (Backoff::default(), key(&number.to_string()));
                    (0..10)
                        .map(|_| backoff.failed(&key, pace, None, now))
                        .last()
                })
                .map(Option::unwrap)
                .collect();
            pauses.sort_unstable();
            assert!(
                pauses[45] - pauses[5] > Duration::from_secs(20),
                "{pauses:?}"
            );
        }
    }

    #[test]
    fn a_store_that_is_not_ready_is_looked_at_often_and_complained_about_late() {
        // pushsecret-and-stores.md B4
        assert_eq!(pauses("x", Pace::NewStore), [1, 2, 4, 5, 5]);
        let known: [u64; 7] = pauses("x", Pace::Store);
        let wanted = [1, 2, 4, 8, 16, 30, 30];
        assert!(
            known.iter().zip(wanted).all(|(f, w)| is_near(*f, w)),
            "{known:?}"
        );
        let (backoff, now) = (Backoff::default(), Instant::now());
        backoff.failed(&key("x"), Pace::NewStore, None, now);
        assert!(!backoff.is_impatient(&key("x"), now + Duration::from_secs(59)));
        assert!(backoff.is_impatient(&key("x"), now + Duration::from_secs(60)));
    }

    #[test]
    fn a_store_that_stays_not_ready_is_told_less_and_less_often() {
        let (backoff, now) = (Backoff::default(), Instant::now());
        let told: Vec<u32> = (1..20)
            .filter(|_| {
                backoff.failed(&key("x"), Pace::Store, None, now);
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
            .map(|n| backoff.failed(&key(&n.to_string()), Pace::Growing, None, now))
            .last();
        assert_eq!(last.unwrap().as_secs(), 5);
        let later = now + Duration::from_secs(60);
        let pause = backoff.failed(&key("y"), Pace::Growing, None, later);
        assert_eq!(pause.as_secs(), 1);
    }
}
