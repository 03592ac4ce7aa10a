//! Stores, and ExternalSecrets through them, with a Fake provider server: what users of out-of-process providers rely on
//! (`externalsecret.md` 9.12; `pushsecret-and-stores.md` D3 and D5, as far as they concern reads).

#[path = "stores/identities.rs"]
mod identities;
#[path = "stores/manifests.rs"]
mod manifests;
#[path = "stores/outages.rs"]
mod outages;
#[path = "stores/pods.rs"]
mod pods;
#[path = "stores/scopes.rs"]
mod scopes;
#[path = "stores/support.rs"]
mod support;
#[path = "stores/templates.rs"]
mod templates;

use anyhow::{Context as _, Result, ensure};
use kube::ResourceExt as _;
use latchkey_cluster::eventually;
use latchkey_crds::conditions::ConditionStatus;
use latchkey_provider_sdk::Operation;
use serde_json::{Value, json};

use support::{PATIENCE, QUIET, World, with_world};

/// One key of the Fake under the name `v`.
fn entry(key: &str) -> Value {
    json!({ "data": [{ "secretKey": "v", "remoteRef": { "key": key } }] })
}

#[test]
fn stores_say_once_what_their_provider_thinks_of_them() -> Result<()> {
    // externalsecret.md 2.17, 8.2, E218, E219, E220, E221, E222, E233
    with_world(async |world| {
        let namespace = world.cx.namespace().to_owned();
        let invalid = "unable to validate store: provider validation failed: unable to validate";
        let unknown = "could not determine validation status";
        let verdicts = [
            ("fine", "Ready", "Valid", "store validated", "Normal"),
            (
                "wrong",
                "Error",
                "InvalidProviderConfig",
                invalid,
                "Warning",
            ),
            ("vague", "Unknown", "ValidationUnknown", unknown, "Warning"),
        ];
        let kinds = [
            ("SecretStore", "secretstore", "secret-store"),
            (
                "ClusterSecretStore",
                "clustersecretstore",
                "cluster-secret-store",
            ),
        ];
        for (name, result, ..) in &verdicts {
            let rest = json!({ "validationResult": result });
            world.fake_in(&namespace, name, &[], rest).await?;
            world.store(name, name, json!({})).await?;
            let cluster = world.own(name);
            world
                .cluster_store(&cluster, name, Some(&namespace), json!({}))
                .await?;
        }
        let foreign = json!({ "controller": "another" });
        world.store("foreign", "fine", foreign.clone()).await?;
        let cluster = world.own("foreign");
        world
            .cluster_store(&cluster, "fine", Some(&namespace), foreign)
            .await?;

        for (kind, prefix, component) in kinds {
            let named = |name: &str| match kind {
                "SecretStore" => name.to_owned(),
                _ => world.own(name),
            };
            for (name, _, reason, message, type_) in &verdicts {
                let name = named(name);
                let condition = world.judged(kind, &name, reason).await?;
                ensure!(
                    condition.message.as_deref() == Some(*message),
                    "{condition:?}"
                );
                let is_ready = condition.status == ConditionStatus::True;
                ensure!(is_ready == (*reason != "InvalidProviderConfig"));
                let status = world.store_status(kind, &name).await?;
                let capabilities = status["capabilities"].as_str();
                ensure!(capabilities == is_ready.then_some("ReadWrite"), "{status}");
                tells(world, kind, &name, reason, message, type_, component).await?;
                if *reason == "ValidationUnknown" {
                    let (reason, message) =
                        ("ProviderWarning", "validation unknown: unable to validate");
                    tells(world, kind, &name, reason, message, "Warning", component).await?;
                }
                shows(world, prefix, kind, &name, is_ready).await?;
            }
        }
        // Stores of another class are not looked at: that would have happened long ago.
        tokio::time::sleep(QUIET).await;
        for (kind, name) in [
            ("SecretStore", "foreign".to_owned()),
            ("ClusterSecretStore", world.own("foreign")),
        ] {
            ensure!(world.conditions(kind, &name).await?.is_empty());
            ensure!(world.events(kind, &name).await?.is_empty());
            ensure!(series_of(world, &name)?.is_empty());
        }
        // Whatever is said again is not written again, and a store's series go with it.
        for (kind, name) in [
            ("SecretStore", "fine".to_owned()),
            ("ClusterSecretStore", world.own("fine")),
        ] {
            ensure!(world.events(kind, &name).await?.len() == 1);
            world.delete_store(kind, &name).await?;
            eventually(PATIENCE, "its series go", async || {
                Ok(series_of(world, &name)?.is_empty().then_some(()))
            })
            .await?;
        }
        Ok(())
    })
}

/// Waits for the event, whose text is the condition's.
async fn tells(
    world: &World,
    kind: &str,
    name: &str,
    reason: &str,
    message: &str,
    type_: &str,
    component: &str,
) -> Result<()> {
    eventually(PATIENCE, &format!("event {reason} of {name}"), async || {
        let events = world.events(kind, name).await?;
        let event = events
            .iter()
            .find(|event| event.reason.as_deref() == Some(reason))
            .context("not yet")?;
        ensure!(event.note.as_deref() == Some(message), "{event:?}");
        ensure!(event.type_.as_deref() == Some(type_), "{event:?}");
        ensure!(
            event.reporting_controller.as_deref() == Some(component),
            "{event:?}"
        );
        Ok(Some(()))
    })
    .await
}

