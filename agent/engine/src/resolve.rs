//! From a spec to the data to deliver (`externalsecret.md` 2.3).
//!
//! All values are fetched before any is delivered: one broken entry means that nothing is. Fetches run beside each other within a
//! bound, but their results are taken in the order of the spec, so the outcome and the first error never depend on timing.

mod error;

use futures::StreamExt as _;
use jiff::Timestamp;
use latchkey_crds::external_secret::{
    ConversionStrategy, Data, DataFrom, DecodingStrategy, DeletionPolicy, ExternalSecretSpec, Find,
    GeneratorRef, NullBytePolicy, RemoteRef, SecretStoreRef,
};
use latchkey_secret::{SecretData, SecretValue};

pub use self::error::{EntryError, ResolveError};

use crate::decode;
use crate::keys;
use crate::source::{Caller, FailureClass, FetchError, Source};
use crate::template::Renderer;

/// The most fetches of one ExternalSecret that run at once.
pub const CONCURRENT_FETCHES: usize = 8;

/// What a spec resolved to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Resolution {
    /// The keys and values to deliver. Empty is a legal outcome; the deletion policy says what it means.
    pub data: SecretData,
    /// Entries that were skipped because the provider does not have them, in the order of the spec. Only with deletion policies
    /// other than `Retain`. Each is the message of an event.
    pub missing: Vec<String>,
}

/// What [`resolve_available`] found.
#[derive(Clone, Debug, Default)]
pub struct Available {
    /// What there is. Entries that the provider does not have are listed as missing under every deletion policy.
    pub resolution: Resolution,
    /// The failure that [`resolve`] makes of the first of these entries; `None` if it would skip them too, or if there are none.
    pub failure: Option<ResolveError>,
}

/// One entry of the spec, in the order in which results are merged.
enum Entry<'a> {
    Find {
        index: usize,
        entry: &'a DataFrom,
        find: &'a Find,
    },
    Extract {
        index: usize,
        entry: &'a DataFrom,
        remote: &'a RemoteRef,
    },
    Data {
        index: usize,
        entry: &'a Data,
    },
}

/// What is done with the values of a `dataFrom` entry.
struct Rules<'a> {
    entry: &'a DataFrom,
    conversion: Option<ConversionStrategy>,
    decoding: Option<DecodingStrategy>,
    null_bytes: Option<NullBytePolicy>,
}

/// What all fetches of a spec share.
struct Work<'a, S> {
    spec: &'a ExternalSecretSpec,
    caller: &'a Caller,
    source: &'a S,
    renderer: &'a Renderer,
    now: Timestamp,
}

/// Fetches, decodes and checks everything that `spec` asks for: `dataFrom` in order, then `data` in order, later keys over
/// earlier ones.
///
/// Generators run last, one after the other and each once, when nothing else can fail the fetch any more: what they make may
/// have to be revoked. Their results take the place of their entry all the same.
///
/// Keys are rewritten by `renderer`, with `now` as the time that templates are told.
///
/// # Errors
///
/// The first entry, in the order of the spec and generators last, that failed. A secret that the provider does not have is such a failure under the
/// deletion policy `Retain`; under the others the entry is skipped and listed in [`Resolution::missing`].
///
/// # Cancel safety
///
/// Dropping the future drops all fetches; nothing is left behind.
pub async fn resolve<S: Source>(
    spec: &ExternalSecretSpec,
    caller: &Caller,
    source: &S,
    renderer: &Renderer,
    now: Timestamp,
) -> Result<Resolution, ResolveError> {
    let work = Work {
        spec,
        caller,
        source,
        renderer,
        now,
    };
    let skips_missing = spec.target.deletion_policy() != DeletionPolicy::Retain;
    let (resolution, _) = work.resolve(skips_missing, true).await?;
    Ok(resolution)
}

/// As [`resolve`], for readers that can do with less: what the provider does not have is skipped under every deletion policy, and
/// told beside the rest. Nothing is generated for less than [`resolve`] would return: whoever can do with less asks again soon, and
/// would have values made each time.
///
/// # Errors
///
/// As for [`resolve`], but because a secret is missing only if there are generators.
///
/// # Cancel safety
///
/// As for [`resolve`].
pub async fn resolve_available<S: Source>(
    spec: &ExternalSecretSpec,
    caller: &Caller,
    source: &S,
    renderer: &Renderer,
    now: Timestamp,
) -> Result<Available, ResolveError> {
    let work = Work {
        spec,
        caller,
        source,
        renderer,
        now,
    };
    let is_failure = spec.target.deletion_policy() == DeletionPolicy::Retain;
    let (resolution, failure) = work.resolve(true, !is_failure).await?;
    Ok(Available {
        resolution,
        failure: failure.filter(|_| is_failure),
    })
}

