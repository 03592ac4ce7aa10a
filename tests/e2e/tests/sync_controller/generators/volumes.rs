//! Generated values in volumes: the agent's volumes against a real API server and a real provider server, kubelet's part in the
//! test's hands.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use futures::stream::BoxStream;
use kube::Api;
use kube::api::{DeleteParams, Patch, PatchParams};
use kube::runtime::events::{Recorder, Reporter};
use latchkey::generators::journal::Journal;
use latchkey::providers::{
    Identities, OwnIdentity, PodTokens, Pool, PoolSettings, ProviderMetrics, ProviderSource,
    Providers, Tokens,
};
use latchkey::stores::{AllowedHosts, Policy, WatchReader, WatchSettings};
use latchkey::templates::ApiObjects;
use latchkey::volumes::{self, Plan, Volumes};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::generator::Generator;
use latchkey_csi::backend::{Backend as _, FileSet, Update, VolumeRequest};
use latchkey_e2e::tls::{Usage, identity};
use latchkey_engine::template::{Renderer, Settings};
use latchkey_provider_sdk::{Metrics, Operation};
use serde_json::json;
use tempfile::TempDir;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;
use tonic::Code;

use super::world::{World, reference, serve};
use crate::support::PATIENCE;

const GRACE: Duration = Duration::from_secs(2);

/// The volumes of one node.
struct Node {
    volumes: Volumes<ProviderSource<WatchReader>>,
    stop: CancellationToken,
}

/// A provider server of its own, which a test may stop.
struct Server {
    served: Metrics,
    stop: CancellationToken,
    tasks: JoinSet<()>,
}

#[test]
fn volumes_of_a_node_share_a_value_that_is_renewed_and_revoked() -> Result<()> {
    // csi.md 6.4; csi-peers.md 3 (VCP#149); generators.md 5
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        let (mut server, port) = Server::start(&cx, 0).await?;
        prepare(&cx, port).await?;
        let disk = tempfile::tempdir()?;
        let node = Node::start(&cx, disk.path())?;
        let plans = [node.plan(&cx, "web-0")?, node.plan(&cx, "web-1")?];
        let (first, second) = tokio::join!(node.publish(&plans[0]), node.publish(&plans[1]));
        let first = first?;
        ensure!(first == second? && first.contains("uuid="), "{first}");
        let mut shown = plans.each_ref().map(|plan| node.volumes.subscribe(plan));
        let late = node.publish(&node.plan(&cx, "web-2")?).await?;
        ensure!(late == first, "a later pod sees another value");
        ensure!((server.made(), server.revoked()) == (1, 0));
        noted(&disk, 1).await?;
        // The role sync has none made for volumes, and no state is written.
        eventually(PATIENCE, "the condition", async || {
            let status = world.objects.get("lease").await?.status.unwrap_or_default();
            let text = serde_json::to_string(&status.conditions)?;
            Ok(text.contains("each node that mounts it").then_some(()))
        })
        .await?;
        world.states(0).await?;

        // A renewal is seen by all volumes, and only then is the old value revoked.
        touch(&world, 1).await?;
        let renewed = until_new(&mut shown[0], &first).await?;
        ensure!(until_new(&mut shown[1], &first).await? == renewed);
        ensure!(server.made() == 2, "{} values for two", server.made());
        server.revokes(1).await?;

        // While the provider is away the value stays, on the node and at the provider.
        server.end().await?;
        touch(&world, 2).await?;
        loop {
            match next(&mut shown[0]).await? {
                Update::Stale(..) => break,
                Update::Content(files, _) => ensure!(text(&files) == renewed),
            }
        }
        noted(&disk, 1).await?;
        let (mut server, _) = Server::start(&cx, port).await?;
        let last = until_new(&mut shown[0], &renewed).await?;
        ensure!(until_new(&mut shown[1], &renewed).await? == last);
        server.revokes(1).await?;

        // The last value goes with the last volume.
        let [one, other] = shown;
        drop(one);
        node.volumes.released(&plans[0]);
        tokio::time::sleep(crate::QUIET).await;
        ensure!(server.revoked() == 1, "a value in use was revoked");
        drop(other);
        node.volumes.released(&plans[1]);
        server.revokes(2).await?;
        noted(&disk, 0).await?;
        node.end().await;
        server.end().await
    })
}

