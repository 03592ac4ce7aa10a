//! A configured store at work: its HTTP client, its credentials and the token that they were exchanged for (providers
//! specification 8.2 and 8.3).
//!
//! A [`Session`] lives as long as nothing that it was made of changes: the resource, a referenced Secret or ConfigMap. Its
//! token is obtained at most once for any number of concurrent calls, replaced a minute before it expires, and revoked when
//! the session goes.

use std::sync::Arc;
use std::time::Duration;

use http::StatusCode;
use latchkey_provider_sdk::json::{self, Escape};
use latchkey_provider_sdk::{
    CallerToken, ErrorClass, Metrics, ProviderError, ServiceAccountSelector,
};
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use tokio_util::task::TaskTracker;
use zeroize::Zeroizing;

use crate::body::Value;
use crate::client::{Answer, Call, Caller, Token, VaultClient};
use crate::credentials::CredentialSource;
use crate::paths::ApiPath;
use crate::settings::{AccountToken, Auth, Settings};

const LOGIN: &str = "Login";
const LOOKUP_SELF: &str = "LookupSelf";
const REVOKE_SELF: &str = "RevokeSelf";

/// How long before its expiry a token is no longer used.
const EXPIRY_MARGIN: Duration = Duration::from_secs(60);
/// Age below which a refused token is asked about before it is replaced. A fresh token that is refused nearly always lacks
/// a permission, which another login would not bring; without the question each such read would cost a login.
const YOUNG_TOKEN: Duration = Duration::from_secs(60);
/// Longest wait for a revocation, which is best effort.
pub(crate) const REVOKE_TIMEOUT: Duration = Duration::from_secs(2);

/// The values behind the references of a resource, as far as they are known without a login.
#[derive(Default)]
pub(crate) struct Material {
    /// The user's own token, for [`Auth::Token`].
    pub(crate) static_token: Option<Token>,
    /// The service account token out of a Secret, for [`AccountToken::Secret`].
    pub(crate) account_token: Option<SecretValue>,
    /// The token of the pod that asks, for [`AccountToken::Caller`].
    pub(crate) caller: Option<CallerToken>,
}

/// What a session is made of.
pub(crate) struct SessionParts {
    pub(crate) identity: String,
    pub(crate) settings: Settings,
    pub(crate) client: VaultClient,
    pub(crate) material: Material,
    /// Owns the revocation that follows the drop of a session.
    pub(crate) revocations: TaskTracker,
    pub(crate) metrics: Metrics,
}

/// A store at work.
pub(crate) struct Session {
    /// Names the store, its version and that of its credentials, for keys of caches.
    pub(crate) identity: String,
    pub(crate) settings: Settings,
    pub(crate) client: Arc<VaultClient>,
    /// The pod that it serves, where each logs in for itself.
    pub(crate) caller: Option<CallerToken>,
    material: Material,
    /// Held while logging in, so that concurrent calls share one login.
    login_turn: tokio::sync::Mutex<()>,
    current: Mutex<Option<Login>>,
    revocations: TaskTracker,
    metrics: Metrics,
}

/// A token that a login gave.
#[derive(Clone)]
struct Login {
    token: Token,
    since: Instant,
    /// `None` for a token without expiry.
    usable_until: Option<Instant>,
    /// Batch tokens cannot be revoked.
    is_revocable: bool,
    /// Counts the logins of this session, to tell one token from the next.
    number: u64,
}

/// The token that a call is made with.
enum Held {
    /// None at all, or the user's own.
    Fixed(Option<Token>),
    /// One of ours.
    Login(Login),
}

// === impl Session ===

impl Session {
    /// Makes a session; no call is made.
    pub(crate) fn new(parts: SessionParts) -> Self {
        Self {
            identity: parts.identity,
            settings: parts.settings,
            client: Arc::new(parts.client),
            caller: parts.material.caller.clone(),
            material: parts.material,
            login_turn: tokio::sync::Mutex::new(()),
            current: Mutex::new(None),
            revocations: parts.revocations,
            metrics: parts.metrics,
        }
    }

