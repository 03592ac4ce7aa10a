//! What the mount tests share: a private mount namespace, a kubelet root in it, and a backend that does as it is told.

use std::future::Future;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use futures::StreamExt;
use futures::stream::BoxStream;
use parking_lot::Mutex;
use rustix::mount::{MountFlags, MountPropagationFlags};
use tokio::sync::{broadcast, watch};
use tokio::time::Instant;
use tokio_stream::wrappers::BroadcastStream;

use crate::backend::{
    Backend, Description, Failure, FailureClass, File, FileSet, Refusal, ServiceAccountTokens,
    Shown, Update, VolumeRequest, VolumeSettings,
};

/// Runs an async test as root in a mount namespace of its own. Without root it fails: a skipped test would read as passed.
pub(crate) fn in_mount_namespace<F: Future<Output = ()>>(
    test: impl FnOnce(KubeletRoot) -> F + Send + 'static,
) {
    with_mount_namespace(move |runtime| runtime.block_on(test(KubeletRoot::new())));
}

/// Same, for a test that brings the asynchronous parts to the runtime itself.
pub(crate) fn with_mount_namespace(test: impl FnOnce(&tokio::runtime::Runtime) + Send + 'static) {
    assert!(
        rustix::process::geteuid().is_root(),
        "this test mounts: run it as root"
    );
    // Threads made by this one inherit its namespace, those of the other tests do not.
    let thread = std::thread::spawn(move || {
        nix::sched::unshare(nix::sched::CloneFlags::CLONE_NEWNS).unwrap();
        let flags = MountPropagationFlags::PRIVATE | MountPropagationFlags::REC;
        rustix::mount::mount_change("/", flags).unwrap();
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(2)
            .enable_all()
            .build()
            .unwrap();
        test(&runtime);
        runtime.shutdown_timeout(std::time::Duration::from_secs(1));
    });
    if let Err(panic) = thread.join() {
        std::panic::resume_unwind(panic);
    }
}

/// A kubelet root on a shared tmpfs.
pub(crate) struct KubeletRoot {
    _directory: tempfile::TempDir,
    path: PathBuf,
}

impl KubeletRoot {
    pub(crate) fn new() -> Self {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().to_owned();
        rustix::mount::mount("test", &path, "tmpfs", MountFlags::empty(), None).unwrap();
        rustix::mount::mount_change(&path, MountPropagationFlags::SHARED).unwrap();
        for name in ["pods", "plugins", "plugins_registry"] {
            std::fs::create_dir(path.join(name)).unwrap();
        }
        Self {
            _directory: directory,
            path,
        }
    }

    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    pub(crate) fn target(&self, uid: &str) -> PathBuf {
        self.path
            .join("pods")
            .join(uid)
            .join("volumes/kubernetes.io~csi/v/mount")
    }

    /// What kubelet does before it publishes.
    pub(crate) fn make_volume_directory(&self, uid: &str) {
        let directory = self.target(uid).parent().unwrap().to_owned();
        std::fs::create_dir_all(&directory).unwrap();
        std::fs::write(directory.join("vol_data.json"), "{}").unwrap();
    }
}

impl Drop for KubeletRoot {
    fn drop(&mut self) {
        let _ = rustix::mount::unmount(&self.path, rustix::mount::UnmountFlags::DETACH);
    }
}

/// A failure of the backend.
pub(crate) fn failure(class: FailureClass) -> Failure {
    Failure {
        class,
        message: "scripted".to_owned(),
        retry_after: None,
    }
}

/// Waits until `condition` holds; a test that waits in vain fails.
pub(crate) async fn until(what: &str, condition: impl Fn() -> bool) {
    for _ in 0..15_000 {
        if condition() {
            return;
        }
        tokio::time::sleep(std::time::Duration::from_millis(2)).await;
    }
    panic!("{what} did not happen");
}

/// A backend under the control of a test.
#[derive(Clone)]
pub(crate) struct Script(Arc<ScriptState>);

struct ScriptState {
    content: Mutex<Result<FileSet, Failure>>,
    open: watch::Sender<bool>,
    updates: broadcast::Sender<Update>,
    firsts: AtomicUsize,
    republished: AtomicUsize,
    subscribed: AtomicUsize,
    released: AtomicUsize,
    panics: AtomicUsize,
    settings: Mutex<VolumeSettings>,
    tokens: Mutex<Vec<ServiceAccountTokens>>,
    resumed: Mutex<Vec<Shown>>,
}

