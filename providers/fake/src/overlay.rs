//! What tests change and see of a running server: values and simulations over those of the manifests, and recorded requests.

use std::collections::{BTreeMap, HashMap, VecDeque};
use std::time::SystemTime;

use latchkey_crds::provider_fake::Simulation;
use latchkey_provider_sdk::RequestContext;
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use tokio::sync::watch;

/// Most requests that are kept; older ones are forgotten.
const MAX_CALLS: usize = 100_000;

/// Namespace and name of a resource.
pub type ResourceName = (String, String);
/// Key and version of a value.
pub type ValueName = (String, String);

/// All changes to all resources, and the requests so far.
#[derive(Debug)]
pub struct Overlays {
    resources: Mutex<HashMap<ResourceName, Overlay>>,
    /// Counts changes, so that a cached state is recognised as old.
    revision: Mutex<u64>,
    calls: Mutex<Calls>,
    /// The number of calls, for those who wait.
    arrived: watch::Sender<u64>,
}

/// The changes to one resource.
#[derive(Clone, Debug, Default)]
pub struct Overlay {
    /// Grows with each change.
    pub revision: u64,
    /// Values that were put, and `None` for those that were deleted.
    pub values: BTreeMap<ValueName, Option<SecretValue>>,
    /// The simulation instead of the manifest's, and the revision that set it.
    pub simulation: Option<(Simulation, u64)>,
}

#[derive(Debug, Default)]
struct Calls {
    kept: VecDeque<Call>,
    /// Since the start or the last reset.
    count: u64,
    by_operation: HashMap<&'static str, u64>,
}

/// One recorded request.
#[derive(Clone, Debug)]
pub struct Call {
    /// From 1, in order of arrival.
    pub number: u64,
    /// Name of the RPC.
    pub operation: &'static str,
    /// The resource that it names.
    pub resource: ResourceName,
    /// The caller's namespace.
    pub source_namespace: String,
    /// Whether it comes from a cluster store.
    pub cluster_store: bool,
    /// The caller's reconcile, if it says.
    pub reconcile_id: Option<String>,
    /// What it is about.
    pub operand: Operand,
    /// When it arrived.
    pub at: SystemTime,
}

/// What a request is about; empty where it does not say.
#[derive(Clone, Debug, Default)]
pub struct Operand {
    /// Key of the remote object.
    pub key: String,
    /// Its version.
    pub version: String,
    /// A property in it.
    pub property: String,
    /// SHA-256 of a pushed value.
    pub digest: Option<[u8; 32]>,
}

// === impl Overlays ===

impl Default for Overlays {
    fn default() -> Self {
        Self {
            resources: Mutex::default(),
            revision: Mutex::default(),
            calls: Mutex::default(),
            arrived: watch::Sender::new(0),
        }
    }
}

impl Overlays {
    /// The changes to a resource; none is the default.
    #[must_use]
    pub fn of(&self, resource: &ResourceName) -> Overlay {
        self.resources
            .lock()
            .get(resource)
            .cloned()
            .unwrap_or_default()
    }

    /// Sets a value, or hides it with `None`.
    pub fn set(&self, resource: ResourceName, name: ValueName, value: Option<SecretValue>) {
        self.change(resource, |overlay| {
            overlay.values.insert(name, value);
        });
    }

    /// Replaces the simulation of the manifest; `None` brings that one back.
    pub fn simulate(&self, resource: ResourceName, simulation: Option<Simulation>) {
        self.change(resource, |overlay| {
            overlay.simulation = simulation.map(|simulation| (simulation, overlay.revision));
        });
    }

    fn change(&self, resource: ResourceName, change: impl FnOnce(&mut Overlay)) {
        let revision = self.next_revision();
        let mut resources = self.resources.lock();
        let overlay = resources.entry(resource).or_default();
        overlay.revision = revision;
        change(overlay);
    }

    fn next_revision(&self) -> u64 {
        let mut revision = self.revision.lock();
        *revision += 1;
        *revision
    }

    /// Records a request.
    pub fn record(&self, context: &RequestContext, operand: Operand) {
        let operation = context.operation().name();
        let provider = context.provider();
        let mut calls = self.calls.lock();
        calls.count += 1;
        *calls.by_operation.entry(operation).or_default() += 1;
        let call = Call {
            number: calls.count,
            operation,
            resource: (provider.namespace.clone(), provider.name.clone()),
            source_namespace: context.source_namespace().to_owned(),
            cluster_store: context.is_cluster_store(),
            reconcile_id: context.reconcile_id().map(str::to_owned),
            operand,
            at: SystemTime::now(),
        };
        if calls.kept.len() == MAX_CALLS {
            calls.kept.pop_front();
        }
        calls.kept.push_back(call);
        self.arrived.send_replace(calls.count);
    }

    /// The kept requests with a greater number than `after`, and how many are no longer kept.
    #[must_use]
    pub fn calls(&self, after: u64) -> (Vec<Call>, u64) {
        let calls = self.calls.lock();
        let forgotten = calls.count - calls.kept.len() as u64;
        let recent = calls.kept.iter().filter(|call| call.number > after);
        (recent.cloned().collect(), forgotten)
    }

    /// How many requests there were, of one RPC or (with an empty name) of all.
    #[must_use]
    pub fn count(&self, operation: &str) -> u64 {
        let calls = self.calls.lock();
        if operation.is_empty() {
            return calls.count;
        }
        calls
            .by_operation
            .get(operation)
            .copied()
            .unwrap_or_default()
    }

    /// Returns when that many requests have arrived.
    pub async fn wait_for(&self, count: u64, operation: &str) {
        let mut arrived = self.arrived.subscribe();
        while self.count(operation) < count {
            if arrived.changed().await.is_err() {
                return;
            }
        }
    }

    /// Undoes every change and forgets the requests.
    pub fn reset(&self) {
        // The revision goes on, so that no cached state is taken for a new one.
        let revision = self.next_revision();
        for overlay in self.resources.lock().values_mut() {
            *overlay = Overlay {
                revision,
                ..Overlay::default()
            };
        }
        *self.calls.lock() = Calls::default();
        self.arrived.send_replace(0);
    }
}
