//! The reconcile corpus: what the agent from its charts does with each scenario, beside what External Secrets Operator did
//! (`tests/reconcile/README.md`).

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey_cluster::{Context, eventually, test_alone};
use latchkey_e2e::{ensure_installed, helm_install_agent, root};
use serde_json::{Value, json};
use tokio::io::AsyncReadExt as _;
use tokio::process::Command;

/// Longest run of the whole corpus. It takes about five minutes.
const PATIENCE: Duration = Duration::from_secs(20 * 60);
/// Scenarios at once.
const JOBS: &str = "--jobs=4";
/// Aspects in which a difference may be: event texts may quote the API server or the store's API group, and the rest is how, not what.
const MAY_DIFFER: [&str; 7] = [
    "eventTexts",
    "managers",
    "owned",
    "events",
    "actions",
    "transitioned",
    "stores",
];

#[test]
fn reconcile_corpus_is_handled_as_recorded() -> Result<()> {
    test_alone(async |cx| {
        ensure_installed(&cx).await?;
        // The recordings were made without upstream's admission webhook.
        helm_install_agent(&cx, &["--set=admissionPolicies.enabled=false"]).await?;
        owned_objects_are_collected(&cx).await?;
        let corpus = root().join("tests/reconcile");
        let report = run(&cx, &corpus).await;
        helm_install_agent(&cx, &[]).await?;
        let report = report?;
        let text = std::fs::read_to_string(corpus.join("differences.yaml"))?;
        let known: BTreeMap<String, String> =
            serde_saphyr::from_str::<Option<_>>(&text)?.unwrap_or_default();
        judge(&report, &known)
    })
}

/// Kubernetes' garbage collector learns of new kinds every half minute only; before that, Secrets outlive their ExternalSecrets.
async fn owned_objects_are_collected(cx: &Context) -> Result<()> {
    let objects: Api<DynamicObject> = Api::namespaced_with(
        cx.client(),
        cx.namespace(),
        &ApiResource::from_gvk(&GroupVersionKind::gvk(
            "external-secrets.io",
            "v1",
            "ExternalSecret",
        )),
    );
    let owner = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": {"name": "owner"},
        "spec": {"target": {"creationPolicy": "None"}, "data": [{"secretKey": "a", "remoteRef": {"key": "a"}}]}});
    let owner = objects
        .create(&PostParams::default(), &serde_json::from_value(owner)?)
        .await?;
    let owned: Api<ConfigMap> = Api::namespaced(cx.client(), cx.namespace());
    let reference = json!({"apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "name": "owner", "uid": owner.metadata.uid});
    let object = json!({"metadata": {"name": "owned", "ownerReferences": [reference]}});
    owned
        .create(&PostParams::default(), &serde_json::from_value(object)?)
        .await?;
    objects.delete("owner", &DeleteParams::default()).await?;
    eventually(
        Duration::from_secs(120),
        "an owned object goes",
        async || Ok(owned.get_opt("owned").await?.is_none().then_some(())),
    )
    .await
}

/// Runs every scenario and returns what the runner printed about differences, its summary last.
async fn run(cx: &Context, corpus: &Path) -> Result<String> {
    let script = corpus.join("../tools/pyyaml.sh");
    let found = Command::new(&script).arg("--print").output().await?;
    let modules = String::from_utf8(found.stdout)?;
    let modules = modules.trim();
    ensure!(
        Path::new(modules).join("yaml").is_dir(),
        "no PyYAML at {modules}; run `make tools`"
    );
    let mut scenarios: Vec<_> = std::fs::read_dir(corpus.join("scenarios"))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    scenarios.sort();
    let python = std::env::var_os("PYTHON").unwrap_or_else(|| "python3".into());
    let mut runner = Command::new(python)
        .arg(corpus.join("run.py"))
        .args(["--backend=latchkey", JOBS, "--check"])
        .arg(corpus.join("expected.jsonl"))
        .args(scenarios)
        .env("KUBECONFIG", cx.cluster().layout().kubeconfig())
        .env("PYTHONPATH", modules)
        .env("PYTHONDONTWRITEBYTECODE", "1")
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .context("python3")?;
    let mut output = runner.stdout.take().context("the runner's output")?;
    let mut report = String::new();
    tokio::time::timeout(PATIENCE, output.read_to_string(&mut report))
        .await
        .context("the corpus took too long")??;
    // Its exit code tells whether everything is equal, which is more than is asked for here.
    runner.wait().await?;
    Ok(report)
}

/// Fails for a scenario that did not run, for one with differences that is not `known`, and for one that is `known` without any.
fn judge(report: &str, known: &BTreeMap<String, String>) -> Result<()> {
    let summary = report.lines().last().unwrap_or_default();
    let summary: Value = serde_json::from_str(summary).with_context(|| report.to_owned())?;
    let count = |name: &str| summary[name].as_u64().unwrap_or_default();
    ensure!(
        count("scenarios") >= 135 && count("ran") == count("scenarios"),
        "scenarios did not run: {summary}"
    );
    let differing = differing(report);
    let expected: BTreeSet<&str> = known.keys().map(String::as_str).collect();
    ensure!(
        differing == expected,
        "scenarios that differ without being listed: {:?}; listed without differing: {:?}\n{report}",
        differing.difference(&expected).collect::<Vec<_>>(),
        expected.difference(&differing).collect::<Vec<_>>()
    );
    Ok(())
}

/// The scenarios with a difference that counts. A difference is a line `id [step] aspect path` with two indented lines after it.
fn differing(report: &str) -> BTreeSet<&str> {
    report
        .lines()
        .filter(|line| !line.starts_with([' ', '{']))
        .filter_map(|line| {
            let (id, rest) = line.split_once(" [")?;
            let (_, rest) = rest.split_once("] ")?;
            let (aspect, _) = rest.split_once(' ')?;
            (!MAY_DIFFER.contains(&aspect)).then_some(id)
        })
        .collect()
}

#[test]
fn only_facts_and_messages_count_as_differences() {
    let report = "one [start] eventTexts externalSecrets/es/events/text\n    expected []\n    got      []\n\
        two [start] managers secrets/s/managers\n    expected []\n    got      []\n\
        three [a step] message externalSecrets/es/conditions/message\n    expected []\n    got      []\n{\"ran\": 3}";
    assert_eq!(differing(report), BTreeSet::from(["three"]));
}

#[test]
fn unlisted_stale_and_missing_scenarios_fail() {
    let summary = |ran: u64| format!("{{\"scenarios\": 135, \"ran\": {ran}}}");
    let differs = format!("x [start] data secrets/s/data\n{}", summary(135));
    let listed = BTreeMap::from([(String::from("x"), String::from("reason"))]);
    assert!(judge(&differs, &BTreeMap::new()).is_err());
    assert!(judge(&differs, &listed).is_ok());
    assert!(judge(&summary(135), &listed).is_err());
    assert!(judge(&summary(89), &BTreeMap::new()).is_err());
    assert!(judge(&summary(135), &BTreeMap::new()).is_ok());
}
