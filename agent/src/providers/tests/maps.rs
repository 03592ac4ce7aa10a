//! Secrets that are read as maps.

use std::collections::BTreeMap;

use super::calls::{client, remote, target};
use super::logs::Logs;
use super::server::{Authority, Provider, providers};

#[tokio::test]
async fn missing_map_call_falls_back_to_json_and_is_logged_once() {
    // PC-32, P-ERR-2.
    let logs = Logs::default();
    let _logging = logs.gather("info");
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    let client = client(&providers, &provider).await;
    provider
        .script
        .on_secret(|| Ok(br#"{"user":"me","port":5432,"tags":["a"],"none":null}"#.to_vec()));
    for _ in 0..2 {
        let map = client.get_secret_map(&target(), remote()).await.unwrap();
        let texts: BTreeMap<_, _> = map
            .iter()
            .map(|(key, value)| (key.as_str(), value.expose()))
            .collect();
        let expected: [(&str, &[u8]); 4] = [
            ("none", b"null"),
            ("port", b"5432"),
            ("tags", b"[\"a\"]"),
            ("user", b"me"),
        ];
        assert_eq!(texts, BTreeMap::from(expected));
    }
    // Another store that uses the same connection knows it, too.
    let other = super::calls::client(&providers, &provider).await;
    other.get_secret_map(&target(), remote()).await.unwrap();
    assert_eq!(provider.script.count("GetSecretMap"), 1);
    assert_eq!(logs.text().matches("has no GetSecretMap").count(), 1);

    provider.script.on_secret(|| Ok(b"canary-5150".to_vec()));
    let error = client
        .get_secret_map(&target(), remote())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "failed to get secret map via gRPC: the value is not a JSON object"
    );
}

#[tokio::test]
async fn maps_are_taken_as_they_come() {
    let authority = Authority::new();
    let provider = Provider::start(&authority).await;
    let providers = providers(&authority);
    provider.script.on_map(|| {
        Ok(BTreeMap::from([
            ("a".to_owned(), vec![0xff, 0]),
            ("b".to_owned(), Vec::new()),
        ]))
    });
    let map = client(&providers, &provider)
        .await
        .get_secret_map(&target(), remote())
        .await
        .unwrap();
    assert_eq!(map["a"].expose(), [0xff, 0]);
    assert!(map["b"].is_empty());
    assert_eq!(provider.script.count("GetSecret"), 0);
}
