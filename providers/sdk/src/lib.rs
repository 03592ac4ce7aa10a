//! What every provider server shares.
//!
//! A provider server is one process that speaks `provider.v1.SecretStoreProvider` over mutual TLS. Its crate implements
//! [`Provider`] for its backend and calls [`run`](crate::run); everything else is here:
//!
//! - [`error`]: the classes of failure and how they leave the process;
//! - [`request`]: the requests, checked, with the namespace rules;
//! - [`cluster`]: the store's own resource and the credentials it names;
//! - [`json`], [`gjson`]: values that are JSON, and properties in them.

pub mod cluster;
pub mod error;
pub mod gjson;
pub mod json;
pub mod provider;
pub mod request;

pub use cluster::{Cluster, Credential, KeySelector, ServiceAccountSelector, ServiceAccountToken};
pub use error::{ErrorClass, ProviderError, Result};
pub use provider::Provider;
pub use request::{
    Capability, ConversionStrategy, CredentialScope, Find, MetadataPolicy, Operation,
    ProviderReference, Push, PushRemoteRef, RemoteRef, RequestContext, ServedKind, Validation,
    Verdict,
};
