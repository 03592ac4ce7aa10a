//! What the API server accepts and refuses, by the table of manifests beside the definitions.

#[path = "sync_admission/pods.rs"]
mod pods;

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use kube::api::{Api, DynamicObject, GroupVersionKind, Patch, PatchParams, PostParams};
use kube::core::ApiResource;
use latchkey_cluster::{Context, eventually};
use latchkey_crds::external_secret::rules;
use latchkey_e2e::{ensure_absent, root};
use serde_json::{Value, json};

const TABLE: &str = include_str!("../../../crds/tests/data/admission.yaml");
const DEFINITIONS: [&str; 12] = [
    include_str!("../../../charts/latchkey/crds/external-secrets.io_clusterexternalsecrets.yaml"),
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
    // externalsecret.md 1.4, E056, E224, E225, E226, E227, E228, E229, E235, E236, E237, E239; pushsecret-and-stores.md B2, B6, SB-03, SB-04, SB-16
    latchkey_cluster::test(async |cx| {
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let cases: Vec<Value> = serde_saphyr::from_str(TABLE)?;
        ensure!(cases.len() > 50, "the table is short: {}", cases.len());
        let kinds = "crd/externalsecrets.external-secrets.io crd/clusterexternalsecrets.external-secrets.io crd/secretstores.secretstore.external-secrets.io \
            crd/clustersecretstores.secretstore.external-secrets.io crd/fakes.provider.secretstore.external-secrets.io \
            crd/hashicorpvaults.provider.secretstore.external-secrets.io \
            crd/generators.generator.external-secrets.io crd/clustergenerators.generator.external-secrets.io \
            crd/generatorstates.generators.external-secrets.io crd/passwords.provider.generator.external-secrets.io \
            crd/uuids.provider.generator.external-secrets.io crd/fakes.provider.generator.external-secrets.io";
        let mut wait = vec!["wait", "--for=condition=Established", "--timeout=60s"];
        wait.extend(kinds.split_whitespace());
        cx.kubectl(&wait).await?;
        // Policies that the charts of an earlier test binary left would refuse what must pass now.
        ensure_absent(&cx).await?;
        judge(&cx, &cases, false).await?;

        let policies = policies(&cx).await?;
        cx.apply(&policies).await?;
        let judged = async {
            enforced(&cx, &cases).await?;
            judge(&cx, &cases, true).await?;
            bound_the_search_for_repeats(&cx).await?;
            leave_old_objects_alone(&cx).await?;
            pods::judge(&cx).await
        };
        let judged = judged.await;
        // They concern the whole cluster, and with it the tests of other binaries.
        for kind in [
            "validatingadmissionpolicybindings",
            "validatingadmissionpolicies",
        ] {
            cx.kubectl(&["delete", kind, "--selector=app.kubernetes.io/name=latchkey"])
                .await?;
        }
        judged
    })
}

/// Compares the answers to all cases with the table: with the chart's policies or without.
async fn judge(cx: &Context, cases: &[Value], with_policies: bool) -> Result<()> {
    for case in cases {
        let manifest = in_namespace(&case["manifest"], cx.namespace());
        let (name, answer) = (&case["name"], create(cx, &manifest).await);
        let by_policy = case["policy"] == true;
        let refused = case["refused"]
            .as_str()
            .filter(|_| with_policies || !by_policy)
            .map(|part| part.replace("$NS", cx.namespace()));
        match (refused, answer) {
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
            (Some(part), Err(text)) => {
                ensure!(text.contains(&part), "{name}: {text}");
                if by_policy && manifest["kind"] == "ExternalSecret" {
                    // The agent's own check says the same.
                    let spec = serde_json::from_value(manifest["spec"].clone())?;
                    let own = rules::violations(&spec).join("; ");
                    ensure!(
                        text.ends_with(&format!("denied request: {own}")),
                        "{name}: {text}, not {own}"
                    );
                }
            }
            (None, Err(text)) => anyhow::bail!("{name} was refused: {text}"),
            (Some(_), Ok(_)) => anyhow::bail!("{name} was accepted"),
        }
    }
    Ok(())
}

/// The policies of the chart, as it renders them by default.
async fn policies(cx: &Context) -> Result<String> {
    let chart = root().join("charts/latchkey");
    let file = "--show-only=templates/admission-policies.yaml";
    cx.helm(&["template", "latchkey", &chart.to_string_lossy(), file])
        .await
}