pub(crate) fn files(files: &[(&str, &str)]) -> FileSet {
    let file = |(path, content): &(&str, &str)| File {
        path: (*path).to_owned(),
        mode: None,
        content: (*content).to_owned().into(),
    };
    FileSet {
        files: files.iter().map(file).collect(),
        ..FileSet::default()
    }
}

impl Script {
    pub(crate) fn new(content: &[(&str, &str)]) -> Self {
        Self(Arc::new(ScriptState {
            content: Mutex::new(Ok(files(content))),
            open: watch::Sender::new(true),
            updates: broadcast::Sender::new(64),
            firsts: AtomicUsize::new(0),
            republished: AtomicUsize::new(0),
            subscribed: AtomicUsize::new(0),
            released: AtomicUsize::new(0),
            panics: AtomicUsize::new(0),
            settings: Mutex::default(),
            tokens: Mutex::default(),
            resumed: Mutex::default(),
        }))
    }

    /// What the next first fetches answer.
    pub(crate) fn answer(&self, content: Result<FileSet, Failure>) {
        *self.0.content.lock() = content;
    }

    /// Whether first fetches return.
    pub(crate) fn set_open(&self, open: bool) {
        self.0.open.send_replace(open);
    }

    pub(crate) fn update(&self, update: Update) {
        // Nobody may be listening.
        let _ = self.0.updates.send(update);
    }

    pub(crate) fn firsts(&self) -> usize {
        self.0.firsts.load(Ordering::SeqCst)
    }

    pub(crate) fn republished(&self) -> usize {
        self.0.republished.load(Ordering::SeqCst)
    }

    pub(crate) fn listeners(&self) -> usize {
        self.0.updates.receiver_count()
    }

    pub(crate) fn released(&self) -> usize {
        self.0.released.load(Ordering::SeqCst)
    }

    /// What the attributes of every volume ask for.
    pub(crate) fn set_settings(&self, settings: VolumeSettings) {
        *self.0.settings.lock() = settings;
    }

    /// All tokens that were handed over.
    pub(crate) fn tokens(&self) -> Vec<ServiceAccountTokens> {
        self.0.tokens.lock().clone()
    }

    /// What volumes show that an earlier process mounted, as far as it was handed over since this was asked last.
    pub(crate) fn take_resumed(&self) -> Vec<Shown> {
        std::mem::take(&mut self.0.resumed.lock())
    }

    /// The next so many first fetches panic.
    pub(crate) fn panic_next(&self, times: usize) {
        self.0.panics.store(times, Ordering::SeqCst);
    }

    pub(crate) fn subscribed(&self) -> usize {
        self.0.subscribed.load(Ordering::SeqCst)
    }
}

impl Backend for Script {
    type Plan = ();

    fn plan(&self, request: &VolumeRequest) -> Result<(), Refusal> {
        match request.attributes.get("refuse") {
            Some(_) => Err(Refusal("attribute refuse is refused".to_owned())),
            None => Ok(()),
        }
    }

    fn settings(&self, (): &()) -> VolumeSettings {
        *self.0.settings.lock()
    }

    fn tokens(&self, (): &(), tokens: &ServiceAccountTokens) {
        self.0.tokens.lock().push(tokens.clone());
    }

    fn released(&self, (): &()) {
        self.0.released.fetch_add(1, Ordering::SeqCst);
    }

    async fn first(&self, (): &(), _: Instant) -> Result<FileSet, Failure> {
        self.0.firsts.fetch_add(1, Ordering::SeqCst);
        let panics = |left: usize| left.checked_sub(1);
        let order = Ordering::SeqCst;
        if self.0.panics.fetch_update(order, order, panics).is_ok() {
            panic!("expected by the test");
        }
        let mut open = self.0.open.subscribe();
        let _ = open.wait_for(|open| *open).await;
        self.0.content.lock().clone()
    }

    fn subscribe(&self, (): &()) -> BoxStream<'static, Update> {
        self.0.subscribed.fetch_add(1, Ordering::SeqCst);
        BroadcastStream::new(self.0.updates.subscribe())
            .filter_map(|update| async { update.ok() })
            .boxed()
    }

    fn resume(&self, (): &(), shown: Shown) -> BoxStream<'static, Update> {
        self.0.resumed.lock().push(shown);
        self.subscribe(&())
    }

    fn describe(&self, (): &()) -> Description {
        Description {
            source: "script".to_owned(),
            next_refresh: Some(std::time::Duration::from_secs(60)),
            trouble: None,
        }
    }

    fn republished(&self, (): &()) {
        self.0.republished.fetch_add(1, Ordering::SeqCst);
    }
}
