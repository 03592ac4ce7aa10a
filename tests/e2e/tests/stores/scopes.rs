//! Which objects a store may reach, and who may use it.

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Namespace;
use kube::Api;
use kube::api::{Patch, PatchParams};
use latchkey_provider_sdk::Operation;
use serde_json::json;

use super::entry;
use super::support::{World, with_world};

#[test]
fn stores_of_the_cluster_read_where_their_scope_says_and_nowhere_else() -> Result<()> {
    // X-141; SB-11, SB-12, SB-13: objects of one name in both namespaces, and never the other's
    with_world(async |world| {
        let callers = world.cx.namespace().to_owned();
        let providers = world.new_namespace("providers").await?;
        world.fake("f", &[("k", "of-the-caller")]).await?;
        world
            .fake_in(&providers, "f", &[("k", "of-the-provider")], json!({}))
            .await?;
        let (own, manifest) = (world.own("own"), world.own("manifest"));
        world
            .cluster_store(&own, "f", Some(&providers), json!({}))
            .await?;
        let scope = json!({ "authenticationScope": "ManifestNamespace" });
        world
            .cluster_store(&manifest, "f", Some(&providers), scope)
            .await?;
        let of = |name: &str| json!({ "kind": "ClusterSecretStore", "name": name });
        world.ask("own", of(&own), entry("k")).await?;
        world.ask("manifest", of(&manifest), entry("k")).await?;
        world.holds("own", &[("v", "of-the-provider")]).await?;
        world.holds("manifest", &[("v", "of-the-caller")]).await?;
        world.synced("own").await?;
        world.synced("manifest").await?;

        // Without the caller's there is nothing to fall back on.
        world.remove_fake(&callers, "f").await?;
        world.force("manifest", "1").await?;
        world.failed("manifest").await?;
        world.holds("manifest", &[("v", "of-the-caller")]).await?;
        world.ask("late", of(&manifest), entry("k")).await?;
        world.failed("late").await?;
        ensure!(world.secrets.get_opt("late").await?.is_none());
        world.refresh("own", "1").await?;
        world.synced("own").await?;
        // Nor without the provider's.
        world.fake("f", &[("k", "of-the-caller")]).await?;
        world.remove_fake(&providers, "f").await?;
        world.force("own", "2").await?;
        world.failed("own").await?;
        world.holds("own", &[("v", "of-the-provider")]).await?;
        Ok(())
    })
}

#[test]
fn stores_of_the_cluster_refuse_namespaces_that_their_conditions_leave_out() -> Result<()> {
    // X-143, SB-07, SB-08, SB-10
    with_world(async |world| {
        let namespace = world.cx.namespace().to_owned();
        world.fake("f", &[("k", "1")]).await?;
        let (closed, labelled) = (world.own("closed"), world.own("labelled"));
        let conditions = json!({ "conditions": [{ "namespaces": ["elsewhere"] }] });
        world
            .cluster_store(&closed, "f", Some(&namespace), conditions)
            .await?;
        let selector = json!({ "matchLabels": { "team": "a" } });
        let conditions = json!({ "conditions": [{ "namespaceSelector": selector }] });
        world
            .cluster_store(&labelled, "f", Some(&namespace), conditions)
            .await?;
        for store in [&closed, &labelled] {
            world.judged("ClusterSecretStore", store, "Valid").await?;
        }
        let of = |name: &str| json!({ "kind": "ClusterSecretStore", "name": name });
        let denied = |store: &str| {
            format!(
                "using cluster store \"{store}\" is not allowed from namespace \"{namespace}\": denied by spec.condition"
            )
        };
        for (name, store) in [("closed", &closed), ("labelled", &labelled)] {
            world.ask(name, of(store), entry("k")).await?;
            world.failed(name).await?;
            world.warned(name, &denied(store)).await?;
            ensure!(world.secrets.get_opt(name).await?.is_none());
        }
        let asked = || world.answered(Operation::GetSecret);
        ensure!(asked() == 0, "a denied namespace reached the provider");

        label(world, json!("a")).await?;
        world.force("labelled", "1").await?;
        world.holds("labelled", &[("v", "1")]).await?;
        world.synced("labelled").await?;
        let before = asked();
        // The label of this moment counts; what was written stays.
        label(world, json!(null)).await?;
        world.force("labelled", "2").await?;
        world.failed("labelled").await?;
        world.holds("labelled", &[("v", "1")]).await?;
        ensure!(asked() == before, "a denied namespace reached the provider");
        // The name's label is the API server's: nobody can be `elsewhere` by labels.
        let spoofed =
            json!({ "metadata": { "labels": { "kubernetes.io/metadata.name": "elsewhere" } } });
        let namespaces: Api<Namespace> = Api::all(world.cx.client());
        let spoofed = namespaces
            .patch(&namespace, &PatchParams::default(), &Patch::Merge(spoofed))
            .await;
        let label = spoofed.ok().and_then(|namespace| namespace.metadata.labels);
        ensure!(label.is_none_or(|labels| labels["kubernetes.io/metadata.name"] == namespace));
        label_again(world).await
    })
}