    /// Makes a call with the store's token. If a token of ours is refused it is replaced once and the call made again: it may
    /// have been revoked.
    ///
    /// # Errors
    ///
    /// Those of [`VaultClient::send`] and, for the login, `UNAUTHENTICATED` and those of the credential lookup.
    ///
    /// # Cancel safety
    ///
    /// A login whose answer nobody waits for any more is lost; its token expires by itself.
    pub(crate) async fn call(
        &self,
        credentials: &impl CredentialSource,
        call: &Call,
    ) -> Result<Answer, ProviderError> {
        let held = self.token(credentials, None).await?;
        let answer = self.send(call, held.token()).await?;
        let Held::Login(refused) = held else {
            return Ok(answer);
        };
        if answer.status != StatusCode::FORBIDDEN || self.is_young_and_alive(&refused).await {
            return Ok(answer);
        }
        let next = self.token(credentials, Some(refused.number)).await?;
        self.send(call, next.token()).await
    }

    /// Makes a call whose refusal says nothing about the token.
    ///
    /// # Errors
    ///
    /// As for [`Session::call`].
    pub(crate) async fn ask(
        &self,
        credentials: &impl CredentialSource,
        call: &Call,
    ) -> Result<Answer, ProviderError> {
        let held = self.token(credentials, None).await?;
        self.send(call, held.token()).await
    }

    /// Obtains a token, or makes sure that the present one has some time left, and asks the server about one that the user
    /// manages (8.9).
    ///
    /// # Errors
    ///
    /// `UNAUTHENTICATED` if the server refuses the token or the login, and those of [`VaultClient::send`].
    pub(crate) async fn check_token(
        &self,
        credentials: &impl CredentialSource,
    ) -> Result<(), ProviderError> {
        match self.token(credentials, None).await? {
            Held::Login(_) => Ok(()),
            Held::Fixed(token) => self.look_up(token.as_ref()).await,
        }
    }

    /// What must not appear in a message.
    pub(crate) fn secrets(&self) -> Vec<SecretValue> {
        let login = self
            .current
            .lock()
            .as_ref()
            .map(|login| login.token.text().clone());
        let fixed = self
            .material
            .static_token
            .as_ref()
            .map(|token| token.text().clone());
        login
            .into_iter()
            .chain(fixed)
            .chain(self.material.account_token.clone())
            .chain(self.caller.as_ref().map(|caller| caller.token().clone()))
            .collect()
    }

    async fn send(&self, call: &Call, token: Option<&Token>) -> Result<Answer, ProviderError> {
        self.client
            .send(
                call,
                Caller {
                    namespace: self.settings.namespace.as_deref(),
                    token,
                },
            )
            .await
    }

    fn auth_caller<'a>(&'a self, token: Option<&'a Token>) -> Caller<'a> {
        Caller {
            namespace: self.settings.auth_namespace.as_deref(),
            token,
        }
    }

    /// The token to use now; `refused` is the number of a login whose token must not be given again.
    async fn token(
        &self,
        credentials: &impl CredentialSource,
        refused: Option<u64>,
    ) -> Result<Held, ProviderError> {
        let (mount, role, account) = match &self.settings.auth {
            Auth::None => return Ok(Held::Fixed(None)),
            Auth::Token(_) => return Ok(Held::Fixed(self.material.static_token.clone())),
            Auth::Kubernetes {
                mount,
                role,
                account,
            } => (mount, role, account),
        };
        if let Some(login) = self.usable(refused) {
            self.metrics.token_cache_hits.inc();
            return Ok(Held::Login(login));
        }
        let _turn = self.login_turn.lock().await;
        // Another call may have logged in while this one waited for its turn.
        if let Some(login) = self.usable(refused) {
            self.metrics.token_cache_hits.inc();
            return Ok(Held::Login(login));
        }
        self.metrics.token_cache_misses.inc();
        let token = match (account, &self.material.account_token) {
            (
                AccountToken::Requested {
                    name,
                    namespace,
                    audiences,
                },
                _,
            ) => {
                let selector = ServiceAccountSelector {
                    name,
                    namespace: namespace.as_deref(),
                    audiences,
                };
                credentials.service_account_token(selector).await?
            }
            (AccountToken::Secret(_), Some(token)) => token.clone(),
            (AccountToken::Secret(reference), None) => {
                credentials.secret_key(reference.selector()).await?.value
            }
            (AccountToken::OwnPod, _) => credentials.own_pod_token().await?,
            (AccountToken::Caller, _) => self
                .caller
                .as_ref()
                .map(|caller| caller.token().clone())
                .ok_or_else(no_caller)?,
        };
        let number = self.current.lock().as_ref().map_or(0, |login| login.number) + 1;
        let login = self.log_in(mount, role, &token, number).await?;
        let previous = self.current.lock().replace(login.clone());
        // A token that was refused although it has time left may still be alive (its role was changed): nobody will use it
        // again, so it goes. One that is about to expire may serve a call that is under way: it is left to expire.
        if let Some(previous) = previous.filter(|previous| refused == Some(previous.number)) {
            self.revoke(&previous);
        }
        Ok(Held::Login(login))
    }

