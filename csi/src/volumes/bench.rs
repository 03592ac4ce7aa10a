//! What the tests of volumes share: volumes of one node in a private mount namespace, with a backend under the test's control.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use tokio::time::Instant;

use super::disk::{Disk, Labels};
use super::{Published, Volumes};
use crate::backend::{ServiceAccountTokens, VolumeRequest};
use crate::board::{Board, VolumeHealth};
use crate::config::Config;
use crate::error::NodeError;
use crate::events::{Event, EventSink};
use crate::metrics::Metrics;
use crate::mount::{Api, Mounter, is_ours, mountinfo};
use crate::publish::{Checked, spec_digest};
use crate::state::StateStore;
use crate::target::{Roots, Target};
use crate::testing::{KubeletRoot, Script};

/// A node with volumes and a scripted backend.
pub(crate) struct Bench {
    pub(crate) root: KubeletRoot,
    pub(crate) script: Script,
    pub(crate) config: Config,
    pub(crate) volumes: Volumes<Script>,
    pub(crate) board: Arc<Board>,
    pub(crate) events: Arc<Mutex<Vec<Event>>>,
}

/// What the backend has at first.
pub(crate) const CONTENT: [(&str, &str); 2] = [("tls.crt", "cert-1"), ("conf/key", "key-1")];

impl Bench {
    pub(crate) fn new(root: KubeletRoot) -> Self {
        let script = Script::new(&CONTENT);
        let mut config = Config::new("node-1", "0");
        config.kubelet_root = root.path().to_owned();
        config.generation_grace = Duration::from_millis(50);
        let (volumes, board, events) = start(&config, &script);
        Self {
            root,
            script,
            config,
            volumes,
            board,
            events,
        }
    }

    /// As kill -9, but for operations that run: they end first, at most a second later.
    pub(crate) async fn kill(&self) {
        self.volumes.0.stop.cancel();
        self.volumes.0.tasks.close();
        let ended = self.volumes.0.tasks.wait();
        let _ = tokio::time::timeout(Duration::from_secs(1), ended).await;
    }

    /// The old process' tasks are gone, its mounts and files are not, and a new one has taken over.
    pub(crate) async fn restart(&mut self) {
        self.kill().await;
        (self.volumes, self.board, self.events) = start(&self.config, &self.script);
        self.volumes.recover().await.unwrap();
    }

    pub(crate) fn checked(&self, uid: &str) -> Checked {
        self.root.make_volume_directory(uid);
        self.checked_with(uid, "v")
    }

    pub(crate) fn checked_with(&self, uid: &str, attribute: &str) -> Checked {
        let target = self.target(uid);
        let request = VolumeRequest {
            volume_id: format!("csi-{uid}"),
            namespace: "n".to_owned(),
            pod_name: "p".to_owned(),
            pod_uid: uid.to_owned(),
            service_account: "s".to_owned(),
            attributes: BTreeMap::from([("a".to_owned(), attribute.to_owned())]),
        };
        let digest = spec_digest(&request, None, None);
        Checked {
            target,
            request,
            gid: None,
            context: None,
            tokens: ServiceAccountTokens::default(),
            digest,
        }
    }

    pub(crate) fn target(&self, uid: &str) -> Target {
        let path = self.root.target(uid);
        self.volumes
            .disk()
            .roots
            .parse(path.to_str().unwrap())
            .unwrap()
    }

    pub(crate) async fn publish(&self, uid: &str) -> Result<Published, NodeError> {
        let checked = self.checked(uid);
        self.volumes.publish(checked, (), soon(10)).await
    }

    pub(crate) async fn unpublish(&self, uid: &str) -> Result<(), NodeError> {
        self.volumes.unpublish(&self.target(uid), soon(10)).await
    }

    pub(crate) fn read(&self, uid: &str, path: &str) -> String {
        std::fs::read_to_string(self.root.target(uid).join(path)).unwrap()
    }

    /// Publishes as kubelet's client does, in a task of its own.
    pub(crate) fn spawn_publish(
        &self,
        checked: Checked,
    ) -> tokio::task::JoinHandle<Result<Published, NodeError>> {
        let volumes = self.volumes.clone();
        tokio::spawn(async move { volumes.publish(checked, (), soon(60)).await })
    }

    pub(crate) fn health(&self, uid: &str) -> Option<VolumeHealth> {
        self.board
            .get(&self.target(uid))
            .map(|status| status.health)
    }

    /// Tasks that are left.
    pub(crate) fn tasks(&self) -> usize {
        self.volumes.0.entries.lock().len()
    }

    /// States on disk; without their directory there are none.
    pub(crate) fn states(&self) -> usize {
        let directory = self.config.plugin_directory().join("volumes");
        std::fs::read_dir(directory).map_or(0, Iterator::count)
    }

    pub(crate) fn assert_nothing_left(&self, uid: &str) {
        assert_eq!(our_mounts(), 0);
        assert!(!self.root.target(uid).exists());
        assert_eq!(self.states(), 0);
        assert!(self.volumes.0.board.targets().is_empty());
    }
}

/// What a process does at its start, up to the recovery.
pub(crate) fn start(
    config: &Config,
    script: &Script,
) -> (Volumes<Script>, Arc<Board>, Arc<Mutex<Vec<Event>>>) {
    start_with(config, script, None)
}

/// Same, with these system calls for mounts.
pub(crate) fn start_with(
    config: &Config,
    script: &Script,
    api: Option<Api>,
) -> (Volumes<Script>, Arc<Board>, Arc<Mutex<Vec<Event>>>) {
    let directory = config.plugin_directory();
    std::fs::create_dir_all(&directory).unwrap();
    let mut mounter = Mounter::start(&directory).unwrap();
    if let Some(api) = api {
        mounter = mounter.with_api(api);
    }
    let disk = Disk {
        mounter,
        roots: Roots::open(&config.kubelet_root.join("pods"), None).unwrap(),
        store: StateStore::open(&directory).unwrap(),
        labels: Labels::of(&config.selinux, false),
    };
    let board = Arc::new(Board::default());
    let events = Arc::new(Mutex::new(Vec::new()));
    let seen = events.clone();
    let sink = EventSink::new(move |event| seen.lock().push(event));
    let metrics = Metrics::new(board.clone());
    let config = Arc::new(config.clone());
    let volumes = Volumes::new(config, script.clone(), disk, metrics, board.clone(), sink);
    (volumes, board, events)
}

pub(crate) fn soon(seconds: u64) -> Instant {
    Instant::now() + Duration::from_secs(seconds)
}

pub(crate) fn our_mounts() -> usize {
    mountinfo::read()
        .unwrap()
        .iter()
        .filter(|mount| is_ours(mount))
        .count()
}
