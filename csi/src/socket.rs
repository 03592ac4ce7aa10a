//! Unix sockets that nobody sees before they are served, and that come back when somebody removes them (csi.md 3.2, 3.3).
//!
//! A socket is bound under a hidden name, private from its first moment, and renamed onto its final name: over a dead
//! predecessor just as well, without a moment in which the name is missing.

use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::UnixListener as StdListener;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::gauge::Gauge;
use rustix::fs::{AtFlags, Mode, OFlags};
use rustix::net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType};
use tokio::net::{UnixListener, UnixStream};
use tokio::sync::{Notify, mpsc};
use tokio_util::sync::CancellationToken;

use crate::status::Health;

/// Longest path of a socket, bytes: `sun_path` holds one more for the NUL.
const MAX_PATH: usize = 107;

/// Between two looks at the socket file besides inotify.
const CHECK_INTERVAL: Duration = Duration::from_secs(30);

/// Pause before a removed socket is made anew; doubles up to the second value.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(60));

/// Connections that wait to be served.
pub(crate) const BACKLOG: usize = 64;

/// Why a socket cannot be served.
#[derive(Debug, thiserror::Error)]
pub enum SocketError {
    /// kubelet could not connect to it.
    #[error(
        "the path {path} of a socket has {length} bytes, at most {MAX_PATH} are possible; use a shorter kubelet root"
    )]
    TooLong {
        /// The path.
        path: String,
        /// Its length.
        length: usize,
    },
    /// The directory or the socket cannot be made.
    #[error("failed to serve the socket {path}")]
    Bind {
        /// The path.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
}

/// Identity of a socket file.
pub(crate) type Inode = (u64, u64);

/// Identity of the file at `path`, if there is one.
pub(crate) fn inode(path: &Path) -> Option<Inode> {
    let stat = rustix::fs::lstat(path).ok()?;
    Some((stat.st_dev, stat.st_ino))
}

/// A socket and what it needs to be bound again.
#[derive(Debug)]
pub(crate) struct Socket {
    directory: PathBuf,
    name: String,
    path: PathBuf,
}

impl Socket {
    /// Checks the length of the path.
    pub(crate) fn new(path: &Path) -> Result<Self, SocketError> {
        let length = path.as_os_str().len();
        if length > MAX_PATH {
            return Err(SocketError::TooLong {
                path: path.display().to_string(),
                length,
            });
        }
        let name = path
            .file_name()
            .and_then(|name| name.to_str())
            .unwrap_or_default()
            .to_owned();
        Ok(Self {
            directory: path.parent().unwrap_or(Path::new("/")).to_owned(),
            name,
            path: path.to_owned(),
        })
    }

    /// Binds under a hidden name, listens, renames.
    fn bind(&self) -> Result<(StdListener, Inode), SocketError> {
        self.try_bind().map_err(|source| SocketError::Bind {
            path: self.path.display().to_string(),
            source,
        })
    }

    fn try_bind(&self) -> std::io::Result<(StdListener, Inode)> {
        use std::os::unix::fs::DirBuilderExt;
        std::fs::DirBuilder::new()
            .recursive(true)
            .mode(0o750)
            .create(&self.directory)?;
        let directory = self.open_directory()?;
        let hidden = format!(".{}.{}", self.name, std::process::id());
        match rustix::fs::unlinkat(&directory, &hidden, AtFlags::empty()) {
            Ok(()) | Err(rustix::io::Errno::NOENT) => {}
            Err(error) => return Err(error.into()),
        }
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let socket =
            rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
        // Before bind: the file never has another mode.
        rustix::fs::fchmod(&socket, Mode::from(0o600))?;
        // The hidden name is longer than the final one and need not fit into `sun_path`.
        let address =
            SocketAddrUnix::new(format!("/proc/self/fd/{}/{hidden}", directory.as_raw_fd()))?;
        rustix::net::bind(&socket, &address)?;
        rustix::net::listen(&socket, 128)?;
        let stat = rustix::fs::statat(&directory, &hidden, AtFlags::SYMLINK_NOFOLLOW)?;
        rustix::fs::renameat(&directory, &hidden, &directory, &self.name)?;
        Ok((StdListener::from(socket), (stat.st_dev, stat.st_ino)))
    }

