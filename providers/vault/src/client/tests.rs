use super::*;

#[test]
fn pauses_grow_and_stay_below_their_cap() {
    for (attempt, least, most) in [
        (1, 125, 250),
        (2, 250, 500),
        (3, 500, 1000),
        (9, 1000, 2000),
        (u32::MAX, 1000, 2000),
    ] {
        for _ in 0..20 {
            let pause = backoff(attempt);
            assert!(
                pause >= Duration::from_millis(least) && pause <= Duration::from_millis(most),
                "{attempt} {pause:?}"
            );
        }
    }
}

#[test]
fn a_token_that_cannot_be_a_header_is_refused() {
    for text in ["", "abc\n", "a\0b", "a\r\nX-Vault-Namespace: other"] {
        let error = Token::try_new(SecretValue::from(text.to_owned()))
            .err()
            .unwrap();
        assert_eq!(error.class(), ErrorClass::Unauthenticated);
    }
    let token = Token::try_new(SecretValue::from("hvs.canary".to_owned())).unwrap();
    assert!(!format!("{:?}", token.header).contains("canary"));
}

fn client(server: &str) -> VaultClient {
    VaultClient::try_new(ClientOptions {
        server: Url::parse(server).unwrap(),
        headers: HeaderMap::new(),
        tls: tls::plain(),
        consistency: Consistency::default(),
        limits: Limits::default(),
        metrics: Metrics::register(&mut prometheus_client::registry::Registry::default()),
    })
    .unwrap()
}

#[test]
fn each_segment_is_percent_encoded_behind_the_base_path() {
    let path = ApiPath::fixed("secret/data")
        .join("a b/é%2F?x#y/100%/+")
        .unwrap();
    let mut call = Call::get("ReadSecretData", path);
    call.query = Some(("version", "3".to_owned()));
    let encoded = "v1/secret/data/a%20b/%C3%A9%252F%3Fx%23y/100%25/+?version=3";
    for (server, expected) in [
        (
            "https://vault:8200",
            format!("https://vault:8200/{encoded}"),
        ),
        (
            "https://vault:8200/",
            format!("https://vault:8200/{encoded}"),
        ),
        (
            "https://proxy/vault/",
            format!("https://proxy/vault/{encoded}"),
        ),
    ] {
        assert_eq!(client(server).url(&call).as_str(), expected);
    }
}