#[test]
fn an_agent_that_was_killed_leaves_no_values_behind() -> Result<()> {
    // csi.md 6.4, 7.6
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        let (mut server, port) = Server::start(&cx, 0).await?;
        prepare(&cx, port).await?;
        let disk = tempfile::tempdir()?;
        let killed = Node::start(&cx, disk.path())?;
        let plan = killed.plan(&cx, "web-0")?;
        let first = killed.publish(&plan).await?;
        killed.end().await;
        ensure!((server.made(), server.revoked()) == (1, 0));
        noted(&disk, 1).await?;

        // The volume is there, and the value with it: nothing is made because of the restart.
        let node = Node::start(&cx, disk.path())?;
        let mut shown = node.volumes.subscribe(&plan);
        tokio::time::sleep(crate::QUIET).await;
        ensure!((server.made(), server.revoked()) == (1, 0));
        // By now the generator is gone: its snapshot is enough.
        touch(&world, 1).await?;
        until_new(&mut shown, &first).await?;
        let generators: Api<Generator> = Api::namespaced(cx.client(), cx.namespace());
        generators.delete("lease", &DeleteParams::default()).await?;
        server.revokes(1).await?;
        drop(shown);
        server.revokes(2).await?;
        noted(&disk, 0).await?;
        node.end().await;
        server.end().await
    })
}

/// A generator whose values can be revoked beside one that makes new ones each time, and the object that shows both.
async fn prepare(cx: &Context, port: u16) -> Result<()> {
    let fake = json!({ "data": { "user": "ann" }, "stateful": { "enabled": true } });
    for (kind, name, spec) in [("Fake", "lease", fake), ("UUID", "id", json!({}))] {
        let configuration = json!({
            "apiVersion": "provider.generator.external-secrets.io/v2alpha1",
            "kind": kind, "metadata": { "name": name }, "spec": spec,
        });
        cx.apply(&configuration.to_string()).await?;
        // The provider goes away in these tests: volumes need not wait for the next look at it.
        let generator = json!({
            "apiVersion": "generator.external-secrets.io/v2alpha1",
            "kind": "Generator", "metadata": { "name": name },
            "spec": { "gatingPolicy": "Disabled", "providerConfig": {
                "address": format!("localhost:{port}"), "providerRef": { "kind": kind, "name": name },
            } },
        });
        cx.apply(&generator.to_string()).await?;
    }
    let entries: Vec<_> = ["lease", "id"]
        .map(|name| json!({ "sourceRef": { "generatorRef": reference(name) } }))
        .into();
    let object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "lease" },
        "spec": { "refreshInterval": "1h", "dataFrom": entries, "target": { "creationPolicy": "None" } },
    });
    cx.apply(&object.to_string()).await.map(drop)
}

/// Changes the object, which has its values made anew.
async fn touch(world: &World, round: u32) -> Result<()> {
    let patch = json!({ "metadata": { "annotations": { "round": round.to_string() } } });
    let patch = Patch::Merge(patch);
    let parameters = PatchParams::default();
    world.objects.patch("lease", &parameters, &patch).await?;
    Ok(())
}

fn text(files: &FileSet) -> String {
    let files = files.files.iter().map(|file| {
        let content = String::from_utf8_lossy(file.content.expose());
        format!("{}={content}", file.path)
    });
    files.collect::<Vec<_>>().join(" ")
}

async fn next(shown: &mut BoxStream<'static, Update>) -> Result<Update> {
    let update = tokio::time::timeout(PATIENCE, shown.next()).await?;
    update.context("the volume is followed no more")
}

/// Waits for content that is not `old`.
async fn until_new(shown: &mut BoxStream<'static, Update>, old: &str) -> Result<String> {
    loop {
        if let Update::Content(files, _) = next(shown).await? {
            let new = text(&files);
            if new != old {
                return Ok(new);
            }
        }
    }
}

