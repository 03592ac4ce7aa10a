//! What generators made in one sync.

use latchkey_crds::external_secret::{Find, GeneratorRef, RemoteRef, SecretStoreRef};
use latchkey_engine::source::{
    Caller, FetchError, GenerateError, Generated, GeneratedState, Source,
};
use latchkey_secret::{SecretData, SecretValue};
use parking_lot::Mutex;

/// A source that remembers what its generators left, also if the sync fails later. One for each sync.
pub struct Recording<'a, S> {
    source: &'a S,
    made: Mutex<Vec<Made>>,
}

/// What the generator of one entry left.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Made {
    /// Position in `spec.dataFrom`.
    pub entry: usize,
    /// What it takes to revoke the values.
    pub state: GeneratedState,
}

// === impl Recording ===

impl<'a, S> Recording<'a, S> {
    /// Asks `source`.
    #[must_use]
    pub fn new(source: &'a S) -> Self {
        Self {
            source,
            made: Mutex::default(),
        }
    }

    /// What was left so far, in the order in which it was made.
    #[must_use]
    pub fn into_made(self) -> Vec<Made> {
        self.made.into_inner()
    }
}

impl<S: Source> Source for Recording<'_, S> {
    async fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        self.source.secret(caller, store, remote).await
    }

    async fn secret_map(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretData, FetchError> {
        self.source.secret_map(caller, store, remote).await
    }

    async fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        self.source.find(caller, store, find).await
    }

    async fn generate(
        &self,
        caller: &Caller,
        entry: usize,
        generator: &GeneratorRef,
    ) -> Result<Generated, GenerateError> {
        let generated = self.source.generate(caller, entry, generator).await?;
        if let Some(state) = &generated.state {
            self.made.lock().push(Made {
                entry,
                state: state.clone(),
            });
        }
        Ok(generated)
    }

    async fn revoke(&self, namespace: &str, state: &GeneratedState) -> Result<(), FetchError> {
        self.source.revoke(namespace, state).await
    }
}
