//! Tokens of ServiceAccounts: how long they are kept, and where they go (P-TLS-5).

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, join_all};
use latchkey_crds::conditions::ConditionStatus;
use latchkey_engine::source::{FailureClass, Source as _};
use latchkey_proto::provider::v1::ValidateResponse;
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use serde_json::json;
use tokio::io::AsyncReadExt as _;
use tokio::time::{Instant, advance, sleep};
use tonic::Status;
use tonic::metadata::MetadataMap;

use super::generators;
use super::logs::Logs;
use super::server::{Authority, Provider, providers};
use super::source::{Held, caller, failure, namespaced, reference, remote};
use crate::providers::tokens::{LIFETIME, Mint, Token};
use crate::providers::{PodTokens, ProviderSource, Providers, TokenProblem, Tokens};
use crate::stores::TokenSource;
use crate::stores::validation::examine;

const SECOND: Duration = Duration::from_secs(1);

/// Makes `canary-1`, `canary-2` and so on, or fails.
#[derive(Default)]
struct Numbered {
    asked: Mutex<Vec<TokenSource>>,
    failure: Mutex<Option<TokenProblem>>,
    delay: Mutex<Duration>,
}

impl Mint for Numbered {
    fn mint(&self, source: TokenSource) -> BoxFuture<'static, Result<Token, TokenProblem>> {
        let number = {
            let mut asked = self.asked.lock();
            asked.push(source);
            asked.len()
        };
        let (failure, delay) = (self.failure.lock().clone(), *self.delay.lock());
        let asked = Instant::now();
        async move {
            sleep(delay).await;
            let token = SecretValue::from(format!("canary-{number}"));
            failure.map_or_else(|| Ok(Token::new(&token, asked, LIFETIME)), Err)
        }
        .boxed()
    }
}

impl Numbered {
    fn count(&self) -> usize {
        self.asked.lock().len()
    }

    fn fail(&self, problem: impl Into<Option<TokenProblem>>) {
        *self.failure.lock() = problem.into();
    }
}

fn tokens() -> (Arc<Numbered>, Arc<Tokens>) {
    let mint = Arc::new(Numbered::default());
    (mint.clone(), Arc::new(Tokens::made_by(mint)))
}

fn account(generation: i64) -> TokenSource {
    TokenSource {
        namespace: "team-a".into(),
        name: "caller".into(),
        audiences: vec!["bao".into()],
        store: "u".into(),
        generation: Some(generation),
    }
}

/// The header that a call would carry.
async fn sent(tokens: &Arc<Tokens>, source: &TokenSource) -> Result<String, TokenProblem> {
    let mut metadata = MetadataMap::new();
    tokens.bearer(source).sign(&mut metadata).await?;
    assert!(!format!("{metadata:?}").contains("canary"), "{metadata:?}");
    let header = metadata.get("authorization").unwrap();
    assert!(header.is_sensitive());
    Ok(header.to_str().unwrap().to_owned())
}

fn wrong() -> TokenProblem {
    TokenProblem::Wrong(
        "the agent may not create serviceaccounts/token of ServiceAccount x/y".into(),
    )
}

#[tokio::test(start_paused = true)]
async fn a_token_is_made_once_and_replaced_at_four_fifths_of_its_life() {
    let (mint, tokens) = tokens();
    *mint.delay.lock() = SECOND;
    let source = account(1);
    for header in join_all((0..10).map(|_| sent(&tokens, &source))).await {
        assert_eq!(header.unwrap(), "Bearer canary-1");
    }
    advance(478 * SECOND).await;
    assert_eq!(sent(&tokens, &source).await.unwrap(), "Bearer canary-1");
    assert_eq!(mint.count(), 1);
    advance(SECOND).await;
    for header in join_all((0..10).map(|_| sent(&tokens, &source))).await {
        assert_eq!(header.unwrap(), "Bearer canary-2");
    }
    assert_eq!(mint.count(), 2);
}

#[tokio::test(start_paused = true)]
async fn a_failed_renewal_leaves_the_old_token_until_its_end_is_near() {
    let (mint, tokens) = tokens();
    let source = account(1);
    sent(&tokens, &source).await.unwrap();
    mint.fail(TokenProblem::Unread("down".into()));
    advance(500 * SECOND).await;
    for _ in 0..3 {
        assert_eq!(sent(&tokens, &source).await.unwrap(), "Bearer canary-1");
    }
    assert_eq!(mint.count(), 2, "not one request for each call");
    advance(70 * SECOND).await;
    assert_eq!(sent(&tokens, &source).await.unwrap(), "Bearer canary-1");
    advance(11 * SECOND).await;
    assert_eq!(
        sent(&tokens, &source).await,
        Err(TokenProblem::Unread("down".into()))
    );
    mint.fail(None);
    advance(5 * SECOND).await;
    assert!(sent(&tokens, &source).await.is_ok());
}