fn generator_of(entry: &DataFrom) -> Option<&GeneratorRef> {
    entry.source_ref.as_ref()?.generator_ref.as_ref()
}

/// The wording says `dataFrom` for entries of `data` too: users match it (`externalsecret.md` D-12).
fn missing_message(error: &ResolveError) -> String {
    match error {
        ResolveError::Find { index, .. }
        | ResolveError::Extract { index, .. }
        | ResolveError::Generator { index, .. } => {
            format!("secret does not exist at provider using spec.dataFrom[{index}]")
        }
        ResolveError::Data { index, key, .. } => {
            format!("secret does not exist at provider using spec.dataFrom[{index}] (key={key})")
        }
    }
}

// === impl Work ===

impl<S: Source> Work<'_, S> {
    /// Everything that the spec asks for, and the first secret that the provider does not have. `makes_for_less`: generators run
    /// although one is missing.
    async fn resolve(
        &self,
        skips_missing: bool,
        makes_for_less: bool,
    ) -> Result<(Resolution, Option<ResolveError>), ResolveError> {
        // Loops and not closures: a closure over borrowed entries, held across an await, keeps callers from spawning this future.
        let mut fetches = Vec::with_capacity(self.spec.data_from.len() + self.spec.data.len());
        let mut generators = Vec::new();
        for (index, entry) in self.spec.data_from.iter().enumerate() {
            // Of several sources in one entry the first of these counts; a store alone is none.
            if let Some(find) = &entry.find {
                fetches.push(self.fetch(Entry::Find { index, entry, find }));
            } else if let Some(remote) = &entry.extract {
                let entry = Entry::Extract {
                    index,
                    entry,
                    remote,
                };
                fetches.push(self.fetch(entry));
            } else if let Some(reference) = generator_of(entry) {
                // Its place is before the fetches that are still to come.
                generators.push((fetches.len(), index, entry, reference));
            }
        }
        for (index, entry) in self.spec.data.iter().enumerate() {
            let entry = Entry::Data { index, entry };
            fetches.push(self.fetch(entry));
        }
        let mut results = futures::stream::iter(fetches).buffered(CONCURRENT_FETCHES);

        let mut resolution = Resolution::default();
        let mut first_missing = None;
        let mut fetched = Vec::with_capacity(self.spec.data_from.len() + self.spec.data.len());
        while let Some(result) = results.next().await {
            match result {
                Ok(data) => fetched.push(data),
                Err(error) if skips_missing && error.is_missing() => {
                    resolution.missing.push(missing_message(&error));
                    fetched.push(SecretData::new());
                    first_missing.get_or_insert(error);
                }
                Err(error) => return Err(error),
            }
        }
        if !makes_for_less
            && !generators.is_empty()
            && let Some(error) = first_missing
        {
            return Err(error);
        }
        for (added, (place, index, entry, reference)) in generators.into_iter().enumerate() {
            let data = self
                .generate(index, entry, reference)
                .await
                .map_err(|cause| ResolveError::Generator { index, cause })?;
            fetched.insert(place + added, data);
        }
        resolution.data.extend(fetched.into_iter().flatten());
        Ok((resolution, first_missing))
    }

    async fn fetch(&self, entry: Entry<'_>) -> Result<SecretData, ResolveError> {
        match entry {
            Entry::Find { index, entry, find } => self
                .find(entry, find)
                .await
                .map_err(|cause| ResolveError::Find { index, cause }),
            Entry::Extract {
                index,
                entry,
                remote,
            } => self
                .extract(entry, remote)
                .await
                .map_err(|cause| ResolveError::Extract { index, cause }),
            Entry::Data { index, entry } => match self.single(entry).await {
                Ok(value) => Ok(SecretData::from([(entry.secret_key.clone(), value)])),
                Err(cause) => Err(ResolveError::Data {
                    index,
                    key: entry.remote_ref.key.clone(),
                    cause,
                }),
            },
        }
    }

    /// The values of a generator are rewritten and their keys checked; nothing is converted or decoded.
    async fn generate(
        &self,
        index: usize,
        entry: &DataFrom,
        reference: &GeneratorRef,
    ) -> Result<SecretData, EntryError> {
        let generated = self.source.generate(self.caller, index, reference).await?;
        let data = self
            .renderer
            .rewrite(&entry.rewrite, generated.data, self.now)
            .await?;
        Ok(keys::validate_keys(data)?)
    }

    async fn find(&self, entry: &DataFrom, find: &Find) -> Result<SecretData, EntryError> {
        let data = self
            .source
            .find(self.caller, self.store_of(entry)?, find)
            .await
            .map_err(|error| match error.is_of_store() {
                true => EntryError::Fetch(error),
                false => EntryError::Find(error),
            })?;
        let rules = Rules {
            entry,
            conversion: find.conversion_strategy,
            decoding: find.decoding_strategy,
            null_bytes: find.null_byte_policy,
        };
        self.apply(&rules, data).await
    }

    async fn extract(
        &self,
        entry: &DataFrom,
        remote: &RemoteRef,
    ) -> Result<SecretData, EntryError> {
        let data = self
            .source
            .secret_map(self.caller, self.store_of(entry)?, remote)
            .await?;
        let rules = Rules {
            entry,
            conversion: remote.conversion_strategy,
            decoding: remote.decoding_strategy,
            null_bytes: remote.null_byte_policy,
        };
        self.apply(&rules, data).await
    }

    /// The store of a `dataFrom` entry.
    fn store_of<'a>(&'a self, entry: &'a DataFrom) -> Result<&'a SecretStoreRef, FetchError> {
        let own = entry.source_ref.as_ref();
        store(self.spec, own.map(|source| source.store_ref.as_ref()))
    }

    /// Everything between the provider's map and the keys of a `dataFrom` entry.
    async fn apply(&self, rules: &Rules<'_>, data: SecretData) -> Result<SecretData, EntryError> {
        let data = if rules.entry.rewrite.is_empty() {
            let strategy = rules.conversion;
            keys::convert_keys(strategy, data)
                .map_err(|cause| EntryError::Conversion { strategy, cause })?
        } else {
            self.renderer
                .rewrite(&rules.entry.rewrite, data, self.now)
                .await?
        };
        let data = keys::validate_keys(data)?;
        let strategy = rules.decoding;
        let data = decode::decode_map(strategy, data)
            .map_err(|cause| EntryError::DecodeMap { strategy, cause })?;
        for (key, value) in &data {
            decode::check_null_bytes(rules.null_bytes, key, value)?;
        }
        Ok(data)
    }

    async fn single(&self, entry: &Data) -> Result<SecretValue, EntryError> {
        let own_store = entry
            .source_ref
            .as_ref()
            .map(|source| source.store_ref.as_ref());
        let value = self
            .source
            .secret(self.caller, store(self.spec, own_store)?, &entry.remote_ref)
            .await?;
        let strategy = entry.remote_ref.decoding_strategy;
        let value = decode::decode(strategy, value)
            .map_err(|cause| EntryError::Decode { strategy, cause })?;
        decode::check_null_bytes(entry.remote_ref.null_byte_policy, &entry.secret_key, &value)?;
        Ok(value)
    }
}

/// Upstream looks for a store without a name, and does not find it.
fn nameless(reference: Option<&SecretStoreRef>) -> String {
    let kind = reference.map(SecretStoreRef::kind).unwrap_or_default();
    let group = match reference.and_then(|reference| reference.api_version.as_deref()) {
        Some(version) if version.starts_with("secretstore.") => "secretstore.external-secrets.io",
        _ => "external-secrets.io",
    };
    format!("could not get {kind} \"\", {kind}.{group} \"\" not found")
}

/// The store of an entry: its own source wholly replaces the default, also when that names no store.
fn store<'a>(
    spec: &'a ExternalSecretSpec,
    own_store: Option<Option<&'a SecretStoreRef>>,
) -> Result<&'a SecretStoreRef, FetchError> {
    let reference = match own_store {
        Some(own) => own,
        None => spec.secret_store_ref.as_ref(),
    };
    reference
        .filter(|reference| !reference.name().is_empty())
        .ok_or_else(|| FetchError::Failed {
            class: FailureClass::StoreMissing,
            message: nameless(reference),
            retry_after: None,
        })
}

#[cfg(test)]
mod tests;
