//! Over the plugin's sockets, as kubelet calls.

use std::os::unix::fs::MetadataExt;
use std::time::{Duration, Instant};

use latchkey_proto::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume};
use latchkey_proto::csi::v1::{
    NodeGetInfoRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
};
use latchkey_proto::pluginregistration::{InfoRequest, RegistrationStatus};
use tokio_util::sync::CancellationToken;
use tonic::Code;

use crate::config::Config;
use crate::plugin::rig::Running;
use crate::plugin::{Plugin, PluginError};
use crate::socket::SocketError;
use crate::testing::{KubeletRoot, Script, in_mount_namespace, until};
use crate::tokens::TokenDelivery;
use crate::tokens::tests::{json, token};
use crate::volumes::bench::our_mounts;

#[test]
fn target_under_another_pods_uid() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let mut request = running.request("victim");
        let uid = "csi.storage.k8s.io/pod.uid";
        request
            .volume_context
            .insert(uid.to_owned(), "attacker".to_owned());
        let status = running.publish(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        assert!(status.message().contains("uid"), "{}", status.message());
        assert_eq!((running.script.firsts(), our_mounts()), (0, 0));
        running.stop().await;
    });
}

/// Neither call goes anywhere with such a path.
#[test]
fn dot_dot_in_every_position() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let path = running.root.target("u").display().to_string();
        let components = path.split('/').skip(1).collect::<Vec<_>>();
        for position in 0..=components.len() {
            for replaced in [false, true] {
                let mut components = components.clone();
                if replaced && position < components.len() {
                    components[position] = "..";
                } else {
                    components.insert(position, "..");
                }
                let path = format!("/{}", components.join("/"));
                let mut request = running.request("u");
                request.target_path.clone_from(&path);
                let status = running.publish(request).await.unwrap_err();
                assert_eq!(status.code(), Code::InvalidArgument, "{path}");
                let request = NodeUnpublishVolumeRequest {
                    volume_id: "csi-u".to_owned(),
                    target_path: path.clone(),
                };
                let status = running.node().node_unpublish_volume(request).await;
                assert_eq!(status.unwrap_err().code(), Code::InvalidArgument, "{path}");
            }
        }
        assert_eq!((running.script.firsts(), our_mounts()), (0, 0));
        running.stop().await;
    });
}

/// csi.md 3.2: kubelet connects by the path, and a path that does not fit is told at the start, with its length.
#[test]
fn socket_path_107_108_byte() {
    in_mount_namespace(|root| async move {
        for length in [107, 108] {
            let mut config = Config::new("node-1", "0");
            let tail = "/plugins_registry/csi.latchkey.dev@reg.sock".len();
            let base = root.path().display().to_string();
            let filler = length - tail - base.len() - 1;
            config.kubelet_root = format!("{base}/{}", "k".repeat(filler)).into();
            assert_eq!(config.registration_socket().as_os_str().len(), length);
            for name in ["pods", "plugins", "plugins_registry"] {
                std::fs::create_dir_all(config.kubelet_root.join(name)).unwrap();
            }
            let cancel = CancellationToken::new();
            let socket = config.registration_socket();
            let run = tokio::spawn(Plugin::new(config).run(Script::new(&[]), cancel.clone()));
            if length == 107 {
                until("the registration socket", || {
                    std::os::unix::net::UnixStream::connect(&socket).is_ok()
                })
                .await;
                cancel.cancel();
                run.await.unwrap().unwrap();
            } else {
                match run.await.unwrap() {
                    Err(PluginError::Socket(SocketError::TooLong { length: 108, .. })) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    });
}

#[test]
fn gid_0_max_overflow_negative_text() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let request = |group: &str| NodePublishVolumeRequest {
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume {
                    volume_mount_group: group.to_owned(),
                    ..MountVolume::default()
                })),
                access_mode: Some(AccessMode { mode: 1 }),
            }),
            ..running.request("u")
        };
        for (group, gid, file, directory) in [
            ("", 0, 0o444, 0o755),
            ("0", 0, 0o440, 0o2750),
            ("4294967294", 4_294_967_294, 0o440, 0o2750),
        ] {
            running.publish(request(group)).await.unwrap();
            let target = running.root.target("u");
            let found = std::fs::metadata(target.join("password")).unwrap();
            assert_eq!((found.gid(), found.mode() & 0o7777), (gid, file), "{group}");
            let found = std::fs::metadata(&target).unwrap();
            assert_eq!((found.gid(), found.mode() & 0o7777), (gid, directory));
            running.end("u").await.unwrap();
        }
        for group in [
            "4294967295",
            "4294967296",
            "-1",
            "+1",
            "staff",
            "0x1",
            " 1",
            "1 ",
        ] {
            let status = running.publish(request(group)).await.unwrap_err();
            assert_eq!(status.code(), Code::InvalidArgument, "{group:?}");
            assert!(!running.root.target("u").exists());
        }
        running.stop().await;
    });
}

