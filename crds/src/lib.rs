//! Custom resource types and the YAML generated from them.
//!
//! | Module | Group and kinds |
//! |---|---|
//! | [`external_secret`] | `external-secrets.io/v1` ExternalSecret |
//! | [`cluster_external_secret`] | `external-secrets.io/v1` ClusterExternalSecret |
//! | [`secret_store`] | `secretstore.external-secrets.io/v2alpha1` SecretStore and ClusterSecretStore |
//! | [`provider_fake`], [`provider_vault`] | `provider.secretstore.external-secrets.io/v2alpha1` Fake and HashicorpVault |
//! | [`generator`] | `generator.external-secrets.io/v2alpha1` Generator and ClusterGenerator |
//! | [`generator_state`] | `generators.external-secrets.io/v1alpha1` GeneratorState |
//! | [`provider_generators`] | `provider.generator.external-secrets.io/v2alpha1` Password, UUID and Fake |
//! | [`conditions`], [`selectors`] | parts that several kinds share |
//! | [`manifests`] | the CustomResourceDefinitions, as `crdgen` writes them into the charts |
//!
//! The doc comments of fields are the users' documentation: they end in `kubectl explain`. Whatever a schema, its CEL
//! rules and the chart's admission policies refuse, the code checks again, because an object may have been stored before the rule existed.
//!
//! Durations stay text here and are parsed by accessor methods, so that a malformed one fails where it is used, on that object
//! alone, and never the decoding of a whole list.

#![expect(
    unreachable_pub,
    reason = "KubeSchema repeats each struct, with its pub, inside a function"
)]
#![expect(
    clippy::duplicated_attributes,
    reason = "each print column of a kind has a type"
)]

pub mod cluster_external_secret;
pub mod conditions;
pub mod duration;
pub mod external_secret;
pub mod generator;
pub mod generator_state;
pub mod manifests;
pub mod provider_fake;
pub mod provider_generators;
pub mod provider_vault;
pub mod secret_store;
pub mod selectors;
mod text_enum;

/// The category that `kubectl get external-secrets` lists.
pub const CATEGORY: &str = "external-secrets";
/// The label that every CustomResourceDefinition carries, with value `controller`.
pub const COMPONENT_LABEL: &str = "external-secrets.io/component";
