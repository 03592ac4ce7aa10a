//! 409: every write once by refusal, and every write once because someone else was faster.

use std::collections::BTreeMap;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use latchkey_crds::conditions;

use crate::AGENT;
use crate::admission::{Fault, Gate, MEDDLED, MEDDLER, is_created_by_meddler};
use crate::tally::Seen;
use crate::world::{Shape, with_world};

const SHAPE: Shape = Shape {
    namespaces: 4,
    objects: 15,
    capacity: 15,
};

/// A conflict is no failure: nothing is said about it, and the write is made later (`externalsecret.md` 2.13).
#[test]
fn sync_makes_every_write_that_was_refused_with_409_once() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        with_world(cx, SHAPE, async |world| {
            world.account(AGENT).await?;
            let gate = Gate::open(world, AGENT, Fault::Conflict).await?;
            let agents = world.agents_by_namespace(&world.client(AGENT, None).await?)?;

            // Created by the test, then finalizer and status.
            for (key, seen) in world.settle().await? {
                ensure!(seen == Seen::new(1, 3, &["Created"]), "{key:?}: {seen:?}");
            }
            let attempts = gate.forget();
            for (operation, resource) in [
                ("UPDATE", "externalsecrets"),
                ("CREATE", "secrets"),
                ("UPDATE", "externalsecrets/status"),
            ] {
                let of_kind = attempts
                    .iter()
                    .filter(|(write, _)| write.0 == operation && write.1 == resource);
                let repeated = of_kind.filter(|(_, attempts)| attempts.len() >= 2).count();
                ensure!(
                    repeated == world.rounds.len(),
                    "{repeated} of {} were refused and made again: {operation} {resource}",
                    world.rounds.len()
                );
            }
            let refused = world.answered(AGENT, 409)?;
            ensure!(
                refused.get("create secrets") == Some(&(world.rounds.len() as u64)),
                "{refused:?}"
            );

            let changed = world.some(5);
            world.rotate(&changed).await?;
            for (key, seen) in world.settle().await? {
                let expected = match changed.contains(&key) {
                    true => Seen::new(2, 5, &["Created", "Updated"]),
                    false => Seen::new(1, 3, &["Created"]),
                };
                ensure!(seen == expected, "{key:?}: {seen:?}");
            }
            let refused = world.answered(AGENT, 409)?;
            ensure!(
                refused.get("update secrets") == Some(&(changed.len() as u64)),
                "{refused:?}"
            );
            gate.close().await?;
            agents.stop().await
        })
        .await
    })
}

/// Whoever else writes between our read and our write loses nothing, and neither do we: never from a stale view
/// (`externalsecret.md` 2.2, X01).
#[test]
fn sync_loses_nothing_to_a_writer_between_each_read_and_write() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        with_world(cx, SHAPE, async |world| {
            world.account(AGENT).await?;
            let gate = Gate::open(world, AGENT, Fault::Race(world.cx.client())).await?;
            let agents = world.agents_by_namespace(&world.client(AGENT, None).await?)?;
            world.settle().await?;
            gate.forget();
            let changed = world.some(5);
            world.rotate(&changed).await?;
            let seen = world.settle().await?;

            let accepted = world.accepted(AGENT)?;
            for (key, seen) in &seen {
                let is_changed = changed.contains(key);
                let is_adopted = is_created_by_meddler(&key.1);
                // Each of the agent's writes of the ExternalSecret came after one of the meddler's: finalizer and status, and for
                // a change, which is the test's, the status again.
                ensure!(
                    seen.object == if is_changed { 8 } else { 5 },
                    "{key:?}: {seen:?}"
                );
                let mut expected: BTreeMap<&str, u64> = match is_adopted {
                    // Ours by label, then by content.
                    true => BTreeMap::from([("patch", 1), ("update", 1)]),
                    false => BTreeMap::from([("create", 1)]),
                };
                if is_changed {
                    *expected.entry("update").or_default() += 1;
                }
                let made = accepted.get(key).context("no write")?;
                let made: BTreeMap<&str, u64> = made
                    .iter()
                    .map(|(verb, count)| (verb.as_str(), *count))
                    .collect();
                ensure!(made == expected, "{key:?}: {made:?}, not {expected:?}");
                let (first, later) = (u64::from(!is_adopted), u64::from(is_adopted));
                let events = |reason: &str| seen.events.get(reason).copied().unwrap_or_default();
                ensure!(
                    events("Created") == first
                        && events("Updated") == later + u64::from(is_changed)
                        && events("UpdateFailed") == 0,
                    "{key:?}: {seen:?}"
                );
                if is_changed || is_adopted {
                    let secret = world.secrets(&key.0).get(&key.1).await?;
                    ensure!(secret.annotations().contains_key(MEDDLER), "{key:?}");
                }
                let object = world.external_secrets(&key.0).get(&key.1).await?;
                let status = object.status.context("no status")?;
                ensure!(
                    conditions::find(&status.conditions, MEDDLED).is_some(),
                    "{key:?} has lost a condition of others"
                );
            }
            // The API server's own answers: nothing was refused by the webhook.
            let refused = world.answered(AGENT, 409)?;
            ensure!(
                refused.get("update secrets") == Some(&(changed.len() as u64))
                    && refused.get("patch externalsecrets") >= Some(&(2 * seen.len() as u64)),
                "{refused:?}"
            );
            gate.close().await?;
            agents.stop().await
        })
        .await
    })
}
