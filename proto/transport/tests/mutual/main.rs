//! Both ends on real sockets, with certificates made for each test (provider-protocol.md 8, PC-16, PC-22).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod pki;
mod rotation;
mod server;

use std::net::SocketAddr;
use std::time::Duration;

use latchkey_transport::{
    CertificateProblem, ClientOptions, ConnectError, Connection, ServerOptions, Step,
};
use pki::{Authority, CLIENT, Request, SERVER};
use server::{connect, get, refusal, serve};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tonic::Code;

#[tokio::test]
async fn call_succeeds_over_both_name_and_address() {
    let authority = Authority::new("ca");
    let server = serve(
        authority.server().identity(&authority).into(),
        ServerOptions::default(),
    )
    .await;
    let client = authority.client().identity(&authority);
    for host in ["localhost", "127.0.0.1"] {
        let connection = connect(host, server.port, client.clone().into());
        assert_eq!(get(&connection, "hello").await.unwrap(), b"hello");
    }
    assert_eq!(server.counts.get().accepted, 2);
}

#[tokio::test]
async fn upstream_shapes_are_taken_in_both_roles() {
    // RSA keys in PKCS#1, an authority with serial 0, a client certificate without names (8.1).
    let authority = Authority::upstream();
    let (leaf, client) = (authority.server(), authority.client());
    assert!(leaf.key.starts_with("-----BEGIN RSA PRIVATE KEY-----"));
    let server = serve(leaf.identity(&authority).into(), ServerOptions::default()).await;
    let connection = connect("localhost", server.port, client.identity(&authority).into());
    assert_eq!(get(&connection, "hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn messages_above_the_usual_limit_are_received() {
    // PC-18: 5 MiB pass, more than 16 MiB does not.
    let authority = Authority::new("ca");
    let server = serve(
        authority.server().identity(&authority).into(),
        ServerOptions::default(),
    )
    .await;
    let connection = connect(
        "localhost",
        server.port,
        authority.client().identity(&authority).into(),
    );
    assert_eq!(get(&connection, "5242880").await.unwrap().len(), 5_242_880);
    let status = get(&connection, "16777300").await.unwrap_err();
    assert_eq!(status.code(), Code::OutOfRange, "{status:?}");
    assert_eq!(connection.explain(&status), None);
    assert!(!Connection::is_local(&status));
}

#[tokio::test]
async fn wrong_clients_are_refused_with_the_failed_check() {
    // PC-16.
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let server = serve(
        authority.server().identity(&authority).into(),
        ServerOptions::default(),
    )
    .await;
    let expired = authority.issue(&Request {
        name: "c",
        hosts: &[],
        usage: CLIENT,
        years: (2001, 2002),
    });
    let wrong_use = authority.issue(&Request {
        name: "c",
        hosts: &[],
        usage: SERVER,
        years: (2020, 2090),
    });
    let cases = [
        (other.client(), CertificateProblem::UnknownAuthority),
        (expired, CertificateProblem::Expired),
        (wrong_use, CertificateProblem::Purpose),
    ];
    for (leaf, expected) in cases {
        match refusal("localhost", server.port, leaf.identity(&authority)).await {
            ConnectError::ClientCertificate { problem, .. } => assert_eq!(problem, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
    assert_eq!(server.counts.get().accepted, 0);
    assert!(server.counts.get().refused >= 3);
}

#[tokio::test]
async fn wrong_servers_are_refused_with_the_failed_check() {
    // SB-23, SB-28.
    let (authority, other) = (Authority::new("ca"), Authority::new("other"));
    let issue = |hosts: &'static [&'static str], usage, years| {
        authority.issue(&Request {
            name: "s",
            hosts,
            usage,
            years,
        })
    };
    let cases = [
        (other.server(), CertificateProblem::UnknownAuthority),
        (
            issue(&["elsewhere.test"], SERVER, (2020, 2090)),
            CertificateProblem::NameMismatch,
        ),
        (
            issue(&["localhost"], SERVER, (2001, 2002)),
            CertificateProblem::Expired,
        ),
        (
            issue(&["localhost"], SERVER, (2080, 2090)),
            CertificateProblem::NotYetValid,
        ),
        (
            issue(&["localhost"], CLIENT, (2020, 2090)),
            CertificateProblem::Purpose,
        ),
    ];
    for (leaf, expected) in cases {
        let server = serve(leaf.identity(&authority).into(), ServerOptions::default()).await;
        match refusal(
            "localhost",
            server.port,
            authority.client().identity(&authority),
        )
        .await
        {
            ConnectError::ServerCertificate { problem, .. } => assert_eq!(problem, expected),
            other => panic!("{expected:?}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn address_needs_an_address_in_the_certificate() {
    // P-TLS-2, SB-28.
    let authority = Authority::new("ca");
    let leaf = authority.issue(&Request {
        name: "s",
        hosts: &["localhost"],
        usage: SERVER,
        years: (2020, 2090),
    });
    let server = serve(leaf.identity(&authority).into(), ServerOptions::default()).await;
    let error = refusal(
        "127.0.0.1",
        server.port,
        authority.client().identity(&authority),
    )
    .await;
    assert!(
        matches!(
            error,
            ConnectError::ServerCertificate {
                problem: CertificateProblem::NameMismatch,
                ..
            }
        ),
        "{error:?}"
    );
    // The store may name the server itself.
    let options = ClientOptions {
        server_name: Some("localhost".into()),
        ..Default::default()
    };
    let address = format!("127.0.0.1:{}", server.port).parse().unwrap();
    let identity = authority.client().identity(&authority);
    let connection = Connection::open(&address, identity.into(), &options).unwrap();
    assert_eq!(get(&connection, "hello").await.unwrap(), b"hello");
}

#[tokio::test]
async fn silent_plain_and_absent_servers_are_told_apart() {
    // SB-23: a server without TLS is not spoken to.
    let authority = Authority::new("ca");
    let client = || authority.client().identity(&authority);

    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    drop(listener);
    let error = refusal("127.0.0.1", port, client()).await;
    assert!(matches!(error, ConnectError::Refused { .. }), "{error:?}");

    let plain = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = plain.local_addr().unwrap().port();
    tokio::spawn(async move {
        while let Ok((mut stream, _)) = plain.accept().await {
            let _ = stream.write_all(b"HTTP/1.1 400 Bad Request\r\n\r\n").await;
            let _ = stream.read(&mut [0; 1024]).await;
        }
    });
    let error = refusal("127.0.0.1", port, client()).await;
    assert!(
        matches!(&error, ConnectError::Handshake { reason, .. } if reason.contains("does not speak TLS")),
        "{error:?}"
    );

    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("127.0.0.1:{}", silent.local_addr().unwrap().port())
        .parse()
        .unwrap();
    let options = ClientOptions {
        connect_timeout: Duration::from_millis(200),
        ..Default::default()
    };
    let connection = Connection::open(&address, client().into(), &options).unwrap();
    let status = get(&connection, "k").await.unwrap_err();
    let error = connection.explain(&status).unwrap();
    assert!(
        matches!(
            error,
            ConnectError::TimedOut {
                step: Step::Handshake,
                ..
            }
        ),
        "{error:?}"
    );
}

#[tokio::test]
async fn unresolvable_host_is_named() {
    let authority = Authority::new("ca");
    let error = refusal(
        "no-such-host.invalid",
        1,
        authority.client().identity(&authority),
    )
    .await;
    assert!(
        matches!(&error, ConnectError::Resolve { address } if address == "no-such-host.invalid:1"),
        "{error:?}"
    );
}

#[tokio::test]
async fn plaintext_and_foreign_protocols_get_no_answer() {
    // SB-23: a client without TLS is not answered.
    let authority = Authority::new("ca");
    let server = serve(
        authority.server().identity(&authority).into(),
        ServerOptions::default(),
    )
    .await;

    // HTTP/2 with prior knowledge, without TLS.
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    stream
        .write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
        .await
        .unwrap();
    let mut answer = Vec::new();
    let _ = timeout(Duration::from_secs(5), stream.read_to_end(&mut answer))
        .await
        .unwrap();
    // At most a TLS alert, never an HTTP/2 frame.
    assert!(answer.is_empty() || answer[0] == 0x15, "{answer:?}");

    // Good certificates, but no offer of HTTP/2: rustls completes the handshake, we close.
    for protocols in [vec![], vec![b"http/1.1".to_vec()]] {
        let mut stream = raw_client(&authority, protocols, server.port).await;
        let mut buffer = [0; 1];
        let read = match &mut stream {
            Ok(stream) => timeout(Duration::from_secs(5), stream.read(&mut buffer))
                .await
                .unwrap()
                .unwrap_or(0),
            Err(_) => 0,
        };
        assert_eq!(read, 0);
    }
    assert_eq!(server.counts.get().accepted, 0);
}

async fn raw_client(
    authority: &Authority,
    protocols: Vec<Vec<u8>>,
    port: u16,
) -> std::io::Result<tokio_rustls::client::TlsStream<TcpStream>> {
    use rustls_pki_types::pem::PemObject as _;
    use rustls_pki_types::{CertificateDer, PrivateKeyDer};
    let leaf = authority.client();
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(authority.pem().as_bytes()).unwrap())
        .unwrap();
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let mut config = rustls::ClientConfig::builder_with_provider(provider.into())
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_root_certificates(roots)
        .with_client_auth_cert(
            vec![CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
        )
        .unwrap();
    config.alpn_protocols = protocols;
    let stream = TcpStream::connect(("127.0.0.1", port)).await?;
    tokio_rustls::TlsConnector::from(std::sync::Arc::new(config))
        .connect("localhost".try_into().unwrap(), stream)
        .await
}

#[tokio::test]
async fn idle_peers_do_not_keep_others_out() {
    let authority = Authority::new("ca");
    let options = ServerOptions {
        handshakes: 4,
        handshake_timeout: Duration::from_secs(60),
    };
    let server = serve(authority.server().identity(&authority).into(), options).await;
    let mut idle = Vec::new();
    for _ in 0..20 {
        idle.push(
            TcpStream::connect(("127.0.0.1", server.port))
                .await
                .unwrap(),
        );
    }
    let connection = connect(
        "localhost",
        server.port,
        authority.client().identity(&authority).into(),
    );
    assert_eq!(get(&connection, "hello").await.unwrap(), b"hello");
    assert!(
        server.counts.get().abandoned >= 16,
        "{:?}",
        server.counts.get()
    );
}

#[tokio::test]
async fn slow_handshakes_end_at_the_limit() {
    let authority = Authority::new("ca");
    let options = ServerOptions {
        handshake_timeout: Duration::from_millis(100),
        ..Default::default()
    };
    let server = serve(authority.server().identity(&authority).into(), options).await;
    let mut stream = TcpStream::connect(("127.0.0.1", server.port))
        .await
        .unwrap();
    let read = timeout(Duration::from_secs(5), stream.read(&mut [0; 1]))
        .await
        .unwrap();
    assert_eq!(read.unwrap_or(0), 0);
    assert_eq!(server.counts.get().abandoned, 1);
}

#[tokio::test]
async fn cancelled_server_stops_listening() {
    let authority = Authority::new("ca");
    let server = serve(
        authority.server().identity(&authority).into(),
        ServerOptions::default(),
    )
    .await;
    let address = SocketAddr::from(([127, 0, 0, 1], server.port));
    server.cancel.cancel();
    for _ in 0..100 {
        if TcpStream::connect(address).await.is_err() {
            return;
        }
        sleep(Duration::from_millis(20)).await;
    }
    panic!("still listening");
}
