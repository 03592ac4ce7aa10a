//! Status conditions: their shape, their names, and the rules by which they change.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use k8s_openapi::jiff::Timestamp;
use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::text_enum::text_enum;

/// The one condition type that is written: whether the object works.
pub const READY: &str = "Ready";

/// Reasons of the Ready condition of an ExternalSecret (`externalsecret.md` 2.16).
pub mod external_secret_reasons {
    /// The target holds the provider's data.
    pub const SECRET_SYNCED: &str = "SecretSynced";
    /// The last pass failed; an event tells why.
    pub const SECRET_SYNCED_ERROR: &str = "SecretSyncedError";
    /// The provider has no data and the deletion policy removed the target.
    pub const SECRET_DELETED: &str = "SecretDeleted";
    /// The creation policy is `Merge` and the target does not exist.
    pub const SECRET_MISSING: &str = "SecretMissing";
    /// [`SECRET_SYNCED`] for a target of another kind.
    pub const RESOURCE_SYNCED: &str = "ResourceSynced";
    /// [`SECRET_SYNCED_ERROR`] for a target of another kind.
    pub const RESOURCE_SYNCED_ERROR: &str = "ResourceSyncedError";
    /// [`SECRET_DELETED`] for a target of another kind.
    pub const RESOURCE_DELETED: &str = "ResourceDeleted";
    /// [`SECRET_MISSING`] for a target of another kind.
    pub const RESOURCE_MISSING: &str = "ResourceMissing";
}

/// Reasons of the Ready condition of a store or a provider resource (`pushsecret-and-stores.md` B3).
pub mod store_reasons {
    /// The provider accepted the configuration.
    pub const VALID: &str = "Valid";
    /// The provider cannot tell without a caller.
    pub const VALIDATION_UNKNOWN: &str = "ValidationUnknown";
    /// The provider refused the configuration, or no client could be built.
    pub const INVALID_PROVIDER_CONFIG: &str = "InvalidProviderConfig";
    /// The store itself breaks a rule that was checked locally.
    pub const INVALID_STORE_CONFIGURATION: &str = "InvalidStoreConfiguration";
    /// The address cannot be used: wrong form, or not allowed.
    pub const UNSUPPORTED_ADDRESS: &str = "UnsupportedAddress";
    /// Certificates or keys for the connection are missing or wrong.
    pub const TLS_CONFIG_FAILED: &str = "TLSConfigFailed";
    /// No connection could be made.
    pub const PROVIDER_UNREACHABLE: &str = "ProviderUnreachable";
    /// The provider answers but says that it does not serve.
    pub const PROVIDER_NOT_SERVING: &str = "ProviderNotServing";
    /// The provider speaks no version of the protocol that this agent does.
    pub const INCOMPATIBLE_PROVIDER: &str = "IncompatibleProvider";
    /// The provider does not serve the referenced kind.
    pub const PROVIDER_KIND_UNSUPPORTED: &str = "ProviderKindUnsupported";
    /// The provider has not looked at the resource yet.
    pub const PENDING: &str = "Pending";
    /// The provider could not validate its resource.
    pub const VALIDATION_FAILED: &str = "ValidationFailed";
}

text_enum! {
    /// Whether a condition holds.
    pub enum ConditionStatus {
        /// It holds.
        True = "True",
        /// It does not hold.
        False = "False",
        /// Nobody can tell.
        Unknown = "Unknown",
    }
}

/// One observation about an object.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct Condition {
    /// The aspect of the object that is reported, such as `Ready`.
    #[serde(rename = "type")]
    pub type_: String,
    /// Whether the condition holds: `True`, `False` or `Unknown`.
    pub status: ConditionStatus,
    /// A stable word for why, made for programs.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// A sentence for why, made for people.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message: Option<String>,
    /// When `status` last changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub last_transition_time: Option<Time>,
    /// The `metadata.generation` of the object that was looked at.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed_generation: Option<i64>,
}

// === impl Condition ===

