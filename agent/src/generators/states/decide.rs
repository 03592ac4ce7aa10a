//! Which states are needed no longer, and what happens to one; pure.

use std::time::Duration;

use jiff::Timestamp;
use latchkey_crds::generator_state::{FINALIZER, GeneratorState};

use crate::generators::snapshot;

/// What is done with one state.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Plan {
    /// It is another controller's.
    Leave,
    /// Nothing, until it changes.
    Rest,
    /// Nothing until then.
    Wait(Duration),
    /// The finalizer is put on.
    Guard,
    /// It is deleted.
    Delete,
    /// Its values are revoked, then the finalizer is taken off.
    Release,
}

/// What is done with `state` at the moment `now`.
pub(super) fn plan(state: &GeneratorState, now: Timestamp) -> Plan {
    let metadata = &state.metadata;
    let finalizers = metadata.finalizers.as_deref().unwrap_or_default();
    let is_guarded = finalizers.iter().any(|finalizer| finalizer == FINALIZER);
    if !snapshot::is_ours(&state.spec.resource) {
        return Plan::Leave;
    }
    if metadata.deletion_timestamp.is_some() {
        return if is_guarded {
            Plan::Release
        } else {
            Plan::Rest
        };
    }
    if !is_guarded {
        return Plan::Guard;
    }
    let Some(deadline) = &state.spec.garbage_collection_deadline else {
        return Plan::Rest;
    };
    let left = deadline.0.duration_since(now);
    match Duration::try_from(left) {
        Ok(left) if !left.is_zero() => Plan::Wait(left),
        _ => Plan::Delete,
    }
}

/// Names of the states of one entry that get a deadline: those that have none, but for the newest if it is kept.
pub(super) fn superseded(states: &[GeneratorState], keeps_newest: bool) -> Vec<String> {
    let mut unflagged: Vec<&GeneratorState> = states
        .iter()
        .filter(|state| {
            state.spec.garbage_collection_deadline.is_none()
                && state.metadata.deletion_timestamp.is_none()
        })
        .collect();
    unflagged.sort_by_key(|state| age(state));
    if keeps_newest {
        unflagged.pop();
    }
    unflagged
        .into_iter()
        .filter_map(|state| state.metadata.name.clone())
        .collect()
}

/// Orders states from the oldest to the newest. Times of creation are whole seconds, so within one the resource version decides: it
/// counts writes, and a state without a deadline is written at most once more, to put the finalizer back. The name makes the order
/// the same each time where versions are no numbers.
fn age(state: &GeneratorState) -> impl Ord + use<> {
    let metadata = &state.metadata;
    let version = metadata.resource_version.as_deref();
    (
        metadata.creation_timestamp.as_ref().map(|time| time.0),
        version.and_then(|version| version.parse::<u64>().ok()),
        metadata.name.clone(),
    )
}

/// The pause before generated values are revoked again, after the given number of failures in a row.
pub(in crate::generators) fn pause(failures: u32) -> Duration {
    const LONGEST: Duration = Duration::from_secs(7 * 60);
    Duration::from_secs(1)
        .saturating_mul(2_u32.saturating_pow(failures.saturating_sub(1)))
        .min(LONGEST)
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn state(name: &str, metadata: Value, deadline: Option<i64>) -> GeneratorState {
        let mut state: GeneratorState = serde_json::from_value(json!({
            "metadata": metadata,
            "spec": {
                "resource": { "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": "Generator" },
                "state": {},
            },
        }))
        .unwrap();
        state.metadata.name = Some(name.to_owned());
        state.spec.garbage_collection_deadline = deadline.map(|second| {
            k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
                Timestamp::from_second(second).unwrap(),
            )
        });
        state
    }

    #[test]
    fn a_state_is_guarded_deleted_at_its_deadline_and_released_when_it_goes() {
        // externalsecret.md 7.3, D-08.
        let guarded = || json!({ "finalizers": [FINALIZER] });
        let going = |finalizers: &[&str]| json!({ "deletionTimestamp": "2026-01-01T00:00:00Z", "finalizers": finalizers });
        let now = Timestamp::from_second(100).unwrap();
        for (metadata, deadline, expected) in [
            (json!({}), None, Plan::Guard),
            (json!({ "finalizers": ["other"] }), Some(1), Plan::Guard),
            (guarded(), None, Plan::Rest),
            (guarded(), Some(99), Plan::Delete),
            (guarded(), Some(100), Plan::Delete),
            (guarded(), Some(220), Plan::Wait(Duration::from_secs(120))),
            (going(&[FINALIZER]), None, Plan::Release),
            (going(&[FINALIZER, "other"]), Some(1), Plan::Release),
            (going(&["other"]), None, Plan::Rest),
        ] {
            let text = metadata.to_string();
            assert_eq!(
                plan(&state("s", metadata, deadline), now),
                expected,
                "{text}"
            );
        }
        let mut foreign = state("s", json!({ "finalizers": [FINALIZER] }), Some(1));
        foreign.spec.resource["kind"] = "Grafana".into();
        assert_eq!(plan(&foreign, now), Plan::Leave);
    }

    #[test]
    fn all_but_the_newest_get_a_deadline_and_flagged_ones_do_not_count() {
        // externalsecret.md 7.3, D-18.
        let at = |name: &str, second: i64, deadline| {
            let time = Timestamp::from_second(second).unwrap();
            state(
                name,
                json!({ "creationTimestamp": time.to_string() }),
                deadline,
            )
        };
        let states = [
            at("c", 30, None),
            at("a", 10, None),
            at("flagged", 99, Some(120)),
            at("b", 20, None),
        ];
        assert_eq!(superseded(&states, true), ["a", "b"]);
        assert_eq!(superseded(&states, false), ["a", "b", "c"]);
        assert_eq!(superseded(&states[..1], true), Vec::<String>::new());
        assert_eq!(superseded(&[], true), Vec::<String>::new());
        let tied = [at("y", 10, None), at("x", 10, None)];
        assert_eq!(superseded(&tied, true), ["x"]);
        // Two refreshes within one second: the versions tell which came first.
        let [mut first, mut second] = tied;
        first.metadata.resource_version = Some("99".to_owned());
        second.metadata.resource_version = Some("100".to_owned());
        assert_eq!(superseded(&[second, first], true), ["y"]);
    }

    #[test]
    fn pauses_double_up_to_seven_minutes() {
        for (failures, seconds) in [(1, 1), (2, 2), (5, 16), (30, 420)] {
            assert_eq!(pause(failures), Duration::from_secs(seconds));
        }
    }
}
