use kube::api::DynamicObject;
use latchkey_engine::hash;
use latchkey_engine::tree::Tree;
use serde_json::{Value, json};

use super::super::super::names;
use super::*;

const NOW: i64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn object(target: Value, spec: Value) -> ExternalSecret {
    let mut full =
        json!({ "target": target, "data": [{ "secretKey": "a", "remoteRef": { "key": "k" } }] });
    let fields = spec.as_object().unwrap().clone();
    full.as_object_mut().unwrap().extend(fields);
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "a", "uid": "u", "generation": 3 },
        "spec": full,
    }))
    .unwrap()
}

fn with(policy: &str) -> ExternalSecret {
    let manifest = json!({ "apiVersion": "v1", "kind": "ConfigMap" });
    object(
        json!({ "creationPolicy": policy, "manifest": manifest }),
        json!({ "refreshInterval": "1h" }),
    )
}

fn deleting(creation: &str, deletion: &str) -> ExternalSecret {
    let mut object = with(creation);
    object.spec.target.deletion_policy = serde_json::from_value(json!(deletion)).unwrap();
    object
}

/// The object after a success `age` seconds ago.
fn synced(mut object: ExternalSecret, age: i64) -> ExternalSecret {
    let version = names::current_version(&object);
    let status = object.status.get_or_insert_default();
    status.synced_resource_version = Some(version);
    let time = Timestamp::from_second(NOW - age).unwrap();
    status.refresh_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(time));
    object
}

fn live(metadata: Value, content: Value) -> Live {
    let mut full = json!({ "name": "web", "namespace": "a", "uid": "l" });
    let fields = metadata.as_object().unwrap().clone();
    full.as_object_mut().unwrap().extend(fields);
    let mut object = content;
    object["metadata"] = full;
    Live::from(serde_json::from_value::<DynamicObject>(object).unwrap())
}

/// An object as we left it, after a change of its metadata and with this content.
fn intact(change: Value, content: Value) -> Live {
    let data = Tree::from_json(json!({ "token": "abc" }));
    let mut metadata = json!({
        "labels": { names::MANAGED_LABEL: "true" }, "annotations": { names::DATA_HASH_ANNOTATION: hash::of_tree(&data) },
    });
    let fields = change.as_object().unwrap().clone();
    metadata.as_object_mut().unwrap().extend(fields);
    live(metadata, content)
}

fn data() -> Value {
    json!({ "data": { "token": "abc" } })
}

fn owner(kind: &str, name: &str, uid: &str) -> Value {
    let group = if kind == "ExternalSecret" {
        "external-secrets.io/v1"
    } else {
        "apps/v1"
    };
    json!([{ "apiVersion": group, "kind": kind, "name": name, "uid": uid, "controller": true }])
}

#[test]
fn a_manifest_needs_api_version_and_kind_and_the_rules_hold_for_it() {
    // externalsecret.md 5.1, 1.4, E181
    let gate = |detail: &str| Plan::Refuse {
        message: "invalid generic target".to_owned(),
        detail: detail.to_owned(),
    };
    let manifest = |api_version: &str, kind: &str| json!({ "manifest": { "apiVersion": api_version, "kind": kind } });
    for (target, expected) in [
        (manifest("", "ConfigMap"), Err(gate("target.manifest.apiVersion is required"))),
        (manifest("v1", ""), Err(gate("target.manifest.kind is required"))),
        (manifest("v1", "ConfigMap"), Ok("/v1/ConfigMap/web".to_owned())),
        (
            json!({ "manifest": { "apiVersion": "v1", "kind": "ConfigMap" }, "deletionPolicy": "Delete", "creationPolicy": "Merge" }),
            Err(Plan::refuse("deletionPolicy=Delete must not be used when the controller doesn't own the secret. Please set creationPolicy=Owner".to_owned())),
        ),
    ] {
        let found = super::target(&object(target.clone(), json!({}))).map(|target| target.to_string());
        assert_eq!(found, expected, "{target}");
    }
    let broken = object(
        manifest("v1", "ConfigMap"),
        json!({ "refreshInterval": "nonsense" }),
    );
    assert!(matches!(super::target(&broken), Err(Plan::Refuse { .. })));
    // Paths are for manifests, other than of a Secret; what would make a token is for none.
    let template = |kind: &str, template: Value| {
        let mut target = manifest("v1", kind);
        target["template"] = template;
        super::target(&object(target, json!({})))
    };
    let path = json!({ "templateFrom": [{ "target": "immutable", "literal": "true" }] });
    assert!(template("ConfigMap", path.clone()).is_ok());
    assert!(matches!(
        template("Secret", path),
        Err(Plan::RefuseTemplate(_))
    ));
    let token = json!({ "type": "bootstrap.kubernetes.io/token" });
    assert!(matches!(
        template("ConfigMap", token),
        Err(Plan::RefuseTemplate(_))
    ));
}

