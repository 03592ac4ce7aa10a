//! What the API server accepts and refuses, by the table of manifests beside the definitions.

use anyhow::{Result, ensure};
use kube::api::{Api, DynamicObject, GroupVersionKind, PostParams};
use kube::core::ApiResource;
use latchkey_cluster::Context;
use serde_json::Value;

const TABLE: &str = include_str!("../../../crds/tests/data/admission.yaml");
const DEFINITIONS: [&str; 11] = [
    include_str!("../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!("../../../charts/latchkey/crds/secretstore.external-secrets.io_secretstores.yaml"),
    include_str!(
        "../../../charts/latchkey/crds/secretstore.external-secrets.io_clustersecretstores.yaml"
    ),
    include_str!(
        "../../../charts/provider/crds/provider.secretstore.external-secrets.io_fakes.yaml"
    ),
    include_str!(
        "../../../charts/provider/crds/provider.secretstore.external-secrets.io_hashicorpvaults.yaml"
    ),
    include_str!("../../../charts/latchkey/crds/generator.external-secrets.io_generators.yaml"),
    include_str!(
        "../../../charts/latchkey/crds/generator.external-secrets.io_clustergenerators.yaml"
    ),
    include_str!(
        "../../../charts/latchkey/crds/generators.external-secrets.io_generatorstates.yaml"
    ),
    include_str!(
        "../../../charts/provider/crds/provider.generator.external-secrets.io_passwords.yaml"
    ),
    include_str!("../../../charts/provider/crds/provider.generator.external-secrets.io_uuids.yaml"),
    include_str!("../../../charts/provider/crds/provider.generator.external-secrets.io_fakes.yaml"),
];

#[test]
fn sync_admission_answers_as_the_table_says() -> Result<()> {
    // externalsecret.md 1.4, E056, E226, E228, E229, E235, E236, E237, E239; pushsecret-and-stores.md B2, B6, SB-16
    latchkey_cluster::test(async |cx| {
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let cases: Vec<Value> = serde_saphyr::from_str(TABLE)?;
        ensure!(cases.len() > 50, "the table is short: {}", cases.len());
        let kinds = "crd/externalsecrets.external-secrets.io crd/secretstores.secretstore.external-secrets.io \
            crd/clustersecretstores.secretstore.external-secrets.io crd/fakes.provider.secretstore.external-secrets.io \
            crd/hashicorpvaults.provider.secretstore.external-secrets.io \
            crd/generators.generator.external-secrets.io crd/clustergenerators.generator.external-secrets.io \
            crd/generatorstates.generators.external-secrets.io crd/passwords.provider.generator.external-secrets.io \
            crd/uuids.provider.generator.external-secrets.io crd/fakes.provider.generator.external-secrets.io";
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        wait.extend(kinds.split_whitespace());
        cx.kubectl(&wait).await?;
        for case in &cases {
            let (name, answer) = (&case["name"], create(&cx, &case["manifest"]).await);
            match (case["refused"].as_str(), answer) {
                (None, Ok(stored)) => {
                    ensure!(
                        stored
                            .pointer("/spec/dataFrom/0/extract")
                            .is_none_or(|extract| extract
                                .as_object()
                                .is_some_and(|extract| extract.len() == 1)),
                        "{name}: strategies were injected"
                    );
                }
                (Some(part), Err(text)) => ensure!(text.contains(part), "{name}: {text}"),
                (None, Err(text)) => anyhow::bail!("{name} was refused: {text}"),
                (Some(_), Ok(_)) => anyhow::bail!("{name} was accepted"),
            }
        }
        Ok(())
    })
}

/// Creates an object without storing it; answers what would be stored, or the refusal.
async fn create(cx: &Context, manifest: &Value) -> Result<Value, String> {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default();
    let (group, version) = text("apiVersion").split_once('/').unwrap_or_default();
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, text("kind")));
    let objects: Api<DynamicObject> = match text("kind") {
        "ClusterSecretStore" | "ClusterGenerator" => Api::all_with(cx.client(), &resource),
        _ => Api::namespaced_with(cx.client(), cx.namespace(), &resource),
    };
    let object: DynamicObject =
        serde_json::from_value(manifest.clone()).map_err(|error| error.to_string())?;
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    match objects.create(&parameters, &object).await {
        Ok(stored) => serde_json::to_value(stored).map_err(|error| error.to_string()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => Err(error.to_string()),
    }
}
