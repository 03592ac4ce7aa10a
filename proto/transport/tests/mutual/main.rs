//! Both ends on real sockets, with certificates made for each test (provider-protocol.md 8, PC-16, PC-22).

#![expect(clippy::unwrap_used, reason = "helpers of tests")]

mod pki;

use std::net::SocketAddr;
use std::time::Duration;

use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::{
    SecretStoreProvider, SecretStoreProviderServer,
};
use latchkey_transport::{
    CertificateProblem, ClientOptions, ConnectError, Connection, CountsReader, FileNames,
    FollowOptions, Identity, IdentityError, Incoming, ServerOptions, SharedIdentity, Step,
    follow_directory, wait_for_directory,
};
use pki::{Authority, CLIENT, Leaf, Request, SERVER};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Response, Status};

/// A provider that echoes keys and says whether it saw a client certificate.
struct Echo;

#[tonic::async_trait]
impl SecretStoreProvider for Echo {
    async fn get_secret(
        &self,
        request: tonic::Request<wire::GetSecretRequest>,
    ) -> Result<Response<wire::GetSecretResponse>, Status> {
        if request
            .peer_certs()
            .is_none_or(|certificates| certificates.is_empty())
        {
            return Err(Status::internal("no client certificate"));
        }
        let agent = request
            .metadata()
            .get("user-agent")
            .map(|value| value.to_str().unwrap().to_owned());
        if !agent.is_some_and(|agent| agent.starts_with("eso-node-agent/")) {
            return Err(Status::internal("no user agent"));
        }
        let key = request.into_inner().remote_ref.unwrap_or_default().key;
        if let Ok(size) = key.parse::<usize>() {
            return Ok(Response::new(wire::GetSecretResponse {
                value: vec![b'x'; size],
            }));
        }
        if key == "slow" {
            sleep(Duration::from_secs(1)).await;
        }
        Ok(Response::new(wire::GetSecretResponse {
            value: key.into_bytes(),
        }))
    }

    async fn get_secret_map(
        &self,
        _: tonic::Request<wire::GetSecretMapRequest>,
    ) -> Result<Response<wire::GetSecretMapResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn push_secret(
        &self,
        _: tonic::Request<wire::PushSecretRequest>,
    ) -> Result<Response<wire::PushSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_secret(
        &self,
        _: tonic::Request<wire::DeleteSecretRequest>,
    ) -> Result<Response<wire::DeleteSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn secret_exists(
        &self,
        _: tonic::Request<wire::SecretExistsRequest>,
    ) -> Result<Response<wire::SecretExistsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_all_secrets(
        &self,
        _: tonic::Request<wire::GetAllSecretsRequest>,
    ) -> Result<Response<wire::GetAllSecretsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn validate(
        &self,
        _: tonic::Request<wire::ValidateRequest>,
    ) -> Result<Response<wire::ValidateResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn capabilities(
        &self,
        _: tonic::Request<wire::CapabilitiesRequest>,
    ) -> Result<Response<wire::CapabilitiesResponse>, Status> {
        Err(Status::unimplemented(""))
    }
}

struct Server {
    port: u16,
    counts: CountsReader,
    cancel: CancellationToken,
}

impl Drop for Server {
    fn drop(&mut self) {
        self.cancel.cancel();
    }
}

async fn serve(identity: SharedIdentity, options: ServerOptions) -> Server {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cancel = CancellationToken::new();
    let incoming = Incoming::new(listener, identity, &options, &cancel);
    let counts = incoming.counts_reader();
    tokio::spawn(
        tonic::transport::Server::builder()
            .add_service(SecretStoreProviderServer::new(Echo))
            .serve_with_incoming_shutdown(incoming, cancel.clone().cancelled_owned()),
    );
    Server {
        port,
        counts,
        cancel,
    }
}

fn connect(host: &str, port: u16, identity: SharedIdentity) -> Connection {
    Connection::open(
        &format!("{host}:{port}").parse().unwrap(),
        identity,
        &ClientOptions::default(),
    )
    .unwrap()
}

async fn get(connection: &Connection, key: &str) -> Result<Vec<u8>, Status> {
    let request = wire::GetSecretRequest {
        remote_ref: Some(wire::ExternalSecretDataRemoteRef {
            key: key.into(),
            ..Default::default()
        }),
        ..Default::default()
    };
    let answer = timeout(
        Duration::from_secs(20),
        connection.store_client().get_secret(request),
    )
    .await
    .unwrap();
    answer.map(|response| response.into_inner().value)
}

