use serde_json::{Value, json};

use super::super::names::current_version;
use super::*;

const NOW: i64 = 1_700_000_000;

fn now() -> Timestamp {
    Timestamp::from_second(NOW).unwrap()
}

fn object(spec: Value) -> ExternalSecret {
    let mut full = json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "k" } }] });
    full.as_object_mut()
        .unwrap()
        .extend(spec.as_object().unwrap().clone());
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "web", "namespace": "a", "uid": "u", "generation": 3, "labels": { "app": "web" } },
        "spec": full,
    }))
    .unwrap()
}

/// The object after a success `age` seconds ago.
fn synced(mut object: ExternalSecret, age: i64) -> ExternalSecret {
    let status = object.status.get_or_insert_default();
    status.synced_resource_version = Some(String::new());
    status.refresh_time = Some(k8s_openapi::apimachinery::pkg::apis::meta::v1::Time(
        Timestamp::from_second(NOW - age).unwrap(),
    ));
    let version = current_version(&object);
    object
        .status
        .get_or_insert_default()
        .synced_resource_version = Some(version);
    object
}

fn target(labels: Value, annotations: Value, value: &str) -> TargetSecret {
    let secret: k8s_openapi::api::core::v1::Secret = serde_json::from_value(json!({
        "metadata": { "name": "web", "namespace": "a", "uid": "s", "labels": labels, "annotations": annotations },
        "data": { "token": k8s_openapi::ByteString(value.as_bytes().to_vec()) },
    }))
    .unwrap();
    secret.into()
}

fn intact() -> TargetSecret {
    let data = target(json!({}), json!({}), "abc").data;
    target(
        managed(),
        json!({ "reconcile.external-secrets.io/data-hash": latchkey_engine::hash::of_secret_data(&data) }),
        "abc",
    )
}

fn managed() -> Value {
    json!({ "reconcile.external-secrets.io/managed": "true" })
}

#[test]
fn periodic_objects_refresh_in_the_order_of_the_rules() {
    // externalsecret.md 2.4; E085 to E096
    let interval = |text: &str| object(json!({ "refreshInterval": text }));
    let older = |mut object: ExternalSecret, change: fn(&mut ExternalSecret)| {
        change(&mut object);
        object
    };
    let without_time = |mut object: ExternalSecret| {
        object.status.as_mut().unwrap().refresh_time = None;
        object
    };
    for (name, object, due) in [
        ("never synced", interval("1h"), true),
        ("fresh", synced(interval("1m"), 30), false),
        ("exactly at the interval", synced(interval("1m"), 60), false),
        ("after the interval", synced(interval("1m"), 61), true),
        (
            "refresh time missing",
            without_time(synced(interval("1h"), 0)),
            true,
        ),
        (
            "refresh time in the future",
            synced(interval("1h"), -3600),
            true,
        ),
        (
            "label added",
            older(synced(interval("1h"), 1), |o| {
                o.metadata
                    .labels
                    .get_or_insert_default()
                    .insert("x".into(), "y".into());
            }),
            true,
        ),
        (
            "annotation added",
            older(synced(interval("1h"), 1), |o| {
                o.metadata
                    .annotations
                    .get_or_insert_default()
                    .insert("x".into(), "y".into());
            }),
            true,
        ),
        (
            "spec changed",
            older(synced(interval("1h"), 1), |o| {
                o.metadata.generation = Some(4)
            }),
            true,
        ),
        ("interval zero, never synced", interval("0s"), true),
        ("interval zero, synced", synced(interval("0s"), 9999), false),
        (
            "interval negative, synced",
            synced(interval("-5m"), 9999),
            false,
        ),
        (
            "interval zero, spec changed",
            older(synced(interval("0"), 1), |o| {
                o.metadata.generation = Some(4)
            }),
            false,
        ),
        (
            "default interval, fresh",
            synced(object(json!({})), 3600),
            false,
        ),
        (
            "default interval, old",
            synced(object(json!({})), 3601),
            true,
        ),
        (
            "policy absent behaves as Periodic",
            synced(
                object(json!({ "refreshInterval": "10s", "refreshPolicy": "Periodic" })),
                20,
            ),
            true,
        ),
    ] {
        let plan = plan(&object, Some(&intact()), now());
        assert_eq!(plan == Plan::Resolve, due, "{name}: {plan:?}");
    }
}

