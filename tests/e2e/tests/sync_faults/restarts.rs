//! The API server dies and comes back; and watches whose place in history it does not know any more.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use anyhow::{Result, ensure};
use kube::api::{DeleteParams, Patch, PatchParams};
use latchkey::shards::Ownership;
use latchkey_cluster::{Context, eventually, test_alone};
use serde_json::json;

use crate::AGENT;
use crate::agents::{Agents, CONCURRENCY};
use crate::pipe::Pipe;
use crate::tally::Seen;
use crate::world::{Key, PATIENCE, Shape, World, name_of, with_world};

/// Kills the API server and starts it again.
async fn restart_api_server(cx: &Context) -> Result<()> {
    cx.cluster().restart("apiserver").await?;
    let ready = async || {
        let answer = cx.kubectl(&["get", "--raw", "/readyz"]).await?;
        Ok((answer == "ok").then_some(()))
    };
    eventually(PATIENCE, "the API server is back", ready).await
}

/// An agent for all namespaces, as it is installed by default.
fn start(world: &World, client: kube::Client) -> Result<Agents> {
    let mut agents = Agents::new();
    agents.start(client, None, Arc::new(Ownership::of_everything()))?;
    ensure!(!world.rounds.is_empty(), "nothing to do");
    Ok(agents)
}

/// How often the account has read whole lists of what it watches.
fn lists(world: &World) -> Result<[u64; 2]> {
    let answered = world.answered(AGENT, 200)?;
    let count = |request: &str| answered.get(request).copied().unwrap_or_default();
    Ok([count("list externalsecrets"), count("list secrets")])
}

/// Killed twice, in the midst of the first syncs and in the midst of changes. What was under way may have been done although the
/// answer never came: it is not done again.
#[test]
fn sync_writes_each_secret_once_although_the_api_server_is_killed_meanwhile() -> Result<()> {
    let shape = Shape {
        namespaces: 6,
        objects: 20,
        capacity: 20,
    };
    test_alone(async move |cx| {
        with_world(cx, shape, async |world| {
            world.account(AGENT).await?;
            let agents = start(world, world.client(AGENT, None).await?)?;
            let all = world.keys();
            for (blow, reason) in (1..).zip(["Created", "Updated"]) {
                if blow > 1 {
                    world.rotate(&all).await?;
                }
                eventually(PATIENCE, "the agent is at work", async || {
                    Ok((world.delivered(&all).await? >= 20).then_some(()))
                })
                .await?;
                restart_api_server(&world.cx).await?;
                let seen = world.settle().await?;
                let mut untold = 0;
                for (key, seen) in &seen {
                    // A failure that was written into the status as soon as that was possible costs two writes.
                    let least = 1 + 2 * blow;
                    ensure!(
                        seen.secret == blow && (least..=least + 2 * blow).contains(&seen.object),
                        "{key:?}: {seen:?}"
                    );
                    let told = seen.events.get(reason).copied().unwrap_or_default();
                    ensure!(told <= 1, "{key:?}: {seen:?}");
                    untold += 1 - told;
                }
                // An event is sent once: those that were on their way are lost.
                ensure!(
                    untold <= u64::from(CONCURRENCY),
                    "{untold} events {reason} are missing"
                );
            }
            agents.stop().await
        })
        .await
    })
}

/// While the agent is cut off, objects are changed, made and deleted, and the API server forgets what its watches have shown: it
/// answers 410, and the agent reads everything anew without touching what is as it was.
#[test]
fn sync_reads_everything_anew_after_410_and_writes_only_what_changed() -> Result<()> {
    let shape = Shape {
        namespaces: 4,
        objects: 15,
        capacity: 20,
    };
    test_alone(async move |cx| {
        with_world(cx, shape, async |world| {
            world.account(AGENT).await?;
            let pipe = Pipe::open().await?;
            let agents = start(world, world.client(AGENT, Some(pipe.address())).await?)?;
            world.settle().await?;
            let before = lists(world)?;

            pipe.cut();
            let changed = world.some(4);
            world.rotate(&changed).await?;
            let created = world.create(15, 20).await?;
            let emptied = numbered(world, &[4, 5]);
            for (namespace, name) in &emptied {
                world
                    .secrets(namespace)
                    .delete(name, &DeleteParams::default())
                    .await?;
            }
            let (gone, going) = (numbered(world, &[6]), numbered(world, &[7]));
            for key in gone.iter().chain(&going) {
                let objects = world.external_secrets(&key.0);
                if gone.contains(key) {
                    let release = Patch::Merge(json!({ "metadata": { "finalizers": null } }));
                    objects
                        .patch(&key.1, &PatchParams::default(), &release)
                        .await?;
                }
                objects.delete(&key.1, &DeleteParams::default()).await?;
                world.rounds.remove(key);
            }
            restart_api_server(&world.cx).await?;
            pipe.reopen();

            for (key, seen) in world.settle().await? {
                let twice = BTreeMap::from([("Created".to_owned(), 2)]);
                let expected = if changed.contains(&key) {
                    Seen::new(2, 5, &["Created", "Updated"])
                } else if created.contains(&key) {
                    Seen::new(1, 3, &["Created"])
                } else if emptied.contains(&key) {
                    Seen {
                        events: twice,
                        ..Seen::new(1, 4, &[])
                    }
                } else {
                    Seen::new(1, 3, &["Created"])
                };
                ensure!(seen == expected, "{key:?}: {seen:?}, not {expected:?}");
            }
            for (namespace, name) in gone.union(&going) {
                let objects = world.external_secrets(namespace);
                eventually(PATIENCE, &format!("{name} goes"), async || {
                    Ok(objects.get_opt(name).await?.is_none().then_some(()))
                })
                .await?;
            }
            // A watch that merely broke goes on where it was; only 410 makes the agent list.
            let after = lists(world)?;
            ensure!(
                after[0] > before[0] && after[1] > before[1],
                "lists before and after: {before:?}, {after:?}"
            );
            agents.stop().await
        })
        .await
    })
}

fn numbered(world: &World, numbers: &[usize]) -> BTreeSet<Key> {
    let names: BTreeSet<String> = numbers.iter().copied().map(name_of).collect();
    let keys = world.rounds.keys();
    keys.filter(|key| names.contains(&key.1)).cloned().collect()
}
