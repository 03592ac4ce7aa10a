//! Stores that are read under the identity of pods (csi.md 9.2).

use jiff::SignedDuration;
use latchkey_csi::backend::{ServiceAccountToken, ServiceAccountTokens};

use super::*;

/// A bench whose store wants `scope`, and an ExternalSecret `a` that shows who asked.
fn bench(scope: CallerScope) -> Bench {
    let bench = Bench::new();
    bench.source.needs.lock().scope = scope;
    bench.shelf.put("a", one_key("a", 1, "account", "1h"));
    bench
}

/// The volume of `a` in pod `pod` of service account `account`.
fn volume(account: &str, pod: &str) -> Plan {
    let mut plan = plan_with("a", pod, &[]);
    account.clone_into(&mut plan.pod.service_account);
    plan
}

fn tokens(lifetime: SignedDuration) -> ServiceAccountTokens {
    let token = ServiceAccountToken {
        token: SecretValue::from(String::from("canary")),
        expires_at: Timestamp::now() + lifetime,
    };
    ServiceAccountTokens::from_iter([(String::from("vault"), token)])
}

fn long() -> ServiceAccountTokens {
    tokens(SignedDuration::from_mins(10))
}

impl Bench {
    /// kubelet publishes `plan` for the first time.
    async fn published(&self, plan: &Plan) -> Result<FileSet, Failure> {
        self.volumes.tokens(plan, &long());
        self.first(plan).await
    }
}

#[tokio::test(start_paused = true)]
async fn pods_of_one_account_share_content_and_those_of_others_never_do() {
    let bench = bench(CallerScope::ServiceAccount);
    for (account, pod, fetches) in [
        ("web", "web-0", 1),
        ("web", "web-1", 1),
        ("worker", "worker-0", 2),
        ("web", "web-2", 2),
    ] {
        let files = bench.published(&volume(account, pod)).await.unwrap();
        assert_eq!(text(&files), format!("password=of {account} None"));
        assert_eq!(bench.calls(), fetches, "{pod}");
    }
    let callers = bench.source.callers.lock();
    assert!(
        callers.iter().all(Option::is_some),
        "nobody asked as the agent"
    );
}

#[tokio::test(start_paused = true)]
async fn a_store_for_single_pods_shares_nothing() {
    let bench = bench(CallerScope::Pod);
    for pod in ["web-0", "web-1"] {
        let plan = volume("web", pod);
        let files = bench.published(&plan).await.unwrap();
        let expected = format!("password=of web Some(\"{}\")", plan.pod.uid);
        assert_eq!(text(&files), expected);
    }
    assert_eq!(bench.calls(), 2);
}

#[tokio::test(start_paused = true)]
async fn without_tokens_from_kubelet_the_mount_says_what_to_set() {
    let mut bench = bench(CallerScope::ServiceAccount);
    let failure = bench.first(&volume("web", "web-0")).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::FailedPrecondition);
    assert!(
        failure.message.contains("node.tokenRequests"),
        "{}",
        failure.message
    );
    assert_eq!(bench.calls(), 0);
    assert_eq!(
        bench.reasons(),
        [Reason::MountFailed(FailureClass::FailedPrecondition)]
    );
}

#[tokio::test(start_paused = true)]
async fn an_audience_that_kubelet_makes_no_token_for_is_refused() {
    // csi.md 8, attribute `audience`.
    let bench = bench(CallerScope::Store);
    bench.value("account", "shared");
    let plan = plan_with("a", "web-0", &[("audience", "bao")]);
    let failure = bench.published(&plan).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::FailedPrecondition);
    assert!(failure.message.contains("\"bao\""), "{}", failure.message);
    let plan = plan_with("a", "web-0", &[("audience", "vault")]);
    assert_eq!(
        text(&bench.published(&plan).await.unwrap()),
        "password=shared"
    );
}

#[tokio::test(start_paused = true)]
async fn a_token_about_to_end_starts_no_fetch_and_the_next_publish_does() {
    let mut bench = bench(CallerScope::ServiceAccount);
    let plan = volume("web", "web-0");
    bench
        .volumes
        .tokens(&plan, &tokens(SignedDuration::from_secs(20)));
    let failure = bench.first(&plan).await.unwrap_err();
    assert_eq!(failure.class, FailureClass::Unavailable);
    assert!(
        failure.message.contains("about to end"),
        "{}",
        failure.message
    );
    assert_eq!(
        bench.reasons(),
        [Reason::MountFailed(FailureClass::Unavailable)]
    );
    let mut stream = bench.volumes.subscribe(&plan);
    assert!(stale(stream.next().await).contains("about to end"));
    let began = Instant::now();
    bench.volumes.tokens(&plan, &long());
    assert_eq!(content(stream.next().await), "password=of web None");
    assert!(began.elapsed() < SECOND, "{:?}", began.elapsed());
}

#[tokio::test(start_paused = true)]
async fn a_store_that_begins_to_ask_for_pods_hands_nobody_what_was_shared() {
    let bench = bench(CallerScope::Store);
    bench.value("account", "shared");
    let old = volume("web", "web-0");
    assert_eq!(
        text(&bench.published(&old).await.unwrap()),
        "password=shared"
    );
    let mut running = bench.volumes.subscribe(&old);
    assert_eq!(content(running.next().await), "password=shared");

    // An annotation, which no generation counts.
    advance(SECOND).await;
    bench.source.needs.lock().scope = CallerScope::ServiceAccount;
    let worker = bench.published(&volume("worker", "worker-0")).await;
    assert_eq!(text(&worker.unwrap()), "password=of worker None");
    // The running pod goes over to its own identity.
    assert_eq!(content(running.next().await), "password=of web None");

    // And once more, as its store wants each pod apart.
    bench.source.needs.lock().scope = CallerScope::Pod;
    let expected = format!("password=of web Some(\"{}\")", old.pod.uid);
    assert_eq!(content(running.next().await), expected);
}

#[tokio::test(start_paused = true)]
async fn volumes_of_an_earlier_process_wait_for_their_token_and_stay_quiet() {
    // R14: nothing is known of their pods until kubelet publishes again.
    let mut bench = bench(CallerScope::ServiceAccount);
    let plan = volume("web", "web-0");
    let mut adopted = bench.volumes.subscribe(&plan);
    let early = tokio::time::timeout(2 * HOUR, adopted.next()).await;
    assert!(early.is_err(), "{early:?}");
    assert_eq!(bench.reasons(), []);
    bench.volumes.tokens(&plan, &long());
    assert_eq!(content(adopted.next().await), "password=of web None");
}

#[tokio::test(start_paused = true)]
async fn tokens_go_with_the_last_volume_of_their_pod() {
    let bench = bench(CallerScope::ServiceAccount);
    let (one, mut two) = (volume("web", "web-0"), volume("web", "web-0"));
    two.pod.volume_id = String::from("csi-other");
    bench.volumes.tokens(&one, &long());
    bench.volumes.tokens(&two, &long());
    bench.volumes.released(&one);
    assert!(bench.source.pods.has(&one.pod.uid, Some("vault")));
    bench.volumes.released(&two);
    assert!(!bench.source.pods.has(&one.pod.uid, None));
}
