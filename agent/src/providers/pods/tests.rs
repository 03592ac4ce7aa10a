//! csi.md 9.2; provider-protocol.md 13.3.

use super::*;

const MINUTE: SignedDuration = SignedDuration::from_secs(60);

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn tokens(all: &[(&str, &str, i64)]) -> ServiceAccountTokens {
    let token = |(audience, text, end): &(&str, &str, i64)| {
        let token = ServiceAccountToken {
            token: SecretValue::from((*text).to_owned()),
            expires_at: at(*end),
        };
        ((*audience).to_owned(), token)
    };
    all.iter().map(token).collect()
}

fn volume<'a>(account: &'a str, pod: &'a str) -> PodVolume<'a> {
    PodVolume {
        namespace: "team",
        pod_name: pod,
        pod_uid: pod,
        service_account: account,
        volume_id: "csi-1",
    }
}

fn caller(account: &str, pod: Option<&str>) -> PodCaller {
    PodCaller {
        service_account: account.to_owned(),
        pod_uid: pod.map(str::to_owned),
        audience: None,
    }
}

fn kept() -> PodTokens {
    let pods = PodTokens::new("n1");
    pods.keep(&volume("web", "web-0"), &tokens(&[("vault", "a.b.0", 300)]));
    pods.keep(&volume("web", "web-1"), &tokens(&[("vault", "a.b.1", 600)]));
    pods.keep(
        &volume("worker", "worker-0"),
        &tokens(&[("vault", "a.b.2", 600), ("bao", "a.b.3", 20)]),
    );
    pods
}

#[test]
fn a_caller_is_proved_by_its_own_token_or_one_of_its_account() {
    let pods = kept();
    let shown = |namespace: &str, caller: PodCaller, audience: Option<&str>| {
        let proof = pods.proof(namespace, &caller, audience, at(0));
        proof.map(|proof| String::from_utf8_lossy(proof.token.expose()).into_owned())
    };
    let missing = |account: &str| Err(NoProof::Missing(account.to_owned()));
    for (namespace, caller, audience, expected) in [
        // The longest of the account's.
        ("team", caller("web", None), None, Ok("a.b.1".to_owned())),
        (
            "team",
            caller("web", Some("web-0")),
            Some("vault"),
            Ok("a.b.0".to_owned()),
        ),
        ("other", caller("web", None), None, missing("other/web")),
        ("team", caller("cron", None), None, missing("team/cron")),
        // Another account's pod proves nothing, whatever its UID.
        (
            "team",
            caller("web", Some("worker-0")),
            None,
            missing("team/web"),
        ),
        (
            "team",
            caller("web", None),
            Some("bao"),
            Err(NoProof::Audience("bao".to_owned())),
        ),
        (
            "team",
            caller("worker", None),
            None,
            Err(NoProof::Ambiguous),
        ),
        (
            "team",
            caller("worker", None),
            Some("bao"),
            Err(NoProof::Ending {
                account: "team/worker".to_owned(),
                audience: "bao".to_owned(),
            }),
        ),
    ] {
        assert_eq!(shown(namespace, caller, audience), expected);
    }
}

#[test]
fn a_publish_replaces_what_the_one_before_brought() {
    let pods = kept();
    pods.keep(&volume("web", "web-1"), &tokens(&[("vault", "a.b.9", 900)]));
    let proof = pods.proof("team", &caller("web", None), None, at(580));
    assert_eq!(proof.unwrap().token.expose(), b"a.b.9");
}

#[test]
fn tokens_are_kept_for_a_minute_after_their_end() {
    let pods = kept();
    pods.sweep(at(20) + MINUTE - SignedDuration::from_secs(1));
    assert!(pods.has("worker-0", Some("bao")));
    pods.sweep(at(20) + MINUTE);
    assert!(!pods.has("worker-0", Some("bao")));
    assert!(pods.has("worker-0", Some("vault")));
}

#[test]
fn metadata_names_the_pod_in_ascii_and_hides_the_token() {
    let pods = PodTokens::new("n\u{e9}");
    pods.keep(&volume("web", "web-0"), &tokens(&[("vault", "a.b.c", 600)]));
    let proof = pods
        .proof("team", &caller("web", None), None, at(0))
        .unwrap();
    let mut metadata = MetadataMap::new();
    proof.sign(&mut metadata);
    let text = |key: &str| metadata.get(key).unwrap().to_str().unwrap().to_owned();
    for (key, value) in [
        (KIND, "Pod"),
        (NAMESPACE, "team"),
        (NAME, "web-0"),
        (UID, "web-0"),
        (NODE, "n%C3%A9"),
        (POD_UID, "web-0"),
        (TOKEN, "a.b.c"),
    ] {
        assert_eq!(text(key), value);
    }
    let token = metadata.get(TOKEN).unwrap();
    assert!(token.is_sensitive());
    assert!(!format!("{metadata:?}").contains("a.b.c"));
}
