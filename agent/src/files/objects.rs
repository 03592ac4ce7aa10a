//! What the cluster is elsewhere: the ExternalSecrets of the file, the stores that its providers stand for, and the way to them.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use futures::StreamExt as _;
use futures::future::BoxFuture;
use futures::stream::BoxStream;
use latchkey_crds::external_secret::{ExternalSecret, Find, RemoteRef, SecretStoreRef};
use latchkey_engine::source::{Caller, FailureClass, FetchError, Source, Standing};
use latchkey_engine::template::{ObjectError, ObjectKind, TemplateObjects};
use latchkey_secret::{SecretData, SecretValue};
use latchkey_transport::{FileNames, Identity};
use parking_lot::RwLock;
use tokio::sync::watch;
use tokio_stream::wrappers::WatchStream;
use tokio_util::sync::{CancellationToken, DropGuard};
use tracing::warn;

use super::config::{self, Config, Provider};
use crate::providers::{
    Identities, OwnIdentity, PodTokens, Pool, ProviderSource, Providers, Tokens,
};
use crate::stores::{ReadError, Store, StoreKey, StoreReader};
use crate::volumes::objects::{ObjectKey, Objects, Sight};

/// Time between two looks at the TLS files of a provider.
const IDENTITY_INTERVAL: Duration = Duration::from_secs(5);

/// The ExternalSecrets of the file as it is now. Clones share them.
#[derive(Clone)]
pub(super) struct Specs(Arc<watch::Sender<Arc<ByKey>>>);

type ByKey = HashMap<ObjectKey, ExternalSecret>;

/// The providers of the file as it is now. Clones share them.
#[derive(Clone)]
pub(super) struct Sources {
    current: Arc<RwLock<BTreeMap<StoreKey, Arc<Reach>>>>,
    pool: Pool,
}

/// A provider with its connection.
struct Reach {
    definition: Provider,
    store: Arc<Store>,
    source: ProviderSource<One>,
    /// Ends the look at its TLS files.
    _following: DropGuard,
}

/// A reader of one store.
#[derive(Clone)]
struct One(Arc<Store>);

/// There are no objects that a template could name; the configuration says so before.
pub(super) struct NoObjects;

// === impl Specs ===

impl Specs {
    pub(super) fn new() -> Self {
        Self(Arc::new(watch::Sender::new(Arc::default())))
    }

    /// Takes the objects of `config`. One that changed, or whose providers changed, gets another generation: that is what makes
    /// it fetched anew.
    pub(super) fn apply(&self, config: &Config, changed: &BTreeSet<StoreKey>) {
        let before = Arc::clone(&self.0.borrow());
        let mut after = ByKey::new();
        for entry in config.entries.values() {
            let Some(key) = entry.plan.key.object() else {
                continue;
            };
            let mut object = entry.object.clone();
            let earlier = before.get(&key);
            let generation = earlier.and_then(|earlier| earlier.metadata.generation);
            let is_same = earlier.is_some_and(|earlier| earlier.spec == object.spec);
            let is_moved = object
                .spec
                .store_refs()
                .any(|store| changed.contains(&config::store_key(store, &key.namespace)));
            let step = i64::from(!is_same || is_moved);
            object.metadata.generation = Some(generation.unwrap_or(0) + step);
            after.insert(key, object);
        }
        self.0.send_replace(Arc::new(after));
    }
}

impl Objects for Specs {
    fn follow(&self, key: &ObjectKey) -> BoxStream<'static, Sight> {
        let key = key.clone();
        WatchStream::new(self.0.subscribe())
            .map(move |objects| match objects.get(&key) {
                Some(object) => Sight::Present(Box::new(object.clone())),
                None => Sight::Missing,
            })
            .boxed()
    }
}

// === impl Sources ===

impl Sources {
    pub(super) fn new(pool: Pool) -> Self {
        Self {
            current: Arc::default(),
            pool,
        }
    }

    /// Takes the providers of `config`; returns those that are others than before. Reads TLS files.
    pub(super) async fn apply(&self, config: &Config) -> BTreeSet<StoreKey> {
        let before = self.current.read().clone();
        let mut after = BTreeMap::new();
        let mut changed = BTreeSet::new();
        for (key, definition) in &config.providers {
            let earlier = before.get(key);
            if let Some(earlier) = earlier.filter(|earlier| earlier.definition == *definition) {
                after.insert(key.clone(), Arc::clone(earlier));
                continue;
            }
            changed.insert(key.clone());
            let generation = earlier.and_then(|earlier| earlier.store.generation);
            let reach = self.reach(definition, generation.unwrap_or(0) + 1).await;
            after.insert(key.clone(), Arc::new(reach));
        }
        *self.current.write() = after;
        changed
    }

