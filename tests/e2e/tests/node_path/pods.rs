//! Pods of other shapes than one container with one volume.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Node;
use kube::Api;
use latchkey_cluster::{TEST_IMAGE, eventually, test};
use latchkey_e2e::{Planted, ensure_installed, fake, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, apply_values, event, file, file_becomes, mounts_of, nothing_is_left, uid,
};

/// cluster.md 7.14: an init container, two containers, subPath, projected volumes beside; csi-peers.md 4 (CVE-2021-25741,
/// CVE-2017-1002101): kubelet makes the subPath, which shows the file of the pod's start for ever (csi.md 6.2).
#[test]
fn all_containers_share_one_mount_beside_other_volumes() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let mut planted = Planted::new();
        let (first, next) = (planted.plant(), planted.plant());
        apply_values(&cx, &[("key", &first)], "1s").await?;
        let projected = json!({"name": "beside", "projected": {"sources": [
            {"serviceAccountToken": {"path": "token"}},
            {"configMap": {"name": "kube-root-ca.crt", "items": [{"key": "ca.crt", "path": "ca.crt"}]}},
        ]}});
        let shared = json!({"name": "shared", "emptyDir": {}});
        let v = json!({"name": "v", "mountPath": "/v", "readOnly": true});
        let container = |name: &str, script: &str, mounts: &[Value]| {
            json!({
                "name": name,
                "image": TEST_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sh", "-c", script],
                "volumeMounts": mounts,
            })
        };
        let mut manifest = pod("p", "n1", &[volume("v", json!({"externalSecret": "es"}))]);
        manifest["spec"]["volumes"]
            .as_array_mut()
            .into_iter()
            .for_each(|volumes| volumes.extend([projected.clone(), shared.clone()]));
        manifest["spec"]["initContainers"] = json!([container(
            "init",
            "cp /v/key /shared/seen",
            &[v.clone(), json!({"name": "shared", "mountPath": "/shared"})],
        )]);
        let single =
            json!({"name": "v", "mountPath": "/single", "subPath": "key", "readOnly": true});
        manifest["spec"]["containers"] = json!([
            container(
                "main",
                "sleep 86400",
                &[
                    v.clone(),
                    single,
                    json!({"name": "beside", "mountPath": "/beside", "readOnly": true}),
                    json!({"name": "shared", "mountPath": "/shared"}),
                ],
            ),
            container("other", "sleep 86400", &[v]),
        ]);
        cx.apply(&list(&[manifest])).await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        for path in ["/shared/seen", "/v/key", "/single"] {
            ensure!(file(&cx, "p", path).await? == first, "{path}");
        }
        ensure!(!file(&cx, "p", "/beside/token").await?.is_empty());
        ensure!(
            file(&cx, "p", "/beside/ca.crt")
                .await?
                .contains("CERTIFICATE")
        );
        ensure!(mounts_of(&cx, "n1", &uid)?.len() == 1);

        cx.apply(&list(&[fake("f", &[("key", &next)], Value::Null)]))
            .await?;
        file_becomes(&cx, "p", "/v/key", &next).await?;
        let other = cx
            .kubectl(&["exec", "p", "--container=other", "--", "cat", "/v/key"])
            .await?;
        ensure!(other == next);
        ensure!(file(&cx, "p", "/single").await? == first);
        cx.kubectl(&["delete", "pod", "p", "--wait=false"]).await?;
        nothing_is_left(&cx, "n1", &uid).await?;
        planted.assert_no_trace(&cx).await
    })
}

/// csi.md 5.3 and 2.1: where the runtime has user namespaces, the group of a pod in one reads its files. Where it has none, kubelet
/// refuses the pod again and again: its volume is one mount all the while and goes with the pod.
#[test]
fn a_pod_in_a_user_namespace_reads_its_files_or_is_refused_cleanly() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("key", "value")], "1h").await?;
        let nodes: Api<Node> = Api::all(cx.client());
        let status = nodes.get("n1").await?.status.unwrap_or_default();
        let handlers = status.runtime_handlers.unwrap_or_default();
        let is_possible = handlers
            .iter()
            .filter(|handler| handler.name.as_deref().unwrap_or_default().is_empty())
            .filter_map(|handler| handler.features.as_ref())
            .any(|features| features.user_namespaces == Some(true));
        let mut manifest = pod("p", "n1", &[volume("v", json!({"externalSecret": "es"}))]);
        manifest["spec"]["hostUsers"] = json!(false);
        manifest["spec"]["securityContext"] =
            json!({"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true, "fsGroup": 2000});
        cx.apply(&list(&[manifest])).await?;
        let uid = uid(&cx, "p").await?;
        if is_possible {
            cx.pod_ready("p", PATIENCE).await?;
            ensure!(file(&cx, "p", "/v/key").await? == "value");
        } else {
            eventually(PATIENCE, "the volume", async || {
                Ok((mounts_of(&cx, "n1", &uid)?.len() == 1).then_some(()))
            })
            .await?;
            event(&cx, "p", "FailedCreatePodSandBox", &["user namespace"]).await?;
            ensure!(mounts_of(&cx, "n1", &uid)?.len() == 1);
        }
        cx.kubectl(&["delete", "pod", "p", "--wait=false"]).await?;
        nothing_is_left(&cx, "n1", &uid).await
    })
}
