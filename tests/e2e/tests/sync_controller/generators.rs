//! Values that a real provider server makes: the agent's parts and the server run inside the test, against a real API server.

#[path = "generators/volumes.rs"]
mod volumes;
#[path = "generators/world.rs"]
mod world;

pub(crate) use self::world::{World, reference};
use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::ConfigMap;
use kube::Api;
use kube::api::DeleteParams;
use latchkey_cluster::eventually;
use latchkey_crds::conditions::{self, READY};
use latchkey_crds::generator::Generator;
use latchkey_crds::generator_state::{FINALIZER, OWNER_KEY_LABEL};
use latchkey_provider_sdk::Operation;
use serde_json::json;
use tonic::Code;

use crate::QUIET;
use crate::support::PATIENCE;

#[test]
fn sync_has_a_password_made_once_for_each_refresh() -> Result<()> {
    // externalsecret.md 7, E236; pushsecret-and-stores.md B6, SB-14, SB-16
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        world.generator(&cx, "Password", "pass", json!({})).await?;
        world.ask(&cx, "db", &[reference("pass")]).await?;
        let first = world.values("db").await?;
        ensure!(
            first.len() == 1 && first["password"].chars().count() == 24,
            "the keys are {:?}",
            first.keys()
        );
        let generators: Api<Generator> = Api::namespaced(cx.client(), cx.namespace());
        let status = generators.get("pass").await?.status.context("no status")?;
        let ready = conditions::find(&status.conditions, READY).context("no condition")?;
        ensure!(
            ready.reason.as_deref() == Some("Valid")
                && ready.message.as_deref() == Some("generator validated"),
            "{ready:?}"
        );
        tokio::time::sleep(QUIET).await;
        ensure!(
            world.values("db").await? == first,
            "it changed without a refresh"
        );
        let made = || world.provider.requests(Operation::Generate, Code::Ok);
        ensure!(made() == 1, "{} calls for one sync", made());
        world.refresh("db", 1).await?;
        let second = world.values("db").await?;
        ensure!(second != first && second["password"].chars().count() == 24);
        ensure!(made() == 2, "{} calls for two syncs", made());

        let cluster = json!({
            "apiVersion": "generator.external-secrets.io/v2alpha1",
            "kind": "ClusterGenerator", "metadata": { "name": cx.namespace() },
            "spec": {
                "conditions": [{ "namespaces": ["elsewhere"] }],
                "providerConfig": {
                    "address": world.address,
                    "providerRef": { "kind": "Password", "name": "pass", "namespace": cx.namespace() },
                },
            },
        });
        cx.apply(&cluster.to_string()).await?;
        let denied = json!({
            "apiVersion": "generator.external-secrets.io/v2alpha1",
            "kind": "ClusterGenerator", "name": cx.namespace(),
        });
        for (name, reference, part) in [
            ("denied", denied, "is not allowed from namespace"),
            (
                "v1",
                json!({ "kind": "Password", "name": "pass" }),
                "wrap it in a Generator",
            ),
            (
                "absent",
                reference("absent"),
                "could not get Generator \"absent\", Generator.generator.external-secrets.io \"absent\" not found",
            ),
        ] {
            world.ask(&cx, name, &[reference]).await?;
            world.refused(name, part).await?;
        }
        ensure!(made() == 2, "a refused reference reached the provider");
        world.states(0).await?;
        cx.kubectl(&[
            "delete",
            "clustergenerator.generator.external-secrets.io",
            cx.namespace(),
        ])
        .await?;
        Ok(())
    })
}

