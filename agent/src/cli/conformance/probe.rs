//! Connections by hand: with any or no client certificate, and with pings at any pace.

use std::io;
use std::sync::Arc;
use std::time::Duration;

use rcgen::{
    BasicConstraints, CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair,
};
use rustls::{ClientConfig, RootCertStore};
use rustls_pki_types::pem::PemObject as _;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::{AsyncWriteExt as _, ReadHalf, WriteHalf};
use tokio::net::TcpStream;
use tokio::time::{Instant, timeout, timeout_at};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;

use super::frames::{Frame, FrameReader, PREFACE, flag, headers, kind};
use super::suite::Probes;

/// What a call without arguments is sent to: every server of the contract has it.
const HEALTH: &str = "/grpc.health.v1.Health/Check";

/// An empty message as gRPC sends it: not compressed, no bytes.
const EMPTY_MESSAGE: &[u8] = &[0; 5];

/// What became of a connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Heard {
    /// The call was answered.
    Answered,
    /// The server said goodbye, with a code and a text.
    GoAway(u32, String),
    /// The stream was broken off.
    Reset,
    /// The server refused the certificate, or its absence.
    Alert(String),
    /// The connection ended without a word.
    Closed,
    /// Nothing came.
    Silent,
}

/// What became of a connection that was pinged.
#[derive(Debug)]
pub(super) struct Pinged {
    pub(super) sent: u32,
    pub(super) answered: u32,
    /// How it ended before its time, if it did.
    pub(super) end: Option<Heard>,
}

/// One connection.
struct Peer {
    reader: FrameReader<ReadHalf<TlsStream<TcpStream>>>,
    writer: WriteHalf<TlsStream<TcpStream>>,
    authority: String,
}

// === impl Heard ===

impl Heard {
    pub(super) fn told(&self) -> String {
        match self {
            Self::Answered => String::from("an answer to a call"),
            Self::GoAway(11, text) => format!("GOAWAY ENHANCE_YOUR_CALM \"{text}\""),
            Self::GoAway(code, text) => format!("GOAWAY {code} \"{text}\""),
            Self::Reset => String::from("a stream broken off"),
            Self::Alert(alert) => format!("the TLS alert {alert}"),
            Self::Closed => String::from("the end of the connection"),
            Self::Silent => String::from("nothing"),
        }
    }

    fn of(error: &io::Error) -> Self {
        let inner = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        match inner {
            Some(rustls::Error::AlertReceived(alert)) => Self::Alert(format!("{alert:?}")),
            _ => Self::Closed,
        }
    }
}

/// Makes one call on a connection of its own. The error is one of this side: the server could not be reached or verified.
pub(super) async fn call(
    probes: &Probes,
    config: &Arc<ClientConfig>,
    limit: Duration,
) -> Result<Heard, String> {
    let deadline = Instant::now() + limit;
    let mut peer = match timeout_at(deadline, Peer::connect(probes, config)).await {
        Ok(Ok(peer)) => peer,
        Ok(Err(error)) => return refusal(error),
        Err(_) => return Ok(Heard::Silent),
    };
    match timeout_at(deadline, peer.call()).await {
        Ok(Ok(heard)) => Ok(heard),
        Ok(Err(error)) => Ok(Heard::of(&error)),
        Err(_) => Ok(Heard::Silent),
    }
}

/// Pings a connection without calls, once per `every`, for as long as `during`.
pub(super) async fn ping(
    probes: &Probes,
    every: Duration,
    during: Duration,
    limit: Duration,
) -> Result<Pinged, String> {
    let connect = timeout(limit, Peer::connect(probes, &probes.identity));
    let mut peer = match connect.await {
        Ok(Ok(peer)) => peer,
        Ok(Err(error)) => return Err(error.to_string()),
        Err(_) => return Err(String::from("the connection took too long")),
    };
    let mut pinged = Pinged {
        sent: 0,
        answered: 0,
        end: None,
    };
    match peer.ping(every, during, &mut pinged).await {
        Ok(end) => pinged.end = end,
        Err(error) => pinged.end = Some(Heard::of(&error)),
    }
    Ok(pinged)
}

/// A refusal by the server in the handshake is an answer; anything else is not.
///
/// In TLS 1.3 the client is done before the server has looked at its certificate: what the client says next may meet a
/// connection that the server closed already, and which error the kernel makes of that is a matter of moments.
fn refusal(error: io::Error) -> Result<Heard, String> {
    match (Heard::of(&error), error.kind()) {
        (heard @ Heard::Alert(_), _) => Ok(heard),
        (
            _,
            io::ErrorKind::UnexpectedEof
            | io::ErrorKind::ConnectionReset
            | io::ErrorKind::ConnectionAborted
            | io::ErrorKind::BrokenPipe,
        ) => Ok(Heard::Closed),
        _ => Err(error.to_string()),
    }
}

// === impl Peer ===

