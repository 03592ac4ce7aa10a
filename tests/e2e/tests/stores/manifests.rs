//! What tests put into a world.

use anyhow::Result;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, Patch, PatchParams};
use latchkey_cluster::eventually;
use serde_json::{Value, json};

use super::support::{LABEL, PATIENCE, STORES, World, dynamic};

const VERSION: &str = "secretstore.external-secrets.io/v2alpha1";
const FAKES: &str = "provider.secretstore.external-secrets.io";

impl World {
    /// Gives the Fake `name` in a namespace these values, and the rest of its spec.
    pub(crate) async fn fake_in(
        &self,
        namespace: &str,
        name: &str,
        values: &[(&str, &str)],
        rest: Value,
    ) -> Result<()> {
        let data: Vec<Value> = values
            .iter()
            .map(|(key, value)| json!({ "key": key, "value": value }))
            .collect();
        let mut spec = json!({ "data": data });
        merge(&mut spec, rest);
        let fake = json!({
            "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1", "kind": "Fake",
            "metadata": { "name": name, "namespace": namespace }, "spec": spec,
        });
        let fakes = dynamic(FAKES, "Fake");
        let fakes: Api<DynamicObject> = Api::namespaced_with(self.cx.client(), namespace, &fakes);
        let parameters = PatchParams::apply("test").force();
        fakes.patch(name, &parameters, &Patch::Apply(&fake)).await?;
        Ok(())
    }

    /// The same in the world's namespace.
    pub(crate) async fn fake(&self, name: &str, values: &[(&str, &str)]) -> Result<()> {
        self.fake_in(self.cx.namespace(), name, values, json!({}))
            .await
    }

    pub(crate) async fn remove_fake(&self, namespace: &str, name: &str) -> Result<()> {
        let fakes = dynamic(FAKES, "Fake");
        let fakes: Api<DynamicObject> = Api::namespaced_with(self.cx.client(), namespace, &fakes);
        fakes.delete(name, &DeleteParams::default()).await?;
        Ok(())
    }

    /// A SecretStore of this world's class over the Fake `fake`; `rest` is added to its spec.
    pub(crate) async fn store(&self, name: &str, fake: &str, rest: Value) -> Result<()> {
        let reference = json!({ "kind": "Fake", "name": fake });
        self.put("SecretStore", name, reference, rest).await
    }

    /// A ClusterSecretStore of this world's class whose Fake is that of `namespace`, if one is given.
    pub(crate) async fn cluster_store(
        &self,
        name: &str,
        fake: &str,
        namespace: Option<&str>,
        rest: Value,
    ) -> Result<()> {
        let mut reference = json!({ "kind": "Fake", "name": fake });
        if let Some(namespace) = namespace {
            reference["namespace"] = json!(namespace);
        }
        self.put("ClusterSecretStore", name, reference, rest).await
    }

    async fn put(&self, kind: &str, name: &str, reference: Value, rest: Value) -> Result<()> {
        let mut spec = json!({
            "controller": self.cx.namespace(),
            "providerConfig": { "address": self.address(), "providerRef": reference },
        });
        if let Some(address) = rest.get("address") {
            spec["providerConfig"]["address"] = address.clone();
        }
        merge(&mut spec, rest);
        if let Some(spec) = spec.as_object_mut() {
            spec.remove("address");
        }
        let store = json!({
            "apiVersion": VERSION, "kind": kind,
            "metadata": { "name": name, "labels": { LABEL: self.cx.namespace() } }, "spec": spec,
        });
        self.cx.apply(&store.to_string()).await.map(drop)
    }

    pub(crate) async fn delete_store(&self, kind: &str, name: &str) -> Result<()> {
        let kind = format!("{}s.{STORES}", kind.to_lowercase());
        self.cx.kubectl(&["delete", &kind, name]).await.map(drop)
    }

    /// An ExternalSecret; `reference` is merged into one with the API of stores here.
    pub(crate) async fn ask(&self, name: &str, reference: Value, spec: Value) -> Result<()> {
        let mut store = json!({ "apiVersion": VERSION });
        merge(&mut store, reference);
        let mut full = json!({ "refreshInterval": "1h", "secretStoreRef": store });
        merge(&mut full, spec);
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": name }, "spec": full,
        });
        self.cx.apply(&object.to_string()).await.map(drop)
    }

    /// Makes an object due whatever its interval.
    pub(crate) async fn force(&self, name: &str, value: &str) -> Result<()> {
        let patch = json!({ "metadata": { "annotations": { "force-sync": value } } });
        self.objects
            .patch(name, &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        Ok(())
    }

    /// Makes an object due, and waits until it was synced anew.
    pub(crate) async fn refresh(&self, name: &str, value: &str) -> Result<()> {
        let version = async || {
            let status = self.objects.get(name).await?.status.unwrap_or_default();
            anyhow::Ok(status.synced_resource_version)
        };
        let before = version().await?;
        self.force(name, value).await?;
        eventually(PATIENCE, &format!("{name} is synced anew"), async || {
            Ok((version().await? != before).then_some(()))
        })
        .await
    }
}

fn merge(into: &mut Value, from: Value) {
    if let (Value::Object(into), Value::Object(from)) = (into, from) {
        into.extend(from);
    }
}
