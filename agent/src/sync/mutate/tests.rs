use latchkey_secret::SecretValue;
use serde_json::{Value, json};

use super::*;

/// The target with new content.
fn desired(
    object: &ExternalSecret,
    existing: Option<&TargetSecret>,
    rendered: Rendered,
) -> Result<TargetSecret, OwnedByOther> {
    super::desired(object, existing, Some(rendered))
}

fn with_target(mut object: ExternalSecret, change: Value) -> ExternalSecret {
    let mut target = serde_json::to_value(&object.spec.target).unwrap();
    let fields = change.as_object().unwrap().clone();
    target.as_object_mut().unwrap().extend(fields);
    object.spec.target = serde_json::from_value(target).unwrap();
    object
}

/// What a former sync of ours has left in `managedFields`.
fn our_fields(data: &[&str]) -> Value {
    let data: Value = data
        .iter()
        .map(|key| (format!("f:{key}"), json!({})))
        .collect::<serde_json::Map<_, _>>()
        .into();
    json!([{ "manager": "externalsecrets.external-secrets.io/web", "operation": "Update", "fieldsV1": { "f:data": data } }])
}

fn keys(target: &TargetSecret) -> Vec<&str> {
    target.data.keys().map(String::as_str).collect()
}

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
    // externalsecret.md 2.7, 1.3, E020, X05
    let applied = "kubectl.kubernetes.io/last-applied-configuration";
    let object = object(
        json!({ "team": "a" }),
        json!({ "note": "b", applied: "{}" }),
    );
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
            "annotations": { "note": "b", applied: "{}", "reconcile.external-secrets.io/data-hash": hash::of_secret_data(&data("bar")) },
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
    // Nor does one go that the template has lost.
    let both = json!(["example.com/x", "example.com/y"]);
    let before = existing(json!({ "finalizers": both }));
    let mut without = object.clone();
    let lost = json!({ "metadata": { "finalizers": ["example.com/y"] } });
    without.spec.target.template = Some(serde_json::from_value(lost).unwrap());
    let target = desired(&without, Some(&before), made()).unwrap();
    assert_eq!(json!(target.metadata.finalizers), both);
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

#[test]
fn foreign_data_stays_only_where_the_policy_merges() {
    // externalsecret.md 2.7, 2.8, E012, E023, E025, E029, E044
    let before = || {
        let mut before = existing(json!({ "managedFields": our_fields(&["stale", "kept"]) }));
        for key in ["stale", "kept"] {
            before
                .data
                .insert(key.into(), SecretValue::from("old".to_owned()));
        }
        before
            .data
            .insert("foo".into(), SecretValue::from("theirs".to_owned()));
        before
    };
    for (policy, expected) in [
        ("Owner", &["foo"][..]),
        ("Orphan", &["foo"]),
        ("Merge", &["foo", "theirs"]),
        ("CreateOrMerge", &["foo", "theirs"]),
    ] {
        let object = with_target(
            object(json!({ "l": "1" }), json!({})),
            json!({ "creationPolicy": policy }),
        );
        let target = desired(&object, Some(&before()), rendered(&object, "bar")).unwrap();
        assert_eq!(keys(&target), expected, "{policy}");
        assert_eq!(target.data.get("foo"), data("bar").get("foo"), "{policy}");
        let annotations = target.metadata.annotations.as_ref().unwrap();
        assert_eq!(
            annotations.get(names::DATA_HASH_ANNOTATION),
            Some(&hash::of_secret_data(&target.data)),
            "{policy}: the digest is over all keys"
        );
        // An empty result only drops what is ours.
        let empty = Rendered::untemplated(&object, SecretData::new());
        let target = desired(&object, Some(&before()), empty).unwrap();
        let left: &[&str] = if expected.len() > 1 {
            &["foo", "theirs"]
        } else {
            &[]
        };
        assert_eq!(keys(&target), left, "{policy}");
    }
}

#[test]
fn only_the_policy_owner_makes_the_object_the_controller() {
    // externalsecret.md 2.8, 2.8.1, E023, E029
    let ours = owner("ExternalSecret", "external-secrets.io/v1", "web", "new");
    let plain =
        json!({ "apiVersion": "example.com/v2", "kind": "Robot", "name": "r2", "uid": "r" });
    let before = existing(json!({
        "labels": { names::OWNER_LABEL: hash::of_text("team-a/web"), "theirs": "1" },
        "ownerReferences": [plain, ours],
    }));
    let kinds = |target: &TargetSecret| -> Vec<String> {
        let owners = target.metadata.owner_references.iter().flatten();
        owners.map(|owner| owner.kind.clone()).collect()
    };
    for policy in ["Orphan", "Merge", "CreateOrMerge"] {
        let object = with_target(
            object(json!({}), json!({})),
            json!({ "creationPolicy": policy }),
        );
        for before in [None, Some(&before)] {
            let target = desired(&object, before, rendered(&object, "bar")).unwrap();
            let expected: &[&str] = if before.is_some() { &["Robot"] } else { &[] };
            assert_eq!(kinds(&target), expected, "{policy}");
            let labels = target.metadata.labels.as_ref().unwrap();
            assert!(!labels.contains_key(names::OWNER_LABEL), "{policy}");
            assert_eq!(labels.contains_key("theirs"), before.is_some(), "{policy}");
            assert!(labels.contains_key(names::MANAGED_LABEL), "{policy}");
        }
    }
    let owner = object(json!({}), json!({}));
    let target = desired(&owner, Some(&before), rendered(&owner, "bar")).unwrap();
    assert_eq!(kinds(&target), ["Robot", "ExternalSecret"]);
}

