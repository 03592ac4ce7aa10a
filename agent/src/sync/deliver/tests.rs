use serde_json::{Value, json};

use super::*;

fn object(policy: &str, binding: Value, ready: &str) -> ExternalSecret {
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "a", "uid": "u" },
        "spec": { "target": { "name": "creds", "creationPolicy": policy } },
        "status": { "binding": binding, "conditions": [{ "type": "Ready", "status": ready }] },
    }))
    .unwrap()
}

fn target(uid: Option<&str>) -> TargetSecret {
    let owners = uid.map(|uid| {
        json!([{ "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "web", "uid": uid, "controller": true }])
    });
    let secret: Secret = serde_json::from_value(
        json!({ "metadata": { "name": "creds", "ownerReferences": owners } }),
    )
    .unwrap();
    secret.into()
}

#[test]
fn former_targets_are_looked_for_only_where_there_may_be_some() {
    // externalsecret.md 2.8, E027
    let (unbound, same, other) = (
        json!(null),
        json!({ "name": "creds" }),
        json!({ "name": "old" }),
    );
    for (policy, binding, ready, existing, expected) in [
        ("Owner", &unbound, "True", None, false),
        ("Owner", &same, "True", None, false),
        ("Owner", &same, "True", Some(target(Some("u"))), false),
        ("Owner", &other, "True", None, true),
        ("Owner", &other, "True", Some(target(Some("u"))), true),
        // Adopted, or ours again after another policy.
        ("Owner", &same, "True", Some(target(None)), true),
        ("Owner", &unbound, "True", Some(target(Some("other"))), true),
        // The name was taken, or the clean-up failed.
        ("Owner", &same, "False", None, true),
        ("Owner", &same, "False", Some(target(Some("u"))), true),
        ("Orphan", &other, "True", None, false),
        ("Merge", &other, "False", Some(target(None)), false),
    ] {
        let object = object(policy, binding.clone(), ready);
        assert_eq!(
            may_have_orphans(&object, existing.as_ref()),
            expected,
            "{policy} {binding} {ready}"
        );
    }
    let mut new = object("Owner", json!(null), "True");
    new.status = None;
    assert!(!may_have_orphans(&new, None), "never synced");
}
