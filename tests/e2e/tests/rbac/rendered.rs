//! The charts as helm renders them, and parts of them on the API server.

use anyhow::{Context as _, Result};
use kube::Api;
use kube::api::{DynamicObject, Patch, PatchParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey_cluster::Context;
use latchkey_e2e::root;
use serde_json::Value;

/// The objects that say who may do what.
pub(crate) const RIGHTS: [&str; 5] = [
    "ServiceAccount",
    "Role",
    "RoleBinding",
    "ClusterRole",
    "ClusterRoleBinding",
];

/// Renders a chart as `release` in the test's namespace.
pub(crate) async fn render(
    cx: &Context,
    chart: &str,
    release: &str,
    values: &[String],
) -> Result<Vec<Value>> {
    let chart = root().join("charts").join(chart);
    let chart = chart.to_string_lossy();
    let values = values.iter().map(|value| format!("--set={value}"));
    let values: Vec<String> = values.collect();
    let mut arguments = vec!["template", release, chart.as_ref()];
    arguments.extend(values.iter().map(String::as_str));
    let text = cx.helm(&arguments).await?;
    let objects: Result<Vec<Value>> = text
        .split("\n---\n")
        .map(|document| Ok(serde_saphyr::from_str(document.trim_start_matches("---"))?))
        .collect();
    let mut objects = objects?;
    objects.retain(|object| object["kind"].is_string());
    Ok(objects)
}

/// Those of some kinds.
pub(crate) fn of_kinds(objects: &[Value], kinds: &[&str]) -> Vec<Value> {
    let is_one = |object: &&Value| kinds.iter().any(|kind| object["kind"] == *kind);
    objects.iter().filter(is_one).cloned().collect()
}

/// Applies objects, each in the namespace that it names, or in `namespace`.
pub(crate) async fn apply(cx: &Context, objects: &[Value], namespace: &str) -> Result<()> {
    for object in objects {
        let (api, name) = api(cx, object, namespace)?;
        let parameters = PatchParams::apply("test").force();
        let applied = api.patch(&name, &parameters, &Patch::Apply(object)).await;
        applied.with_context(|| format!("{} {name}", object["kind"]))?;
    }
    Ok(())
}

/// Deletes objects that were applied.
pub(crate) async fn delete(cx: &Context, objects: &[Value], namespace: &str) -> Result<()> {
    for object in objects {
        let (api, name) = api(cx, object, namespace)?;
        match api.delete(&name, &kube::api::DeleteParams::default()).await {
            Ok(_) => {}
            Err(kube::Error::Api(status)) if status.code == 404 => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(())
}

/// Whether an object exists outside namespaces.
pub(crate) fn is_of_cluster(kind: &str) -> bool {
    kind.starts_with("Cluster")
        || kind.starts_with("Validating")
        || [
            "CSIDriver",
            "CustomResourceDefinition",
            "PriorityClass",
            "Namespace",
        ]
        .contains(&kind)
}

fn api(cx: &Context, object: &Value, namespace: &str) -> Result<(Api<DynamicObject>, String)> {
    let text = |value: &Value| value.as_str().map(str::to_owned);
    let kind = text(&object["kind"]).context("an object has a kind")?;
    let name = text(&object["metadata"]["name"]).context("an object has a name")?;
    let version = text(&object["apiVersion"]).context("an object has a version")?;
    let (group, version) = version.split_once('/').unwrap_or(("", &version));
    let resource = ApiResource::from_gvk(&GroupVersionKind::gvk(group, version, &kind));
    if is_of_cluster(&kind) {
        return Ok((Api::all_with(cx.client(), &resource), name));
    }
    let namespace = text(&object["metadata"]["namespace"]).unwrap_or_else(|| namespace.to_owned());
    Ok((
        Api::namespaced_with(cx.client(), &namespace, &resource),
        name,
    ))
}
