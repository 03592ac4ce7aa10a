//! Providers, and their objects, that are wrong or away for a while.

use anyhow::{Result, ensure};
use latchkey_crds::conditions::ConditionStatus;
use serde_json::json;

use super::entry;
use super::support::with_world;

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
