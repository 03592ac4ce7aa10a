//! The CustomResourceDefinitions as they are installed.
//!
//! What the derives produce is changed in three ways: the component label is added (on the definition, not on every object);
//! `nullable` goes (`null` is refused, or replaced by the default where there is one); and references to specifications, which
//! mean nothing to `kubectl explain`, are cut from descriptions. [`all`] names the file of each definition.

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::CustomResourceExt;
use serde_json::Value;

use crate::COMPONENT_LABEL;
use crate::cluster_external_secret::ClusterExternalSecret;
use crate::external_secret::ExternalSecret;
use crate::generator::{ClusterGenerator, Generator};
use crate::generator_state::GeneratorState;
use crate::provider_fake::Fake;
use crate::provider_generators as generators;
use crate::provider_vault::HashicorpVault;
use crate::secret_store::{ClusterSecretStore, SecretStore};

/// One CustomResourceDefinition and where it is kept.
#[derive(Clone, Debug)]
pub struct Manifest {
    /// Path of the file, relative to the root of the repository.
    pub path: &'static str,
    /// The definition.
    pub definition: Value,
}

/// Fields of this name stay nullable: upstream writes `null` there until the first success.
const NULLABLE: &str = "refreshTime";

/// Every CustomResourceDefinition of the project.
///
/// # Panics
///
/// Never: the definitions are constants of the program, and a test makes them all.
#[must_use]
pub fn all() -> Vec<Manifest> {
    vec![
        manifest(
            "charts/latchkey/crds/external-secrets.io_externalsecrets.yaml",
            &ExternalSecret::crd(),
        ),
        manifest(
            "charts/latchkey/crds/external-secrets.io_clusterexternalsecrets.yaml",
            &ClusterExternalSecret::crd(),
        ),
        manifest(
            "charts/latchkey/crds/secretstore.external-secrets.io_secretstores.yaml",
            &SecretStore::crd(),
        ),
        manifest(
            "charts/latchkey/crds/secretstore.external-secrets.io_clustersecretstores.yaml",
            &ClusterSecretStore::crd(),
        ),
        manifest(
            "charts/latchkey/crds/generator.external-secrets.io_generators.yaml",
            &Generator::crd(),
        ),
        manifest(
            "charts/latchkey/crds/generator.external-secrets.io_clustergenerators.yaml",
            &ClusterGenerator::crd(),
        ),
        manifest(
            "charts/latchkey/crds/generators.external-secrets.io_generatorstates.yaml",
            &GeneratorState::crd(),
        ),
        manifest(
            "charts/provider/crds/provider.generator.external-secrets.io_passwords.yaml",
            &generators::Password::crd(),
        ),
        manifest(
            "charts/provider/crds/provider.generator.external-secrets.io_uuids.yaml",
            &with_default_spec(generators::UUID::crd()),
        ),
        manifest(
            "charts/provider/crds/provider.generator.external-secrets.io_fakes.yaml",
            &generators::Fake::crd(),
        ),
        manifest(
            "charts/provider/crds/provider.secretstore.external-secrets.io_fakes.yaml",
            &Fake::crd(),
        ),
        manifest(
            "charts/provider/crds/provider.secretstore.external-secrets.io_hashicorpvaults.yaml",
            &HashicorpVault::crd(),
        ),
    ]
}

/// Makes the API server add an empty `spec` where there is none, for a kind without settings.
fn with_default_spec(mut definition: CustomResourceDefinition) -> CustomResourceDefinition {
    let schemas = definition
        .spec
        .versions
        .iter_mut()
        .filter_map(|version| version.schema.as_mut()?.open_api_v3_schema.as_mut());
    for spec in schemas.filter_map(|schema| schema.properties.as_mut()?.get_mut("spec")) {
        spec.default = Some(
            k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSON(
                Value::Object(serde_json::Map::new()),
            ),
        );
    }
    definition
}

fn manifest(path: &'static str, definition: &CustomResourceDefinition) -> Manifest {
    let mut definition = serde_json::to_value(definition).expect("a definition is plain data");
    definition["metadata"]["labels"][COMPONENT_LABEL] = "controller".into();
    if let Some(versions) = definition["spec"]["versions"].as_array_mut() {
        for version in versions {
            tighten(&mut version["schema"]["openAPIV3Schema"], false);
        }
    }
    Manifest { path, definition }
}

/// Removes `nullable` and the `null` of enumerations from a schema and everything in it.
fn tighten(schema: &mut Value, keep_nullable: bool) {
    let Some(object) = schema.as_object_mut() else {
        return;
    };
    if !keep_nullable {
        object.remove("nullable");
        if let Some(values) = object.get_mut("enum").and_then(Value::as_array_mut) {
            values.retain(|value| !value.is_null());
        }
    }
    object.remove("title");
    if let Some(description) = object.get_mut("description")
        && let Some(text) = description.as_str()
    {
        *description = without_spec_reference(text).into();
    }
    if let Some(properties) = object.get_mut("properties").and_then(Value::as_object_mut) {
        for (name, property) in properties {
            tighten(property, name == NULLABLE);
        }
    }
    for nested in ["items", "additionalProperties"] {
        if let Some(nested) = object.get_mut(nested) {
            tighten(nested, false);
        }
    }
}

/// Cuts ` (`<specification>.md` <section>)` from a description.
fn without_spec_reference(text: &str) -> String {
    match text.split_once(" (`") {
        Some((before, rest)) if rest.contains(".md`") => {
            format!(
                "{before}{}",
                rest.split_once(')').map_or("", |(_, after)| after)
            )
        }
        _ => text.to_owned(),
    }
}

/// A definition as YAML, behind a line that says where it comes from.
///
/// # Errors
///
/// The YAML writer refuses the definition; it never does.
pub fn to_yaml(definition: &Value) -> Result<String, serde_saphyr::ser_error::Error> {
    let body = serde_saphyr::to_string(definition)?;
    Ok(format!(
        "# Generated by crdgen from the types in crds/src; do not edit.\n---\n{body}"
    ))
}