/// The explained failure of one call over a new connection.
async fn refusal(host: &str, port: u16, identity: Identity) -> ConnectError {
    let connection = connect(host, port, identity.into());
    let status = get(&connection, "k").await.unwrap_err();
    // tonic reports a connection that the server closed at its first read as Unknown.
    assert!(
        matches!(status.code(), Code::Unavailable | Code::Unknown),
        "{status:?}"
    );
    assert!(Connection::is_local(&status), "{status:?}");
    connection
        .explain(&status)
        .unwrap_or_else(|| panic!("unexplained: {status:?}"))
}

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
    // P-TLS-2.
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
async fn leaves_rotate_on_both_ends_under_open_connections() {
    // PC-22: a call in flight on the old connection completes.
    let authority = Authority::new("ca");
    let (theirs, ours): (SharedIdentity, SharedIdentity) = (
        authority.server().identity(&authority).into(),
        authority.client().identity(&authority).into(),
    );
    let server = serve(theirs.clone(), ServerOptions::default()).await;
    let connection = connect("localhost", server.port, ours.clone());
    assert_eq!(get(&connection, "before").await.unwrap(), b"before");
    let slow = tokio::spawn({
        let connection = connection.clone();
        async move { get(&connection, "slow").await }
    });

    let before = ours.load().fingerprint();
    assert!(theirs.replace(authority.server().identity(&authority)));
    assert!(ours.replace(authority.client().identity(&authority)));
    assert_ne!(ours.load().fingerprint(), before);
    assert_eq!(ours.counts().reloads, 1);

    let fresh = connect("localhost", server.port, ours);
    assert_eq!(get(&fresh, "after").await.unwrap(), b"after");
    assert_eq!(slow.await.unwrap().unwrap(), b"slow");
}

#[tokio::test]
async fn authorities_rotate_and_the_same_channel_recovers() {
    let (old, new) = (Authority::new("ca"), Authority::new("ca"));
    let theirs: SharedIdentity = old.server().identity(&old).into();
    let ours: SharedIdentity = old.client().identity(&old).into();
    let server = serve(theirs.clone(), ServerOptions::default()).await;

    theirs.replace(new.server().identity(&new));
    let connection = connect("localhost", server.port, ours.clone());
    let status = get(&connection, "k").await.unwrap_err();
    let error = connection.explain(&status).unwrap();
    // Same name and another key: a bad signature for webpki, or an unknown authority.
    assert!(
        matches!(error, ConnectError::ServerCertificate { .. }),
        "{error:?}"
    );

    ours.replace(new.client().identity(&new));
    assert_eq!(get(&connection, "k").await.unwrap(), b"k");
}

#[tokio::test]
async fn bundle_of_two_authorities_accepts_both() {
    let (old, new) = (Authority::new("old"), Authority::new("new"));
    let bundle = format!("{}{}", old.pem(), new.pem());
    let with_bundle = |leaf: Leaf| {
        Identity::from_pem(
            bundle.as_bytes(),
            leaf.certificate.as_bytes(),
            leaf.key.as_bytes(),
        )
        .unwrap()
    };
    let server = serve(with_bundle(old.server()).into(), ServerOptions::default()).await;
    for client in [old.client(), new.client()] {
        let connection = connect("localhost", server.port, with_bundle(client).into());
        assert_eq!(get(&connection, "k").await.unwrap(), b"k");
    }
}

#[test]
fn broken_material_is_named_and_never_shown() {
    let authority = Authority::new("ca");
    let (leaf, other) = (authority.client(), authority.client());
    let ca = authority.pem();
    type Case<'a> = (&'a str, &'a str, &'a str, fn(&IdentityError) -> bool);
    let cases: [Case<'_>; 8] = [
        ("", &leaf.certificate, &leaf.key, |error| {
            matches!(error, IdentityError::Authority)
        }),
        ("junk", &leaf.certificate, &leaf.key, |error| {
            matches!(error, IdentityError::Authority)
        }),
        (&leaf.key, &leaf.certificate, &leaf.key, |error| {
            matches!(error, IdentityError::Authority)
        }),
        (&ca, "", &leaf.key, |error| {
            matches!(error, IdentityError::Certificate)
        }),
        (
            &ca,
            "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
            &leaf.key,
            |error| matches!(error, IdentityError::Certificate),
        ),
        (&ca, &leaf.certificate, "", |error| {
            matches!(error, IdentityError::Key)
        }),
        (&ca, &leaf.certificate, &leaf.certificate, |error| {
            matches!(error, IdentityError::Key)
        }),
        (&ca, &leaf.certificate, &other.key, |error| {
            matches!(error, IdentityError::Mismatch)
        }),
    ];
    for (at, (ca, certificate, key, expected)) in cases.into_iter().enumerate() {
        let error =
            Identity::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap_err();
        assert!(expected(&error), "case {at}: {error:?}");
    }
    let identity = leaf.identity(&authority);
    let printed = format!("{identity:?}");
    let body = leaf.key.lines().nth(1).unwrap();
    assert!(!printed.contains(body) && printed.len() < 300, "{printed}");
}

