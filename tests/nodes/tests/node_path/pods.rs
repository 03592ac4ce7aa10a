//! Pods of other shapes than one container with one volume.

use anyhow::{Result, ensure};
use latchkey_cluster::TEST_IMAGE;
use latchkey_cluster::either::test;
use latchkey_e2e::{Planted, ensure_installed, fake, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{PATIENCE, apply_values, file, file_becomes, mounts_of, nothing_is_left, uid};

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

/// csi.md 5.3 and 2.1: the group of a pod in a user namespace of its own reads the pod's files.
#[test]
fn a_pod_in_a_user_namespace_reads_its_files() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        apply_values(&cx, &[("key", "value")], "1h").await?;
        let mut manifest = pod("p", "n1", &[volume("v", json!({"externalSecret": "es"}))]);
        manifest["spec"]["hostUsers"] = json!(false);
        manifest["spec"]["securityContext"] =
            json!({"runAsUser": 1000, "runAsGroup": 1000, "runAsNonRoot": true, "fsGroup": 2000});
        cx.apply(&list(&[manifest])).await?;
        cx.pod_ready("p", PATIENCE).await?;
        // user_namespaces(7): the second number is the machine's user that the pod's root is.
        let users = file(&cx, "p", "/proc/self/uid_map").await?;
        let root = users.split_whitespace().nth(1);
        ensure!(root.is_some_and(|user| user != "0"), "{users}");
        ensure!(file(&cx, "p", "/v/key").await? == "value");
        let uid = uid(&cx, "p").await?;
        cx.kubectl(&["delete", "pod", "p", "--wait=false"]).await?;
        nothing_is_left(&cx, "n1", &uid).await
    })
}
