//! The contract of a generator server, held by the built `provider-generators` against a real API server, over mutual TLS.
//!
//! `PC-nn` are the lines of provider-protocol.md 15, `E` the cases of externalsecret.md 9.13. Where a line also binds upstream's
//! server, which answers UNKNOWN to everything, this project's servers answer with the code of providers.md 2.5 (P-ERR-3).

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

#[path = "../provider_fake/rig.rs"]
#[expect(dead_code, reason = "some of it is for stores only")]
mod rig;
#[path = "../provider_fake/suite.rs"]
mod suite;

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use latchkey::cli::conformance::Verdict;
use latchkey_proto::generator::v1 as wire;
use latchkey_proto::generator::v1::generator_provider_client::GeneratorProviderClient;
use latchkey_proto::provider::v1::CapabilitiesRequest;
use latchkey_transport::Connection;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Status};

use rig::{Authority, Provider, assert_refused, with_provider};

/// The server that the rig starts.
mod served {
    /// Its name: the program is `provider-<name>`.
    pub(crate) const NAME: &str = "generators";
    /// Group of its kinds.
    pub(crate) const GROUP: &str = "provider.generator.external-secrets.io";
    /// Their plurals.
    pub(crate) const RESOURCES: &[&str] = &["passwords", "uuids", "fakes"];
    /// Its own arguments.
    pub(crate) const ARGUMENTS: &[&str] = &[];
}

const API_VERSION: &str = "provider.generator.external-secrets.io/v2alpha1";

type Values = BTreeMap<String, Vec<u8>>;

fn client(provider: &Provider) -> Result<GeneratorProviderClient<Channel>> {
    Ok(provider
        .connect(provider.authority.client())?
        .generator_client())
}

/// Applies a configuration object; without a spec if that is null.
async fn configure(provider: &Provider, kind: &str, name: &str, spec: &Value) -> Result<()> {
    let mut object = json!({
        "apiVersion": API_VERSION,
        "kind": kind,
        "metadata": {"name": name, "namespace": provider.cx.namespace()},
    });
    if !spec.is_null() {
        object["spec"] = spec.clone();
    }
    provider.cx.apply(&object.to_string()).await.map(drop)
}

fn reference(provider: &Provider, kind: &str, name: &str) -> wire::GeneratorRef {
    wire::GeneratorRef {
        api_version: API_VERSION.into(),
        kind: kind.into(),
        name: name.into(),
        namespace: provider.cx.namespace().into(),
    }
}

async fn generate(
    provider: &Provider,
    reference: wire::GeneratorRef,
) -> Result<(Values, Vec<u8>), Status> {
    let request = wire::GenerateRequest {
        generator_ref: Some(reference),
        source_namespace: provider.cx.namespace().into(),
    };
    let answer = client(provider)
        .unwrap()
        .generate(request)
        .await?
        .into_inner();
    Ok((answer.secrets, answer.state))
}

/// What one object makes; its state is empty.
async fn values(provider: &Provider, kind: &str, name: &str, spec: &Value) -> Result<Values> {
    configure(provider, kind, name, spec).await?;
    let (values, state) = generate(provider, reference(provider, kind, name)).await?;
    ensure!(state.is_empty(), "{kind} left a state");
    Ok(values)
}

