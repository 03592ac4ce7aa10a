//! `generators.external-secrets.io/v1alpha1` GeneratorState: what is left of a value that a generator made, so that it can be
//! revoked (`externalsecret.md` 7.3).

use k8s_openapi::apimachinery::pkg::apis::meta::v1::Time;
use kube::{CustomResource, KubeSchema};
use schemars::{Schema, SchemaGenerator, json_schema};
use serde::{Deserialize, Serialize};
use serde_json::Value;

/// Label with the digest of the consumer's kind, namespace and name and of the entry that the value was made for.
pub const OWNER_KEY_LABEL: &str = "generators.external-secrets.io/owner-key";
/// Finalizer of every GeneratorState: the provider is told before the object goes.
pub const FINALIZER: &str = "generatorstate.externalsecrets.io/finalizer";

/// What is left of a value that a generator made.
#[derive(CustomResource, KubeSchema, Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
#[kube(
    group = "generators.external-secrets.io",
    version = "v1alpha1",
    kind = "GeneratorState",
    plural = "generatorstates",
    namespaced,
    derive = "Default",
    derive = "PartialEq",
    shortname = "gs",
    category = "external-secrets",
    category = "external-secrets-generators",
    doc = "GeneratorState is written by the controller alone. It says how a value that a generator made is revoked, and when.",
    printcolumn(
        name = "GC Deadline",
        type_ = "string",
        json_path = ".spec.garbageCollectionDeadline"
    ),
    printcolumn(
        name = "Age",
        type_ = "date",
        json_path = ".metadata.creationTimestamp"
    )
)]
pub struct GeneratorStateSpec {
    /// From when on this object is deleted and with it the value at the provider. Absent while the value is in use.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub garbage_collection_deadline: Option<Time>,
    /// The generator as it was when it made the value.
    #[schemars(schema_with = "any_json")]
    pub resource: Value,
    /// What the provider needs to find the value again. Only the provider knows its form.
    #[schemars(schema_with = "any_json")]
    pub state: Value,
}

fn any_json(_: &mut SchemaGenerator) -> Schema {
    json_schema!({ "x-kubernetes-preserve-unknown-fields": true })
}
