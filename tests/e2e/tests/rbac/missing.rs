//! What is told where a right is missing: one line each, with what to grant.

use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::ConditionStatus;
use serde_json::Value;

use crate::agent::Agent;
use crate::rendered::{self, RIGHTS, of_kinds};
use crate::world::{PATIENCE, condition, define, external_secret, namespaced};

/// Long enough for further attempts, each of which could complain again.
const QUIET: Duration = Duration::from_secs(8);

/// A release whose rights are those of the chart without some.
struct Release {
    account: String,
    deployment: Value,
    objects: Vec<Value>,
    namespace: String,
}

impl Release {
    /// Renders the chart; rules that `keeps` refuses are left out.
    async fn new(cx: &Context, keeps: impl Fn(&Value) -> bool) -> Result<Self> {
        latchkey_e2e::ensure_absent(cx).await?;
        define(cx).await?;
        let namespace = cx.new_namespace("m").await?;
        let name = namespace.trim_start_matches("m-").to_owned();
        let chart = rendered::render(cx, "latchkey", &name, &namespaced(&[&namespace])).await?;
        let mut objects = of_kinds(&chart, &RIGHTS);
        for role in &mut objects {
            if let Some(rules) = role.get_mut("rules").and_then(Value::as_array_mut) {
                rules.retain(&keeps);
            }
        }
        objects.extend(of_kinds(&chart, &["Lease"]));
        rendered::apply(cx, &objects, cx.namespace()).await?;
        let mut deployments = of_kinds(&chart, &["Deployment"]);
        Ok(Self {
            account: format!("{name}-latchkey-sync"),
            deployment: deployments.swap_remove(0),
            objects,
            namespace,
        })
    }

    /// Runs the agent until it has told all of `lines`, and a while longer: each is told once.
    async fn tells(&self, cx: &Context, lines: &[&str]) -> Result<()> {
        let mut agent = Agent::start(cx, &self.deployment, &self.account).await?;
        for line in lines {
            eventually(PATIENCE, line, async || {
                let log = agent.log()?;
                ensure!(log.contains(line), "{log}");
                Ok(Some(()))
            })
            .await?;
        }
        tokio::time::sleep(QUIET).await;
        for line in lines {
            let times = agent.told(line)?;
            ensure!(times == 1, "told {times} times: {line}\n{}", agent.log()?);
        }
        Ok(())
    }

    async fn delete(self, cx: &Context) -> Result<()> {
        rendered::delete(cx, &self.objects, cx.namespace()).await?;
        cx.kubectl(&["delete", "namespace", "--wait=false", &self.namespace])
            .await
            .map(drop)
    }
}

#[test]
fn without_leases_one_line_says_so() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        let release = Release::new(&cx, |_| false).await?;
        let told = release
            .tells(
                &cx,
                &[
                    "failed to use the lease: the service account may not get it: grant get, update",
                    "failed to use the leases of the shards: the service account may not list them: grant list, get, update",
                    "failed to watch the own identity, trying again: secrets \\\"latchkey-client-tls\\\" is forbidden",
                ],
            )
            .await;
        release.delete(&cx).await?;
        told
    })
}

#[test]
fn without_events_one_line_says_so_and_the_work_goes_on() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        let release = Release::new(&cx, |rule| rule["resources"][0] != "events").await?;
        let namespace = &release.namespace;
        // They have no store: that is worth an event each.
        let objects = ["one", "two"].map(|name| external_secret(name, "SecretStore", "none"));
        rendered::apply(&cx, &objects, namespace).await?;
        let told = async {
            let line = "events cannot be written: events.events.k8s.io is forbidden";
            release.tells(&cx, &[line]).await?;
            for name in ["one", "two"] {
                let text = "could not get secret data from provider";
                condition(&cx, namespace, name, ConditionStatus::False, text).await?;
            }
            Ok(())
        };
        let told: Result<()> = told.await;
        release.delete(&cx).await?;
        told
    })
}

#[test]
fn without_secrets_stores_or_states_one_line_each_says_so() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        let missing = ["secretstores", "generators", "generatorstates"];
        let release = Release::new(&cx, |rule| {
            let resources = &rule["resources"];
            // Secrets of the release, by their names, stay.
            let is_any_secret = resources[0] == "secrets" && rule["resourceNames"].is_null();
            !is_any_secret && !missing.iter().any(|kind| resources[0] == *kind)
        })
        .await?;
        let namespace = &release.namespace;
        let line = |kind: &str| format!("{kind} in namespace {namespace} cannot be watched: ");
        let lines = [
            line("Secrets"),
            line("SecretStores"),
            line("Generators"),
            line("GeneratorStates"),
        ];
        let lines: Vec<&str> = lines.iter().map(String::as_str).collect();
        let told = release.tells(&cx, &lines).await;
        release.delete(&cx).await?;
        told
    })
}
