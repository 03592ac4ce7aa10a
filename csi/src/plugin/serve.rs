//! The servers of the plugin: both sockets of kubelet, the one of operators, and the janitor beside them.

use std::future::Future;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::csi::v1::identity_server::IdentityServer;
use latchkey_proto::csi::v1::node_server::NodeServer;
use latchkey_proto::pluginregistration::registration_server::RegistrationServer;
use tokio::net::UnixStream;
use tokio::sync::{Notify, mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio_stream::wrappers::ReceiverStream;
use tokio_util::sync::CancellationToken;
use tonic::transport::{Error, Server};

use super::{Plugin, PluginError};
use crate::backend::Backend;
use crate::identity::IdentityService;
use crate::node::NodeService;
use crate::operations::server::AdminServer;
use crate::registration::{self, RegistrationService, Word};
use crate::socket::{BACKLOG, Keeper, Socket};
use crate::volumes::Volumes;

/// Largest request, bytes (csi.md 1.2).
const MAX_MESSAGE: usize = 4 << 20;

/// Concurrent calls on one connection.
const MAX_STREAMS: u32 = 1024;

/// How long open connections may finish at shutdown.
const GOODBYE: Duration = Duration::from_secs(1);

/// What serves, each in a task of its own. All of it lives until it is told to stop.
#[derive(Default)]
struct Servers {
    stop: CancellationToken,
    tasks: JoinSet<Result<(), Error>>,
}

// === impl Servers ===

impl Servers {
    fn spawn(&mut self, part: impl Future<Output = ()> + Send + 'static) {
        self.tasks.spawn(async move {
            part.await;
            Ok(())
        });
    }

    /// Waits for one that ends although it should live.
    ///
    /// # Cancel safety
    ///
    /// Nothing is lost: all of them go on.
    async fn first_end(&mut self) -> PluginError {
        ended_early(self.tasks.join_next().await)
    }

    /// Ends all of them; those that take too long are aborted.
    async fn end(mut self) {
        self.stop.cancel();
        let ended = async { while self.tasks.join_next().await.is_some() {} };
        if tokio::time::timeout(GOODBYE, ended).await.is_err() {
            self.tasks.shutdown().await;
        }
    }
}

// === impl Plugin ===

impl Plugin {
    /// Serves until `cancel`, then lets the calls that go on end.
    pub(super) async fn serve<B: Backend>(
        &self,
        volumes: &Volumes<B>,
        csi_socket: Socket,
        registration_socket: Socket,
        cancel: &CancellationToken,
    ) -> Result<(), PluginError> {
        let mut servers = Servers::default();
        let _stop_with_caller = servers.stop.clone().drop_guard();
        // kubelet dials the first as soon as it sees the second.
        let serving = self.serve_csi(volumes, csi_socket, cancel, &mut servers);
        if !serving.await? {
            return Ok(());
        }
        let serving = self.serve_registration(registration_socket, cancel, &mut servers);
        if !serving.await? {
            return Ok(());
        }
        let (admin, stop) = (self.admin(volumes), servers.stop.clone());
        servers.spawn(async move { admin.run(stop).await });
        let (swept, stop) = (volumes.clone(), servers.stop.clone());
        servers.spawn(async move { swept.run_janitor(&stop).await });

        let result = tokio::select! {
            () = cancel.cancelled() => Ok(()),
            error = servers.first_end() => Err(error),
        };
        volumes.drain().await;
        servers.end().await;
        result
    }

    /// Serves `csi.v1`, unless `cancel` comes before its socket is free.
    async fn serve_csi<B: Backend>(
        &self,
        volumes: &Volumes<B>,
        socket: Socket,
        cancel: &CancellationToken,
        servers: &mut Servers,
    ) -> Result<bool, PluginError> {
        let (connections, incoming) = mpsc::channel(BACKLOG);
        let keeper = self.keeper("csi", socket, connections, Arc::default());
        let Some(bound) = keeper.bind(cancel).await? else {
            return Ok(false);
        };
        let identity = IdentityService {
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
        };
        let node = NodeService {
            config: self.config.clone(),
            volumes: volumes.clone(),
            metrics: self.metrics.clone(),
            trust: self.trust.clone(),
            health: self.health.clone(),
        };
        let server = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(IdentityServer::new(identity).max_decoding_message_size(MAX_MESSAGE))
            .add_service(NodeServer::new(node).max_decoding_message_size(MAX_MESSAGE))
            .serve_with_incoming_shutdown(
                ReceiverStream::new(incoming),
                servers.stop.clone().cancelled_owned(),
            );
        servers.tasks.spawn(server);
        servers.spawn(bound.run(servers.stop.clone()));
        Ok(true)
    }

    /// Serves `pluginregistration` and looks after what kubelet makes of it, unless `cancel` comes before its socket is free.
    async fn serve_registration(
        &self,
        socket: Socket,
        cancel: &CancellationToken,
        servers: &mut Servers,
    ) -> Result<bool, PluginError> {
        let touch = Arc::new(Notify::new());
        let (connections, incoming) = mpsc::channel(BACKLOG);
        let keeper = self.keeper("registration", socket, connections, touch.clone());
        let Some(bound) = keeper.bind(cancel).await? else {
            return Ok(false);
        };
        let (word, words) = watch::channel(Word::None);
        let registration = RegistrationService {
            config: self.config.clone(),
            metrics: self.metrics.clone(),
            health: self.health.clone(),
            events: self.events.clone(),
            word,
        };
        let service = RegistrationServer::new(registration).max_decoding_message_size(MAX_MESSAGE);
        let server = Server::builder()
            .max_concurrent_streams(MAX_STREAMS)
            .add_service(service)
            .serve_with_incoming_shutdown(
                ReceiverStream::new(incoming),
                servers.stop.clone().cancelled_owned(),
            );
        servers.tasks.spawn(server);
        servers.spawn(bound.run(servers.stop.clone()));
        servers.spawn(registration::supervise(
            self.config.clone(),
            words,
            touch,
            servers.stop.clone(),
        ));
        Ok(true)
    }

    fn admin<B: Backend>(&self, volumes: &Volumes<B>) -> AdminServer<B> {
        AdminServer {
            config: self.config.clone(),
            volumes: volumes.clone(),
        }
    }

    fn keeper(
        &self,
        name: &'static str,
        socket: Socket,
        connections: mpsc::Sender<io::Result<UnixStream>>,
        touch: Arc<Notify>,
    ) -> Keeper {
        Keeper {
            socket,
            connections,
            any_peer: self.config.relaxations.any_peer,
            touch,
            health: self.health.clone(),
            recreated: self.metrics.socket_recreated.clone(),
            displaced: self.metrics.socket_displaced(name),
        }
    }
}

fn ended_early(ended: Option<Result<Result<(), Error>, JoinError>>) -> PluginError {
    PluginError::Server(match ended {
        Some(Ok(Err(error))) => Some(Box::new(error)),
        Some(Err(error)) => Some(Box::new(error)),
        Some(Ok(Ok(()))) | None => None,
    })
}