#[test]
fn pc_26_kinds_of_other_groups_are_refused_and_those_served_make_values() -> Result<()> {
    with_provider(async |provider| {
        // E235, E236, E237, E239.
        let password = values(provider, "Password", "p", &json!({})).await?;
        ensure!(password.len() == 1 && password["password"].len() == 24);
        let keys = json!({"length": 16, "secretKeys": ["a", "b"], "encoding": "hex"});
        let two = values(provider, "Password", "two", &keys).await?;
        ensure!(two["a"].len() == 32 && two["b"].len() == 32 && two["a"] != two["b"]);
        let uuid = values(provider, "UUID", "u", &Value::Null).await?;
        ensure!(uuid["uuid"].len() == 36);
        ensure!(values(provider, "UUID", "u", &json!({})).await? != uuid);
        ensure!(values(provider, "Fake", "f", &json!({})).await?.is_empty());
        let data = json!({"data": {"k": "v", "other": ""}});
        let fake = values(provider, "Fake", "data", &data).await?;
        ensure!(fake["k"] == b"v" && fake["other"].is_empty());

        let other = |api_version: &str, kind: &str| wire::GeneratorRef {
            api_version: api_version.into(),
            ..reference(provider, kind, "p")
        };
        for (reference, text) in [
            (
                other("v2alpha1", "Password"),
                "invalid api version: v2alpha1",
            ),
            (
                other("generators.external-secrets.io/v1alpha1", "Password"),
                "generatorRef may only reference the generators group, but got generators.external-secrets.io",
            ),
            (
                other(API_VERSION, "SSHKey"),
                "generator mapping not found for",
            ),
        ] {
            let refused = generate(provider, reference).await;
            assert_refused(refused, Code::InvalidArgument, "UNSUPPORTED_KIND", text);
        }
        Ok(())
    })
}

#[test]
fn pc_09_a_missing_or_wrong_object_is_never_a_missing_secret() -> Result<()> {
    with_provider(async |provider| {
        let refused = generate(provider, reference(provider, "Password", "absent")).await;
        assert_refused(
            refused,
            Code::FailedPrecondition,
            "CONFIG_NOT_FOUND",
            "absent",
        );
        // E235: 11 digits without repetition.
        configure(provider, "Password", "long", &json!({"length": 44})).await?;
        let refused = generate(provider, reference(provider, "Password", "long")).await;
        assert_refused(
            refused,
            Code::FailedPrecondition,
            "INVALID_CONFIG",
            "number of digits exceeds available digits and repeats are not allowed",
        );
        // E236.
        let twice = json!({"secretKeys": ["a", "a"]});
        configure(provider, "Password", "twice", &twice).await?;
        let refused = generate(provider, reference(provider, "Password", "twice")).await;
        assert_refused(
            refused,
            Code::FailedPrecondition,
            "INVALID_CONFIG",
            "secretKeys must be non-empty and unique",
        );
        let nowhere = wire::GenerateRequest {
            generator_ref: Some(reference(provider, "Password", "long")),
            source_namespace: String::new(),
        };
        let refused = client(provider)?.generate(nowhere).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "source namespace is required",
        );
        Ok(())
    })
}

#[test]
fn pc_08_the_object_is_read_in_its_namespace_or_else_in_the_callers() -> Result<()> {
    with_provider(async |provider| {
        configure(provider, "UUID", "u", &json!({})).await?;
        let own = reference(provider, "UUID", "u");
        for (namespace, source) in [
            ("", provider.cx.namespace()),
            (provider.cx.namespace(), provider.cx.namespace()),
            (provider.cx.namespace(), "elsewhere"),
        ] {
            let request = wire::GenerateRequest {
                generator_ref: Some(wire::GeneratorRef {
                    namespace: namespace.into(),
                    ..own.clone()
                }),
                source_namespace: source.into(),
            };
            let answer = client(provider)?.generate(request).await?.into_inner();
            ensure!(answer.secrets.contains_key("uuid"), "{namespace} {source}");
        }
        Ok(())
    })
}

