//! One fetch and rendering of one ExternalSecret through the engine, with a panic and an endless wait turned into failures.

use std::panic::AssertUnwindSafe;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt;
use jiff::Timestamp;
use latchkey_crds::external_secret::{ExternalSecret, SecretStoreRef};
use latchkey_csi::backend::FailureClass;
use latchkey_engine::ResolveError;
use latchkey_engine::source::{Caller, FetchError, Source, Standing};
use latchkey_engine::template::Renderer;
use latchkey_secret::SecretData;
use tokio::time::Instant;

use super::attributes::ContentKey;
use super::failure::{Failed, Patience, with_advice};
use super::generated::owner_of;
use super::metrics::Metrics;
use super::shared_reads::SharedReads;
use crate::generators::journal::Journal;
use crate::providers::PodTokens;

/// Longest time of one fetch, all entries and retries of the source included.
const TIMEOUT: Duration = Duration::from_secs(110);

/// The engine, what it asks, and what proves on whose behalf.
pub(super) struct Resolver<S> {
    pub(super) source: Arc<S>,
    pub(super) reads: SharedReads<S>,
    renderer: Arc<Renderer>,
    /// The tokens that `source` shows stores which are read under the identity of pods.
    pub(super) pods: Arc<PodTokens>,
    /// What generators left; without it nothing that they make is ever revoked.
    pub(super) journal: Option<Arc<Journal>>,
}

impl<S: Source + 'static> Resolver<S> {
    pub(super) fn new(
        source: Arc<S>,
        renderer: Arc<Renderer>,
        pods: Arc<PodTokens>,
        metrics: Metrics,
        journal: Option<Arc<Journal>>,
    ) -> Self {
        Self {
            reads: SharedReads::new(Arc::clone(&source), metrics),
            source,
            renderer,
            pods,
            journal,
        }
    }
}

/// What was fetched, and what it rests on.
pub(super) struct Fetched {
    pub(super) data: SecretData,
    /// Why this is not all: the provider does not have a secret. Then the data is for volumes that can do with less.
    pub(super) missing: Option<Failed>,
    /// `None` if that could not be told: then the data is for those who waited for it, and not to be kept for others.
    pub(super) standing: Option<Standing>,
    /// Numbers of what generators left, in the journal.
    pub(super) made: Vec<u64>,
}

/// What the values of `object` rest on now; to be compared before content that is kept is shown to another pod (SB-26).
///
/// # Errors
///
/// A store denies the object's namespace, is gone, or cannot be read.
pub(super) async fn standing<S: Source>(
    resolver: &Resolver<S>,
    key: &ContentKey,
    object: &ExternalSecret,
) -> Result<Standing, FetchError> {
    let mut stores: Vec<&SecretStoreRef> = Vec::new();
    for store in object.spec.store_refs() {
        if !stores.contains(&store) {
            stores.push(store);
        }
    }
    let caller = caller_of(key, object);
    let mut standing = resolver.source.standing(&caller, &stores).await?;
    let generators: Vec<_> = object.spec.generator_refs().collect();
    if !generators.is_empty() {
        let made_by = resolver.source.generators_standing(&caller, &generators);
        standing.0.extend(made_by.await?.0);
    }
    Ok(standing)
}

fn caller_of(key: &ContentKey, object: &ExternalSecret) -> Caller {
    Caller {
        namespace: key.namespace.clone(),
        name: object.metadata.name.clone().unwrap_or_default(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
        pod: key.caller.clone(),
    }
}

/// Fetches what `object` asks for and renders its template: the keys that its Secret would have. Takes no answer of a read that
/// began before `fresh_since`.
///
/// # Errors
///
/// A [`Failed`] that names the object.
pub(super) async fn fetch<S: Source + 'static>(
    resolver: &Resolver<S>,
    key: &ContentKey,
    object: &ExternalSecret,
    fresh_since: Option<Instant>,
) -> Result<Fetched, Failed> {
    let caller = caller_of(key, object);
    let work = resolve(resolver, fresh_since, key, &caller, object);
    let work = AssertUnwindSafe(work).catch_unwind();
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            let text = format!("{key} made the agent fail internally; please report it");
            Err(Failed::new(
                FailureClass::Unavailable,
                Patience::Never,
                text,
            ))
        }
        Err(_) => {
            let text = format!(
                "{key} was not answered within {} s; it is tried again by itself",
                TIMEOUT.as_secs()
            );
            Err(Failed::new(
                FailureClass::Unavailable,
                Patience::Later,
                text,
            ))
        }
    }
}

async fn resolve<S: Source + 'static>(
    resolver: &Resolver<S>,
    fresh_since: Option<Instant>,
    key: &ContentKey,
    caller: &Caller,
    object: &ExternalSecret,
) -> Result<Fetched, Failed> {
    let mistake = |text: &str| mistake_in(key, text);
    // Only this object suffers from it (externalsecret.md D-15).
    object
        .spec
        .refresh_interval()
        .map_err(|error| mistake(&error.to_string()))?;
    // Before the values: a store that changes meanwhile makes them count as old.
    let standing = standing(resolver, key, object).await.ok();
    let wanted = standing.as_ref().map(Standing::caller_scope);
    if let Some(wanted) = wanted.filter(|wanted| *wanted > key.scope()) {
        return Err(Failed::too_wide(&key.to_string(), wanted));
    }
    let renderer = resolver.renderer.as_ref();
    // Whatever ends this early has everything revoked that was made.
    let journal = resolver.journal.as_ref();
    let batch = journal.map(|journal| journal.batch(owner_of(key)));
    let source = &resolver.reads.reader(fresh_since, batch.as_ref());
    let now = Timestamp::now();
    let found = latchkey_engine::resolve_available(&object.spec, caller, source, renderer, now)
        .await
        .map_err(|error| of_resolve(key, &error))?;
    let data = found.resolution.data;
    let missing = match found.failure {
        Some(error) => Some(of_resolve(key, &error)),
        // A volume is never emptied and never starts empty (csi.md R1), unless it says that it can.
        None => data.is_empty().then(|| {
            let text =
                format!("{key} resolves to no keys; fill the remote secret or correct the spec");
            Failed::new(FailureClass::NotFound, Patience::Never, text)
        }),
    };
    let rendered = renderer.render(object, data, now).await;
    let data = match (rendered, &missing) {
        (Ok(rendered), _) => rendered.data,
        // A template that needs what is missing: the cause is told, not the symptom.
        (Err(_), Some(missing)) => return Err(missing.clone()),
        (Err(error), None) => return Err(Failed::of_template(&error, &key.to_string())),
    };
    if data.is_empty() && missing.is_none() {
        return Err(mistake(
            "its template renders no keys, and a volume is never empty",
        ));
    }
    let made = match batch {
        Some(batch) if missing.is_none() => batch.commit().await.map_err(|error| {
            let text = with_advice(&format!("{key}: {error}"), "see the agent's log");
            Failed::new(FailureClass::Unavailable, Patience::Later, text)
        })?,
        _ => Vec::new(),
    };
    Ok(Fetched {
        data,
        missing,
        standing,
        made,
    })
}

fn of_resolve(key: &ContentKey, error: &ResolveError) -> Failed {
    match error.cause().fetch() {
        Some(cause) => Failed::of_fetch(cause, &format!("{key}: {error}")),
        None => mistake_in(key, &error.to_string()),
    }
}

fn mistake_in(key: &ContentKey, text: &str) -> Failed {
    let text = with_advice(&format!("{key}: {text}"), "correct it");
    Failed::new(FailureClass::FailedPrecondition, Patience::Never, text)
}