#[test]
fn sync_writes_generated_values_into_a_config_map() -> Result<()> {
    // externalsecret.md 5.3, E204
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        let spec = json!({ "data": { "user": "ann", "port": "5432" } });
        world.generator(&cx, "Fake", "values", spec).await?;
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": "app" },
            "spec": {
                "refreshInterval": "1h",
                "dataFrom": [{ "sourceRef": { "generatorRef": reference("values") } }],
                "target": {
                    "manifest": { "apiVersion": "v1", "kind": "ConfigMap" },
                    "template": { "data": { "url": "{{ .user }}@h:{{ .port }}" } },
                },
            },
        });
        cx.apply(&object.to_string()).await?;
        let maps: Api<ConfigMap> = Api::namespaced(cx.client(), cx.namespace());
        let map = eventually(PATIENCE, "the config map", async || {
            Ok(maps.get_opt("app").await?)
        })
        .await?;
        ensure!(
            json!(map.data) == json!({ "url": "ann@h:5432" }),
            "{:?}",
            map.data
        );
        ensure!(world.secrets.get_opt("app").await?.is_none());
        world.states(0).await?;
        Ok(())
    })
}

#[test]
fn sync_keeps_what_generators_leave_and_has_the_replaced_revoked() -> Result<()> {
    // externalsecret.md 7.3, D-18, E057, E247; generators.md 5
    latchkey_cluster::test(async |cx| {
        let world = World::start(&cx).await?;
        let spec =
            json!({ "data": { "token": "generated-canary" }, "stateful": { "enabled": true } });
        world.generator(&cx, "Fake", "lease", spec).await?;
        world.generator(&cx, "UUID", "id", json!({})).await?;
        let impossible = json!({ "length": 44 });
        world.generator(&cx, "Password", "long", impossible).await?;

        world.ask(&cx, "app", &[reference("lease")]).await?;
        ensure!(world.values("app").await?["token"] == "generated-canary");
        let states = world.states(1).await?;
        let state = serde_json::to_value(&states[0])?;
        ensure!(
            !state.to_string().contains("canary"),
            "a state holds a value"
        );
        let metadata = &states[0].metadata;
        ensure!(metadata.finalizers.as_deref() == Some(&[FINALIZER.to_owned()][..]));
        let key = format!("ExternalSecret-{}-app-0", cx.namespace());
        let label = metadata
            .labels
            .as_ref()
            .and_then(|labels| labels.get(OWNER_KEY_LABEL));
        ensure!(
            label == Some(&latchkey_engine::hash::of_text(&key)),
            "{label:?}"
        );
        ensure!(state["metadata"]["ownerReferences"][0]["kind"] == "ExternalSecret");
        ensure!(state["spec"]["resource"]["metadata"]["namespace"] == cx.namespace());

        // The one before the last stays for one more round.
        world.refresh("app", 1).await?;
        world.states(2).await?;
        ensure!(world.revoked() == 0, "a value in use was revoked");
        world.refresh("app", 2).await?;
        world.states(2).await?;
        // A revocation may repeat: another test's agent sees the states of all namespaces too.
        let replaced = world.revoked();
        ensure!(replaced >= 1, "nothing was revoked");

        // A fetch that fails later has what was made revoked at once, and keeps nothing.
        world
            .ask(&cx, "bad", &[reference("lease"), reference("long")])
            .await?;
        world
            .refused(
                "bad",
                "spec.dataFrom[1].sourceRef.generatorRef, err: error using generator:",
            )
            .await?;
        cx.kubectl(&["delete", "externalsecret", "bad"]).await?;
        world.states(2).await?;
        ensure!(
            world.revoked() > replaced,
            "what was made for nothing stays"
        );

        // An entry that makes no states any more lets go of all of them.
        world.ask(&cx, "app", &[reference("id")]).await?;
        world.states(0).await?;

        // Without its generator a state is still revoked, by its snapshot, and with its owner gone it goes.
        world.ask(&cx, "gone", &[reference("lease")]).await?;
        world.values("gone").await?;
        world.states(1).await?;
        let before = world.revoked();
        let generators: Api<Generator> = Api::namespaced(cx.client(), cx.namespace());
        generators.delete("lease", &DeleteParams::default()).await?;
        world
            .objects
            .delete("gone", &DeleteParams::default())
            .await?;
        world.states(0).await?;
        ensure!(world.revoked() > before, "nothing was revoked");
        Ok(())
    })
}