#[test]
fn cleanup_may_repeat_and_needs_no_object_any_more() -> Result<()> {
    // generators.md 5, 7; PC-27; E246
    with_provider(async |provider| {
        let spec = json!({"data": {"token": "generated-canary"}, "stateful": {"enabled": true}});
        configure(provider, "Fake", "f", &spec).await?;
        let own = || reference(provider, "Fake", "f");
        let (made, state) = generate(provider, own()).await?;
        ensure!(made["token"] == b"generated-canary");
        let parsed: Value = serde_json::from_slice(&state)?;
        ensure!(
            parsed["v"] == 1 && !parsed.to_string().contains("canary"),
            "{parsed}"
        );
        let (_, other) = generate(provider, own()).await?;
        ensure!(other != state, "two calls left one state");
        provider
            .cx
            .kubectl(&[
                "delete",
                "fakes.provider.generator.external-secrets.io",
                "f",
            ])
            .await?;
        let cleanup = |state: &[u8]| wire::CleanupRequest {
            generator_ref: Some(own()),
            state: state.to_vec(),
            source_namespace: provider.cx.namespace().into(),
        };
        let calls = (0..4).map(|_| {
            let request = cleanup(&state);
            let client = client(provider);
            async move { client?.cleanup(request).await.context("cleanup") }
        });
        futures::future::try_join_all(calls).await?;
        client(provider)?.cleanup(cleanup(b"")).await?;
        let refused = client(provider)?.cleanup(cleanup(br#"{"v":2}"#)).await;
        assert_refused(
            refused,
            Code::InvalidArgument,
            "INVALID_ARGUMENT",
            "version 2",
        );
        ensure!(
            !provider.log().contains("generated-canary"),
            "a value was logged"
        );
        let (_, metrics) = provider.http("/metrics").await?;
        let series = r#"provider_grpc_requests_total{method="Cleanup",code="OK"} 5"#;
        ensure!(metrics.contains(series), "{metrics}");
        Ok(())
    })
}

#[test]
fn g_01_a_repeated_attempt_makes_no_second_state() -> Result<()> {
    with_provider(async |provider| {
        configure(
            provider,
            "Fake",
            "f",
            &json!({"stateful": {"enabled": true}}),
        )
        .await?;
        let state = async |attempt: &'static str| -> Result<Vec<u8>> {
            let mut request = tonic::Request::new(wire::GenerateRequest {
                generator_ref: Some(reference(provider, "Fake", "f")),
                source_namespace: provider.cx.namespace().into(),
            });
            let id = attempt.parse()?;
            request.metadata_mut().insert("eso-attempt-id", id);
            Ok(client(provider)?
                .generate(request)
                .await?
                .into_inner()
                .state)
        };
        ensure!(state("one").await? == state("one").await?);
        ensure!(state("one").await? != state("two").await?);
        Ok(())
    })
}

#[test]
fn pc_16_strangers_are_not_served_and_stores_are_not_spoken() -> Result<()> {
    with_provider(async |provider| {
        configure(provider, "UUID", "u", &json!({})).await?;
        let request = || wire::GenerateRequest {
            generator_ref: Some(reference(provider, "UUID", "u")),
            source_namespace: provider.cx.namespace().into(),
        };
        let stranger = provider.connect(Authority::new().client())?;
        let status = stranger
            .generator_client()
            .generate(request())
            .await
            .unwrap_err();
        ensure!(Connection::is_local(&status), "{status:?}");
        let capabilities = CapabilitiesRequest::default();
        let status = provider
            .client()?
            .capabilities(capabilities)
            .await
            .unwrap_err();
        ensure!(status.code() == Code::Unimplemented, "{status:?}");
        Ok(())
    })
}

#[test]
fn pc_26_and_27_are_kept_as_the_command_for_providers_sees_it() -> Result<()> {
    with_provider(async |provider| {
        let stateful = json!({"data": {"token": "v"}, "stateful": {"enabled": true}});
        configure(provider, "Password", "plain", &json!({})).await?;
        configure(provider, "Fake", "stateful", &stateful).await?;
        for object in ["Password/plain", "Fake/stateful"] {
            let arguments = [
                format!("--generator-ref={object}"),
                format!("--source-namespace={}", provider.cx.namespace()),
            ];
            let report = suite::run(provider, &arguments).await?;
            let passed = ["PC-15", "PC-16", "PC-26", "PC-27", "PC-31"];
            ensure!(report.numbers(Verdict::Passed) == passed, "{report}");
            ensure!(report.is_passed(), "{report}");
        }
        Ok(())
    })
}
