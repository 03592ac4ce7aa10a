//! What concerns the connection: PC-15, PC-16, PC-17 and PC-31.

use std::sync::Arc;
use std::time::Duration;

use rustls::ClientConfig;
use tonic::{Code, Status};
use tonic_health::pb::health_check_response::ServingStatus;

use super::expect::{Found, Mismatch};
use super::probe::{self, Heard, Pinged};
use super::report::Steps;
use super::suite::{Suite, made_up};

/// Pings of a good client (provider-protocol.md 6).
const GENTLE: Duration = Duration::from_secs(10);

/// Pings that a server may punish.
const HASTY: Duration = Duration::from_secs(2);

/// Calls that are given up.
const ABANDONED: usize = 20;

/// PC-15.
pub(super) async fn health(suite: &Suite, steps: &mut Steps) {
    let found = suite
        .answered(suite.health("").await)
        .and_then(|status| match status {
            ServingStatus::Serving => Ok(String::from("SERVING")),
            other => Err(Mismatch::new("SERVING", other.as_str_name())),
        });
    steps.note("the empty service name", found);
    const STORE: &str = "provider.v1.SecretStoreProvider";
    let found = match suite.health(STORE).await {
        Err(status) if status.code() == Code::NotFound => Ok(suite.tell(&status)),
        Err(status) => Err(Mismatch::new("NOT_FOUND", suite.tell(&status))),
        Ok(status) => Err(Mismatch::new("NOT_FOUND", status.as_str_name())),
    };
    steps.note(format!("the service name {STORE}"), found);
}

/// PC-16. The good client comes first: without it the refusals of the others would mean nothing.
pub(super) async fn certificates(suite: &Suite, steps: &mut Steps) {
    let probes = &suite.probes;
    let good = match probe::call(probes, &probes.identity, suite.timeout).await {
        Ok(Heard::Answered) => Ok(Heard::Answered.told()),
        Ok(other) => Err(Mismatch::new("an answer to a call", other.told())),
        Err(error) => Err(Mismatch::new("an answer to a call", error)),
    };
    let is_good = good.is_ok();
    steps.note("a client with the certificate given", good);
    if !is_good {
        return;
    }
    let mut clients: Vec<(&str, &Arc<ClientConfig>)> = vec![
        ("a client without a certificate", &probes.anonymous),
        (
            "a client with a certificate of another authority",
            &probes.foreign,
        ),
    ];
    match &probes.server {
        Some(server) => clients.push(("a client with a server's certificate", server)),
        None => steps.skip(
            "a client with a server's certificate",
            "--server-cert and --server-key",
        ),
    }
    for (what, config) in clients {
        steps.note(
            what,
            refused(probe::call(probes, config, suite.timeout).await),
        );
    }
}

fn refused(heard: Result<Heard, String>) -> Found {
    const EXPECTED: &str = "a TLS alert, or the end of the connection";
    match heard {
        Ok(heard @ (Heard::Alert(_) | Heard::Closed)) => Ok(heard.told()),
        Ok(other) => Err(Mismatch::new(EXPECTED, other.told())),
        Err(error) => Err(Mismatch::new(EXPECTED, error)),
    }
}

/// PC-17. What a server does about hasty pings is its own protection, which not every HTTP/2 library has: it may say
/// ENHANCE_YOUR_CALM or bear them, but nothing else.
pub(super) async fn pings(suite: &Suite, steps: &mut Steps) {
    let Some(time) = suite.slow else {
        return steps.skip("all of it", "--slow");
    };
    let ping = |every| probe::ping(&suite.probes, every, time, suite.timeout);
    let (gentle, hasty) = tokio::join!(ping(GENTLE), ping(HASTY));
    let seconds = time.as_secs();
    let what = format!("a ping every {} s for {seconds} s", GENTLE.as_secs());
    steps.note(what, gentle_answer(gentle));
    let what = format!("a ping every {} s for {seconds} s", HASTY.as_secs());
    steps.note(what, hasty_answer(hasty));
}

pub(super) fn gentle_answer(pinged: Result<Pinged, String>) -> Found {
    const EXPECTED: &str = "answers, and an open connection";
    let pinged = pinged.map_err(|error| Mismatch::new(EXPECTED, error))?;
    let told = told(&pinged);
    // The last one may still be on its way.
    let is_answered = pinged.sent > 0 && pinged.answered + 1 >= pinged.sent;
    if pinged.end.is_none() && is_answered {
        Ok(told)
    } else {
        Err(Mismatch::new(EXPECTED, told))
    }
}

pub(super) fn hasty_answer(pinged: Result<Pinged, String>) -> Found {
    const EXPECTED: &str = "GOAWAY ENHANCE_YOUR_CALM, or an open connection";
    let pinged = pinged.map_err(|error| Mismatch::new(EXPECTED, error))?;
    match &pinged.end {
        None | Some(Heard::GoAway(11, _)) => Ok(told(&pinged)),
        Some(_) => Err(Mismatch::new(EXPECTED, told(&pinged))),
    }
}

fn told(pinged: &Pinged) -> String {
    let Pinged {
        sent,
        answered,
        end,
    } = pinged;
    let end = match end {
        Some(heard) => format!("then {}", heard.told()),
        None => String::from("the connection open"),
    };
    format!("{sent} pings, {answered} answers, {end}")
}

/// PC-31, as far as it can be seen from outside.
pub(super) async fn abandoned(suite: &Suite, steps: &mut Steps) {
    let key = suite
        .existing
        .first()
        .map_or_else(made_up, |entry| entry.key.clone());
    let call = async || match &suite.store {
        Some(store) => suite.get(store.request(&key)).await.map(drop),
        None => suite.health("").await.map(drop),
    };
    let mut finished = 0;
    for _ in 0..ABANDONED {
        // Dropping the call breaks its stream off.
        if tokio::time::timeout(Duration::from_millis(1), call())
            .await
            .is_ok()
        {
            finished += 1;
        }
    }
    let found = match call().await {
        Ok(()) => Ok(String::from("an answer")),
        Err(status) if is_of_server(&status) => Ok(suite.tell(&status)),
        Err(status) => Err(Mismatch::new("an answer", suite.tell(&status))),
    };
    let given_up = ABANDONED - finished;
    steps.note(format!("a call after {given_up} that were given up"), found);
}

/// Whether the provider itself said so, and was well.
fn is_of_server(status: &Status) -> bool {
    status.code() == Code::NotFound && !latchkey_transport::Connection::is_local(status)
}
