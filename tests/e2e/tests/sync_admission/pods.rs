//! Pods whose volumes the node would refuse (csi.md 9.3 (d)).

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::api::{Api, PostParams};
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::root;
use serde_json::{Value, json};

const LABEL: &str = "latchkey.dev/volumes";

/// Judges pods without the policy, with it, with it in a labelled namespace, and with it for any namespace.
pub(crate) async fn judge(cx: &Context) -> Result<()> {
    let foreign = json!({ "driver": "csi.example.com" });
    let good = json!({ "driver": "csi.latchkey.dev", "readOnly": true });
    let writable = json!({ "driver": "csi.latchkey.dev" });
    let falsely = json!({ "driver": "csi.latchkey.dev", "readOnly": false });
    let secret = json!({ "driver": "csi.latchkey.dev", "readOnly": true, "nodePublishSecretRef": { "name": "s" } });
    let none = json!(null);
    // The account of the namespace comes a moment after it.
    eventually(Duration::from_secs(30), "pods are admitted", async || {
        Ok(create(cx, &none).await.is_ok().then_some(()))
    })
    .await?;
    for csi in [&foreign, &good, &writable, &falsely, &secret] {
        let answer = create(cx, csi).await;
        ensure!(answer.is_ok(), "without the policy: {csi}: {answer:?}");
    }

    cx.apply(&policy(cx, LABEL).await?).await?;
    eventually(Duration::from_secs(30), "pods are judged", async || {
        Ok(create(cx, &writable).await.is_err().then_some(()))
    })
    .await?;
    let unlabelled = "its label latchkey.dev/volumes is not \"true\"";
    let (needs, remove) = (
        "volume v of driver csi.latchkey.dev needs csi.readOnly: true",
        "has csi.nodePublishSecretRef, which is not supported",
    );
    let all = [
        (&none, &[][..]),
        (&foreign, &[]),
        (&good, &[unlabelled]),
        (&writable, &[needs, unlabelled]),
        (&falsely, &[needs, unlabelled]),
        (&secret, &[remove, unlabelled]),
    ];
    compare(cx, &all).await?;
    let own = [
        (&none, &[][..]),
        (&foreign, &[]),
        (&good, &[]),
        (&writable, &[needs]),
        (&falsely, &[needs]),
        (&secret, &[remove]),
    ];
    for value in ["false", "true"] {
        let label = format!("{LABEL}={value}");
        cx.kubectl(&["label", "--overwrite", "namespace", cx.namespace(), &label])
            .await?;
        if value == "true" {
            eventually(Duration::from_secs(30), "the label is seen", async || {
                Ok(create(cx, &good).await.is_ok().then_some(()))
            })
            .await?;
        }
        compare(cx, if value == "true" { &own } else { &all }).await?;
    }

    let away = format!("{LABEL}-");
    cx.kubectl(&["label", "namespace", cx.namespace(), &away])
        .await?;
    cx.apply(&policy(cx, "").await?).await?;
    eventually(Duration::from_secs(30), "labels do not count", async || {
        Ok(create(cx, &good).await.is_ok().then_some(()))
    })
    .await?;
    compare(cx, &own).await
}

/// Whether each volume is admitted, or refused with all of these texts and no others.
async fn compare(cx: &Context, cases: &[(&Value, &[&str])]) -> Result<()> {
    for (csi, refused) in cases {
        match create(cx, csi).await {
            Ok(()) => ensure!(refused.is_empty(), "{csi} was accepted"),
            Err(text) => {
                ensure!(!refused.is_empty(), "{csi} was refused: {text}");
                ensure!(
                    refused.iter().all(|part| text.contains(part)),
                    "{csi}: {text}"
                );
                let violations = text.matches("; ").count() + 1;
                ensure!(violations == refused.len(), "{csi}: {text}");
            }
        }
    }
    Ok(())
}

/// The policy as the chart renders it.
async fn policy(cx: &Context, label: &str) -> Result<String> {
    let chart = root().join("charts/latchkey");
    let label = format!("--set=admissionPolicies.pods.namespaceLabel={label}");
    cx.helm(&[
        "template",
        "latchkey",
        &chart.to_string_lossy(),
        "--show-only=templates/pod-admission-policy.yaml",
        "--set=admissionPolicies.pods.enabled=true",
        &label,
    ])
    .await
}

/// Creates a pod with this volume, or none, without storing it.
async fn create(cx: &Context, csi: &Value) -> Result<(), String> {
    let volumes = match csi {
        Value::Null => json!([]),
        csi => json!([{ "name": "v", "csi": csi }]),
    };
    let pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": { "name": "case" },
        "spec": { "containers": [{ "name": "main", "image": "none" }], "volumes": volumes },
    });
    let pod: Pod = serde_json::from_value(pod).map_err(|error| error.to_string())?;
    let parameters = PostParams {
        dry_run: true,
        ..PostParams::default()
    };
    let pods: Api<Pod> = Api::namespaced(cx.client(), cx.namespace());
    match pods.create(&parameters, &pod).await {
        Ok(_) => Ok(()),
        Err(kube::Error::Api(status)) => Err(status.message),
        Err(error) => Err(error.to_string()),
    }
}
