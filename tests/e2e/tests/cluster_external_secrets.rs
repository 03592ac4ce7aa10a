//! The controller of ClusterExternalSecrets, against a real API server (`externalsecret.md` 6 and 9.11).

use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::api::{
    Api, ApiResource, DeleteParams, DynamicObject, ListParams, Patch, PatchParams, PostParams,
};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config, ResourceExt};
use latchkey::cluster_external_secrets::{self, Error, Metrics};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::cluster_external_secret::ClusterExternalSecret;
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_e2e::root;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take. Much longer than it takes on a busy machine.
const PATIENCE: Duration = Duration::from_secs(30);
/// Long enough for a pass that should not happen to happen.
const QUIET: Duration = Duration::from_secs(3);
const FINALIZER: &str = "externalsecrets.external-secrets.io/clusterexternalsecret-cleanup";
const FORCE_SYNC: &str = "external-secrets.io/force-sync";
const TAKEN: &str = "external secret already exists in namespace";

/// The objects concern the whole cluster: one controller at a time.
static ONE: Mutex<()> = Mutex::new(());

const DEFINITIONS: [&str; 2] = [
    include_str!("../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!("../../../charts/latchkey/crds/external-secrets.io_clusterexternalsecrets.yaml"),
];

fn spec() -> Value {
    json!({
        "secretStoreRef": { "name": "well", "kind": "ClusterSecretStore" },
        "data": [{ "secretKey": "a", "remoteRef": { "key": "/a" } }],
    })
}

/// A running controller and one ClusterExternalSecret of a name and a label value of its own.
struct Rig {
    cx: Context,
    /// Name of the set; its namespaces have it as the value of their label `grp`.
    id: String,
    sets: Api<ClusterExternalSecret>,
    namespaces: Api<Namespace>,
    agent: Client,
    metrics: Metrics,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

/// A client with the rights that the chart gives the role sync, and no others.
async fn agent(cx: &Context) -> Result<Client> {
    let chart = root().join("charts/latchkey");
    // Not the name of the chart's release: helm would not take over what this leaves.
    let arguments = [
        "template",
        "ces",
        &chart.to_string_lossy(),
        "--show-only=templates/sync-rbac.yaml",
    ];
    cx.apply(&cx.helm(&arguments).await?).await?;
    let kubeconfig = Kubeconfig::read_from(cx.cluster().layout().kubeconfig())?;
    let mut config =
        Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
    let account = format!("system:serviceaccount:{}:ces-latchkey-node", cx.namespace());
    config.auth_info.impersonate = Some(account);
    config.auth_info.impersonate_groups = Some(vec![
        String::from("system:serviceaccounts"),
        String::from("system:authenticated"),
    ]);
    let client = Client::try_from(config)?;
    // Rights take a moment to be known everywhere.
    let sets: Api<ClusterExternalSecret> = Api::all(client.clone());
    eventually(PATIENCE, "the agent's rights", async || {
        sets.list(&ListParams::default()).await?;
        Ok(Some(()))
    })
    .await?;
    Ok(client)
}

impl Rig {
    async fn start(cx: Context) -> Result<Self> {
        latchkey_e2e::ensure_absent(&cx).await?;
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let kinds = [
            "crd/externalsecrets.external-secrets.io",
            "crd/clusterexternalsecrets.external-secrets.io",
        ];
        let wait = ["wait", "--for=condition=Established", "--timeout=60s"];
        cx.kubectl(&[&wait, &kinds[..]].concat()).await?;
        let (metrics, stop) = (Metrics::default(), CancellationToken::new());
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        let agent = agent(&cx).await?;
        let run = cluster_external_secrets::run(agent.clone(), metrics.clone(), stop.clone());
        Ok(Self {
            agent,
            metrics,
            id: format!("spread-{}", cx.namespace()),
            sets: Api::all(cx.client()),
            namespaces: Api::all(cx.client()),
            registry,
            stop,
            task: tokio::spawn(run),
            cx,
        })
    }

    /// Removes the set and the namespaces, and checks that the controller ends in time and well.
    async fn stop(mut self, namespaces: &[String]) -> Result<()> {
        self.gone().await?;
        for namespace in namespaces {
            self.namespaces
                .delete(namespace, &DeleteParams::default())
                .await?;
        }
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .context("the controller did not end")???;
        Ok(())
    }

    /// Ends the controller and starts another one.
    async fn restart(&mut self) -> Result<()> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .context("the controller did not end")???;
        self.stop = CancellationToken::new();
        let (agent, metrics) = (self.agent.clone(), self.metrics.clone());
        let run = cluster_external_secrets::run(agent, metrics, self.stop.clone());
        self.task = tokio::spawn(run);
        Ok(())
    }

    /// Deletes the set and waits until it is gone.
    async fn gone(&self) -> Result<()> {
        self.sets.delete(&self.id, &DeleteParams::default()).await?;
        eventually(PATIENCE, "the set is gone", async || {
            Ok(self.sets.get_opt(&self.id).await?.is_none().then_some(()))
        })
        .await
    }

    /// A namespace with the label that selects it, and further ones.
    async fn namespace(&self, hint: &str, labels: Value) -> Result<String> {
        let name = self.cx.new_namespace(hint).await?;
        let mut all = json!({ "grp": self.id });
        all.as_object_mut()
            .into_iter()
            .for_each(|all| all.extend(labels.as_object().cloned().unwrap_or_default()));
        self.label(&name, all).await?;
        Ok(name)
    }

    async fn label(&self, namespace: &str, labels: Value) -> Result<()> {
        let patch = json!({ "metadata": { "labels": labels } });
        self.namespaces
            .patch(namespace, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Makes the set with our label as its selector; `fields` of its spec come on top.
    async fn create(&self, fields: Value) -> Result<()> {
        let mut object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": { "name": self.id },
            "spec": { "namespaceSelectors": [{ "matchLabels": { "grp": self.id } }], "externalSecretSpec": spec() },
        });
        let fields = fields.as_object().cloned().unwrap_or_default();
        object["spec"]
            .as_object_mut()
            .context("a spec")?
            .extend(fields);
        self.sets
            .create(&PostParams::default(), &serde_json::from_value(object)?)
            .await?;
        Ok(())
    }

    async fn change(&self, patch: Value) -> Result<()> {
        self.sets
            .patch(&self.id, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Waits until the status lists exactly these namespaces.
    async fn listed(&self, provisioned: &[&String], failed: &[(&String, &str)]) -> Result<()> {
        let what = format!("provisioned {provisioned:?}, failed {failed:?}");
        let mut wanted: Vec<_> = provisioned.iter().map(|name| (*name).clone()).collect();
        wanted.sort();
        eventually(PATIENCE, &what, async || {
            let set = self.sets.get(&self.id).await?;
            ensure!(set.finalizers() == [FINALIZER]);
            let status = set.status.context("no status")?;
            let ready = status.conditions.first().context("no condition")?;
            let found: Vec<_> = status
                .failed_namespaces
                .iter()
                .map(|failed| (&failed.namespace, failed.reason.clone().unwrap_or_default()))
                .collect();
            let as_wanted = status.provisioned_namespaces == wanted
                && found.len() == failed.len()
                && failed.iter().all(|(namespace, reason)| {
                    found
                        .iter()
                        .any(|(found, why)| found == namespace && why.starts_with(reason))
                })
                && (ready.status.as_str() == "True") == failed.is_empty()
                && ready.message.is_some() != failed.is_empty();
            ensure!(
                as_wanted,
                "it is {ready:?} {found:?} {:?}",
                status.provisioned_namespaces
            );
            Ok(Some(()))
        })
        .await
    }

    /// Removes what [`refusal`] made.
    async fn lift(&self, policy: &str) -> Result<()> {
        for kind in [
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicy",
        ] {
            self.cx.kubectl(&["delete", kind, policy]).await?;
        }
        Ok(())
    }

    fn external_secrets(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ExternalSecret>(&());
        Api::namespaced_with(self.cx.client(), namespace, &resource)
    }

    /// Names of the ExternalSecrets of a namespace.
    async fn names(&self, namespace: &str) -> Result<Vec<String>> {
        let list = self
            .external_secrets(namespace)
            .list(&ListParams::default())
            .await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// Waits until the namespace has exactly these ExternalSecrets, and our finalizer if it has any.
    async fn has(&self, namespace: &str, names: &[&str]) -> Result<()> {
        eventually(
            PATIENCE,
            &format!("{namespace} has {names:?}"),
            async || {
                let found = self.names(namespace).await?;
                let held = self.is_held(namespace).await?;
                ensure!(
                    found == names && held != names.is_empty(),
                    "it has {found:?}, held: {held}"
                );
                Ok(Some(()))
            },
        )
        .await
    }

    async fn is_held(&self, namespace: &str) -> Result<bool> {
        let finalizer = format!("externalsecrets.external-secrets.io/ces-{}", self.id);
        let namespace = self.namespaces.get(namespace).await?;
        Ok(namespace.finalizers().contains(&finalizer))
    }

    /// Waits until the ExternalSecret has these labels, annotations and spec, and the set as its one owner.
    async fn is(
        &self,
        namespace: &str,
        name: &str,
        labels: Value,
        annotations: Value,
        spec: &Value,
    ) -> Result<()> {
        let set = self.sets.get(&self.id).await?;
        let owner = json!([{
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "name": self.id, "uid": set.uid(),
            "controller": true, "blockOwnerDeletion": true,
        }]);
        eventually(PATIENCE, &format!("{name} is as wanted"), async || {
            let object = self.external_secrets(namespace).get(name).await?;
            ensure!(json!(object.labels()) == labels, "{:?}", object.labels());
            ensure!(
                json!(object.annotations()) == annotations,
                "{:?}",
                object.annotations()
            );
            ensure!(json!(object.owner_references()) == owner);
            ensure!(&object.data["spec"] == spec, "{}", object.data["spec"]);
            Ok(Some(()))
        })
        .await
    }

    fn metrics(&self) -> Result<String> {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

impl Drop for Rig {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

#[test]
fn ces_follows_selectors_names_labels_and_edits() -> Result<()> {
    // externalsecret.md 6, E205, E206, E208, E211, E212, E213, E214, E215, D-03
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let mut rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({ "n": "one" })).await?;
        let b = rig.namespace("ces-b", json!({ "n": "two" })).await?;
        let c = rig.cx.new_namespace("ces-c").await?;
        rig.create(json!({})).await?;
        rig.listed(&[&a, &b], &[]).await?;
        rig.has(&a, &[&rig.id]).await?;
        rig.has(&c, &[]).await?;
        // What the API server added to the embedded spec is what it adds to an ExternalSecret.
        let stored = rig.sets.get(&rig.id).await?.spec.external_secret_spec;
        rig.is(&a, &rig.id, json!({}), json!({}), &stored).await?;
        ensure!(rig.metrics()?.contains(&format!(
            "clusterexternalsecret_status_condition{{name=\"{}\",namespace=\"\",condition=\"Ready\",status=\"True\"}} 1",
            rig.id
        )));

        // Quiet, also after a restart: everything is as wanted.
        let set = rig.sets.get(&rig.id).await?.resource_version();
        let before = rig
            .external_secrets(&a)
            .get(&rig.id)
            .await?
            .resource_version();
        rig.label(&b, json!({ "unrelated": "1" })).await?;
        rig.restart().await?;
        tokio::time::sleep(QUIET).await;
        ensure!(
            before
                == rig
                    .external_secrets(&a)
                    .get(&rig.id)
                    .await?
                    .resource_version()
        );

        ensure!(set == rig.sets.get(&rig.id).await?.resource_version());
        eventually(PATIENCE, "its series are back", async || {
            Ok(rig.metrics()?.contains(&rig.id).then_some(()))
        })
        .await?;

        rig.change(json!({ "spec": {
            "externalSecretMetadata": { "labels": { "l": "1" }, "annotations": { "x": "2" } },
            "externalSecretSpec": { "secretStoreRef": { "name": "other" }, "target": { "name": "out" } },
        } }))
        .await?;
        let stored = rig.sets.get(&rig.id).await?.spec.external_secret_spec;
        ensure!(stored["secretStoreRef"]["name"] == "other");
        for namespace in [&a, &b] {
            let (labels, annotations) = (json!({ "l": "1" }), json!({ "x": "2" }));
            rig.is(namespace, &rig.id, labels, annotations, &stored)
                .await?;
        }
        // What others change is put right; what others add to the status or the finalizers is theirs.
        let tampered = json!({ "metadata": { "labels": { "l": null, "m": "3" } }, "spec": { "refreshInterval": "7h" } });
        rig.external_secrets(&b)
            .patch(&rig.id, &PatchParams::default(), &Patch::Merge(tampered))
            .await?;
        rig.is(
            &b,
            &rig.id,
            json!({ "l": "1" }),
            json!({ "x": "2" }),
            &stored,
        )
        .await?;

        rig.label(&a, json!({ "grp": null })).await?;
        rig.listed(&[&b], &[]).await?;
        rig.has(&a, &[]).await?;
        rig.change(json!({ "spec": {
            "namespaces": ["missing-of-all", &c],
            "namespaceSelector": { "matchExpressions": [{ "key": "n", "operator": "In", "values": ["one", "eins"] }, { "key": "grp", "operator": "DoesNotExist" }] },
            "namespaceSelectors": [{ "matchLabels": { "grp": rig.id, "n": "zwei" } }, { "matchLabels": { "grp": rig.id, "n": "two" } }],
        } }))
        .await?;
        rig.listed(&[&a, &b, &c], &[]).await?;
        rig.change(json!({ "spec": { "namespaces": null, "namespaceSelector": null, "namespaceSelectors": [] } }))
            .await?;
        rig.listed(&[], &[]).await?;
        for namespace in [&a, &b, &c] {
            rig.has(namespace, &[]).await?;
        }
        rig.stop(&[a, b, c]).await
    })
}

#[test]
fn ces_renames_and_mirrors_force_sync() -> Result<()> {
    // externalsecret.md 6.2 step 4, E207, E216, E217
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({})).await?;
        let annotations = json!({ "base": "b", FORCE_SYNC: "template" });
        rig.create(json!({
            "externalSecretName": "first",
            "externalSecretMetadata": { "annotations": annotations },
        }))
        .await?;
        rig.listed(&[&a], &[]).await?;
        let stored = rig.sets.get(&rig.id).await?.spec.external_secret_spec;
        let base = json!({ "base": "b" });
        rig.is(&a, "first", json!({}), base.clone(), &stored)
            .await?;
        for value in ["1", "2"] {
            rig.change(
                json!({ "metadata": { "annotations": { FORCE_SYNC: value, "other": "x" } } }),
            )
            .await?;
            let mirrored = json!({ "base": "b", FORCE_SYNC: value });
            rig.is(&a, "first", json!({}), mirrored, &stored).await?;
        }
        rig.change(json!({ "metadata": { "annotations": { FORCE_SYNC: null } } }))
            .await?;
        rig.is(&a, "first", json!({}), base, &stored).await?;

        rig.change(json!({ "spec": { "externalSecretName": "second" } }))
            .await?;
        rig.has(&a, &["second"]).await?;
        rig.change(json!({ "spec": { "externalSecretName": null } }))
            .await?;
        rig.has(&a, &[&rig.id]).await?;
        rig.listed(&[&a], &[]).await?;
        let status = rig.sets.get(&rig.id).await?.status;
        ensure!(status.and_then(|status| status.external_secret_name) == Some(rig.id.clone()));
        rig.stop(&[a]).await
    })
}

#[test]
fn ces_leaves_what_others_made_and_heals() -> Result<()> {
    // externalsecret.md 1.4, 6.3, E209, E210; a spec that breaks a rule is told where the ExternalSecret would be made
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({})).await?;
        let b = rig.namespace("ces-b", json!({})).await?;
        let theirs = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret", "metadata": { "name": "taken", "labels": { "mine": "1" } },
            "spec": { "data": [{ "secretKey": "theirs", "remoteRef": { "key": "/a" } }] },
        });
        let theirs = rig
            .external_secrets(&a)
            .create(&PostParams::default(), &serde_json::from_value(theirs)?)
            .await?;
        rig.create(json!({ "externalSecretName": "taken" })).await?;
        rig.listed(&[&b], &[(&a, TAKEN)]).await?;
        let found = rig.external_secrets(&a).get("taken").await?;
        ensure!(found.resource_version() == theirs.resource_version());
        ensure!(!rig.is_held(&a).await?);
        rig.external_secrets(&a)
            .delete("taken", &DeleteParams::default())
            .await?;
        rig.change(json!({ "metadata": { "labels": { "poke": "1" } } }))
            .await?;
        rig.listed(&[&a, &b], &[]).await?;
        rig.has(&a, &["taken"]).await?;

        // A second one that wants the same name.
        let rival = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "metadata": { "name": format!("{}-2", rig.id) },
            "spec": { "externalSecretName": "taken", "namespaces": [&a], "externalSecretSpec": spec() },
        });
        let rival = rig
            .sets
            .create(&PostParams::default(), &serde_json::from_value(rival)?)
            .await?;
        eventually(PATIENCE, "the rival fails", async || {
            let status = rig.sets.get_status(&rival.name_any()).await?.status;
            let failed = status
                .map(|status| status.failed_namespaces)
                .unwrap_or_default();
            Ok(failed
                .first()
                .is_some_and(|failed| failed.reason.as_deref() == Some(TAKEN))
                .then_some(()))
        })
        .await?;
        rig.sets
            .delete(&rival.name_any(), &DeleteParams::default())
            .await?;

        // What the API server refuses is told where it would be written; the rest goes on.
        let policy = format!("frozen-{}", rig.id);
        rig.cx.apply(&refusal(&policy, &a, "UPDATE")).await?;
        eventually(PATIENCE, "updates are refused", async || {
            let (parameters, patch) = (
                PatchParams {
                    dry_run: true,
                    ..PatchParams::default()
                },
                json!({ "spec": { "refreshInterval": "2h" } }),
            );
            let answer = rig
                .external_secrets(&a)
                .patch("taken", &parameters, &Patch::Merge(patch))
                .await;
            Ok(answer.is_err().then_some(()))
        })
        .await?;
        // Nothing at all to fetch: admitted here, as upstream admits it.
        rig.change(json!({ "spec": { "externalSecretSpec": { "data": [] } } }))
            .await?;
        rig.listed(
            &[&b],
            &[(&a, "could not create or update ExternalSecret: ")],
        )
        .await?;
        rig.has(&a, &["taken"]).await?;
        rig.lift(&policy).await?;
        rig.change(json!({ "spec": { "externalSecretSpec": spec() } }))
            .await?;
        rig.listed(&[&a, &b], &[]).await?;
        rig.stop(&[a, b]).await
    })
}

