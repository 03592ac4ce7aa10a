//! The plugin as kubelet meets it: over its two sockets, with a new connection for every call.

use std::path::PathBuf;
use std::time::Duration;

use hyper_util::rt::TokioIo;
use latchkey_proto::csi::v1::node_client::NodeClient;
use latchkey_proto::csi::v1::volume_capability::{AccessMode, AccessType, MountVolume};
use latchkey_proto::csi::v1::{
    NodePublishVolumeRequest, NodeUnpublishVolumeRequest, VolumeCapability,
};
use latchkey_proto::pluginregistration::registration_client::RegistrationClient;
use prometheus_client::registry::Registry;
use tokio::net::UnixStream;
use tokio_util::sync::CancellationToken;
use tonic::Status;
use tonic::transport::{Channel, Endpoint};

use super::{Plugin, PluginError, PluginHandle};
use crate::config::Config;
use crate::testing::{KubeletRoot, Script};

/// A plugin that runs, with a scripted backend.
pub(crate) struct Running {
    pub(crate) root: KubeletRoot,
    pub(crate) config: Config,
    pub(crate) script: Script,
    pub(crate) handle: PluginHandle,
    pub(crate) registry: Registry,
    pub(crate) cancel: CancellationToken,
    pub(crate) task: tokio::task::JoinHandle<Result<(), PluginError>>,
}

/// As kubelet's client: the address in the request is `localhost` (csi.md 3.2).
pub(crate) fn connect(path: PathBuf) -> Channel {
    let connector = tower::service_fn(move |_| {
        let path = path.clone();
        async move { UnixStream::connect(path).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://localhost").connect_with_connector_lazy(connector)
}

impl Running {
    pub(crate) async fn start(root: KubeletRoot) -> Self {
        let mut config = Config::new("node-1", "1.2.3");
        config.kubelet_root = root.path().to_owned();
        Self::start_with(root, config).await
    }

    pub(crate) async fn start_with(root: KubeletRoot, config: Config) -> Self {
        let script = Script::new(&[("password", "canary-7f3a")]);
        let plugin = Plugin::new(config.clone());
        let mut registry = Registry::default();
        plugin.register(&mut registry);
        let handle = plugin.handle();
        let cancel = CancellationToken::new();
        let task = tokio::spawn(plugin.run(script.clone(), cancel.clone()));
        for _ in 0..200 {
            if UnixStream::connect(config.registration_socket())
                .await
                .is_ok()
            {
                break;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Self {
            root,
            config,
            script,
            handle,
            registry,
            cancel,
            task,
        }
    }

    pub(crate) fn node(&self) -> NodeClient<Channel> {
        NodeClient::new(connect(self.config.csi_socket()))
    }

    pub(crate) fn registration(&self) -> RegistrationClient<Channel> {
        RegistrationClient::new(connect(self.config.registration_socket()))
    }

    pub(crate) fn request(&self, uid: &str) -> NodePublishVolumeRequest {
        self.root.make_volume_directory(uid);
        let context = [
            ("csi.storage.k8s.io/pod.name", "web-0"),
            ("csi.storage.k8s.io/pod.namespace", "shop"),
            ("csi.storage.k8s.io/pod.uid", uid),
            ("csi.storage.k8s.io/serviceAccount.name", "web"),
            ("csi.storage.k8s.io/ephemeral", "true"),
        ];
        NodePublishVolumeRequest {
            volume_id: format!("csi-{uid}"),
            target_path: self.root.target(uid).display().to_string(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume {
                    volume_mount_group: "2000".to_owned(),
                    ..MountVolume::default()
                })),
                access_mode: Some(AccessMode { mode: 1 }),
            }),
            readonly: true,
            volume_context: context
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .into(),
            ..NodePublishVolumeRequest::default()
        }
    }

    pub(crate) fn unpublish(&self, uid: &str) -> NodeUnpublishVolumeRequest {
        NodeUnpublishVolumeRequest {
            volume_id: format!("csi-{uid}"),
            target_path: self.root.target(uid).display().to_string(),
        }
    }

    /// The answer to a publish.
    pub(crate) async fn publish(&self, request: NodePublishVolumeRequest) -> Result<(), Status> {
        let answer = self.node().node_publish_volume(request).await;
        answer.map(drop)
    }

    /// The answer to an unpublish.
    pub(crate) async fn end(&self, uid: &str) -> Result<(), Status> {
        let answer = self.node().node_unpublish_volume(self.unpublish(uid)).await;
        answer.map(drop)
    }

    pub(crate) fn metrics(&self) -> String {
        let mut text = String::new();
        prometheus_client::encoding::text::encode(&mut text, &self.registry).unwrap();
        text
    }

    pub(crate) async fn stop(self) -> KubeletRoot {
        self.cancel.cancel();
        self.task.await.unwrap().unwrap();
        self.root
    }
}
