//! The engine's way to values.

mod identity;
mod request;

use std::sync::Arc;
use std::time::Duration;

use latchkey_crds::external_secret::{Find, GeneratorRef, RemoteRef, SecretStoreRef};
use latchkey_crds::secret_store::{AuthenticationScope, Capabilities};
use latchkey_engine::source::{
    Caller, FailureClass, FetchError, GenerateError, Generated, GeneratedState, Source, Standing,
    StoreMark,
};
use latchkey_secret::{SecretData, SecretValue};
use tonic::Code;

use self::request::{could_not_get, failed, find_of, key_of, noun, remote_of};
use super::client::Client;
use super::error::{CallError, Cause};
use super::identities::{Identities, IdentityProblem};
use super::pods::PodTokens;
use super::pool::{AuthMode, Pool};
use super::retry::RetryPolicy;
use super::tokens::{TokenProblem, Tokens};
use crate::stores::wire::{self, Target};
use crate::stores::{Policy, Store, StoreKey, StoreReader, Usable, conditions};

/// What it takes to call the provider of a store. Shared by fetches and validation.
pub struct Providers {
    /// What this agent allows of stores.
    pub policy: Policy,
    /// Which identity is shown.
    pub identities: Identities,
    /// The tokens that accompany calls.
    pub tokens: Arc<Tokens>,
    /// The connections.
    pub pool: Pool,
    /// Longest time of one attempt; `--provider-timeout`.
    pub timeout: Duration,
}

/// Fetches through the stores that `R` reads.
#[derive(Clone)]
pub struct ProviderSource<R> {
    reader: Arc<R>,
    providers: Arc<Providers>,
    /// Whether stores may name a ServiceAccount whose token accompanies their calls.
    has_tokens: bool,
    /// The tokens of the pods on this node, where stores may be read under their identity.
    pods: Option<Arc<PodTokens>>,
}

/// What is asked, and whether the provider's object for it is the caller's own.
struct Aim {
    wire: Target,
    is_callers: bool,
}

