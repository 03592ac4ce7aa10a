//! How providers are reached: whose identity is shown, and which tokens accompany calls.
//!
//! With the role `sync` both are read through the API. An agent of the role `node` alone has no right on Secrets: it shows what
//! is mounted into its pod.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use kube::Client;
use prometheus_client::registry::Registry;
use tokio_util::sync::CancellationToken;

use crate::providers::{
    Identities, OwnIdentity, Pool, PoolSettings, ProviderMetrics, Providers, Tokens,
};
use crate::stores::Policy;

/// The settings of all calls.
pub(super) struct Access {
    pub(super) policy: Policy,
    /// Longest time of one attempt.
    pub(super) timeout: Duration,
    pub(super) identities: IdentityOrigin,
}

/// Where the identities that are shown to providers come from.
#[derive(Clone)]
pub(super) enum IdentityOrigin {
    /// From Secrets.
    Secrets {
        /// Namespace of the release.
        namespace: String,
        /// The Secret with the agent's own identity.
        own: String,
    },
    /// From directories that the chart mounts.
    Directories {
        /// The one with the agent's own identity.
        own: PathBuf,
        /// The one with a folder for each store that has its own, named as its Secret.
        stores: PathBuf,
        /// Namespace of the release, where these Secrets are.
        namespace: String,
    },
}

// === impl Access ===

impl Access {
    /// Makes the connections to be and registers their series.
    pub(super) fn open(
        self,
        own: OwnIdentity,
        client: &Client,
        registry: &mut Registry,
    ) -> Providers {
        let metrics = ProviderMetrics::default();
        metrics.register(registry);
        let (identities, tokens) = match self.identities {
            IdentityOrigin::Secrets { .. } => (
                Identities::through_api(own, client.clone()),
                Tokens::through_api(client.clone()),
            ),
            IdentityOrigin::Directories {
                stores, namespace, ..
            } => (
                Identities::from_files(own, stores, namespace),
                Tokens::none(),
            ),
        };
        Providers {
            policy: self.policy,
            identities,
            tokens: Arc::new(tokens),
            pool: Pool::new(PoolSettings::default(), metrics),
            timeout: self.timeout,
        }
    }
}

// === impl IdentityOrigin ===

impl IdentityOrigin {
    /// Keeps the agent's own identity as it is at its origin, until `stop`.
    pub(super) async fn follow(self, own: &OwnIdentity, client: Client, stop: CancellationToken) {
        match self {
            Self::Secrets {
                namespace,
                own: name,
            } => own.follow_secret(client, &namespace, &name, stop).await,
            Self::Directories { own: directory, .. } => own.follow_directory(directory, stop).await,
        }
    }
}

/// The origin of the agent's own identity.
impl fmt::Display for IdentityOrigin {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Secrets { namespace, own } => write!(formatter, "Secret {namespace}/{own}"),
            Self::Directories { own, .. } => write!(formatter, "directory {}", own.display()),
        }
    }
}
