//! A breaker per connection: after a row of failures to reach a provider, calls fail at once for a while (P-RT-4).

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

/// Consecutive failed calls that open a breaker. A call counts once, with all its attempts.
pub const FAILURES_TO_OPEN: u32 = 5;

/// How long an open breaker refuses calls before it admits one probe.
pub const OPEN_TIME: Duration = Duration::from_secs(30);

/// What a breaker does, as its metric shows it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BreakerState {
    /// Calls pass.
    Closed,
    /// Calls are refused.
    Open,
    /// One call is admitted to see whether the provider is back.
    HalfOpen,
}

impl BreakerState {
    /// The value of `eso_agent_provider_breaker_state`.
    #[must_use]
    pub const fn as_number(self) -> i64 {
        match self {
            Self::Closed => 0,
            Self::Open => 1,
            Self::HalfOpen => 2,
        }
    }
}

/// The breaker of one connection, and the failure that was reported last.
#[derive(Default)]
pub(crate) struct Breaker {
    state: Mutex<State>,
    last_failure: Mutex<String>,
}

/// A call that was not admitted.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Refusal {
    /// How long calls will be refused.
    pub(crate) retry_after: Duration,
    /// The failure that was reported last, in words.
    pub(crate) last_failure: String,
}

enum State {
    Closed { failures: u32 },
    Open { until: Instant },
    HalfOpen { is_probing: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

/// A call that was admitted. Dropped without a report (the caller went away), a probe makes room for the next one.
pub(crate) struct Permit {
    breaker: Arc<Breaker>,
    is_probe: bool,
    is_reported: bool,
}

impl Breaker {
    /// Admits a call, or says how long calls will be refused.
    pub(crate) fn admit(self: &Arc<Self>, now: Instant) -> Result<Permit, Refusal> {
        let refusal = |retry_after| Refusal {
            retry_after,
            last_failure: self.last_failure.lock().clone(),
        };
        let mut state = self.state.lock();
        if let State::Open { until } = *state {
            if now < until {
                return Err(refusal(until - now));
            }
            *state = State::HalfOpen { is_probing: false };
        }
        let is_probe = match &mut *state {
            State::HalfOpen { is_probing: true } => return Err(refusal(Duration::from_secs(1))),
            State::HalfOpen { is_probing } => {
                *is_probing = true;
                true
            }
            State::Closed { .. } | State::Open { .. } => false,
        };
        Ok(Permit {
            breaker: self.clone(),
            is_probe,
            is_reported: false,
        })
    }

    pub(crate) fn state(&self) -> BreakerState {
        match *self.state.lock() {
            State::Closed { .. } => BreakerState::Closed,
            State::Open { .. } => BreakerState::Open,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
        }
    }
}

impl Permit {
    /// Tells whether the provider was reached, whatever it answered; `failure` says why it was not.
    pub(crate) fn report(mut self, failure: Option<&str>, now: Instant) {
        self.is_reported = true;
        if let Some(failure) = failure {
            failure.clone_into(&mut self.breaker.last_failure.lock());
        }
        let mut state = self.breaker.state.lock();
        match (&mut *state, self.is_probe) {
            (_, true) => {
                *state = match failure {
                    None => State::default(),
                    Some(_) => State::Open {
                        until: now + OPEN_TIME,
                    },
                };
            }
            (State::Closed { failures }, false) => {
                *failures = if failure.is_none() {
                    0
                } else {
                    failures.saturating_add(1)
                };
                if *failures >= FAILURES_TO_OPEN {
                    *state = State::Open {
                        until: now + OPEN_TIME,
                    };
                }
            }
            // A call from before the breaker opened says nothing new.
            (State::Open { .. } | State::HalfOpen { .. }, false) => {}
        }
    }
}

impl Drop for Permit {
    fn drop(&mut self) {
        if self.is_probe && !self.is_reported {
            let mut state = self.breaker.state.lock();
            if let State::HalfOpen { is_probing } = &mut *state {
                *is_probing = false;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{Breaker, BreakerState, FAILURES_TO_OPEN, OPEN_TIME, Refusal};

    fn refused() -> Option<Refusal> {
        Some(Refusal {
            retry_after: OPEN_TIME,
            last_failure: "down".into(),
        })
    }

    fn opened(now: Instant) -> Arc<Breaker> {
        let breaker = Arc::new(Breaker::default());
        for _ in 0..FAILURES_TO_OPEN {
            breaker.admit(now).unwrap().report(Some("down"), now);
        }
        breaker
    }

    #[test]
    fn opens_after_consecutive_failures_only() {
        // PC-21, X-122.
        assert_eq!((FAILURES_TO_OPEN, OPEN_TIME), (5, Duration::from_secs(30)));
        let now = Instant::now();
        let breaker = Arc::new(Breaker::default());
        for _ in 0..3 {
            for _ in 1..FAILURES_TO_OPEN {
                breaker.admit(now).unwrap().report(Some("down"), now);
            }
            breaker.admit(now).unwrap().report(None, now);
        }
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert_eq!(opened(now).state(), BreakerState::Open);
        assert_eq!(opened(now).admit(now).err(), refused());
    }

    #[test]
    fn half_open_admits_exactly_one_probe() {
        // PC-21, X-122: one success closes it.
        let now = Instant::now();
        let breaker = opened(now);
        assert!(
            breaker
                .admit(now + OPEN_TIME - Duration::from_millis(1))
                .is_err()
        );
        let later = now + OPEN_TIME;
        let probe = breaker.admit(later).unwrap();
        assert!(breaker.admit(later).is_err());
        probe.report(None, later);
        assert_eq!(breaker.state(), BreakerState::Closed);
        assert!(breaker.admit(later).is_ok());

        let breaker = opened(now);
        breaker.admit(later).unwrap().report(Some("down"), later);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit(later).err(), refused());
    }

    #[test]
    fn abandoned_probe_makes_room_for_the_next() {
        let now = Instant::now();
        let breaker = opened(now);
        let later = now + OPEN_TIME;
        drop(breaker.admit(later).unwrap());
        assert!(breaker.admit(later).is_ok());
    }

    #[test]
    fn late_reports_do_not_close_or_prolong() {
        let now = Instant::now();
        let breaker = Arc::new(Breaker::default());
        let (late_success, late_failure) =
            (breaker.admit(now).unwrap(), breaker.admit(now).unwrap());
        for _ in 0..FAILURES_TO_OPEN {
            breaker.admit(now).unwrap().report(Some("down"), now);
        }
        late_success.report(None, now);
        late_failure.report(Some("down"), now + Duration::from_secs(20));
        assert_eq!(breaker.state(), BreakerState::Open);
        assert!(breaker.admit(now + OPEN_TIME).is_ok());
    }
}