/// Waits for the three series of a store: (1, 0) where it is ready, (0, 1) where it is not.
async fn shows(world: &World, prefix: &str, kind: &str, name: &str, is_ready: bool) -> Result<()> {
    let namespace = match kind {
        "SecretStore" => world.cx.namespace(),
        _ => "",
    };
    let object = format!("name=\"{name}\",namespace=\"{namespace}\"");
    let condition = |status: &str, holds: bool| {
        format!(
            "{prefix}_status_condition{{{object},condition=\"Ready\",status=\"{status}\"}} {}",
            u8::from(holds)
        )
    };
    let duration = format!("{prefix}_reconcile_duration{{{object}}} ");
    eventually(PATIENCE, &format!("series of {name}"), async || {
        let found = series_of(world, name)?;
        for line in [condition("True", is_ready), condition("False", !is_ready)] {
            ensure!(found.contains(&line), "{line} is not in {found:?}");
        }
        let took = found.iter().find_map(|line| line.strip_prefix(&duration));
        ensure!(took.context("no duration")?.parse::<u64>()? > 0);
        ensure!(found.len() == 3, "{found:?}");
        Ok(Some(()))
    })
    .await
}

fn series_of(world: &World, name: &str) -> Result<Vec<String>> {
    let label = format!("{{name=\"{name}\",");
    let lines = world.series("")?.into_iter();
    Ok(lines.filter(|line| line.contains(&label)).collect())
}

#[test]
fn stores_serve_reads_searches_and_refreshes() -> Result<()> {
    //
    with_world(async |world| {
        let values = [("db/user", "ann"), ("db/pass", "pw"), ("other", "no")];
        world.fake("f", &values).await?;
        world.store("s", "f", json!({})).await?;
        let reference = json!({ "name": "s" });
        let every = |spec: Value| {
            let mut spec = spec;
            spec["refreshInterval"] = json!("1s");
            spec
        };
        let both = json!({ "data": [
            { "secretKey": "u", "remoteRef": { "key": "db/user" } },
            { "secretKey": "p", "remoteRef": { "key": "db/pass" } },
        ] });
        world.ask("one", reference.clone(), every(both)).await?;
        let search = json!({ "dataFrom": [{ "find": { "name": { "regexp": "^db/.+" } } }] });
        world.ask("found", reference, every(search)).await?;
        world.holds("one", &[("p", "pw"), ("u", "ann")]).await?;
        world
            .holds("found", &[("db_pass", "pw"), ("db_user", "ann")])
            .await?;
        let values = [("db/user", "ann"), ("db/pass", "new"), ("other", "no")];
        world.fake("f", &values).await?;
        world.holds("one", &[("p", "new"), ("u", "ann")]).await?;
        world
            .holds("found", &[("db_pass", "new"), ("db_user", "ann")])
            .await?;
        Ok(())
    })
}

#[test]
fn stores_share_one_connection_and_rest_after_a_sync() -> Result<()> {
    // externalsecret.md E015
    with_world(async |world| {
        world.fake("f", &[("a", "1"), ("b", "2")]).await?;
        let stores = ["s1", "s2", "s3", "s4"];
        for store in stores {
            world.store(store, "f", json!({})).await?;
        }
        for (number, store) in stores.iter().cycle().take(10).enumerate() {
            let spec = json!({ "data": [
                { "secretKey": "a", "remoteRef": { "key": "a" } },
                { "secretKey": "b", "remoteRef": { "key": "b" } },
            ] });
            world
                .ask(&format!("es{number}"), json!({ "name": store }), spec)
                .await?;
        }
        let mut versions = Vec::new();
        for number in 0..10 {
            let name = format!("es{number}");
            let object = world.synced(&name).await?;
            world.holds(&name, &[("a", "1"), ("b", "2")]).await?;
            versions.push((name, object.resource_version()));
        }
        ensure!((1..=2).contains(&world.pool.len()), "{}", world.pool.len());
        let address = world.address();
        let only = |series: String| -> Result<u64> {
            let lines = world.series(&series)?;
            let [line] = &lines[..] else {
                anyhow::bail!("{series} is there {} times", lines.len())
            };
            Ok(line.rsplit(' ').next().unwrap_or_default().parse()?)
        };
        let pool = format!("{{address=\"{address}\",tls_enabled=\"true\"}}");
        eventually(PATIENCE, "the pool is counted", async || {
            let total = only(format!("grpc_pool_connections_total{pool}"))?;
            ensure!((1..=2).contains(&total), "{total} connections");
            Ok(Some(()))
        })
        .await?;
        ensure!(only(format!("grpc_pool_misses_total{pool}"))? <= 2);
        ensure!(only(format!("grpc_pool_hits_total{pool}"))? >= 19);
        // Both ends count the same calls.
        let labels = format!("{{method=\"GetSecret\",target=\"{address}\",status=\"success\"}}");
        let calls = only(format!("grpc_client_requests_total{labels}"))?;
        ensure!(calls >= 20 && calls == world.answered(Operation::GetSecret));
        for store in stores {
            let line = format!(
                "secretstore_status_condition{{name=\"{store}\",namespace=\"{}\",condition=\"Ready\",status=\"True\"}}",
                world.cx.namespace()
            );
            ensure!(only(line)? == 1);
        }
        tokio::time::sleep(QUIET).await;
        for (name, version) in versions {
            let now = world.objects.get(&name).await?.resource_version();
            ensure!(now == version, "{name} is written without a reason");
        }
        ensure!(
            world.answered(Operation::GetSecret) == calls,
            "it polls the provider"
        );
        Ok(())
    })
}
