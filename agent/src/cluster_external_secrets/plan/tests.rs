use kube::core::ObjectMeta;
use serde_json::{Value, json};

use super::*;

fn set(spec: Value, status: Value) -> ClusterExternalSecret {
    let mut spec = spec;
    spec["externalSecretSpec"] = json!({ "data": [] });
    serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": { "name": "spread" },
        "spec": spec, "status": status,
    }))
    .unwrap()
}

/// A namespace with its name as label, further labels and marks: `+` our finalizer, `*` another set's, `!` it ends.
fn namespace(name: &str, labels: &[(&str, &str)], marks: &str) -> (String, SeenNamespace) {
    let mut all = BTreeMap::from([(NAME_LABEL.to_owned(), name.to_owned())]);
    all.extend(
        labels
            .iter()
            .map(|(key, value)| ((*key).to_owned(), (*value).to_owned())),
    );
    let finalizers = [('+', "spread"), ('*', "spread-2")]
        .iter()
        .filter(|(mark, _)| marks.contains(*mark))
        .map(|(_, set)| namespace_finalizer(set))
        .collect();
    let seen = SeenNamespace {
        labels: all,
        finalizers,
        is_terminating: marks.contains('!'),
    };
    (name.to_owned(), seen)
}

fn selects(spec: Value, namespaces: &SeenNamespaces) -> Result<Vec<String>, String> {
    let selection = Selection::of(&set(spec, json!({})).spec).map_err(|error| error.to_string())?;
    Ok(namespaces
        .iter()
        .filter(|(_, seen)| selection.matches(&seen.labels))
        .map(|(name, _)| name.clone())
        .collect())
}

#[test]
fn namespaces_are_selected_by_names_and_selectors_together() {
    // E205, E212, E213, E214, E215; recordings ces-selectors, ces-nothing-matches
    let namespaces = SeenNamespaces::from([
        namespace("a", &[("grp", "x"), ("n", "one")], ""),
        namespace("b", &[("grp", "x"), ("n", "two")], ""),
        namespace("c", &[("grp", "x"), ("n", "three")], ""),
        namespace("d", &[], ""),
    ]);
    let one = json!({ "matchLabels": { "grp": "x", "n": "one" } });
    let two = json!({ "matchExpressions": [{ "key": "n", "operator": "In", "values": ["two", "zwei"] }] });
    let cases: Vec<(Value, &[&str])> = vec![
        (json!({}), &[]),
        (json!({ "namespaceSelector": one }), &["a"]),
        (json!({ "namespaceSelector": {} }), &["a", "b", "c", "d"]),
        (json!({ "namespaceSelectors": [] }), &[]),
        (json!({ "namespaceSelectors": [one, two] }), &["a", "b"]),
        (
            json!({ "namespaceSelectors": [{ "matchLabels": { "grp": "nobody" } }] }),
            &[],
        ),
        (json!({ "namespaces": ["missing", "d"] }), &["d"]),
        (
            json!({ "namespaces": ["missing", "d"], "namespaceSelector": one, "namespaceSelectors": [two] }),
            &["a", "b", "d"],
        ),
        (
            json!({ "namespaceSelectors": [{ "matchExpressions": [{ "key": "n", "operator": "NotIn", "values": ["one"] }] }] }),
            &["b", "c", "d"],
        ),
        (
            json!({ "namespaceSelectors": [{ "matchExpressions": [{ "key": "n", "operator": "DoesNotExist" }] }] }),
            &["d"],
        ),
        (
            json!({ "namespaceSelectors": [{ "matchLabels": { "grp": "x" }, "matchExpressions": [{ "key": "n", "operator": "In", "values": ["one", "three"] }] }] }),
            &["a", "c"],
        ),
    ];
    for (spec, expected) in cases {
        let found = selects(spec.clone(), &namespaces).unwrap();
        assert_eq!(found, expected, "{spec}");
    }
}