#[test]
fn a_secret_of_another_external_secret_is_refused_to_every_policy_that_writes() {
    // externalsecret.md 2.8.1, X02, X03
    let of_other = existing(json!({
        "ownerReferences": [owner("ExternalSecret", "external-secrets.io/v1", "db", "x")],
    }));
    let of_deployment = existing(json!({
        "ownerReferences": [owner("Deployment", "apps/v1", "web", "x")],
    }));
    for policy in ["Owner", "Orphan", "Merge", "CreateOrMerge"] {
        let object = with_target(
            object(json!({}), json!({})),
            json!({ "creationPolicy": policy }),
        );
        assert_eq!(
            desired(&object, Some(&of_other), rendered(&object, "bar")).map(drop),
            Err(OwnedByOther::ExternalSecret("db".to_owned())),
            "{policy}"
        );
        // A controller of another kind only stands in the way of a new one.
        let target = desired(&object, Some(&of_deployment), rendered(&object, "bar"));
        assert_eq!(target.is_ok(), policy != "Owner", "{policy}");
    }
}

#[test]
fn an_immutable_target_keeps_its_content_and_gets_our_marks() {
    // externalsecret.md 2.11, E031, E033
    let object = with_target(
        object(json!({ "mine": "1" }), json!({})),
        json!({ "immutable": true }),
    );
    assert!(!keeps_content(&object, None));
    let new = desired(&object, None, rendered(&object, "bar")).unwrap();
    assert_eq!((new.immutable, keys(&new)), (Some(true), vec!["foo"]));

    let before = existing(json!({ "labels": { "x": "1" } }));
    assert!(keeps_content(&object, Some(&before)));
    let target = super::desired(&object, Some(&before), None).unwrap();
    assert_eq!(target.immutable, Some(true));
    assert_eq!(target.data, before.data);
    let labels = target.metadata.labels.as_ref().unwrap();
    assert!(labels.contains_key("x") && !labels.contains_key("mine"));
    assert!(labels.contains_key(names::MANAGED_LABEL) && labels.contains_key(names::OWNER_LABEL));
    let annotations = target.metadata.annotations.as_ref().unwrap();
    assert_eq!(
        annotations.get(names::DATA_HASH_ANNOTATION),
        Some(&hash::of_secret_data(&before.data))
    );
    assert!(!same(&before, &target));
    let again = super::desired(&object, Some(&target), None).unwrap();
    assert!(same(&target, &again));
    let mut thawed = target.clone();
    thawed.immutable = None;
    assert!(!same(&thawed, &target), "the flag alone is a difference");
}

#[test]
fn changed_keys_are_told_by_what_happened_to_them() {
    // E112
    let data = |pairs: &[(&str, &str)]| -> SecretData {
        pairs
            .iter()
            .map(|(key, value)| ((*key).to_owned(), SecretValue::from((*value).to_owned())))
            .collect()
    };
    for (before, after, expected) in [
        (
            data(&[("a", "1")]),
            data(&[("a", "1")]),
            "added [], updated [], removed [], emptied []",
        ),
        (
            data(&[]),
            data(&[]),
            "added [], updated [], removed [], emptied []",
        ),
        (
            data(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "")]),
            data(&[("b", "2"), ("c", ""), ("d", ""), ("z", ""), ("e", "5")]),
            r#"added ["e", "z"], updated ["b", "c"], removed ["a"], emptied ["c", "z"]"#,
        ),
    ] {
        assert_eq!(KeyChanges::between(&before, &after).to_string(), expected);
    }
}

#[test]
fn a_response_names_keys_and_never_the_place_of_the_target() {
    // SB-36
    let object = object(json!({}), json!({}));
    let hostile = || {
        let fields = [
            "namespace",
            "metadata",
            "metadata.namespace",
            "name",
            "kind",
        ];
        let fields = fields.into_iter().map(|key| {
            let value = r#"{"namespace":"kube-system","name":"admin"}"#;
            (key.to_owned(), SecretValue::from(value.to_owned()))
        });
        Rendered::untemplated(&object, fields.collect())
    };
    let present = existing(json!({}));
    for existing in [None, Some(&present)] {
        let target = desired(&object, existing, hostile()).unwrap();
        assert_eq!(target.metadata.namespace.as_deref(), Some("team-a"));
        assert_eq!(target.metadata.name.as_deref(), Some("creds"));
        assert_eq!(target.data.len(), 5);
    }
}
