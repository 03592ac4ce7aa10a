//! What is written to stores: PC-12, PC-13 and PC-18. Nothing of it is run without `--write`.

use tonic::Code;

use super::expect::{Found, Mismatch, Refusal};
use super::report::Steps;
use super::subject::Store;
use super::suite::{Suite, is_unsupported, made_up};

/// What is above every server's receive limit of 4 MiB, in bytes.
const TOO_LARGE: usize = 5 << 20;

/// PC-12.
pub(super) async fn push(suite: &Suite, store: &Store, steps: &mut Steps) {
    if !suite.write {
        return steps.skip("all of it", "--write");
    }
    let key = made_up();
    for (what, value) in [("a new key", &b"one"[..]), ("the same key again", b"other")] {
        let pushed = suite.answered(suite.push(store, &key, value.to_vec()).await);
        let found = match pushed {
            Ok(()) => suite.value(suite.get(store.request(&key)).await, value),
            Err(mismatch) => Err(mismatch),
        };
        steps.note(format!("a push to {what}, read back"), found);
    }
    // Not a check: one server of the contract keeps what was pushed (provider-protocol.md 12.1).
    let _ = suite.delete(store, &key).await;
    let Some(key) = &suite.protected else {
        steps.skip("a push over what is protected", "--protected");
        return;
    };
    const REFUSAL: Refusal = Refusal::by(&[
        Code::Aborted,
        Code::AlreadyExists,
        Code::FailedPrecondition,
        Code::PermissionDenied,
    ]);
    let before = suite.answered(suite.get(store.request(key)).await);
    let found = suite.refused(suite.push(store, key, b"other".to_vec()).await, &REFUSAL);
    steps.note(format!("a push over the key {key}"), found);
    let found = match before {
        Ok(before) => suite.value(suite.get(store.request(key)).await, before.expose()),
        Err(mismatch) => Err(mismatch),
    };
    steps.note(format!("the key {key} afterwards"), found);
}

/// PC-13.
pub(super) async fn delete(suite: &Suite, store: &Store, steps: &mut Steps) {
    if !suite.write {
        return steps.skip("all of it", "--write");
    }
    let key = made_up();
    let found = suite.answered(suite.delete(store, &key).await);
    steps.note(
        "a delete of what is not there",
        found.map(|()| String::from("success")),
    );
    let found = exists(suite, store, &key, false).await;
    steps.note("SecretExists of what is not there", found);
    let pushed = suite.answered(suite.push(store, &key, b"one".to_vec()).await);
    let found = match pushed {
        Ok(()) => exists(suite, store, &key, true).await,
        Err(mismatch) => Err(mismatch),
    };
    steps.note("SecretExists of what was pushed", found);
    let found = suite.answered(suite.delete(store, &key).await);
    steps.note(
        "a delete of what was pushed",
        found.map(|()| String::from("success")),
    );
}

async fn exists(suite: &Suite, store: &Store, key: &str, expected: bool) -> Found {
    match suite.answered(suite.exists(store, key).await)? {
        came if came == expected => Ok(came.to_string()),
        came => Err(Mismatch::new(expected.to_string(), came.to_string())),
    }
}

/// PC-18.
pub(super) async fn large(suite: &Suite, store: &Store, steps: &mut Steps) {
    if !suite.write {
        return steps.skip("all of it", "--write");
    }
    let key = made_up();
    let result = suite.push(store, &key, vec![b'x'; TOO_LARGE]).await;
    let expected = "RESOURCE_EXHAUSTED";
    let found = match result {
        Ok(()) => {
            let _ = suite.delete(store, &key).await;
            Err(Mismatch::new(expected, "an answer"))
        }
        Err(status) if status.code() == Code::ResourceExhausted => Ok(suite.tell(&status)),
        Err(status) => Err(Mismatch::new(expected, suite.tell(&status))),
    };
    steps.note("a push of 5 MiB", found);
    let found = match suite.push(store, &key, b"small".to_vec()).await {
        Err(status) if is_unsupported(&status) => Ok(suite.tell(&status)),
        result => suite.answered(result).map(|()| String::from("success")),
    };
    let _ = suite.delete(store, &key).await;
    steps.note("a small push afterwards", found);
}