/// Why a provider cannot be called.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Unreachable {
    /// There is no identity to show.
    #[error(transparent)]
    Identity(#[from] IdentityProblem),
    /// There is no token for the account that the store names.
    #[error(transparent)]
    Token(#[from] TokenProblem),
    /// The name to verify cannot be verified.
    #[error("{0}")]
    Open(String),
}

impl Providers {
    /// A client for a store that passed its checks. Nothing is sent yet.
    ///
    /// # Errors
    ///
    /// [`Unreachable`].
    pub async fn client(&self, store: &Usable) -> Result<Client, Unreachable> {
        let identity = self.identities.resolve(store).await?;
        let bearer = store.token.as_ref().map(|token| self.tokens.bearer(token));
        let auth = match &bearer {
            None => AuthMode::Certificate,
            Some(bearer) => {
                bearer.ensure().await?;
                AuthMode::Token
            }
        };
        let pooled = self
            .pool
            .get(
                &store.address,
                &identity,
                store.server_name.as_deref(),
                auth,
            )
            .map_err(|error| Unreachable::Open(error.to_string()))?;
        let retry = store
            .retry
            .map_or_else(RetryPolicy::default, RetryPolicy::from);
        Ok(Client::new(pooled, self.timeout, retry, bearer))
    }
}

impl<R: StoreReader> ProviderSource<R> {
    /// Fetches with the stores of `reader`.
    #[must_use]
    pub fn new(reader: Arc<R>, providers: Arc<Providers>) -> Self {
        Self {
            reader,
            providers,
            has_tokens: true,
            pods: None,
        }
    }

    /// Fetches for volumes: what a node mounts never rests on a token that the agent would have to mint, so that it does not
    /// matter whether the node's identity is the sync role's too. Stores that name a ServiceAccount are refused.
    ///
    /// Stores that ask for the identity of the pod are shown a token of `pods`.
    #[must_use]
    pub fn for_volumes(reader: Arc<R>, providers: Arc<Providers>, pods: Arc<PodTokens>) -> Self {
        Self {
            has_tokens: false,
            pods: Some(pods),
            ..Self::new(reader, providers)
        }
    }

    /// Everything before the call of a store.
    async fn prepare(
        &self,
        caller: &Caller,
        reference: &SecretStoreRef,
    ) -> Result<(Client, Aim), FetchError> {
        let key = key_of(caller, reference)?;
        let (store, client) = self.open(caller, &key).await?;
        let aim = Aim {
            wire: wire::for_caller(&store, &caller.namespace),
            is_callers: key.is_cluster() && store.scope == AuthenticationScope::ManifestNamespace,
        };
        Ok((client, aim))
    }

    /// The store or generator, its rules in order, the identity and the connection.
    pub(crate) async fn open(
        &self,
        caller: &Caller,
        key: &StoreKey,
    ) -> Result<(Arc<Store>, Client), FetchError> {
        let (store, usable) = self.admitted(caller, key).await?;
        if !self.policy().gate(&store) {
            let class = match store.ready() {
                Some(_) => FailureClass::StoreNotReady,
                None => FailureClass::StoreNotValidated,
            };
            return Err(failed(class, format!("{key} is not ready")));
        }
        if store.capabilities() == Some(Capabilities::WriteOnly) {
            return Err(failed(
                FailureClass::Configuration,
                format!("{key} is write-only"),
            ));
        }
        let proof = self.proof(caller, key, &usable.caller)?;
        let client = self.client(key, &usable).await?;
        let client = match proof {
            Some(proof) => client.on_behalf_of(proof),
            None => client,
        };
        Ok((store, client))
    }

    /// The store or generator as it is now, if the caller may use it at all.
    async fn admitted(
        &self,
        caller: &Caller,
        key: &StoreKey,
    ) -> Result<(Arc<Store>, Usable), FetchError> {
        let store = self
            .reader
            .store(key)
            .await
            .map_err(|error| could_not_get(key, &error))?;
        if !self.policy().manages(&store) {
            let what = noun(key);
            return Err(failed(
                FailureClass::Denied,
                format!("can not reference unmanaged {what}"),
            ));
        }
        self.admit(caller, &store).await?;
        let usable = self.check(&store)?;
        Ok((store, usable))
    }

    async fn mark(&self, caller: &Caller, key: &StoreKey) -> Result<StoreMark, FetchError> {
        let (store, usable) = self.admitted(caller, key).await?;
        Ok(StoreMark {
            uid: store.uid.clone(),
            generation: store.generation,
            caller: usable.caller,
        })
    }

    /// The connection of a store or generator whose readiness and conditions do not matter.
    pub(crate) async fn connect(&self, store: &Store) -> Result<Client, FetchError> {
        self.client(&store.key, &self.check(store)?).await
    }

    /// What this agent allows.
    pub(crate) fn policy(&self) -> &Policy {
        &self.providers.policy
    }

    /// What stores are read through.
    pub(crate) fn reader(&self) -> &R {
        &self.reader
    }

    fn check(&self, store: &Store) -> Result<Usable, FetchError> {
        let usable = self.policy().check(store).map_err(|error| {
            failed(
                FailureClass::Configuration,
                format!("{} cannot be used: {error}", store.key),
            )
        })?;
        if usable.token.is_some() && !self.has_tokens {
            return Err(failed(
                FailureClass::Configuration,
                format!(
                    "{} cannot be used for volumes: spec.providerConfig.auth.serviceAccountRef needs a token, and nodes make none; \
                     have it delivered as a Secret, or use a store without serviceAccountRef",
                    store.key
                ),
            ));
        }
        Ok(usable)
    }

    async fn client(&self, key: &StoreKey, usable: &Usable) -> Result<Client, FetchError> {
        self.providers.client(usable).await.map_err(|error| {
            let class = match error {
                Unreachable::Identity(IdentityProblem::Pending(_) | IdentityProblem::Unread(_))
                | Unreachable::Token(TokenProblem::Unread(_)) => FailureClass::Unavailable,
                Unreachable::Identity(IdentityProblem::Wrong(_))
                | Unreachable::Token(TokenProblem::Wrong(_))
                | Unreachable::Open(_) => FailureClass::Configuration,
            };
            failed(class, format!("{key} cannot be used: {error}"))
        })
    }

    /// Conditions of a cluster-wide store or generator, with the namespace's labels of this moment (SB-07, SB-08).
    async fn admit(&self, caller: &Caller, store: &Store) -> Result<(), FetchError> {
        if store.conditions.is_empty() {
            return Ok(());
        }
        let namespace = &caller.namespace;
        let labels = if conditions::need_labels(&store.conditions) {
            self.reader
                .namespace_labels(namespace)
                .await
                .map_err(|error| {
                    failed(
                        FailureClass::Unavailable,
                        format!("could not get namespace \"{namespace}\", {error}"),
                    )
                })?
        } else {
            Arc::default()
        };
        match conditions::admit(&store.conditions, namespace, &labels) {
            Ok(true) => Ok(()),
            Ok(false) => Err(failed(
                FailureClass::Denied,
                format!(
                    "using cluster {} \"{}\" is not allowed from namespace \"{namespace}\": denied by spec.condition",
                    noun(&store.key),
                    store.key.name
                ),
            )),
            Err(error) => Err(failed(
                FailureClass::Configuration,
                format!("{}: {error}", store.key),
            )),
        }
    }
}

impl<R: StoreReader> Source for ProviderSource<R> {
    async fn secret(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretValue, FetchError> {
        let (client, target) = self.prepare(caller, store).await?;
        let answer = client.get_secret(&target.wire, remote_of(remote)).await;
        answer.map_err(|error| target.located(error, &client))
    }

    async fn secret_map(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        remote: &RemoteRef,
    ) -> Result<SecretData, FetchError> {
        let (client, target) = self.prepare(caller, store).await?;
        let answer = client.get_secret_map(&target.wire, remote_of(remote)).await;
        answer.map_err(|error| target.located(error, &client))
    }

    async fn find(
        &self,
        caller: &Caller,
        store: &SecretStoreRef,
        find: &Find,
    ) -> Result<SecretData, FetchError> {
        let (client, target) = self.prepare(caller, store).await?;
        let answer = client.get_all_secrets(&target.wire, find_of(find)).await;
        answer.map_err(|error| target.located(error, &client))
    }

    /// Readiness does not count: a value that was fetched a while ago is no worse for the provider being away now.
    async fn standing(
        &self,
        caller: &Caller,
        stores: &[&SecretStoreRef],
    ) -> Result<Standing, FetchError> {
        let mut marks = Vec::with_capacity(stores.len());
        for reference in stores {
            marks.push(self.mark(caller, &key_of(caller, reference)?).await?);
        }
        Ok(Standing(marks))
    }

    async fn generators_standing(
        &self,
        caller: &Caller,
        generators: &[&GeneratorRef],
    ) -> Result<Standing, FetchError> {
        let mut marks = Vec::with_capacity(generators.len());
        for reference in generators {
            let key = crate::generators::key_of(&caller.namespace, reference)?;
            marks.push(self.mark(caller, &key).await?);
        }
        Ok(Standing(marks))
    }

    async fn generate(
        &self,
        caller: &Caller,
        _: usize,
        generator: &GeneratorRef,
    ) -> Result<Generated, GenerateError> {
        self.make(caller, generator).await
    }

    async fn revoke(&self, namespace: &str, state: &GeneratedState) -> Result<(), FetchError> {
        self.unmake(namespace, state).await
    }
}

// === impl Aim ===

impl Aim {
    /// Where each tenant has an object of its own, the error must say which one was meant: there is no other to fall back to
    /// (P-NS-1, SB-12).
    ///
    /// A refusal of the pod whose identity was shown is told from one of the store's own credentials.
    fn located(&self, error: CallError, client: &Client) -> FetchError {
        let is_refused = client.has_caller()
            && matches!(
                error.cause,
                Cause::Status {
                    code: Code::PermissionDenied,
                    ..
                }
            );
        let is_about_object = matches!(
            error.class(),
            FailureClass::Configuration | FailureClass::Provider | FailureClass::Unauthorized
        ) && error.cause != Cause::NoSecret;
        let refused = |class| {
            if is_refused {
                FailureClass::CallerRefused
            } else {
                class
            }
        };
        match FetchError::from(error) {
            FetchError::Failed {
                class,
                message,
                retry_after,
            } if self.is_callers && is_about_object => {
                let object = &self.wire.provider_ref;
                let message = format!(
                    "{} \"{}\" of namespace \"{}\": {message}",
                    object.kind, object.name, object.namespace
                );
                FetchError::Failed {
                    class: refused(class),
                    message,
                    retry_after,
                }
            }
            FetchError::Failed {
                class,
                message,
                retry_after,
            } => FetchError::Failed {
                class: refused(class),
                message,
                retry_after,
            },
            other @ FetchError::NoSecret => other,
        }
    }
}