impl Peer {
    /// Connects and says what a client says first.
    async fn connect(probes: &Probes, config: &Arc<ClientConfig>) -> io::Result<Self> {
        let address = &probes.address;
        let host = probes.server_name.as_deref().unwrap_or(address.host());
        let name = ServerName::try_from(host.to_owned()).map_err(io::Error::other)?;
        let stream = TcpStream::connect((address.host(), address.port())).await?;
        stream.set_nodelay(true)?;
        let stream = TlsConnector::from(config.clone())
            .connect(name, stream)
            .await?;
        let (read, write) = tokio::io::split(stream);
        let mut peer = Self {
            reader: FrameReader::new(read),
            writer: write,
            authority: address.to_string(),
        };
        peer.writer.write_all(PREFACE).await?;
        peer.send(&Frame::connection(kind::SETTINGS, 0, &[]))
            .await?;
        Ok(peer)
    }

    async fn send(&mut self, frame: &Frame) -> io::Result<()> {
        self.writer.write_all(&frame.encode()).await?;
        self.writer.flush().await
    }

    async fn call(&mut self) -> io::Result<Heard> {
        let fields = [
            (":method", "POST"),
            (":scheme", "https"),
            (":path", HEALTH),
            (":authority", &self.authority),
            ("te", "trailers"),
            ("content-type", "application/grpc"),
        ];
        let question = Frame {
            kind: kind::HEADERS,
            flags: flag::END_HEADERS,
            stream: 1,
            payload: headers(&fields),
        };
        let body = Frame {
            kind: kind::DATA,
            flags: flag::END_STREAM,
            stream: 1,
            payload: EMPTY_MESSAGE.to_vec(),
        };
        // A refusal may come while this is written; the reason is what is read then.
        let sent = match self.send(&question).await {
            Ok(()) => self.send(&body).await,
            failed => failed,
        };
        loop {
            let frame = match self.reader.next().await {
                Ok(Some(frame)) => frame,
                Ok(None) => return sent.map(|()| Heard::Closed),
                Err(error) => return Err(error),
            };
            match frame.kind {
                kind::HEADERS if frame.stream == 1 => return Ok(Heard::Answered),
                kind::RST_STREAM => return Ok(Heard::Reset),
                _ => {}
            }
            if let Some((code, text)) = frame.goaway() {
                return Ok(Heard::GoAway(code, text));
            }
            if let Some(answer) = frame.acknowledgement() {
                self.send(&answer).await?;
            }
        }
    }

    /// How the connection ended before its time, if it did.
    async fn ping(
        &mut self,
        every: Duration,
        during: Duration,
        pinged: &mut Pinged,
    ) -> io::Result<Option<Heard>> {
        let end = Instant::now() + during;
        let mut next = Instant::now() + every;
        loop {
            let Ok(read) = timeout_at(next.min(end), self.reader.next()).await else {
                if Instant::now() >= end {
                    return Ok(None);
                }
                pinged.sent += 1;
                let content = u64::from(pinged.sent).to_be_bytes();
                self.send(&Frame::connection(kind::PING, 0, &content))
                    .await?;
                next += every;
                continue;
            };
            let Some(frame) = read? else {
                return Ok(Some(Heard::Closed));
            };
            if let Some((code, text)) = frame.goaway() {
                return Ok(Some(Heard::GoAway(code, text)));
            }
            if frame.kind == kind::PING && frame.flags & flag::ACK != 0 {
                pinged.answered += 1;
            }
            if let Some(answer) = frame.acknowledgement() {
                self.send(&answer).await?;
            }
        }
    }
}

/// A client's configuration that trusts `authority` and shows `pair` (certificate and key), or nothing; all in PEM.
pub(super) fn config(
    authority: &[u8],
    pair: Option<(&[u8], &[u8])>,
) -> Result<Arc<ClientConfig>, String> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(authority)? {
        roots.add(certificate).map_err(|error| error.to_string())?;
    }
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()
        .map_err(|error| error.to_string())?
        .with_root_certificates(roots);
    let mut config = match pair {
        None => builder.with_no_client_auth(),
        Some((certificate, key)) => {
            let key = PrivateKeyDer::from_pem_slice(key)
                .map_err(|_| String::from("the private key cannot be parsed"))?;
            builder
                .with_client_auth_cert(certificates(certificate)?, key)
                .map_err(|error| error.to_string())?
        }
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Ok(Arc::new(config))
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    CertificateDer::pem_slice_iter(pem)
        .collect::<Result<_, _>>()
        .map_err(|_| String::from("a certificate cannot be parsed"))
}

/// Certificate and key of a client of an authority that nobody trusts, as PEM.
pub(super) fn foreign_client() -> Result<(Vec<u8>, Vec<u8>), String> {
    let make = || -> Result<(Vec<u8>, Vec<u8>), rcgen::Error> {
        let mut authority = CertificateParams::new(vec![String::from("latchkey-conformance")])?;
        authority.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let authority = CertifiedIssuer::self_signed(authority, KeyPair::generate()?)?;
        let mut leaf = CertificateParams::new(Vec::<String>::new())?;
        leaf.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        let key = KeyPair::generate()?;
        let leaf = leaf.signed_by(&key, &authority)?;
        Ok((leaf.pem().into_bytes(), key.serialize_pem().into_bytes()))
    };
    make().map_err(|error| format!("failed to make a certificate: {error}"))
}
