//! Tokens of the ServiceAccounts that stores name, sent along with every call (P-TLS-5).
//!
//! A token says to one provider who asks. It is made by a TokenRequest for the account that the store names and never is the
//! agent's own; it lives ten minutes at most, is good for the audiences of the store alone, and is kept in memory until four
//! fifths of its life are over ([`mint`] makes it and looks at what it got). It leaves this module as the value of one header,
//! marked as sensitive, and travels on connections of [`latchkey_transport`] only, which send nothing before the provider's
//! certificate is verified (SB-28, SB-29).
//!
//! Kept by account, audiences, store and generation of the store: a store that changed asks for a token of its own, and its
//! older one is wiped (P-CL-2, SB-26). Equal requests at one time are one TokenRequest.

mod mint;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use futures::future::{BoxFuture, Shared};
use kube::Client;
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use tokio::time::Instant;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use zeroize::Zeroizing;

use crate::stores::TokenSource;

use mint::ApiMint;
pub(crate) use mint::Mint;

/// Longest life of a token, and the shortest that the API server makes.
pub(crate) const LIFETIME: Duration = Duration::from_secs(600);

/// What must be left of a token's life for a call to begin with it: its way to the provider, and clocks that differ.
const MARGIN: Duration = Duration::from_secs(20);

/// How long a failure answers further calls, so that a store without permission costs no request each.
const HOLD: Duration = Duration::from_secs(5);

/// After what time a request that nobody waits for any more is given up.
const ABANDONED: Duration = Duration::from_secs(30);

/// How old a token must be for a provider's refusal to put an end to it: another one would be refused the same way.
const SETTLED: Duration = Duration::from_secs(60);

/// Most tokens that are kept.
const LIMIT: usize = 4096;

/// Why there is no token.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TokenProblem {
    /// Someone must act: a right is missing, or the account, or the token is not what it must be.
    #[error("{0}")]
    Wrong(String),
    /// The API server did not answer; trying again helps.
    #[error("{0}")]
    Unread(String),
}

/// A token, ready to be sent.
#[derive(Clone)]
pub(crate) struct Token {
    /// With the word `Bearer`.
    header: SecretValue,
    /// When it was asked for.
    asked: Instant,
    lifetime: Duration,
}

/// The tokens in use. Shared by all stores.
pub struct Tokens {
    mint: Option<Arc<dyn Mint>>,
    known: Mutex<HashMap<TokenSource, Entry>>,
}

/// The token of one store, as its calls take it along.
#[derive(Clone)]
pub(crate) struct Bearer {
    tokens: Arc<Tokens>,
    source: Arc<TokenSource>,
}

type Outcome = Result<Token, TokenProblem>;

#[derive(Default)]
struct Entry {
    token: Option<Token>,
    failure: Option<(Instant, TokenProblem)>,
    flight: Option<Flight>,
}

/// A TokenRequest under way, for everybody who waits for it.
#[derive(Clone)]
struct Flight {
    began: Instant,
    answer: Shared<BoxFuture<'static, Outcome>>,
}

/// What to do for a call.
enum Step {
    Send(Token),
    Fail(TokenProblem),
    /// With what serves if the request fails.
    Wait(Flight, Option<Token>),
}

// === impl Token ===

impl Token {
    /// `token` as it was asked for at `asked`; it lives for `lifetime` from then on.
    pub(crate) fn new(token: &SecretValue, asked: Instant, lifetime: Duration) -> Self {
        let mut header = Vec::with_capacity(b"Bearer ".len() + token.len());
        header.extend_from_slice(b"Bearer ");
        header.extend_from_slice(token.expose());
        Self {
            header: SecretValue::new(header),
            asked,
            lifetime,
        }
    }

    /// Whether it is far enough from its end that nobody need think of the next one.
    fn is_fresh(&self, now: Instant) -> bool {
        now.duration_since(self.asked) < self.lifetime.mul_f64(0.8)
    }

    fn is_valid(&self, now: Instant) -> bool {
        now.duration_since(self.asked) + MARGIN < self.lifetime
    }
}

// === impl Tokens ===

impl Tokens {
    /// For the role `sync`: TokenRequests through `client`.
    #[must_use]
    pub fn through_api(client: Client) -> Self {
        Self::made_by(Arc::new(ApiMint::new(client)))
    }

    /// For an agent without the role `sync`, which mints none: every request is refused.
    #[must_use]
    pub fn none() -> Self {
        Self {
            mint: None,
            known: Mutex::default(),
        }
    }

    /// With tokens of `mint`.
    pub(crate) fn made_by(mint: Arc<dyn Mint>) -> Self {
        Self {
            mint: Some(mint),
            known: Mutex::default(),
        }
    }

    /// What calls of a store take along.
    pub(crate) fn bearer(self: &Arc<Self>, source: &TokenSource) -> Bearer {
        Bearer {
            tokens: Arc::clone(self),
            source: Arc::new(source.clone()),
        }
    }

