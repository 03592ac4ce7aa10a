use proptest::prelude::*;
use serde_json::json;

use super::*;

fn token(claims: &serde_json::Value) -> String {
    let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
    format!("eyJhbGciOiJSUzI1NiJ9.{payload}.c2ln")
}

fn genuine() -> serde_json::Value {
    json!({
        "aud": ["vault"], "exp": 1_800_000_000, "iss": "https://kubernetes.default.svc",
        "kubernetes.io": {
            "namespace": "team-a", "serviceaccount": {"name": "web", "uid": "s1"},
            "pod": {"name": "web-0", "uid": "p1"},
        },
        "sub": "system:serviceaccount:team-a:web",
    })
}

fn metadata(pairs: &[(&'static str, &str)]) -> MetadataMap {
    let mut metadata = MetadataMap::new();
    for (key, value) in pairs {
        metadata.insert(*key, value.parse().unwrap());
    }
    metadata
}

#[test]
fn what_an_agent_says_of_a_pod_is_understood() {
    // provider-protocol.md 13.3
    let token = token(&genuine());
    let said = metadata(&[
        (METADATA_CALLER_KIND, "Pod"),
        (METADATA_CALLER_NAMESPACE, "team-a"),
        (METADATA_CALLER_NAME, "web%2D0%C3%A9"),
        (METADATA_CALLER_UID, "p1"),
        (METADATA_NODE, "n1"),
        (METADATA_POD_UID, "p1"),
        (METADATA_CALLER_TOKEN, &token),
    ]);
    let caller = Caller::from_metadata(&said).unwrap().unwrap();
    assert_eq!((&*caller.kind, &*caller.name), ("Pod", "web-0é"));
    assert_eq!((&*caller.node, &*caller.pod_uid), ("n1", "p1"));
    let proof = caller.token.as_ref().unwrap();
    assert_eq!(proof.account(), "team-a/web");
    assert_eq!((proof.pod_uid(), proof.expires()), ("p1", 1_800_000_000));
    assert_eq!(proof.audiences(), ["vault"]);
    assert_eq!(proof.token().expose(), token.as_bytes());
    assert_eq!(proof.digest().len(), 64);
    let shown = format!("{caller:?}");
    assert!(
        !shown.contains("c2ln") && shown.contains("team-a/web"),
        "{shown}"
    );
}

#[test]
fn silence_is_no_caller() {
    assert_eq!(Caller::from_metadata(&metadata(&[])), Ok(None));
    let other = metadata(&[("eso-reconcile-id", "r1")]);
    assert_eq!(Caller::from_metadata(&other), Ok(None));
}

#[test]
fn one_audience_and_no_pod_are_legal_too() {
    let mut claims = genuine();
    claims["aud"] = json!("bao");
    claims["kubernetes.io"]["pod"].take();
    claims["kubernetes.io"]
        .as_object_mut()
        .unwrap()
        .remove("pod");
    let token = CallerToken::try_new(SecretValue::from(token(&claims))).unwrap();
    assert_eq!(
        (token.audiences(), token.pod_uid()),
        (&["bao".to_owned()][..], "")
    );
}

#[test]
fn what_is_no_token_of_a_service_account_is_refused_and_not_repeated() {
    let without = |key: &str| {
        let mut claims = genuine();
        claims.as_object_mut().unwrap().remove(key);
        token(&claims)
    };
    let mut nameless = genuine();
    nameless["kubernetes.io"]["serviceaccount"]["name"] = json!("");
    let mut long = genuine();
    long["x"] = json!("canary".repeat(4096));
    for text in [
        "canary".to_owned(),
        "canary.canary.canary".to_owned(),
        without("aud"),
        without("exp"),
        without("kubernetes.io"),
        token(&nameless),
        token(&long),
        format!("{}.canary", token(&genuine())),
        token(&genuine()).trim_end_matches("c2ln").to_owned(),
    ] {
        let said = metadata(&[(METADATA_CALLER_TOKEN, &text)]);
        let error = Caller::from_metadata(&said).unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidArgument);
        assert!(!error.message().contains("canary"), "{error}");
    }
    for name in ["%", "%4", "%zz", "%FF"] {
        let said = metadata(&[(METADATA_CALLER_NAME, name)]);
        assert!(Caller::from_metadata(&said).is_err(), "{name}");
    }
}

#[test]
fn a_pod_asks_for_its_own_namespace_only() {
    let said = metadata(&[(METADATA_CALLER_TOKEN, &token(&genuine()))]);
    let caller = Caller::from_metadata(&said).unwrap().unwrap();
    assert_eq!(caller.check_namespace("team-a"), Ok(()));
    let error = caller.check_namespace("team-b").unwrap_err();
    assert_eq!(error.class(), ErrorClass::PermissionDenied);
    assert_eq!(Caller::default().check_namespace("team-b"), Ok(()));
}

#[test]
fn tokens_that_claim_the_same_have_different_digests() {
    let mut other = genuine();
    other["iat"] = json!(1);
    let digest = |claims| {
        CallerToken::try_new(SecretValue::from(token(&claims)))
            .unwrap()
            .digest()
    };
    assert_ne!(digest(genuine()), digest(other));
}

proptest! {
    /// Whatever the metadata holds, it is understood or refused.
    #[test]
    fn any_text_is_a_caller_or_refused(name in "[ -~]{0,40}", token in "[ -~]{0,80}") {
        let said = metadata(&[(METADATA_CALLER_NAME, &name), (METADATA_CALLER_TOKEN, &token)]);
        prop_assert!(Caller::from_metadata(&said).is_err());
    }
}
