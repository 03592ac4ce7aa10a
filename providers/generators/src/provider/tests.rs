use latchkey_crds::provider_generators::{FakeSpec, FakeState, PasswordSpec, UuidSpec};
use latchkey_provider_sdk::{ErrorClass, Operation, ProviderReference};

use super::*;

#[derive(Default)]
struct Given {
    password: PasswordSpec,
    fake: FakeSpec,
}

impl Resources for Given {
    async fn password(&self, _: &RequestContext) -> Result<Arc<Password>> {
        Ok(Arc::new(Password::new("g", self.password.clone())))
    }

    async fn uuid(&self, _: &RequestContext) -> Result<Arc<UUID>> {
        Ok(Arc::new(UUID::new("g", UuidSpec::default())))
    }

    async fn fake(&self, _: &RequestContext) -> Result<Arc<Fake>> {
        Ok(Arc::new(Fake::new("g", self.fake.clone())))
    }
}

/// Futures of these providers never wait for anything here.
fn now<T>(future: impl Future<Output = T>) -> T {
    let mut future = std::pin::pin!(future);
    let mut context = std::task::Context::from_waker(std::task::Waker::noop());
    match future.as_mut().poll(&mut context) {
        std::task::Poll::Ready(value) => value,
        std::task::Poll::Pending => panic!("it waits"),
    }
}

fn context(operation: Operation, kind: &str) -> RequestContext {
    let reference = ProviderReference {
        api_version: DEFAULT_GENERATOR_API_VERSION.into(),
        kind: kind.into(),
        name: "g".into(),
        namespace: "a".into(),
    };
    RequestContext::try_for_generator(operation, reference, "a").unwrap()
}

fn generate(given: Given, kind: &str) -> Result<Generated> {
    now(Generators::new(given).generate(&context(Operation::Generate, kind)))
}

#[test]
fn passwords_and_uuids_leave_no_state() {
    for (kind, key, length) in [("Password", "password", 24), ("UUID", "uuid", 36)] {
        let generated = generate(Given::default(), kind).unwrap();
        assert_eq!(generated.data.keys().collect::<Vec<_>>(), [key]);
        assert_eq!(generated.data[key].len(), length);
        assert_eq!(generated.state, None);
    }
    let wrong = Given {
        password: PasswordSpec {
            digits: Some(99),
            ..PasswordSpec::default()
        },
        ..Given::default()
    };
    let error = generate(wrong, "Password").unwrap_err();
    assert_eq!(error.class(), ErrorClass::InvalidConfig);
}

#[test]
fn a_fake_hands_out_its_data_as_it_is() {
    // E239.
    assert!(generate(Given::default(), "Fake").unwrap().data.is_empty());
    let fake = |enabled| Given {
        fake: FakeSpec {
            data: [
                ("a".to_owned(), "x\n".to_owned()),
                ("b".to_owned(), String::new()),
            ]
            .into(),
            stateful: Some(FakeState { enabled }),
            ..FakeSpec::default()
        },
        ..Given::default()
    };
    let generated = generate(fake(false), "Fake").unwrap();
    assert_eq!(generated.data["a"].expose(), b"x\n");
    assert!(generated.data["b"].is_empty());
    assert_eq!(generated.state, None);

    let (first, second) = (
        generate(fake(true), "Fake").unwrap().state.unwrap(),
        generate(fake(true), "Fake").unwrap().state.unwrap(),
    );
    assert_ne!(first, second);
    let state: serde_json::Value = serde_json::from_slice(&first).unwrap();
    assert_eq!(state["v"], 1);
}

#[test]
fn cleanup_needs_no_resource_and_refuses_what_it_does_not_know() {
    // generators.md 5: a newer state is reported and kept.
    let cleanup = |kind: &str, state: &str| {
        let generators = Generators::new(Given::default());
        now(generators.cleanup(&context(Operation::Cleanup, kind), state.as_bytes()))
            .map_err(|error| (error.class(), error.message().to_owned()))
    };
    let malformed = "the state is not one of this server";
    let refused = |text: &str| Err((ErrorClass::InvalidArgument, text.to_owned()));
    for (kind, state, expected) in [
        ("Password", r#"{"v":9}"#, Ok(())),
        ("UUID", "{}", Ok(())),
        ("Fake", r#"{"v":1,"id":"x"}"#, Ok(())),
        ("Fake", r#"{"id":"x"}"#, Ok(())),
        (
            "Fake",
            r#"{"v":2,"id":"x"}"#,
            refused("the state has version 2, this server knows version 1"),
        ),
        ("Fake", r#"{"v":"1"}"#, refused(malformed)),
        ("Fake", "[]", refused(malformed)),
        ("Fake", "{", refused(malformed)),
    ] {
        assert_eq!(cleanup(kind, state), expected, "{kind} {state}");
    }
}
