//! The plugin: puts the parts together and runs them.
//!
//! Served on `<kubelet root>/plugins/<driver>/csi.sock`: `csi.v1.Identity` and `csi.v1.Node`. Served on
//! `<kubelet root>/plugins_registry/<driver>@reg.sock`: `pluginregistration.Registration`.

use std::sync::Arc;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use latchkey_proto::csi::v1::ProbeRequest;
use latchkey_proto::csi::v1::identity_client::IdentityClient;
use parking_lot::Mutex;
use prometheus_client::registry::Registry;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::Endpoint;

use crate::backend::Backend;
use crate::board::Board;
use crate::config::Config;
use crate::events::{Event, EventSink};
use crate::metrics::Metrics;
use crate::socket::{Socket, SocketError};
use crate::status::{Health, Trust};
use crate::tokens::TokenDelivery;
use crate::volumes::Volumes;
use crate::volumes::disk::Disk;

mod serve;
mod setup;
mod thread;

pub(crate) use setup::Swap;
use setup::{
    check_config, is_shared, keep_out_of_core_dumps, open_disk, parts_elsewhere, swap_is_on,
};
use thread::{AtHome, on_own_thread};

/// How long the loop-back Probe of [`PluginHandle::live`] may take.
const PROBE: Duration = Duration::from_secs(1);

