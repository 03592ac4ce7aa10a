//! The agent is killed in the middle of its work (cluster.md 7.8). The kill at each system call is in `latchkey-csi`; here the
//! kubelet, the runtime and a container look on.

use std::collections::BTreeSet;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use latchkey_cluster::either::test_alone;
use latchkey_e2e::{agent_pod, ensure_installed, fake, fake_object, list, pod, store, volume};
use serde_json::{Value, json};

use crate::support::{
    Gun, PATIENCE, apply_values, extracting, file, is_publishing, mounts_of, nothing_is_left,
    pod_goes, uid, volume_folder,
};

/// Volumes of the one pod, and keys of each: enough for a rotation to take some milliseconds.
const VOLUMES: usize = 12;
const KEYS: usize = 40;

/// Kills during a rotation.
const ROUNDS: usize = 3;

/// cluster.md 7.8, publishing: kubelet's call ends with the process, and its next one starts the pod.
#[test]
fn agent_killed_while_publishing_leaves_nothing_and_the_pod_starts() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let slow = json!({"latency": {"perOperation": {"GetSecret": {"base": "300s"}}}});
        apply_values(&cx, &[("key", "value")], "1h").await?;
        cx.apply(&list(&[
            fake("f", &[("key", "value")], slow),
            pod("p", "n1", &[volume("v", json!({"externalSecret": "es"}))]),
        ]))
        .await?;
        is_publishing(&cx, "n1").await?;
        Gun::aim(&cx, "n1").await?.fire(&cx).await?;
        let uid = uid(&cx, "p").await?;
        ensure!(mounts_of(&cx, "n1", &uid)?.is_empty());
        cx.apply(&list(&[fake("f", &[("key", "value")], Value::Null)]))
            .await?;
        cx.pod_ready("p", PATIENCE).await?;
        ensure!(file(&cx, "p", "/v/key").await? == "value");
        ensure!(mounts_of(&cx, "n1", &uid)?.len() == 1);
        cx.kubectl(&["delete", "pod", "p", "--wait=false"]).await?;
        nothing_is_left(&cx, "n1", &uid).await
    })
}

/// cluster.md 7.8, writing and unpublishing; 7.5 with kills in between: many volumes rotate at once, and the kill comes as soon as
/// the first one has moved. Whatever it hit, each volume is one whole set, the container sees no other, and the next agent goes on.
#[test]
fn agent_killed_while_writing_and_unpublishing_leaves_whole_sets() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        let keys: Vec<String> = (0..KEYS).map(|key| format!("k{key:02}")).collect();
        let keys: Vec<&str> = keys.iter().map(String::as_str).collect();
        let values = |value: &str| {
            let line = format!("{value}\n");
            let pairs: Vec<(&str, &str)> = keys.iter().map(|key| (*key, line.as_str())).collect();
            list(&[fake_object("f", "all", &pairs, Value::Null)])
        };
        cx.apply(&values("value 0")).await?;
        cx.apply(&list(&[
            store("s", "f", "fake"),
            extracting("es", "all", "1s"),
            watcher("p", "n1"),
        ]))
        .await?;
        cx.pod_ready("p", PATIENCE).await?;
        let uid = uid(&cx, "p").await?;
        let mounts = mounts_of(&cx, "n1", &uid)?;
        let folders = (0..VOLUMES)
            .map(|number| volume_folder(&cx, "n1", &uid, &format!("v{number}")))
            .collect::<Result<Vec<_>>>()?;
        for round in 1..=ROUNDS {
            let before = links(&folders)?;
            let gun = Gun::aim(&cx, "n1").await?;
            cx.apply(&values(&format!("value {round}"))).await?;
            soon("the first volume moves", || Ok(links(&folders)? != before)).await?;
            gun.fire(&cx).await?;
            for folder in &folders {
                let shown = whole_set(folder)?;
                let known = [round - 1, round].map(|number| format!("value {number}\n"));
                ensure!(
                    known.contains(&shown),
                    "{} shows {shown:?}",
                    folder.display()
                );
            }
            agent_pod(&cx, "n1").await?;
            let newest = format!("value {round}\n");
            soon("the next agent goes on", || {
                let shown = folders.iter().map(|folder| whole_set(folder));
                Ok(shown.collect::<Result<BTreeSet<_>>>()? == BTreeSet::from([newest.clone()]))
            })
            .await?;
            ensure!(mounts_of(&cx, "n1", &uid)? == mounts, "mounted anew");
        }
        let log = cx.kubectl(&["logs", "p"]).await?;
        ensure!(log.lines().eq(["STARTED"]), "the container saw {log}");

        let gun = Gun::aim(&cx, "n1").await?;
        cx.kubectl(&["delete", "pod", "p", "--wait=false"]).await?;
        soon("the first volume goes", || {
            Ok(mounts_of(&cx, "n1", &uid)?.len() < VOLUMES)
        })
        .await?;
        gun.fire(&cx).await?;
        pod_goes(&cx, "p").await?;
        nothing_is_left(&cx, "n1", &uid).await
    })
}

/// A pod with all the volumes, whose container looks at one set after the other and says so when one is not whole.
fn watcher(name: &str, node: &str) -> Value {
    let volumes: Vec<Value> = (0..VOLUMES)
        .map(|number| volume(&format!("v{number}"), json!({"externalSecret": "es"})))
        .collect();
    let script = format!(
        "echo STARTED; while true; do for v in /v[0-9]*; do d=$(readlink $v/..data); \
         n=$(cat $v/$d/k* | sort | uniq -c) || echo FAILED; set -- $n; \
         [ \"$1\" = {KEYS} ] || echo MIXED; done; sleep 0.05; done"
    );
    let mut pod = pod(name, node, &volumes);
    pod["spec"]["containers"][0]["command"] = json!(["sh", "-c", script]);
    pod
}

fn links(folders: &[std::path::PathBuf]) -> Result<Vec<std::path::PathBuf>> {
    folders
        .iter()
        .map(|folder| Ok(std::fs::read_link(folder.join("..data"))?))
        .collect()
}

/// The one value of all files of a volume's generation.
fn whole_set(folder: &Path) -> Result<String> {
    let generation = folder.join(std::fs::read_link(folder.join("..data"))?);
    let mut values = Vec::new();
    for entry in std::fs::read_dir(&generation)? {
        values.push(std::fs::read_to_string(entry?.path())?);
    }
    let count = values.len();
    values.dedup();
    ensure!(
        count == KEYS && values.len() == 1,
        "{} has {count} files with {} values",
        generation.display(),
        values.len()
    );
    values.pop().context("a volume has files")
}

/// Looks every tenth of a millisecond; between two looks of the usual kind all would be over.
async fn soon(what: &str, mut look: impl FnMut() -> Result<bool>) -> Result<()> {
    let begin = Instant::now();
    while !look()? {
        ensure!(
            begin.elapsed() < PATIENCE,
            "{what}: not within {PATIENCE:?}"
        );
        tokio::time::sleep(Duration::from_micros(100)).await;
    }
    Ok(())
}