/// Waits until the API server enforces every policy, which takes it a moment.
async fn enforced(cx: &Context, cases: &[Value]) -> Result<()> {
    for kind in ["ExternalSecret", "SecretStore", "ClusterSecretStore"] {
        let case = cases
            .iter()
            .find(|case| case["policy"] == true && case["manifest"]["kind"] == kind)
            .context("a case of each policy")?;
        let manifest = in_namespace(&case["manifest"], cx.namespace());
        eventually(
            Duration::from_secs(30),
            &format!("{kind}s are judged"),
            async || Ok(create(cx, &manifest).await.is_err().then_some(())),
        )
        .await?;
    }
    Ok(())
}

/// Very many keys are admitted, whatever their policy would cost; repeats are found among up to 256.
async fn bound_the_search_for_repeats(cx: &Context) -> Result<()> {
    // (keys, how many of them are the same, refused with)
    let repeat = "denied request: duplicate secretKey found: k0";
    let cases = [
        (256, 1, None),
        (256, 2, Some(repeat)),
        // The text would be too long for the API server.
        (
            256,
            256,
            Some("denied request: the ExternalSecret breaks a rule of admission"),
        ),
        (257, 2, None),
        (5000, 1, None),
    ];
    for (count, same, refused) in cases {
        let key = |index: usize| {
            if index + 1 < same || index + 1 == count {
                0
            } else {
                index
            }
        };
        let data: Vec<_> = (0..count)
            .map(|index| json!({ "secretKey": format!("k{}", if same == 1 { index } else { key(index) }), "remoteRef": { "key": "k" } }))
            .collect();
        let manifest = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": { "name": "case" },
            "spec": { "data": data },
        });
        match (refused, create(cx, &manifest).await) {
            (None, Ok(_)) => {}
            (Some(text), Err(answer)) => ensure!(
                answer.ends_with(text),
                "{count} keys, {same} the same: {answer}"
            ),
            (_, answer) => anyhow::bail!("{count} keys, {same} the same: {:?}", answer.err()),
        }
    }
    Ok(())
}

/// An object from before a rule may change in anything but its spec, so that it can lose its finalizers.
async fn leave_old_objects_alone(cx: &Context) -> Result<()> {
    let resource = resource("external-secrets.io/v1", "ExternalSecret");
    let objects: Api<DynamicObject> = Api::namespaced_with(cx.client(), cx.namespace(), &resource);
    let entry = json!({ "secretKey": "a", "remoteRef": { "key": "k" } });
    let manifest = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": { "name": "old" },
        "spec": { "data": [entry] },
    });
    let parameters = PostParams::default();
    objects
        .create(&parameters, &serde_json::from_value(manifest)?)
        .await?;
    // As if it were from before: the policy is away while the object is made bad.
    let bindings = "validatingadmissionpolicybindings";
    cx.kubectl(&["delete", bindings, "latchkey-externalsecrets"])
        .await?;
    let bad = json!({ "spec": { "data": [entry, entry] } });
    let change = async |patch: &Value| {
        objects
            .patch("old", &PatchParams::default(), &Patch::Merge(patch))
            .await
    };
    eventually(Duration::from_secs(30), "the policy is away", async || {
        Ok(change(&bad).await.is_ok().then_some(()))
    })
    .await?;
    cx.apply(&policies(cx).await?).await?;
    let worse = json!({ "spec": { "data": [entry, entry, entry] } });
    eventually(Duration::from_secs(30), "the policy is back", async || {
        let parameters = PatchParams {
            dry_run: true,
            ..PatchParams::default()
        };
        let answer = objects
            .patch("old", &parameters, &Patch::Merge(&worse))
            .await;
        Ok(answer.is_err().then_some(()))
    })
    .await?;
    change(&json!({ "metadata": { "finalizers": ["example.com/x"] } })).await?;
    change(&json!({ "metadata": { "finalizers": null } })).await?;
    change(&json!({ "spec": { "data": [entry] } })).await?;
    Ok(())
}

/// A manifest with the test's namespace for `$NS`.
fn in_namespace(manifest: &Value, namespace: &str) -> Value {
    let text = manifest.to_string().replace("$NS", namespace);
    serde_json::from_str(&text).unwrap_or_default()
}

/// Creates an object without storing it; answers what would be stored, or the refusal.
async fn create(cx: &Context, manifest: &Value) -> Result<Value, String> {
    let text = |field: &str| manifest[field].as_str().unwrap_or_default();
    let resource = resource(text("apiVersion"), text("kind"));
    let objects: Api<DynamicObject> = match text("kind") {
        "ClusterExternalSecret" | "ClusterSecretStore" | "ClusterGenerator" => {
            Api::all_with(cx.client(), &resource)
        }
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

fn resource(api_version: &str, kind: &str) -> ApiResource {
    let (group, version) = api_version.split_once('/').unwrap_or_default();
    ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, kind))
}
