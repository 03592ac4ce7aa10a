//! 429 from the API server: of each write once, with the time to wait, and of whatever comes while another request runs.

use std::time::Duration;

use anyhow::{Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use kube::api::{DeleteParams, DynamicObject, ListParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey_cluster::eventually;
use latchkey_e2e::list;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::AGENT;
use crate::admission::{Fault, Gate};
use crate::tally::Seen;
use crate::world::{PATIENCE, Shape, World, with_world};

/// What the webhook asks for.
const RETRY_AFTER: Duration = Duration::from_secs(1);
/// How long one request of the agent is let in at a time.
const NARROW: Duration = Duration::from_secs(4);

#[test]
fn sync_waits_as_long_as_the_api_server_asks_and_writes_once() -> Result<()> {
    let shape = Shape {
        namespaces: 4,
        objects: 10,
        capacity: 10,
    };
    latchkey_cluster::test(async move |cx| {
        with_world(cx, shape, async |world| {
            world.account(AGENT).await?;
            let gate = Gate::open(world, AGENT, Fault::TooManyRequests).await?;
            let agents = world.agents_by_namespace(&world.client(AGENT, None).await?)?;
            for (key, seen) in world.settle().await? {
                ensure!(seen == Seen::new(1, 3, &["Created"]), "{key:?}: {seen:?}");
            }
            let attempts = gate.forget();
            gate.close().await?;
            // Finalizer, Secret, event, status.
            ensure!(
                attempts.len() == 4 * world.rounds.len(),
                "{}",
                attempts.len()
            );
            for (write, attempts) in &attempts {
                ensure!(
                    attempts.len() >= 2 && attempts[1] - attempts[0] >= RETRY_AFTER,
                    "{write:?} was attempted at {attempts:?}"
                );
            }
            let refused: u64 = world.answered(AGENT, 429)?.values().sum();
            ensure!(refused >= attempts.len() as u64, "{refused} were refused");

            let strait = Strait::begin(world).await?;
            let refused: u64 = world.answered(AGENT, 429)?.values().sum();
            world.rotate(&world.keys()).await?;
            tokio::time::sleep(NARROW).await;
            strait.end().await?;
            for (key, seen) in world.settle().await? {
                let expected = Seen::new(2, 5, &["Created", "Updated"]);
                ensure!(seen == expected, "{key:?}: {seen:?}");
            }
            let later: u64 = world.answered(AGENT, 429)?.values().sum();
            ensure!(later > refused, "flow control has refused nothing");
            agents.stop().await
        })
        .await
    })
}

/// The API server's flow control with so little room for the agent that one request is let in at a time.
struct Strait {
    objects: Vec<(Api<DynamicObject>, String)>,
}

impl Strait {
    async fn begin(world: &World) -> Result<Self> {
        let namespace = world.cx.namespace();
        let name = format!("{namespace}-strait");
        let metadata = json!({ "name": name, "ownerReferences": [world.owner().await?] });
        let object = |kind: &str, spec: Value| {
            json!({
                "apiVersion": "flowcontrol.apiserver.k8s.io/v1", "kind": kind,
                "metadata": metadata, "spec": spec,
            })
        };
        let level = object(
            "PriorityLevelConfiguration",
            json!({ "type": "Limited", "limited": {
                "nominalConcurrencyShares": 0, "lendablePercent": 0, "borrowingLimitPercent": 0,
                "limitResponse": { "type": "Reject" },
            } }),
        );
        let subject = json!({
            "kind": "ServiceAccount",
            "serviceAccount": { "namespace": namespace, "name": AGENT },
        });
        let all = json!({
            "verbs": ["*"], "apiGroups": ["*"], "resources": ["*"], "namespaces": ["*"], "clusterScope": true,
        });
        let schema = object(
            "FlowSchema",
            json!({
                "priorityLevelConfiguration": { "name": name }, "matchingPrecedence": 2,
                "rules": [{ "subjects": [subject], "resourceRules": [all] }],
            }),
        );
        world.cx.apply(&list(&[level, schema])).await?;
        let client = world.impatient_client(AGENT).await?;
        let secrets: Api<Secret> = Api::namespaced(client, namespace);
        eventually(PATIENCE, "flow control refuses the agent", async || {
            let mut crowd = JoinSet::new();
            for _ in 0..16 {
                let secrets = secrets.clone();
                crowd.spawn(async move { secrets.list(&ListParams::default()).await });
            }
            let answers = crowd.join_all().await;
            let is_refused = |answer: &kube::Result<_>| matches!(answer, Err(kube::Error::Api(status)) if status.code == 429);
            Ok(answers.iter().any(is_refused).then_some(()))
        })
        .await?;
        let api = |kind| {
            let kind = GroupVersionKind::gvk("flowcontrol.apiserver.k8s.io", "v1", kind);
            Api::all_with(world.cx.client(), &ApiResource::from_gvk(&kind))
        };
        Ok(Self {
            objects: vec![
                (api("FlowSchema"), name.clone()),
                (api("PriorityLevelConfiguration"), name),
            ],
        })
    }

    async fn end(self) -> Result<()> {
        for (api, name) in self.objects {
            api.delete(&name, &DeleteParams::default()).await?;
        }
        Ok(())
    }
}
