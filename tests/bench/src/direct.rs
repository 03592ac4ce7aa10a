//! Calls on the CSI socket, made as kubelet makes them: each on a connection of its own.
//!
//! The time of a call is from before `connect` to after the answer, as this program sees it. [`Kind::Empty`] is the same with a
//! call that does nothing (NodeGetCapabilities): what connecting, HTTP/2 and this client cost.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use futures::StreamExt as _;
use hyper_util::rt::TokioIo;
use latchkey_proto::csi::v1::node_client::NodeClient;
use latchkey_proto::csi::v1::volume_capability::{
    AccessMode, AccessType, MountVolume, access_mode::Mode,
};
use latchkey_proto::csi::v1::{
    NodeGetCapabilitiesRequest, NodePublishVolumeRequest, NodeUnpublishVolumeRequest,
    VolumeCapability,
};
use rand::RngExt as _;
use tokio::net::UnixStream;
use tonic::Request;
use tonic::transport::Endpoint;

use crate::rig::{DRIVER, NAMESPACE, Rig};
use crate::stats::{Samples, as_float};

/// kubelet's deadline for every call.
const DEADLINE: Duration = Duration::from_secs(120);

/// A call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// NodeGetCapabilities: the cost of asking at all.
    Empty,
    /// NodePublishVolume, the first for its target.
    Publish,
    /// NodePublishVolume for a target that is mounted, nothing due.
    Republish,
    /// NodeUnpublishVolume of a mounted target.
    Unpublish,
}

/// A volume that no pod has.
#[derive(Clone, Debug)]
pub(crate) struct Volume {
    /// Name of its ExternalSecret.
    object: String,
    id: String,
    uid: String,
    /// Where it is mounted, as the agent sees it.
    target: String,
    /// The folder that kubelet would have made, as this process reaches it.
    folder: PathBuf,
}

/// What a number of equal calls took.
#[derive(Clone, Debug)]
pub(crate) struct Calls {
    pub(crate) kind: Kind,
    pub(crate) at_once: usize,
    /// Times of the calls that succeeded.
    pub(crate) times: Samples,
    pub(crate) failed: usize,
    /// From the first to the last.
    pub(crate) total: Duration,
    /// The agent's processor time meanwhile.
    pub(crate) cpu: Duration,
}

/// Publishes that each had to ask the provider.
#[derive(Clone, Debug)]
pub(crate) struct Fetched {
    pub(crate) times: Samples,
    /// What the agent's calls to the provider took, of each publish.
    pub(crate) provider: Samples,
    /// The difference, of each publish.
    pub(crate) beyond: Samples,
}

// === impl Calls ===

impl Calls {
    /// Calls in a second.
    pub(crate) fn rate(&self) -> f64 {
        as_float(self.times.len() + self.failed) / self.total.as_secs_f64()
    }

    /// The agent's processor time for each, milliseconds.
    pub(crate) fn cpu_each(&self) -> f64 {
        1000.0 * self.cpu.as_secs_f64() / as_float(self.times.len() + self.failed)
    }
}

// === impl Kind ===

impl Kind {
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Empty => "empty call (NodeGetCapabilities)",
            Self::Publish => "publish, content at hand",
            Self::Republish => "republish, nothing due",
            Self::Unpublish => "unpublish",
        }
    }
}

// === impl Volume ===

impl Volume {
    /// A volume of `object` for a pod that does not exist.
    pub(crate) fn new(rig: &Rig<'_>, object: &str) -> Result<Self> {
        let number = rand::rng().random::<u128>();
        let digits = format!("{number:032x}");
        let uid = format!(
            "{}-{}-{}-{}-{}",
            &digits[..8],
            &digits[8..12],
            &digits[12..16],
            &digits[16..20],
            &digits[20..]
        );
        let below = format!("pods/{uid}/volumes/kubernetes.io~csi/v");
        Ok(Self {
            object: object.to_owned(),
            id: format!("csi-{digits}{digits}"),
            target: rig.on_node(&format!("{below}/mount")),
            folder: rig.kubelet_path(&below)?,
            uid,
        })
    }

    /// A file of it, as this process reaches it.
    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.folder.join("mount").join(name)
    }

    fn publish(&self) -> NodePublishVolumeRequest {
        let context = [
            ("externalSecret", self.object.as_str()),
            ("csi.storage.k8s.io/ephemeral", "true"),
            ("csi.storage.k8s.io/pod.name", "direct"),
            ("csi.storage.k8s.io/pod.namespace", NAMESPACE),
            ("csi.storage.k8s.io/pod.uid", &self.uid),
            ("csi.storage.k8s.io/serviceAccount.name", "default"),
        ];
        NodePublishVolumeRequest {
            volume_id: self.id.clone(),
            target_path: self.target.clone(),
            volume_capability: Some(VolumeCapability {
                access_type: Some(AccessType::Mount(MountVolume::default())),
                access_mode: Some(AccessMode {
                    mode: Mode::SingleNodeWriter.into(),
                }),
            }),
            readonly: true,
            volume_context: context
                .into_iter()
                .map(|(key, value)| (key.to_owned(), value.to_owned()))
                .collect(),
            ..NodePublishVolumeRequest::default()
        }
    }

    /// Removes the folders of the pod that never was; kubelet may have done so already.
    fn clear(&self) {
        for folder in self.folder.ancestors().take(4) {
            if fs::remove_dir(folder).is_err() && folder.exists() {
                return;
            }
        }
    }
}

