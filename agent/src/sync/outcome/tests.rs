use std::time::Duration;

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

fn failure(binds: bool) -> Failure {
    Failure {
        message: "could not update secret".into(),
        detail: "chain".into(),
        retry: Retry::Never,
        binds,
    }
}

#[test]
fn a_success_sets_time_version_binding_and_condition() {
    // externalsecret.md 1.2, 2.2 step 14
    let started = Timestamp::from_millisecond(1_700_000_000_900).unwrap();
    let success = Success {
        achievement: Achievement::Synced,
        binding: Some("creds".into()),
        is_valid: true,
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
        "an update was tried"
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
        other => panic!("{other:?}"),
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
        other => panic!("{other:?}"),
    };
    assert!(detail(false).contains("canary"));
    assert_eq!(
        detail(true),
        "unable to update secret web: Secret \"web\" is invalid: metadata.labels: invalid"
    );
}

#[test]
fn each_way_to_succeed_has_its_reason_and_message() {
    // externalsecret.md 2.16, E026, E043
    for (achievement, reason, message) in [
        (Achievement::Synced, "SecretSynced", "secret synced"),
        (
            Achievement::Retained,
            "SecretSynced",
            "secret retained due to DeletionPolicy=Retain",
        ),
        (
            Achievement::Deleted,
            "SecretDeleted",
            "secret deleted due to DeletionPolicy=Delete",
        ),
        (
            Achievement::LeftToPods,
            "SecretSynced",
            "each pod that mounts it is given its own values",
        ),
        (
            Achievement::LeftToNodes,
            "SecretSynced",
            "each node that mounts it has its own values made",
        ),
        (
            Achievement::Missing,
            "SecretMissing",
            "secret will not be created due to CreationPolicy=Merge",
        ),
    ] {
        let success = Success {
            achievement,
            binding: None,
            is_valid: false,
        };
        let before = object(json!({ "binding": { "name": "old" } }));
        let status = succeeded(&before, &success, at(0));
        assert_eq!(status.conditions.len(), 1);
        let condition = &status.conditions[0];
        assert_eq!(condition.status, ConditionStatus::True);
        assert_eq!(condition.reason.as_deref(), Some(reason));
        assert_eq!(condition.message.as_deref(), Some(message));
        assert!(status.refresh_time.is_some() && status.synced_resource_version.is_some());
        assert_eq!(
            status.binding.map(|binding| binding.name).as_deref(),
            Some("old"),
            "it is never cleared"
        );
    }
}

