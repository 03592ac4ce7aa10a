//! An agent that works in some namespaces: with Roles only, and in these only.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_crds::generator_state::GeneratorState;
use latchkey_crds::secret_store::SecretStore;
use latchkey_provider_fake::FakeProvider;
use latchkey_provider_generators::Generators;
use latchkey_provider_sdk::Cluster;
use serde_json::{Value, json};
use tokio::task::JoinSet;

use crate::account;
use crate::agent::Agent;
use crate::rendered::{self, RIGHTS, is_of_cluster, of_kinds};
use crate::table::allows;
use crate::world::{
    PATIENCE, condition, define, external_secret, identity, identity_secret, namespaced, reach,
    serve,
};

/// Everything of one namespace: a store and an ExternalSecret of it, another that generates.
fn objects(
    cx: &Context,
    fake: &str,
    generators: &str,
    client: &Secret,
    other: &str,
) -> Result<Vec<Value>> {
    let mut extracted = external_secret("extracted", "SecretStore", "s");
    extracted["spec"]["data"] = json!([]);
    extracted["spec"]["dataFrom"] = json!([{ "extract": { "key": "map" } }]);
    Ok(vec![
        json!({
            "apiVersion": "v1", "kind": "Secret", "metadata": { "name": "client" },
            "data": serde_json::to_value(&client.data)?,
        }),
        json!({
            "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1", "kind": "Fake",
            "metadata": { "name": "f" },
            "spec": { "data": [
                { "key": "key", "value": "value" },
                { "key": "map", "value": json!({ "namespace": other, "metadata": { "namespace": other } }).to_string() },
            ] },
        }),
        json!({
            "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore",
            "metadata": { "name": "s" },
            "spec": { "providerConfig": reach(cx, fake, "Fake", "f") },
        }),
        external_secret("e", "SecretStore", "s"),
        json!({
            "apiVersion": "provider.generator.external-secrets.io/v2alpha1", "kind": "Fake",
            "metadata": { "name": "f" },
            "spec": { "data": { "token": "made" }, "stateful": { "enabled": true } },
        }),
        json!({
            "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": "Generator",
            "metadata": { "name": "g" },
            "spec": { "providerConfig": reach(cx, generators, "Fake", "f") },
        }),
        generated("made", "Generator", "g"),
        json!({
            "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "template" },
            "data": { "file": "[{{ .k }}]" },
        }),
        templated(),
        extracted,
    ])
}

fn generated(name: &str, kind: &str, generator: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": name },
        "spec": { "refreshInterval": "1h", "dataFrom": [{ "sourceRef": { "generatorRef": {
            "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": kind, "name": generator,
        } } }] },
    })
}

fn templated() -> Value {
    let mut object = external_secret("templated", "SecretStore", "s");
    object["spec"]["target"] = json!({ "template": { "templateFrom": [{
        "configMap": { "name": "template", "items": [{ "key": "file" }] },
    }] } });
    object
}

#[test]
fn an_agent_of_some_namespaces_needs_roles_only_and_leaves_others_alone() -> Result<()> {
    // externalsecret.md 8.3; pushsecret-and-stores.md SB-27; SB-36: a response that names another namespace moves nothing there
    latchkey_cluster::test(async |cx| {
        latchkey_e2e::ensure_absent(&cx).await?;
        define(&cx).await?;
        let (a, b) = (cx.new_namespace("a").await?, cx.new_namespace("b").await?);
        let other = cx.new_namespace("other").await?;
        let random = a.trim_start_matches("a-").to_owned();
        let chart = rendered::render(&cx, "latchkey", &random, &namespaced(&[&a, &b])).await?;
        let outside: Vec<&Value> = chart
            .iter()
            .map(|object| &object["kind"])
            .filter(|kind| kind.as_str().is_some_and(is_of_cluster))
            .collect();
        ensure!(outside.is_empty(), "outside namespaces: {outside:?}");
        let mut installed = of_kinds(&chart, &RIGHTS);
        installed.extend(of_kinds(&chart, &["Lease"]));
        installed.push(json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": { "name": "provider-test", "labels": { "external-secrets.io/provider": "true" } },
            "spec": { "ports": [{ "port": 8080 }] },
        }));
        let account = format!("{random}-latchkey-sync");
        let deployment = of_kinds(&chart, &["Deployment"]);
        let outcome = async {
            rendered::apply(&cx, &installed, cx.namespace()).await?;
            let mut agent = Agent::start(&cx, &deployment[0], &account).await?;
            let mut servers = JoinSet::new();
            let outcome = works(&cx, &a, &b, &other, &mut servers).await;
            let log = agent.log()?;
            let outcome = outcome.map_err(|error| error.context(log.clone()));
            outcome?;
            ensure!(!log.contains("forbidden"), "{log}");
            ensure!(log.contains("working in namespaces"), "{log}");
            no_request_was_refused(&cx, &account, &[&a, &b])?;
            a_missing_verb_is_told_on_the_object(&cx, &account, &installed, &b).await
        };
        let outcome = outcome.await;
        rendered::delete(&cx, &installed, cx.namespace()).await?;
        let delete = ["delete", "namespace", "--wait=false", &a, &b, &other];
        cx.kubectl(&delete).await?;
        outcome
    })
}

