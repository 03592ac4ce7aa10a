//! The client's end: a channel to one provider.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::Duration;

use hyper_util::rt::TokioIo;
use latchkey_proto::generator::v1::generator_provider_client::GeneratorProviderClient;
use latchkey_proto::provider::v1::secret_store_provider_client::SecretStoreProviderClient;
use parking_lot::Mutex;
use rustls_pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint};

use crate::ALPN_H2;
use crate::address::Address;
use crate::error::{ConnectError, Step};
use crate::identity::SharedIdentity;

/// Largest message that is received, in bytes: four times the default, because a provider may return many secrets at once
/// (provider-protocol.md 6).
pub const MAX_MESSAGE_BYTES: usize = 16 * 1024 * 1024;

/// How to talk to a provider. The defaults are those of provider-protocol.md 6.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// Longest time for name lookup, TCP and TLS together; shorter than any deadline of a call, so that the
    /// reason is known in time. Default 4 s.
    pub connect_timeout: Duration,
    /// Time between two pings, also without calls. Servers punish less than 5 s. Default 10 s.
    pub keepalive_interval: Duration,
    /// Longest wait for the answer to a ping. Default 5 s.
    pub keepalive_timeout: Duration,
    /// Most calls at a time; more wait. Default 64.
    pub in_flight: usize,
    /// Largest message that is received, in bytes. Default [`MAX_MESSAGE_BYTES`].
    pub max_message: usize,
    /// Value of the header `user-agent`, before the library's own.
    pub user_agent: String,
    /// Name that the server's certificate must be valid for, instead of the address' host.
    pub server_name: Option<String>,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self {
            connect_timeout: Duration::from_secs(4),
            keepalive_interval: Duration::from_secs(10),
            keepalive_timeout: Duration::from_secs(5),
            in_flight: 64,
            max_message: MAX_MESSAGE_BYTES,
            user_agent: concat!("eso-node-agent/", env!("CARGO_PKG_VERSION")).into(),
            server_name: None,
        }
    }
}

/// Why no channel could be made; nothing was connected yet.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum OpenError {
    /// The name to verify is no DNS name or IP address.
    #[error("{name:?} is no name that a certificate can be valid for")]
    ServerName {
        /// The name.
        name: String,
    },
    /// The address or the user agent cannot be written into a request.
    #[error("failed to prepare requests to {address}")]
    Endpoint {
        /// The provider's address.
        address: String,
    },
}

/// A channel to one provider: one HTTP/2 connection, made at the first call and again after it broke.
///
/// Clones share the connection. Each connect looks the host up again and uses the identity that is current then.
#[derive(Clone, Debug)]
pub struct Connection {
    channel: Channel,
    last_error: LastError,
    max_message: usize,
}

/// The last reason that a connect failed or a connection was refused.
///
/// With TLS 1.3 a server refuses a client's certificate after the client's own handshake succeeded; the alert then arrives with
/// the first read, deep inside the HTTP/2 stack, where its type is lost. So the connection notes it here.
#[derive(Clone, Debug, Default)]
struct LastError(Arc<Mutex<Option<ConnectError>>>);

// === impl Connection ===

impl Connection {
    /// Makes a channel to `address`. Nothing is sent before the first call.
    ///
    /// Must be called inside a Tokio runtime.
    ///
    /// # Errors
    ///
    /// [`OpenError`] if the host or an option cannot be used.
    pub fn open(
        address: &Address,
        identity: SharedIdentity,
        options: &ClientOptions,
    ) -> Result<Self, OpenError> {
        let name = options.server_name.as_deref().unwrap_or(address.host());
        let name = ServerName::try_from(name.to_owned()).map_err(|_| OpenError::ServerName {
            name: name.chars().take(253).collect(),
        })?;
        let failed = || OpenError::Endpoint {
            address: address.to_string(),
        };
        let origin = format!("https://{address}").parse().map_err(|_| failed())?;
        let last_error = LastError::default();
        let connector = Connector {
            address: address.clone(),
            name,
            identity,
            timeout: options.connect_timeout,
            last_error: last_error.clone(),
        };
        // The channel takes an https address only with its own, unchangeable TLS; the origin keeps `:scheme https` on the wire.
        let channel = Endpoint::from_shared(format!("http://{address}"))
            .map_err(|_| failed())?
            .origin(origin)
            .user_agent(options.user_agent.clone())
            .map_err(|_| failed())?
            .http2_keep_alive_interval(options.keepalive_interval)
            .keep_alive_timeout(options.keepalive_timeout)
            .keep_alive_while_idle(true)
            .concurrency_limit(options.in_flight)
            .connect_with_connector_lazy(tower::service_fn(move |_: http::Uri| {
                let connector = connector.clone();
                async move { connector.connect().await.map(TokioIo::new) }
            }));
        Ok(Self {
            channel,
            last_error,
            max_message: options.max_message,
        })
    }

