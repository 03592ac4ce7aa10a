use super::*;

fn now() -> Timestamp {
    "2026-03-01T00:00:00Z".parse().unwrap()
}

fn server() -> Profile {
    Profile::of_service("provider-bao", "vault", "cluster.local")
}

#[test]
fn a_server_leaf_has_the_four_names_and_is_trusted_for_each() {
    let authority = Authority::generate(now()).unwrap();
    let leaf = authority.issue(&server(), now()).unwrap();
    let facts = Facts::of(leaf.certificate.as_bytes()).unwrap();
    let names: Vec<&str> = facts.names.iter().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "provider-bao",
            "provider-bao.vault",
            "provider-bao.vault.svc",
            "provider-bao.vault.svc.cluster.local"
        ]
    );
    assert_eq!(facts.check_key(&leaf.key), Ok(()));
    assert!(!facts.is_ca);
    assert_eq!(facts.remaining(now()), LEAF_LIFETIME);
    assert_eq!(facts.age(now()), BACKDATE);
    let bundle = &authority.identity().certificate;
    assert!(is_trusted(
        leaf.certificate.as_bytes(),
        &server(),
        bundle,
        now()
    ));
}

#[test]
fn trust_needs_the_right_ca_time_usage_and_names() {
    let (authority, other) = (
        Authority::generate(now()).unwrap(),
        Authority::generate(now()).unwrap(),
    );
    let bundle = authority.identity().certificate.clone();
    let leaf = authority.issue(&server(), now()).unwrap().certificate;
    let client = authority
        .issue(&Profile::Client, now())
        .unwrap()
        .certificate;
    let elsewhere = Profile::of_service("provider-bao", "vault", "corp.example");
    let overlap = format!("{}{bundle}", other.identity().certificate);
    let cases = [
        ("its own CA", &leaf, server(), &bundle, now(), true),
        ("old and new CA", &leaf, server(), &overlap, now(), true),
        ("a client", &client, Profile::Client, &bundle, now(), true),
        (
            "another CA",
            &leaf,
            server(),
            &other.identity().certificate,
            now(),
            false,
        ),
        (
            "too late",
            &leaf,
            server(),
            &bundle,
            now() + LEAF_LIFETIME + DAY,
            false,
        ),
        ("too early", &leaf, server(), &bundle, now() - DAY, false),
        (
            "server as client",
            &leaf,
            Profile::Client,
            &bundle,
            now(),
            false,
        ),
        ("client as server", &client, server(), &bundle, now(), false),
        (
            "another cluster domain",
            &leaf,
            elsewhere,
            &bundle,
            now(),
            false,
        ),
    ];
    for (name, certificate, profile, bundle, time, expected) in cases {
        assert_eq!(
            is_trusted(certificate.as_bytes(), &profile, bundle, time),
            expected,
            "{name}"
        );
    }
    assert!(!is_trusted(b"nonsense", &server(), &bundle, now()));
}

#[test]
fn a_leaf_never_outlives_its_ca() {
    let authority = Authority::generate(now()).unwrap();
    let late = now() + CA_LIFETIME - DAY;
    let leaf = authority.issue(&Profile::Client, late).unwrap();
    assert_eq!(
        Facts::of(leaf.certificate.as_bytes())
            .unwrap()
            .remaining(late),
        DAY
    );
}

#[test]
fn serials_are_random_positive_and_never_repeat() {
    let authority = Authority::generate(now()).unwrap();
    let serials: BTreeSet<Vec<u8>> = (0..16)
        .map(|_| {
            let leaf = authority.issue(&Profile::Client, now()).unwrap();
            let der = CertificateDer::from_pem_slice(leaf.certificate.as_bytes()).unwrap();
            let (_, certificate) = parse_x509_certificate(&der).unwrap();
            certificate.raw_serial().to_vec()
        })
        .collect();
    assert_eq!(serials.len(), 16);
    assert!(
        serials
            .iter()
            .all(|serial| serial.len() == 16 && serial[0] & 0x80 == 0)
    );
}

#[test]
fn only_a_ca_with_its_own_key_is_taken_over() {
    let (authority, other) = (
        Authority::generate(now()).unwrap(),
        Authority::generate(now()).unwrap(),
    );
    let leaf = authority.issue(&Profile::Client, now()).unwrap();
    let identity = authority.identity();
    let take = |certificate: &str, key: &SecretValue| {
        Authority::from_pem(certificate.to_owned(), key.clone()).err()
    };
    assert_eq!(take(&identity.certificate, &identity.key), None);
    assert_eq!(
        take(&identity.certificate, &other.identity().key),
        Some(Error::Mismatch)
    );
    assert_eq!(take(&leaf.certificate, &leaf.key), Some(Error::NotACa));
    assert_eq!(take("nonsense", &identity.key), Some(Error::Certificate));
    assert_eq!(
        take(&identity.certificate, &SecretValue::from(String::from("x"))),
        Some(Error::Key)
    );
}

#[test]
fn debug_shows_no_key() {
    let authority = Authority::generate(now()).unwrap();
    let text = format!("{authority:?} {:?}", authority.identity());
    assert!(!text.contains("PRIVATE"), "{text}");
}
