//! Where tokens come from, and what is demanded of them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use futures::FutureExt as _;
use futures::future::BoxFuture;
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::Client;
use kube::api::{Api, PostParams};
use latchkey_secret::SecretValue;
use serde::Deserialize;
use tokio::time::{Instant, timeout};
use zeroize::Zeroizing;

use super::{LIFETIME, Token, TokenProblem};
use crate::stores::TokenSource;

/// Longest wait for the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// The token that the agent itself shows to the API server. It is never sent to anyone else; its audiences are the API server's.
const OWN_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// Makes tokens.
pub(crate) trait Mint: Send + Sync {
    /// A new token.
    fn mint(&self, source: TokenSource) -> BoxFuture<'static, Result<Token, TokenProblem>>;
}

/// Makes them with TokenRequests.
pub(super) struct ApiMint {
    client: Client,
    own_token: PathBuf,
}

// === impl ApiMint ===

impl ApiMint {
    pub(super) fn new(client: Client) -> Self {
        Self {
            client,
            own_token: OWN_TOKEN.into(),
        }
    }
}

impl Mint for ApiMint {
    fn mint(&self, source: TokenSource) -> BoxFuture<'static, Result<Token, TokenProblem>> {
        let (client, own_token) = (self.client.clone(), self.own_token.clone());
        async move {
            let account = format!("ServiceAccount {}/{}", source.namespace, source.name);
            let reserved = own_audiences(own_token).await;
            let asked = Instant::now();
            let token = request(client, &source, &account).await?;
            match inspect(token.expose(), &source.audiences, &reserved) {
                Ok(lifetime) => Ok(Token::new(&token, asked, lifetime)),
                Err(fault) => Err(TokenProblem::Wrong(format!(
                    "the token of {account} {fault}"
                ))),
            }
        }
        .boxed()
    }
}