    fn open_directory(&self) -> rustix::io::Result<OwnedFd> {
        rustix::fs::open(
            &self.directory,
            OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    }

    fn inode(&self) -> Option<Inode> {
        inode(&self.path)
    }

    /// Whether somebody accepts connections at the path.
    async fn is_served(&self) -> bool {
        matches!(
            tokio::time::timeout(Duration::from_secs(1), UnixStream::connect(&self.path)).await,
            Ok(Ok(_))
        )
    }
}

/// What a kept socket reports to and obeys.
pub(crate) struct Keeper {
    pub(crate) socket: Socket,
    /// Where accepted connections go.
    pub(crate) connections: mpsc::Sender<std::io::Result<UnixStream>>,
    /// Accept callers of any user.
    pub(crate) any_peer: bool,
    /// A permit makes the socket be bound anew, so that kubelet looks at it again.
    pub(crate) touch: Arc<Notify>,
    pub(crate) health: Arc<Health>,
    pub(crate) recreated: Counter,
    /// 1 while another process serves the socket.
    pub(crate) displaced: Gauge,
}

/// A socket that is served.
pub(crate) struct Bound {
    keeper: Keeper,
    listener: UnixListener,
    inode: Inode,
    /// Changes of the directory.
    changed: Arc<Notify>,
    _watcher: Option<notify::RecommendedWatcher>,
}

impl Keeper {
    /// Binds the socket, waiting for a live predecessor to go.
    pub(crate) async fn bind(
        self,
        cancel: &CancellationToken,
    ) -> Result<Option<Bound>, SocketError> {
        if !self.wait_for_predecessor(cancel).await {
            return Ok(None);
        }
        let (listener, inode) = self.listen()?;
        let changed = Arc::new(Notify::new());
        let watcher = self.watch(changed.clone());
        Ok(Some(Bound {
            keeper: self,
            listener,
            inode,
            changed,
            _watcher: watcher,
        }))
    }

    fn listen(&self) -> Result<(UnixListener, Inode), SocketError> {
        let (listener, inode) = self.socket.bind()?;
        self.health.set_inode(&self.socket.path, inode);
        let listener = UnixListener::from_std(listener).map_err(|source| SocketError::Bind {
            path: self.socket.path.display().to_string(),
            source,
        })?;
        Ok((listener, inode))
    }

