//! What a pass has to do, and what it tells (`externalsecret.md` 6.1 to 6.3). Pure.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{LabelSelector, OwnerReference};
use kube::core::{Selector, SelectorExt as _};
use latchkey_crds::cluster_external_secret::{
    ClusterExternalSecret, ClusterExternalSecretCondition, ClusterExternalSecretSpec,
    ClusterExternalSecretStatus, FailedNamespace,
};
use latchkey_crds::conditions::{ConditionStatus, READY};
use latchkey_crds::duration::InvalidDuration;

use super::{FINALIZER, GROUP, KIND, NAMESPACE_FINALIZER_PREFIX};

/// The label that the API server keeps equal to a namespace's name.
const NAME_LABEL: &str = "kubernetes.io/metadata.name";
/// What stands for the namespace where the namespaces could not be told.
const UNKNOWN_NAMESPACE: &str = "unknown";
/// Message of the condition of an object with failed namespaces.
const FAILED: &str = "one or more namespaces failed";

/// What is known of a namespace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct SeenNamespace {
    pub(super) labels: BTreeMap<String, String>,
    /// Those of its finalizers that a ClusterExternalSecret put there.
    pub(super) finalizers: BTreeSet<String>,
    pub(super) is_terminating: bool,
}

/// Namespaces by name.
pub(super) type SeenNamespaces = BTreeMap<String, SeenNamespace>;

/// A change of a namespace. A side that is absent means that there was none, or that there is none any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Change {
    pub(super) before: Option<SeenNamespace>,
    pub(super) after: Option<SeenNamespace>,
}

/// What happens to a namespace in a pass.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Step {
    /// It gets the ExternalSecret.
    Provision,
    /// It is no longer selected: what is ours goes, and then the finalizer (D-03).
    Withdraw,
    /// It ends: only the finalizer goes.
    Release,
}

/// How a step ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// The namespace has the ExternalSecret.
    Provisioned,
    /// The namespace has nothing of ours any more.
    Absent,
    /// The namespace should have it, but something went wrong.
    Failed(String),
    /// The namespace should be rid of it, but something went wrong: it stays listed (D-04).
    Remains(String),
}

/// The namespaces that a ClusterExternalSecret selects.
#[derive(Debug)]
pub(super) struct Selection {
    selectors: Vec<Selector>,
    names: BTreeSet<String>,
}

/// A selector that selects nothing because it is malformed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("spec.{field} is not valid: {cause}")]
pub(super) struct InvalidSelector {
    field: String,
    cause: String,
}

// === impl Selection ===

impl Selection {
    /// The union of names, the one selector and the further ones (6.2 step 5).
    pub(super) fn of(spec: &ClusterExternalSecretSpec) -> Result<Self, InvalidSelector> {
        let one = spec
            .namespace_selector
            .iter()
            .map(|selector| (String::from("namespaceSelector"), selector));
        let more = spec
            .namespace_selectors
            .iter()
            .enumerate()
            .map(|(index, selector)| (format!("namespaceSelectors[{index}]"), selector));
        let selectors = one
            .chain(more)
            .map(|(field, selector)| {
                compile(selector).map_err(|cause| InvalidSelector { field, cause })
            })
            .collect::<Result<_, _>>()?;
        Ok(Self {
            selectors,
            names: spec.namespaces.iter().cloned().collect(),
        })
    }

    fn matches(&self, labels: &BTreeMap<String, String>) -> bool {
        let is_named = labels
            .get(NAME_LABEL)
            .is_some_and(|name| self.names.contains(name));
        is_named
            || self
                .selectors
                .iter()
                .any(|selector| selector.matches(labels))
    }
}

/// A selector, with the rules of the API server that the client's own type lacks.
fn compile(selector: &LabelSelector) -> Result<Selector, String> {
    for requirement in selector.match_expressions.iter().flatten() {
        let has_values = requirement
            .values
            .as_ref()
            .is_some_and(|values| !values.is_empty());
        match requirement.operator.as_str() {
            "In" | "NotIn" if !has_values => {
                return Err(format!("operator {} needs values", requirement.operator));
            }
            "Exists" | "DoesNotExist" if has_values => {
                return Err(format!("operator {} takes no values", requirement.operator));
            }
            "In" | "NotIn" | "Exists" | "DoesNotExist" => {}
            other => return Err(format!("\"{other}\" is not a label selector operator")),
        }
    }
    Selector::try_from(selector.clone()).map_err(|error| error.to_string())
}

/// The ClusterExternalSecrets that a change of namespaces concerns (6.1): those that select the namespace as it was or as it is,
/// and those that still hold it back when it begins to end.
pub(super) fn affected<'a>(
    changes: &[Change],
    sets: impl Iterator<Item = &'a ClusterExternalSecret>,
) -> Vec<String> {
    let changes: Vec<_> = changes.iter().filter(|change| change.matters()).collect();
    if changes.is_empty() {
        return Vec::new();
    }
    sets.filter(|set| {
        let finalizer = namespace_finalizer(name(set));
        let selection = Selection::of(&set.spec);
        let sides = changes
            .iter()
            .flat_map(|change| [&change.before, &change.after])
            .flatten();
        // A malformed selector is reported by the pass that its own change triggers.
        selection.is_ok_and(|selection| {
            sides.into_iter().any(|namespace| {
                selection.matches(&namespace.labels) || namespace.finalizers.contains(&finalizer)
            })
        })
    })
    .map(|set| name(set).to_owned())
    .collect()
}

