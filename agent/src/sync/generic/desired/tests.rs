use kube::api::DynamicObject;
use latchkey_engine::hash;
use serde_json::{Value, json};

use super::*;

fn object(target: Value, labels: Value, annotations: Value) -> ExternalSecret {
    let mut full =
        json!({ "name": "creds", "manifest": { "apiVersion": "v1", "kind": "ConfigMap" } });
    let fields = target.as_object().unwrap().clone();
    full.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "team-a", "uid": "u", "labels": labels, "annotations": annotations },
        "spec": { "target": full },
    }))
    .unwrap()
}

fn with(policy: &str) -> ExternalSecret {
    object(json!({ "creationPolicy": policy }), json!({}), json!({}))
}

fn live(metadata: Value, content: Value) -> Live {
    let mut full =
        json!({ "name": "creds", "namespace": "team-a", "uid": "l", "resourceVersion": "9" });
    let fields = metadata.as_object().unwrap().clone();
    full.as_object_mut().unwrap().extend(fields);
    let mut object = content;
    object["metadata"] = full;
    Live::from(serde_json::from_value::<DynamicObject>(object).unwrap())
}

fn owner(kind: &str, name: &str) -> Value {
    let group = if kind == "ExternalSecret" {
        "external-secrets.io/v1"
    } else {
        "apps/v1"
    };
    json!([{ "apiVersion": group, "kind": kind, "name": name, "uid": "x", "controller": true }])
}

/// The object after nothing was rendered into it, changed by hand.
fn finished(
    object: &ExternalSecret,
    existing: Option<&Live>,
    change: impl FnOnce(&mut Value),
) -> Result<Live, NotSettled> {
    let mut rendered = base(object, existing).to_json();
    change(&mut rendered);
    finish(object, existing, Tree::from_json(rendered))
}

fn metadata(live: &Live) -> Value {
    serde_json::to_value(&live.metadata).unwrap()
}

#[test]
fn a_new_object_has_an_empty_field_for_its_kind() {
    // externalsecret.md 5.3, E183
    let managed = json!({ names::MANAGED_LABEL: "true" });
    for (manifest, expected) in [
        (
            json!({ "apiVersion": "v1", "kind": "ConfigMap" }),
            json!({ "data": {} }),
        ),
        (
            json!({ "apiVersion": "v1", "kind": "Secret" }),
            json!({ "data": {} }),
        ),
        (
            json!({ "apiVersion": "example.com/v1", "kind": "Widget" }),
            json!({ "spec": {} }),
        ),
    ] {
        let object = object(json!({ "manifest": manifest }), json!({}), json!({}));
        let mut expected = expected;
        expected["apiVersion"] = manifest["apiVersion"].clone();
        expected["kind"] = manifest["kind"].clone();
        expected["metadata"] =
            json!({ "name": "creds", "namespace": "team-a", "labels": managed, "annotations": {} });
        assert_eq!(base(&object, None).to_json(), expected);
    }
}

#[test]
fn labels_and_annotations_come_from_the_object_or_raw_from_the_template() {
    // externalsecret.md 5.3, E186, E187, E188
    let (labels, annotations) = (
        json!({ "team": "a" }),
        json!({ "argocd.argoproj.io/tracking-id": "x" }),
    );
    let of = |object: &ExternalSecret| {
        let base = base(object, None).to_json();
        (
            base["metadata"]["labels"].clone(),
            base["metadata"]["annotations"].clone(),
        )
    };
    let managed = |mut labels: Value| {
        labels[names::MANAGED_LABEL] = json!("true");
        labels
    };
    let plain = object(json!({}), labels.clone(), annotations.clone());
    assert_eq!(of(&plain), (managed(labels.clone()), annotations.clone()));
    let template = json!({ "template": { "metadata": { "labels": { "t": "{{ .raw }}" }, "annotations": { "n": "{{ .raw }}" } } } });
    let templated = object(template, labels.clone(), annotations.clone());
    assert_eq!(
        of(&templated),
        (
            managed(json!({ "t": "{{ .raw }}" })),
            json!({ "n": "{{ .raw }}" })
        )
    );
    let empty = object(json!({ "template": {} }), labels, annotations);
    assert_eq!(of(&empty), (managed(json!({})), json!({})));
    assert_eq!(
        of(&with("Orphan")),
        (managed(json!({})), json!({})),
        "exactly one label"
    );
}