async fn request(
    client: Client,
    source: &TokenSource,
    account: &str,
) -> Result<SecretValue, TokenProblem> {
    let api: Api<ServiceAccount> = Api::namespaced(client, &source.namespace);
    let wanted = TokenRequest {
        spec: TokenRequestSpec {
            audiences: source.audiences.clone(),
            expiration_seconds: i64::try_from(LIFETIME.as_secs()).ok(),
            bound_object_ref: None,
        },
        ..TokenRequest::default()
    };
    let parameters = PostParams::default();
    let answer = api.create_token_request(&source.name, &parameters, &wanted);
    match timeout(REQUEST_TIMEOUT, answer).await {
        Ok(Ok(answer)) => {
            let token = answer.status.map(|status| SecretValue::from(status.token));
            token.filter(|token| !token.is_empty()).ok_or_else(|| {
                TokenProblem::Unread(format!("the API server made no token of {account}"))
            })
        }
        Ok(Err(kube::Error::Api(status))) => Err(match status.code {
            403 => TokenProblem::Wrong(format!(
                "the agent may not create serviceaccounts/token of {account}: add it to the chart value \
                 sync.serviceAccountTokens"
            )),
            404 => TokenProblem::Wrong(format!("{account} does not exist")),
            400 | 422 => TokenProblem::Wrong(format!(
                "the API server refuses a token of {account}: {}",
                status.message.chars().take(256).collect::<String>()
            )),
            code => {
                TokenProblem::Unread(format!("failed to get a token of {account}: status {code}"))
            }
        }),
        // Other texts could quote the token.
        Ok(Err(_)) => Err(TokenProblem::Unread(format!(
            "failed to get a token of {account}"
        ))),
        Err(_) => Err(TokenProblem::Unread(format!(
            "getting a token of {account} took more than {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

/// The audiences of the API server, as far as the agent's own token tells: a pod's token for the API server names all of them.
async fn own_audiences(path: PathBuf) -> Vec<String> {
    let read = tokio::task::spawn_blocking(move || read_audiences(&path));
    read.await.unwrap_or_default()
}

fn read_audiences(path: &Path) -> Vec<String> {
    let Ok(token) = std::fs::read(path).map(Zeroizing::new) else {
        // Outside a pod there is none.
        return Vec::new();
    };
    claims_of(token.trim_ascii()).map_or_else(Vec::new, |claims| claims.aud.into())
}

/// What is read of a token.
#[derive(Deserialize)]
struct Claims {
    #[serde(default)]
    iss: String,
    aud: Audiences,
    exp: i64,
    iat: Option<i64>,
    nbf: Option<i64>,
}

/// RFC 7519, 4.1.3: one, or a list of them.
#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

impl From<Audiences> for Vec<String> {
    fn from(audiences: Audiences) -> Self {
        match audiences {
            Audiences::One(audience) => vec![audience],
            Audiences::Many(audiences) => audiences,
        }
    }
}

/// The claims of a token in RFC 7515's compact form. The signature is the API server's business.
fn claims_of(token: &[u8]) -> Option<Claims> {
    let mut parts = token.split(|byte| *byte == b'.');
    let payload = parts.nth(1)?;
    // A header and a signature around it, and nothing else.
    if parts.count() != 1 {
        return None;
    }
    let json = Zeroizing::new(URL_SAFE_NO_PAD.decode(payload).ok()?);
    // The parser's error would quote the token.
    serde_json::from_slice(&json).ok()
}

/// How long `token` lives from the moment it was made, if it is what SB-29 demands: for the wanted audiences only, none of them
/// the API server's, and for ten minutes at most.
///
/// `reserved` are audiences of the API server. Unless it was told otherwise, they are what it calls itself as issuer.
fn inspect(token: &[u8], wanted: &[String], reserved: &[String]) -> Result<Duration, String> {
    let Some(claims) = claims_of(token) else {
        return Err("cannot be read".into());
    };
    let audiences: Vec<String> = claims.aud.into();
    if audiences.is_empty() || audiences.iter().any(|audience| !wanted.contains(audience)) {
        return Err("is for other audiences than were asked for".into());
    }
    let for_api_server =
        |audience: &&String| **audience == claims.iss || reserved.contains(*audience);
    if let Some(audience) = audiences.iter().find(for_api_server) {
        return Err(format!(
            "would be accepted by the API server, which is what the audience \"{audience}\" means"
        ));
    }
    let Some(begin) = claims.iat.or(claims.nbf) else {
        return Err("does not say since when it is valid".into());
    };
    let seconds = claims.exp.saturating_sub(begin);
    match u64::try_from(seconds).map(Duration::from_secs) {
        Ok(lifetime) if !lifetime.is_zero() && lifetime <= LIFETIME => Ok(lifetime),
        _ => Err(format!(
            "lives for {seconds} s, not for {} s at most",
            LIFETIME.as_secs()
        )),
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use base64::Engine as _;
    use base64::engine::general_purpose::URL_SAFE_NO_PAD;
    use serde_json::json;

    use super::{inspect, read_audiences};

    fn token(claims: &serde_json::Value) -> Vec<u8> {
        let payload = URL_SAFE_NO_PAD.encode(claims.to_string());
        format!("e30.{payload}.c2ln").into_bytes()
    }

    #[test]
    fn only_short_tokens_for_the_wanted_audiences_are_taken() {
        // SB-29.
        let wanted = &["bao".to_owned(), "vault".to_owned()][..];
        let reserved = ["https://api.example.com".to_owned()];
        let mut asked_for_api = wanted.to_vec();
        asked_for_api.extend(reserved.clone());
        asked_for_api.push("https://issuer".to_owned());
        let with_api = &asked_for_api[..];
        let with = |aud: serde_json::Value, exp: i64| {
            token(&json!({"iss": "https://issuer", "aud": aud, "iat": 1000, "exp": exp}))
        };
        for (token, wanted, expected) in [
            (with(json!(["bao", "vault"]), 1600), wanted, Ok(600)),
            (with(json!("bao"), 1300), wanted, Ok(300)),
            (
                token(&json!({"aud": ["bao"], "nbf": 1000, "exp": 1600})),
                wanted,
                Ok(600),
            ),
            (with(json!(["bao"]), 1601), wanted, Err("lives for 601 s")),
            (with(json!(["bao"]), 1000), wanted, Err("lives for 0 s")),
            (with(json!(["bao"]), 900), wanted, Err("lives for -100 s")),
            (with(json!(["bao"]), i64::MAX), wanted, Err("at most")),
            (with(json!([]), 1600), wanted, Err("other audiences")),
            (
                with(json!(["bao", "x"]), 1600),
                wanted,
                Err("other audiences"),
            ),
            (
                with(json!(["bao", "https://issuer"]), 1600),
                with_api,
                Err("the audience \"https://issuer\" means"),
            ),
            (
                with(json!(["https://api.example.com"]), 1600),
                with_api,
                Err("would be accepted by the API server"),
            ),
            (b"opaque".to_vec(), wanted, Err("cannot be read")),
            (b"a.b.c".to_vec(), wanted, Err("cannot be read")),
            (b"e30.e30.e30.e30".to_vec(), wanted, Err("cannot be read")),
            (token(&json!({"aud": "bao"})), wanted, Err("cannot be read")),
            (
                token(&json!({"aud": "bao", "exp": 600})),
                wanted,
                Err("since when"),
            ),
        ] {
            let found = inspect(&token, wanted, &reserved);
            match expected {
                Ok(seconds) => assert_eq!(found, Ok(Duration::from_secs(seconds))),
                Err(text) => {
                    let error = found.unwrap_err();
                    assert!(error.contains(text), "{error}");
                }
            }
        }
    }

    #[test]
    fn audiences_of_the_api_server_are_those_of_the_own_token() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("token");
        assert_eq!(read_audiences(&path), Vec::<String>::new());
        let mut own = token(&json!({"aud": ["a", "b"], "iat": 1, "exp": 2}));
        own.push(b'\n');
        std::fs::write(&path, own).unwrap();
        assert_eq!(read_audiences(&path), ["a", "b"]);
    }
}
