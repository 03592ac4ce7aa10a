//! Nothing of a secret, a token or a volume context is ever printed (csi.md R8).

use std::process::{Command, Stdio};
use std::time::Duration;

use latchkey_proto::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume};
use latchkey_proto::csi::v1::{NodePublishVolumeRequest, VolumeCapability};

use crate::backend::{FailureClass, Trigger, Update};
use crate::plugin::rig::Running;
use crate::testing::{failure, files, in_mount_namespace, until};
use crate::tokens::TokenDelivery;
use crate::tokens::tests::json;

/// Stands for a value, a token, an attribute, a mount flag; as base64 it is [`ENCODED`].
const CANARY: &str = "canary-b1f0-4c7d";
const ENCODED: &str = "Y2FuYXJ5LWIxZjAtNGM3ZA";

/// Says that the child may run.
const CHILD: &str = "LATCHKEY_CSI_CANARY_CHILD";

fn request(running: &Running, uid: &str) -> NodePublishVolumeRequest {
    let mut request = running.request(uid);
    let tokens = "csi.storage.k8s.io/serviceAccount.tokens".to_owned();
    request.secrets.insert(tokens, json(CANARY, ENCODED));
    for (key, value) in [("data", CANARY), (CANARY, "x")] {
        request
            .volume_context
            .insert(key.to_owned(), value.to_owned());
    }
    request
}

/// Publishes, fails, rotates, panics and ends with everything logged that can be.
#[test]
#[ignore = "the process whose output the canary test reads"]
fn canary_child() {
    if std::env::var_os(CHILD).is_none() {
        return;
    }
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(std::io::stderr)
        .with_ansi(false)
        .init();
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.handle.set_token_delivery(TokenDelivery::Secrets);
        running.script.answer(Ok(files(&[("password", CANARY)])));
        let good = request(&running, "u");
        tracing::info!(?good, "what kubelet sends");
        running.publish(good.clone()).await.unwrap();
        running.publish(good.clone()).await.unwrap();
        // Tokens in the volume context, believed or not.
        for delivery in [TokenDelivery::VolumeContext, TokenDelivery::Off] {
            running.handle.set_token_delivery(delivery);
            let mut inside = good.clone();
            inside.volume_context.append(&mut inside.secrets);
            tracing::info!(?inside, "what an older kubelet sends");
            running.publish(inside).await.unwrap();
        }
        running.handle.set_token_delivery(TokenDelivery::Secrets);

        // Refused for every kind of reason; what the answers say is printed here.
        let mut flags = good.clone();
        flags.volume_capability = Some(VolumeCapability {
            access_type: Some(AccessType::Mount(MountVolume {
                mount_flags: vec![CANARY.to_owned()],
                ..MountVolume::default()
            })),
            access_mode: Some(AccessMode { mode: 1 }),
        });
        let mut secret = good.clone();
        secret.secrets.insert(CANARY.to_owned(), CANARY.to_owned());
        let mut refused = good.clone();
        refused
            .volume_context
            .insert("refuse".to_owned(), CANARY.to_owned());
        let mut changed = good.clone();
        changed
            .volume_context
            .insert("data".to_owned(), format!("{CANARY}{CANARY}"));
        for request in [flags, secret, refused, changed] {
            let status = running.publish(request).await.unwrap_err();
            tracing::info!(?status, "refused");
        }
        // Content that cannot be shown, at the first publish and later; a provider that fails; a defect.
        let large = CANARY.repeat(100_000);
        for bad in [("large", large.as_str()), ("../x", CANARY)] {
            running.script.answer(Ok(files(&[bad])));
            let status = running.publish(request(&running, "w")).await.unwrap_err();
            tracing::info!(?status, "refused");
            running
                .script
                .update(Update::Content(files(&[bad]), Trigger::Interval));
        }
        running
            .script
            .answer(Err(failure(FailureClass::Unavailable)));
        let status = running.publish(request(&running, "w")).await.unwrap_err();
        tracing::info!(?status, "refused");
        running.script.panic_next(1);
        let status = running.publish(request(&running, "w")).await.unwrap_err();
        tracing::info!(?status, "failed");
        let rotated = format!("{CANARY}-2");
        let content = files(&[("password", &rotated)]);
        running
            .script
            .update(Update::Content(content, Trigger::Interval));
        let file = running.root.target("u").join("password");
        until("the rotation", || {
            std::fs::read_to_string(&file).is_ok_and(|shown| shown == rotated)
        })
        .await;
        running.end("u").await.unwrap();
        tokio::time::sleep(Duration::from_millis(50)).await;
        let dumpable = rustix::process::dumpable_behavior().unwrap();
        assert_eq!(dumpable, rustix::process::DumpableBehavior::NotDumpable);
        tracing::info!(metrics = running.metrics(), "the child reached its end");
        running.stop().await;
    });
}

/// csi.md R8; csi-peers.md 4 (CVE-2023-2878, CVE-2024-3744): also where kubelet hands tokens over in the volume context.
#[test]
fn canary_never_in_logs_panics_errors_core() {
    let output = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "conformance::canary::canary_child"])
        .args(["--ignored", "--nocapture"])
        .env(CHILD, "1")
        .env("RUST_BACKTRACE", "full")
        .stdin(Stdio::null())
        .output()
        .unwrap();
    let mut text = String::from_utf8_lossy(&output.stderr).into_owned();
    text.push_str(&String::from_utf8_lossy(&output.stdout));
    let tail = text.chars().rev().take(3000).collect::<String>();
    let tail = tail.chars().rev().collect::<String>();
    assert!(output.status.success(), "{tail}");
    for said in [
        "the child reached its end",
        "mounted a volume",
        "what kubelet sends",
        "what an older kubelet sends",
        "expected by the test",
        "TRACE",
    ] {
        assert!(text.contains(said), "{said:?} is missing in {tail}");
    }
    for leak in [CANARY, ENCODED] {
        let line = text.lines().find(|line| line.contains(leak));
        assert_eq!(line, None);
    }
}