#[test]
fn only_policies_that_merge_start_from_the_object_that_is_there() {
    // externalsecret.md 5.2, E193
    let there = || {
        live(
            json!({ "labels": { "theirs": "1" }, "annotations": { "theirs": "2" }, "finalizers": ["f/f"], "managedFields": [{ "manager": "m" }] }),
            json!({ "data": { "k": "v" }, "immutable": false }),
        )
    };
    for policy in ["Merge", "CreateOrMerge"] {
        let desired = finished(&with(policy), Some(&there()), |_| ()).unwrap();
        assert_eq!(
            desired.content.to_json(),
            json!({ "data": { "k": "v" }, "immutable": false }),
            "{policy}"
        );
        let metadata = metadata(&desired);
        assert_eq!(
            metadata["labels"],
            json!({ "theirs": "1", names::MANAGED_LABEL: "true" }),
            "{policy}"
        );
        assert_eq!(metadata["annotations"]["theirs"], "2", "{policy}");
        assert_eq!(
            (&metadata["uid"], &metadata["resourceVersion"]),
            (&json!("l"), &json!("9")),
            "{policy}"
        );
        assert_eq!(
            (&metadata["finalizers"], &metadata["managedFields"]),
            (&json!(["f/f"]), &Value::Null),
            "{policy}"
        );
    }
    for policy in ["Owner", "Orphan"] {
        let desired = finished(&with(policy), Some(&there()), |_| ()).unwrap();
        assert_eq!(desired.content.to_json(), json!({ "data": {} }), "{policy}");
        let metadata = metadata(&desired);
        assert_eq!(
            (&metadata["uid"], &metadata["resourceVersion"]),
            (&json!("l"), &json!("9")),
            "{policy}"
        );
        assert_eq!(
            (
                &metadata["labels"]["theirs"],
                &metadata["annotations"]["theirs"],
                &metadata["finalizers"]
            ),
            (&Value::Null, &Value::Null, &Value::Null),
            "{policy}"
        );
    }
    let new = finished(&with("CreateOrMerge"), None, |_| ()).unwrap();
    assert_eq!(
        (metadata(&new)["uid"].clone(), new.metadata.resource_version),
        (Value::Null, None)
    );
}

#[test]
fn the_object_carries_label_digest_and_the_owner_of_its_policy() {
    // externalsecret.md 2.8.1, 5.5, 5.6, appendix A, E189, E190
    let data = |root: &mut Value| root["data"] = json!({ "host": "localhost", "port": "5432" });
    let stale = || {
        live(
            json!({
                "labels": { names::OWNER_LABEL: hash::of_text("team-a/web") },
                "ownerReferences": owner("ExternalSecret", "web"),
            }),
            json!({ "data": {} }),
        )
    };
    for (policy, existing) in [
        ("Owner", None),
        ("Owner", Some(stale())),
        ("Orphan", None),
        ("Orphan", Some(stale())),
        ("Merge", Some(stale())),
        ("CreateOrMerge", Some(stale())),
    ] {
        let desired = finished(&with(policy), existing.as_ref(), data).unwrap();
        let metadata = metadata(&desired);
        let hash = &metadata["annotations"][names::DATA_HASH_ANNOTATION];
        assert_eq!(
            hash, "6ec6846638afbb3eb3667a7ddbb80c7aaae95b8883ef49299ebf3d20",
            "{policy}"
        );
        assert_eq!(metadata["labels"][names::MANAGED_LABEL], "true", "{policy}");
        let owned = (
            &metadata["labels"][names::OWNER_LABEL],
            &metadata["ownerReferences"],
        );
        if policy == "Owner" {
            let reference = json!([{
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "web", "uid": "u",
                "controller": true, "blockOwnerDeletion": true,
            }]);
            assert_eq!(owned, (&json!(hash::of_text("team-a/web")), &reference));
        } else {
            assert!(owned.0.is_null(), "{policy}: {owned:?}");
            assert!(
                owned.1.is_null() || owned.1 == &json!([]),
                "{policy}: {owned:?}"
            );
        }
    }
    let managed = finished(&with("Merge"), Some(&stale()), |root| {
        root["metadata"]["labels"][names::MANAGED_LABEL] = json!("false");
    });
    assert_eq!(
        metadata(&managed.unwrap())["labels"][names::MANAGED_LABEL],
        "true",
        "a template cannot take it off"
    );
}

