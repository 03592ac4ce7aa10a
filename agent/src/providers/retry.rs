//! When a call is tried again, and after how long (P-RT-1 to P-RT-3).

use std::time::Duration;

use rand::RngExt as _;

use crate::stores::RetryOverride;

/// Attempts and pauses of one call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RetryPolicy {
    /// Attempts, the first included.
    pub attempts: u32,
    /// Pause before the second attempt.
    pub initial: Duration,
    /// Factor from each pause to the next.
    pub multiplier: u32,
    /// Longest pause, before jitter.
    pub cap: Duration,
}

impl Default for RetryPolicy {
    /// 3 attempts, 100 ms, doubled, at most 10 s (provider-protocol.md 5).
    fn default() -> Self {
        Self {
            attempts: 3,
            initial: Duration::from_millis(100),
            multiplier: 2,
            cap: Duration::from_secs(10),
        }
    }
}

impl From<RetryOverride> for RetryPolicy {
    /// A store's `retrySettings`: a constant pause.
    fn from(settings: RetryOverride) -> Self {
        Self {
            attempts: settings.retries.saturating_add(1),
            initial: settings.interval,
            multiplier: 1,
            cap: settings.interval,
        }
    }
}

impl RetryPolicy {
    /// A policy without retries.
    #[must_use]
    pub fn once() -> Self {
        Self {
            attempts: 1,
            ..Self::default()
        }
    }

    /// The pause after the failed attempt number `attempt` (the first is 1). `jitter` is 0 to 1 and adds up to a quarter.
    #[must_use]
    pub fn pause(&self, attempt: u32, jitter: f64) -> Duration {
        let factor = self.multiplier.saturating_pow(attempt.saturating_sub(1));
        let pause = self.initial.saturating_mul(factor).min(self.cap);
        pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 4.0)
    }

    /// The pause with a random jitter.
    pub(crate) fn random_pause(&self, attempt: u32) -> Duration {
        self.pause(attempt, rand::rng().random_range(0.0..=1.0))
    }

    /// How long a call may take in all if one attempt may take `attempt`.
    ///
    /// Built-in retries share the time of one attempt; a store that sets its own gets what it asks for.
    #[must_use]
    pub fn budget(&self, attempt: Duration) -> Duration {
        if *self
            == (Self {
                attempts: self.attempts,
                ..Self::default()
            })
        {
            return attempt;
        }
        let pauses: Duration = (1..self.attempts)
            .map(|number| self.pause(number, 1.0))
            .sum();
        attempt.saturating_mul(self.attempts).saturating_add(pauses)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::RetryPolicy;
    use crate::stores::RetryOverride;

    #[test]
    fn pauses_double_up_to_the_cap_and_jitter_comes_on_top() {
        let policy = RetryPolicy {
            attempts: 20,
            ..RetryPolicy::default()
        };
        let cases = [
            (1, 0.0, 100),
            (2, 0.0, 200),
            (3, 0.0, 400),
            (1, 1.0, 125),
            (8, 0.0, 10_000),
            (19, 1.0, 12_500),
        ];
        for (attempt, jitter, expected) in cases {
            assert_eq!(
                policy.pause(attempt, jitter),
                Duration::from_millis(expected),
                "{attempt} {jitter}"
            );
        }
    }

    #[test]
    fn settings_of_a_store_replace_the_defaults() {
        // P-RT-3, AMB-13.
        let policy = RetryPolicy::from(RetryOverride {
            retries: 2,
            interval: Duration::from_secs(10),
        });
        assert_eq!(policy.attempts, 3);
        assert_eq!(policy.pause(1, 0.0), Duration::from_secs(10));
        assert_eq!(policy.pause(2, 0.0), Duration::from_secs(10));
        assert_eq!(
            policy.budget(Duration::from_secs(30)),
            Duration::from_secs(115)
        );
        assert_eq!(
            RetryPolicy::default().budget(Duration::from_secs(30)),
            Duration::from_secs(30)
        );
        assert_eq!(
            RetryPolicy::from(RetryOverride {
                retries: 0,
                interval: Duration::from_secs(1)
            })
            .attempts,
            1
        );
    }
}
