//! The answering side, part of the running plugin.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{Instant, timeout};
use tokio_util::sync::CancellationToken;

use super::{Answer, MAX_REQUEST, Request};
use crate::backend::Backend;
use crate::config::Config;
use crate::error::chain;
use crate::socket::{Keeper, Socket};
use crate::volumes::Volumes;

/// Questions that are answered at once; further callers wait.
const MAX_CALLERS: usize = 4;

/// Connections that wait to be served.
const BACKLOG: usize = 4;

/// How long a caller may take to ask, and to take the answer.
const TALK: Duration = Duration::from_secs(10);

/// How long a release may take; what is not done by then is told as failed.
pub(super) const RELEASE: Duration = Duration::from_secs(100);

/// Answers on the admin socket.
pub(crate) struct AdminServer<B: Backend> {
    pub(crate) config: Arc<Config>,
    pub(crate) volumes: Volumes<B>,
}

impl<B: Backend> AdminServer<B> {
    /// Serves until `cancel`. A socket that cannot be served is told in the log: volumes do not depend on it.
    pub(crate) async fn run(self, cancel: CancellationToken) {
        let (connections, incoming) = mpsc::channel(BACKLOG);
        match self.bind(connections, &cancel).await {
            Ok(Some(bound)) => {
                tokio::join!(
                    bound.run(cancel.clone()),
                    self.answer_all(incoming, &cancel)
                );
            }
            // Cancelled while somebody else served the socket.
            Ok(None) => {}
            Err(error) => {
                tracing::warn!(
                    error = chain(&error),
                    "this node's volumes cannot be looked at with latchkey node"
                );
                cancel.cancelled().await;
            }
        }
    }

    async fn bind(
        &self,
        connections: mpsc::Sender<std::io::Result<UnixStream>>,
        cancel: &CancellationToken,
    ) -> Result<Option<crate::socket::Bound>, crate::socket::SocketError> {
        let keeper = Keeper {
            socket: Socket::new(&self.config.admin_socket())?,
            connections,
            any_peer: self.config.relaxations.any_peer,
            touch: Arc::default(),
            // Neither kubelet nor a pod depends on this socket.
            health: Arc::default(),
            recreated: Counter::default(),
            displaced: Gauge::default(),
        };
        keeper.bind(cancel).await
    }

    async fn answer_all(
        &self,
        mut incoming: mpsc::Receiver<std::io::Result<UnixStream>>,
        cancel: &CancellationToken,
    ) {
        let mut callers = JoinSet::new();
        loop {
            let has_room = callers.len() < MAX_CALLERS;
            tokio::select! {
                () = cancel.cancelled() => return,
                Some(_) = callers.join_next() => {}
                next = incoming.recv(), if has_room => match next {
                    Some(Ok(stream)) => {
                        let volumes = self.volumes.clone();
                        callers.spawn(async move { serve(stream, &volumes).await });
                    }
                    Some(Err(_)) => {}
                    None => return,
                },
            }
        }
    }
}

/// One question and its answer. A caller that breaks off is nobody's problem.
async fn serve<B: Backend>(stream: UnixStream, volumes: &Volumes<B>) {
    let (reader, mut writer) = stream.into_split();
    let mut line = Vec::new();
    let mut reader = BufReader::new(reader.take(MAX_REQUEST));
    let Ok(Ok(_)) = timeout(TALK, reader.read_until(b'\n', &mut line)).await else {
        return;
    };
    let answer = match serde_json::from_slice(&line) {
        Ok(Request::Volumes) => Answer::Volumes(volumes.report().await),
        Ok(Request::Release(selection)) => {
            Answer::Released(volumes.release(&selection, Instant::now() + RELEASE).await)
        }
        Err(_) => Answer::Refused("the request is not one that this version knows".to_owned()),
    };
    let Ok(bytes) = serde_json::to_vec(&answer) else {
        return;
    };
    let send = async {
        writer.write_all(&bytes).await?;
        writer.shutdown().await
    };
    if !matches!(timeout(TALK, send).await, Ok(Ok(()))) {
        tracing::debug!("an answer on the admin socket was not taken");
    }
}