    /// The channel itself, for clients of other services.
    #[must_use]
    pub fn channel(&self) -> Channel {
        self.channel.clone()
    }

    /// A client of the store service with the size limit set.
    #[must_use]
    pub fn store_client(&self) -> SecretStoreProviderClient<Channel> {
        SecretStoreProviderClient::new(self.channel()).max_decoding_message_size(self.max_message)
    }

    /// A client of the generator service with the size limit set.
    #[must_use]
    pub fn generator_client(&self) -> GeneratorProviderClient<Channel> {
        GeneratorProviderClient::new(self.channel()).max_decoding_message_size(self.max_message)
    }

    /// Whether `status` was made on this side because the connection could not be made or broke.
    ///
    /// Its code is then the library's guess (a refusal at the first read becomes `Unknown`), so callers treat it as
    /// `Unavailable`. The provider's own answers, and failures to decode them, are not local.
    #[must_use]
    pub fn is_local(status: &tonic::Status) -> bool {
        use std::error::Error as _;
        status.source().is_some()
    }

    /// Why a call failed before the provider could answer it, if it did.
    ///
    /// Looks into `status` first; a status of the transport that does not say is explained by the last failure of this
    /// connection.
    #[must_use]
    pub fn explain(&self, status: &tonic::Status) -> Option<ConnectError> {
        use std::error::Error as _;
        if let Some(found) = ConnectError::find(status) {
            return Some(found.clone());
        }
        // A status with a source was made on this side; the provider's have none.
        status
            .source()
            .and_then(|_| self.last_error.0.lock().clone())
    }
}

#[derive(Clone)]
struct Connector {
    address: Address,
    name: ServerName<'static>,
    identity: SharedIdentity,
    timeout: Duration,
    last_error: LastError,
}

impl Connector {
    async fn connect(&self) -> Result<Noting, ConnectError> {
        let deadline = Instant::now() + self.timeout;
        match self.try_connect(deadline).await {
            Ok(stream) => {
                *self.last_error.0.lock() = None;
                Ok(Noting {
                    stream,
                    address: self.address.to_string(),
                    heard: false,
                    last_error: self.last_error.clone(),
                })
            }
            Err(error) => {
                *self.last_error.0.lock() = Some(error.clone());
                Err(error)
            }
        }
    }

    async fn try_connect(&self, deadline: Instant) -> Result<TlsStream<TcpStream>, ConnectError> {
        let text = self.address.to_string();
        let late = |step| ConnectError::TimedOut {
            address: text.clone(),
            step,
        };
        let lookup = tokio::net::lookup_host((self.address.host(), self.address.port()));
        let addresses = timeout_at(deadline, lookup)
            .await
            .map_err(|_| late(Step::Resolve))?
            .map_err(|error| ConnectError::from_io(&text, Step::Resolve, &error))?;

        let mut failure = ConnectError::Resolve {
            address: text.clone(),
        };
        let mut connected = None;
        for address in addresses {
            match timeout_at(deadline, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    connected = Some(stream);
                    break;
                }
                Ok(Err(error)) => failure = ConnectError::from_io(&text, Step::Connect, &error),
                Err(_) => return Err(late(Step::Connect)),
            }
        }
        let stream = connected.ok_or(failure)?;
        let _ = stream.set_nodelay(true);

        let connector = TlsConnector::from(self.identity.load().client());
        let stream = timeout_at(deadline, connector.connect(self.name.clone(), stream))
            .await
            .map_err(|_| late(Step::Handshake))?
            .map_err(|error| ConnectError::from_io(&text, Step::Handshake, &error))?;
        if stream.get_ref().1.alpn_protocol() == Some(ALPN_H2) {
            Ok(stream)
        } else {
            Err(ConnectError::NoHttp2 { address: text })
        }
    }
}

/// A TLS connection that notes why it was refused, until the server has said anything.
struct Noting {
    stream: TlsStream<TcpStream>,
    address: String,
    heard: bool,
    last_error: LastError,
}

impl Noting {
    fn note(&self, error: &io::Error) {
        if !self.heard {
            *self.last_error.0.lock() =
                Some(ConnectError::from_io(&self.address, Step::Handshake, error));
        }
    }
}

impl AsyncRead for Noting {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let polled = Pin::new(&mut self.stream).poll_read(context, buffer);
        match &polled {
            Poll::Ready(Ok(())) if buffer.filled().len() > before => self.heard = true,
            Poll::Ready(Err(error)) => self.note(error),
            Poll::Ready(Ok(())) | Poll::Pending => {}
        }
        polled
    }
}

impl AsyncWrite for Noting {
    fn poll_write(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        bytes: &[u8],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write(context, bytes)
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffers: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        Pin::new(&mut self.stream).poll_write_vectored(context, buffers)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }
}
