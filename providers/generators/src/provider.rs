//! The three kinds behind `generator.v1.GeneratorProvider`.

use std::future::Future;
use std::sync::Arc;

use latchkey_crds::generator::DEFAULT_GENERATOR_API_VERSION;
use latchkey_crds::provider_generators::{Fake, Password, UUID};
use latchkey_provider_sdk::{
    Cluster, Generated, GeneratorKind, Provider, ProviderError, RequestContext, Result,
};
use latchkey_secret::{SecretData, SecretValue};

use crate::password::Recipe;
use crate::random::System;
use crate::uuid;

const KINDS: [GeneratorKind; 3] = [
    kind("Password", false),
    kind("UUID", false),
    kind("Fake", true),
];

const fn kind(kind: &'static str, is_stateful: bool) -> GeneratorKind {
    GeneratorKind {
        api_version: DEFAULT_GENERATOR_API_VERSION,
        kind,
        is_stateful,
    }
}

/// A way to the resource that a request names.
pub trait Resources: Send + Sync + 'static {
    /// Reads a Password.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::resource`].
    fn password(
        &self,
        context: &RequestContext,
    ) -> impl Future<Output = Result<Arc<Password>>> + Send;
    /// Reads a UUID.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::resource`].
    fn uuid(&self, context: &RequestContext) -> impl Future<Output = Result<Arc<UUID>>> + Send;
    /// Reads a Fake.
    ///
    /// # Errors
    ///
    /// Those of [`Cluster::resource`].
    fn fake(&self, context: &RequestContext) -> impl Future<Output = Result<Arc<Fake>>> + Send;
}

impl Resources for Cluster {
    async fn password(&self, context: &RequestContext) -> Result<Arc<Password>> {
        self.resource(context).await
    }

    async fn uuid(&self, context: &RequestContext) -> Result<Arc<UUID>> {
        self.resource(context).await
    }

    async fn fake(&self, context: &RequestContext) -> Result<Arc<Fake>> {
        self.resource(context).await
    }
}

/// Serves Password, UUID and Fake.
pub struct Generators<R = Cluster> {
    resources: R,
}

// === impl Generators ===

impl<R: Resources> Generators<R> {
    /// Generators over `resources`.
    #[must_use]
    pub const fn new(resources: R) -> Self {
        Self { resources }
    }
}

impl<R: Resources> Provider for Generators<R> {
    fn generator_kinds(&self) -> &[GeneratorKind] {
        &KINDS
    }

    async fn generate(&self, context: &RequestContext) -> Result<Generated> {
        match context.provider().kind.as_str() {
            "Password" => {
                let password = self.resources.password(context).await?;
                let recipe = Recipe::from_spec(&password.spec)?;
                stateless(recipe.generate(&mut System::default())?)
            }
            "UUID" => {
                // Nothing in it matters, but it says who may have one.
                self.resources.uuid(context).await?;
                let value = uuid::generate(&mut System::default())?;
                stateless(SecretData::from([(uuid::KEY.to_owned(), value)]))
            }
            "Fake" => fake(&*self.resources.fake(context).await?),
            other => Err(unserved(other)),
        }
    }

    async fn cleanup(&self, context: &RequestContext, state: &[u8]) -> Result<()> {
        match context.provider().kind.as_str() {
            "Password" | "UUID" => Ok(()),
            // Its resource may be gone by now, so it is not read.
            "Fake" => check_fake_state(state),
            other => Err(unserved(other)),
        }
    }
}

fn stateless(data: SecretData) -> Result<Generated> {
    Ok(Generated { data, state: None })
}

fn fake(fake: &Fake) -> Result<Generated> {
    let data = fake
        .spec
        .data
        .iter()
        .map(|(key, value)| (key.clone(), SecretValue::from(value.clone())))
        .collect();
    let is_stateful = fake
        .spec
        .stateful
        .as_ref()
        .is_some_and(|stateful| stateful.enabled);
    let state = if is_stateful {
        let id = uuid::generate(&mut System::default())?;
        let id = String::from_utf8_lossy(id.expose()).into_owned();
        Some(format!(r#"{{"v":1,"id":"{id}"}}"#).into_bytes())
    } else {
        None
    };
    Ok(Generated { data, state })
}

/// There is nothing to revoke, but a state that is not understood must be reported (generators.md 5).
fn check_fake_state(state: &[u8]) -> Result<()> {
    let malformed = || ProviderError::invalid_argument("the state is not one of this server");
    let state: serde_json::Value = serde_json::from_slice(state).map_err(|_| malformed())?;
    let state = state.as_object().ok_or_else(malformed)?;
    match state.get("v").map_or(Some(1), serde_json::Value::as_u64) {
        Some(1) => Ok(()),
        Some(version) => Err(ProviderError::invalid_argument(format!(
            "the state has version {version}, this server knows version 1"
        ))),
        None => Err(malformed()),
    }
}

fn unserved(kind: &str) -> ProviderError {
    ProviderError::internal(format!("kind {kind} is not served here"))
}

#[cfg(test)]
mod tests;
