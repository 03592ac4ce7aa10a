//! The provider: one state per resource, and the eight operations on it.

use std::collections::HashMap;
use std::sync::Arc;

use latchkey_crds::provider_fake::{Fake, ValidationResult};
use latchkey_provider_sdk::{
    Capability, Cluster, Find, Operation, Provider, ProviderError, Push, PushRemoteRef, RemoteRef,
    RequestContext, Result, ServedKind, Validation,
};
use latchkey_secret::{SecretData, SecretValue};
use parking_lot::Mutex;

use crate::overlay::{Operand, Overlay, Overlays};
use crate::payload;
use crate::resources::{FixedResources, Resources};
use crate::simulation::Simulator;
use crate::values::{Pushed, Values};

/// The kind that this server serves.
pub const KIND: ServedKind = ServedKind {
    api_version: "provider.secretstore.external-secrets.io/v2alpha1",
    kind: "Fake",
    capability: Capability::ReadWrite,
};

/// Most resources whose state is kept; one more replaces an arbitrary one.
const MAX_STATES: usize = 4096;

/// Serves Fake resources.
pub struct FakeProvider<R = Cluster> {
    resources: R,
    states: Mutex<HashMap<(String, String), Arc<State>>>,
    /// What the control service changes and shows; `None` where there is none.
    overlays: Option<Arc<Overlays>>,
}

/// What is known of one generation of one resource.
struct State {
    uid: String,
    generation: i64,
    /// Revision of the changes that are in it.
    overlay: u64,
    /// Revision of the change that set the simulation, 0 for that of the manifest.
    simulation: u64,
    values: Values,
    simulator: Arc<Simulator>,
    validation: Option<ValidationResult>,
    /// Shared by all generations of the resource.
    pushed: Arc<Mutex<Pushed>>,
}

// === impl FakeProvider ===

impl FakeProvider<FixedResources> {
    /// A provider over resources given as structs.
    #[must_use]
    pub fn fixed(fakes: impl IntoIterator<Item = Fake>) -> Self {
        let resources = FixedResources::default();
        fakes.into_iter().for_each(|fake| resources.apply(fake));
        Self::new(resources)
    }
}

impl<R: Resources> FakeProvider<R> {
    /// A provider over `resources`.
    #[must_use]
    pub fn new(resources: R) -> Self {
        Self {
            resources,
            states: Mutex::new(HashMap::new()),
            overlays: None,
        }
    }

    /// The same under the control of `overlays`, which also records every request.
    #[must_use]
    pub fn with_overlays(mut self, overlays: Arc<Overlays>) -> Self {
        self.overlays = Some(overlays);
        self
    }

    fn record(&self, context: &RequestContext, operand: impl FnOnce() -> Operand) {
        if let Some(overlays) = &self.overlays {
            overlays.record(context, operand());
        }
    }

    /// The state of the resource that a request names, after the simulated trouble.
    async fn state(&self, context: &RequestContext, key: &str) -> Result<Arc<State>> {
        let state = self.load(context).await?;
        state
            .simulator
            .decide(context.operation(), key, context.source_namespace())
            .happen()
            .await?;
        Ok(state)
    }

    async fn load(&self, context: &RequestContext) -> Result<Arc<State>> {
        let fake = self.resources.fake(context).await?;
        let reference = context.provider();
        let name = (reference.namespace.clone(), reference.name.clone());
        let uid = fake.metadata.uid.clone().unwrap_or_default();
        let generation = fake.metadata.generation.unwrap_or_default();
        let mut states = self.states.lock();
        let known = states.get(&name).filter(|state| state.uid == uid);
        let overlay = match &self.overlays {
            Some(overlays) => overlays.of(&name),
            None => Overlay::default(),
        };
        // A resource given as a struct may have no generation: then it is read anew each time.
        let same_manifest = known.filter(|state| state.generation == generation && generation != 0);
        if let Some(state) = same_manifest.filter(|state| state.overlay == overlay.revision) {
            return Ok(state.clone());
        }
        let (simulation, simulation_revision) = match &overlay.simulation {
            Some((simulation, revision)) => (Some(simulation), *revision),
            None => (fake.spec.simulation.as_ref(), 0),
        };
        // A changed value must not start the counters of an unchanged simulation again.
        let simulator = match same_manifest.filter(|state| state.simulation == simulation_revision)
        {
            Some(state) => state.simulator.clone(),
            None => Arc::new(Simulator::from_spec(simulation)?),
        };
        let mut values = Values::from_spec(&fake.spec)?;
        for (name, value) in overlay.values {
            values.set(name, value);
        }
        let state = Arc::new(State {
            values,
            simulator,
            validation: fake.spec.validation_result(),
            pushed: known.map(|state| state.pushed.clone()).unwrap_or_default(),
            uid,
            generation,
            overlay: overlay.revision,
            simulation: simulation_revision,
        });
        if states.len() >= MAX_STATES
            && !states.contains_key(&name)
            && let Some(other) = states.keys().next().cloned()
        {
            states.remove(&other);
        }
        states.insert(name, state.clone());
        Ok(state)
    }
}

