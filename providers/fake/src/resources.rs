//! Where Fake resources come from: the cluster, or a map.

use std::collections::BTreeMap;
use std::future::Future;
use std::sync::Arc;

use latchkey_crds::provider_fake::Fake;
use latchkey_provider_sdk::{Cluster, ErrorClass, ProviderError, RequestContext, Result};
use parking_lot::Mutex;

/// A way to the resource that a request names.
pub trait Resources: Send + Sync + 'static {
    /// Reads the resource.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::ConfigNotFound`] if there is none; never [`ErrorClass::SecretNotFound`].
    fn fake(&self, context: &RequestContext) -> impl Future<Output = Result<Arc<Fake>>> + Send;
}

/// Resources given by the program.
#[derive(Clone, Default)]
pub struct FixedResources(Arc<Mutex<ByName>>);

/// Resources by namespace and name.
type ByName = BTreeMap<(String, String), Arc<Fake>>;

impl Resources for Cluster {
    async fn fake(&self, context: &RequestContext) -> Result<Arc<Fake>> {
        self.resource::<Fake>(context).await
    }
}

impl Resources for FixedResources {
    async fn fake(&self, context: &RequestContext) -> Result<Arc<Fake>> {
        let reference = context.provider();
        let key = (reference.namespace.clone(), reference.name.clone());
        self.0.lock().get(&key).cloned().ok_or_else(|| {
            ProviderError::new(
                ErrorClass::ConfigNotFound,
                format!(
                    "Fake \"{}\" in namespace \"{}\" does not exist",
                    reference.name, reference.namespace
                ),
            )
        })
    }
}

// === impl FixedResources ===

impl FixedResources {
    /// Adds or replaces a resource, by its own namespace and name.
    pub fn apply(&self, fake: Fake) {
        let key = (
            fake.metadata.namespace.clone().unwrap_or_default(),
            fake.metadata.name.clone().unwrap_or_default(),
        );
        self.0.lock().insert(key, Arc::new(fake));
    }

    /// Removes a resource.
    pub fn remove(&self, namespace: &str, name: &str) {
        self.0
            .lock()
            .remove(&(namespace.to_owned(), name.to_owned()));
    }
}