#[test]
fn what_somebody_else_controls_is_not_overwritten() {
    // externalsecret.md 2.8.1, D-11, E191
    let of_other = || {
        live(
            json!({ "ownerReferences": owner("ExternalSecret", "db") }),
            json!({ "data": {} }),
        )
    };
    let of_deployment = || {
        live(
            json!({ "ownerReferences": owner("Deployment", "boss") }),
            json!({ "data": {} }),
        )
    };
    for policy in ["Owner", "Orphan", "Merge", "CreateOrMerge"] {
        let refused = finished(&with(policy), Some(&of_other()), |root| {
            // Whatever the template makes of it.
            root["metadata"]["ownerReferences"] = json!([]);
        });
        assert_eq!(
            refused.unwrap_err().to_string(),
            "secret is owned by another ExternalSecret: db",
            "{policy}"
        );
        let outcome = finished(&with(policy), Some(&of_deployment()), |_| ());
        let expected = (policy == "Owner").then(|| {
            "could not set controller reference on secret: Object team-a/creds is already owned by another Deployment controller boss".to_owned()
        });
        assert_eq!(
            outcome.err().map(|error| error.to_string()),
            expected,
            "{policy}"
        );
    }
}

#[test]
fn a_template_cannot_make_another_object_of_it() {
    // externalsecret.md 5.2: the target is of the declared kind, in the namespace of the ExternalSecret
    let object = with("Owner");
    let other_kind = "rendered target GVK differs from declared target GVK \"/v1, Kind=ConfigMap\"";
    let renamed = "rendered target has another name or namespace than team-a/creds";
    let bad = "rendered target has metadata that no object can have";
    let none = "failed to hash target \"creds\" content: generic target content does not have a spec or data field for content hashing";
    for (pointer, value, expected) in [
        ("/apiVersion", json!("canary"), other_kind),
        ("/kind", json!("Secret"), other_kind),
        ("/kind", json!(null), other_kind),
        ("/metadata/name", json!("canary"), renamed),
        ("/metadata/namespace", json!("kube-system"), renamed),
        ("/metadata/labels", json!("canary"), bad),
        ("/metadata/labels", json!({ "a": 3 }), bad),
        ("/metadata", json!("canary"), bad),
        ("/data", json!(null), none),
    ] {
        let error = finished(&object, None, |root| {
            *root.pointer_mut(pointer).unwrap() = value.clone()
        });
        assert_eq!(
            error.unwrap_err().to_string(),
            expected,
            "{pointer} {value}"
        );
    }
    // A field of its own in place of all metadata only lacks what is known anyway.
    let desired =
        finished(
            &object,
            None,
            |root| {
                root["metadata"] =
                    json!({ "labels": { "a": "b" }, "uid": "x", "resourceVersion": "1" })
            },
        );
    let metadata = metadata(&desired.unwrap());
    assert_eq!(
        (
            &metadata["name"],
            &metadata["namespace"],
            &metadata["uid"],
            &metadata["resourceVersion"]
        ),
        (
            &json!("creds"),
            &json!("team-a"),
            &Value::Null,
            &Value::Null
        )
    );
}

#[test]
fn a_secret_that_would_yield_a_token_is_refused() {
    // externalsecret.md 1.4 rule 4, 5.3
    let secret = |annotations: Value| {
        object(
            json!({ "creationPolicy": "Merge", "manifest": { "apiVersion": "v1", "kind": "Secret" } }),
            json!({}),
            annotations,
        )
    };
    let token = || {
        live(
            json!({}),
            json!({ "type": "kubernetes.io/service-account-token", "data": {} }),
        )
    };
    let refused = finished(
        &secret(json!({ "kubernetes.io/service-account.name": "admin" })),
        Some(&token()),
        |_| (),
    );
    assert_eq!(
        refused.unwrap_err().to_string(),
        "template.type=\"kubernetes.io/service-account-token\" with annotation \"kubernetes.io/service-account.name\" is not allowed"
    );
    assert!(finished(&secret(json!({})), Some(&token()), |_| ()).is_ok());
    let bootstrap = live(
        json!({}),
        json!({ "type": "bootstrap.kubernetes.io/token", "data": {} }),
    );
    assert!(matches!(
        finished(&secret(json!({})), Some(&bootstrap), |_| ()),
        Err(NotSettled::Privileged(_))
    ));
}