    async fn reach(&self, definition: &Provider, generation: i64) -> Reach {
        let mut store = definition.store.clone();
        store.generation = Some(generation);
        let store = Arc::new(store);
        let own = OwnIdentity::new(format!("files {}", definition.cert.display()));
        let stop = CancellationToken::new();
        let mut told = String::new();
        load_identity(definition, &own, &mut told).await;
        // Owned by the guard: ends when the provider leaves the file.
        tokio::spawn(follow_identity(
            definition.clone(),
            own.clone(),
            told,
            stop.clone(),
        ));
        let providers = Providers {
            policy: config::policy(),
            identities: Identities::from_files(own, "/nonexistent".into(), String::new()),
            tokens: Arc::new(Tokens::none()),
            pool: self.pool.clone(),
            timeout: definition.timeout,
        };
        Reach {
            definition: definition.clone(),
            source: ProviderSource::for_volumes(
                Arc::new(One(Arc::clone(&store))),
                Arc::new(providers),
                Arc::new(PodTokens::new("")),
            ),
            store,
            _following: stop.drop_guard(),
        }
    }

    fn find(
        &self,
        caller: &Caller,
        reference: &SecretStoreRef,
    ) -> Result<ProviderSource<One>, FetchError> {
        let key = config::store_of_caller(caller, reference);
        match self.current.read().get(&key) {
            Some(reach) => Ok(reach.source.clone()),
            None => Err(FetchError::Failed {
                class: FailureClass::StoreMissing,
                message: format!("no provider stands for {key}"),
                retry_after: None,
            }),
        }
    }
}

impl Source for Sources {
    async fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        let source = self.find(caller, store)?;
        source.secret(caller, store, remote).await
    }

    async fn secret_map(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<BTreeMap<String, SecretValue>, FetchError> {
        let source = self.find(caller, store)?;
        source.secret_map(caller, store, remote).await
    }

    async fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        let source = Self::find(self, caller, store)?;
        source.find(caller, store, find).await
    }

    async fn standing(
        &self,
        caller: &Caller,
        stores: &[&SecretStoreRef],
    ) -> Result<Standing, FetchError> {
        let mut all = Vec::with_capacity(stores.len());
        for store in stores {
            let source = Self::find(self, caller, store)?;
            all.extend(source.standing(caller, &[*store]).await?.0);
        }
        Ok(Standing(all))
    }
}

impl StoreReader for One {
    async fn store(&self, key: &StoreKey) -> Result<Arc<Store>, ReadError> {
        if *key == self.0.key {
            Ok(Arc::clone(&self.0))
        } else {
            Err(ReadError::Missing)
        }
    }

    async fn namespace_labels(&self, _: &str) -> Result<Arc<BTreeMap<String, String>>, ReadError> {
        Ok(Arc::default())
    }
}

/// Keeps the identity equal to the three files of a provider until `stop`.
async fn follow_identity(
    definition: Provider,
    own: OwnIdentity,
    mut told: String,
    stop: CancellationToken,
) {
    loop {
        tokio::select! {
            () = stop.cancelled() => return,
            () = tokio::time::sleep(IDENTITY_INTERVAL) => {}
        }
        load_identity(&definition, &own, &mut told).await;
    }
}

/// `told` is what was last complained about.
async fn load_identity(definition: &Provider, own: &OwnIdentity, told: &mut String) {
    let text = |path: &Path| path.to_string_lossy().into_owned();
    // Absolute names, so that the three may be in three directories.
    let names = FileNames {
        authority: text(&definition.ca),
        certificate: text(&definition.cert),
        key: text(&definition.key),
    };
    let read = tokio::task::spawn_blocking(move || {
        Identity::from_directory(Path::new("/"), &names).map_err(|error| super::chain(&error))
    });
    match read.await.unwrap_or_else(|error| Err(error.to_string())) {
        Ok(identity) => {
            told.clear();
            own.set(identity);
        }
        Err(reason) if reason != *told => {
            warn!(provider = %definition.store.key, reason, "the TLS files of a provider cannot be used");
            *told = reason;
        }
        Err(_) => {}
    }
}

impl TemplateObjects for NoObjects {
    fn read<'a>(
        &'a self,
        _: &'a str,
        _: ObjectKind,
        name: &'a str,
        _: &'a BTreeSet<&'a str>,
    ) -> BoxFuture<'a, Result<SecretData, ObjectError>> {
        let refused = ObjectError::Refused(format!("there is no object {name} without Kubernetes"));
        Box::pin(std::future::ready(Err(refused)))
    }
}
