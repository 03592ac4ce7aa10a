//! The YAML in the charts is what the types say.

use latchkey_crds::manifests;

fn repository() -> std::path::PathBuf {
    std::path::PathBuf::from("..")
}

#[test]
fn checked_in_definitions_are_what_the_types_say() {
    for manifest in manifests::all() {
        let path = repository().join(manifest.path);
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        let current = manifests::to_yaml(&manifest.definition).unwrap();
        assert!(
            stored == current,
            "{} is stale: run `cargo run -p latchkey-crds --bin crdgen`",
            manifest.path
        );
    }
}

#[test]
fn written_definitions_read_back_unchanged() {
    for manifest in manifests::all() {
        let yaml = manifests::to_yaml(&manifest.definition).unwrap();
        let back: serde_json::Value = serde_saphyr::from_str(&yaml).unwrap();
        assert_eq!(back, manifest.definition, "{}", manifest.path);
    }
}

#[test]
fn accepted_manifests_decode_and_keep_what_they_say() {
    let cases: Vec<serde_json::Value> =
        serde_saphyr::from_str(include_str!("data/admission.yaml")).unwrap();
    let mut seen = 0;
    for case in cases.iter().filter(|case| case.get("refused").is_none()) {
        let mut manifest = case["manifest"].clone();
        // The API server adds it where a kind has no settings.
        if manifest["kind"] == "UUID" && manifest.get("spec").is_none() {
            manifest["spec"] = serde_json::json!({});
        }
        let back = match manifest["kind"].as_str().unwrap() {
            "ExternalSecret" => {
                round_trip::<latchkey_crds::external_secret::ExternalSecret>(manifest.clone())
            }
            "ClusterExternalSecret" => round_trip::<
                latchkey_crds::cluster_external_secret::ClusterExternalSecret,
            >(manifest.clone()),
            "SecretStore" => {
                round_trip::<latchkey_crds::secret_store::SecretStore>(manifest.clone())
            }
            "ClusterSecretStore" => {
                round_trip::<latchkey_crds::secret_store::ClusterSecretStore>(manifest.clone())
            }
            "Generator" => round_trip::<latchkey_crds::generator::Generator>(manifest.clone()),
            "ClusterGenerator" => {
                round_trip::<latchkey_crds::generator::ClusterGenerator>(manifest.clone())
            }
            "GeneratorState" => {
                round_trip::<latchkey_crds::generator_state::GeneratorState>(manifest.clone())
            }
            "Password" => {
                round_trip::<latchkey_crds::provider_generators::Password>(manifest.clone())
            }
            "UUID" => round_trip::<latchkey_crds::provider_generators::UUID>(manifest.clone()),
            "Fake"
                if manifest["apiVersion"]
                    == latchkey_crds::generator::DEFAULT_GENERATOR_API_VERSION =>
            {
                round_trip::<latchkey_crds::provider_generators::Fake>(manifest.clone())
            }
            "Fake" => round_trip::<latchkey_crds::provider_fake::Fake>(manifest.clone()),
            "HashicorpVault" => {
                round_trip::<latchkey_crds::provider_vault::HashicorpVault>(manifest.clone())
            }
            other => panic!("unknown kind {other}"),
        };
        assert_contains(&back, &manifest, &case["name"]);
        seen += 1;
    }
    assert!(seen > 10);
}

fn round_trip<K: serde::de::DeserializeOwned + serde::Serialize>(
    manifest: serde_json::Value,
) -> serde_json::Value {
    serde_json::to_value(
        serde_json::from_value::<K>(manifest.clone())
            .unwrap_or_else(|error| panic!("{error}: {manifest}")),
    )
    .expect("a decoded object encodes")
}

/// Every field of `part` that is not empty is in `whole` with the same value.
fn assert_contains(whole: &serde_json::Value, part: &serde_json::Value, name: &serde_json::Value) {
    use serde_json::Value;
    match (whole, part) {
        (Value::Object(whole), Value::Object(part)) => {
            for (key, value) in part {
                if value.as_array().is_some_and(Vec::is_empty) && !whole.contains_key(key) {
                    continue;
                }
                assert_contains(whole.get(key).unwrap_or(&Value::Null), value, name);
            }
        }
        (Value::Array(whole), Value::Array(part)) => {
            assert_eq!(whole.len(), part.len(), "{name}");
            for (whole, part) in whole.iter().zip(part) {
                assert_contains(whole, part, name);
            }
        }
        _ => assert_eq!(whole, part, "{name}"),
    }
}