#[tokio::test(start_paused = true)]
async fn a_failure_answers_for_some_seconds() {
    let (mint, tokens) = tokens();
    mint.fail(wrong());
    let source = account(1);
    for _ in 0..5 {
        assert_eq!(sent(&tokens, &source).await, Err(wrong()));
    }
    assert_eq!(mint.count(), 1);
    mint.fail(None);
    advance(5 * SECOND).await;
    assert_eq!(sent(&tokens, &source).await.unwrap(), "Bearer canary-2");
}

#[tokio::test(start_paused = true)]
async fn a_store_that_changed_never_sees_the_token_from_before() {
    // SB-26, P-CL-2, PC-25: and one that did not change keeps it.
    let (mint, tokens) = tokens();
    for (generation, expected) in [(1, 1), (1, 1), (2, 2), (2, 2)] {
        let header = sent(&tokens, &account(generation)).await.unwrap();
        assert_eq!(header, format!("Bearer canary-{expected}"));
    }
    assert_eq!(tokens.len(), 1, "the older one is gone");
    let other = TokenSource {
        store: "other".into(),
        ..account(2)
    };
    assert_eq!(sent(&tokens, &other).await.unwrap(), "Bearer canary-3");
    // A call that began with the older generation costs the newer one nothing.
    sent(&tokens, &account(1)).await.unwrap();
    assert_eq!(sent(&tokens, &account(2)).await.unwrap(), "Bearer canary-2");
    assert_eq!(mint.count(), 4);
    advance(LIFETIME).await;
    sent(&tokens, &other).await.unwrap();
    assert_eq!(tokens.len(), 1, "what is over is not kept");
}

#[tokio::test(start_paused = true)]
async fn a_request_that_nobody_waits_for_is_given_up() {
    let (mint, tokens) = tokens();
    *mint.delay.lock() = SECOND;
    let source = account(1);
    assert!(sent(&tokens, &source).now_or_never().is_none());
    advance(600 * SECOND).await;
    assert_eq!(sent(&tokens, &source).await.unwrap(), "Bearer canary-2");
}

#[tokio::test]
async fn without_the_role_sync_there_are_no_tokens() {
    let tokens = Arc::new(Tokens::none());
    let error = sent(&tokens, &account(1)).await.unwrap_err();
    assert_eq!(
        error.to_string(),
        "a token for ServiceAccount team-a/caller cannot be made on a node without the role sync"
    );
}

/// A provider that answers everything, and an agent whose tokens are numbered.
async fn scene(authority: &Authority) -> (Provider, Arc<Numbered>, Providers) {
    let provider = Provider::start(authority).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    provider.script.on_all(|| Ok(BTreeMap::new()));
    provider.script.on_capabilities(|| Ok(2));
    provider.script.on_validate(|| {
        Ok(ValidateResponse {
            valid: true,
            ..ValidateResponse::default()
        })
    });
    let (mint, tokens) = tokens();
    let mut providers = providers(authority);
    providers.tokens = tokens;
    (provider, mint, providers)
}

fn auth() -> serde_json::Value {
    json!({"auth": {"serviceAccountRef": {"name": "caller"}}})
}

#[tokio::test]
async fn every_call_of_a_store_carries_its_token_and_no_other_store_s() {
    // SB-29, SB-24
    let logs = Logs::default();
    let _logging = logs.gather("trace");

    let authority = Authority::new();
    let (provider, mint, providers) = scene(&authority).await;
    let providers = Arc::new(providers);
    let (with, without) = (
        namespaced("team-a", &provider.address(), auth()),
        namespaced("team-b", &provider.address(), json!({})),
    );
    let finding = examine(&providers, &with).await;
    assert_eq!(finding.status, ConditionStatus::True, "{finding:?}");
    let held = Arc::new(Held::default());
    held.add(with);
    held.add(without);
    let made = || [("password".to_owned(), b"canary".to_vec())].into();
    provider
        .script
        .on_generate(move || Ok((made(), Vec::new())));
    let mut generator = generators::generator("team-a", &provider.address(), auth());
    generator.uid = "g".into();
    held.add(generator);
    let source = ProviderSource::new(held, providers);
    let (store, remote) = (reference("SecretStore"), remote());
    let own = caller("team-a");
    source.secret(&own, &store, &remote).await.unwrap();
    source.secret_map(&own, &store, &remote).await.unwrap_err();
    source
        .find(&own, &store, &Default::default())
        .await
        .unwrap();
    let heard = || std::mem::take(&mut *provider.script.authorizations.lock());
    // Health, Capabilities, Validate, GetSecret, GetSecretMap and what it falls back to, GetAllSecrets.
    let first = Some("Bearer canary-1".to_owned());
    assert_eq!(heard(), vec![first; 7]);

    source
        .generate(&own, 0, &generators::reference("Generator"))
        .await
        .unwrap();
    assert_eq!(heard(), [Some("Bearer canary-2".to_owned())]);
    source
        .secret(&caller("team-b"), &store, &remote)
        .await
        .unwrap();
    assert_eq!(heard(), [None::<String>]);
    let asked = mint.asked.lock();
    assert_eq!(asked.len(), 2);
    assert!(
        asked.iter().all(|source| source.namespace == "team-a"
            && source.audiences == ["external-secrets-provider"])
    );
    let logs = logs.text();
    assert!(!logs.contains("canary"), "{logs}");
}

