//! Identities in mounted directories, and the agent's own.

use std::path::Path;
use std::time::Duration;

use rcgen::ExtendedKeyUsagePurpose;
use tokio_util::sync::CancellationToken;

use super::server::Authority;
use crate::providers::own::{Keys, identity_of};
use crate::providers::{Identities, IdentityProblem, OwnIdentity};
use crate::stores::{CertificateSource, Usable};

fn write(directory: &Path, names: [&str; 3], contents: &[String; 3]) {
    std::fs::create_dir_all(directory).unwrap();
    for (name, content) in names.iter().zip(contents) {
        std::fs::write(directory.join(name), content).unwrap();
    }
}

fn usable(namespace: &str, name: &str) -> Usable {
    Usable {
        address: "p.secrets.svc:1".parse().unwrap(),
        certificate: Some(CertificateSource {
            namespace: namespace.into(),
            name: name.into(),
            ca_key: None,
            cert_key: None,
            key_key: None,
        }),
        token: None,
        caller: Default::default(),
        server_name: None,
        retry: None,
    }
}

const TLS: [&str; 3] = ["ca.crt", "tls.crt", "tls.key"];
const CLIENT: [&str; 3] = ["ca.crt", "client.crt", "client.key"];

#[tokio::test]
async fn mounted_secrets_are_used_and_others_name_the_chart_value() {
    let authority = Authority::new();
    let root = tempfile::tempdir().unwrap();
    let leaf = || authority.pem(&[], ExtendedKeyUsagePurpose::ClientAuth);
    write(&root.path().join("plain"), TLS, &leaf());
    let client = leaf();
    // P-TLS-1: beside a server's pair the client's wins.
    write(
        &root.path().join("both"),
        TLS,
        &authority.pem(&["p"], ExtendedKeyUsagePurpose::ServerAuth),
    );
    write(&root.path().join("both"), CLIENT, &client);
    write(
        &root.path().join("broken"),
        TLS,
        &[leaf()[0].clone(), leaf()[1].clone(), leaf()[2].clone()],
    );
    let identities = Identities::from_files(
        OwnIdentity::new("x"),
        root.path().to_owned(),
        "latchkey".into(),
    );

    identities
        .resolve(&usable("latchkey", "plain"))
        .await
        .unwrap();
    let both = identities
        .resolve(&usable("latchkey", "both"))
        .await
        .unwrap();
    let expected = latchkey_transport::Identity::from_pem(
        client[0].as_bytes(),
        client[1].as_bytes(),
        client[2].as_bytes(),
    );
    assert_eq!(both.fingerprint(), expected.unwrap().fingerprint());

    let cases = [
        (
            usable("latchkey", "absent"),
            "add \"absent\" to the chart value node.clientCertificates",
        ),
        (
            usable("team-a", "plain"),
            "only Secrets of namespace latchkey can be mounted, by the chart value node.clientCertificates",
        ),
        (
            usable("latchkey", "broken"),
            "the private key does not belong to the certificate (mounted Secret latchkey/broken)",
        ),
        (usable("latchkey", "../plain"), "is no name of a Secret"),
        (usable("latchkey", "a/b"), "is no name of a Secret"),
        (usable("latchkey", ".."), "is no name of a Secret"),
    ];
    for (store, text) in cases {
        match identities.resolve(&store).await {
            Err(IdentityProblem::Wrong(message)) => assert!(message.contains(text), "{message}"),
            other => panic!("{text}: {other:?}"),
        }
    }
}

#[tokio::test]
async fn own_identity_is_awaited_and_follows_its_directory() {
    let authority = Authority::new();
    let root = tempfile::tempdir().unwrap();
    let own = OwnIdentity::new("files");
    let cancel = CancellationToken::new();
    let task = tokio::spawn({
        let (own, directory, cancel) = (own.clone(), root.path().to_owned(), cancel.clone());
        async move { own.follow_directory(directory, cancel).await }
    });
    let mut changes = own.changes();
    assert!(own.load().is_none());
    let mut before = None;
    for _ in 0..2 {
        write(
            root.path(),
            TLS,
            &authority.pem(&[], ExtendedKeyUsagePurpose::ClientAuth),
        );
        tokio::time::timeout(Duration::from_secs(20), changes.changed())
            .await
            .unwrap()
            .unwrap();
        let now = own.load().map(|identity| identity.fingerprint());
        assert!(now.is_some() && now != before);
        before = now;
    }
    cancel.cancel();
    tokio::time::timeout(Duration::from_secs(5), task)
        .await
        .unwrap()
        .unwrap();
}

#[test]
fn keys_of_a_secret_are_chosen_and_missing_ones_named() {
    //
    use k8s_openapi::ByteString;
    let authority = Authority::new();
    let leaf = authority.pem(&[], ExtendedKeyUsagePurpose::ClientAuth);
    let data = |names: [&str; 3]| -> std::collections::BTreeMap<String, ByteString> {
        names
            .iter()
            .zip(&leaf)
            .map(|(name, content)| ((*name).to_owned(), ByteString(content.clone().into_bytes())))
            .collect()
    };
    for names in [TLS, CLIENT] {
        let mut data = data(names);
        identity_of(&mut data, &Keys::default()).unwrap();
        assert!(data.values().all(|value| value.0.is_empty()), "not wiped");
    }
    let named = Keys {
        authority: Some("a".into()),
        certificate: Some("b".into()),
        key: Some("c".into()),
    };
    identity_of(&mut data(["a", "b", "c"]), &named).unwrap();
    let other = authority.pem(&[], ExtendedKeyUsagePurpose::ClientAuth);
    let with = |key: &str, content: &str| {
        let mut data = data(TLS);
        data.insert(key.to_owned(), ByteString(content.as_bytes().to_vec()));
        data
    };
    let cases = [
        (
            data(["x", "client.crt", "client.key"]),
            Keys::default(),
            "ca.crt not found or empty",
        ),
        (
            data(["ca.crt", "client.crt", "y"]),
            Keys::default(),
            "tls.crt not found or empty",
        ),
        (data(TLS), named, "a not found or empty"),
        (
            with("ca.crt", "no certificate"),
            Keys::default(),
            "the certificate authority (ca.crt) is missing or cannot be parsed",
        ),
        (
            with("tls.crt", "no certificate"),
            Keys::default(),
            "the certificate is missing or cannot be parsed",
        ),
        (
            with("tls.key", "no key"),
            Keys::default(),
            "the private key is missing or cannot be parsed",
        ),
        (
            with("tls.key", &other[2]),
            Keys::default(),
            "the private key does not belong to the certificate",
        ),
    ];
    for (mut data, keys, text) in cases {
        assert_eq!(identity_of(&mut data, &keys).unwrap_err(), text);
    }
}
