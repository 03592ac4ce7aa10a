//! What generators do: PC-26 and PC-27.

use serde::de::IgnoredAny;

use super::expect::{Mismatch, Refusal};
use super::report::Steps;
use super::subject::Generator;
use super::suite::{Suite, is_unsupported};

/// PC-26. What was made is revoked at once.
pub(super) async fn generate(suite: &Suite, generator: &Generator, steps: &mut Steps) {
    let result = suite
        .generate(generator.reference.clone(), &generator.source)
        .await;
    let made = suite.answered(result);
    if let Ok((_, state)) = &made
        && !state.is_empty()
    {
        let _ = suite.cleanup(generator, state).await;
    }
    let found = made.and_then(|(values, state)| {
        let told = format!(
            "{} values and a state of {} bytes",
            values.len(),
            state.len()
        );
        // The state is kept in a field that only takes JSON (provider-protocol.md 1.7).
        if state.is_empty() || serde_json::from_slice::<IgnoredAny>(&state).is_ok() {
            Ok(told)
        } else {
            let expected = "values and a state that is empty or JSON";
            Err(Mismatch::new(expected, told))
        }
    });
    steps.note("values of the object of --generator-ref", found);
    let mut reference = generator.reference.clone();
    reference.api_version = String::from("example.com/v1alpha1");
    let refusal = Refusal::of_kind("may only reference the generators group");
    let result = suite.generate(reference, &generator.source).await;
    steps.note("a kind of another group", suite.refused(result, &refusal));
}

/// PC-27: the half of it that binds the server.
pub(super) async fn cleanup(suite: &Suite, generator: &Generator, steps: &mut Steps) {
    let result = suite
        .generate(generator.reference.clone(), &generator.source)
        .await;
    let state = match suite.answered(result) {
        Ok((_, state)) => state,
        Err(mismatch) => {
            return steps.note("values of the object of --generator-ref", Err(mismatch));
        }
    };
    for what in ["Cleanup", "the same Cleanup again"] {
        let found = match suite.cleanup(generator, &state).await {
            // Nothing that this kind makes can be revoked.
            Err(status) if is_unsupported(&status) => Ok(suite.tell(&status)),
            result => suite.answered(result).map(|()| String::from("success")),
        };
        steps.note(what, found);
    }
}
