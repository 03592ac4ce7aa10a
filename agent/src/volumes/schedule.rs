//! When to fetch again: pure functions over time, so that restarts never align and failures never hammer.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::time::Instant;

use super::failure::{Failed, Patience};
use crate::stable_hash::fnv1a;

/// Shortest time between two periodic fetches of one object, whatever its `refreshInterval` says.
const MIN_INTERVAL: Duration = Duration::from_secs(1);
/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// Longest pause after failures.
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 60);
/// Longest pause while a pod waits for its first content and the provider may answer any moment.
const LONGEST_DEMANDED_PAUSE: Duration = Duration::from_secs(5);
/// First pause after refused credentials.
const FIRST_CREDENTIALS_PAUSE: Duration = Duration::from_secs(60);
/// Longest pause after refused credentials.
const LONGEST_CREDENTIALS_PAUSE: Duration = Duration::from_secs(30 * 60);
/// Longest wait that a provider may ask for.
const LONGEST_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);
/// For this long a failure answers further mounts without asking the provider again.
const HOLD: Duration = Duration::from_secs(1);
/// The same after refused credentials.
const CREDENTIALS_HOLD: Duration = Duration::from_secs(30);

/// Relates the monotonic clock to the wall clock once, so that phases survive restarts and tests can pause time.
#[derive(Clone, Copy, Debug)]
pub(super) struct Clock {
    started: Instant,
    epoch_at_start: Duration,
}

// === impl Clock ===

impl Clock {
    /// A clock that starts now.
    pub(super) fn new() -> Self {
        let epoch_at_start = SystemTime::now()
            .duration_since(UNIX_EPOCH)
            .unwrap_or_default();
        Self {
            started: Instant::now(),
            epoch_at_start,
        }
    }

    /// A clock that started at a given time since the epoch.
    #[cfg(test)]
    pub(super) fn starting_at(epoch_at_start: Duration) -> Self {
        Self {
            started: Instant::now(),
            epoch_at_start,
        }
    }

    /// The moment of the next periodic fetch of the object with this `uid`: its phase within `interval` plus `jitter` (0..1)
    /// tenths of the interval, never nearer than a tenth of the interval.
    pub(super) fn next_refresh(
        &self,
        now: Instant,
        uid: &str,
        interval: Duration,
        jitter: f64,
    ) -> Instant {
        let interval = interval.max(MIN_INTERVAL);
        let nanoseconds = interval.as_nanos();
        let tenth = nanoseconds / 10;
        let since_epoch =
            (self.epoch_at_start + now.saturating_duration_since(self.started)).as_nanos();
        let phase = u128::from(fnv1a(uid.bytes())) % nanoseconds;
        let mut wait = nanoseconds - (since_epoch + nanoseconds - phase) % nanoseconds;
        if wait < tenth {
            wait += nanoseconds;
        }
        let wait = Duration::from_nanos(u64::try_from(wait).unwrap_or(u64::MAX));
        now + wait + interval.mul_f64(jitter.clamp(0.0, 1.0) / 10.0)
    }
}

/// The moment at which values are made anew that were made at `made`: they are meant to last for `interval` and no longer, so that
/// `jitter` (0..1) makes it earlier, by up to a tenth.
pub(super) fn renewal(now: Instant, made: Instant, interval: Duration, jitter: f64) -> Instant {
    let lease = interval.max(MIN_INTERVAL);
    let lease = lease.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 10.0);
    now.max(made + lease)
}

/// How long to wait after the `consecutive`th failure in a row (1 for the first). `demanded`: a pod waits for first content.
/// `jitter` (0..1) shortens the pause by up to a fifth; what the provider asked for is never shortened.
pub(super) fn pause_after(
    failed: &Failed,
    consecutive: u32,
    demanded: bool,
    jitter: f64,
) -> Duration {
    let (first, longest) = match failed.patience {
        Patience::Credentials => (FIRST_CREDENTIALS_PAUSE, LONGEST_CREDENTIALS_PAUSE),
        Patience::Later | Patience::Token | Patience::Appears if demanded => {
            (FIRST_PAUSE, LONGEST_DEMANDED_PAUSE)
        }
        Patience::Later | Patience::Token | Patience::Appears | Patience::Never => {
            (FIRST_PAUSE, LONGEST_PAUSE)
        }
    };
    let doublings = consecutive.saturating_sub(1).min(16);
    let pause = first.saturating_mul(1 << doublings).min(longest);
    let pause = pause.mul_f64(1.0 - jitter.clamp(0.0, 1.0) / 5.0);
    pause.max(
        failed
            .retry_after
            .unwrap_or_default()
            .min(LONGEST_RETRY_AFTER),
    )
}

/// For how long a failure answers further mounts without asking the provider again.
pub(super) fn hold_after(failed: &Failed) -> Duration {
    let hold = if failed.patience == Patience::Credentials {
        CREDENTIALS_HOLD
    } else {
        HOLD
    };
    hold.max(
        failed
            .retry_after
            .unwrap_or_default()
            .min(LONGEST_RETRY_AFTER),
    )
}

