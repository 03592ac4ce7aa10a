//! The admission rules of `externalsecret.md` 1.4 in code, for objects that no admission policy has looked at: those of a cluster
//! without the chart's policies, those that were stored before them, and repeated keys among very many.
//!
//! The policies are in the chart, in `templates/admission-policies.yaml`.

use std::collections::BTreeSet;

use super::{CreationPolicy, DataFrom, DeletionPolicy, ExternalSecretSpec, Target};

const SERVICE_ACCOUNT_TOKEN: &str = "kubernetes.io/service-account-token";
const SERVICE_ACCOUNT_NAME: &str = "kubernetes.io/service-account.name";
const BOOTSTRAP_TOKEN: &str = "bootstrap.kubernetes.io/token";

/// Every rule that the spec breaks, in the order and wording of `externalsecret.md` 1.4. Empty means that it is fine.
#[must_use]
pub fn violations(spec: &ExternalSecretSpec) -> Vec<String> {
    let mut found = Vec::new();
    policies(&spec.target, &mut found);
    if spec.data.is_empty() && spec.data_from.is_empty() {
        found.push("either data or dataFrom should be specified".to_owned());
    }
    template_violations(&spec.target, &mut found);
    for entry in &spec.data_from {
        data_from(entry, &mut found);
    }
    if spec.target.deletion_policy() == DeletionPolicy::Retain {
        let mut seen = BTreeSet::new();
        for entry in &spec.data {
            if !seen.insert(entry.secret_key.as_str()) {
                found.push(format!("duplicate secretKey found: {}", entry.secret_key));
            }
        }
    }
    found
}

/// Rules 1 and 2.
fn policies(target: &Target, found: &mut Vec<String>) {
    let (creation, deletion) = (target.creation_policy(), target.deletion_policy());
    let not_owned = matches!(
        creation,
        CreationPolicy::Merge | CreationPolicy::None | CreationPolicy::CreateOrMerge
    );
    if deletion == DeletionPolicy::Delete && not_owned {
        found.push(
            "deletionPolicy=Delete must not be used when the controller doesn't own the secret. Please set creationPolicy=Owner"
                .to_owned(),
        );
    }
    if deletion == DeletionPolicy::Merge && creation == CreationPolicy::None {
        found.push(
            "deletionPolicy=Merge must not be used with creationPolicy=None. There is no Secret to merge with".to_owned(),
        );
    }
}

/// Rules 4 and 5: what a template may not do. A controller checks them before it changes anything.
pub fn template_violations(target: &Target, found: &mut Vec<String>) {
    let Some(template) = &target.template else {
        return;
    };
    let targets = || {
        template
            .template_from
            .iter()
            .map(|from| from.target.as_deref().unwrap_or_default())
    };
    match template.type_.as_deref() {
        Some(SERVICE_ACCOUNT_TOKEN) => {
            if template
                .metadata
                .as_ref()
                .is_some_and(|metadata| metadata.annotations.contains_key(SERVICE_ACCOUNT_NAME))
            {
                found.push(format!(
                    "template.type=\"{SERVICE_ACCOUNT_TOKEN}\" with annotation \"{SERVICE_ACCOUNT_NAME}\" is not allowed"
                ));
            }
            if targets().any(|target| target.eq_ignore_ascii_case("annotations")) {
                found.push(format!(
                    "template.type=\"{SERVICE_ACCOUNT_TOKEN}\" with templateFrom target=\"Annotations\" is not allowed"
                ));
            }
        }
        Some(BOOTSTRAP_TOKEN) => found.push(format!(
            "template.type=\"{BOOTSTRAP_TOKEN}\" is not allowed"
        )),
        _ => {}
    }
    if target.is_secret() {
        for to in targets() {
            if !["", "data", "annotations", "labels"]
                .iter()
                .any(|known| to.eq_ignore_ascii_case(known))
            {
                found.push(format!(
                    "templateFrom target=\"{to}\" is not allowed when targeting a Secret, must be one of \"Data\", \"Annotations\" or \"Labels\""
                ));
            }
        }
    }
}

