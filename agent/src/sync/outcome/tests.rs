use serde_json::{Value, json};

use super::*;

fn object(status: Value) -> ExternalSecret {
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "a", "uid": "u", "generation": 4 },
        "spec": { "target": { "name": "creds" } },
        "status": status,
    }))
    .unwrap()
}

fn at(second: i64) -> Timestamp {
    Timestamp::from_second(second).unwrap()
}

fn failure(wrote: bool) -> Failure {
    Failure {
        message: "could not update secret".into(),
        detail: "chain".into(),
        retry: Retry::Never,
        wrote,
    }
}

#[test]
fn a_success_sets_time_version_binding_and_condition() {
    // externalsecret.md 1.2, 2.2 step 14
    let started = Timestamp::from_millisecond(1_700_000_000_900).unwrap();
    let success = Success {
        message: SYNCED,
        binding: Some("creds".into()),
    };
    let status = succeeded(&object(json!({})), &success, started);
    assert_eq!(
        serde_json::to_value(&status).unwrap(),
        json!({
            "refreshTime": "2023-11-14T22:13:20Z",
            "syncedResourceVersion": "4-f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2",
            "binding": { "name": "creds" },
            "conditions": [{
                "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced",
                "lastTransitionTime": "2023-11-14T22:13:20Z",
            }],
        })
    );
}

#[test]
fn a_failure_leaves_time_version_and_binding_alone() {
    // externalsecret.md 1.2
    let before = json!({
        "refreshTime": "2023-11-14T22:13:20Z", "syncedResourceVersion": "3-x", "binding": { "name": "old" },
        "conditions": [{ "type": "Ready", "status": "True", "reason": "SecretSynced", "message": "secret synced", "lastTransitionTime": "2023-11-14T22:13:20Z" }],
    });
    let status = serde_json::to_value(failed(
        &object(before.clone()),
        &failure(false),
        at(1_700_000_100),
    ))
    .unwrap();
    for field in ["refreshTime", "syncedResourceVersion", "binding"] {
        assert_eq!(status[field], before[field], "{field}");
    }
    assert_eq!(
        status["conditions"],
        json!([{
            "type": "Ready", "status": "False", "reason": "SecretSyncedError", "message": "could not update secret",
            "lastTransitionTime": "2023-11-14T22:15:00Z",
        }])
    );
    let tried = failed(&object(json!({})), &failure(true), at(0));
    assert_eq!(
        tried.binding,
        Some(Binding {
            name: "creds".into()
        }),
        "a write was tried"
    );
}

#[test]
fn texts_of_target_failures_depend_on_whether_the_target_existed() {
    // externalsecret.md 2.16, last paragraph
    let other = OwnedByOther::ExternalSecret("db".into());
    assert_eq!(
        owned_by_other(&other, None).detail,
        "secret is owned by another ExternalSecret: db"
    );
    assert_eq!(
        owned_by_other(&other, Some("creds")).detail,
        "unable to mutate secret creds: secret is owned by another ExternalSecret: db"
    );
    let detail = |updated| match not_written(RequestError::Other("boom".into()), updated, false) {
        Interrupted::Failed(failure) => failure.detail,
        Interrupted::Again(error) => panic!("{error}"),
    };
    assert_eq!(detail(None), "boom");
    assert_eq!(detail(Some("creds")), "unable to update secret creds: boom");
    assert!(matches!(
        not_written(RequestError::Conflict("moved".into()), None, false),
        Interrupted::Again(_)
    ));
}

#[test]
fn what_a_template_rendered_is_not_quoted() {
    let refused = || RequestError::Invalid {
        text: "Secret \"web\" is invalid: metadata.labels: Invalid value: \"canary\"".into(),
        fields: "Secret \"web\" is invalid: metadata.labels: invalid".into(),
    };
    let detail = |is_rendered| match not_written(refused(), Some("web"), is_rendered) {
        Interrupted::Failed(failure) => failure.detail,
        Interrupted::Again(error) => panic!("{error}"),
    };
    assert!(detail(false).contains("canary"));
    assert_eq!(
        detail(true),
        "unable to update secret web: Secret \"web\" is invalid: metadata.labels: invalid"
    );
}
