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

/// The object with its interval to the second: one without a UID has no place within it.
fn exact(mut object: ExternalSecret) -> ExternalSecret {
    object.metadata.uid = None;
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

/// Decides as after a change of the object.
fn plan(object: &ExternalSecret, target: Option<&TargetSecret>, now: Timestamp) -> Plan {
    super::plan(object, target, None, now)
}

fn managed() -> Value {
    json!({ "reconcile.external-secrets.io/managed": "true" })
}

#[test]
fn periodic_objects_refresh_in_the_order_of_the_rules() {
    // E085, E086, E087, E088, E089, E090, E091, E092, E093, E094, E095, E096
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
            "interval zero, label added",
            older(synced(interval("0"), 1), |o| {
                o.metadata
                    .labels
                    .get_or_insert_default()
                    .insert("x".into(), "y".into());
            }),
            false,
        ),
        (
            "within the interval, spec changed",
            older(synced(interval("10s"), 5), |o| {
                o.metadata.generation = Some(4)
            }),
            true,
        ),
        ("within the interval", synced(interval("10s"), 5), false),
        (
            "default interval, fresh",
            exact(synced(object(json!({})), 3600)),
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
    // E001, E002, E003, E004
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
    assert_eq!(after_success(&synced(volumes(), 0), true, now()), None);
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
            json!({ "syncWindows": { "kind": "deny", "windows": [{ "schedule": "@daily", "duration": "1d" }] } }),
            "spec.syncWindows.windows[].duration \"1d\" is not a duration such as 90s, 15m or 1h30m",
        ),
        (
            json!({ "target": { "deletionPolicy": "Delete", "creationPolicy": "CreateOrMerge" } }),
            "deletionPolicy=Delete must not be used when the controller doesn't own the secret. Please set creationPolicy=Owner",
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
            Plan::refuse(message.to_owned())
        );
    }
}

#[test]
fn the_next_look_is_when_the_interval_has_passed() {
    // externalsecret.md 2.13
    let pause = |spec: Value, age: i64, is_valid: bool| {
        after_success(&synced(object(spec), age), is_valid, now())
    };
    let every = |interval: &str| json!({ "refreshInterval": interval });
    assert_eq!(
        pause(every("1m"), 20, true),
        Some(Duration::from_millis(40_010))
    );
    assert_eq!(pause(every("0s"), 20, true), None);
    assert_eq!(pause(every("-1s"), 20, true), None);
    assert_eq!(pause(every("1m"), 90, true), Some(OVERDUE_PAUSE));
    assert_eq!(pause(every("1m"), -90, true), Some(OVERDUE_PAUSE));
    // D-01: where time changes nothing there is nothing to wait for, unless the target is missing.
    for policy in ["CreatedOnce", "OnChange"] {
        let spec = json!({ "refreshInterval": "1m", "refreshPolicy": policy });
        assert_eq!(pause(spec.clone(), 90, true), None, "{policy}");
        assert_eq!(
            pause(spec, 90, false),
            Some(Duration::from_millis(60_010)),
            "{policy}"
        );
        let never = json!({ "refreshInterval": "0s", "refreshPolicy": policy });
        assert_eq!(pause(never, 90, false), None, "{policy}");
    }
}

#[test]
fn a_refresh_comes_up_to_a_fifth_earlier_and_a_restart_does_not_change_when() {
    let hourly = |uid: &str, age: i64, spec: Value| {
        let mut object = synced(object(spec), age);
        object.metadata.uid = Some(uid.to_owned());
        object
    };
    let (mut pauses, every) = (Vec::new(), || json!({ "refreshInterval": "1h" }));
    for number in 0..200 {
        let uid = format!("0b9d7a52-51c3-4f0e-8a6b-{number:012}");
        let pause = after_success(&hourly(&uid, 0, every()), true, now()).unwrap();
        assert!((2880..=3600).contains(&pause.as_secs()), "{pause:?}");
        // An agent that starts 40 minutes later calls nobody, and comes to the same moment.
        let object = hourly(&uid, 0, every());
        let later = now() + Duration::from_secs(2400);
        let rest = Some(pause - Duration::from_secs(2400));
        assert_eq!(plan(&object, Some(&intact()), later), Plan::Rest(rest));
        assert_eq!(super::rest(&object, later), Some(rest));
        // Overdue, it is due.
        let late = now() + Duration::from_secs(3601);
        assert_eq!(plan(&object, Some(&intact()), late), Plan::Resolve);
        // Where values are made anew, and where windows decide, it is exact.
        for spec in [
            json!({ "refreshInterval": "1h", "dataFrom": [{ "sourceRef": { "generatorRef": {
                "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": "Generator", "name": "g",
            } } }] }),
            json!({ "refreshInterval": "1h", "syncWindows": { "kind": "allow", "windows": [{ "schedule": "@daily", "duration": "1h" }] } }),
        ] {
            let pause = after_success(&hourly(&uid, 0, spec), true, now());
            assert_eq!(pause, Some(Duration::from_millis(3_600_010)));
        }
        pauses.push(pause);
    }
    pauses.sort_unstable();
    let apart = pauses[190] - pauses[10];
    assert!(apart > Duration::from_secs(500), "{apart:?}");
}

