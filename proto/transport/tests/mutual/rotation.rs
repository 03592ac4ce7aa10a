//! Material that is replaced, followed, broken.

use std::time::Duration;

use latchkey_transport::{
    ConnectError, FileNames, FollowOptions, Identity, IdentityError, ServerOptions, SharedIdentity,
    follow_directory, wait_for_directory,
};
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;

use crate::pki::{Authority, Leaf};
use crate::server::{connect, get, serve};

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