/// Why the plugin cannot start, or why it ended.
#[derive(Debug, thiserror::Error)]
pub enum PluginError {
    /// A setting is out of its range.
    #[error("{0}")]
    Config(&'static str),
    /// kubelet's directory is not where it was said to be.
    #[error("failed to open {path}: is --kubelet-root right, and mounted at the same path?")]
    KubeletRoot {
        /// The directory.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The plugin's own directory.
    #[error("failed to make {path}")]
    Directory {
        /// The directory.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// Mounting does not work at all.
    #[error("this process cannot mount: it needs CAP_SYS_ADMIN (a privileged container)")]
    Mount(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// What is on the node cannot be read.
    #[error("failed to read the volumes of this node")]
    Recover(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The thread that serves kubelet.
    #[error("failed to start the plugin's thread")]
    Thread(#[source] std::io::Error),
    /// A socket.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// A server that must live ended.
    #[error("the server on a socket of the plugin ended")]
    Server(#[source] Option<Box<dyn std::error::Error + Send + Sync>>),
}

/// A CSI node plugin that is not running yet.
#[derive(Debug)]
pub struct Plugin {
    config: Arc<Config>,
    board: Arc<Board>,
    metrics: Metrics,
    health: Arc<Health>,
    events: EventSink,
    trust: Arc<Mutex<Trust>>,
}

/// Answers whether a plugin is well, and tells it what it cannot know by itself. Cheap to clone.
#[derive(Clone, Debug)]
pub struct PluginHandle {
    config: Arc<Config>,
    health: Arc<Health>,
    trust: Arc<Mutex<Trust>>,
}

// === impl PluginHandle ===

impl PluginHandle {
    /// For `/livez`: the file of the CSI socket is ours, and a Probe over it is answered within 1 s, whatever the answer.
    ///
    /// # Errors
    ///
    /// Why not, for a person.
    pub async fn live(&self) -> Result<(), String> {
        if !self.health.is_recovered() {
            // Still starting: the probe of the kubelet has a start-up allowance for that.
            return Ok(());
        }
        if !self.health.is_in_place(&self.config.csi_socket()) {
            return Err("the file of the CSI socket was removed or replaced".to_owned());
        }
        match tokio::time::timeout(PROBE, self.probe()).await {
            Ok(result) => result,
            Err(_) => Err("the CSI socket did not answer within 1 s".to_owned()),
        }
    }

    async fn probe(&self) -> Result<(), String> {
        let path = self.config.csi_socket();
        let connector = tower::service_fn(move |_| {
            let path = path.clone();
            async move { UnixStream::connect(path).await.map(TokioIo::new) }
        });
        // The address is never used: the connector knows the socket.
        let channel =
            Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector);
        match IdentityClient::new(channel).probe(ProbeRequest {}).await {
            Ok(_) => Ok(()),
            Err(status) if status.code() == tonic::Code::FailedPrecondition => Ok(()),
            Err(status) => Err(format!("the CSI socket answers {}", status.code())),
        }
    }

    /// For `/readyz`: the volumes of an earlier process are taken over, and kubelet registered the driver.
    ///
    /// # Errors
    ///
    /// What is missing, for a person. Providers and the API server are not asked.
    pub fn ready(&self) -> Result<(), String> {
        if !self.health.is_recovered() {
            return Err("the volumes of this node are still being read".to_owned());
        }
        if let Some(reason) = self.health.unfit() {
            return Err(reason);
        }
        if !self.health.is_registered() {
            return Err("kubelet has not registered the driver".to_owned());
        }
        Ok(())
    }

    /// Says whether the CSIDriver object has `podInfoOnMount: true`; without it nothing in a request is believed and publishes
    /// fail (csi.md R7). `true` until told otherwise.
    pub fn set_pod_info_on_mount(&self, enabled: bool) {
        self.trust.lock().pod_info_on_mount = enabled;
    }

    /// Says how kubelet hands over service-account tokens, as the CSIDriver object has it. [`TokenDelivery::Off`] until told
    /// otherwise: no token is then believed (csi.md 9.2).
    pub fn set_token_delivery(&self, delivery: TokenDelivery) {
        self.trust.lock().tokens = delivery;
    }
}

// === impl Plugin ===

impl Plugin {
    /// A plugin with these settings.
    #[must_use]
    pub fn new(config: Config) -> Self {
        let board = Arc::new(Board::default());
        Self {
            metrics: Metrics::new(board.clone()).per_volume(config.metrics_per_volume),
            config: Arc::new(config),
            board,
            health: Arc::default(),
            events: EventSink::default(),
            trust: Arc::default(),
        }
    }

    /// Calls `sink` for everything worth a Kubernetes event. It must return at once.
    #[must_use]
    pub fn on_event(mut self, sink: impl Fn(Event) + Send + Sync + 'static) -> Self {
        self.events = EventSink::new(sink);
        self
    }

    /// Registers the metrics `latchkey_csi_*`.
    pub fn register(&self, registry: &mut Registry) {
        self.metrics.register(registry);
    }

    /// For health checks, before and while the plugin runs.
    #[must_use]
    pub fn handle(&self) -> PluginHandle {
        PluginHandle {
            config: self.config.clone(),
            health: self.health.clone(),
            trust: self.trust.clone(),
        }
    }

    /// Takes over the volumes of this node, serves kubelet until `cancel`, then ends in order (csi.md 3.3, 7.6). Sockets, mounts
    /// and state files stay.
    ///
    /// All of it happens on a thread of its own, where the backend is asked too; what the backend starts belongs to the runtime
    /// in which this is called.
    ///
    /// # Errors
    ///
    /// A [`PluginError`] where the node or the settings make serving impossible, or a server ended by itself.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future cancels the plugin, which then ends in order without the caller.
    pub async fn run<B: Backend>(
        self,
        backend: B,
        cancel: CancellationToken,
    ) -> Result<(), PluginError> {
        let cancel = cancel.child_token();
        let _cancel_with_caller = cancel.clone().drop_guard();
        let backend = AtHome::here(backend);
        on_own_thread(move || self.run_here(backend, cancel))
            .await
            .map_err(PluginError::Thread)?
    }

    async fn run_here<B: Backend>(
        self,
        backend: B,
        cancel: CancellationToken,
    ) -> Result<(), PluginError> {
        let config = self.config.clone();
        check_config(&config)?;
        keep_out_of_core_dumps();
        let csi_socket = Socket::new(&config.csi_socket())?;
        let registration_socket = Socket::new(&config.registration_socket())?;
        let disk = {
            let config = config.clone();
            tokio::task::spawn_blocking(move || open_disk(&config))
                .await
                .map_err(|error| PluginError::Mount(Box::new(error)))??
        };
        self.look_at_node(&disk);
        let volumes = Volumes::new(
            config.clone(),
            backend,
            disk,
            self.metrics.clone(),
            self.board.clone(),
            self.events.clone(),
        );
        volumes
            .recover()
            .await
            .map_err(|error| PluginError::Recover(Box::new(error)))?;
        self.health.set_recovered();

        let result = self
            .serve(&volumes, csi_socket, registration_socket, &cancel)
            .await;
        volumes.stop().await;
        result
    }

    /// What is wrong with this node, if anything.
    fn look_at_node(&self, disk: &Disk) {
        self.metrics.mount_api(disk.mounter.api().as_str());
        let swap = Swap::of(
            disk.mounter.noswap(),
            swap_is_on(),
            self.config.require_noswap,
        );
        if swap != Swap::Kept {
            self.metrics.swap_exposed.set(1);
            self.events.send(Event::SwapExposed);
        }
        if swap == Swap::Refused {
            let reason = "swap is on and the kernel cannot keep volumes out of it";
            self.health.set_unfit(reason.to_owned());
        }
        let elsewhere = parts_elsewhere(&self.config);
        if !elsewhere.is_empty() {
            tracing::warn!(
                root = %self.config.kubelet_root.display(),
                ?elsewhere,
                "parts of kubelet's root are on another filesystem than the rest; is all of it mounted from the host?"
            );
        }
        if self.config.relaxations.extra_target_root.is_none() && !is_shared(&self.config) {
            tracing::error!(
                "kubelet's pods directory is not shared: mounts would not reach containers"
            );
            self.health.set_unfit(
                "kubelet's pods directory is not shared; mount it with Bidirectional propagation"
                    .to_owned(),
            );
        }
    }
}

#[cfg(test)]
pub(crate) mod rig;
#[cfg(test)]
mod tests;