/// Everything that the agent does happens in `a` and `b`, and nothing in `other`.
async fn works(
    cx: &Context,
    a: &str,
    b: &str,
    other: &str,
    servers: &mut JoinSet<()>,
) -> Result<()> {
    let client = identity_secret(cx, "latchkey-client-tls").await?;
    let server = identity(&identity_secret(cx, "provider-test-tls").await?)?;
    let cluster = || Cluster::new(cx.client(), []);
    let fake = serve(FakeProvider::new(cluster()), server.clone(), servers).await?;
    let generators = serve(Generators::new(cluster()), server, servers).await?;
    let objects = objects(cx, &fake, &generators, &client, other)?;
    // First where nothing may happen.
    for namespace in [other, a, b] {
        rendered::apply(cx, &objects, namespace).await?;
    }
    for namespace in [a, b] {
        for name in ["e", "made", "templated", "extracted"] {
            condition(cx, namespace, name, ConditionStatus::True, "secret synced").await?;
        }
        let secrets: Api<Secret> = Api::namespaced(cx.client(), namespace);
        let value = secrets.get("templated").await?.data.unwrap_or_default();
        ensure!(
            value.get("file").is_some_and(|value| value.0 == b"[value]"),
            "it holds {value:?}"
        );
        let stores: Api<SecretStore> = Api::namespaced(cx.client(), namespace);
        let status = stores.get("s").await?.status.unwrap_or_default();
        let ready = conditions::find(&status.conditions, READY);
        ensure!(
            ready.is_some_and(|ready| ready.status == ConditionStatus::True),
            "{ready:?}"
        );
    }
    // The watch of Secrets: what is deleted comes back.
    let secrets: Api<Secret> = Api::namespaced(cx.client(), b);
    let before = secrets.get("e").await?.metadata.uid;
    secrets.delete("e", &DeleteParams::default()).await?;
    eventually(PATIENCE, "the target comes back", async || {
        let again = secrets.get_opt("e").await?;
        Ok(again.filter(|again| again.metadata.uid != before).map(drop))
    })
    .await?;
    states_come_and_go(cx, a).await?;
    refuses_what_it_cannot_read(cx, a).await?;
    let in_b: Api<ExternalSecret> = Api::namespaced(cx.client(), b);
    in_b.delete("e", &DeleteParams::default()).await?;
    eventually(PATIENCE, "the finalizer is taken off", async || {
        Ok(in_b.get_opt("e").await?.is_none().then_some(()))
    })
    .await?;

    let elsewhere: Api<ExternalSecret> = Api::namespaced(cx.client(), other);
    for object in elsewhere.list(&ListParams::default()).await? {
        ensure!(
            object.status.is_none() && object.metadata.finalizers.is_none(),
            "{:?} was touched",
            object.metadata.name
        );
    }
    let stores: Api<SecretStore> = Api::namespaced(cx.client(), other);
    ensure!(
        stores.get("s").await?.status.is_none(),
        "a store elsewhere was validated"
    );
    let secrets: Api<Secret> = Api::namespaced(cx.client(), other);
    let names: Vec<_> = secrets.list(&ListParams::default()).await?.items;
    ensure!(names.len() == 1, "secrets were made elsewhere");
    Ok(())
}