/// csi.md 9.2: what kubelet wrote is handed on, what a pod's author could write is not.
#[test]
fn tokens_in_context_vs_secrets_vs_both_vs_spoofed() {
    const KEY: &str = "csi.storage.k8s.io/serviceAccount.tokens";
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let request = |secrets: Option<&str>, context: Option<&str>| {
            let mut request = running.request("u");
            if let Some(payload) = secrets {
                request
                    .secrets
                    .insert(KEY.to_owned(), json("vault", payload));
            }
            if let Some(payload) = context {
                request
                    .volume_context
                    .insert(KEY.to_owned(), json("vault", payload));
            }
            request
        };
        let (secrets, context) = (Some("c2VjcmV0cw"), Some("Y29udGV4dA"));
        let table = [
            (TokenDelivery::Off, None, None, None),
            // Spoofed: the object asks for no tokens.
            (TokenDelivery::Off, None, context, None),
            (TokenDelivery::Off, secrets, context, None),
            (TokenDelivery::VolumeContext, None, context, context),
            (TokenDelivery::VolumeContext, secrets, None, secrets),
            (TokenDelivery::VolumeContext, secrets, context, secrets),
            // Spoofed: kubelet writes them elsewhere.
            (TokenDelivery::Secrets, None, context, None),
            (TokenDelivery::Secrets, secrets, None, secrets),
            (TokenDelivery::Secrets, secrets, context, secrets),
        ];
        let mut handed_over = 0;
        for (index, (delivery, secrets, context, expected)) in table.into_iter().enumerate() {
            running.handle.set_token_delivery(delivery);
            // The first is a first publish, the others find the volume mounted: a token changes no specification.
            running.publish(request(secrets, context)).await.unwrap();
            let tokens = running.script.tokens();
            handed_over += usize::from(expected.is_some());
            assert_eq!(tokens.len(), handed_over, "line {index}");
            if let Some(payload) = expected {
                let last = tokens.last().unwrap().get("vault").unwrap();
                assert_eq!(
                    last.token.expose(),
                    token(payload).as_bytes(),
                    "line {index}"
                );
            }
        }
        assert_eq!(running.script.firsts(), 1);
        // A Secret that the pod names is no place for anything.
        let mut refused = request(None, None);
        refused
            .secrets
            .insert("password".to_owned(), "x".to_owned());
        let status = running.publish(refused).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        // At a first publish they come before the content is asked for.
        running.end("u").await.unwrap();
        assert_eq!(running.script.released(), 1);
        running.publish(request(secrets, None)).await.unwrap();
        assert_eq!(running.script.tokens().len(), handed_over + 1);
        // Neither is on the disk.
        let states = running.config.plugin_directory().join("volumes");
        for file in std::fs::read_dir(states).unwrap() {
            let text = std::fs::read_to_string(file.unwrap().path()).unwrap();
            assert!(!text.contains("eyJhbGciOiJSUzI1NiJ9") && !text.contains("canary"));
        }
        running.stop().await;
    });
}

