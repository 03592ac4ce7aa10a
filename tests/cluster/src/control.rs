//! What is asked of a running cluster's supervisor, and the files that say where it is.
//!
//! One JSON object per line over a Unix socket: a request, then its answer.

use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead as _, BufReader, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use crate::layout::{CONTROL_SOCKET, Layout};

/// Longest wait for an answer; adding a node with images to import is the slowest request.
const TIMEOUT: Duration = Duration::from_secs(180);

/// A request to the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) enum Request {
    /// Add a node and wait until it is Ready; no effect where it exists.
    AddNode {
        name: String,
        kubelet_root: Option<String>,
    },
    /// Import a docker-archive on every node, also on those added later.
    Import { path: PathBuf },
    /// Send a signal to a component and wait for its end.
    Stop { component: String, signal: i32 },
    /// Start a component that was stopped, with the command line it had; no effect where it runs.
    Start { component: String },
    /// End the cluster.
    Down,
}

/// Nothing, or what failed.
pub(crate) type Answer = Result<(), String>;

/// What is known of a ready cluster; written by the supervisor, numbers of processes as seen inside.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub(crate) struct State {
    /// The nodes by name.
    pub nodes: BTreeMap<String, NodeState>,
}

/// What is known of a node.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct NodeState {
    /// Process that holds the node's mount namespace.
    pub holder: u32,
    /// kubelet's folder as the node sees it.
    pub kubelet_root: String,
}

/// Processes as seen from outside; written by `cluster hold`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Held {
    /// `cluster hold` itself.
    pub hold: i32,
    /// PID 1 of the cluster.
    pub init: u32,
}

/// How to start a cluster; written by its owner, read by the supervisor.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Plan {
    /// Number of nodes to begin with, at least 1.
    pub nodes: u8,
    /// kubelet's `syncFrequency`, a Go duration.
    pub sync_frequency: String,
    /// The first node's kubelet folder.
    pub kubelet_root: Option<String>,
    /// Whether the cluster outlives the process that started it.
    pub detached: bool,
    /// Whether its folder is removed with it.
    pub remove: bool,
}

/// Writes `value` so that a reader sees all of it or nothing.
pub(crate) fn write_json(path: &Path, value: &impl Serialize) -> Result<()> {
    let beside = path.with_extension("new");
    fs::write(&beside, serde_json::to_vec_pretty(value)?)?;
    fs::rename(&beside, path).with_context(|| format!("failed to write {}", path.display()))
}

pub(crate) fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T> {
    let text = fs::read(path).with_context(|| format!("failed to read {}", path.display()))?;
    serde_json::from_slice(&text).with_context(|| format!("failed to parse {}", path.display()))
}

/// Sends a request and waits for its answer; blocks the thread.
pub(crate) fn ask(layout: &Layout, request: &Request) -> Result<()> {
    let held: Held = read_json(&layout.file("held.json"))?;
    // The socket is on a tmpfs of the cluster; the way over /proc is open to root, and short enough for a socket address.
    let socket = format!("/proc/{}/root{CONTROL_SOCKET}", held.init);
    let mut stream =
        UnixStream::connect(&socket).context("the cluster's supervisor does not answer")?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    let mut line = serde_json::to_vec(request)?;
    line.push(b'\n');
    stream.write_all(&line)?;
    let mut answer = String::new();
    BufReader::new(stream)
        .read_line(&mut answer)
        .with_context(|| format!("no answer to {request:?}"))?;
    serde_json::from_str::<Answer>(&answer)
        .with_context(|| format!("bad answer to {request:?}"))?
        .map_err(|text| anyhow!(text))
}