/// What replaced values leave is ended by the leader.
async fn states_come_and_go(cx: &Context, namespace: &str) -> Result<()> {
    let states: Api<GeneratorState> = Api::namespaced(cx.client(), namespace);
    let objects: Api<ExternalSecret> = Api::namespaced(cx.client(), namespace);
    let names = async || -> Result<BTreeSet<String>> {
        let list = states.list(&ListParams::default()).await?;
        Ok(list
            .items
            .into_iter()
            .filter_map(|state| state.metadata.name)
            .collect())
    };
    let first = names().await?.pop_first().context("a state was kept")?;
    for round in 1..=2 {
        let before = objects.get("made").await?.status;
        let patch = json!({ "metadata": { "annotations": { "round": round.to_string() } } });
        objects
            .patch("made", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        eventually(PATIENCE, "a refresh", async || {
            let now = objects.get("made").await?.status;
            let version = |status: &Option<_>| -> Option<String> {
                let status: &latchkey_crds::external_secret::ExternalSecretStatus =
                    status.as_ref()?;
                status.synced_resource_version.clone()
            };
            Ok((version(&now) != version(&before)).then_some(()))
        })
        .await?;
    }
    eventually(PATIENCE, "the first state ends", async || {
        Ok((!names().await?.contains(&first)).then_some(()))
    })
    .await
}

/// References to what exists outside namespaces are told on the object.
async fn refuses_what_it_cannot_read(cx: &Context, namespace: &str) -> Result<()> {
    let (store, generator) = (
        external_secret("of-cluster", "ClusterSecretStore", "big"),
        generated("of-cluster-made", "ClusterGenerator", "big"),
    );
    rendered::apply(cx, &[store, generator], namespace).await?;
    for (name, kind) in [
        ("of-cluster", "ClusterSecretStore"),
        ("of-cluster-made", "ClusterGenerator"),
    ] {
        let text = format!("{kind} \"big\" cannot be used: this agent works in namespaces ");
        condition(cx, namespace, name, ConditionStatus::False, &text).await?;
    }
    Ok(())
}

/// The audit log: no request was answered with 403, and none concerned anything but the given namespaces and the release's.
fn no_request_was_refused(cx: &Context, account: &str, namespaces: &[&str]) -> Result<()> {
    let requests = cx.audit(cx.namespace(), account)?;
    ensure!(requests.len() > 50, "only {} requests", requests.len());
    for request in requests {
        let object = &request.object_ref;
        ensure!(
            request.response_status.code != 403,
            "refused: {} {}",
            request.verb,
            request.request_uri
        );
        let is_theirs = object.resource.is_empty()
            || object.namespace == cx.namespace()
            || namespaces.contains(&object.namespace.as_str());
        ensure!(
            is_theirs,
            "asked elsewhere: {} {}",
            request.verb,
            request.request_uri
        );
    }
    Ok(())
}

/// Without the verb `create` on Secrets the API server's words are on the object, and nothing else breaks.
async fn a_missing_verb_is_told_on_the_object(
    cx: &Context,
    account: &str,
    installed: &[Value],
    namespace: &str,
) -> Result<()> {
    let mut roles = of_kinds(installed, &["Role"]);
    roles.retain(|role| role["metadata"]["namespace"] == namespace);
    for rule in roles
        .iter_mut()
        .flat_map(|role| role["rules"].as_array_mut())
        .flatten()
    {
        if rule["resources"] == json!(["secrets"])
            && let Some(verbs) = rule["verbs"].as_array_mut()
        {
            verbs.retain(|verb| verb != "create");
        }
    }
    rendered::apply(cx, &roles, namespace).await?;
    let client = account::client(cx, cx.namespace(), account).await?;
    eventually(PATIENCE, "the verb is gone", async || {
        let rights = account::rights(&client, namespace).await?;
        Ok((!allows(&rights, "", "secrets", "create", None)).then_some(()))
    })
    .await?;
    let refused = external_secret("refused", "SecretStore", "s");
    rendered::apply(cx, std::slice::from_ref(&refused), namespace).await?;
    let failed = "could not update secret";
    condition(cx, namespace, "refused", ConditionStatus::False, failed).await?;
    let events: Api<Event> = Api::namespaced(cx.client(), namespace);
    eventually(PATIENCE, "an event with the reason", async || {
        let notes = events.list(&ListParams::default()).await?.items;
        let notes: Vec<String> = notes.into_iter().filter_map(|event| event.note).collect();
        let told = notes.iter().any(|note| {
            note.contains("cannot create resource \"secrets\"") && note.contains(namespace)
        });
        ensure!(told, "seen {notes:?}");
        Ok(Some(()))
    })
    .await
}