#[test]
fn a_malformed_selector_is_named_and_what_is_provisioned_stays_listed() {
    // externalsecret.md 6.2 step 5
    let of = |requirement: Value| json!({ "namespaceSelectors": [{}, { "matchExpressions": [requirement] }] });
    for (requirement, cause) in [
        (
            json!({ "key": "a", "operator": "In" }),
            "operator In needs values",
        ),
        (
            json!({ "key": "a", "operator": "NotIn", "values": [] }),
            "operator NotIn needs values",
        ),
        (
            json!({ "key": "a", "operator": "Exists", "values": ["b"] }),
            "operator Exists takes no values",
        ),
        (
            json!({ "key": "a", "operator": "Like" }),
            "\"Like\" is not a label selector operator",
        ),
    ] {
        let expected = format!("spec.namespaceSelectors[1] is not valid: {cause}");
        assert_eq!(
            selects(of(requirement), &SeenNamespaces::new()),
            Err(expected)
        );
    }
    let set = set(
        of(json!({ "key": "a", "operator": "In" })),
        json!({ "provisionedNamespaces": ["a"] }),
    );
    let error = Selection::of(&set.spec).unwrap_err();
    let status = status_without_selection(&set, &error);
    assert_eq!(status.failed_namespaces[0].namespace, "unknown");
    assert_eq!(status.provisioned_namespaces, ["a"]);
    assert!(!is_ready(&status));
}

#[test]
fn every_namespace_gets_the_step_that_its_state_asks_for() {
    // externalsecret.md 6.2 steps 6 and 7, 6.3, D-03, D-04, E211; recordings ces-label-removed, ces-selectors
    let namespaces = SeenNamespaces::from([
        namespace("new", &[("grp", "x")], ""),
        namespace("held", &[("grp", "x")], "+"),
        namespace("ends", &[("grp", "x")], "+!"),
        namespace("ends-unmarked", &[("grp", "x")], "!"),
        namespace("ends-for-others", &[("grp", "x")], "*!"),
        namespace("lost", &[], "+"),
        namespace("lost-unmarked", &[], ""),
        namespace("lost-and-ends", &[], "+!"),
        namespace("never-ours", &[], "*"),
    ]);
    let set = set(
        json!({ "namespaceSelectors": [{ "matchLabels": { "grp": "x" } }] }),
        json!({ "provisionedNamespaces": ["gone", "held", "lost-unmarked"] }),
    );
    let steps = plan(&set, &Selection::of(&set.spec).unwrap(), &namespaces);
    let expected = [
        ("ends", Step::Release),
        ("held", Step::Provision),
        ("lost", Step::Withdraw),
        ("lost-and-ends", Step::Withdraw),
        ("lost-unmarked", Step::Withdraw),
        ("new", Step::Provision),
    ];
    let steps: Vec<_> = steps
        .iter()
        .map(|(name, step)| (name.as_str(), *step))
        .collect();
    assert_eq!(steps, expected);
}

#[test]
fn a_change_of_a_namespace_concerns_those_that_select_it_before_or_after() {
    // externalsecret.md 6.1, E211
    let by_label = set(
        json!({ "namespaceSelector": { "matchLabels": { "grp": "x" } } }),
        json!({}),
    );
    let by_name = {
        let mut set = set(json!({ "namespaces": ["a"] }), json!({}));
        set.metadata.name = Some(String::from("by-name"));
        set
    };
    let broken = set(
        json!({ "namespaceSelector": { "matchExpressions": [{ "key": "a", "operator": "In" }] } }),
        json!({}),
    );
    let state = |labels: &[(&str, &str)], marks: &str| Some(namespace("a", labels, marks).1);
    let other = |marks: &str| Some(namespace("b", &[], marks).1);
    let x: &[(&str, &str)] = &[("grp", "x")];
    type Side = Option<SeenNamespace>;
    let cases: Vec<(&str, Side, Side, &[&str])> = vec![
        ("created", None, state(x, ""), &["spread", "by-name"]),
        ("created without label", None, state(&[], ""), &["by-name"]),
        ("deleted", state(x, ""), None, &["spread", "by-name"]),
        (
            "unlabelled",
            state(x, "+"),
            state(&[], "+"),
            &["spread", "by-name"],
        ),
        (
            "labelled",
            state(&[], ""),
            state(x, ""),
            &["spread", "by-name"],
        ),
        ("other finalizers", state(x, ""), state(x, "+"), &[]),
        (
            "ends",
            state(x, "+"),
            state(x, "+!"),
            &["spread", "by-name"],
        ),
        ("not selected", None, other(""), &[]),
        (
            "not selected but held, and ends",
            other("+"),
            other("+!"),
            &["spread"],
        ),
        ("nothing at all", None, None, &[]),
    ];
    for (name, before, after, expected) in cases {
        let changes = [Change { before, after }];
        let found = affected(&changes, [&by_label, &by_name, &broken].into_iter());
        assert_eq!(found, expected, "{name}");
    }
}