    fn usable(&self, refused: Option<u64>) -> Option<Login> {
        let current = self.current.lock();
        let login = current.as_ref()?;
        let is_fresh = login
            .usable_until
            .is_none_or(|until| Instant::now() < until);
        (is_fresh && refused != Some(login.number)).then(|| login.clone())
    }

    /// `POST auth/<mount>/login` with a role and a service account token.
    async fn log_in(
        &self,
        mount: &str,
        role: &str,
        jwt: &SecretValue,
        number: u64,
    ) -> Result<Login, ProviderError> {
        let since = Instant::now();
        let path = ApiPath::fixed("auth").join(mount)?.join("login")?;
        let call = Call::post(LOGIN, path, Some(login_body(role, jwt)));
        let answer = self.client.send(&call, self.auth_caller(None)).await?;
        if !answer.status.is_success() {
            return Err(self.login_refused(mount, role, &answer, jwt));
        }
        let body = answer.json()?;
        for warning in body.messages("warnings") {
            tracing::debug!(mount, warning, "vault attached a warning to a login");
        }
        let auth = body
            .present("auth")
            .ok_or_else(|| unexpected_login(mount))?;
        let mut token = auth
            .member("client_token")
            .and_then(Value::string)
            .ok_or_else(|| unexpected_login(mount))?;
        let token = Token::try_new(SecretValue::new(std::mem::take(&mut *token)))?;
        let lease = auth
            .member("lease_duration")
            .and_then(Value::count)
            .unwrap_or(0);
        // Zero means that the token does not expire.
        let usable_until =
            (lease > 0).then(|| since + Duration::from_secs(lease).saturating_sub(EXPIRY_MARGIN));
        let is_revocable =
            auth.member("token_type").and_then(Value::plain).as_deref() != Some("batch");
        tracing::debug!(mount, role, lease_seconds = lease, "logged in to vault");
        Ok(Login {
            token,
            since,
            usable_until,
            is_revocable,
            number,
        })
    }

    /// Whose login it is, as the end of a sentence.
    pub(crate) fn on_whose_behalf(&self) -> String {
        match (&self.caller, &self.settings.auth) {
            (Some(caller), Auth::Kubernetes { role, .. }) => {
                format!(" (role \"{role}\", service account {})", caller.account())
            }
            _ => String::new(),
        }
    }

