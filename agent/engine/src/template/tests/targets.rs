//! Which parts of a Secret `templateFrom` fills, and from what.

use super::*;

#[tokio::test]
async fn both_scopes_fill_each_part_of_a_secret_that_has_none_yet() {
    // externalsecret.md 4.3, E130
    for (target, part) in [
        ("Data", "data"),
        ("Labels", "labels"),
        ("Annotations", "annotations"),
    ] {
        for (kind, object) in [("configMap", "ConfigMap/o"), ("secret", "Secret/o")] {
            let objects = objects(&[(
                object,
                &[("one", "{{ .v }}"), ("two", "{{ .k }}: {{ .v }}")],
            )]);
            let template = json!({ "templateFrom": [{
                "target": target,
                kind: { "name": "o", "items": [
                    { "key": "one" }, { "key": "two", "templateAs": "KeysAndValues" },
                ] },
            }] });
            let rendered = run(template, &[("k", "key"), ("v", "value")], objects)
                .await
                .unwrap();
            let mut expected = only_data(json!({}));
            expected[part] = json!({ "one": "value", "key": "value" });
            assert_eq!(shown(&rendered), expected, "{target} from {kind}");
        }
    }
}

#[tokio::test]
async fn no_other_part_of_a_secret_is_rendered() {
    // externalsecret.md 4.3, E124
    for target in [
        "type",
        "metadata.annotations",
        "Metadata.Annotations",
        "immutable",
        "metadata.ownerReferences",
    ] {
        let template = json!({
            "templateFrom": [{ "target": target, "literal": "a: b" }],
            "data": { "k": "v" },
        });
        let error = run(template, &[], Objects::default()).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            format!(
                "could not apply template: templateFrom target=\"{target}\" is not allowed when targeting a Secret, must be \
                 one of \"Data\", \"Annotations\" or \"Labels\""
            )
        );
    }
}

#[test]
fn other_scopes_than_the_two_do_not_exist() {
    // externalsecret.md 4.3, E128
    for scope in ["values", "Keys", ""] {
        let spec = json!({ "target": { "template": { "templateFrom": [
            { "configMap": { "name": "c", "items": [{ "key": "k", "templateAs": scope }] } },
        ] } } });
        let error =
            serde_json::from_value::<latchkey_crds::external_secret::ExternalSecretSpec>(spec)
                .unwrap_err()
                .to_string();
        for known in ["`Values`", "`KeysAndValues`"] {
            assert!(error.contains(known), "{scope}: {error}");
        }
    }
}
