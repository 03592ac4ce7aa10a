//! Manifests as JSON, in the test's own namespace unless they say otherwise.

use latchkey_cluster::TEST_IMAGE;
use serde_json::{Value, json};

use crate::SYSTEM;

/// Pairs of a remote key and its value.
pub type Values<'a> = &'a [(&'a str, &'a str)];

/// A `v1 List` of `items`, for one `apply`.
#[must_use]
pub fn list(items: &[Value]) -> String {
    json!({"apiVersion": "v1", "kind": "List", "items": items}).to_string()
}

/// A Fake with `values`, and `simulation` if it is not null.
///
/// Each value is written as JSON whose text is escaped character by character: what a test plants is never in the manifest, so
/// that it must not be found in etcd. References therefore carry the property `v`.
#[must_use]
pub fn fake(name: &str, values: Values<'_>, simulation: Value) -> Value {
    let data: Vec<Value> = values
        .iter()
        .map(|(key, value)| json!({"key": key, "value": object(&[("v", value)])}))
        .collect();
    fake_of(name, &data, simulation)
}

/// A Fake with one secret, `key`, an object with these values. Unlike several keys it is read in one call: what an ExternalSecret
/// extracts from it was written together.
#[must_use]
pub fn fake_object(name: &str, key: &str, values: Values<'_>, simulation: Value) -> Value {
    let data = [json!({"key": key, "value": object(values)})];
    fake_of(name, &data, simulation)
}

fn fake_of(name: &str, data: &[Value], simulation: Value) -> Value {
    let mut spec = json!({"data": data});
    if !simulation.is_null() {
        spec["simulation"] = simulation;
    }
    json!({
        "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1",
        "kind": "Fake",
        "metadata": {"name": name},
        "spec": spec,
    })
}

fn object(values: Values<'_>) -> String {
    let member = |(key, value): &(&str, &str)| {
        let text: String = value
            .encode_utf16()
            .map(|unit| format!("\\u{unit:04x}"))
            .collect();
        format!("\"{key}\":\"{text}\"")
    };
    let members: Vec<String> = values.iter().map(member).collect();
    format!("{{{}}}", members.join(","))
}

/// A SecretStore of the Fake `fake`, served by the provider of helm release `release`.
#[must_use]
pub fn store(name: &str, fake: &str, release: &str) -> Value {
    json!({
        "apiVersion": "secretstore.external-secrets.io/v2alpha1",
        "kind": "SecretStore",
        "metadata": {"name": name},
        "spec": {"providerConfig": {
            "address": format!("provider-{release}.{SYSTEM}.svc:8080"),
            "providerRef": {"kind": "Fake", "name": fake},
        }},
    })
}

/// An ExternalSecret for volumes only, whose keys are the remote keys `keys` of store `store`.
#[must_use]
pub fn external_secret(name: &str, store: &str, keys: &[&str], interval: &str) -> Value {
    let data: Vec<Value> = keys
        .iter()
        .map(|key| json!({"secretKey": key, "remoteRef": {"key": key, "property": "v"}}))
        .collect();
    json!({
        "apiVersion": "external-secrets.io/v1",
        "kind": "ExternalSecret",
        "metadata": {"name": name},
        "spec": {
            "refreshInterval": interval,
            "secretStoreRef": {
                "apiVersion": "secretstore.external-secrets.io/v2alpha1",
                "kind": "SecretStore",
                "name": store,
            },
            "target": {"creationPolicy": "None"},
            "data": data,
        },
    })
}

/// A volume of the driver with these attributes.
#[must_use]
pub fn volume(name: &str, attributes: Value) -> Value {
    json!({
        "name": name,
        "csi": {"driver": "csi.latchkey.dev", "readOnly": true, "volumeAttributes": attributes},
    })
}

/// A pod that sleeps, with `volumes` mounted read-only at `/<volume name>`. `node` may be empty for any.
#[must_use]
pub fn pod(name: &str, node: &str, volumes: &[Value]) -> Value {
    let mounts: Vec<Value> = volumes
        .iter()
        .map(|volume| {
            let name = volume["name"].as_str().unwrap_or_default();
            json!({"name": name, "mountPath": format!("/{name}"), "readOnly": true})
        })
        .collect();
    let mut pod = json!({
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": name},
        "spec": {
            // Not zero: that would take the pod from the API server before kubelet has unmounted anything.
            "terminationGracePeriodSeconds": 1,
            "containers": [{
                "name": "main",
                "image": TEST_IMAGE,
                "imagePullPolicy": "Never",
                "command": ["sleep", "86400"],
                "volumeMounts": mounts,
            }],
            "volumes": volumes,
        },
    });
    if !node.is_empty() {
        pod["spec"]["nodeName"] = json!(node);
    }
    pod
}
