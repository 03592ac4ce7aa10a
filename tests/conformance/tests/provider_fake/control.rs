//! The control service (providers.md 12.3): values, simulations and recorded requests of a running server.

use std::process::Command;

use anyhow::Result;
use latchkey_proto::fake::v1 as control;
use latchkey_proto::fake::v1::Origin;
use serde_json::json;
use tonic::Code;

use crate::rig::{Provider, assert_refused, program, with_provider};

fn resource(provider: &Provider) -> Option<control::Resource> {
    Some(control::Resource {
        namespace: provider.cx.namespace().to_owned(),
        name: "f".to_owned(),
    })
}

fn put(provider: &Provider, key: &str, value: &str) -> control::PutRequest {
    control::PutRequest {
        resource: resource(provider),
        key: key.to_owned(),
        version: String::new(),
        value: value.into(),
    }
}

#[test]
fn values_are_put_over_the_manifest_hidden_and_reset() -> Result<()> {
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "manifest"}]}))
            .await?;
        let mut control = provider.control().await?;
        assert_eq!(provider.get("f", "k", "", "").await?, b"manifest");

        control.put(put(provider, "k", "put")).await?;
        control.put(put(provider, "new", "one")).await?;
        assert_eq!(provider.get("f", "k", "", "").await?, b"put");
        assert_eq!(provider.get("f", "new", "", "").await?, b"one");
        let get = control::GetRequest {
            resource: resource(provider),
            key: "k".to_owned(),
            version: String::new(),
        };
        let seen = control.get(get.clone()).await?.into_inner();
        assert_eq!((seen.origin(), &*seen.value), (Origin::Put, &b"put"[..]));

        let delete = control::DeleteRequest {
            resource: resource(provider),
            key: "k".to_owned(),
            version: String::new(),
        };
        control.delete(delete).await?;
        let refused = provider.get("f", "k", "", "").await;
        assert_refused(
            refused,
            Code::NotFound,
            "SECRET_NOT_FOUND",
            "Secret does not exist",
        );
        assert_eq!(
            control.get(get.clone()).await?.into_inner().origin(),
            Origin::Deleted
        );

        control.reset(control::ResetRequest {}).await?;
        assert_eq!(provider.get("f", "k", "", "").await?, b"manifest");
        assert_eq!(
            control.get(get).await?.into_inner().origin(),
            Origin::Untouched
        );
        Ok(())
    })
}

#[test]
fn a_simulation_is_set_and_keeps_its_counters_while_values_change() -> Result<()> {
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "v"}]}))
            .await?;
        let mut control = provider.control().await?;
        let rule = json!({"failures": [
            {"operations": ["GetSecret"], "code": "UNAVAILABLE", "reason": "BACKEND_UNAVAILABLE", "times": 2},
        ]});
        let set = |text: String| control::SetSimulationRequest {
            resource: resource(provider),
            simulation_json: text,
        };
        control.set_simulation(set(rule.to_string())).await?;
        for (value, fails) in [("a", true), ("b", true), ("c", false)] {
            control.put(put(provider, "k", value)).await?;
            let got = provider.get("f", "k", "", "").await;
            assert_eq!(got.is_err(), fails, "{value}");
        }
        for bad in [
            "no JSON",
            r#"{"failures": [{"operations": ["Nope"]}]}"#,
            r#"{"latency": {"base": "soon"}}"#,
        ] {
            let refused = control.set_simulation(set(bad.to_owned())).await;
            assert_eq!(refused.unwrap_err().code(), Code::InvalidArgument, "{bad}");
        }
        Ok(())
    })
}

#[test]
fn requests_are_recorded_in_order_and_can_be_waited_for() -> Result<()> {
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "v"}]}))
            .await?;
        let mut control = provider.control().await?;
        let wait = |count, timeout_milliseconds| control::WaitForCallsRequest {
            count,
            operation: "GetSecret".to_owned(),
            timeout_milliseconds,
        };
        let early = control.wait_for_calls(wait(1, 50)).await?.into_inner();
        assert_eq!(early.count, 0, "nothing has come before the time was up");

        let mut waiting = control.clone();
        let (waited, reads) = tokio::join!(waiting.wait_for_calls(wait(2, 30_000)), async {
            provider.get("f", "k", "", "").await?;
            provider.get("f", "absent", "7", "p").await.unwrap_err();
            anyhow::Ok(())
        });
        reads?;
        assert_eq!(waited?.into_inner().count, 2);

        let answer = control.calls(control::CallsRequest { after: 0 }).await?;
        let calls = answer.into_inner().calls;
        let seen: Vec<_> = calls
            .iter()
            .map(|call| (call.number, &*call.operation, &*call.key, &*call.version))
            .collect();
        assert_eq!(
            seen,
            [(1, "GetSecret", "k", ""), (2, "GetSecret", "absent", "7")]
        );
        assert_eq!(calls[1].property, "p");
        assert_eq!(calls[0].resource, resource(provider));
        assert_eq!(calls[0].source_namespace, provider.cx.namespace());
        let later = control.calls(control::CallsRequest { after: 1 }).await?;
        assert_eq!(later.into_inner().calls.len(), 1);
        Ok(())
    })
}

#[test]
fn control_is_refused_on_a_reachable_address() -> Result<()> {
    let output = Command::new(program()?)
        .args(["--enable-control", "--control-address=0.0.0.0:0"])
        .output()?;
    let text = String::from_utf8(output.stderr)?;
    assert!(!output.status.success());
    assert!(text.contains("loopback"), "{text}");
    Ok(())
}
