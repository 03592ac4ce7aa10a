//! The process: who may connect, health, rotation, drain, what it writes.

use std::net::TcpStream;
use std::process::{Command, ExitStatus};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use latchkey_cluster::eventually;
use latchkey_transport::Connection;
use rcgen::ExtendedKeyUsagePurpose;
use serde_json::json;
use tonic::Code;
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_types::StatusExt as _;

use crate::rig::{Authority, Provider, SOON, with_provider, with_waiting_provider};

#[test]
fn pc_15_health_is_that_of_the_empty_service_name() -> Result<()> {
    with_provider(async |provider| {
        let mut client =
            HealthClient::new(provider.connect(provider.authority.client())?.channel());
        let answer = client
            .check(HealthCheckRequest::default())
            .await?
            .into_inner();
        assert_eq!(answer.status(), ServingStatus::Serving);
        let named = HealthCheckRequest {
            service: "provider.v1.SecretStoreProvider".into(),
        };
        assert_eq!(
            client.check(named).await.unwrap_err().code(),
            Code::NotFound
        );
        assert_eq!(provider.http("/healthz").await?.0, 200);
        Ok(())
    })
}

#[test]
fn pc_16_only_client_certificates_of_the_authority_are_served() -> Result<()> {
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "v"}]}))
            .await?;
        let request = provider.get_request("f", "k");
        for (who, identity) in [
            ("another authority", Authority::new().client()),
            (
                "no client usage",
                provider
                    .authority
                    .identity(ExtendedKeyUsagePurpose::ServerAuth),
            ),
        ] {
            let mut client = provider.connect(identity)?.store_client();
            let status = client.get_secret(request.clone()).await.unwrap_err();
            // Whether the alert meets the connection or the call decides over the code that the library makes of it, but it is
            // made on this side: no provider answered.
            assert!(Connection::is_local(&status), "{who}: {status:?}");
            assert!(
                status.get_error_details().error_info().is_none(),
                "{who} was answered"
            );
        }
        assert_eq!(provider.get("f", "k", "", "").await?, b"v");
        let (_, metrics) = provider.http("/metrics").await?;
        ensure!(
            metrics.contains(r#"provider_grpc_requests_total{method="GetSecret",code="OK"} 1"#),
            "{metrics}"
        );
        Ok(())
    })
}

#[test]
fn a_server_waits_for_its_identity_and_reloads_it() -> Result<()> {
    with_waiting_provider(async |provider| {
        eventually(SOON, "the admin server", async || {
            Ok(Some(provider.http("/healthz").await?))
        })
        .await?;
        assert_eq!(provider.http("/readyz").await?.0, 503);
        provider.authority.mount(&provider.certificates())?;
        provider.ready().await?;
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "v"}]}))
            .await?;
        assert_eq!(provider.get("f", "k", "", "").await?, b"v");
        // Another authority takes over: new connections of its clients are served, without restart.
        let before = provider.client()?;
        before
            .clone()
            .get_secret(provider.get_request("f", "k"))
            .await?;
        provider.authority = Authority::new();
        provider.authority.mount(&provider.certificates())?;
        let started = Instant::now();
        eventually(Duration::from_secs(60), "the new identity", async || {
            Ok(provider.get("f", "k", "", "").await.ok())
        })
        .await?;
        ensure!(started.elapsed() < Duration::from_secs(60));
        before
            .clone()
            .get_secret(provider.get_request("f", "k"))
            .await
            .context("an open connection lives on")?;
        // Rubbish is refused, counted, and changes nothing.
        std::fs::write(provider.certificates().join("..data/tls.crt"), "rubbish")?;
        let failures = "eso_provider_certificate_hot_reload_failures_total 0";
        eventually(
            Duration::from_secs(60),
            "the refusal of rubbish",
            async || {
                let (_, metrics) = provider.http("/metrics").await?;
                Ok((!metrics.contains(failures)).then_some(()))
            },
        )
        .await?;
        assert_eq!(provider.get("f", "k", "", "").await?, b"v");
        Ok(())
    })
}

fn terminate(provider: &Provider) -> Result<()> {
    let pid = provider.child.id().to_string();
    ensure!(
        Command::new("kill")
            .args(["-TERM", &pid])
            .status()?
            .success()
    );
    Ok(())
}

async fn ended(provider: &mut Provider) -> Result<ExitStatus> {
    let child = &mut provider.child;
    eventually(SOON, "the end of the process", async || {
        Ok(child.try_wait()?)
    })
    .await
}

#[test]
fn sigterm_drains_and_ends_with_success() -> Result<()> {
    with_provider(async |provider| {
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": "v"}], "simulation": {"latency": {"base": "1500ms"}}}))
            .await?;
        let mut client = provider.client()?;
        let request = provider.get_request("f", "k");
        let call = tokio::spawn(async move { client.get_secret(request).await });
        tokio::time::sleep(Duration::from_millis(700)).await;
        terminate(provider)?;
        assert_eq!(
            call.await??.into_inner().value,
            b"v",
            "a call in flight finishes"
        );
        let status = ended(provider).await?;
        ensure!(status.success(), "{status}");
        ensure!(TcpStream::connect(provider.address()).is_err());
        Ok(())
    })
}

#[test]
fn no_value_is_in_logs_errors_or_series() -> Result<()> {
    with_provider(async |provider| {
        let canary = "canary-8c1f52d7";
        let document = format!(r#"{{"a":"{canary}","b":{{"c":"{canary}"}}}}"#);
        provider
            .fake("f", &json!({"data": [{"key": "k", "value": canary}, {"key": "j", "value": document}, {"key": "broken", "value": format!("{{\"a\":{canary}")}]}))
            .await?;
        let mut messages = Vec::new();
        for (key, property) in [
            ("k", ""),
            ("j", "a"),
            ("j", "b.c"),
            ("k", "a.b"),
            ("broken", "x"),
            ("none", ""),
        ] {
            messages.extend(
                provider
                    .get("f", key, "", property)
                    .await
                    .err()
                    .map(|status| format!("{status:?}")),
            );
        }
        for key in ["j", "k", "broken"] {
            messages.extend(
                provider
                    .get_map("f", key)
                    .await
                    .err()
                    .map(|status| format!("{status:?}")),
            );
        }
        assert_eq!(messages.len(), 5, "{messages:?}");
        let (_, metrics) = provider.http("/metrics").await?;
        let log = provider.log();
        ensure!(log.contains("starting"), "the log is captured");
        let encoded = base64::engine::general_purpose::STANDARD.encode(canary);
        for (place, text) in [
            ("the log", &log),
            ("the series", &metrics),
            ("an error", &messages.concat()),
        ] {
            for needle in [canary, encoded.as_str()] {
                ensure!(!text.contains(needle), "a value is in {place}");
            }
        }
        Ok(())
    })
}