/// kubelet asks any number of times, sometimes twice in a row (csi.md 3.3). Ready is who was registered since (csi.md 3.4).
#[test]
fn kubelet_double_get_info() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        for _ in 0..3 {
            let mut answers = Vec::new();
            for _ in 0..2 {
                let answer = running.registration().get_info(InfoRequest {}).await;
                answers.push(answer.unwrap().into_inner());
                assert!(running.handle.ready().is_err());
                let answer = running.node().node_get_info(NodeGetInfoRequest {}).await;
                assert_eq!(answer.unwrap().into_inner().node_id, "node-1");
            }
            assert_eq!(answers[0], answers[1]);
            let registered = RegistrationStatus {
                plugin_registered: true,
                error: String::new(),
            };
            running
                .registration()
                .notify_registration_status(registered)
                .await
                .unwrap();
            running.handle.ready().unwrap();
        }
        running.stop().await;
    });
}

/// The best of some, because the machine may be busy: kubelet's limit of 1 s is for every one.
#[test]
fn get_info_under_load_100_ms() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let publishes = (0..100).map(|index| {
            let (mut node, request) = (running.node(), running.request(&format!("u{index}")));
            tokio::spawn(async move { node.node_publish_volume(request).await })
        });
        let publishes = publishes.collect::<Vec<_>>();
        let mut best = Duration::MAX;
        for _ in 0..20 {
            let started = Instant::now();
            let answer = running.registration().get_info(InfoRequest {}).await;
            answer.unwrap();
            best = best.min(started.elapsed());
        }
        assert!(best < Duration::from_millis(100), "{best:?}");
        for publish in publishes {
            publish.await.unwrap().unwrap();
        }
        running.stop().await;
    });
}

/// csi.md 3.3; csi-peers.md 3 (SSCSID#1131, #620). The other socket is looked after in the same way.
#[test]
fn registration_socket_deleted_replaced() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let answers = |running: &Running| {
            let registration = running.registration();
            async move {
                let mut registration = registration;
                registration.get_info(InfoRequest {}).await.is_ok()
            }
        };
        for socket in [
            running.config.registration_socket(),
            running.config.csi_socket(),
        ] {
            for replaced in [false, true] {
                let before = std::fs::symlink_metadata(&socket).unwrap().ino();
                // A second name keeps the number from being given to the next file.
                let kept = socket.with_extension("kept");
                std::fs::hard_link(&socket, &kept).unwrap();
                if replaced {
                    let other = socket.with_extension("other");
                    std::fs::write(&other, "a cleaner's").unwrap();
                    std::fs::rename(&other, &socket).unwrap();
                } else {
                    std::fs::remove_file(&socket).unwrap();
                }
                until("a new socket", || {
                    std::os::unix::net::UnixStream::connect(&socket).is_ok()
                        && std::fs::symlink_metadata(&socket).is_ok_and(|now| now.ino() != before)
                })
                .await;
                std::fs::remove_file(kept).unwrap();
                assert!(answers(&running).await);
                running.handle.live().await.unwrap();
                running.publish(running.request("u")).await.unwrap();
            }
        }
        let metrics = running.metrics();
        let series = "latchkey_csi_socket_recreated_total 4";
        assert!(metrics.contains(series), "{metrics}");
        assert_eq!((running.script.firsts(), our_mounts()), (1, 1));
        running.stop().await;
    });
}

/// A root that is none is told in one line (csi.md 3.2).
#[test]
fn a_wrong_kubelet_root_is_said_at_the_start() {
    in_mount_namespace(|_: KubeletRoot| async move {
        let directory = tempfile::tempdir().unwrap();
        let mut config = Config::new("node-1", "0");
        config.kubelet_root = directory.path().to_owned();
        let run = Plugin::new(config).run(Script::new(&[]), CancellationToken::new());
        let error = run.await.unwrap_err();
        assert!(error.to_string().contains("--kubelet-root"), "{error}");
    });
}