#[test]
fn a_target_is_valid_if_label_and_digest_say_so() {
    // externalsecret.md 2.10, 5.5, E195
    let unmanaged = || intact(json!({ "labels": {} }), data());
    for (name, policy, existing, expected) in [
        ("Orphan, absent", "Orphan", None, Ok(true)),
        ("Orphan, not managed", "Orphan", Some(unmanaged()), Ok(true)),
        ("None", "None", None, Ok(true)),
        ("absent", "Owner", None, Ok(false)),
        ("absent", "Merge", None, Ok(false)),
        (
            "no UID",
            "Owner",
            Some(intact(json!({ "uid": null }), data())),
            Ok(false),
        ),
        ("not managed", "Owner", Some(unmanaged()), Ok(false)),
        (
            "not managed, no content",
            "Owner",
            Some(intact(json!({ "labels": {} }), json!({}))),
            Ok(false),
        ),
        (
            "wrong digest",
            "Owner",
            Some(intact(json!({}), json!({ "data": { "token": "abd" } }))),
            Ok(false),
        ),
        (
            "no digest",
            "Owner",
            Some(intact(json!({ "annotations": {} }), data())),
            Ok(false),
        ),
        (
            "right digest",
            "Owner",
            Some(intact(json!({}), data())),
            Ok(true),
        ),
        (
            "right digest",
            "Merge",
            Some(intact(json!({}), data())),
            Ok(true),
        ),
        (
            "of spec",
            "CreateOrMerge",
            Some(intact(
                json!({}),
                json!({ "spec": { "token": "abc" }, "data": 3 }),
            )),
            Ok(true),
        ),
        (
            "managed, no content",
            "Owner",
            Some(intact(json!({}), json!({ "status": {} }))),
            Err(NoContent),
        ),
    ] {
        assert_eq!(
            is_valid(&with(policy), existing.as_ref()),
            expected,
            "{policy}: {name}"
        );
    }
}

#[test]
fn what_is_valid_and_not_due_rests() {
    // externalsecret.md 2.4, 2.13, 5.2, 5.5
    let rests = |object: &ExternalSecret, existing: Option<Live>, lost: Option<&str>| {
        matches!(look(object, existing, lost, now()), Ok(Look::Rest(_)))
    };
    let valid = || Some(intact(json!({}), data()));
    let damaged = || Some(intact(json!({}), json!({ "data": {} })));
    let unlabelled = || Some(intact(json!({ "labels": {} }), data()));
    let fresh = synced(with("Owner"), 1);
    assert!(rests(&fresh, valid(), None));
    assert!(!rests(&fresh, damaged(), None), "repaired at once");
    assert!(!rests(&fresh, None, None), "made again at once");
    assert!(!rests(&synced(with("Owner"), 3601), valid(), None), "due");
    assert!(!rests(&with("Owner"), valid(), None), "never synced");
    // A label that went is put back at the next look for another reason.
    assert!(rests(&fresh, unlabelled(), Some("l")));
    assert!(!rests(&fresh, unlabelled(), Some("other")) && !rests(&fresh, unlabelled(), None));
    // D-19: None is looked at once per change.
    assert!(rests(&synced(with("None"), 7200), None, None) && !rests(&with("None"), None, None));
    assert!(!is_read(&with("None")) && is_read(&with("Merge")));
    let broken = look(&fresh, Some(intact(json!({}), json!({}))), None, now());
    assert_eq!(broken.map(drop), Err(NoContent));
}

#[test]
fn an_empty_result_does_what_the_deletion_policy_says() {
    // externalsecret.md 2.9, 5.2, D-11
    let refuse = |text: &str| Emptied::Refuse(format!("unable to delete resource: {text}"));
    let ours = || {
        Some(intact(
            json!({ "ownerReferences": owner("ExternalSecret", "web", "u") }),
            data(),
        ))
    };
    let theirs = || {
        Some(intact(
            json!({ "ownerReferences": owner("ExternalSecret", "other", "x") }),
            data(),
        ))
    };
    for (creation, deletion, existing, expected) in [
        ("Owner", "Retain", ours(), Emptied::Retain),
        ("Owner", "Merge", ours(), Emptied::Write),
        ("Merge", "Merge", None, Emptied::Write),
        ("Owner", "Delete", ours(), Emptied::Delete),
        ("Owner", "Delete", None, Emptied::Delete),
        (
            "Owner",
            "Delete",
            theirs(),
            refuse("not owned by this ExternalSecret"),
        ),
        (
            "Orphan",
            "Delete",
            ours(),
            refuse("creationPolicy=Orphan is not Owner"),
        ),
    ] {
        let found = emptied(&deleting(creation, deletion), existing.as_ref());
        assert_eq!(found, expected, "{creation} {deletion}");
    }
}

#[test]
fn only_targets_of_its_own_are_deleted_with_an_object() {
    // externalsecret.md 5.6, D-11
    for (name, policy, live, expected) in [
        (
            "controlled",
            "Owner",
            intact(
                json!({ "ownerReferences": owner("ExternalSecret", "web", "u") }),
                data(),
            ),
            true,
        ),
        (
            "controlled by policy of before",
            "Orphan",
            intact(
                json!({ "ownerReferences": owner("ExternalSecret", "web", "u") }),
                data(),
            ),
            true,
        ),
        (
            "written, reference lost",
            "Owner",
            intact(json!({}), data()),
            true,
        ),
        (
            "written by its predecessor",
            "Owner",
            intact(
                json!({ "ownerReferences": owner("ExternalSecret", "web", "old") }),
                data(),
            ),
            true,
        ),
        ("never written", "Owner", live(json!({}), data()), false),
        (
            "written, not owned",
            "Orphan",
            intact(json!({}), data()),
            false,
        ),
        (
            "of another ExternalSecret",
            "Owner",
            intact(
                json!({ "ownerReferences": owner("ExternalSecret", "other", "u") }),
                data(),
            ),
            false,
        ),
        (
            "of another controller",
            "Owner",
            intact(
                json!({ "ownerReferences": owner("Deployment", "web", "u") }),
                data(),
            ),
            false,
        ),
    ] {
        assert_eq!(
            may_delete(&with(policy), &live.metadata),
            expected,
            "{name}"
        );
    }
}