#[test]
fn a_damaged_target_is_repaired_although_nothing_is_due() {
    // externalsecret.md 2.10; E001 to E004
    let fresh = synced(object(json!({})), 1);
    let hash = "reconcile.external-secrets.io/data-hash";
    assert_eq!(plan(&fresh, None, now()), Plan::Resolve, "missing");
    assert_eq!(
        plan(&fresh, Some(&target(managed(), json!({}), "abc")), now()),
        Plan::Resolve,
        "no digest"
    );
    assert_eq!(
        plan(
            &fresh,
            Some(&target(managed(), json!({ hash: "zzz" }), "abc")),
            now()
        ),
        Plan::Resolve,
        "wrong digest"
    );
    assert!(matches!(
        plan(&fresh, Some(&intact()), now()),
        Plan::Rest(Some(_))
    ));
    // interval 0 does not stand in the way of a repair (X10)
    assert_eq!(
        plan(
            &synced(object(json!({ "refreshInterval": "0s" })), 1),
            None,
            now()
        ),
        Plan::Resolve
    );
}

#[test]
fn an_existing_target_without_our_label_is_adopted_first() {
    // externalsecret.md 2.2 step 8, X04
    for spec in [json!({}), json!({ "target": { "creationPolicy": "None" } })] {
        for labels in [
            json!({}),
            json!({ "reconcile.external-secrets.io/managed": "false" }),
        ] {
            assert_eq!(
                plan(
                    &object(spec.clone()),
                    Some(&target(labels, json!({}), "x")),
                    now()
                ),
                Plan::Adopt,
                "{spec}"
            );
        }
    }
}

#[test]
fn volume_only_objects_are_resolved_once_per_change() {
    // externalsecret.md D-19
    let volumes =
        || object(json!({ "target": { "creationPolicy": "None" }, "refreshInterval": "1s" }));
    assert_eq!(plan(&volumes(), None, now()), Plan::Resolve);
    assert_eq!(
        plan(&synced(volumes(), 9999), None, now()),
        Plan::Rest(None)
    );
    let mut changed = synced(volumes(), 1);
    changed.metadata.generation = Some(9);
    assert_eq!(plan(&changed, None, now()), Plan::Resolve);
    assert_eq!(after_success(&synced(volumes(), 0), now()), None);
}

#[test]
fn what_cannot_be_honoured_is_refused_by_name() {
    // externalsecret.md 1.4, D-15
    for (spec, message) in [
        (
            json!({ "refreshInterval": "nonsense" }),
            "spec.refreshInterval \"nonsense\" is not a duration such as 90s, 15m or 1h30m",
        ),
        (
            json!({ "target": { "immutable": true } }),
            "spec.target.immutable is not supported yet",
        ),
        (
            json!({ "data": [] }),
            "either data or dataFrom should be specified",
        ),
        (
            json!({ "data": [{ "secretKey": "a", "remoteRef": { "key": "k" } }, { "secretKey": "a", "remoteRef": { "key": "k" } }] }),
            "duplicate secretKey found: a",
        ),
    ] {
        assert_eq!(
            plan(&object(spec), None, now()),
            Plan::Refuse(message.to_owned())
        );
    }
}

#[test]
fn the_next_look_is_when_the_interval_has_passed() {
    // externalsecret.md 2.13
    let pause = |interval: &str, age: i64| {
        let object = synced(object(json!({ "refreshInterval": interval })), age);
        let parsed = object.spec.refresh_interval().unwrap();
        next_refresh(&object, parsed, now())
    };
    assert_eq!(pause("1m", 20), Some(Duration::from_millis(40_010)));
    assert_eq!(pause("0s", 20), None);
    assert_eq!(pause("-1s", 20), None);
    assert_eq!(pause("1m", 90), Some(OVERDUE_PAUSE));
    assert_eq!(pause("1m", -90), Some(OVERDUE_PAUSE));
}

#[test]
fn a_template_that_breaks_a_rule_is_told_as_a_template_that_fails() {
    // externalsecret.md 1.4, 2.16, E125
    let token = json!({ "template": { "type": "bootstrap.kubernetes.io/token" } });
    for spec in [
        json!({ "target": token }),
        json!({ "target": { "template": { "engineVersion": "v1" } } }),
    ] {
        let plan = plan(&object(spec.clone()), None, now());
        assert!(matches!(plan, Plan::RefuseTemplate(_)), "{spec}: {plan:?}");
    }
    // Other mistakes come first, and with all the rules.
    assert_eq!(
        plan(
            &object(json!({ "target": token, "data": [] })),
            None,
            now()
        ),
        Plan::Refuse(
            "either data or dataFrom should be specified\ntemplate.type=\"bootstrap.kubernetes.io/token\" is not allowed"
                .to_owned()
        )
    );
}
