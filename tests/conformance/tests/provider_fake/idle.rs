//! PC-17 over the whole of its two minutes, with what all our provider servers are made of, on a clock that is faster.

use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Result;
use latchkey::cli::conformance::{Outcome, Report, Verdict};
use latchkey_provider_fake::FakeProvider;
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{Metrics, Server};
use latchkey_transport::SharedIdentity;
use prometheus_client::registry::Registry;
use rcgen::ExtendedKeyUsagePurpose;
use tokio::net::TcpListener;
use tokio_util::sync::CancellationToken;

use crate::rig::Authority;
use crate::suite::run_at;

/// Connections of a run: one to see that the server is there, and one for each pace of pings.
const CONNECTIONS: &str = "provider_tls_handshakes_total{result=\"accepted\"} 3";
/// How far the clock moves in one step: many of them lie between two pings, so that each is answered before the next.
const STEP: Duration = Duration::from_millis(100);

#[tokio::test(start_paused = true)]
async fn pc_17_an_idle_connection_is_kept_for_two_minutes() -> Result<()> {
    // Client and server share the one thread of this test, and its clock, which moves only once something had the time to arrive.
    let (authority, folder) = (Authority::new(), tempfile::tempdir()?);
    let identity = authority.identity(ExtendedKeyUsagePurpose::ServerAuth);
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    let admin = TcpListener::bind("127.0.0.1:0").await?;
    let (port, admin_address) = (grpc.local_addr()?.port(), admin.local_addr()?);
    let mut registry = Registry::default();
    let server = Server {
        provider: Arc::new(FakeProvider::fixed([])),
        metrics: Metrics::register(&mut registry),
        registry,
        limits: ServiceLimits::default(),
        drain_timeout: Duration::from_millis(100),
    };
    let stop = CancellationToken::new();
    let stopped = stop.clone();
    let serving = tokio::spawn(async move {
        let identity = async { Some(SharedIdentity::new(identity)) };
        server.serve(grpc, admin, identity, &stopped).await
    });
    let arguments = [
        "--provider-ref=Fake/team-a/tide".to_owned(),
        "--only=PC-17".into(),
        "--slow".into(),
    ];
    let report = tokio::select! {
        report = run_at(port, &authority, folder.path(), &arguments) => report?,
        failed = wind(admin_address) => failed?,
    };
    assert_eq!(report.numbers(Verdict::Passed), ["PC-17"], "{report}");
    let steps = &report.checks[0].steps;
    let told = |step: usize| match &steps[step].outcome {
        Outcome::Passed { came } => came.as_str(),
        _ => "",
    };
    assert!(steps[0].what.contains("every 10 s for 120 s"), "{report}");
    assert!(told(0).starts_with("11 pings, 1"), "{report}");
    assert!(steps[1].what.contains("every 2 s for 120 s"), "{report}");
    stop.cancel();
    Ok(serving.await??)
}

/// Moves the clock once all connections are made, at the server whose series are at `admin`, until there is an error.
async fn wind(admin: SocketAddr) -> Result<Report> {
    // Time stands still until then, whatever that takes.
    loop {
        pause(Duration::from_millis(20)).await?;
        let shown = tokio::task::spawn_blocking(move || scrape(admin)).await??;
        if shown.lines().any(|line| line == CONNECTIONS) {
            break;
        }
    }
    loop {
        pause(Duration::from_millis(2)).await?;
        tokio::time::advance(STEP).await;
    }
}

/// Waits outside of the clock. Meanwhile it does not move by itself.
#[expect(
    clippy::disallowed_methods,
    reason = "tokio's sleep would follow the clock that stands still"
)]
async fn pause(time: Duration) -> Result<()> {
    Ok(tokio::task::spawn_blocking(move || std::thread::sleep(time)).await?)
}

fn scrape(address: SocketAddr) -> Result<String> {
    let mut stream = std::net::TcpStream::connect(address)?;
    stream.write_all(b"GET /metrics HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")?;
    let mut answer = String::new();
    stream.read_to_string(&mut answer)?;
    Ok(answer)
}
