//! The provider dies and comes back; and it asks to be left alone for a while.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::eventually;
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use serde_json::{Value, json};

use crate::AGENT;
use crate::tally::Seen;
use crate::world::{Key, PATIENCE, Shape, World, name_of, with_world};

/// When the provider was asked for each value, oldest first.
async fn reads(world: &World) -> Result<BTreeMap<Key, Vec<Duration>>> {
    let mut reads: BTreeMap<Key, Vec<Duration>> = BTreeMap::new();
    for call in world.provider.reads().await? {
        let at = Duration::from_nanos(u64::try_from(call.unix_nanoseconds)?);
        reads
            .entry((call.source_namespace, call.key))
            .or_default()
            .push(at);
    }
    Ok(reads)
}

/// Killed while everything changes. Until it is back, what was delivered stays; then each value is read once and written once.
#[test]
fn sync_keeps_secrets_while_the_provider_is_dead_and_catches_up_without_a_herd() -> Result<()> {
    let shape = Shape {
        namespaces: 3,
        objects: 14,
        capacity: 20,
    };
    latchkey_cluster::test(async move |cx| {
        with_world(cx, shape, async |world| {
            world.account(AGENT).await?;
            let agents = world.agents_by_namespace(&world.client(AGENT, None).await?)?;
            for (key, seen) in world.settle().await? {
                ensure!(seen == Seen::new(1, 3, &["Created"]), "{key:?}: {seen:?}");
            }

            world.provider.kill().await?;
            let changed = world.keys();
            world.rotate(&changed).await?;
            let created = world.create(14, 20).await?;
            eventually(PATIENCE, "every object says so", async || {
                all_failed(world).await.map(Some)
            })
            .await?;
            for (key, seen) in world.stored().await? {
                ensure!(
                    seen.secret == u64::from(changed.contains(&key)),
                    "{key:?} was written without a provider: {seen:?}"
                );
            }

            world.provider.restore().await?;
            for (key, seen) in world.settle().await? {
                let updated = u64::from(changed.contains(&key));
                let events = |reason: &str| seen.events.get(reason).copied().unwrap_or_default();
                ensure!(
                    seen.secret == 1 + updated
                        && events("Created") == 1
                        && events("Updated") == updated
                        && events("UpdateFailed") >= 1,
                    "{key:?}: {seen:?}"
                );
                // As without the failure, and once for saying it.
                let expected = 4 + 2 * updated;
                ensure!(seen.object == expected, "{key:?}: {seen:?}");
            }
            let reads = reads(world).await?;
            ensure!(
                reads.len() == changed.len() + created.len()
                    && reads.values().all(|times| times.len() == 1),
                "{reads:?}"
            );
            agents.stop().await
        })
        .await
    })
}

async fn all_failed(world: &World) -> Result<()> {
    for namespace in &world.namespaces {
        let objects = world.external_secrets(namespace);
        for object in objects.list(&Default::default()).await? {
            let status = object.status.unwrap_or_default();
            let ready = conditions::find(&status.conditions, READY);
            ensure!(
                ready.is_some_and(|ready| ready.status == ConditionStatus::False
                    && ready.message.as_deref() == Some("could not get secret data from provider")),
                "{ready:?}"
            );
        }
    }
    Ok(())
}

/// RESOURCE_EXHAUSTED with RetryInfo: a short time is waited out within the call, a longer one by the object, and neither is asked
/// again before it is over (provider-protocol.md 5).
#[test]
fn sync_asks_a_provider_again_only_after_the_time_that_it_wants() -> Result<()> {
    let shape = Shape {
        namespaces: 3,
        objects: 20,
        capacity: 20,
    };
    latchkey_cluster::test(async move |cx| {
        with_world(cx, shape, async |world| {
            world.account(AGENT).await?;
            let failures: Vec<Value> = (0..20)
                .map(|number| {
                    json!({
                        "operations": ["GetSecret"], "keyRegexp": format!("^{}@", name_of(number)),
                        "code": "RESOURCE_EXHAUSTED", "times": 1,
                        "retryAfter": format!("{}s", wanted(&name_of(number)).as_secs()),
                    })
                })
                .collect();
            for namespace in &world.namespaces {
                world
                    .furnish(namespace, json!({ "failures": failures }))
                    .await?;
            }
            let agents = world.agents_by_namespace(&world.client(AGENT, None).await?)?;
            for (key, seen) in world.settle().await? {
                let expected = match wanted(&key.1) {
                    SHORT => Seen::new(1, 3, &["Created"]),
                    _ => Seen::new(1, 4, &["Created", "UpdateFailed"]),
                };
                ensure!(seen == expected, "{key:?}: {seen:?}");
            }
            let reads = reads(world).await?;
            ensure!(reads.len() == world.rounds.len(), "{reads:?}");
            for (key, times) in &reads {
                ensure!(
                    times.len() == 2 && times[1] - times[0] >= wanted(&key.1),
                    "{key:?} was read at {times:?}"
                );
            }
            agents.stop().await
        })
        .await
    })
}

/// Within the time of a call, which is 3 s.
const SHORT: Duration = Duration::from_secs(1);
/// Beyond it.
const LONG: Duration = Duration::from_secs(4);

/// How long the provider wants to be left alone about the object, or the key, of this name.
fn wanted(name: &str) -> Duration {
    let name = name.split_once('@').map_or(name, |(name, _)| name);
    if name.ends_with(['0', '1', '2', '3', '4']) {
        SHORT
    } else {
        LONG
    }
}