#[test]
fn objects_that_are_created_once_ignore_every_change() {
    // E097, E098, E099
    let once = || object(json!({ "refreshPolicy": "CreatedOnce", "refreshInterval": "1s" }));
    let mut changed = synced(once(), 99);
    changed.metadata.generation = Some(9);
    let labels = changed.metadata.labels.get_or_insert_default();
    labels.insert("x".into(), "y".into());
    let mut without_time = synced(once(), 1);
    without_time.status.as_mut().unwrap().refresh_time = None;
    let mut without_version = synced(once(), 1);
    without_version
        .status
        .as_mut()
        .unwrap()
        .synced_resource_version = None;
    for (name, object, expected) in [
        ("never synced", once(), Plan::Resolve),
        ("no version", without_version, Plan::Resolve),
        ("no time", without_time, Plan::Resolve),
        ("synced", synced(once(), 9999), Plan::Rest(None)),
        ("changed", changed, Plan::Rest(None)),
    ] {
        assert_eq!(plan(&object, Some(&intact()), now()), expected, "{name}");
    }
    // A damaged target is repaired all the same (2.10, E030, E034).
    assert_eq!(plan(&synced(once(), 1), None, now()), Plan::Resolve);
}

#[test]
fn a_clean_up_that_failed_is_due_whatever_the_refresh_policy() {
    // externalsecret.md 2.8, D-22: the target is written before, and is valid
    for spec in [
        json!({ "refreshPolicy": "CreatedOnce" }),
        json!({ "refreshInterval": "0s" }),
    ] {
        let mut object = synced(object(spec.clone()), 1);
        let failure = super::outcome::not_cleaned_up(&super::super::target::RequestError::NotFound);
        object.status = Some(super::outcome::failed(&object, &failure, now()));
        assert_eq!(
            plan(&object, Some(&intact()), now()),
            Plan::Resolve,
            "{spec}"
        );
        assert_eq!(rest(&object, now()), None, "{spec}");
    }
}

#[test]
fn objects_that_refresh_on_change_do_so_on_any_change_and_never_by_time() {
    // E100
    let on_change = || object(json!({ "refreshPolicy": "OnChange", "refreshInterval": "1s" }));
    let change = |edit: fn(&mut ExternalSecret)| {
        let mut object = synced(on_change(), 1);
        edit(&mut object);
        object
    };
    for (name, object, expected) in [
        ("never synced", on_change(), Plan::Resolve),
        (
            "no time",
            change(|o| o.status.as_mut().unwrap().refresh_time = None),
            Plan::Resolve,
        ),
        (
            "another version",
            change(|o| o.status.as_mut().unwrap().synced_resource_version = Some("2-x".into())),
            Plan::Resolve,
        ),
        ("synced", synced(on_change(), 9999), Plan::Rest(None)),
        (
            "annotation",
            change(|o| {
                let annotations = o.metadata.annotations.get_or_insert_default();
                annotations.insert("x".into(), "y".into());
            }),
            Plan::Resolve,
        ),
        (
            "spec",
            change(|o| o.metadata.generation = Some(4)),
            Plan::Resolve,
        ),
    ] {
        assert_eq!(plan(&object, Some(&intact()), now()), expected, "{name}");
    }
}