#[test]
fn fingerprint_depends_on_each_part_and_expiry_is_read() {
    let (authority, other) = (Authority::new("ca"), Authority::new("ca"));
    let leaf = authority.client();
    let same = leaf.identity(&authority);
    assert_eq!(same.fingerprint(), leaf.identity(&authority).fingerprint());
    assert_ne!(same.fingerprint(), leaf.identity(&other).fingerprint());
    assert_ne!(
        same.fingerprint(),
        authority.client().identity(&authority).fingerprint()
    );
    let year = 365 * 24 * 3600;
    let ends = same
        .expiry()
        .certificate
        .duration_since(std::time::SystemTime::UNIX_EPOCH)
        .unwrap()
        .as_secs();
    assert_eq!(ends / year, 120);
}

fn write(directory: &std::path::Path, authority: &Authority, leaf: &Leaf) {
    // As kubelet does it: a new directory, then one rename of the link to it.
    let generation = std::fs::read_dir(directory).unwrap().count();
    let data = directory.join(format!("..{generation}"));
    std::fs::create_dir(&data).unwrap();
    std::fs::write(data.join("ca.crt"), authority.pem()).unwrap();
    std::fs::write(data.join("tls.crt"), &leaf.certificate).unwrap();
    std::fs::write(data.join("tls.key"), &leaf.key).unwrap();
    let link = directory.join("..data_tmp");
    std::os::unix::fs::symlink(&data, &link).unwrap();
    std::fs::rename(&link, directory.join("..data")).unwrap();
    for name in ["ca.crt", "tls.crt", "tls.key"] {
        let _ = std::os::unix::fs::symlink(format!("..data/{name}"), directory.join(name));
    }
}

async fn eventually(what: &str, mut holds: impl FnMut() -> bool) {
    for _ in 0..200 {
        if holds() {
            return;
        }
        sleep(Duration::from_millis(50)).await;
    }
    panic!("{what} did not happen within 10 s");
}

#[tokio::test]
async fn mounted_directory_is_awaited_and_followed() {
    let authority = Authority::new("ca");
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().to_owned();
    // The poll is far away: what happens is seen by the watch.
    let options = FollowOptions {
        poll: Duration::from_secs(3600),
        settle: Duration::from_millis(20),
    };
    let cancel = CancellationToken::new();

    let waiting = tokio::spawn({
        let (path, options, cancel) = (path.clone(), options.clone(), cancel.clone());
        async move { wait_for_directory(&path, &FileNames::default(), &options, &cancel).await }
    });
    sleep(Duration::from_millis(100)).await;
    assert!(!waiting.is_finished());
    write(&path, &authority, &authority.client());
    let identity = timeout(Duration::from_secs(10), waiting)
        .await
        .unwrap()
        .unwrap()
        .unwrap();

    let following = tokio::spawn(follow_directory(
        identity.clone(),
        path.clone(),
        FileNames::default(),
        options,
        cancel.clone(),
    ));
    sleep(Duration::from_millis(100)).await;
    let next = authority.client();
    write(&path, &authority, &next);
    let expected = next.identity(&authority).fingerprint();
    eventually("the reload", || identity.load().fingerprint() == expected).await;
    assert_eq!(identity.counts().reloads, 1);

    // A mismatched pair is refused, counted, and the old identity stays.
    let broken = Leaf {
        certificate: authority.client().certificate,
        key: authority.client().key,
    };
    write(&path, &authority, &broken);
    eventually("the failure", || identity.counts().failures > 0).await;
    assert_eq!(identity.load().fingerprint(), expected);

    cancel.cancel();
    timeout(Duration::from_secs(5), following)
        .await
        .unwrap()
        .unwrap();
}

#[tokio::test]
async fn poll_finds_what_the_watch_misses() {
    let authority = Authority::new("ca");
    let directory = tempfile::tempdir().unwrap();
    // Nothing to watch at the beginning: the directory comes later.
    let path = directory.path().join("later");
    let identity: SharedIdentity = authority.client().identity(&authority).into();
    let cancel = CancellationToken::new();
    let options = FollowOptions {
        poll: Duration::from_millis(50),
        ..Default::default()
    };
    let following = follow_directory(
        identity.clone(),
        path.clone(),
        FileNames::default(),
        options,
        cancel.clone(),
    );
    let following = tokio::spawn(following);
    eventually("the failure", || identity.counts().failures > 0).await;
    std::fs::create_dir(&path).unwrap();
    let next = authority.client();
    write(&path, &authority, &next);
    let expected = next.identity(&authority).fingerprint();
    eventually("the reload", || identity.load().fingerprint() == expected).await;
    cancel.cancel();
    timeout(Duration::from_secs(5), following)
        .await
        .unwrap()
        .unwrap();
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
