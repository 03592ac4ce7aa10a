//! A kind of a test's own, for targets that nothing built in has.

use anyhow::{Result, ensure};
use kube::api::{Api, DynamicObject, GroupVersionKind, PostParams};
use kube::core::ApiResource;
use latchkey_cluster::{Context, eventually};
use serde_json::{Value, json};

use crate::support::PATIENCE;

/// A throw-away kind of the test's own.
pub(super) struct Widgets {
    pub(super) group: String,
    pub(super) api: Api<DynamicObject>,
}

impl Widgets {
    pub(super) async fn define(cx: &Context) -> Result<Self> {
        let group = format!("{}.example.com", cx.namespace());
        let text = json!({ "type": "string" });
        let definition = json!({
            "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
            "metadata": { "name": format!("widgets.{group}") },
            "spec": {
                "group": group, "scope": "Namespaced", "names": { "kind": "Widget", "plural": "widgets" },
                "versions": [{
                    "name": "v1", "served": true, "storage": true, "subresources": { "status": {} },
                    "schema": { "openAPIV3Schema": { "type": "object", "properties": {
                        "spec": { "type": "object", "properties": {
                            "type": text, "replicas": { "type": "integer", "maximum": 9 },
                            "slack": { "type": "object", "properties": { "channel": text, "username": text, "api_url": text } },
                            "rules": { "type": "array", "items": { "type": "object", "properties": { "to": text, "from": text } } },
                        } },
                        "status": { "type": "object", "properties": { "seen": { "type": "integer" } } },
                    } } },
                }],
            },
        });
        cx.apply(&definition.to_string()).await?;
        let name = format!("crd/widgets.{group}");
        cx.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            &name,
        ])
        .await?;
        let kind = GroupVersionKind::gvk(&group, "v1", "Widget");
        let resource = ApiResource::from_gvk_with_plural(&kind, "widgets");
        Ok(Self {
            api: Api::namespaced_with(cx.client(), cx.namespace(), &resource),
            group,
        })
    }

    pub(super) fn manifest(&self) -> Value {
        json!({ "apiVersion": format!("{}/v1", self.group), "kind": "Widget" })
    }

    pub(super) async fn put(
        &self,
        name: &str,
        metadata: Value,
        spec: Value,
    ) -> Result<DynamicObject> {
        let mut object = self.manifest();
        object["metadata"] = metadata;
        object["metadata"]["name"] = json!(name);
        object["spec"] = spec;
        let object = serde_json::from_value(object)?;
        Ok(self.api.create(&PostParams::default(), &object).await?)
    }

    pub(super) async fn holds(&self, name: &str, expected: Value) -> Result<DynamicObject> {
        eventually(PATIENCE, &format!("widget {name}"), async || {
            let widget = self.api.get(name).await?;
            let found = &widget.data["spec"];
            ensure!(*found == expected, "it holds {found}");
            Ok(Some(widget))
        })
        .await
    }

    pub(super) async fn undefine(&self, cx: &Context) -> Result<()> {
        let name = format!("crd/widgets.{}", self.group);
        cx.kubectl(&["delete", "--timeout=60s", &name])
            .await
            .map(drop)
    }
}