/// Waits until there are so many notes on a node's disk: one goes after the provider has answered.
async fn noted(disk: &TempDir, count: usize) -> Result<()> {
    eventually(PATIENCE, &format!("{count} notes"), async || {
        let notes = std::fs::read_dir(disk.path())?.count();
        Ok((notes == count).then_some(()))
    })
    .await
}

// === impl Server ===

impl Server {
    async fn start(cx: &Context, port: u16) -> Result<(Self, u16)> {
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        // Its old port may be held for a moment.
        let (address, served) = eventually(PATIENCE, "the provider's port", async || {
            Ok(Some(serve(cx, port, &stop, &mut tasks).await?))
        })
        .await?;
        let port = address.rsplit(':').next().context("a port")?.parse()?;
        let server = Self {
            served,
            stop,
            tasks,
        };
        Ok((server, port))
    }

    /// How often values were made, of both generators alike.
    fn made(&self) -> u64 {
        let calls = self.served.requests(Operation::Generate, Code::Ok);
        calls / 2
    }

    fn revoked(&self) -> u64 {
        self.served.requests(Operation::Cleanup, Code::Ok)
    }

    async fn revokes(&self, count: u64) -> Result<()> {
        eventually(PATIENCE, &format!("{count} revocations"), async || {
            let revoked = self.revoked();
            if revoked > count {
                bail!("{revoked} of {count} were revoked");
            }
            Ok((revoked == count).then_some(()))
        })
        .await
    }

    async fn end(&mut self) -> Result<()> {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended?;
        }
        Ok(())
    }
}

// === impl Node ===

impl Node {
    /// An agent whose volumes have their state on `disk`.
    fn start(cx: &Context, disk: &Path) -> Result<Self> {
        let own = OwnIdentity::new("the test");
        own.set(identity(Usage::ClientAuth)?);
        let namespace = cx.namespace().to_owned();
        let settings = PoolSettings {
            tick: Duration::from_millis(200),
            ..PoolSettings::default()
        };
        let providers = Arc::new(Providers {
            policy: Policy {
                allowed_hosts: AllowedHosts::new(["*"]),
                ..Policy::default()
            },
            identities: Identities::from_files(own, "/nonexistent".into(), namespace),
            tokens: Arc::new(Tokens::none()),
            pool: Pool::new(settings, ProviderMetrics::default()),
            timeout: Duration::from_secs(10),
        });
        let stop = CancellationToken::new();
        let client = cx.client();
        let pods = Arc::new(PodTokens::new("n1"));
        let reader = WatchReader::new(client.clone(), WatchSettings::default(), &stop);
        let source = ProviderSource::for_volumes(Arc::new(reader), providers, Arc::clone(&pods));
        let objects = Arc::new(ApiObjects::new(client.clone(), false));
        let reporter = Reporter {
            controller: "latchkey".to_owned(),
            instance: Some("n1".to_owned()),
        };
        let journal = Journal::open(disk.to_owned(), GRACE);
        let volumes = Volumes::new(
            client.clone(),
            Arc::new(source),
            Arc::new(Renderer::new(Settings::default(), objects)),
            pods,
            volumes::Config {
                linger: Duration::from_secs(1),
                journal: Some(journal),
                ..volumes::Config::default()
            },
            Recorder::new(client, reporter),
            stop.clone(),
        );
        Ok(Self { volumes, stop })
    }

    fn plan(&self, cx: &Context, pod: &str) -> Result<Plan> {
        let request = VolumeRequest {
            volume_id: format!("csi-{pod}"),
            namespace: cx.namespace().to_owned(),
            pod_name: pod.to_owned(),
            pod_uid: format!("uid-{pod}"),
            service_account: "default".to_owned(),
            attributes: [("externalSecret".to_owned(), "lease".to_owned())].into(),
        };
        Ok(self.volumes.plan(&request)?)
    }

    async fn publish(&self, plan: &Plan) -> Result<String> {
        let files = self.volumes.first(plan, Instant::now() + PATIENCE).await?;
        Ok(text(&files))
    }

    /// Ends it like a process that is killed: what it has noted stays.
    async fn end(self) {
        self.stop.cancel();
        self.volumes.join().await;
    }
}