/// Makes `kind` of call once for each of `volumes`, `at_once` of them at a time.
pub(crate) async fn calls(
    rig: &Rig<'_>,
    kind: Kind,
    volumes: &[Volume],
    at_once: usize,
) -> Result<Calls> {
    let socket: Arc<Path> = socket(rig)?.into();
    let cpu = rig.agent.cpu()?;
    let begin = Instant::now();
    let outcomes: Vec<Result<Duration>> = futures::stream::iter(volumes.to_vec())
        .map(|volume| {
            let socket = Arc::clone(&socket);
            let call = tokio::spawn(async move { call(&socket, kind, &volume).await });
            async move { call.await? }
        })
        .buffer_unordered(at_once)
        .collect()
        .await;
    let total = begin.elapsed();
    let cpu = rig.agent.cpu()?.saturating_sub(cpu);
    let failed: Vec<&anyhow::Error> = outcomes
        .iter()
        .filter_map(|outcome| outcome.as_ref().err())
        .collect();
    if let Some(error) = failed.first() {
        crate::say(&format!(
            "{} of {} calls failed ({}): {error:#}",
            failed.len(),
            volumes.len(),
            kind.label()
        ));
    }
    if kind == Kind::Unpublish {
        volumes.iter().for_each(Volume::clear);
    }
    let failed = failed.len();
    Ok(Calls {
        kind,
        at_once,
        times: outcomes.into_iter().filter_map(Result::ok).collect(),
        failed,
        total,
        cpu,
    })
}

/// Publishes `volumes` one after the other, each the first of its ExternalSecret, and tells the provider's part apart by the
/// agent's own count of its calls.
pub(crate) async fn fetched(rig: &Rig<'_>, volumes: &[Volume]) -> Result<Fetched> {
    let socket = socket(rig)?;
    let asked = async || -> Result<crate::metrics::Histogram> {
        let name = "grpc_client_request_duration_seconds";
        Ok(rig.scrape_agent().await?.histogram(name, &[]))
    };
    let (mut times, mut provider, mut beyond) = (Vec::new(), Vec::new(), Vec::new());
    let mut before = asked().await?;
    for volume in volumes {
        let time = call(&socket, Kind::Publish, volume)
            .await
            .with_context(|| format!("the first volume of {}", volume.object))?;
        let after = asked().await?;
        let answer = after.since(&before);
        if answer.count > 0.0 {
            let spent = Duration::try_from_secs_f64(answer.sum).unwrap_or_default();
            times.push(time);
            provider.push(spent);
            beyond.push(time.saturating_sub(spent));
        }
        before = after;
    }
    let fetched = Fetched {
        times: times.into_iter().collect(),
        provider: provider.into_iter().collect(),
        beyond: beyond.into_iter().collect(),
    };
    anyhow::ensure!(
        as_float(fetched.times.len()) >= 0.9 * as_float(volumes.len()),
        "only {} of {} first publishes asked the provider",
        fetched.times.len(),
        volumes.len()
    );
    Ok(fetched)
}

fn socket(rig: &Rig<'_>) -> Result<PathBuf> {
    rig.kubelet_path(&format!("plugins/{DRIVER}/csi.sock"))
}

/// One call on a connection of its own; the folder that kubelet makes before a publish is made before the clock starts.
async fn call(socket: &Path, kind: Kind, volume: &Volume) -> Result<Duration> {
    if kind == Kind::Publish {
        fs::create_dir_all(&volume.folder)?;
    }
    let begin = Instant::now();
    let socket = socket.to_owned();
    let connector = tower::service_fn(move |_: http::Uri| {
        let socket = socket.clone();
        async move { UnixStream::connect(socket).await.map(TokioIo::new) }
    });
    let channel = Endpoint::from_static("http://localhost")
        .connect_with_connector(connector)
        .await?;
    let mut client = NodeClient::new(channel);
    match kind {
        Kind::Empty => {
            let request = timed(NodeGetCapabilitiesRequest {});
            client.node_get_capabilities(request).await?;
        }
        Kind::Publish | Kind::Republish => {
            client.node_publish_volume(timed(volume.publish())).await?;
        }
        Kind::Unpublish => {
            let request = NodeUnpublishVolumeRequest {
                volume_id: volume.id.clone(),
                target_path: volume.target.clone(),
            };
            client.node_unpublish_volume(timed(request)).await?;
        }
    }
    Ok(begin.elapsed())
}

fn timed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(DEADLINE);
    request
}