// === impl State ===

impl State {
    fn get(&self, remote: &RemoteRef) -> Result<SecretValue> {
        if let Some(payload) = &self.simulator.payload
            && let Some(value) = payload::value(payload, &remote.key)
        {
            return crate::values::property(&value, &remote.property);
        }
        self.values.get(&self.pushed.lock(), remote)
    }
}

impl<R: Resources> Provider for FakeProvider<R> {
    fn kinds(&self) -> &[ServedKind] {
        std::slice::from_ref(&KIND)
    }

    async fn get_secret(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> Result<SecretValue> {
        self.record(context, || read(remote));
        self.state(context, &remote.key).await?.get(remote)
    }

    async fn get_secret_map(
        &self,
        context: &RequestContext,
        remote: &RemoteRef,
    ) -> Result<SecretData> {
        self.record(context, || read(remote));
        let state = self.state(context, &remote.key).await?;
        crate::values::as_map(&state.get(remote)?, &remote.key)
    }

    async fn get_all_secrets(&self, context: &RequestContext, find: &Find) -> Result<SecretData> {
        self.record(context, Operand::default);
        let state = self.state(context, "").await?;
        state.values.find_all(&state.pushed.lock(), find)
    }

    async fn push_secret(&self, context: &RequestContext, push: &Push) -> Result<()> {
        self.record(context, || pushed(push));
        let state = self.state(context, &push.remote_key).await?;
        state.values.push(&mut state.pushed.lock(), push)
    }

    async fn delete_secret(&self, context: &RequestContext, remote: &PushRemoteRef) -> Result<()> {
        self.record(context, || addressed(remote));
        let state = self.state(context, &remote.key).await?;
        // P-59: what the manifest holds stays.
        state.pushed.lock().remove(&remote.key);
        Ok(())
    }

    async fn secret_exists(
        &self,
        context: &RequestContext,
        remote: &PushRemoteRef,
    ) -> Result<bool> {
        self.record(context, || addressed(remote));
        let state = self.state(context, &remote.key).await?;
        Ok(state.values.exists(&state.pushed.lock(), &remote.key))
    }

    async fn validate(&self, context: &RequestContext) -> Result<Validation> {
        self.record(context, Operand::default);
        let state = self.state(context, "").await?;
        Ok(match state.validation {
            Some(ValidationResult::Ready) => Validation::ready(),
            Some(ValidationResult::Unknown) => Validation::unknown("unable to validate"),
            Some(ValidationResult::Error) => Validation::invalid("unable to validate"),
            None => {
                return Err(ProviderError::invalid_config(
                    "validationResult must be 0, 1 or 2",
                ));
            }
        })
    }

    async fn capabilities(
        &self,
        context: &RequestContext,
        kind: &ServedKind,
    ) -> Result<Capability> {
        debug_assert_eq!(context.operation(), Operation::Capabilities);
        self.record(context, Operand::default);
        // The ability of the kind is known without any resource; only a simulation needs one.
        if context.lacks_namespace() || context.provider().name.is_empty() {
            return Ok(kind.capability);
        }
        let Ok(state) = self.load(context).await else {
            return Ok(kind.capability);
        };
        state
            .simulator
            .decide(Operation::Capabilities, "", context.source_namespace())
            .happen()
            .await?;
        Ok(state.simulator.capability.unwrap_or(kind.capability))
    }
}

fn read(remote: &RemoteRef) -> Operand {
    Operand {
        key: remote.key.clone(),
        version: remote.version.clone(),
        property: remote.property.clone(),
        digest: None,
    }
}

fn addressed(remote: &PushRemoteRef) -> Operand {
    Operand {
        key: remote.key.clone(),
        property: remote.property.clone(),
        ..Operand::default()
    }
}

fn pushed(push: &Push) -> Operand {
    let digest = push.value().ok().flatten().map(|value| {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, value.expose());
        let mut bytes = [0; 32];
        bytes.copy_from_slice(digest.as_ref());
        bytes
    });
    Operand {
        key: push.remote_key.clone(),
        property: push.property.clone(),
        version: String::new(),
        digest,
    }
}

#[cfg(test)]
mod tests;