async fn label(world: &World, value: serde_json::Value) -> Result<()> {
    let namespaces: Api<Namespace> = Api::all(world.cx.client());
    let patch = json!({ "metadata": { "labels": { "team": value } } });
    namespaces
        .patch(
            world.cx.namespace(),
            &PatchParams::default(),
            &Patch::Merge(patch),
        )
        .await?;
    Ok(())
}

/// The namespace may use the store again: nothing has to be touched for it but its label and time.
async fn label_again(world: &World) -> Result<()> {
    label(world, json!("a")).await?;
    world.synced("labelled").await?;
    Ok(())
}

#[test]
fn stores_are_found_by_the_kind_of_the_reference_alone() -> Result<()> {
    // here the kind of the store decides, since stores hold their address themselves
    with_world(async |world| {
        let namespace = world.cx.namespace().to_owned();
        world.fake("f", &[("k", "1")]).await?;
        // Nobody listens where nobody could.
        let dead = json!({ "address": "localhost:1" });
        let (left, right) = (world.own("left"), world.own("right"));
        world.store(&left, "f", json!({})).await?;
        world
            .cluster_store(&left, "f", Some(&namespace), dead.clone())
            .await?;
        world.store(&right, "f", dead).await?;
        world
            .cluster_store(&right, "f", Some(&namespace), json!({}))
            .await?;
        for (kind, name, reason) in [
            ("SecretStore", &left, "Valid"),
            ("ClusterSecretStore", &left, "ProviderUnreachable"),
            ("SecretStore", &right, "ProviderUnreachable"),
            ("ClusterSecretStore", &right, "Valid"),
        ] {
            world.judged(kind, name, reason).await?;
        }
        let cases = [
            ("default-left", &left, None, true),
            ("default-right", &right, None, false),
            ("own-left", &left, Some("SecretStore"), true),
            ("own-right", &right, Some("SecretStore"), false),
            ("cluster-left", &left, Some("ClusterSecretStore"), false),
            ("cluster-right", &right, Some("ClusterSecretStore"), true),
        ];
        for (name, store, kind, _) in &cases {
            let mut reference = json!({ "name": store });
            if let Some(kind) = kind {
                reference["kind"] = json!(kind);
            }
            world.ask(name, reference, entry("k")).await?;
        }
        for (name, _, _, is_served) in cases {
            if is_served {
                world.synced(name).await?;
                world.holds(name, &[("v", "1")]).await?;
            } else {
                world.failed(name).await?;
                world.warned(name, "is not ready").await?;
                ensure!(world.secrets.get_opt(name).await?.is_none(), "{name}");
            }
        }
        Ok(())
    })
}
