//! `cluster serve`: sets up a cluster, starts and watches its components, and answers requests until its owner is gone.

mod process;

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Node, ServiceAccount};
use kube::api::{DynamicObject, PostParams};
use kube::{Api, Client};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader};
use tokio::net::{UnixListener, UnixStream};
use tokio::process::Command;
use tokio::sync::{Mutex, watch};

use self::process::Entry;
use crate::cluster::client_of;
use crate::components;
use crate::control::{Answer, NodeState, Plan, Request, State, read_json, write_json};
use crate::layout::{
    CONTAINERD_SOCKET, CONTROL_SOCKET, DEFAULT_KUBELET_ROOT, Layout, NodeLayout, node_number,
};
use crate::tools::Tools;
use crate::{archive, configuration, namespaces, pki};

/// Longest wait for a component to become ready; on an idle machine each takes a few seconds.
const START_TIMEOUT: Duration = Duration::from_secs(120);
/// Pause between two looks at something that is awaited.
const POLL: Duration = Duration::from_millis(100);

struct Supervisor {
    layout: Layout,
    tools: Tools,
    plan: Plan,
    entries: Mutex<BTreeMap<String, Entry>>,
    /// Docker-archives to import on nodes that are added later.
    images: Mutex<Vec<PathBuf>>,
    state: Mutex<State>,
    /// One node is added at a time.
    adding: Mutex<()>,
    down: watch::Sender<bool>,
}

/// Runs the supervisor to its end.
pub(crate) fn serve(layout: Layout) -> Result<()> {
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    tokio::task::LocalSet::new().block_on(&runtime, run(layout))
}

#[expect(
    clippy::print_stdout,
    reason = "standard output is the cluster's log, which `cluster up` shows"
)]
fn say(text: &str) {
    println!("{text}");
}

async fn run(layout: Layout) -> Result<()> {
    let begin = Instant::now();
    namespaces::prepare(&layout)?;
    let plan: Plan = read_json(&layout.file("plan.json"))?;
    let (down, mut ending) = watch::channel(false);
    let supervisor = Arc::new(Supervisor {
        tools: Tools::find()?,
        layout,
        plan,
        entries: Mutex::default(),
        images: Mutex::default(),
        state: Mutex::default(),
        adding: Mutex::default(),
        down,
    });
    let owner = owner_gone(supervisor.plan.detached);
    let listener = UnixListener::bind(CONTROL_SOCKET).context("failed to listen for requests")?;
    let work = async {
        supervisor.start_all().await?;
        write_json(&supervisor.layout.state(), &*supervisor.state.lock().await)?;
        say(&format!(
            "ready after {:.1} s",
            begin.elapsed().as_secs_f32()
        ));
        let mut requests = tokio::task::JoinSet::new();
        loop {
            let (stream, _) = listener.accept().await?;
            let supervisor = Arc::clone(&supervisor);
            requests.spawn_local(async move {
                if let Err(error) = supervisor.answer(stream).await {
                    say(&format!("failed to answer a request: {error:#}"));
                }
            });
            while requests.try_join_next().is_some() {}
        }
    };
    tokio::select! {
        outcome = work => outcome,
        () = owner => { say("the owner is gone"); Ok(()) }
        _ = ending.wait_for(|down| *down) => { say("going down"); Ok(()) }
    }
}

/// Completes when the owner is gone: nothing is ever written to the pipe at standard input, so it ends with its writer.
async fn owner_gone(detached: bool) {
    if detached {
        return std::future::pending().await;
    }
    let (sender, gone) = tokio::sync::oneshot::channel();
    // A thread, not a blocking task: the runtime would wait for that at its end.
    std::thread::spawn(move || {
        std::io::copy(&mut std::io::stdin(), &mut std::io::sink()).ok();
        sender.send(()).ok();
    });
    gone.await.ok();
}

