//! A controller that runs inside the test, with the rights that the chart gives it, and one ClusterExternalSecret.

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
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

/// How long anything may take. Much longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(30);
const FINALIZER: &str = "externalsecrets.external-secrets.io/clusterexternalsecret-cleanup";

const DEFINITIONS: [&str; 2] = [
    include_str!("../../../../charts/latchkey/crds/external-secrets.io_externalsecrets.yaml"),
    include_str!(
        "../../../../charts/latchkey/crds/external-secrets.io_clusterexternalsecrets.yaml"
    ),
];

pub(crate) fn spec() -> Value {
    json!({
        "secretStoreRef": { "name": "well", "kind": "ClusterSecretStore" },
        "data": [{ "secretKey": "a", "remoteRef": { "key": "/a" } }],
    })
}

/// A running controller and one ClusterExternalSecret of a name and a label value of its own.
pub(crate) struct Rig {
    pub(crate) cx: Context,
    /// Name of the set; its namespaces have it as the value of their label `grp`.
    pub(crate) id: String,
    pub(crate) sets: Api<ClusterExternalSecret>,
    pub(crate) namespaces: Api<Namespace>,
    rights: Rights,
    metrics: Metrics,
    registry: Registry,
    stop: CancellationToken,
    task: JoinHandle<Result<(), Error>>,
}

/// The rights that the chart gives the role sync, and no others.
struct Rights {
    /// One that has them.
    client: Client,
    /// What gives them; cluster-wide objects of it must be taken away again.
    manifests: String,
}

// === impl Rights ===

impl Rights {
    async fn give(cx: &Context) -> Result<Self> {
        let chart = root().join("charts/latchkey");
        // A name of its own for each test: they run side by side, and the rights name the account of one namespace.
        let release = format!("ces-{:08x}", rand::random::<u32>());
        let arguments = [
            "template",
            &release,
            &chart.to_string_lossy(),
            "--show-only=templates/sync-rbac.yaml",
        ];
        let manifests = cx.helm(&arguments).await?;
        cx.apply(&manifests).await?;
        let kubeconfig = Kubeconfig::read_from(cx.cluster().layout().kubeconfig())?;
        let mut config =
            Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?;
        let namespace = cx.namespace();
        let account = format!("system:serviceaccount:{namespace}:{release}-latchkey-node");
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
        Ok(Self { client, manifests })
    }

    async fn take_away(&self, cx: &Context) -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        std::fs::write(file.path(), &self.manifests)?;
        let path = file.path().to_string_lossy();
        cx.kubectl(&["delete", "--filename", &path, "--wait=false"])
            .await?;
        Ok(())
    }
}

impl Rig {
    pub(crate) async fn start(cx: Context) -> Result<Self> {
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
        let rights = Rights::give(&cx).await?;
        let client = rights.client.clone();
        let run = cluster_external_secrets::run(client, metrics.clone(), stop.clone());
        Ok(Self {
            rights,
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
    pub(crate) async fn stop(mut self, namespaces: &[String]) -> Result<()> {
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
        self.rights.take_away(&self.cx).await
    }

    /// Ends the controller and starts another one.
    pub(crate) async fn restart(&mut self) -> Result<()> {
        self.stop.cancel();
        tokio::time::timeout(PATIENCE, &mut self.task)
            .await
            .context("the controller did not end")???;
        self.stop = CancellationToken::new();
        let (client, metrics) = (self.rights.client.clone(), self.metrics.clone());
        let run = cluster_external_secrets::run(client, metrics, self.stop.clone());
        self.task = tokio::spawn(run);
        Ok(())
    }

    /// Deletes the set and waits until it is gone.
    pub(crate) async fn gone(&self) -> Result<()> {
        self.sets.delete(&self.id, &DeleteParams::default()).await?;
        eventually(PATIENCE, "the set is gone", async || {
            Ok(self.sets.get_opt(&self.id).await?.is_none().then_some(()))
        })
        .await
    }

    /// A namespace with the label that selects it, and further ones.
    pub(crate) async fn namespace(&self, hint: &str, labels: Value) -> Result<String> {
        let name = self.cx.new_namespace(hint).await?;
        let mut all = json!({ "grp": self.id });
        all.as_object_mut()
            .into_iter()
            .for_each(|all| all.extend(labels.as_object().cloned().unwrap_or_default()));
        self.label(&name, all).await?;
        Ok(name)
    }

    pub(crate) async fn label(&self, namespace: &str, labels: Value) -> Result<()> {
        let patch = json!({ "metadata": { "labels": labels } });
        self.namespaces
            .patch(namespace, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Makes the set with our label as its selector; `fields` of its spec come on top.
    pub(crate) async fn create(&self, fields: Value) -> Result<()> {
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

    pub(crate) async fn change(&self, patch: Value) -> Result<()> {
        self.sets
            .patch(&self.id, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Waits until the status lists exactly these namespaces.
    pub(crate) async fn listed(
        &self,
        provisioned: &[&String],
        failed: &[(&String, &str)],
    ) -> Result<()> {
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
    pub(crate) async fn lift(&self, policy: &str) -> Result<()> {
        for kind in [
            "validatingadmissionpolicybinding",
            "validatingadmissionpolicy",
        ] {
            self.cx.kubectl(&["delete", kind, policy]).await?;
        }
        Ok(())
    }

    pub(crate) fn external_secrets(&self, namespace: &str) -> Api<DynamicObject> {
        let resource = ApiResource::erase::<ExternalSecret>(&());
        Api::namespaced_with(self.cx.client(), namespace, &resource)
    }

    /// Names of the ExternalSecrets of a namespace.
    pub(crate) async fn names(&self, namespace: &str) -> Result<Vec<String>> {
        let list = self
            .external_secrets(namespace)
            .list(&ListParams::default())
            .await?;
        Ok(list.items.iter().map(ResourceExt::name_any).collect())
    }

    /// Waits until the namespace has exactly these ExternalSecrets, and our finalizer if it has any.
    pub(crate) async fn has(&self, namespace: &str, names: &[&str]) -> Result<()> {
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

    pub(crate) async fn is_held(&self, namespace: &str) -> Result<bool> {
        let finalizer = format!("externalsecrets.external-secrets.io/ces-{}", self.id);
        let namespace = self.namespaces.get(namespace).await?;
        Ok(namespace.finalizers().contains(&finalizer))
    }

    /// Waits until the ExternalSecret has these labels, annotations and spec, and the set as its one owner.
    pub(crate) async fn is(
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

    pub(crate) fn metrics(&self) -> Result<String> {
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

/// A policy that refuses an operation on ExternalSecrets in a namespace.
pub(crate) fn refusal(name: &str, namespace: &str, operation: &str) -> String {
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
