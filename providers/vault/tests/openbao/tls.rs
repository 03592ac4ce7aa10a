//! TLS: providers specification 2.3 and 8.1.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use latchkey_provider_sdk::ErrorClass::{BackendUnavailable, InvalidConfig, TlsError};
use latchkey_provider_sdk::ProviderError;
use rcgen::{CertificateParams, CertifiedIssuer, ExtendedKeyUsagePurpose, IsCa, KeyPair};
use serde_json::json;

use crate::server::{Bao, Listener, ROOT};
use crate::store::{Given, backend, key, store};

#[tokio::test]
async fn the_given_authority_is_trusted_and_no_other() {
    let bao = Bao::start_tls().await;
    bao.put("tls", json!({"a": "b"})).await;
    let authority = bao.authority();
    let bundle = STANDARD.encode(&authority);
    let twice = STANDARD.encode(&bundle);
    let provider = |kind: &str| json!({"type": kind, "name": "ca", "key": "ca.crt"});
    let backend = backend();
    let mut given = Given::new(&[("vault/token", ROOT), ("ca/ca.crt", &authority)]);
    for changes in [
        json!({"caBundle": bundle}),
        json!({"caBundle": twice}),
        json!({"caProvider": provider("Secret")}),
        json!({"caProvider": provider("ConfigMap")}),
        json!({"caBundle": bundle, "caProvider": {"type": "Secret", "name": "absent", "key": "absent"}}),
    ] {
        let store = store(&bao.address, changes.clone());
        let found = backend.get_secret(&store, &given, &key("tls")).await;
        assert!(found.is_ok(), "{changes} {found:?}");
    }

    let other = STANDARD.encode(authority_named("other").pem());
    for (changes, class) in [
        (json!({"caBundle": other}), TlsError),
        (
            json!({"caBundle": STANDARD.encode("no PEM")}),
            InvalidConfig,
        ),
    ] {
        let store = store(&bao.address, changes.clone());
        let error = backend
            .get_secret(&store, &given, &key("tls"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), class, "{}", error.message());
    }
    // The roots of the system, if there are any, do not know the server's authority.
    let error = backend
        .get_secret(&store(&bao.address, json!({})), &given, &key("tls"))
        .await
        .unwrap_err();
    assert!(
        [TlsError, InvalidConfig].contains(&error.class()),
        "{}",
        error.message()
    );

    given.is_cluster_wide = true;
    let by_provider = store(&bao.address, json!({"caProvider": provider("Secret")}));
    let error = backend
        .get_secret(&by_provider, &given, &key("tls"))
        .await
        .unwrap_err();
    assert_eq!(
        (error.class(), error.message()),
        (InvalidConfig, "missing namespace on caProvider secret")
    );

    // Plain HTTP on the TLS port is not Vault's answer.
    let plain = store(&bao.address.replace("https", "http"), json!({}));
    assert!(
        backend
            .get_secret(&plain, &given, &key("tls"))
            .await
            .is_err()
    );
}

#[tokio::test]
async fn the_client_certificate_is_shown_with_each_call() {
    let authority = authority_named("authority");
    let (chain, private) = leaf(&authority, "127.0.0.1", 2100);
    let bao = Bao::start_listening(&Listener {
        chain: &chain,
        key: &private,
        client_authority: Some(authority.pem()),
    })
    .await;
    bao.put("mtls", json!({"a": "b"})).await;
    let (client, client_key) = leaf(&authority, "client.example", 2100);
    let given = Given::new(&[
        ("vault/token", ROOT),
        ("client/tls.crt", &client),
        ("client/tls.key", &client_key),
    ]);
    let bundle = STANDARD.encode(authority.pem());
    let tls = json!({"certSecretRef": {"name": "client"}, "keySecretRef": {"name": "client"}});
    let with = store(&bao.tls_address, json!({"caBundle": bundle, "tls": tls}));
    let backend = backend();
    backend
        .get_secret(&with, &given, &key("mtls"))
        .await
        .unwrap();
    backend.validate(&with, &given).await.unwrap();

    let without = store(&bao.tls_address, json!({"caBundle": bundle}));
    let error = backend
        .get_secret(&without, &given, &key("mtls"))
        .await
        .unwrap_err();
    assert!(is_refusal(&error), "{}", error.message());

    // A rotated certificate counts with the next request.
    let stranger = authority_named("stranger");
    let (other, other_key) = leaf(&stranger, "client.example", 2100);
    given.rotate("client/tls.key", &other_key);
    let error = backend
        .get_secret(&with, &given, &key("mtls"))
        .await
        .unwrap_err();
    assert_eq!(
        error.class(),
        InvalidConfig,
        "certificate and key do not belong together: {}",
        error.message()
    );
    given.rotate("client/tls.crt", &other);
    let error = backend
        .get_secret(&with, &given, &key("mtls"))
        .await
        .unwrap_err();
    assert!(is_refusal(&error), "{}", error.message());
}

/// With TLS 1.3 the server refuses a client after the handshake; whether its alert or the closed connection is seen first is
/// a race.
fn is_refusal(error: &ProviderError) -> bool {
    [TlsError, BackendUnavailable].contains(&error.class())
}

#[tokio::test]
async fn an_expired_or_foreign_server_certificate_is_named_in_stable_words() {
    let authority = authority_named("authority");
    let bundle = STANDARD.encode(authority.pem());
    for (name, last_year, words) in [
        ("127.0.0.1", 2020, "the server certificate has expired"),
        (
            "vault.example",
            2100,
            "the server certificate is not valid for this host name",
        ),
    ] {
        let (chain, private) = leaf(&authority, name, last_year);
        let bao = Bao::start_listening(&Listener {
            chain: &chain,
            key: &private,
            client_authority: None,
        })
        .await;
        let store = store(&bao.tls_address, json!({"caBundle": bundle}));
        let backend = backend();
        let error = backend
            .get_secret(&store, &Given::token(ROOT), &key("x"))
            .await
            .unwrap_err();
        assert_eq!(error.class(), TlsError);
        assert!(error.message().ends_with(words), "{}", error.message());
        assert_eq!(
            backend
                .get_secret(&store, &Given::token(ROOT), &key("x"))
                .await
                .unwrap_err(),
            error
        );
    }
}

fn authority_named(name: &str) -> CertifiedIssuer<'static, KeyPair> {
    let mut parameters = CertificateParams::new(vec![]).unwrap();
    parameters
        .distinguished_name
        .push(rcgen::DnType::CommonName, name);
    parameters.is_ca = IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    CertifiedIssuer::self_signed(parameters, KeyPair::generate().unwrap()).unwrap()
}

/// A certificate for `name` and its key, in PEM form.
fn leaf(
    authority: &CertifiedIssuer<'static, KeyPair>,
    name: &str,
    last_year: i32,
) -> (String, String) {
    let pair = KeyPair::generate().unwrap();
    let mut parameters = CertificateParams::new(vec![name.to_owned()]).unwrap();
    parameters.not_before = rcgen::date_time_ymd(2019, 1, 1);
    parameters.not_after = rcgen::date_time_ymd(last_year, 1, 1);
    parameters.extended_key_usages = vec![
        ExtendedKeyUsagePurpose::ServerAuth,
        ExtendedKeyUsagePurpose::ClientAuth,
    ];
    let certificate = parameters.signed_by(&pair, authority).unwrap();
    (certificate.pem(), pair.serialize_pem())
}