// === impl Change ===

impl Change {
    /// Creation, deletion, other labels, or the beginning of the end.
    fn matters(&self) -> bool {
        match (&self.before, &self.after) {
            (Some(before), Some(after)) => {
                before.labels != after.labels || before.is_terminating != after.is_terminating
            }
            (before, after) => before.is_some() || after.is_some(),
        }
    }
}

/// What happens to which namespace. Namespaces that do not exist need nothing.
pub(super) fn plan(
    set: &ClusterExternalSecret,
    selection: &Selection,
    namespaces: &SeenNamespaces,
) -> BTreeMap<String, Step> {
    let finalizer = namespace_finalizer(name(set));
    let listed = provisioned(set);
    let mut steps = BTreeMap::new();
    for (name, namespace) in namespaces {
        let holds = namespace.finalizers.contains(&finalizer);
        let step = match (
            selection.matches(&namespace.labels),
            namespace.is_terminating,
        ) {
            (true, false) => Step::Provision,
            (true, true) if holds => Step::Release,
            (false, _) if holds || listed.contains(name) => Step::Withdraw,
            _ => continue,
        };
        steps.insert(name.clone(), step);
    }
    steps
}

/// The former name of the ExternalSecrets, if it is to be given up first (6.2 step 4).
pub(super) fn former_name(set: &ClusterExternalSecret) -> Option<&str> {
    let former = set.status.as_ref()?.external_secret_name.as_deref()?;
    (!former.is_empty() && former != set.external_secret_name()).then_some(former)
}

/// The namespaces that were provisioned when the object was last looked at.
pub(super) fn provisioned(set: &ClusterExternalSecret) -> &[String] {
    set.status
        .as_ref()
        .map(|status| status.provisioned_namespaces.as_slice())
        .unwrap_or_default()
}

/// The status after a pass in which the ExternalSecrets were called `external_secret` (6.2 step 8).
pub(super) fn status(
    external_secret: &str,
    outcomes: &BTreeMap<String, Outcome>,
) -> ClusterExternalSecretStatus {
    // Maps are sorted by name, and so are both lists.
    let mut failed_namespaces = Vec::new();
    let mut provisioned_namespaces = Vec::new();
    for (namespace, outcome) in outcomes {
        if matches!(outcome, Outcome::Provisioned | Outcome::Remains(_)) {
            provisioned_namespaces.push(namespace.clone());
        }
        if let Outcome::Failed(reason) | Outcome::Remains(reason) = outcome {
            failed_namespaces.push(FailedNamespace {
                namespace: namespace.clone(),
                reason: Some(reason.clone()),
            });
        }
    }
    let condition = condition(failed_namespaces.is_empty());
    ClusterExternalSecretStatus {
        external_secret_name: Some(external_secret.to_owned()),
        failed_namespaces,
        provisioned_namespaces,
        conditions: vec![condition],
    }
}

/// The status of an object whose namespaces cannot be told; what is provisioned stays.
pub(super) fn status_without_selection(
    set: &ClusterExternalSecret,
    error: &InvalidSelector,
) -> ClusterExternalSecretStatus {
    ClusterExternalSecretStatus {
        external_secret_name: Some(set.external_secret_name().to_owned()),
        failed_namespaces: vec![FailedNamespace {
            namespace: UNKNOWN_NAMESPACE.to_owned(),
            reason: Some(error.to_string()),
        }],
        provisioned_namespaces: provisioned(set).to_vec(),
        conditions: vec![condition(false)],
    }
}

fn condition(ready: bool) -> ClusterExternalSecretCondition {
    ClusterExternalSecretCondition {
        type_: READY.to_owned(),
        status: if ready {
            ConditionStatus::True
        } else {
            ConditionStatus::False
        },
        message: (!ready).then(|| FAILED.to_owned()),
    }
}

/// Says in the condition what is wrong with the object itself (D-15).
pub(super) fn blame(status: &mut ClusterExternalSecretStatus, error: &InvalidDuration) {
    status.conditions = vec![ClusterExternalSecretCondition {
        message: Some(error.to_string()),
        ..condition(false)
    }];
}

/// Whether the Ready condition of a status holds.
pub(super) fn is_ready(status: &ClusterExternalSecretStatus) -> bool {
    status
        .conditions
        .iter()
        .any(|condition| condition.type_ == READY && condition.status == ConditionStatus::True)
}

/// The ClusterExternalSecret that controls an object, if one does. Version and UID of the reference do not matter (6.3).
pub(super) fn controller(references: &[OwnerReference]) -> Option<&str> {
    let owner = references
        .iter()
        .find(|reference| reference.controller == Some(true))?;
    let group = owner.api_version.split_once('/').map(|(group, _)| group);
    (owner.kind == KIND && group == Some(GROUP)).then_some(owner.name.as_str())
}

/// The finalizer by which a ClusterExternalSecret holds a namespace back.
pub(super) fn namespace_finalizer(set: &str) -> String {
    format!("{NAMESPACE_FINALIZER_PREFIX}{set}")
}

/// Whether the object has the finalizer that every live one has.
pub(super) fn has_finalizer(set: &ClusterExternalSecret) -> bool {
    set.metadata
        .finalizers
        .iter()
        .flatten()
        .any(|finalizer| finalizer == FINALIZER)
}

pub(super) fn name(set: &ClusterExternalSecret) -> &str {
    set.metadata.name.as_deref().unwrap_or_default()
}

#[cfg(test)]
mod tests;
