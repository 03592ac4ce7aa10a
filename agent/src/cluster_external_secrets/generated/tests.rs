use serde_json::json;

use super::*;

fn set(metadata: Value, spec: Value) -> ClusterExternalSecret {
    let mut object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret",
        "metadata": { "name": "spread", "uid": "u1" },
        "spec": { "externalSecretSpec": { "data": [{ "secretKey": "a", "remoteRef": { "key": "/a" } }], "new": { "field": null } } },
    });
    for (part, from) in [("metadata", metadata), ("spec", spec)] {
        for (key, value) in from.as_object().cloned().unwrap_or_default() {
            object[part][key] = value;
        }
    }
    serde_json::from_value(object).unwrap()
}

fn created(set: &ClusterExternalSecret) -> Value {
    match Desired::of(set).decide("a", None) {
        Decision::Create(object) => serde_json::to_value(object).unwrap(),
        other => panic!("{other:?}"),
    }
}

#[test]
fn one_that_is_made_has_exactly_what_was_asked_for() {
    // E205, E206; recordings ces-basic, ces-metadata-rename: nothing of the set's own metadata is copied
    let own = json!({ "labels": { "not": "copied" }, "annotations": { "nor": "this" } });
    assert_eq!(
        created(&set(own, json!({}))),
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {
                "name": "spread", "namespace": "a", "labels": {}, "annotations": {},
                "ownerReferences": [{
                    "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "name": "spread", "uid": "u1",
                    "controller": true, "blockOwnerDeletion": true,
                }],
            },
            "spec": { "data": [{ "secretKey": "a", "remoteRef": { "key": "/a" } }], "new": { "field": null } },
        })
    );
    let named = json!({
        "externalSecretName": "first",
        "externalSecretMetadata": { "labels": { "l": "1" }, "annotations": { "a": "1" } },
    });
    let made = created(&set(json!({}), named));
    assert_eq!(made["metadata"]["name"], "first");
    assert_eq!(made["metadata"]["labels"], json!({ "l": "1" }));
    assert_eq!(made["metadata"]["annotations"], json!({ "a": "1" }));
}

#[test]
fn force_sync_is_mirrored_and_nothing_else() {
    // E216, E217; recording ces-force-sync
    let template = json!({ "externalSecretMetadata": { "annotations": { "base": "b", FORCE_SYNC: "template" } } });
    let with = json!({ "annotations": { FORCE_SYNC: "1", "other": "x" } });
    assert_eq!(
        created(&set(with, template.clone()))["metadata"]["annotations"],
        json!({ "base": "b", FORCE_SYNC: "1" })
    );
    assert_eq!(
        created(&set(json!({}), template))["metadata"]["annotations"],
        json!({ "base": "b" })
    );
}

#[test]
fn one_that_exists_is_kept_updated_in_place_or_left_to_its_owner() {
    // externalsecret.md 6.3, E208, E209; recordings ces-foreign-es, ces-two-same-name
    let wanted = set(
        json!({}),
        json!({ "externalSecretMetadata": { "labels": { "l": "1" } } }),
    );
    let desired = Desired::of(&wanted);
    let stored = || {
        let mut object = created(&wanted);
        object["metadata"]["resourceVersion"] = json!("7");
        object["metadata"]["finalizers"] = json!(["f"]);
        object["status"] = json!({ "refreshTime": "now" });
        object
    };
    let decide = |object: Value| desired.decide("a", Some(serde_json::from_value(object).unwrap()));
    assert_eq!(decide(stored()), Decision::Keep);

    type Change = fn(&mut Value);
    let changes: [(&str, Change); 5] = [
        ("label", |object| {
            object["metadata"]["labels"]["x"] = json!("y")
        }),
        ("labels", |object| {
            object["metadata"]["labels"] = Value::Null
        }),
        ("annotation", |object| {
            object["metadata"]["annotations"] = json!({ "x": "y" })
        }),
        ("spec", |object| {
            object["spec"]["refreshInterval"] = json!("1h")
        }),
        // A set of this name that was deleted and made again.
        ("owner", |object| {
            object["metadata"]["ownerReferences"][0]["uid"] = json!("u0")
        }),
    ];
    for (name, change) in changes {
        let mut object = stored();
        change(&mut object);
        match decide(object) {
            Decision::Update(updated) => {
                assert_eq!(serde_json::to_value(updated).unwrap(), stored(), "{name}");
            }
            other => panic!("{name}: {other:?}"),
        }
    }

    let foreign: [(&str, Change); 3] = [
        ("nobody's", |object| {
            object["metadata"]["ownerReferences"] = json!([])
        }),
        ("a rival's", |object| {
            object["metadata"]["ownerReferences"][0]["name"] = json!("rival")
        }),
        ("not controlled", |object| {
            object["metadata"]["ownerReferences"][0]["controller"] = json!(false)
        }),
    ];
    for (name, change) in foreign {
        let mut object = stored();
        change(&mut object);
        assert_eq!(decide(object), Decision::Foreign, "{name}");
    }
}
