//! A wire between an agent and the API server that the test can cut: bytes go through as they are.

use std::net::SocketAddr;

use anyhow::Result;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Where the rig's API server listens, inside the cluster's network.
const API_SERVER: &str = "127.0.0.1:6443";

/// What becomes of bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Flow {
    Open,
    /// They stay where they are, as on the way to a host that vanished. Once the wire is open again they arrive.
    Frozen,
    /// Connections break, and new ones are closed at once.
    Cut,
}

/// The wire. It ends when this is dropped.
pub(crate) struct Pipe {
    address: SocketAddr,
    flow: watch::Sender<Flow>,
    _tasks: JoinSet<()>,
}

// === impl Pipe ===

impl Pipe {
    /// An open one.
    pub(crate) async fn open() -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let (flow, state) = watch::channel(Flow::Open);
        let address = listener.local_addr()?;
        let mut tasks = JoinSet::new();
        tasks.spawn(serve(listener, state));
        Ok(Self {
            address,
            flow,
            _tasks: tasks,
        })
    }

    /// Where its near end is.
    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn freeze(&self) {
        self.flow.send_replace(Flow::Frozen);
    }

    pub(crate) fn cut(&self) {
        self.flow.send_replace(Flow::Cut);
    }

    pub(crate) fn reopen(&self) {
        self.flow.send_replace(Flow::Open);
    }
}

async fn serve(listener: TcpListener, flow: watch::Receiver<Flow>) {
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        if let Ok((near, _)) = listener.accept().await {
            connections.spawn(join(near, flow.clone()));
        }
    }
}

async fn join(near: TcpStream, mut flow: watch::Receiver<Flow>) {
    if is_cut(&mut flow).await {
        return;
    }
    let Ok(far) = TcpStream::connect(API_SERVER).await else {
        return;
    };
    // Both ends are this machine's: a delay would be the pipe's own.
    near.set_nodelay(true).ok();
    far.set_nodelay(true).ok();
    let (near_in, near_out) = near.into_split();
    let (far_in, far_out) = far.into_split();
    // Once one direction has ended the connection is of no use to HTTP.
    tokio::select! {
        () = copy(near_in, far_out, flow.clone()) => {}
        () = copy(far_in, near_out, flow) => {}
    }
}

async fn copy(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
    mut flow: watch::Receiver<Flow>,
) {
    let mut buffer = vec![0; 16 << 10];
    let mut cut = flow.clone();
    loop {
        let read = tokio::select! {
            read = from.read(&mut buffer) => read,
            _ = cut.wait_for(|flow| *flow == Flow::Cut) => return,
        };
        let count = read.unwrap_or_default();
        if is_cut(&mut flow).await || count == 0 {
            return;
        }
        let written = async {
            to.write_all(&buffer[..count]).await?;
            to.flush().await
        };
        if written.await.is_err() {
            return;
        }
    }
}

/// Waits while the wire is frozen.
async fn is_cut(flow: &mut watch::Receiver<Flow>) -> bool {
    let thawed = flow.wait_for(|flow| *flow != Flow::Frozen).await;
    thawed.is_ok_and(|flow| *flow == Flow::Cut)
}
