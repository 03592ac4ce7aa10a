use latchkey_secret::SecretValue;
use serde_json::{Value, json};

use super::*;

fn object(labels: Value, annotations: Value) -> ExternalSecret {
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "team-a", "uid": "new", "labels": labels, "annotations": annotations },
        "spec": { "target": { "name": "creds" }, "data": [{ "secretKey": "a", "remoteRef": { "key": "k" } }] },
    }))
    .unwrap()
}

fn data(text: &str) -> SecretData {
    SecretData::from([("foo".to_owned(), SecretValue::from(text.to_owned()))])
}

/// What an object without template delivers.
fn rendered(object: &ExternalSecret, text: &str) -> Rendered {
    Rendered::untemplated(object, data(text))
}

fn existing(metadata: Value) -> TargetSecret {
    let mut full =
        json!({ "name": "creds", "namespace": "team-a", "uid": "s", "resourceVersion": "9" });
    full.as_object_mut()
        .unwrap()
        .extend(metadata.as_object().unwrap().clone());
    TargetSecret {
        metadata: serde_json::from_value(full).unwrap(),
        type_: Some("Opaque".into()),
        immutable: None,
        data: SecretData::from([("theirs".to_owned(), SecretValue::from("x".to_owned()))]),
    }
}

fn owner(kind: &str, api_version: &str, name: &str, uid: &str) -> Value {
    json!({ "apiVersion": api_version, "kind": kind, "name": name, "uid": uid, "controller": true })
}

#[test]
fn a_new_target_carries_the_object_s_metadata_and_our_marks() {
    // externalsecret.md 2.7, 1.3, E020
    let object = object(json!({ "team": "a" }), json!({ "note": "b" }));
    let target = desired(&object, None, rendered(&object, "bar")).unwrap();
    let metadata = serde_json::to_value(&target.metadata).unwrap();
    assert_eq!(
        metadata,
        json!({
            "name": "creds", "namespace": "team-a",
            "labels": {
                "team": "a",
                "reconcile.external-secrets.io/managed": "true",
                "reconcile.external-secrets.io/created-by": hash::of_text("team-a/web"),
            },
            "annotations": { "note": "b", "reconcile.external-secrets.io/data-hash": hash::of_secret_data(&data("bar")) },
            "ownerReferences": [{
                "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "web", "uid": "new",
                "controller": true, "blockOwnerDeletion": true,
            }],
        })
    );
    assert_eq!(target.data, data("bar"));
}

#[test]
fn foreign_metadata_stays_foreign_data_goes_and_our_stale_keys_go() {
    // externalsecret.md 2.7, E021, E022, X01
    let ours = "externalsecrets.external-secrets.io/web";
    let before = existing(json!({
        "labels": { "theirs": "1", "stale": "1", "kept": "old" },
        "annotations": { "theirs": "1", "stale": "1" },
        "finalizers": ["example.com/x"],
        "managedFields": [
            { "manager": ours, "operation": "Update", "fieldsV1": { "f:metadata": {
                "f:labels": { ".": {}, "f:stale": {}, "f:kept": {} }, "f:annotations": { "f:stale": {} },
            } } },
            { "manager": "other", "operation": "Update", "fieldsV1": { "f:metadata": { "f:labels": { "f:theirs": {} } } } },
        ],
    }));
    let object = object(json!({ "kept": "new" }), json!({}));
    let target = desired(&object, Some(&before), rendered(&object, "bar")).unwrap();
    let labels = target.metadata.labels.unwrap();
    assert_eq!(labels.get("theirs").map(String::as_str), Some("1"));
    assert_eq!(labels.get("kept").map(String::as_str), Some("new"));
    assert!(!labels.contains_key("stale"));
    let annotations = target.metadata.annotations.unwrap();
    assert_eq!(
        annotations.keys().collect::<Vec<_>>(),
        ["reconcile.external-secrets.io/data-hash", "theirs"]
    );
    assert_eq!(
        target.metadata.finalizers,
        Some(vec!["example.com/x".to_owned()])
    );
    assert_eq!(target.metadata.resource_version.as_deref(), Some("9"));
    assert_eq!(target.type_.as_deref(), Some("Opaque"));
    assert_eq!(target.data, data("bar"));
}

#[test]
fn stale_keys_of_objects_with_long_names_are_pruned_too() {
    // externalsecret.md D-02
    let name = "a-rather-long-external-secret-name";
    let mut object = object(json!({}), json!({}));
    object.metadata.name = Some(name.to_owned());
    let before = existing(json!({
        "labels": { "stale": "1" },
        "managedFields": [{ "manager": names::field_manager(name), "fieldsV1": { "f:metadata": { "f:labels": { "f:stale": {} } } } }],
    }));
    let labels = desired(&object, Some(&before), rendered(&object, "bar"))
        .unwrap()
        .metadata
        .labels
        .unwrap();
    assert!(!labels.contains_key("stale"));
}