#[test]
fn the_status_lists_what_is_there_and_what_went_wrong() {
    // externalsecret.md 1.5, 6.2 step 8, E205, E209, E213, D-04; recordings ces-basic, ces-foreign-es, ces-two-same-name
    let outcome = |name: &str, outcome: Outcome| (name.to_owned(), outcome);
    let failed = || Outcome::Failed(String::from("external secret already exists in namespace"));
    let cases = [
        (
            vec![],
            json!({ "externalSecretName": "web", "conditions": [{ "type": "Ready", "status": "True" }] }),
        ),
        (
            vec![
                outcome("b", Outcome::Provisioned),
                outcome("a", Outcome::Provisioned),
                outcome("c", Outcome::Absent),
            ],
            json!({ "externalSecretName": "web", "provisionedNamespaces": ["a", "b"], "conditions": [{ "type": "Ready", "status": "True" }] }),
        ),
        (
            vec![outcome("b", Outcome::Provisioned), outcome("a", failed())],
            json!({
                "externalSecretName": "web", "provisionedNamespaces": ["b"],
                "failedNamespaces": [{ "namespace": "a", "reason": "external secret already exists in namespace" }],
                "conditions": [{ "type": "Ready", "status": "False", "message": "one or more namespaces failed" }],
            }),
        ),
        (
            vec![outcome("a", Outcome::Remains(String::from("why")))],
            json!({
                "externalSecretName": "web", "provisionedNamespaces": ["a"],
                "failedNamespaces": [{ "namespace": "a", "reason": "why" }],
                "conditions": [{ "type": "Ready", "status": "False", "message": "one or more namespaces failed" }],
            }),
        ),
    ];
    for (outcomes, expected) in cases {
        let status = status("web", &outcomes.into_iter().collect());
        assert_eq!(serde_json::to_value(&status).unwrap(), expected);
        assert_eq!(is_ready(&status), status.failed_namespaces.is_empty());
    }
}

#[test]
fn a_broken_refresh_time_is_told_on_the_object() {
    // D-15
    let set = set(json!({ "refreshTime": "soon" }), json!({}));
    let mut status = status("web", &BTreeMap::new());
    blame(&mut status, &set.spec.refresh_time().unwrap_err());
    assert!(!is_ready(&status));
    assert_eq!(
        status.conditions[0].message.as_deref(),
        Some("spec.refreshTime \"soon\" is not a duration such as 90s, 15m or 1h30m")
    );
}

#[test]
fn a_former_name_is_given_up_only_when_another_is_wanted() {
    // E207; recording ces-metadata-rename
    let of = |wanted: Value, status: Value| {
        former_name(&set(json!({ "externalSecretName": wanted }), status)).map(str::to_owned)
    };
    let first = json!({ "externalSecretName": "first" });
    assert_eq!(
        of(json!("second"), first.clone()),
        Some(String::from("first"))
    );
    assert_eq!(of(Value::Null, first.clone()), Some(String::from("first")));
    assert_eq!(of(json!("first"), first), None);
    assert_eq!(of(json!("first"), json!({})), None);
    assert_eq!(
        of(Value::Null, json!({ "externalSecretName": "spread" })),
        None
    );
}

#[test]
fn an_object_is_ours_by_kind_group_and_name_of_its_controller() {
    // externalsecret.md 6.3
    let of = |api_version: &str, kind: &str, controls: bool| {
        let metadata: ObjectMeta = serde_json::from_value(json!({ "ownerReferences": [
            { "apiVersion": "v1", "kind": "ConfigMap", "name": "x", "uid": "1" },
            { "apiVersion": api_version, "kind": kind, "name": "spread", "uid": "2", "controller": controls },
        ] }))
        .unwrap();
        controller(&metadata.owner_references.unwrap()).map(str::to_owned)
    };
    let spread = Some(String::from("spread"));
    assert_eq!(of("external-secrets.io/v1", KIND, true), spread);
    assert_eq!(of("external-secrets.io/v1beta1", KIND, true), spread);
    assert_eq!(of("external-secrets.io/v1", KIND, false), None);
    assert_eq!(of("external-secrets.io/v1", "PushSecret", true), None);
    assert_eq!(of("other.io/v1", KIND, true), None);
    assert_eq!(of("v1", KIND, true), None);
    assert_eq!(controller(&[]), None);
}