#[test]
fn windows_hold_back_nothing_but_refreshes_that_time_makes_due() {
    // externalsecret.md 2.5, D-01
    let windows =
        json!({ "kind": "allow", "windows": [{ "schedule": "0 0 30 2 *", "duration": "1h" }] });
    let gated = |policy: &str| {
        object(
            json!({ "refreshInterval": "1m", "refreshPolicy": policy, "syncWindows": windows.clone() }),
        )
    };
    let changed = |mut object: ExternalSecret| {
        object.metadata.generation = Some(9);
        object
    };
    let longest = Plan::Rest(Some(Duration::from_secs(420)));
    let periodic = || gated("Periodic");
    for (name, object, target, expected) in [
        ("first", periodic(), Some(intact()), Plan::Resolve),
        ("due", synced(periodic(), 61), Some(intact()), longest),
        (
            "not due",
            synced(periodic(), 50),
            Some(intact()),
            Plan::Rest(Some(Duration::from_millis(10_010))),
        ),
        (
            "changed",
            changed(synced(periodic(), 61)),
            Some(intact()),
            Plan::Resolve,
        ),
        ("missing", synced(periodic(), 61), None, Plan::Resolve),
        (
            "another policy",
            changed(synced(gated("OnChange"), 61)),
            Some(intact()),
            Plan::Resolve,
        ),
    ] {
        assert_eq!(plan(&object, target.as_ref(), now()), expected, "{name}");
    }
}

#[test]
fn whether_a_target_is_valid_depends_on_the_creation_policy() {
    // E001, E002, E003, E004, E005, E006, E007, E008, E013
    let wrong = || {
        target(
            managed(),
            json!({ "reconcile.external-secrets.io/data-hash": "zzz" }),
            "abc",
        )
    };
    for (policy, target, expected) in [
        ("Owner", None, false),
        ("Owner", Some(target(managed(), json!({}), "abc")), false),
        ("Owner", Some(wrong()), false),
        ("Owner", Some(intact()), true),
        ("Orphan", Some(wrong()), true),
        ("Orphan", None, true),
        ("CreateOrMerge", None, false),
        ("CreateOrMerge", Some(intact()), true),
        ("Merge", None, false),
        ("Merge", Some(wrong()), false),
        ("Merge", Some(intact()), true),
        ("None", None, true),
    ] {
        let object = object(json!({ "target": { "creationPolicy": policy } }));
        assert_eq!(is_valid(&object, target.as_ref()), expected, "{policy}");
    }
}

#[test]
fn losing_the_label_is_repaired_when_something_else_gives_a_reason_to_look() {
    // externalsecret.md 2.1, 2.2 step 8
    let unlabelled = target(json!({}), json!({}), "abc");
    let look = |object: &ExternalSecret, lost: Option<&str>| {
        super::plan(object, Some(&unlabelled), lost, now())
    };
    let fresh = synced(object(json!({ "refreshInterval": "1m" })), 20);
    assert_eq!(
        look(&fresh, Some("s")),
        Plan::Rest(Some(Duration::from_millis(40_010)))
    );
    assert_eq!(look(&fresh, None), Plan::Adopt, "the object has changed");
    assert_eq!(
        look(&fresh, Some("former")),
        Plan::Adopt,
        "deleted and made anew"
    );
    let due = synced(object(json!({ "refreshInterval": "1m" })), 61);
    assert_eq!(look(&due, Some("s")), Plan::Adopt);
}

