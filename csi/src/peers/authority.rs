//! csi-peers.md 3 (h2/tonic#243, k/k#112597): what a Rust server makes of the `:authority` that kubelets send.

use std::time::Duration;

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;

use crate::plugin::rig::Running;
use crate::testing::in_mount_namespace;

/// Frame types of RFC 9113 that end the exchange one way or the other.
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const GOAWAY: u8 = 7;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// A header field as a literal without indexing (RFC 7541 6.2.2); `index` 0 spells the name out.
fn literal(index: u8, name: &str, value: &str) -> Vec<u8> {
    let text = |text: &str| {
        let length = u8::try_from(text.len()).unwrap();
        assert!(length < 127, "one byte must hold the length");
        [&[length], text.as_bytes()].concat()
    };
    let name = if index == 0 { text(name) } else { Vec::new() };
    [vec![index], name, text(value)].concat()
}

/// Calls `path` with this authority over a bare connection; the type of the frame that answers.
async fn call(socket: &std::path::Path, path: &str, authority: &str) -> u8 {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let headers = [
        // :method POST, :scheme http of the static table.
        vec![0x83, 0x86],
        literal(4, ":path", path),
        literal(1, ":authority", authority),
        literal(0, "content-type", "application/grpc"),
        literal(0, "te", "trailers"),
    ]
    .concat();
    let message = [
        b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec(),
        frame(4, 0, 0, &[]),
        frame(HEADERS, 4, 1, &headers),
        // An empty message, and the end of the stream.
        frame(0, 1, 1, &[0; 5]),
    ]
    .concat();
    stream.write_all(&message).await.unwrap();
    let answer = async {
        loop {
            let mut head = [0; 9];
            stream.read_exact(&mut head).await.unwrap();
            let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
            let mut payload = vec![0; usize::try_from(length).unwrap()];
            stream.read_exact(&mut payload).await.unwrap();
            if matches!(head[3], HEADERS | RST_STREAM | GOAWAY) {
                return head[3];
            }
        }
    };
    tokio::time::timeout(Duration::from_secs(10), answer)
        .await
        .expect("the server answers")
}

/// h2/tonic#243, k/k#112597: documents why kubelets before 1.26 cannot work, and why the name of the registration socket has an
/// `@`.
#[test]
fn k_k_112597_authorities_of_kubelets_old_and_new() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let (csi, registration) = (
            running.config.csi_socket(),
            running.config.registration_socket(),
        );
        let probe = "/csi.v1.Identity/Probe";
        let info = "/pluginregistration.Registration/GetInfo";
        assert_eq!(call(&csi, probe, "localhost").await, HEADERS);
        // Before k/k#112597: the path itself.
        let answer = call(&csi, probe, "/var/lib/kubelet/plugins/x/csi.sock").await;
        assert!(matches!(answer, RST_STREAM | GOAWAY), "{answer}");
        // What grpc-go makes of the path of a registration socket: `%` is legal before an `@` only.
        let reg = |name: &str| format!("%2Fvar%2Flib%2Fkubelet%2Fplugins_registry%2F{name}");
        let answer = call(&registration, info, &reg("csi.latchkey.dev@reg.sock")).await;
        assert_eq!(answer, HEADERS);
        let answer = call(&registration, info, &reg("csi.latchkey.dev-reg.sock")).await;
        assert!(matches!(answer, RST_STREAM | GOAWAY), "{answer}");
        running.stop().await;
    });
}