impl Condition {
    /// A Ready condition that was observed now.
    #[must_use]
    pub fn ready(
        status: ConditionStatus,
        reason: &str,
        message: impl Into<String>,
        now: Timestamp,
    ) -> Self {
        Self {
            type_: READY.to_owned(),
            status,
            reason: Some(reason.to_owned()),
            message: Some(message.into()),
            last_transition_time: Some(Time(now)),
            observed_generation: None,
        }
    }

    /// The same condition with the generation that it was observed at.
    #[must_use]
    pub fn observed_at(mut self, generation: Option<i64>) -> Self {
        self.observed_generation = generation;
        self
    }

    /// Whether status, reason, message and observed generation are the same.
    #[must_use]
    pub fn says_the_same_as(&self, other: &Self) -> bool {
        self.status == other.status
            && self.reason.as_deref().unwrap_or_default()
                == other.reason.as_deref().unwrap_or_default()
            && self.message.as_deref().unwrap_or_default()
                == other.message.as_deref().unwrap_or_default()
            && self.observed_generation == other.observed_generation
    }
}

/// The condition of one type, if it is there.
#[must_use]
pub fn find<'a>(conditions: &'a [Condition], type_: &str) -> Option<&'a Condition> {
    conditions.iter().find(|condition| condition.type_ == type_)
}

/// Puts `condition` into the list by the write rules of `externalsecret.md` 1.2, and returns whether anything changed.
///
/// Saying the same again leaves the list alone, transition time included. A new reason or message at the same status keeps
/// the old transition time. Other types keep their order, the written one moves to the end.
pub fn set(conditions: &mut Vec<Condition>, mut condition: Condition) -> bool {
    if let Some(current) = find(conditions, &condition.type_) {
        if current.says_the_same_as(&condition) {
            return false;
        }
        if current.status == condition.status {
            condition
                .last_transition_time
                .clone_from(&current.last_transition_time);
        }
    }
    conditions.retain(|other| other.type_ != condition.type_);
    conditions.push(condition);
    true
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(second: i64) -> Timestamp {
        Timestamp::from_second(second).unwrap()
    }

    fn other() -> Condition {
        Condition {
            type_: "Other".into(),
            ..Condition::ready(ConditionStatus::True, "Why", "what", at(1))
        }
    }

    #[test]
    fn saying_the_same_leaves_the_stored_condition_untouched() {
        // externalsecret.md 1.2, E109
        let mut list = vec![
            Condition::ready(ConditionStatus::True, "A", "a", at(1)),
            other(),
        ];
        let before = list.clone();
        assert!(!set(
            &mut list,
            Condition::ready(ConditionStatus::True, "A", "a", at(9))
        ));
        assert_eq!(list, before);
    }

    #[test]
    fn a_new_message_keeps_the_transition_time_and_moves_to_the_end() {
        // externalsecret.md 1.2, E110, E111
        let mut list = vec![
            Condition::ready(ConditionStatus::False, "A", "a", at(1)),
            other(),
        ];
        assert!(set(
            &mut list,
            Condition::ready(ConditionStatus::False, "A", "b", at(9))
        ));
        assert_eq!(
            list,
            vec![
                other(),
                Condition::ready(ConditionStatus::False, "A", "b", at(1))
            ]
        );
    }

    #[test]
    fn the_first_condition_is_appended() {
        // E108
        let mut list = Vec::new();
        let first = Condition::ready(ConditionStatus::True, "A", "a", at(1));
        assert!(set(&mut list, first.clone()));
        assert_eq!(list, vec![first]);
    }

    #[test]
    fn a_new_status_gets_a_new_transition_time() {
        // externalsecret.md 1.2
        let mut list = vec![Condition::ready(ConditionStatus::False, "A", "a", at(1))];
        assert!(set(
            &mut list,
            Condition::ready(ConditionStatus::True, "A", "a", at(9))
        ));
        assert_eq!(
            list,
            vec![Condition::ready(ConditionStatus::True, "A", "a", at(9))]
        );
    }
}
