//! What goes over the wire, looked at byte by byte.

use std::collections::BTreeSet;
use std::time::Duration;

use futures::StreamExt as _;
use latchkey_engine::source::{CallerNeeds, FailureClass};
use latchkey_proto::generator::v1 as generator;
use latchkey_proto::provider::v1 as wire;
use latchkey_transport::{ClientOptions, Identity, Incoming, ServerOptions};
use prost::Message as _;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::io::AsyncWriteExt as _;
use tokio::net::TcpListener;
use tokio::sync::mpsc;
use tokio::time::{Instant, timeout};
use tokio_util::sync::{CancellationToken, DropGuard};

use super::server::{Authority, providers_with};
use crate::cli::conformance::frames::{Frame, FrameReader, flag, kind};
use crate::providers::client::Client;
use crate::providers::{Pool, PoolSettings, ProviderMetrics, Providers};
use crate::stores::wire::{GeneratorTarget, Target};
use crate::stores::{RetryOverride, Usable};

/// A server that notes every frame, keeps HTTP/2 alive, and never answers a call.
struct Recorder {
    port: u16,
    heard: mpsc::UnboundedReceiver<(Instant, Option<Frame>)>,
    _stop: DropGuard,
}

impl Recorder {
    /// `is_alive`: it answers pings.
    async fn start(authority: &Authority, is_alive: bool) -> Self {
        let [ca, certificate, key] =
            authority.pem(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
        let identity =
            Identity::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let cancel = CancellationToken::new();
        let options = ServerOptions::default();
        let mut incoming = Incoming::new(listener, identity.into(), &options, &cancel);
        let (sender, heard) = mpsc::unbounded_channel();
        tokio::spawn(async move {
            while let Some(Ok(stream)) = incoming.next().await {
                let sender = sender.clone();
                tokio::spawn(async move {
                    let (reader, mut writer) = tokio::io::split(stream);
                    let mut reader = FrameReader::new(reader);
                    assert!(reader.preface().await.unwrap());
                    let settings = Frame::connection(kind::SETTINGS, 0, &[]);
                    writer.write_all(&settings.encode()).await.unwrap();
                    writer.flush().await.unwrap();
                    while let Ok(Some(frame)) = reader.next().await {
                        let is_answered = is_alive || frame.kind != kind::PING;
                        if let Some(answer) = frame.acknowledgement().filter(|_| is_answered) {
                            let _ = writer.write_all(&answer.encode()).await;
                            let _ = writer.flush().await;
                        }
                        let _ = sender.send((Instant::now(), Some(frame)));
                    }
                    let _ = sender.send((Instant::now(), None));
                });
            }
        });
        Self {
            port,
            heard,
            _stop: cancel.drop_guard(),
        }
    }

    fn usable(&self) -> Usable {
        Usable {
            address: format!("localhost:{}", self.port).parse().unwrap(),
            certificate: None,
            token: None,
            caller: CallerNeeds::default(),
            server_name: None,
            retry: Some(RetryOverride {
                retries: 0,
                interval: Duration::from_millis(1),
            }),
        }
    }

    /// The next thing heard; `None` for the end of the connection.
    async fn next(&mut self) -> (Instant, Option<Frame>) {
        let next = timeout(Duration::from_secs(20), self.heard.recv());
        next.await.unwrap().unwrap()
    }

    /// The message of the next call.
    async fn message(&mut self) -> Vec<u8> {
        let mut body = Vec::new();
        loop {
            let frame = self.next().await.1.unwrap();
            if frame.kind == kind::DATA {
                body.extend(&frame.payload);
                if frame.flags & flag::END_STREAM != 0 {
                    break;
                }
            }
        }
        // Not compressed, and the length of the rest.
        assert_eq!(
            body[..5],
            [&[0][..], &(body.len() as u32 - 5).to_be_bytes()].concat()
        );
        body.split_off(5)
    }
}

/// Numbers of the fields of a message, by the wire format alone.
fn numbers(mut bytes: &[u8]) -> BTreeSet<u64> {
    fn varint(bytes: &mut &[u8]) -> u64 {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (first, rest) = bytes.split_first().unwrap();
            *bytes = rest;
            value |= u64::from(first & 127) << shift;
            if first & 128 == 0 {
                return value;
            }
        }
        panic!("a number without an end")
    }
    let mut found = BTreeSet::new();
    while !bytes.is_empty() {
        let key = varint(&mut bytes);
        let length = match key & 7 {
            0 => {
                varint(&mut bytes);
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut bytes)).unwrap(),
            5 => 4,
            other => panic!("wire type {other}"),
        };
        bytes = &bytes[length..];
        found.insert(key >> 3);
    }
    found
}

fn target() -> Target {
    Target {
        provider_ref: reference(),
        source_namespace: "team-a".into(),
    }
}

fn reference() -> wire::ProviderReference {
    wire::ProviderReference {
        api_version: "example.com/v1".into(),
        kind: "Fake".into(),
        name: "tide".into(),
        namespace: "team-a".into(),
        store_ref_kind: "SecretStore".into(),
    }
}