    fn login_refused(
        &self,
        mount: &str,
        role: &str,
        answer: &Answer,
        jwt: &SecretValue,
    ) -> ProviderError {
        let text = with_colon(answer.error_text(&[jwt]));
        let origin = self.client.origin();
        match answer.status {
            // The token of a pod is genuine as a rule: what it lacks is the role.
            StatusCode::BAD_REQUEST | StatusCode::FORBIDDEN if self.caller.is_some() => {
                let account = self.caller.as_ref().map(CallerToken::account);
                let account = account.unwrap_or_default();
                ProviderError::new(
                    ErrorClass::PermissionDenied,
                    format!(
                        "vault server {origin} refused service account {account} the role \"{role}\" at auth/{mount}{text}"
                    ),
                )
            }
            StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                ProviderError::new(
                    ErrorClass::Unauthenticated,
                    format!("vault server {origin} refused the login at auth/{mount}{text}"),
                )
            }
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED if !text.is_empty() => {
                ProviderError::invalid_config(format!(
                    "no login at auth/{mount} of vault server {origin}{text}"
                ))
            }
            status => ProviderError::new(
                ErrorClass::BackendUnavailable,
                format!(
                    "vault server {origin} answered a login with status {}",
                    status.as_u16()
                ),
            ),
        }
    }

    /// Whether a refused token is fresh and, by the server's word, alive: then the refusal is about a permission.
    async fn is_young_and_alive(&self, login: &Login) -> bool {
        login.since.elapsed() < YOUNG_TOKEN && self.look_up(Some(&login.token)).await.is_ok()
    }

    /// `GET auth/token/lookup-self`.
    async fn look_up(&self, token: Option<&Token>) -> Result<(), ProviderError> {
        let call = Call::get(LOOKUP_SELF, ApiPath::fixed("auth/token/lookup-self"));
        let answer = self.client.send(&call, self.auth_caller(token)).await?;
        let origin = self.client.origin();
        if !answer.status.is_success() {
            let secrets: Vec<&SecretValue> = token.map(Token::text).into_iter().collect();
            let text = with_colon(answer.error_text(&secrets));
            return Err(match answer.status {
                StatusCode::BAD_REQUEST | StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN => {
                    ProviderError::new(
                        ErrorClass::Unauthenticated,
                        format!("vault server {origin} does not accept the token{text}"),
                    )
                }
                StatusCode::NOT_FOUND if !text.is_empty() => ProviderError::invalid_config(
                    format!("vault server {origin} has no such namespace{text}"),
                ),
                status => ProviderError::new(
                    ErrorClass::BackendUnavailable,
                    format!(
                        "vault server {origin} answered a token lookup with status {}",
                        status.as_u16()
                    ),
                ),
            });
        }
        let data = answer.json()?.member("data");
        for field in ["type", "ttl", "expire_time"] {
            if data.and_then(|data| data.member(field)).is_none() {
                return Err(ProviderError::internal(format!(
                    "the token lookup of vault server {origin} has no {field}"
                )));
            }
        }
        Ok(())
    }

    /// Revokes the token of a login in the background.
    fn revoke(&self, login: &Login) {
        // Outside of a runtime (a process that is going down) the token is left to expire.
        if !login.is_revocable || tokio::runtime::Handle::try_current().is_err() {
            return;
        }
        let client = Arc::clone(&self.client);
        let namespace = self.settings.auth_namespace.clone();
        let token = login.token.clone();
        self.revocations.spawn(async move {
            let call = Call::post(REVOKE_SELF, ApiPath::fixed("auth/token/revoke-self"), None);
            let caller = Caller {
                namespace: namespace.as_deref(),
                token: Some(&token),
            };
            match tokio::time::timeout(REVOKE_TIMEOUT, client.send(&call, caller)).await {
                Ok(Ok(answer)) if answer.status.is_success() => {}
                _ => tracing::debug!(
                    server = client.origin(),
                    "a vault token could not be revoked and is left to expire"
                ),
            }
        });
    }
}

impl Drop for Session {
    fn drop(&mut self) {
        if let Some(login) = self.current.get_mut().take() {
            self.metrics.token_cache_evictions.inc();
            self.revoke(&login);
        }
    }
}

// === impl Held ===

impl Held {
    fn token(&self) -> Option<&Token> {
        match self {
            Self::Fixed(token) => token.as_ref(),
            Self::Login(login) => Some(&login.token),
        }
    }
}

/// The failure of a request without the token that the store's login takes.
pub(crate) fn no_caller() -> ProviderError {
    ProviderError::new(
        ErrorClass::Unauthenticated,
        "the login is that of the pod that mounts the value (useCallerToken), and the request brought no token of one: deliver \
         it as a volume, through a store with annotation latchkey.dev/caller-identity",
    )
}

/// `{"jwt":…,"role":…}` in memory that is wiped.
fn login_body(role: &str, jwt: &SecretValue) -> Zeroizing<Vec<u8>> {
    /// Longest form of one byte in a JSON string, so that the buffer never grows and leaves no copy behind.
    const ESCAPED_BYTES: usize = 6;
    let mut body = Zeroizing::new(Vec::with_capacity(
        (jwt.len() + role.len()) * ESCAPED_BYTES + 32,
    ));
    body.extend_from_slice(b"{\"jwt\":");
    json::write_string(&mut body, jwt.expose(), Escape::Plain);
    body.extend_from_slice(b",\"role\":");
    json::write_string(&mut body, role.as_bytes(), Escape::Plain);
    body.push(b'}');
    body
}

/// The server's words as the end of a sentence; nothing if it had none.
fn with_colon(text: String) -> String {
    if text.is_empty() {
        text
    } else {
        format!(": {text}")
    }
}

fn unexpected_login(mount: &str) -> ProviderError {
    ProviderError::internal(format!(
        "the answer to the login at auth/{mount} has no token"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_login_body_escapes_what_it_is_given() {
        let body = login_body("a\"b", &SecretValue::from("x.y.z\n".to_owned()));
        assert_eq!(
            std::str::from_utf8(&body).unwrap(),
            r#"{"jwt":"x.y.z\n","role":"a\"b"}"#
        );
        let body = login_body("", &SecretValue::new(vec![0xff; 100]));
        assert!(Value::try_new(&body).is_some());
    }
}