#[cfg(test)]
mod tests {
    use latchkey_csi::backend::FailureClass;
    use proptest::prelude::*;

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    fn failed(patience: Patience, retry_after: Option<u64>) -> Failed {
        let mut failed = Failed::new(FailureClass::Unavailable, patience, "down");
        failed.retry_after = retry_after.map(Duration::from_secs);
        failed
    }

    #[tokio::test(start_paused = true)]
    async fn a_restart_keeps_the_phase_of_each_object() {
        let before = Clock::starting_at(Duration::from_secs(1_000_000));
        let after = Clock::starting_at(Duration::from_secs(1_000_700));
        let now = Instant::now();
        let first = before.next_refresh(now, "uid-1", HOUR, 0.0) - now;
        let second = after.next_refresh(now, "uid-1", HOUR, 0.0) - now;
        let apart = (first.as_secs_f64() - second.as_secs_f64() - 700.0).rem_euclid(3600.0);
        assert!(!(0.001..=3599.999).contains(&apart), "{first:?} {second:?}");
    }

    #[tokio::test(start_paused = true)]
    async fn refreshes_follow_at_the_interval_and_spread_over_it() {
        let clock = Clock::starting_at(Duration::from_secs(1_000_000));
        let start = Instant::now();
        let mut tenths = [0_u32; 10];
        for number in 0..1000 {
            let uid = format!("4a1c-{number}");
            let first = clock.next_refresh(start, &uid, HOUR, 0.0);
            let second = clock.next_refresh(first, &uid, HOUR, 0.0);
            assert_eq!(second - first, HOUR);
            let wait = (first - start).as_secs_f64() / HOUR.as_secs_f64();
            assert!((0.1..=1.1).contains(&wait), "{wait}");
            tenths[((wait - 0.1) * 10.0) as usize % 10] += 1;
        }
        assert!(
            tenths.iter().all(|count| (50..200).contains(count)),
            "{tenths:?}"
        );
    }

    proptest! {
        #[test]
        fn the_next_refresh_is_between_a_tenth_and_one_and_two_tenths_of_the_interval(
            epoch in 0_u64..4_000_000_000, interval in 1_u64..1_000_000, uid in "[a-f0-9]{8}", jitter in 0.0_f64..1.0
        ) {
            let interval = Duration::from_secs(interval);
            let clock = Clock { started: Instant::now(), epoch_at_start: Duration::from_secs(epoch) };
            let wait = clock.next_refresh(clock.started, &uid, interval, jitter) - clock.started;
            prop_assert!(wait >= interval / 10 && wait <= interval.mul_f64(1.2 + 1e-9), "{wait:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn generated_values_are_made_anew_before_their_interval_is_over() {
        // csi.md 6.4
        let made = Instant::now() + HOUR;
        for (age, interval, jitter, wait) in [
            (0, 600, 0.0, 600),
            (0, 600, 1.0, 540),
            (590, 600, 0.0, 10),
            (590, 600, 1.0, 0),
            (7200, 600, 0.0, 0),
            (0, 0, 0.0, 1),
        ] {
            let now = made + Duration::from_secs(age);
            let next = renewal(now, made, Duration::from_secs(interval), jitter);
            assert_eq!((next - now).as_secs(), wait, "{age} {interval} {jitter}");
        }
    }

    #[test]
    fn pauses_double_and_are_capped() {
        for (patience, demanded, consecutive, seconds) in [
            (Patience::Later, false, 1, 1),
            (Patience::Later, false, 4, 8),
            (Patience::Later, false, 9, 256),
            (Patience::Later, false, 10, 420),
            (Patience::Later, false, u32::MAX, 420),
            (Patience::Later, true, 1, 1),
            (Patience::Later, true, 9, 5),
            (Patience::Appears, true, 9, 5),
            (Patience::Never, true, 9, 256),
            (Patience::Credentials, true, 1, 60),
            (Patience::Credentials, false, 3, 240),
            (Patience::Credentials, false, 40, 1800),
        ] {
            let pause = pause_after(&failed(patience, None), consecutive, demanded, 0.0);
            assert_eq!(
                pause,
                Duration::from_secs(seconds),
                "{patience:?} {demanded} {consecutive}"
            );
        }
        let jittered = pause_after(&failed(Patience::Later, None), 10, false, 1.0);
        assert_eq!(jittered, Duration::from_secs(336));
    }

    #[test]
    fn what_the_provider_asks_for_is_honoured_up_to_an_hour() {
        assert_eq!(
            pause_after(&failed(Patience::Later, Some(90)), 1, true, 1.0),
            Duration::from_secs(90)
        );
        assert_eq!(
            pause_after(&failed(Patience::Later, Some(90)), 10, false, 0.0),
            Duration::from_secs(420)
        );
        assert_eq!(
            pause_after(&failed(Patience::Later, Some(90_000)), 1, true, 0.0),
            HOUR
        );
        assert_eq!(
            hold_after(&failed(Patience::Later, Some(90))),
            Duration::from_secs(90)
        );
        assert_eq!(
            hold_after(&failed(Patience::Credentials, None)),
            Duration::from_secs(30)
        );
    }
}