fn remote() -> wire::ExternalSecretDataRemoteRef {
    wire::ExternalSecretDataRemoteRef {
        key: "db".into(),
        version: "3".into(),
        property: "pass".into(),
        decoding_strategy: "Auto".into(),
        metadata_policy: "Fetch".into(),
    }
}

fn find() -> wire::ExternalSecretFind {
    wire::ExternalSecretFind {
        path: "/app".into(),
        name: Some(wire::FindName { regexp: "x".into() }),
        tags: [("a".to_owned(), "b".to_owned())].into(),
        conversion_strategy: "Default".into(),
        decoding_strategy: "Auto".into(),
    }
}

fn generator_target() -> GeneratorTarget {
    GeneratorTarget {
        generator_ref: generator::GeneratorRef {
            api_version: "example.com/v1".into(),
            kind: "Fake".into(),
            name: "tide".into(),
            namespace: "team-a".into(),
        },
        source_namespace: "team-a".into(),
    }
}

#[derive(Clone, Copy, Debug)]
enum Call {
    GetSecret,
    GetSecretMap,
    GetAllSecrets,
    Validate,
    Capabilities,
    Generate,
    Cleanup,
}

/// Makes a call that nobody answers.
async fn make(client: &Client, call: Call) {
    let (target, generator) = (target(), generator_target());
    let answered = match call {
        Call::GetSecret => client.get_secret(&target, remote()).await.is_ok(),
        Call::GetSecretMap => client.get_secret_map(&target, remote()).await.is_ok(),
        Call::GetAllSecrets => client.get_all_secrets(&target, find()).await.is_ok(),
        Call::Validate => client.validate(&target).await.is_ok(),
        Call::Capabilities => client.capabilities(&target).await.is_ok(),
        Call::Generate => client.generate(&generator).await.is_ok(),
        Call::Cleanup => client.cleanup(&generator, b"{}".to_vec()).await.is_ok(),
    };
    assert!(!answered, "{call:?}");
}

#[tokio::test]
async fn what_is_sent_has_no_field_with_a_burned_number() {
    // PC-29: the numbers of section 1.6, and none that section 1.3 does not know.
    let authority = Authority::new();
    let set = |numbers: &[u64]| numbers.iter().copied().collect::<BTreeSet<u64>>();
    for (call, known, burned) in [
        (Call::GetSecret, &[1, 2, 3][..], 4),
        (Call::GetSecretMap, &[1, 2, 3], 4),
        (Call::GetAllSecrets, &[1, 2, 3], 4),
        (Call::Validate, &[1, 2], 3),
        (Call::Capabilities, &[1, 2], 3),
        (Call::Generate, &[1, 2], 3),
        (Call::Cleanup, &[1, 2, 3], 4),
    ] {
        let mut recorder = Recorder::start(&authority, true).await;
        let providers = providers_with(Some(&authority), Duration::from_millis(500));
        let client = providers.client(&recorder.usable()).await.unwrap();
        make(&client, call).await;
        let sent = numbers(&recorder.message().await);
        assert_eq!(sent, set(known), "{call:?}");
        assert!(!sent.contains(&burned), "{call:?}");
    }
    // What is only sent for a PushSecret: its requests with every field set.
    let push = wire::PushSecretRequest {
        provider_ref: Some(reference()),
        secret_data: [("k".to_owned(), vec![1])].into(),
        push_secret_data: Some(wire::PushSecretData::default()),
        source_namespace: "team-a".into(),
        secret_type: "Opaque".into(),
        secret_labels: [("a".to_owned(), "b".to_owned())].into(),
        secret_annotations: [("a".to_owned(), "b".to_owned())].into(),
    };
    let delete = wire::DeleteSecretRequest {
        provider_ref: Some(reference()),
        remote_ref: Some(wire::PushSecretRemoteRef::default()),
        source_namespace: "team-a".into(),
    };
    let exists = wire::SecretExistsRequest {
        provider_ref: Some(reference()),
        remote_ref: Some(wire::PushSecretRemoteRef::default()),
        source_namespace: "team-a".into(),
    };
    assert_eq!(numbers(&push.encode_to_vec()), set(&[1, 2, 3, 4, 5, 6, 7]));
    assert_eq!(numbers(&delete.encode_to_vec()), set(&[1, 2, 3]));
    assert_eq!(numbers(&exists.encode_to_vec()), set(&[1, 2, 3]));
    // The reader sees a burned number when there is one.
    assert!(numbers(b"\x1a\x01x\x22\x00").contains(&4));
}

fn pinging(authority: &Authority, interval: Duration, patience: Duration) -> Providers {
    let mut providers = providers_with(Some(authority), Duration::from_millis(300));
    let settings = PoolSettings {
        client: ClientOptions {
            keepalive_interval: interval,
            keepalive_timeout: patience,
            ..ClientOptions::default()
        },
        ..PoolSettings::default()
    };
    providers.pool = Pool::new(settings, ProviderMetrics::default());
    providers
}