/// Rule 6.
fn data_from(entry: &DataFrom, found: &mut Vec<String>) {
    let generator = entry
        .source_ref
        .as_ref()
        .is_some_and(|source| source.generator_ref.is_some());
    let store = entry
        .source_ref
        .as_ref()
        .is_some_and(|source| source.store_ref.is_some());
    let set = [entry.extract.is_some(), entry.find.is_some(), generator];
    if set.iter().filter(|set| **set).count() > 1 {
        found.push("extract, find, or generatorRef cannot be set at the same time".to_owned());
    }
    if entry.extract.is_none() && entry.find.is_none() && entry.source_ref.is_none() {
        found.push("either extract, find, or sourceRef must be set to dataFrom".to_owned());
    }
    if entry.source_ref.is_some() && !generator && !store {
        found.push(
            "generatorRef or storeRef must be set when using sourceRef in dataFrom".to_owned(),
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(manifest: serde_json::Value) -> ExternalSecretSpec {
        serde_json::from_value(manifest).unwrap()
    }

    #[test]
    fn each_rule_has_its_text() {
        // externalsecret.md 1.4, E226, E227, E228, E229
        let one = serde_json::json!([{ "secretKey": "a", "remoteRef": { "key": "k" } }]);
        let owned = "deletionPolicy=Delete must not be used when the controller doesn't own the secret. Please set creationPolicy=Owner";
        let generator = serde_json::json!({ "generatorRef": { "kind": "Password", "name": "p" } });
        let template = |template: serde_json::Value| serde_json::json!({ "data": one, "target": { "template": template } });
        let cases = [
            (serde_json::json!({ "data": one }), vec![]),
            (
                serde_json::json!({ "data": one, "target": { "deletionPolicy": "Delete", "creationPolicy": "Merge" } }),
                vec![owned],
            ),
            (
                serde_json::json!({ "data": one, "target": { "deletionPolicy": "Delete", "creationPolicy": "CreateOrMerge" } }),
                vec![owned],
            ),
            (
                serde_json::json!({ "data": one, "target": { "deletionPolicy": "Delete", "creationPolicy": "Orphan" } }),
                vec![],
            ),
            (
                serde_json::json!({ "target": { "deletionPolicy": "Merge", "creationPolicy": "None" } }),
                vec![
                    "deletionPolicy=Merge must not be used with creationPolicy=None. There is no Secret to merge with",
                    "either data or dataFrom should be specified",
                ],
            ),
            (
                serde_json::json!({ "dataFrom": [{ "extract": { "key": "k" }, "find": {} }] }),
                vec!["extract, find, or generatorRef cannot be set at the same time"],
            ),
            (
                serde_json::json!({ "dataFrom": [{ "extract": { "key": "k" }, "sourceRef": generator }] }),
                vec!["extract, find, or generatorRef cannot be set at the same time"],
            ),
            (
                serde_json::json!({ "dataFrom": [{ "sourceRef": generator }] }),
                vec![],
            ),
            (
                serde_json::json!({ "dataFrom": [{}] }),
                vec!["either extract, find, or sourceRef must be set to dataFrom"],
            ),
            (
                serde_json::json!({ "dataFrom": [{ "sourceRef": {} }] }),
                vec!["generatorRef or storeRef must be set when using sourceRef in dataFrom"],
            ),
            (
                serde_json::json!({ "data": [one[0], one[0], one[0]] }),
                vec![
                    "duplicate secretKey found: a",
                    "duplicate secretKey found: a",
                ],
            ),
            (
                serde_json::json!({ "data": [one[0], one[0]], "target": { "deletionPolicy": "Merge" } }),
                vec![],
            ),
            (
                template(serde_json::json!({ "type": "bootstrap.kubernetes.io/token" })),
                vec!["template.type=\"bootstrap.kubernetes.io/token\" is not allowed"],
            ),
            (
                template(serde_json::json!({
                    "type": "kubernetes.io/service-account-token",
                    "metadata": { "annotations": { "kubernetes.io/service-account.name": "x" } },
                })),
                vec![
                    "template.type=\"kubernetes.io/service-account-token\" with annotation \"kubernetes.io/service-account.name\" is not allowed",
                ],
            ),
            (
                template(serde_json::json!({
                    "type": "kubernetes.io/service-account-token",
                    "templateFrom": [{ "literal": "a: b", "target": "aNNotations" }],
                })),
                vec![
                    "template.type=\"kubernetes.io/service-account-token\" with templateFrom target=\"Annotations\" is not allowed",
                ],
            ),
            (
                template(
                    serde_json::json!({ "templateFrom": [{ "target": "type" }, { "target": "" }, { "target": "LABELS" }] }),
                ),
                vec![
                    "templateFrom target=\"type\" is not allowed when targeting a Secret, must be one of \"Data\", \"Annotations\" or \"Labels\"",
                ],
            ),
        ];
        for (manifest, expected) in cases {
            assert_eq!(violations(&spec(manifest.clone())), expected, "{manifest}");
        }
    }
}