#[test]
fn an_empty_result_means_what_the_policies_say() {
    // externalsecret.md 2.9, D-20, X12
    let owned = |name: &str, uid: &str| {
        let mut target = intact();
        let reference = json!([{ "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": name, "uid": uid, "controller": true }]);
        target.metadata.owner_references = Some(serde_json::from_value(reference).unwrap());
        target
    };
    let written = |fields: Value| {
        let mut target = intact();
        let entry = json!([{ "manager": "externalsecrets.external-secrets.io/web", "operation": "Update", "fieldsV1": fields }]);
        target.metadata.managed_fields = Some(serde_json::from_value(entry).unwrap());
        target
    };
    let labelled =
        json!({ "f:metadata": { "f:labels": { "f:reconcile.external-secrets.io/managed": {} } } });
    let data = json!({ "f:data": { "f:token": {} } });
    let digest = json!({ "f:metadata": { "f:annotations": { "f:reconcile.external-secrets.io/data-hash": {} } } });
    let mut taken = owned("other", "x");
    taken.metadata.managed_fields = written(data.clone()).metadata.managed_fields;
    let mut theirs = written(data.clone());
    theirs.metadata.owner_references = Some(
        serde_json::from_value(
            json!([{ "apiVersion": "apps/v1", "kind": "Deployment", "name": "d", "uid": "d", "controller": true }]),
        )
        .unwrap(),
    );
    let not_ours =
        Emptied::Refuse("unable to delete secret web: not owned by this ExternalSecret".to_owned());
    let not_owner = Emptied::Refuse(
        "unable to delete secret web: creationPolicy=Orphan is not Owner".to_owned(),
    );
    for (creation, deletion, target, expected) in [
        ("Owner", "Retain", Some(owned("web", "u")), Emptied::Retain),
        ("Merge", "Merge", Some(intact()), Emptied::Write),
        ("Owner", "Merge", None, Emptied::Write),
        ("Owner", "Delete", None, Emptied::Delete),
        ("Owner", "Delete", Some(owned("web", "u")), Emptied::Delete),
        (
            "Owner",
            "Delete",
            Some(owned("other", "x")),
            not_ours.clone(),
        ),
        ("Owner", "Delete", Some(intact()), not_ours.clone()),
        ("Owner", "Delete", Some(written(labelled)), not_ours.clone()),
        ("Owner", "Delete", Some(written(data)), Emptied::Delete),
        ("Owner", "Delete", Some(written(digest)), Emptied::Delete),
        ("Owner", "Delete", Some(taken), not_ours.clone()),
        ("Owner", "Delete", Some(theirs), not_ours),
        (
            "Orphan",
            "Delete",
            Some(owned("web", "u")),
            not_owner.clone(),
        ),
        ("Orphan", "Delete", None, not_owner),
    ] {
        let object =
            object(json!({ "target": { "creationPolicy": creation, "deletionPolicy": deletion } }));
        assert_eq!(
            emptied(&object, target.as_ref()),
            expected,
            "{creation} {deletion}"
        );
    }
}

#[test]
fn targets_of_other_kinds_are_refused_in_the_words_of_the_gate() {
    // externalsecret.md 5.1, E181
    let manifest = json!({ "manifest": { "apiVersion": "v1", "kind": "ConfigMap" } });
    assert_eq!(
        plan(&object(json!({ "target": manifest })), None, now()),
        Plan::Refuse {
            message: "invalid generic target".to_owned(),
            detail: "generic targets are disabled. Enable with --unsafe-allow-generic-targets flag"
                .to_owned(),
        }
    );
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
        Plan::refuse(
            "either data or dataFrom should be specified\ntemplate.type=\"bootstrap.kubernetes.io/token\" is not allowed"
                .to_owned()
        )
    );
}

#[test]
fn a_target_that_is_known_to_be_valid_is_not_looked_at_while_nothing_is_due() {
    let fresh = synced(object(json!({ "refreshInterval": "1m" })), 20);
    assert_eq!(
        rest(&fresh, now()),
        Some(Some(Duration::from_millis(40_010)))
    );
    let once = object(json!({ "refreshPolicy": "CreatedOnce" }));
    assert_eq!(rest(&synced(once, 99), now()), Some(None));
    let due = synced(object(json!({ "refreshInterval": "1m" })), 61);
    assert_eq!(rest(&due, now()), None);
    let broken = synced(object(json!({ "refreshInterval": "nonsense" })), 1);
    assert_eq!(rest(&broken, now()), None);
    let refused = synced(
        object(json!({ "target": { "manifest": { "apiVersion": "v1", "kind": "ConfigMap" } } })),
        1,
    );
    assert_eq!(rest(&refused, now()), None);
}

#[test]
fn only_a_first_target_that_is_simply_made_is_made_unseen() {
    for (target, expected) in [
        (json!({}), true),
        (json!({ "creationPolicy": "Orphan" }), true),
        (json!({ "creationPolicy": "CreateOrMerge" }), true),
        (json!({ "creationPolicy": "Merge" }), false),
        (json!({ "creationPolicy": "None" }), false),
        (json!({ "deletionPolicy": "Delete" }), false),
        (json!({ "deletionPolicy": "Merge" }), false),
    ] {
        let new = object(json!({ "target": target }));
        assert_eq!(may_be_made_unseen(&new), expected, "{target}");
        assert!(!may_be_made_unseen(&synced(new, 1)), "{target}");
    }
    let generator = json!({ "generatorRef": { "kind": "UUID", "name": "u" } });
    let generated = object(json!({ "dataFrom": [{ "sourceRef": generator }] }));
    assert!(!may_be_made_unseen(&generated));
}
