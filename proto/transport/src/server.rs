//! The server's end: TCP connections in, verified TLS connections out.

use std::collections::VecDeque;
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::{AbortHandle, JoinSet};
use tokio::time::{sleep, timeout};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::server::TlsStream;
use tokio_stream::Stream;
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::ALPN_H2;
use crate::identity::SharedIdentity;

/// Connections that are ready and not yet taken by the server.
const READY_CONNECTIONS: usize = 64;

/// Pause after the system refused to accept, so that a lack of file descriptors does not spin.
const ACCEPT_PAUSE: Duration = Duration::from_millis(100);

/// Limits of the server's end.
#[derive(Clone, Debug)]
pub struct ServerOptions {
    /// Longest handshake. Default 10 s.
    pub handshake_timeout: Duration,
    /// Most handshakes at a time. When one more comes, the oldest is given up, so peers that connect and stay silent never
    /// keep out those that speak. Default 256.
    pub handshakes: usize,
}

impl Default for ServerOptions {
    fn default() -> Self {
        Self {
            handshake_timeout: Duration::from_secs(10),
            handshakes: 256,
        }
    }
}

/// What became of connections.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ServerCounts {
    /// Handshakes that succeeded.
    pub accepted: u64,
    /// Handshakes that failed: no TLS, no or a wrong client certificate, no HTTP/2.
    pub refused: u64,
    /// Handshakes that took too long or were given up for a newer one.
    pub abandoned: u64,
}

/// A stream of verified TLS connections, for `tonic::transport::Server::serve_with_incoming`.
///
/// Every connection has shown a client certificate of a trusted authority and agreed to HTTP/2. Handlers see the peer through
/// `tonic::Request::peer_certs` and `remote_addr`. The stream ends when `cancel` is cancelled; dropping it stops accepting.
pub struct Incoming {
    ready: mpsc::Receiver<io::Result<TlsStream<TcpStream>>>,
    counters: Arc<Counters>,
    _stop: DropGuard,
}

#[derive(Default)]
struct Counters {
    accepted: AtomicU64,
    refused: AtomicU64,
    abandoned: AtomicU64,
}

/// Reads the counts of an [`Incoming`] after it was handed to the server.
#[derive(Clone)]
pub struct CountsReader(Arc<Counters>);

// === impl Incoming ===

impl Incoming {
    /// Starts accepting on `listener` with the identity that is current at each handshake.
    ///
    /// Must be called inside a Tokio runtime. The task that accepts ends with the stream or with `cancel`.
    #[must_use]
    pub fn new(
        listener: TcpListener,
        identity: SharedIdentity,
        options: &ServerOptions,
        cancel: &CancellationToken,
    ) -> Self {
        let cancel = cancel.child_token();
        let counters = Arc::new(Counters::default());
        let (sender, ready) = mpsc::channel(READY_CONNECTIONS);
        let task = Accepting {
            listener,
            identity,
            options: options.clone(),
            counters: counters.clone(),
            ready: sender,
            cancel: cancel.clone(),
        };
        tokio::spawn(task.run());
        Self {
            ready,
            counters,
            _stop: cancel.drop_guard(),
        }
    }

    /// A handle on the counts that outlives the stream.
    #[must_use]
    pub fn counts_reader(&self) -> CountsReader {
        CountsReader(self.counters.clone())
    }
}

impl CountsReader {
    /// What became of connections so far.
    #[must_use]
    pub fn get(&self) -> ServerCounts {
        ServerCounts {
            accepted: self.0.accepted.load(Ordering::Relaxed),
            refused: self.0.refused.load(Ordering::Relaxed),
            abandoned: self.0.abandoned.load(Ordering::Relaxed),
        }
    }
}

impl Stream for Incoming {
    type Item = io::Result<TlsStream<TcpStream>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        self.ready.poll_recv(context)
    }
}

struct Accepting {
    listener: TcpListener,
    identity: SharedIdentity,
    options: ServerOptions,
    counters: Arc<Counters>,
    ready: mpsc::Sender<io::Result<TlsStream<TcpStream>>>,
    cancel: CancellationToken,
}

impl Accepting {
    async fn run(self) {
        // Dropping the set at the end aborts what is still shaking hands.
        let mut handshakes = JoinSet::new();
        let mut pending: VecDeque<AbortHandle> = VecDeque::new();
        loop {
            let accepted = tokio::select! {
                () = self.cancel.cancelled() => return,
                () = self.ready.closed() => return,
                Some(_) = handshakes.join_next() => continue,
                accepted = self.listener.accept() => accepted,
            };
            let (stream, peer) = match accepted {
                Ok(accepted) => accepted,
                Err(error) => {
                    tracing::debug!(%error, "failed to accept a connection");
                    sleep(ACCEPT_PAUSE).await;
                    continue;
                }
            };
            pending.retain(|handshake| !handshake.is_finished());
            while pending.len() >= self.options.handshakes.max(1) {
                if let Some(oldest) = pending.pop_front() {
                    oldest.abort();
                    self.counters.abandoned.fetch_add(1, Ordering::Relaxed);
                }
            }
            let acceptor = TlsAcceptor::from(self.identity.load().server());
            let limit = self.options.handshake_timeout;
            let (counters, ready) = (self.counters.clone(), self.ready.clone());
            pending.push_back(handshakes.spawn(async move {
                let Some(stream) = handshake(acceptor, stream, limit, &counters, peer).await else {
                    return;
                };
                // Waits while the server is busy: these are peers with a good certificate.
                let _ = ready.send(Ok(stream)).await;
            }));
        }
    }
}

async fn handshake(
    acceptor: TlsAcceptor,
    stream: TcpStream,
    limit: Duration,
    counters: &Counters,
    peer: std::net::SocketAddr,
) -> Option<TlsStream<TcpStream>> {
    let _ = stream.set_nodelay(true);
    let accepted = timeout(limit, acceptor.accept(stream)).await;
    match accepted {
        // rustls lets a client in that offers no protocol at all (provider-protocol.md 8.1).
        Ok(Ok(stream)) if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) => {
            counters.accepted.fetch_add(1, Ordering::Relaxed);
            Some(stream)
        }
        Ok(Ok(_)) => {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "refused a client that does not offer HTTP/2");
            None
        }
        Ok(Err(error)) => {
            counters.refused.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, %error, "refused a client");
            None
        }
        Err(_) => {
            counters.abandoned.fetch_add(1, Ordering::Relaxed);
            tracing::debug!(%peer, "gave up a handshake that took too long");
            None
        }
    }
}
