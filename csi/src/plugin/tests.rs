//! The plugin over its sockets. What csi.md 11.4 names is in [`crate::conformance`].

use std::time::Duration;

use latchkey_proto::csi::v1::identity_client::IdentityClient;
use latchkey_proto::csi::v1::{NodeGetCapabilitiesRequest, NodeGetInfoRequest, ProbeRequest};
use latchkey_proto::pluginregistration::{InfoRequest, RegistrationStatus};
use tonic::Code;

use super::rig::{Running, connect};
use super::{check_config, parts_elsewhere};
use crate::config::Config;
use crate::testing::{in_mount_namespace, until};

#[test]
fn mount_kubelet_registers_publishes_and_unpublishes() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        assert!(running.handle.ready().unwrap_err().contains("registered"));
        let info = running
            .registration()
            .get_info(InfoRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(info.r#type, "CSIPlugin");
        assert_eq!(info.name, "csi.latchkey.dev");
        assert_eq!(
            info.endpoint,
            running.config.csi_socket().display().to_string()
        );
        assert_eq!(info.supported_versions, ["1.0.0"]);
        let node = running
            .node()
            .node_get_info(NodeGetInfoRequest {})
            .await
            .unwrap()
            .into_inner();
        assert_eq!(
            (node.node_id.as_str(), node.max_volumes_per_node),
            ("node-1", 0)
        );
        assert_eq!(node.accessible_topology, None);
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
        running.handle.live().await.unwrap();
        let capabilities = running
            .node()
            .node_get_capabilities(NodeGetCapabilitiesRequest {})
            .await
            .unwrap();
        assert_eq!(capabilities.into_inner().capabilities.len(), 2);

        for _ in 0..3 {
            running
                .node()
                .node_publish_volume(running.request("u"))
                .await
                .unwrap();
        }
        let file = running.root.target("u").join("password");
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "canary-7f3a");
        assert_eq!(
            std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(&file).unwrap()),
            2000
        );
        assert_eq!(running.script.firsts(), 1);
        running
            .node()
            .node_unpublish_volume(running.unpublish("u"))
            .await
            .unwrap();
        assert!(!running.root.target("u").exists());

        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &running.registry).unwrap();
        for series in [
            "latchkey_csi_operations_total{op=\"publish\",code=\"OK\"} 3",
            "latchkey_csi_operation_seconds_count{op=\"publish\",first=\"true\"} 1",
            "latchkey_csi_operation_seconds_count{op=\"publish\",first=\"false\"} 2",
            "latchkey_csi_kubelet_calls_total{rpc=\"GetInfo\"} 1",
            "latchkey_csi_registered 1",
            "latchkey_csi_mount_api{kind=\"fsopen\"} 1",
        ] {
            assert!(text.contains(series), "{series} is missing in\n{text}");
        }
        assert!(!text.contains("canary"));
        // Sockets stay: kubelet would unregister the driver by name.
        let (csi, registration) = (
            running.config.csi_socket(),
            running.config.registration_socket(),
        );
        let _root = running.stop().await;
        assert!(csi.exists() && registration.exists());
    });
}

#[test]
fn mount_a_restarted_plugin_binds_over_dead_sockets_and_adopts() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running
            .node()
            .node_publish_volume(running.request("u"))
            .await
            .unwrap();
        let root = running.stop().await;
        let running = Running::start(root).await;
        running
            .registration()
            .get_info(InfoRequest {})
            .await
            .unwrap();
        running
            .node()
            .node_publish_volume(running.request("u"))
            .await
            .unwrap();
        assert_eq!(running.script.firsts(), 0, "the new process only adopted");
        running
            .node()
            .node_unpublish_volume(running.unpublish("u"))
            .await
            .unwrap();
        assert!(!running.root.target("u").exists());
        running.stop().await;
    });
}

