//! Certificates without any input: one CA, one client identity for the agents, one server identity per provider Service.
//!
//! | Secret | namespace | keys | owned by |
//! |---|---|---|---|
//! | `latchkey-ca` | release | `ca.crt`, `ca.key`; while a rotation is under way `ca-next.crt`, `ca-next.key`, `ca-previous.crt` | `--owner-service-account` |
//! | `latchkey-client-tls` | release | `ca.crt` (trust bundle), `tls.crt`, `tls.key` | `--owner-service-account` |
//! | `<service>-tls` | the Service's | `ca.crt` (trust bundle), `tls.crt`, `tls.key` | the Service |
//!
//! A Service counts as a provider if it carries the label `external-secrets.io/provider: "true"` and lives in a namespace that the
//! chart allows. A Secret of such a name that does not carry our labels is somebody's own: it is used if it has the right shape and
//! never written (provider-protocol.md 8.2, 8.4, 8.5).
//!
//! The parts: [`authority`] makes certificates, [`decide`] says what is due and why, both pure; [`controller`] reads, decides and
//! writes. It runs in the elected sync leader only. A CA is replaced without a gap: its successor is published in every trust
//! bundle for one whole leaf lifetime before it issues, and the predecessor stays in the bundles until it has expired.

pub mod authority;
pub mod controller;
pub mod decide;

mod metrics;
mod secrets;

pub use controller::{Controller, Settings};
pub use metrics::Metrics;

/// Label of a Service that serves the provider contract; value `"true"`.
pub const PROVIDER_LABEL: &str = "external-secrets.io/provider";

/// Label that marks a Secret as written here.
pub const MANAGED_BY_LABEL: &str = "app.kubernetes.io/managed-by";

/// Value of [`MANAGED_BY_LABEL`].
pub const MANAGED_BY: &str = "latchkey";

/// Label that tells these Secrets from others of this project.
pub const COMPONENT_LABEL: &str = "app.kubernetes.io/component";

/// Value of [`COMPONENT_LABEL`].
pub const COMPONENT: &str = "certificates";

/// Key of the trust bundle, or in the CA's own Secret of its certificate.
pub const CA_CERTIFICATE_KEY: &str = "ca.crt";

/// Key of the CA's private key.
pub const CA_PRIVATE_KEY: &str = "ca.key";

/// Key of a leaf certificate.
pub const CERTIFICATE_KEY: &str = "tls.crt";

/// Key of a leaf's private key.
pub const PRIVATE_KEY: &str = "tls.key";
