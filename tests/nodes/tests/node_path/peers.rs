//! Defects of other drivers that need a kubelet to be seen: rows of csi-peers.md 3. Those that lie in the driver alone are in
//! `latchkey-csi` (`csi/src/peers.rs`). Of section 4, the identity that a pod writes itself is in `mounts`, subPath in `pods`,
//! tokens that an agent might mint in `charts`.

use anyhow::{Result, ensure};
use latchkey_cluster::either::test;
use latchkey_e2e::{ensure_installed, fake, list, pod, volume};
use serde_json::{Value, json};

use crate::support::{
    PATIENCE, apply_values, event, file, file_becomes, mounts_of, uid, volume_folder,
};

/// csi-peers.md 3 (SSCSID#1483, AKV#1609; VCP#149): pods do not multiply calls. One fetch is two calls; the provider answers as many
/// as the node, the status of the ExternalSecret and one failure of each need, and refuses what twelve pods would.
#[test]
fn sscsid_1483_twelve_pods_of_a_node_cost_one_fetch() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let values = [("a", "1"), ("b", "2")];
        apply_values(&cx, &values, "1h").await?;
        let refusing = json!({"failures": [{
            "code": "RESOURCE_EXHAUSTED",
            "operations": ["GetSecret"],
            "after": 8,
        }]});
        cx.apply(&list(&[fake("f", &values, refusing)])).await?;
        let names: Vec<String> = (0..12).map(|number| format!("p{number}")).collect();
        let pods: Vec<Value> = names
            .iter()
            .map(|name| pod(name, "n1", &[volume("v", json!({"externalSecret": "es"}))]))
            .collect();
        cx.apply(&list(&pods)).await?;
        for name in &names {
            cx.pod_ready(name, PATIENCE).await?;
        }
        ensure!(file(&cx, "p11", "/v/b").await? == "2");
        Ok(())
    })
}

/// csi-peers.md 3 (kubelet#121271, fix #139045): the one error that a republish may have. The mount, kubelet's record and the pod
/// stay, and the content comes back in place.
#[test]
fn kubelet_121271_a_republish_that_fails_takes_nothing_away() -> Result<()> {
    test(async |cx| {
        ensure_installed(&cx).await?;
        let values = [("key", "value")];
        apply_values(&cx, &values, "1h").await?;
        let attributes = json!({"externalSecret": "es"});
        cx.apply(&list(&[pod("p", "n1", &[volume("v", attributes)])]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        let before = mounts_of(&cx, "n1", &uid)?;
        let folder = volume_folder(&cx, "n1", &uid, "v")?;
        // Without its provider the agent cannot repair what is broken here.
        let mut refused: Value = serde_json::from_str(
            &cx.kubectl(&["get", "externalsecret", "es", "--output=json"])
                .await?,
        )?;
        refused["metadata"] = json!({"name": "es"});
        let sound = refused.clone();
        refused["spec"]["data"][0]["remoteRef"]["key"] = json!("nothing");
        cx.apply(&refused.to_string()).await?;
        let point = format!(
            "{}/pods/{uid}/volumes/kubernetes.io~csi/v/mount",
            cx.cluster().kubelet_root("n1")?
        );
        cx.on_node("n1", &["mount", "-o", "remount,bind,rw", &point])
            .await?;
        std::fs::remove_file(folder.join("..data"))?;
        cx.kubectl(&["label", "pod", "p", "republish=1"]).await?;
        event(&cx, "p", "FailedMount", &["Internal", "lost its content"]).await?;
        ensure!(mounts_of(&cx, "n1", &uid)?.len() == before.len());
        ensure!(folder.with_file_name("vol_data.json").exists());
        let phase = cx
            .kubectl(&["get", "pod", "p", "--output=jsonpath={.status.phase}"])
            .await?;
        ensure!(phase == "Running", "{phase}");
        cx.apply(&sound.to_string()).await?;
        file_becomes(&cx, "p", "/v/key", "value").await
    })
}
