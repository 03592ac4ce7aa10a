//! Providers, and their objects, that are wrong or away for a while.

use anyhow::{Result, ensure};
use latchkey_cluster::eventually;
use latchkey_crds::conditions::ConditionStatus;
use latchkey_provider_sdk::Operation;
use serde_json::json;

use super::entry;
use super::support::{PATIENCE, with_world};

#[test]
fn stores_of_a_repaired_object_are_ready_and_their_consumers_follow() -> Result<()> {
    // X-142, with the Fake's object in place of a ServiceAccount; X11: nothing touches the ExternalSecrets, whose interval is 1 h
    with_world(async |world| {
        let namespace = world.cx.namespace().to_owned();
        let cluster = world.own("s");
        let broken = json!({ "validationResult": "Error" });
        world
            .fake_in(&namespace, "f", &[("k", "1")], broken)
            .await?;
        world.store("s", "f", json!({})).await?;
        world
            .cluster_store(&cluster, "f", Some(&namespace), json!({}))
            .await?;
        let stores = [("SecretStore", "s"), ("ClusterSecretStore", &*cluster)];
        for (kind, name) in stores {
            let condition = world.judged(kind, name, "InvalidProviderConfig").await?;
            ensure!(condition.status == ConditionStatus::False);
            let reference = json!({ "kind": kind, "name": name });
            let consumer = kind.to_lowercase();
            world.ask(&consumer, reference, entry("k")).await?;
            world.failed(&consumer).await?;
            world.warned(&consumer, "is not ready").await?;
            ensure!(world.secrets.get_opt(&consumer).await?.is_none());
        }
        world.fake("f", &[("k", "1")]).await?;
        for (kind, name) in stores {
            world.judged(kind, name, "Valid").await?;
            let consumer = kind.to_lowercase();
            world.synced(&consumer).await?;
            world.holds(&consumer, &[("v", "1")]).await?;
        }
        Ok(())
    })
}

#[test]
fn stores_outlive_a_provider_that_is_away_and_bring_what_changed_meanwhile() -> Result<()> {
    //
    with_world(async |world| {
        let namespace = world.cx.namespace().to_owned();
        let cluster = world.own("s");
        world.fake("f", &[("k", "before")]).await?;
        world.store("s", "f", json!({})).await?;
        world
            .cluster_store(&cluster, "f", Some(&namespace), json!({}))
            .await?;
        let stores = [("SecretStore", "s"), ("ClusterSecretStore", &*cluster)];
        for (kind, name) in stores {
            let mut spec = entry("k");
            spec["refreshInterval"] = json!("1s");
            let reference = json!({ "kind": kind, "name": name });
            world.ask(&kind.to_lowercase(), reference, spec).await?;
        }
        for (kind, _) in stores {
            world.synced(&kind.to_lowercase()).await?;
        }
        for round in ["before", "after"] {
            world.stop_provider().await?;
            for (kind, _) in stores {
                let consumer = kind.to_lowercase();
                world.failed(&consumer).await?;
                // What was delivered stays.
                world.holds(&consumer, &[("v", "before")]).await?;
            }
            world.fake("f", &[("k", round)]).await?;
            world.start_provider().await?;
            for (kind, name) in stores {
                let consumer = kind.to_lowercase();
                world.judged(kind, name, "Valid").await?;
                world.synced(&consumer).await?;
                world.holds(&consumer, &[("v", round)]).await?;
            }
        }
        Ok(())
    })
}

#[test]
fn stores_are_examined_when_the_object_that_they_name_changes() -> Result<()> {
    // X-142, the other way round: a store that is valid is next examined an hour later, so nothing but the change leads to this.
    with_world(async |world| {
        let namespace = world.cx.namespace().to_owned();
        let cluster = world.own("s");
        let hourly = json!({ "refreshInterval": "1h" });
        world.fake("f", &[("k", "1")]).await?;
        world.store("s", "f", hourly.clone()).await?;
        world
            .cluster_store(&cluster, "f", Some(&namespace), hourly)
            .await?;
        let stores = [("SecretStore", "s"), ("ClusterSecretStore", &*cluster)];
        for (kind, name) in stores {
            world.judged(kind, name, "Valid").await?;
        }
        let broken = json!({ "validationResult": "Error" });
        world
            .fake_in(&namespace, "f", &[("k", "1")], broken)
            .await?;
        for (kind, name) in stores {
            world.judged(kind, name, "InvalidProviderConfig").await?;
        }
        world.fake("f", &[("k", "1")]).await?;
        for (kind, name) in stores {
            world.judged(kind, name, "Valid").await?;
        }
        Ok(())
    })
}

#[test]
fn stores_are_examined_when_their_provider_is_lost_and_when_it_is_reached_again() -> Result<()> {
    // P-RT-4, X-122: a store that is valid is next examined an hour later, so nothing but the breaker leads to this.
    with_world(async |world| {
        world.fake("f", &[("k", "1")]).await?;
        let hourly = json!({ "refreshInterval": "1h" });
        world.store("s", "f", hourly).await?;
        world.judged("SecretStore", "s", "Valid").await?;
        let consumers = ["a", "b", "c", "d", "e"];
        for consumer in consumers {
            let mut spec = entry("k");
            spec["refreshInterval"] = json!("1s");
            world.ask(consumer, json!({ "name": "s" }), spec).await?;
        }
        for consumer in consumers {
            world.synced(consumer).await?;
        }

        world.stop_provider().await?;
        world
            .judged("SecretStore", "s", "ProviderUnreachable")
            .await?;
        let breaker = format!(
            "eso_agent_provider_breaker_state{{provider=\"{}\"}} 1",
            world.address()
        );
        eventually(PATIENCE, "the breaker is open", async || {
            Ok((world.series(&breaker)?.len() == 1).then_some(()))
        })
        .await?;

        // From here on only the store itself asks. What it asks first is the call that closes the breaker; its provider is valid
        // then, and would not be asked again for an hour if nobody told that it is reached again.
        for consumer in consumers {
            world.objects.delete(consumer, &Default::default()).await?;
        }
        eventually(PATIENCE, "the consumers are gone", async || {
            let left = world.objects.list(&Default::default()).await?.items;
            Ok(left.is_empty().then_some(()))
        })
        .await?;
        world.start_provider().await?;
        world.judged("SecretStore", "s", "Valid").await?;
        eventually(PATIENCE, "it is examined again", async || {
            let asked = world.answered(Operation::Validate);
            ensure!(asked >= 2, "it was asked {asked} times");
            Ok(Some(()))
        })
        .await
    })
}