impl Supervisor {
    async fn start_all(&self) -> Result<()> {
        let (layout, tools) = (&self.layout, &self.tools);
        fs::create_dir_all(layout.logs())?;
        fs::create_dir_all(layout.programs())?;
        for (name, target) in [
            ("kubectl", &tools.kube),
            ("ctr", &tools.ctr),
            ("helm", &tools.helm),
            ("csi-sanity", &tools.csi_sanity),
        ] {
            symlink(target, layout.programs().join(name))?;
        }
        pki::make(layout)?;
        write_json(
            &layout.file("audit-policy.json"),
            &configuration::audit_policy(),
        )?;
        fs::write(
            layout.file("Corefile"),
            configuration::dns(&layout.kubeconfig_of("dns")),
        )?;
        let images = layout.file("test-images.tar");
        archive::write_test_images(&images)?;
        self.images.lock().await.push(images);

        self.start(components::etcd(layout, tools)).await?;
        self.start(components::apiserver(layout, tools)).await?;
        let first = layout.node(1);
        let root = self
            .plan
            .kubelet_root
            .clone()
            .unwrap_or_else(|| DEFAULT_KUBELET_ROOT.to_owned());
        let (client, holder) =
            tokio::try_join!(self.await_apiserver(), self.prepare_node(&first, &root))?;
        self.start(components::controller_manager(layout, tools))
            .await?;
        self.start(components::scheduler(layout, tools)).await?;
        self.start_kubelet(&first, holder, &root).await?;
        self.start(components::proxy(layout, tools)).await?;
        self.start(components::dns(layout, tools)).await?;
        for object in configuration::dns_objects() {
            create(&client, object).await?;
        }
        self.await_node(&client, &first).await?;
        let accounts: Api<ServiceAccount> = Api::namespaced(client, "default");
        self.until(
            "the default service account",
            &["controller-manager"],
            async || accounts.get("default").await.ok(),
        )
        .await?;
        for number in 2..=self.plan.nodes {
            self.add_node(&format!("n{number}"), None).await?;
        }
        Ok(())
    }

    async fn await_apiserver(&self) -> Result<Client> {
        let begin = Instant::now();
        let client = client_of(&self.layout.kubeconfig()).await?;
        self.until("the API server", &["etcd", "apiserver"], async || {
            let request = http::Request::get("/readyz").body(Vec::new()).ok()?;
            client
                .request_text(request)
                .await
                .ok()
                .filter(|text| text == "ok")
        })
        .await?;
        say(&format!(
            "API server ready after {:.1} s",
            begin.elapsed().as_secs_f32()
        ));
        Ok(client)
    }

    async fn add_node(&self, name: &str, kubelet_root: Option<&str>) -> Result<()> {
        let _one = self.adding.lock().await;
        let root = kubelet_root.unwrap_or(DEFAULT_KUBELET_ROOT);
        if let Some(known) = self.state.lock().await.nodes.get(name) {
            if known.kubelet_root != root {
                bail!(
                    "node {name} exists with kubelet root {}",
                    known.kubelet_root
                );
            }
            return Ok(());
        }
        let node = self.layout.node(node_number(name)?);
        namespaces::prepare_node_address(&node)?;
        let holder = self.prepare_node(&node, root).await?;
        self.start_kubelet(&node, holder, root).await?;
        self.await_node(&client_of(&self.layout.kubeconfig()).await?, &node)
            .await?;
        write_json(&self.layout.state(), &*self.state.lock().await)
    }

    /// Mounts, containerd and images of a node; answers the process that holds its mounts.
    async fn prepare_node(&self, node: &NodeLayout, kubelet_root: &str) -> Result<u32> {
        if !kubelet_root.starts_with('/') {
            bail!("kubelet root {kubelet_root:?} is not absolute");
        }
        let holder = namespaces::start_node_holder(&self.layout, node, kubelet_root)?.id();
        pki::make_node(&self.layout, node)?;
        fs::create_dir_all(node.file("cni"))?;
        write_json(
            &node.file("cni/10-pods.conflist"),
            &configuration::pod_network(node),
        )?;
        fs::write(
            node.file("containerd.toml"),
            configuration::containerd(node, &self.tools),
        )?;
        let kubelet = configuration::kubelet(&self.layout, node, &self.plan.sync_frequency);
        write_json(&node.file("kubelet.json"), &kubelet)?;
        self.state.lock().await.nodes.insert(
            node.name(),
            NodeState {
                holder,
                kubelet_root: kubelet_root.to_owned(),
            },
        );
        self.start(components::containerd(node, &self.tools, holder))
            .await?;
        let containerd = node.component("containerd");
        self.until(&containerd, &[&containerd], async || {
            UnixStream::connect(format!("/proc/{holder}/root{CONTAINERD_SOCKET}"))
                .await
                .ok()
        })
        .await?;
        let images = self.images.lock().await.clone();
        for image in images {
            self.import(holder, &image).await?;
        }
        Ok(holder)
    }

    async fn start_kubelet(&self, node: &NodeLayout, holder: u32, root: &str) -> Result<()> {
        self.start(components::kubelet(
            &self.layout,
            node,
            &self.tools,
            holder,
            root,
        ))
        .await
    }