#[tokio::test]
async fn an_idle_connection_is_pinged_at_its_interval_and_not_faster() {
    // PC-17: the client's half. What a server must bear is 10 s, and the third ping that comes within 5 s is punished.
    let options = PoolSettings::default().client;
    assert_eq!(options.keepalive_interval, Duration::from_secs(10));
    assert_eq!(options.keepalive_timeout, Duration::from_secs(5));

    let authority = Authority::new();
    let interval = Duration::from_millis(200);
    let mut recorder = Recorder::start(&authority, true).await;
    let providers = pinging(&authority, interval, Duration::from_secs(20));
    let client = providers.client(&recorder.usable()).await.unwrap();
    make(&client, Call::GetSecret).await;
    // The call was given up, so that the connection is idle.
    while recorder.next().await.1.unwrap().kind != kind::RST_STREAM {}
    let mut pings = Vec::new();
    while pings.len() < 5 {
        let (at, frame) = recorder.next().await;
        let frame = frame.unwrap();
        if frame.kind == kind::PING && frame.flags & flag::ACK == 0 {
            pings.push(at);
        }
    }
    // A busy machine delays what is heard, and then the next comes sooner; together they cannot be faster.
    let took = pings[4] - pings[0];
    assert!(took >= interval * 3, "5 pings within {took:?}");
}

#[tokio::test]
async fn a_connection_whose_pings_are_not_answered_is_given_up() {
    // PC-17, provider-protocol.md 6: the server is gone without a word.
    let authority = Authority::new();
    let mut recorder = Recorder::start(&authority, false).await;
    let (interval, patience) = (Duration::from_millis(100), Duration::from_millis(200));
    let providers = pinging(&authority, interval, patience);
    let client = providers.client(&recorder.usable()).await.unwrap();
    make(&client, Call::GetSecret).await;
    while recorder.next().await.1.is_some() {}
}

#[tokio::test]
async fn a_server_that_dies_during_a_call_is_tried_three_times_in_all() {
    // PC-19.
    let authority = Authority::new();
    let [ca, certificate, key] = authority.pem(&["localhost"], ExtendedKeyUsagePurpose::ServerAuth);
    let identity =
        Identity::from_pem(ca.as_bytes(), certificate.as_bytes(), key.as_bytes()).unwrap();
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let cancel = CancellationToken::new();
    let options = ServerOptions::default();
    let mut incoming = Incoming::new(listener, identity.into(), &options, &cancel);
    let server = tokio::spawn(async move {
        let mut calls = 0;
        while let Some(Ok(mut stream)) = incoming.next().await {
            let settings = Frame::connection(kind::SETTINGS, 0, &[]);
            stream.write_all(&settings.encode()).await.unwrap();
            stream.flush().await.unwrap();
            let mut reader = FrameReader::new(stream);
            assert!(reader.preface().await.unwrap());
            // Dropping the stream in the middle of a call is the end of the process, as seen from here.
            while let Ok(Some(frame)) = reader.next().await {
                if frame.kind == kind::DATA {
                    calls += 1;
                    break;
                }
            }
        }
        calls
    });
    let providers = providers_with(Some(&authority), Duration::from_secs(10));
    let store = Usable {
        address: format!("localhost:{port}").parse().unwrap(),
        certificate: None,
        token: None,
        caller: CallerNeeds::default(),
        server_name: None,
        retry: None,
    };
    let client = providers.client(&store).await.unwrap();
    let error = client.get_secret(&target(), remote()).await.unwrap_err();
    assert_eq!(error.class(), FailureClass::Unavailable, "{error}");
    cancel.cancel();
    assert_eq!(server.await.unwrap(), 3);
}

#[test]
fn fields_that_are_not_known_are_ignored() {
    // PC-28, provider-protocol.md 14: a later provider may say more.
    const UNKNOWN: &[u8] = b"\x7a\x01x\xa0\x06\x01";
    let with = |known: &[u8]| [known, UNKNOWN].concat();
    let value = wire::GetSecretResponse::decode(&*with(b"\x0a\x01v")).unwrap();
    assert_eq!(value.value, b"v");
    let map = wire::GetSecretMapResponse::decode(&*with(b"\x0a\x06\x0a\x01k\x12\x01v")).unwrap();
    assert_eq!(map.secrets["k"], b"v");
    let found = wire::GetAllSecretsResponse::decode(&*with(b"\x0a\x06\x0a\x01k\x12\x01v")).unwrap();
    assert_eq!(found.secrets["k"], b"v");
    assert!(
        wire::ValidateResponse::decode(&*with(b"\x08\x01"))
            .unwrap()
            .valid
    );
    let capabilities = wire::CapabilitiesResponse::decode(&*with(b"\x08\x02")).unwrap();
    assert_eq!(capabilities.capabilities, 2);
    let made = generator::GenerateResponse::decode(&*with(b"\x12\x01s")).unwrap();
    assert_eq!(made.state, b"s");
    generator::CleanupResponse::decode(UNKNOWN).unwrap();
}
