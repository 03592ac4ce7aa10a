//! What every provider server shares.
//!
//! A provider server is one process that speaks `provider.v1.SecretStoreProvider`, `generator.v1.GeneratorProvider` or both over
//! mutual TLS. Its crate implements [`Provider`] for its backend and calls [`run_server`]; everything else is here:
//!
//! - [`error`]: the classes of failure and how they leave the process;
//! - [`request`]: the requests, checked, with the namespace rules; [`caller`]: the pod that a read is for;
//! - [`cluster`]: the store's own resource and the credentials it names;
//! - [`trust`]: the authorities that a backend is verified with;
//! - [`json`], [`gjson`]: values that are JSON, and properties in them;
//! - [`read_cache`]: one backend fetch for all reads of a reconcile;
//! - [`service`], [`server`]: the contract, the sockets, health, metrics and drain;
//! - [`args`], [`logging`], [`metrics`]: settings, logs and series that all servers have.

mod admin;
pub mod args;
pub mod caller;
pub mod cluster;
pub mod error;
pub mod gjson;
pub mod json;
pub mod logging;
pub mod metrics;
pub mod provider;
pub mod read_cache;
pub mod request;
pub mod server;
pub mod service;
pub mod trust;

pub use args::ServerArgs;
pub use caller::{Caller, CallerToken};
pub use cluster::{Cluster, Credential, KeySelector, ServiceAccountSelector, ServiceAccountToken};
pub use error::{ErrorClass, ProviderError, Result};
pub use metrics::Metrics;
pub use provider::Provider;
pub use read_cache::ReadCache;
pub use request::{
    Capability, ConversionStrategy, CredentialScope, Find, Generated, GeneratorKind,
    MetadataPolicy, Operation, ProviderReference, Push, PushRemoteRef, RemoteRef, RequestContext,
    ServedKind, Validation, Verdict, name_pattern,
};
pub use server::{Server, ServerContext, ServerError, run_server};
pub use trust::TrustBundle;