    async fn await_node(&self, client: &Client, node: &NodeLayout) -> Result<()> {
        let nodes: Api<Node> = Api::all(client.clone());
        let name = node.name();
        self.until(
            &format!("node {name}"),
            &[&node.component("kubelet"), &node.component("containerd")],
            async || {
                let conditions = nodes.get(&name).await.ok()?.status?.conditions?;
                conditions
                    .iter()
                    .any(|condition| condition.type_ == "Ready" && condition.status == "True")
                    .then_some(())
            },
        )
        .await?;
        say(&format!("node {name} ready"));
        Ok(())
    }

    async fn import(&self, holder: u32, image: &Path) -> Result<()> {
        let output = Command::new("nsenter")
            .args([&format!("--target={holder}"), "--mount", "--"])
            .arg(&self.tools.ctr)
            .args(["--namespace", "k8s.io", "images", "import"])
            .arg(image)
            .output()
            .await
            .context("failed to run ctr")?;
        if !output.status.success() {
            bail!(
                "failed to import {}: {}",
                image.display(),
                String::from_utf8_lossy(&output.stderr).trim()
            );
        }
        Ok(())
    }

    async fn import_everywhere(&self, path: PathBuf) -> Result<()> {
        let holders: Vec<u32> = self
            .state
            .lock()
            .await
            .nodes
            .values()
            .map(|node| node.holder)
            .collect();
        for holder in holders {
            self.import(holder, &path).await?;
        }
        let mut images = self.images.lock().await;
        if !images.contains(&path) {
            images.push(path);
        }
        Ok(())
    }

    /// Waits until `look` finds something; fails at once when one of `needed` has ended.
    async fn until<T>(
        &self,
        what: &str,
        needed: &[&str],
        mut look: impl AsyncFnMut() -> Option<T>,
    ) -> Result<T> {
        let begin = Instant::now();
        loop {
            if let Ok(Some(found)) = tokio::time::timeout(Duration::from_secs(5), look()).await {
                return Ok(found);
            }
            for name in needed {
                let ended = self
                    .entries
                    .lock()
                    .await
                    .get(*name)
                    .and_then(|entry| *entry.process.as_ref()?.ended.borrow());
                if let Some(status) = ended {
                    bail!(
                        "{name} ended with {status} while waiting for {what}:\n{}",
                        tail(&self.layout, name)
                    );
                }
            }
            if begin.elapsed() > START_TIMEOUT {
                let logs: Vec<String> =
                    needed.iter().map(|name| tail(&self.layout, name)).collect();
                bail!(
                    "{what} is not ready after {START_TIMEOUT:?}:\n{}",
                    logs.join("\n")
                );
            }
            tokio::time::sleep(POLL).await;
        }
    }

    async fn answer(&self, stream: UnixStream) -> Result<()> {
        let mut stream = BufReader::new(stream);
        let mut line = String::new();
        stream.read_line(&mut line).await?;
        let outcome = match serde_json::from_str(&line)? {
            Request::AddNode { name, kubelet_root } => {
                self.add_node(&name, kubelet_root.as_deref()).await
            }
            Request::Import { path } => self.import_everywhere(path).await,
            Request::Stop { component, signal } => self.stop(&component, signal).await,
            Request::Start { component } => self.restart(&component).await,
            Request::Down => Ok(()),
        };
        let answer: Answer = outcome.map_err(|error| format!("{error:#}"));
        let mut text = serde_json::to_vec(&answer)?;
        text.push(b'\n');
        stream.get_mut().write_all(&text).await?;
        stream.get_mut().shutdown().await?;
        if matches!(serde_json::from_str(&line), Ok(Request::Down)) {
            self.down.send_replace(true);
        }
        Ok(())
    }
}

async fn create(client: &Client, object: serde_json::Value) -> Result<()> {
    let object: DynamicObject = serde_json::from_value(object)?;
    let types = object.types.clone().context("object without a kind")?;
    let kind = kube::core::GroupVersionKind::try_from(&types)?;
    let resource = kube::core::ApiResource::from_gvk(&kind);
    let namespace = object.metadata.namespace.clone().unwrap_or_default();
    let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), &namespace, &resource);
    api.create(&PostParams::default(), &object)
        .await
        .with_context(|| format!("failed to create {}", kind.kind))?;
    Ok(())
}

fn tail(layout: &Layout, component: &str) -> String {
    let text = fs::read(layout.log_of(component)).unwrap_or_default();
    let text = String::from_utf8_lossy(&text);
    let lines: Vec<&str> = text.lines().rev().take(15).collect();
    lines
        .into_iter()
        .rev()
        .map(|line| format!("  {component}: {line}\n"))
        .collect()
}
