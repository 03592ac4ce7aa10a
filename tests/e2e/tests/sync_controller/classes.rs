//! Which agent an object is for, and what a reference without a version means.

use anyhow::{Result, ensure};
use kube::api::ListParams;
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_provider_sdk::Operation;
use serde_json::json;
use tonic::Code;

use super::generators::{World, reference};
use super::support::Rig;
use super::{QUIET, extract};

fn is_untouched(object: &ExternalSecret) -> bool {
    let status = object.status.as_ref();
    status.is_none_or(|status| status.conditions.is_empty())
}

#[test]
fn sync_of_two_classes_shares_the_objects_between_their_agents() -> Result<()> {
    // pushsecret-and-stores.md SB-35; externalsecret.md E064
    latchkey_cluster::test(async |cx| {
        let mine = Rig::start(&cx).await?;
        let yours = Rig::start_with(&cx, |config| config.controller_class = "yours".into()).await?;
        mine.shelf.put("db", &[("from", "mine")]);
        yours.shelf.put("db", &[("from", "yours")]);
        for (name, class) in [
            ("mine", "default"),
            ("yours", "yours"),
            ("nobodys", "third"),
        ] {
            let store = json!({
                "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore", "metadata": { "name": name },
                "spec": { "controller": class, "providerConfig": { "address": "p.a.svc:8080", "providerRef": { "kind": "Fake", "name": "f" } } },
            });
            cx.apply(&store.to_string()).await?;
            let mut spec = extract("db");
            spec["secretStoreRef"] =
                json!({ "apiVersion": "secretstore.external-secrets.io/v2alpha1", "name": name });
            spec["refreshInterval"] = json!("1s");
            mine.create(name, spec).await?;
        }
        for name in ["mine", "yours"] {
            mine.holds(name, &[("from", name)]).await?;
            mine.synced(name).await?;
        }
        // Time for the other one to take it away, over and over.
        tokio::time::sleep(QUIET).await;
        for (rig, name) in [(&mine, "mine"), (&yours, "yours")] {
            rig.holds(name, &[("from", name)]).await?;
            ensure!(rig.shelf.calls("db") > 1, "{name}");
            // Skipped, as far as the other one is concerned: neither series of its condition is 1.
            let foreign = if name == "mine" { "yours" } else { "mine" };
            for foreign in [foreign, "nobodys"] {
                let start = format!("externalsecret_status_condition{{name=\"{foreign}\"");
                let metrics = rig.metrics()?;
                let lines = metrics.lines().filter(|line| line.starts_with(&start));
                let values: Vec<_> = lines.map(|line| line.ends_with(" 0")).collect();
                ensure!(values == [true, true], "{name} shows {foreign}: {values:?}");
            }
        }
        ensure!(is_untouched(&mine.objects.get("nobodys").await?));
        ensure!(mine.events_about("nobodys").await?.is_empty());
        ensure!(mine.secrets.get_opt("nobodys").await?.is_none());
        yours.stop().await?;
        mine.stop().await
    })
}

#[test]
fn sync_skips_objects_whose_generator_is_of_another_class() -> Result<()> {
    // externalsecret.md 2.2 step 5, E058, E060
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        world.generator(&cx, "Password", "pass", json!({})).await?;
        world.ask(&cx, "ours", &[reference("pass")]).await?;
        world.values("ours").await?;
        let made = || world.provider.requests(Operation::Generate, Code::Ok);
        ensure!(made() == 1);

        let generator = |kind: &str, name: &str, class: &str| {
            let mut provider = json!({ "kind": "Password", "name": "pass" });
            if kind == "ClusterGenerator" {
                provider["namespace"] = json!(cx.namespace());
            }
            let generator = json!({
                "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": kind, "metadata": { "name": name },
                "spec": { "controller": class, "providerConfig": { "address": world.address(), "providerRef": provider } },
            });
            generator.to_string()
        };
        let of_cluster = |name: &str| {
            let mut reference = reference(name);
            reference["kind"] = json!("ClusterGenerator");
            reference
        };
        let cluster = |name: &str| format!("{}-{name}", cx.namespace());
        for (kind, name, class) in [
            ("Generator", "foreign".to_owned(), "other"),
            ("ClusterGenerator", cluster("foreign"), "other"),
            ("ClusterGenerator", cluster("ours"), "default"),
        ] {
            cx.apply(&generator(kind, &name, class)).await?;
        }
        world
            .ask(&cx, "ours-too", &[of_cluster(&cluster("ours"))])
            .await?;
        ensure!(world.values("ours-too").await?.contains_key("password"));
        ensure!(made() == 2);
        // One foreign generator is enough.
        world
            .ask(&cx, "mixed", &[reference("pass"), reference("foreign")])
            .await?;
        world
            .ask(&cx, "of-cluster", &[of_cluster(&cluster("foreign"))])
            .await?;
        tokio::time::sleep(QUIET).await;
        for name in ["mixed", "of-cluster"] {
            ensure!(is_untouched(&world.objects.get(name).await?), "{name}");
            ensure!(world.secrets.get_opt(name).await?.is_none(), "{name}");
            let events = world.events.list(&ListParams::default()).await?.items;
            let told = events.iter().any(|event| {
                let about = event.regarding.as_ref();
                about.is_some_and(|object| object.name.as_deref() == Some(name))
            });
            ensure!(!told, "{name} has an event");
        }
        ensure!(made() == 2, "a foreign generator was asked");
        let kind = "clustergenerator.generator.external-secrets.io";
        cx.kubectl(&["delete", kind, &cluster("foreign"), &cluster("ours")])
            .await?;
        Ok(())
    })
}

#[test]
fn sync_takes_a_reference_without_version_for_the_default_of_the_definition() -> Result<()> {
    // externalsecret.md 7.1, E059: v1's, whose objects are wrapped in a Generator here
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        world.generator(&cx, "UUID", "id", json!({})).await?;
        let unversioned = json!({ "kind": "UUID", "name": "id" });
        world.ask(&cx, "web", &[unversioned]).await?;
        // As the API server has it: our own type has a default, too.
        let path = "--output=jsonpath={.spec.dataFrom[0].sourceRef.generatorRef.apiVersion}";
        let stored = cx.kubectl(&["get", "externalsecret", "web", path]).await?;
        ensure!(
            stored == "generators.external-secrets.io/v1alpha1",
            "{stored}"
        );
        let part = "UUID \"id\" of generators.external-secrets.io/v1alpha1 cannot be used by itself: wrap it in a Generator";
        world.refused("web", part).await?;
        ensure!(world.provider.requests(Operation::Generate, Code::Ok) == 0);
        Ok(())
    })
}