#[test]
fn the_binding_is_set_once_an_existing_target_was_to_be_updated() {
    // externalsecret.md 1.2
    let other = OwnedByOther::ExternalSecret("db".into());
    assert!(!owned_by_other(&other, None).binds);
    assert!(owned_by_other(&other, Some("creds")).binds);
    assert!(immutable("creds").binds);
    assert!(!not_deletable("x".into()).binds);
    for updated in [None, Some("creds")] {
        match not_written(RequestError::Other("boom".into()), updated, false) {
            Interrupted::Failed(failure) => assert_eq!(failure.binds, updated.is_some()),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn failures_that_only_a_change_can_mend_are_not_retried() {
    // externalsecret.md 2.13, 2.16
    assert_eq!(immutable("creds").retry, Retry::Never);
    assert_eq!(
        immutable("creds").detail,
        "unable to update secret creds: secret is immutable"
    );
    assert_eq!(
        immutable("creds").message,
        "could not update secret, target is immutable"
    );
    let refused =
        not_deletable("unable to delete secret creds: creationPolicy=Orphan is not Owner".into());
    assert_eq!(refused.retry, Retry::Never);
    assert_eq!(refused.message, "could not delete secret");
    match not_deleted(RequestError::Other("boom".into()), "creds") {
        Interrupted::Failed(failure) => {
            assert_eq!(failure.message, "could not delete secret");
            assert_eq!(failure.detail, "unable to delete secret creds: boom");
            assert_eq!(failure.retry, Retry::Backoff(None));
        }
        other => panic!("{other:?}"),
    }
    let moved = RequestError::Conflict("moved".into());
    assert!(matches!(not_deleted(moved, "creds"), Interrupted::Again(_)));
    let orphans = not_cleaned_up(&RequestError::Other("boom".into()));
    assert_eq!(orphans.message, "could not delete orphaned secrets");
    assert_eq!(orphans.retry, Retry::Backoff(None));
}

#[test]
fn a_busy_api_server_says_when_to_come_again() {
    let busy = || RequestError::Busy {
        text: "too many".into(),
        retry_after: Duration::from_secs(17),
    };
    let wanted = Retry::Backoff(Some(Duration::from_secs(17)));
    for interrupted in [
        not_written(busy(), Some("creds"), true),
        not_deleted(busy(), "creds"),
        not_cleaned_up(&busy()).into(),
    ] {
        match interrupted {
            Interrupted::Failed(failure) => assert_eq!(failure.retry, wanted),
            other => panic!("{other:?}"),
        }
    }
}

#[test]
fn whatever_keeps_values_away_is_told_alike_and_tried_again() {
    // E061, E062, E063, X11
    use latchkey_engine::resolve::EntryError;
    use latchkey_engine::source::FetchError;
    for (class, retry) in [
        (FailureClass::Provider, Retry::Backoff(None)),
        (FailureClass::StoreMissing, Retry::Backoff(None)),
        (FailureClass::Configuration, Retry::Backoff(None)),
        (FailureClass::Denied, Retry::Backoff(None)),
        (FailureClass::StoreNotReady, Retry::Store { is_known: true }),
        (
            FailureClass::StoreNotValidated,
            Retry::Store { is_known: false },
        ),
        (FailureClass::Unavailable, Retry::CutOff(None)),
        (FailureClass::Timeout, Retry::CutOff(None)),
        (FailureClass::Unauthorized, Retry::Parked(None)),
        // 7.1: a generatorRef that nothing else can mend.
        (FailureClass::Reference, Retry::Never),
    ] {
        let cause = FetchError::Failed {
            class,
            message: "no".into(),
            retry_after: None,
        };
        let failure = not_fetched(&ResolveError::Data {
            index: 1,
            key: "db".into(),
            cause: EntryError::Fetch(cause),
        });
        assert_eq!(failure.message, "could not get secret data from provider");
        assert_eq!(
            failure.detail,
            "error processing spec.data[1] (key: db), err: no"
        );
        assert_eq!(failure.retry, retry, "{class:?}");
        assert!(!failure.binds);
    }
}

#[test]
fn targets_of_other_kinds_have_reasons_of_their_own_and_no_binding() {
    // externalsecret.md 5.1, 5.2, 5.6
    let generic = || {
        let mut object = object(json!({}));
        object.spec.target.manifest = Some(
            serde_json::from_value(json!({ "apiVersion": "v1", "kind": "ConfigMap" })).unwrap(),
        );
        object
    };
    let told = |status: ExternalSecretStatus| {
        let condition = status.conditions[0].clone();
        (condition.reason.unwrap(), condition.message.unwrap())
    };
    for (achievement, reason, message) in [
        (Achievement::Synced, "ResourceSynced", "secret synced"),
        (
            Achievement::Retained,
            "ResourceSynced",
            "secret retained due to DeletionPolicy=Retain",
        ),
        (
            Achievement::Deleted,
            "ResourceDeleted",
            "secret deleted due to DeletionPolicy=Delete",
        ),
        (
            Achievement::Missing,
            "ResourceMissing",
            "resource will not be created due to CreationPolicy=Merge",
        ),
    ] {
        let success = Success {
            achievement,
            binding: None,
            is_valid: false,
        };
        let status = succeeded(&generic(), &success, at(0));
        assert_eq!(status.binding, None);
        assert_eq!(told(status), (reason.to_owned(), message.to_owned()));
    }
    for (message, reason) in [
        ("could not update secret", "ResourceSyncedError"),
        (INVALID_GENERIC, "SecretSyncedError"),
    ] {
        let failure = Failure {
            message: message.to_owned(),
            ..failure(false)
        };
        assert_eq!(
            told(failed(&generic(), &failure, at(0))),
            (reason.to_owned(), message.to_owned())
        );
    }
}