#[test]
fn another_controller_keeps_its_secret() {
    // externalsecret.md 2.8.1, X02, X03
    let object = object(json!({}), json!({}));
    let refused = |reference: Value| {
        let before = existing(json!({ "ownerReferences": [reference] }));
        desired(&object, Some(&before), rendered(&object, "bar"))
            .map(drop)
            .map_err(|error| error.to_string())
    };
    assert_eq!(
        refused(owner(
            "ExternalSecret",
            "external-secrets.io/v1beta1",
            "db",
            "x"
        )),
        Err("secret is owned by another ExternalSecret: db".to_owned())
    );
    assert_eq!(
        refused(owner("Deployment", "apps/v1", "web", "x")),
        Err("could not set controller reference on secret: Object team-a/creds is already owned by another Deployment controller web".to_owned())
    );
    // Not the controller, merely an owner.
    assert_eq!(
        refused(
            json!({ "apiVersion": "apps/v1", "kind": "Deployment", "name": "web", "uid": "x" })
        ),
        Ok(())
    );
    // The same kind of another group.
    assert!(
        refused(owner("ExternalSecret", "example.com/v1", "web", "x"))
            .unwrap_err()
            .starts_with("could not set controller reference")
    );
}

#[test]
fn a_recreated_object_takes_over_what_its_predecessor_owned() {
    // externalsecret.md 2.8.1: the UID is ignored
    let before = existing(json!({ "ownerReferences": [
        { "apiVersion": "v1", "kind": "ConfigMap", "name": "c", "uid": "c" },
        owner("ExternalSecret", "external-secrets.io/v1", "web", "old"),
    ] }));
    let object = object(json!({}), json!({}));
    let target = desired(&object, Some(&before), rendered(&object, "bar")).unwrap();
    let owners = target.metadata.owner_references.unwrap();
    assert_eq!(
        owners
            .iter()
            .map(|owner| owner.uid.as_str())
            .collect::<Vec<_>>(),
        ["c", "new"]
    );
}

#[test]
fn only_the_controller_reference_with_our_uid_proves_ownership() {
    // externalsecret.md D-21
    let object = object(json!({}), json!({}));
    for (references, expected) in [
        (
            json!([owner(
                "ExternalSecret",
                "external-secrets.io/v1",
                "web",
                "new"
            )]),
            true,
        ),
        (
            json!([owner(
                "ExternalSecret",
                "external-secrets.io/v1",
                "web",
                "old"
            )]),
            false,
        ),
        (
            json!([owner(
                "ExternalSecret",
                "external-secrets.io/v1",
                "other",
                "new"
            )]),
            false,
        ),
        (
            json!([owner("Thing", "external-secrets.io/v1", "web", "new")]),
            false,
        ),
        (json!([]), false),
    ] {
        let metadata = existing(json!({ "ownerReferences": references })).metadata;
        assert_eq!(
            is_controlled_by(&metadata, &object),
            expected,
            "{references}"
        );
    }
}

#[test]
fn a_second_sync_of_the_same_data_changes_nothing() {
    // externalsecret.md 2.7, E014
    let object = object(json!({ "team": "a" }), json!({}));
    let first = desired(&object, None, rendered(&object, "bar")).unwrap();
    assert!(same(
        &first,
        &desired(&object, Some(&first), rendered(&object, "bar")).unwrap()
    ));
    assert!(!same(
        &first,
        &desired(&object, Some(&first), rendered(&object, "baz")).unwrap()
    ));
}

#[test]
fn a_template_brings_its_metadata_type_and_finalizers() {
    // externalsecret.md 2.7 step 4, 4.4, E113, X06
    let mut object = object(json!({ "own": "l" }), json!({ "own": "a" }));
    object.spec.target.template = Some(
        serde_json::from_value(json!({
            "type": "kubernetes.io/tls",
            "metadata": { "labels": { "team": "{{ .a }}" }, "finalizers": ["example.com/x", "example.com/y"] },
        }))
        .unwrap(),
    );
    let made = || Rendered {
        data: data("bar"),
        labels: [("team".to_owned(), "blue".to_owned())].into(),
        annotations: [("note".to_owned(), "n".to_owned())].into(),
    };
    let target = desired(&object, None, made()).unwrap();
    assert_eq!(target.type_.as_deref(), Some("kubernetes.io/tls"));
    let metadata = &target.metadata;
    assert_eq!(
        metadata.finalizers.as_deref(),
        Some(&["example.com/x".to_owned(), "example.com/y".to_owned()][..])
    );
    let labels = metadata.labels.as_ref().unwrap();
    assert_eq!(labels.get("team").map(String::as_str), Some("blue"));
    assert!(labels.contains_key(names::MANAGED_LABEL) && !labels.contains_key("own"));
    let annotations = metadata.annotations.as_ref().unwrap();
    assert_eq!(annotations.get("note").map(String::as_str), Some("n"));
    assert!(!annotations.contains_key("own"));
    assert!(same(
        &target,
        &desired(&object, Some(&target), made()).unwrap()
    ));

    // What is there stays in its place; a Secret on its way out gets no new finalizer.
    let before = existing(json!({ "finalizers": ["example.com/y"] }));
    let target = desired(&object, Some(&before), made()).unwrap();
    assert_eq!(
        target.metadata.finalizers.as_deref(),
        Some(&["example.com/y".to_owned(), "example.com/x".to_owned()][..])
    );
    assert!(!same(&before, &target));
    let leaving = existing(json!({ "deletionTimestamp": "2024-01-01T00:00:00Z" }));
    let target = desired(&object, Some(&leaving), made()).unwrap();
    assert_eq!(target.metadata.finalizers, None);
}

#[test]
fn a_template_without_type_keeps_the_type_that_is_there() {
    // externalsecret.md 4.4
    let mut object = object(json!({}), json!({}));
    object.spec.target.template = Some(serde_json::from_value(json!({})).unwrap());
    let before = existing(json!({}));
    let target = desired(&object, Some(&before), rendered(&object, "bar")).unwrap();
    assert_eq!(target.type_.as_deref(), Some("Opaque"));
}