    /// `false` when cancelled. A live process at the path is not fought: two agents would steal the name from each other.
    async fn wait_for_predecessor(&self, cancel: &CancellationToken) -> bool {
        let mut pause = BACKOFF.0;
        while self.socket.is_served().await {
            let path = self.socket.path.display().to_string();
            tracing::warn!(
                path,
                "another process serves this socket; waiting for it to end"
            );
            self.displaced.set(1);
            self.health.set_displaced(&self.socket.path, true);
            tokio::select! {
                () = cancel.cancelled() => return false,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
        self.displaced.set(0);
        self.health.set_displaced(&self.socket.path, false);
        true
    }

    fn watch(&self, changed: Arc<Notify>) -> Option<notify::RecommendedWatcher> {
        let tell = move |event| {
            if may_replace(&event) {
                changed.notify_one();
            }
        };
        let watcher = notify::recommended_watcher(tell).and_then(|mut watcher| {
            watcher.watch(&self.socket.directory, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watcher {
            Ok(watcher) => Some(watcher),
            Err(error) => {
                tracing::warn!(%error, "inotify is not available; sockets are checked every 30 s only");
                None
            }
        }
    }
}

/// Whether the socket may be another one after what happened in its directory. Opening and closing what lies there, which each
/// publish does with the directory of state files, is no reason to look.
fn may_replace(event: &notify::Result<notify::Event>) -> bool {
    !event.as_ref().is_ok_and(|event| event.kind.is_access())
}

impl Bound {
    /// Accepts connections and keeps the socket file in place until `cancel`. The file stays: kubelet would unregister the driver
    /// if it went.
    pub(crate) async fn run(mut self, cancel: CancellationToken) {
        let mut timer = tokio::time::interval(CHECK_INTERVAL);
        loop {
            tokio::select! {
                () = cancel.cancelled() => return,
                () = self.keeper.touch.notified() => self.rebind(&cancel).await,
                () = self.changed.notified() => self.check(&cancel).await,
                _ = timer.tick() => self.check(&cancel).await,
                accepted = self.listener.accept() => match accepted {
                    Ok((stream, _)) => self.pass_on(stream, &cancel).await,
                    Err(error) => {
                        tracing::warn!(%error, "failed to accept a connection");
                        tokio::time::sleep(Duration::from_millis(100)).await;
                    }
                },
            }
        }
    }

    async fn pass_on(&self, stream: UnixStream, cancel: &CancellationToken) {
        let root = stream
            .peer_cred()
            .is_ok_and(|credentials| credentials.uid() == 0);
        if !root && !self.keeper.any_peer {
            tracing::warn!("a caller that is not root was turned away");
            return;
        }
        tokio::select! {
            () = cancel.cancelled() => {}
            _ = self.keeper.connections.send(Ok(stream)) => {}
        }
    }

    async fn check(&mut self, cancel: &CancellationToken) {
        if self.keeper.socket.inode() == Some(self.inode) {
            return;
        }
        let path = self.keeper.socket.path.display().to_string();
        tracing::warn!(path, "the socket was removed or replaced; it is made anew");
        self.keeper.recreated.inc();
        self.rebind(cancel).await;
    }

    async fn rebind(&mut self, cancel: &CancellationToken) {
        let mut pause = BACKOFF.0;
        loop {
            if self.keeper.socket.inode() != Some(self.inode)
                && !self.keeper.wait_for_predecessor(cancel).await
            {
                return;
            }
            match self.keeper.listen() {
                Ok((listener, inode)) => {
                    (self.listener, self.inode) = (listener, inode);
                    // The directory may be a new one.
                    self._watcher = self.keeper.watch(self.changed.clone());
                    return;
                }
                Err(error) => tracing::warn!(
                    error = crate::error::chain(&error),
                    "failed to make a socket anew"
                ),
            }
            tokio::select! {
                () = cancel.cancelled() => return,
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(BACKOFF.1);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::{FileTypeExt, PermissionsExt};
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus_client::metrics::counter::Counter;
    use prometheus_client::metrics::gauge::Gauge;
    use tokio::net::UnixStream;
    use tokio::sync::{Notify, mpsc};
    use tokio_util::sync::CancellationToken;

    use super::{Keeper, Socket, SocketError};
    use crate::status::Health;

    #[test]
    fn paths_that_kubelet_cannot_connect_to_are_refused() {
        let path = |length: usize| std::path::PathBuf::from(format!("/{}", "x".repeat(length - 1)));
        assert!(Socket::new(&path(107)).is_ok());
        assert!(matches!(
            Socket::new(&path(108)),
            Err(SocketError::TooLong { length: 108, .. })
        ));
    }

    /// The hidden name does not fit into `sun_path` where the final one just does.
    #[test]
    fn a_socket_with_the_longest_path_is_private_and_over_a_dead_one() {
        let directory = tempfile::tempdir().unwrap();
        let name = "csi.latchkey.dev@reg.sock";
        let length = 107 - directory.path().as_os_str().len() - name.len() - 2;
        let path = directory.path().join("d".repeat(length)).join(name);
        assert_eq!(path.as_os_str().len(), 107);
        let socket = Socket::new(&path).unwrap();
        drop(socket.bind().unwrap());
        let (_listener, inode) = socket.bind().unwrap();
        assert_eq!(socket.inode(), Some(inode));
        let metadata = std::fs::symlink_metadata(&path).unwrap();
        assert!(metadata.file_type().is_socket());
        assert_eq!(metadata.permissions().mode() & 0o777, 0o600);
        assert_eq!(
            std::fs::read_dir(path.parent().unwrap()).unwrap().count(),
            1
        );
    }

    #[test]
    fn opening_and_closing_replaces_no_socket() {
        use notify::event::{AccessKind, AccessMode, CreateKind, EventKind, RemoveKind};
        for (kind, is_reason) in [
            (EventKind::Access(AccessKind::Open(AccessMode::Any)), false),
            (
                EventKind::Access(AccessKind::Close(AccessMode::Write)),
                false,
            ),
            (EventKind::Create(CreateKind::File), true),
            (EventKind::Remove(RemoveKind::File), true),
            (EventKind::Any, true),
        ] {
            let event = Ok(notify::Event::new(kind));
            assert_eq!(super::may_replace(&event), is_reason, "{kind:?}");
        }
        assert!(super::may_replace(&Err(notify::Error::generic("lost"))));
    }

    async fn connects(path: &std::path::Path) -> bool {
        for _ in 0..100 {
            if UnixStream::connect(path).await.is_ok() {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        false
    }

    #[tokio::test]
    async fn a_removed_or_replaced_socket_comes_back() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let (connections, mut accepted) = mpsc::channel(8);
        let recreated = Counter::default();
        let keeper = Keeper {
            socket: Socket::new(&path).unwrap(),
            connections,
            any_peer: true,
            touch: Arc::new(Notify::new()),
            health: Arc::default(),
            recreated: recreated.clone(),
            displaced: Gauge::default(),
        };
        let touch = keeper.touch.clone();
        let cancel = CancellationToken::new();
        let bound = keeper.bind(&cancel).await.unwrap().unwrap();
        let task = tokio::spawn(bound.run(cancel.clone()));
        assert!(connects(&path).await);
        accepted.recv().await.unwrap().unwrap();

        std::fs::remove_file(&path).unwrap();
        assert!(connects(&path).await);
        assert_eq!(recreated.get(), 1);
        std::fs::remove_file(&path).unwrap();
        std::fs::write(&path, "").unwrap();
        assert!(connects(&path).await);
        assert_eq!(recreated.get(), 2);

        let before =
            std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(&path).unwrap());
        touch.notify_one();
        for _ in 0..100 {
            tokio::time::sleep(Duration::from_millis(20)).await;
            if std::os::unix::fs::MetadataExt::ino(&std::fs::symlink_metadata(&path).unwrap())
                != before
            {
                break;
            }
        }
        assert!(connects(&path).await);
        assert_eq!(recreated.get(), 2);
        cancel.cancel();
        task.await.unwrap();
        assert!(path.exists(), "the file stays for kubelet");
    }

    /// csi.md 3.3: do not fight a live process.
    #[tokio::test]
    async fn a_live_predecessor_is_waited_for() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("a.sock");
        let other = std::os::unix::net::UnixListener::bind(&path).unwrap();
        let health = Arc::new(Health::default());
        let (connections, _accepted) = mpsc::channel(8);
        let displaced = Gauge::default();
        let keeper = Keeper {
            socket: Socket::new(&path).unwrap(),
            connections,
            any_peer: true,
            touch: Arc::new(Notify::new()),
            health: health.clone(),
            recreated: Counter::default(),
            displaced: displaced.clone(),
        };
        let cancel = CancellationToken::new();
        let task = tokio::spawn(async move { keeper.bind(&cancel).await.unwrap().is_some() });
        tokio::time::sleep(Duration::from_millis(200)).await;
        assert!(health.unfit().is_some());
        assert_eq!(displaced.get(), 1);
        drop(other);
        assert!(
            tokio::time::timeout(Duration::from_secs(10), task)
                .await
                .unwrap()
                .unwrap()
        );
        assert_eq!(health.unfit(), None);
        assert_eq!(displaced.get(), 0);
    }
}