#[test]
fn ces_lets_namespaces_end_and_takes_everything_along() -> Result<()> {
    // externalsecret.md 6.3, 6.4, 8.1, D-03, D-04
    let _one = ONE.lock();
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(cx).await?;
        let a = rig.namespace("ces-a", json!({})).await?;
        let b = rig.namespace("ces-b", json!({})).await?;
        let c = rig.namespace("ces-c", json!({})).await?;
        rig.create(json!({})).await?;
        rig.listed(&[&a, &b, &c], &[]).await?;

        // A deletion that is refused: the namespace stays listed, and is tried again until it works.
        let policy = format!("keep-{}", rig.id);
        rig.cx.apply(&refusal(&policy, &b, "DELETE")).await?;
        eventually(PATIENCE, "deletions are refused", async || {
            let parameters = DeleteParams::default().dry_run();
            let answer = rig.external_secrets(&b).delete(&rig.id, &parameters).await;
            Ok(answer.is_err().then_some(()))
        })
        .await?;
        rig.label(&b, json!({ "grp": null })).await?;
        rig.listed(&[&a, &b, &c], &[(&b, "could not delete ExternalSecret: ")])
            .await?;
        rig.has(&b, &[&rig.id]).await?;
        rig.lift(&policy).await?;
        rig.listed(&[&a, &c], &[]).await?;
        rig.has(&b, &[]).await?;

        rig.namespaces.delete(&c, &DeleteParams::default()).await?;
        rig.listed(&[&a], &[]).await?;
        eventually(PATIENCE, "the namespace is gone", async || {
            Ok(rig.namespaces.get_opt(&c).await?.is_none().then_some(()))
        })
        .await?;

        // A namespace that is marked but in no status, as after a crash.
        let mark = json!({ "metadata": { "finalizers": [format!("externalsecrets.external-secrets.io/ces-{}", rig.id)] } });
        rig.namespaces
            .patch(&b, &PatchParams::default(), &Patch::Merge(mark))
            .await?;
        rig.gone().await?;
        for namespace in [&a, &b] {
            rig.has(namespace, &[]).await?;
        }
        eventually(PATIENCE, "its series are gone", async || {
            Ok((!rig.metrics()?.contains(&rig.id)).then_some(()))
        })
        .await?;
        rig.create(json!({})).await?;
        rig.listed(&[&a], &[]).await?;
        rig.stop(&[a, b]).await
    })
}

/// A policy that refuses an operation on ExternalSecrets in a namespace.
fn refusal(name: &str, namespace: &str, operation: &str) -> String {
    latchkey_e2e::list(&[
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicy", "metadata": { "name": name },
            "spec": {
                "matchConstraints": { "resourceRules": [{
                    "apiGroups": ["external-secrets.io"], "apiVersions": ["v1"], "operations": [operation], "resources": ["externalsecrets"],
                }] },
                "validations": [{ "expression": "false", "message": "not now" }],
            },
        }),
        json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingAdmissionPolicyBinding", "metadata": { "name": name },
            "spec": {
                "policyName": name, "validationActions": ["Deny"],
                "matchResources": { "namespaceSelector": { "matchLabels": { "kubernetes.io/metadata.name": namespace } } },
            },
        }),
    ])
}
