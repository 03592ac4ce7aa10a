//! Generate and Cleanup at the provider.

use latchkey_crds::external_secret::GeneratorRef;
use latchkey_engine::source::{
    Caller, FailureClass, FetchError, GenerateError, Generated, GeneratedState,
};
use tonic::Code;

use super::{key_of, snapshot};
use crate::providers::{CallError, Cause, Client, ProviderSource};
use crate::stores::wire::{self, GeneratorTarget};
use crate::stores::{AllowedHosts, Store, StoreReader};

impl<R: StoreReader> ProviderSource<R> {
    /// Has values made for `caller`: exactly one call, whatever comes of it (P-RT-2, PC-27).
    pub(crate) async fn make(
        &self,
        caller: &Caller,
        reference: &GeneratorRef,
    ) -> Result<Generated, GenerateError> {
        let key = key_of(&caller.namespace, reference).map_err(GenerateError::Get)?;
        let (generator, client) = self.open(caller, &key).await.map_err(GenerateError::Get)?;
        let target = wire::for_generator(&generator, &caller.namespace);
        let (data, state) = client
            .generate(&target)
            .await
            .map_err(|error| GenerateError::Use(never_missing(error)))?;
        if state.is_empty() {
            return Ok(Generated { data, state: None });
        }
        let Ok(state) = serde_json::from_slice(&state) else {
            revoke_unkept(&client, &target, state).await;
            return Err(GenerateError::Use(failed(
                FailureClass::Provider,
                "the provider left a state that is not JSON",
            )));
        };
        let state = GeneratedState {
            resource: snapshot::of(&generator, &caller.namespace),
            state,
        };
        Ok(Generated {
            data,
            state: Some(state),
        })
    }

    /// Has values revoked by the snapshot of their generator. Its conditions and its readiness do not matter (AMB-28): what was
    /// made must be revocable.
    pub(crate) async fn unmake(
        &self,
        namespace: &str,
        state: &GeneratedState,
    ) -> Result<(), FetchError> {
        let generator = snapshot::read(&state.resource, namespace)
            .map_err(|error| failed(FailureClass::Configuration, error.to_string()))?;
        if generator.key.is_cluster() {
            self.check_cluster_snapshot(&generator).await?;
        }
        let client = self.connect(&generator).await?;
        let target = wire::for_generator(&generator, namespace);
        let bytes = serde_json::to_vec(&state.state)
            .map_err(|_| failed(FailureClass::Configuration, "its state cannot be encoded"))?;
        match client.cleanup(&target, bytes).await {
            Ok(()) => Ok(()),
            Err(error) if has_nothing_to_revoke(&error) => Ok(()),
            Err(error) => Err(never_missing(error)),
        }
    }

    /// A snapshot lies in a tenant's namespace. Where no ClusterGenerator vouches for it, it is bound like a tenant's own
    /// generator: to the allowed hosts (SB-22), and without a certificate of its own (SB-21).
    async fn check_cluster_snapshot(&self, generator: &Store) -> Result<(), FetchError> {
        let live = self.reader().store(&generator.key).await;
        let is_vouched_for = live.is_ok_and(|live| {
            (&live.provider.address, &live.provider.auth)
                == (&generator.provider.address, &generator.provider.auth)
        });
        if is_vouched_for || is_harmless(generator, &self.policy().allowed_hosts) {
            return Ok(());
        }
        Err(failed(
            FailureClass::Denied,
            format!(
                "{} no longer exists as it was, and its snapshot names a host or an identity that only it may use",
                generator.key
            ),
        ))
    }
}

fn is_harmless(generator: &Store, allowed: &AllowedHosts) -> bool {
    let config = &generator.provider;
    let address: Result<latchkey_transport::Address, _> = config.address.parse();
    config
        .auth
        .as_ref()
        .is_none_or(|auth| *auth == Default::default())
        && address.is_ok_and(|address| allowed.allows(address.host()))
}

/// Clean-up is optional for providers.
fn has_nothing_to_revoke(error: &CallError) -> bool {
    matches!(
        error.cause,
        Cause::Status {
            code: Code::Unimplemented,
            ..
        }
    )
}

/// The last chance to revoke what cannot be written down.
async fn revoke_unkept(client: &Client, target: &GeneratorTarget, state: Vec<u8>) {
    if let Err(error) = client.cleanup(target, state).await {
        tracing::warn!(%error, "values whose state is malformed were not revoked");
    }
}

/// A generator's "not found" has no meaning (generators.md 1.2).
fn never_missing(error: CallError) -> FetchError {
    let text = error.to_string();
    match FetchError::from(error) {
        FetchError::NoSecret => failed(FailureClass::Provider, text),
        other => other,
    }
}

fn failed(class: FailureClass, message: impl Into<String>) -> FetchError {
    FetchError::Failed {
        class,
        message: message.into(),
        retry_after: None,
    }
}
