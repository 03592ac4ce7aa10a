//! Merging values that are JSON objects (`externalsecret.md` 3.4).

use std::collections::BTreeSet;

use latchkey_crds::external_secret::{
    RewriteMerge, RewriteMergeConflictPolicy, RewriteMergePriorityPolicy, RewriteMergeStrategy,
};
use latchkey_secret::SecretData;
use latchkey_templating::object::JsonObject;

use super::{Budget, MergeError};

/// Merges the values of `data`, field by field, the later over the earlier.
///
/// # Errors
///
/// [`MergeError`]; of several causes the one that the order of processing meets first.
pub(super) fn merge(
    operation: &RewriteMerge,
    data: SecretData,
    budget: &mut Budget,
) -> Result<SecretData, MergeError> {
    let mut merged = JsonObject::new(&budget.of_operation()).map_err(MergeError::NotAnObject)?;
    let result = merge_into(operation, data, &mut merged);
    budget.spend(merged.usage());
    result
}

fn merge_into(
    operation: &RewriteMerge,
    mut data: SecretData,
    merged: &mut JsonObject,
) -> Result<SecretData, MergeError> {
    let mut conflicts = Vec::new();
    for key in in_order(operation, &data) {
        let Some(value) = data.get(key) else {
            if operation.priority_policy == Some(RewriteMergePriorityPolicy::IgnoreNotFound) {
                continue;
            }
            return Err(MergeError::MissingKey(key.to_owned()));
        };
        conflicts.extend(merged.merge(value).map_err(MergeError::NotAnObject)?);
    }
    if !conflicts.is_empty()
        && operation.conflict_policy != Some(RewriteMergeConflictPolicy::Ignore)
    {
        return Err(MergeError::Conflicts(conflicts));
    }
    match operation.strategy {
        None | Some(RewriteMergeStrategy::Extract) => {
            merged.to_data().map_err(MergeError::TooLarge)
        }
        Some(RewriteMergeStrategy::Json) if operation.into.is_empty() => Err(MergeError::NoInto),
        Some(RewriteMergeStrategy::Json) => {
            let merged = merged.to_json().map_err(MergeError::TooLarge)?;
            data.insert(operation.into.clone(), merged);
            Ok(data)
        }
    }
}

/// The keys in the order of processing: ascending, but those of `priority` last and in its order.
fn in_order<'a>(operation: &'a RewriteMerge, data: &'a SecretData) -> Vec<&'a str> {
    let last: BTreeSet<&str> = operation.priority.iter().map(String::as_str).collect();
    data.keys()
        .map(String::as_str)
        .filter(|key| !last.contains(key))
        .chain(operation.priority.iter().map(String::as_str))
        .collect()
}

#[cfg(test)]
mod tests;