/// R4 over the wire: the peer resets the stream, the mount still comes.
#[test]
fn mount_a_client_that_gives_up_does_not_stop_the_work() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.script.set_open(false);
        let mut request = tonic::Request::new(running.request("u"));
        request.set_timeout(Duration::from_millis(300));
        assert!(running.node().node_publish_volume(request).await.is_err());
        running.script.set_open(true);
        running
            .node()
            .node_publish_volume(running.request("u"))
            .await
            .unwrap();
        let file = running.root.target("u").join("password");
        assert_eq!(std::fs::read_to_string(file).unwrap(), "canary-7f3a");
        running.stop().await;
    });
}

#[test]
fn mount_refusals_have_their_codes_on_the_wire() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        let code = async |request| {
            running
                .node()
                .node_publish_volume(request)
                .await
                .unwrap_err()
                .code()
        };
        let mut refused = running.request("u");
        refused
            .volume_context
            .insert("refuse".to_owned(), "x".to_owned());
        assert_eq!(code(refused).await, Code::InvalidArgument);
        let mut writable = running.request("u");
        writable.readonly = false;
        assert_eq!(code(writable).await, Code::InvalidArgument);
        running.handle.set_pod_info_on_mount(false);
        assert_eq!(code(running.request("u")).await, Code::FailedPrecondition);
        assert!(!running.root.target("u").exists());
        running.stop().await;
    });
}

/// csi.md 7.2: mounts that reach no container are worse than none.
#[test]
fn mount_a_private_pods_directory_makes_the_node_unfit() {
    in_mount_namespace(|root| async move {
        let private = rustix::mount::MountPropagationFlags::PRIVATE;
        rustix::mount::mount_change(root.path(), private).unwrap();
        let running = Running::start(root).await;
        let probed = IdentityClient::new(connect(running.config.csi_socket()))
            .probe(ProbeRequest {})
            .await;
        assert_eq!(probed.unwrap_err().code(), Code::FailedPrecondition);
        let error = running
            .node()
            .node_publish_volume(running.request("u"))
            .await
            .unwrap_err();
        assert_eq!(error.code(), Code::FailedPrecondition);
        assert!(running.handle.ready().is_err());
        running.handle.live().await.unwrap();
        running.stop().await;
    });
}

/// csi.md 3.2: all of kubelet's root is on one device, the host's.
#[test]
fn mount_a_kubelet_root_in_parts_is_noticed() {
    in_mount_namespace(|root| async move {
        let mut config = Config::new("node-1", "0");
        config.kubelet_root = root.path().to_owned();
        assert_eq!(parts_elsewhere(&config), [""; 0]);
        for (name, expected) in [
            ("plugins_registry", &["plugins_registry"][..]),
            ("pods", &["pods", "plugins_registry"]),
        ] {
            let flags = rustix::mount::MountFlags::empty();
            let part = root.path().join(name);
            rustix::mount::mount("container", part, "tmpfs", flags, None).unwrap();
            assert_eq!(parts_elsewhere(&config), expected);
        }
        // Only said: a host may have a filesystem for its pods.
        let running = Running::start(root).await;
        running.handle.live().await.unwrap();
        running.stop().await;
    });
}

#[test]
fn settings_out_of_range_are_refused() {
    let good = Config::new("node-1", "0");
    check_config(&good).unwrap();
    let table: &[fn(&mut Config)] = &[
        |config| config.driver_name = "csi.latchkey.v2".to_owned(),
        |config| config.driver_name = "x".repeat(64),
        |config| config.driver_name = "a/b".to_owned(),
        |config| config.node_name.clear(),
        |config| config.max_volume_bytes = (16 << 20) + 1,
        |config| config.generation_grace = Duration::from_secs(61),
    ];
    for (index, change) in table.iter().enumerate() {
        let mut config = good.clone();
        change(&mut config);
        assert!(check_config(&config).is_err(), "line {index}");
    }
}

/// The thread of the plugin does not outlive whoever runs the plugin.
#[test]
fn a_plugin_that_is_dropped_ends() {
    in_mount_namespace(|root| async move {
        let running = Running::start(root).await;
        running.publish(running.request("u")).await.unwrap();
        running.task.abort();
        let socket = running.config.csi_socket();
        until("the end of the server", || {
            std::os::unix::net::UnixStream::connect(&socket).is_err()
        })
        .await;
        assert!(running.root.target("u").join("password").exists());
    });
}
