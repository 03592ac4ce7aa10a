//! What a pass over a store leads to; pure.

use std::time::Duration;

use k8s_openapi::jiff::Timestamp;
use latchkey_crds::conditions::{self, Condition, ConditionStatus};
use latchkey_crds::secret_store::SecretStoreStatus;

use super::ladder::Finding;
use crate::stores::Store;

/// First pause after a failure.
const FIRST_PAUSE: Duration = Duration::from_secs(1);

/// Longest pause after a failure that someone must repair (P-RT-5).
const LONGEST_PAUSE: Duration = Duration::from_secs(7 * 60);

/// Longest pause after a failure that may pass by itself: consumers wait for this store.
const LONGEST_TRANSIENT_PAUSE: Duration = Duration::from_secs(30);

/// Shortest interval between two validations (AMB-29).
const SHORTEST_INTERVAL: Duration = Duration::from_secs(5);

/// When the store is examined again after this finding, the `failures`th in a row.
pub(super) fn next_pass(
    failures: u32,
    finding: &Finding,
    interval: Duration,
    jitter: f64,
) -> Duration {
    let own = pause(failures, finding.is_transient, interval, jitter);
    match finding.retry_after {
        // An open breaker admits a probe then, and a valid store shows that the provider is back.
        Some(after) if failures > 0 => after.clamp(FIRST_PAUSE, LONGEST_TRANSIENT_PAUSE),
        _ => own,
    }
}

/// When the store is examined again. `jitter` is 0 to 1 and adds up to a tenth, so that stores do not fall into step.
pub(super) fn pause(
    failures: u32,
    is_transient: bool,
    interval: Duration,
    jitter: f64,
) -> Duration {
    let pause = if failures == 0 {
        interval.max(SHORTEST_INTERVAL)
    } else {
        let longest = if is_transient {
            LONGEST_TRANSIENT_PAUSE
        } else {
            LONGEST_PAUSE
        };
        FIRST_PAUSE
            .saturating_mul(2_u32.saturating_pow(failures - 1))
            .min(longest)
    };
    pause + pause.mul_f64(jitter.clamp(0.0, 1.0) / 10.0)
}

/// The status to write and whether it is worth an event, or `None` if it would say nothing new.
pub(super) fn next_status(
    store: &Store,
    finding: &Finding,
    now: Timestamp,
) -> Option<(SecretStoreStatus, bool)> {
    let mut status = store.status.clone();
    let condition = Condition::ready(finding.status, finding.reason, finding.message.clone(), now)
        .observed_at(store.generation);
    let is_news = store.ready().is_none_or(|ready| {
        (
            ready.status,
            ready.reason.as_deref(),
            ready.message.as_deref(),
        ) != (
            condition.status,
            condition.reason.as_deref(),
            condition.message.as_deref(),
        )
    });
    conditions::set(&mut status.conditions, condition);
    status.observed_generation = store.generation;
    if finding.capabilities.is_some() && finding.status == ConditionStatus::True {
        status.capabilities = finding.capabilities;
    }
    (status != store.status).then_some((status, is_news))
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use k8s_openapi::jiff::Timestamp;
    use latchkey_crds::conditions::ConditionStatus;
    use latchkey_crds::secret_store::Capabilities;
    use serde_json::json;

    use super::{Finding, next_pass, next_status, pause};
    use crate::stores::Store;

    fn store() -> Store {
        let object = json!({
            "metadata": {"name": "bao", "namespace": "team-a", "uid": "u", "generation": 2},
            "spec": {"providerConfig": {
                "address": "p.a.svc:8080",
                "providerRef": {"kind": "HashicorpVault", "name": "vault"},
            }},
        });
        Store::from(
            &serde_json::from_value::<latchkey_crds::secret_store::SecretStore>(object).unwrap(),
        )
    }

    fn finding(status: ConditionStatus, reason: &'static str, message: &str) -> Finding {
        Finding {
            status,
            reason,
            message: message.into(),
            capabilities: Some(Capabilities::ReadOnly),
            warnings: Vec::new(),
            retry_after: None,
            is_transient: false,
        }
    }

    #[test]
    fn pauses_grow_to_their_cap_and_success_waits_for_the_interval() {
        let minutes = |minutes: u64| Duration::from_secs(minutes * 60);
        let cases = [
            (0, false, minutes(5), 0.0, minutes(5)),
            (
                0,
                false,
                Duration::from_secs(1),
                0.0,
                Duration::from_secs(5),
            ),
            (0, false, minutes(10), 1.0, minutes(11)),
            (1, false, minutes(5), 0.0, Duration::from_secs(1)),
            (4, false, minutes(5), 0.0, Duration::from_secs(8)),
            (40, false, minutes(5), 0.0, minutes(7)),
            (4, true, minutes(5), 0.0, Duration::from_secs(8)),
            (40, true, minutes(5), 0.0, Duration::from_secs(30)),
        ];
        for (failures, is_transient, interval, jitter, expected) in cases {
            assert_eq!(
                pause(failures, is_transient, interval, jitter),
                expected,
                "{failures} {is_transient}"
            );
        }
    }

    #[test]
    fn open_breaker_decides_when_to_ask_again() {
        let failed = finding(ConditionStatus::False, "ProviderUnreachable", "down");
        let after = |seconds| Finding {
            retry_after: Some(Duration::from_secs(seconds)),
            is_transient: true,
            ..failed.clone()
        };
        let interval = Duration::from_secs(300);
        let cases = [
            (1, after(20), 20),
            (9, after(20), 20),
            (9, after(0), 1),
            (9, after(90), 30),
        ];
        for (failures, finding, expected) in cases {
            let pass = next_pass(failures, &finding, interval, 0.0);
            assert_eq!(
                pass,
                Duration::from_secs(expected),
                "{failures} {finding:?}"
            );
        }
    }

    #[test]
    fn status_is_written_on_change_only() {
        // B3: hundreds of agents watch stores; externalsecret.md E221.
        let mut store = store();
        let valid = finding(ConditionStatus::True, "Valid", "store validated");
        let at = |second| Timestamp::from_second(second).unwrap();
        let (status, is_news) = next_status(&store, &valid, at(1)).unwrap();
        assert!(is_news);
        assert_eq!(status.capabilities, Some(Capabilities::ReadOnly));
        assert_eq!(status.observed_generation, Some(2));
        store.status = status;
        assert_eq!(next_status(&store, &valid, at(2)), None);

        // A new generation with the same result is recorded without an event.
        store.generation = Some(3);
        let (status, is_news) = next_status(&store, &valid, at(3)).unwrap();
        assert!(!is_news);
        assert_eq!(
            status.conditions[0].last_transition_time,
            store.status.conditions[0].last_transition_time
        );
        store.status = status;

        // A failure keeps what was known of the provider.
        let invalid = finding(
            ConditionStatus::False,
            "InvalidProviderConfig",
            "unable to validate store: no",
        );
        let invalid = Finding {
            capabilities: None,
            ..invalid
        };
        let (status, is_news) = next_status(&store, &invalid, at(4)).unwrap();
        assert!(is_news);
        assert_eq!(status.capabilities, Some(Capabilities::ReadOnly));
        assert_eq!(status.conditions.len(), 1);
        assert_eq!(status.conditions[0].status, ConditionStatus::False);
    }
}