    async fn token(&self, source: &TokenSource) -> Outcome {
        let Some(mint) = &self.mint else {
            return Err(TokenProblem::Wrong(format!(
                "a token for ServiceAccount {}/{} cannot be made on a node without the role sync",
                source.namespace, source.name
            )));
        };
        let (flight, held) = match self.step(mint, source, Instant::now()) {
            Step::Send(token) => return Ok(token),
            Step::Fail(problem) => return Err(problem),
            Step::Wait(flight, held) => (flight, held),
        };
        let answer = flight.answer.clone().await;
        let now = Instant::now();
        self.land(source, &flight, &answer, now);
        match answer {
            Ok(token) => Ok(token),
            Err(problem) => held.filter(|held| held.is_valid(now)).ok_or(problem),
        }
    }

    /// Never looks at a clock.
    fn step(&self, mint: &Arc<dyn Mint>, source: &TokenSource, now: Instant) -> Step {
        let mut known = self.known.lock();
        known.retain(|other, entry| {
            let is_older = other.store == source.store && other.generation < source.generation;
            let is_of_use = entry
                .token
                .as_ref()
                .is_some_and(|token| token.is_valid(now))
                || entry
                    .flight
                    .as_ref()
                    .is_some_and(|flight| now.duration_since(flight.began) < ABANDONED)
                || entry
                    .failure
                    .as_ref()
                    .is_some_and(|(at, _)| now.duration_since(*at) < HOLD);
            !is_older && is_of_use
        });
        let begin = || Flight {
            began: now,
            answer: mint.mint(source.clone()).shared(),
        };
        if known.len() >= LIMIT && !known.contains_key(source) {
            return Step::Wait(begin(), None);
        }
        let entry = known.entry(source.clone()).or_default();
        let held = entry.token.clone().filter(|token| token.is_valid(now));
        if let Some(token) = held.clone().filter(|token| token.is_fresh(now)) {
            return Step::Send(token);
        }
        let failure = entry.failure.as_ref();
        if let Some((_, problem)) = failure.filter(|(at, _)| now.duration_since(*at) < HOLD) {
            return held.map_or_else(|| Step::Fail(problem.clone()), Step::Send);
        }
        if let Some(flight) = &entry.flight
            && now.duration_since(flight.began) < ABANDONED
        {
            return Step::Wait(flight.clone(), held);
        }
        let flight = begin();
        entry.flight = Some(flight.clone());
        Step::Wait(flight, held)
    }

    /// Keeps what a request brought, once.
    fn land(&self, source: &TokenSource, flight: &Flight, answer: &Outcome, now: Instant) {
        let mut known = self.known.lock();
        // Not there any more if the store changed meanwhile.
        let Some(entry) = known.get_mut(source) else {
            return;
        };
        let is_current = entry
            .flight
            .as_ref()
            .is_some_and(|current| current.answer.ptr_eq(&flight.answer));
        if !is_current {
            return;
        }
        entry.flight = None;
        match answer {
            Ok(token) => {
                entry.token = Some(token.clone());
                entry.failure = None;
            }
            Err(problem) => entry.failure = Some((now, problem.clone())),
        }
    }

    /// A provider refused the token: the next call brings another, unless it is new.
    fn refused(&self, source: &TokenSource, now: Instant) {
        if let Some(entry) = self.known.lock().get_mut(source) {
            entry
                .token
                .take_if(|token| now.duration_since(token.asked) >= SETTLED);
        }
    }

    /// How many tokens are kept.
    #[cfg(test)]
    pub(crate) fn len(&self) -> usize {
        self.known.lock().len()
    }
}

// === impl Bearer ===

impl Bearer {
    /// Sees to a token, so that what is wrong with it is known before anything is connected.
    ///
    /// # Errors
    ///
    /// [`TokenProblem`], with a text that names the account and what to do.
    pub(crate) async fn ensure(&self) -> Result<(), TokenProblem> {
        self.tokens.token(&self.source).await.map(drop)
    }

    /// Adds the token to the metadata of a request.
    ///
    /// # Errors
    ///
    /// As for [`Bearer::ensure`].
    pub(crate) async fn sign(&self, metadata: &mut MetadataMap) -> Result<(), TokenProblem> {
        let token = self.tokens.token(&self.source).await?;
        metadata.insert("authorization", header(&token.header)?);
        Ok(())
    }

    /// The provider answered UNAUTHENTICATED.
    pub(crate) fn refused(&self) {
        self.tokens.refused(&self.source, Instant::now());
    }
}

/// A header that no debug output and no compression table shows.
fn header(value: &SecretValue) -> Result<MetadataValue<Ascii>, TokenProblem> {
    let text = Zeroizing::new(String::from_utf8_lossy(value.expose()).into_owned());
    let mut header: MetadataValue<Ascii> = text.parse().map_err(|_| {
        // The error would not say more, and must not say what.
        TokenProblem::Wrong("the token cannot be written into a header".into())
    })?;
    header.set_sensitive(true);
    Ok(header)
}
