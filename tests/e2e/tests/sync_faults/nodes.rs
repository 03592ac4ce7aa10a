//! A node is lost, with everything that its agent has on the wire.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use k8s_openapi::api::coordination::v1::Lease;
use kube::Api;
use kube::api::ListParams;
use latchkey::shards::{self, Ownership, Shards, shard_of};
use latchkey_cluster::{eventually, test_alone};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use crate::agents::Agents;
use crate::pipe::Pipe;
use crate::world::{Key, PATIENCE, Shape, World, with_world};

/// A lost node's work is another's by then.
const TAKEN_OVER: Duration = Duration::from_secs(20);

/// Kubernetes is reached through a wire that stops in the midst of changes, with requests on it, and goes on after others have taken
/// over: what is then delivered late must not count.
#[test]
fn sync_moves_a_lost_nodes_work_within_20_s_and_writes_each_change_once() -> Result<()> {
    let shape = Shape {
        namespaces: 4,
        objects: 20,
        capacity: 20,
    };
    test_alone(async move |cx| {
        with_world(cx, shape, async |world| {
            let mut nodes = JoinSet::new();
            let stop = CancellationToken::new();
            let lost = Node::start(world, "lost", &stop, &mut nodes).await?;
            let other = Node::start(world, "other", &stop, &mut nodes).await?;
            shared(&lost, &other).await?;
            world.settle().await?;

            let mine = lost.objects(world);
            let (first, second): (BTreeSet<Key>, BTreeSet<Key>) = world
                .keys()
                .into_iter()
                .partition(|key| key.1.as_str() < "es-10");
            world.rotate(&first).await?;
            let under_way: BTreeSet<Key> = first.intersection(&mine).cloned().collect();
            eventually(PATIENCE, "the node is at work", async || {
                Ok((world.delivered(&under_way).await? >= 3).then_some(()))
            })
            .await?;
            lost.pipe.freeze();
            let frozen = Instant::now();
            world.rotate(&second).await?;
            eventually(PATIENCE, "the other node holds everything", async || {
                let holders = holders(world).await?;
                ensure!(
                    holders.iter().all(|holder| holder == "other"),
                    "{holders:?}"
                );
                Ok(Some(()))
            })
            .await?;
            let taken_over = frozen.elapsed();
            ensure!(taken_over < TAKEN_OVER, "it took {taken_over:?}");
            ensure!(
                lost.ownership.changes().borrow().is_empty(),
                "the lost node believes that it holds a shard"
            );
            for (key, seen) in world.settle().await? {
                ensure!(seen.secret == 2 && seen.object == 5, "{key:?}: {seen:?}");
            }

            lost.pipe.reopen();
            shared(&lost, &other).await?;
            world.rotate(&world.keys()).await?;
            for (key, seen) in world.settle().await? {
                ensure!(seen.secret == 3 && seen.object == 7, "{key:?}: {seen:?}");
                for (reason, count) in &seen.events {
                    let most = if reason == "Created" { 1 } else { 2 };
                    ensure!(*count <= most, "{key:?}: {seen:?}");
                }
            }
            let accounts = [world.accepted("lost")?, world.accepted("other")?];
            for key in world.keys() {
                let made = |verb: &str| -> u64 {
                    let of = accounts.iter().filter_map(|made| made.get(&key)?.get(verb));
                    of.sum()
                };
                ensure!(
                    made("create") == 1 && made("update") == 2,
                    "{key:?}: {:?}",
                    accounts.each_ref().map(|made| made.get(&key))
                );
            }
            stop.cancel();
            while let Some(ended) = nodes.join_next().await {
                ended?;
            }
            lost.agents.stop().await?;
            other.agents.stop().await
        })
        .await
    })
}

const COUNT: u16 = 4;
const LEASES: &str = "shards";

/// An agent behind a wire of its own.
struct Node {
    pipe: Pipe,
    ownership: Arc<Ownership>,
    agents: Agents,
}

impl Node {
    async fn start(
        world: &World,
        name: &str,
        stop: &CancellationToken,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self> {
        world.account(name).await?;
        let pipe = Pipe::open().await?;
        let client = world.client(name, Some(pipe.address())).await?;
        let shards = Shards::new(
            client.clone(),
            world.cx.namespace(),
            LEASES,
            name.to_owned(),
            shards::Settings {
                count: COUNT,
                ..shards::Settings::default()
            },
            shards::Metrics::default(),
        );
        let ownership = shards.ownership();
        let stop = stop.clone();
        tasks.spawn(async move { shards.run(&stop).await });
        let mut agents = Agents::new();
        agents.start(client, None, Arc::clone(&ownership))?;
        Ok(Self {
            pipe,
            ownership,
            agents,
        })
    }

    /// The objects that it has to look after.
    fn objects(&self, world: &World) -> BTreeSet<Key> {
        let held = self.ownership.changes().borrow().clone();
        let is_held = |key: &Key| held.contains(&shard_of(&key.0, &key.1, COUNT));
        world.keys().into_iter().filter(is_held).collect()
    }
}

/// Waits until each has half of the shards.
async fn shared(one: &Node, other: &Node) -> Result<()> {
    eventually(PATIENCE, "the shards are shared", async || {
        let held = [one, other].map(|node| node.ownership.changes().borrow().len());
        let half = usize::from(COUNT / 2);
        Ok((held == [half, half]).then_some(()))
    })
    .await
}

async fn holders(world: &World) -> Result<Vec<String>> {
    let leases: Api<Lease> = Api::namespaced(world.cx.client(), world.cx.namespace());
    let found = leases.list(&ListParams::default()).await?;
    let holder = |lease: Lease| lease.spec?.holder_identity;
    let holders: Vec<String> = found.into_iter().filter_map(holder).collect();
    ensure!(holders.len() == usize::from(COUNT), "{holders:?}");
    Ok(holders)
}