#[tokio::test]
async fn a_provider_that_cannot_be_verified_hears_no_token() {
    // SB-23, SB-28, SB-29.
    let (authority, other) = (Authority::new(), Authority::new());
    let (provider, mint, providers) = scene(&other).await;
    let stranger = Provider::start(&authority).await;
    let plain = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = format!("localhost:{}", plain.local_addr().unwrap().port());
    let listening = tokio::spawn(async move {
        let mut heard = Vec::new();
        let (mut stream, _) = plain.accept().await.unwrap();
        // An answer that is not TLS ends the handshake.
        tokio::io::AsyncWriteExt::write_all(&mut stream, b"HTTP/1.1 400 Bad Request\r\n\r\n")
            .await
            .unwrap();
        let _ = stream.read_to_end(&mut heard).await;
        heard
    });
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &stranger.address(), auth()));
    held.add(namespaced("team-b", &address, auth()));
    let source = ProviderSource::new(held, Arc::new(providers));
    for namespace in ["team-a", "team-b"] {
        let error = source
            .secret(&caller(namespace), &reference("SecretStore"), &remote())
            .await
            .unwrap_err();
        let (class, message) = failure(error);
        assert_eq!(class, FailureClass::Unavailable, "{message}");
        assert!(!message.contains("canary"), "{message}");
    }
    assert_eq!(mint.count(), 2, "there was a token to be sent");
    assert!(stranger.script.authorizations.lock().is_empty());
    let heard = listening.await.unwrap();
    assert!(!heard.is_empty() && !heard.windows(6).any(|part| part == b"canary"));
    assert!(!heard.windows(3).any(|part| part == b"PRI"), "no HTTP/2");
    drop(provider);
}

#[tokio::test]
async fn a_missing_right_is_one_clear_condition_and_nothing_is_sent() {
    let authority = Authority::new();
    let (provider, mint, providers) = scene(&authority).await;
    mint.fail(wrong());
    let store = namespaced("team-a", &provider.address(), auth());
    let finding = examine(&providers, &store).await;
    assert_eq!(
        (finding.status, finding.reason, finding.message),
        (
            ConditionStatus::False,
            "InvalidProviderConfig",
            format!("unable to create client: {}", wrong())
        )
    );
    let held = Arc::new(Held::default());
    held.add(store);
    let source = ProviderSource::new(held, Arc::new(providers));
    let error = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    assert_eq!(
        failure(error),
        (
            FailureClass::Configuration,
            format!("SecretStore \"bao\" cannot be used: {}", wrong())
        )
    );
    assert_eq!(provider.counts.get().accepted, 0);
}

#[tokio::test]
async fn volumes_refuse_stores_that_need_a_token() {
    // SB-27: nodes mint none.
    let authority = Authority::new();
    let (provider, mint, providers) = scene(&authority).await;
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &provider.address(), auth()));
    held.add(namespaced("team-b", &provider.address(), json!({})));
    let source =
        ProviderSource::for_volumes(held, Arc::new(providers), Arc::new(PodTokens::new("n1")));
    let error = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    let (class, message) = failure(error);
    assert_eq!(class, FailureClass::Configuration);
    assert!(
        message.starts_with("SecretStore \"bao\" cannot be used for volumes: ")
            && message.contains("have it delivered as a Secret"),
        "{message}"
    );
    assert_eq!((mint.count(), provider.counts.get().accepted), (0, 0));
    source
        .secret(&caller("team-b"), &reference("SecretStore"), &remote())
        .await
        .unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_refused_token_is_replaced_unless_it_is_new() {
    let (mint, tokens) = tokens();
    let source = account(1);
    sent(&tokens, &source).await.unwrap();
    tokens.bearer(&source).refused();
    sent(&tokens, &source).await.unwrap();
    assert_eq!(mint.count(), 1);
    advance(60 * SECOND).await;
    tokens.bearer(&source).refused();
    assert_eq!(sent(&tokens, &source).await.unwrap(), "Bearer canary-2");
}

#[tokio::test]
async fn a_provider_s_refusal_of_the_token_is_an_authentication_failure() {
    let authority = Authority::new();
    let (provider, _, providers) = scene(&authority).await;
    provider
        .script
        .on_secret(|| Err(Status::unauthenticated("unknown token: canary-1")));
    let held = Arc::new(Held::default());
    held.add(namespaced("team-a", &provider.address(), auth()));
    let source = ProviderSource::new(held, Arc::new(providers));
    let error = source
        .secret(&caller("team-a"), &reference("SecretStore"), &remote())
        .await
        .unwrap_err();
    let (class, message) = failure(error);
    assert_eq!(class, FailureClass::Unauthorized);
    assert!(!message.contains("canary"), "{message}");
    assert_eq!(provider.script.count("GetSecret"), 1);
}
