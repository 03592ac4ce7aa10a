//! The four kinds that are validated: two of stores, two of generators.

use std::fmt::Debug;

use kube::api::Api;
use kube::core::{DeserializeGuard, NamespaceResourceScope};
use kube::runtime::reflector::ObjectRef;
use kube::{Client, Resource};
use latchkey_crds::generator::{ClusterGenerator, Generator};
use latchkey_crds::secret_store::{ClusterSecretStore, SecretStore};
use serde::de::DeserializeOwned;

use crate::stores::{Store, StoreKey};

/// What the four kinds have in common.
pub(super) trait Kind:
    Resource<DynamicType = ()>
    + Clone
    + Debug
    + DeserializeOwned
    + serde::Serialize
    + Send
    + Sync
    + 'static
{
    /// Several of them, in words.
    const KINDS: &'static str;

    fn key(namespace: &str, name: &str) -> StoreKey;
    fn store(&self) -> Store;
    fn api(client: Client, namespace: &str) -> Api<Self>;
}

impl Kind for SecretStore {
    const KINDS: &'static str = "SecretStores";

    fn key(namespace: &str, name: &str) -> StoreKey {
        StoreKey::namespaced(namespace, name)
    }

    fn store(&self) -> Store {
        Store::from(self)
    }

    fn api(client: Client, namespace: &str) -> Api<Self> {
        in_namespace(client, namespace)
    }
}

impl Kind for ClusterSecretStore {
    const KINDS: &'static str = "ClusterSecretStores";

    fn key(_: &str, name: &str) -> StoreKey {
        StoreKey::cluster(name)
    }

    fn store(&self) -> Store {
        Store::from(self)
    }

    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

impl Kind for Generator {
    const KINDS: &'static str = "Generators";

    fn key(namespace: &str, name: &str) -> StoreKey {
        StoreKey::generator(namespace, name)
    }

    fn store(&self) -> Store {
        Store::from(self)
    }

    fn api(client: Client, namespace: &str) -> Api<Self> {
        in_namespace(client, namespace)
    }
}

impl Kind for ClusterGenerator {
    const KINDS: &'static str = "ClusterGenerators";

    fn key(_: &str, name: &str) -> StoreKey {
        StoreKey::cluster_generator(name)
    }

    fn store(&self) -> Store {
        Store::from(self)
    }

    fn api(client: Client, _: &str) -> Api<Self> {
        Api::all(client)
    }
}

/// The store as the controller of its kind knows it; `None` if it is of another kind.
pub(super) fn reference<K: Kind>(store: &StoreKey) -> Option<ObjectRef<DeserializeGuard<K>>>
where
    DeserializeGuard<K>: Resource<DynamicType = ()>,
{
    let is_of_kind = K::key(&store.namespace, &store.name) == *store;
    let object = is_of_kind.then(|| ObjectRef::new(&store.name))?;
    Some(if store.is_cluster() {
        object
    } else {
        object.within(&store.namespace)
    })
}

fn in_namespace<K: Resource<Scope = NamespaceResourceScope, DynamicType = ()>>(
    client: Client,
    namespace: &str,
) -> Api<K> {
    Api::namespaced(client, namespace)
}
