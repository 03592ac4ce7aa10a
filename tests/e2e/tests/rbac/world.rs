//! What the tests with a running agent share: definitions, provider servers, objects.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::Api;
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_e2e::root;
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{Metrics, Provider, Server};
use latchkey_transport::{Identity, SharedIdentity};
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

/// How long anything may take. Much longer than it takes on a busy machine.
pub(crate) const PATIENCE: Duration = Duration::from_secs(60);

/// A release of the chart `latchkey` for `namespaces` that leaves out everything outside namespaces.
pub(crate) fn namespaced(namespaces: &[&str]) -> Vec<String> {
    let mut values: Vec<String> = [
        "sync.mode=Deployment",
        "sync.shards=2",
        "node.enabled=false",
        "admissionPolicies.enabled=false",
        "rbac.aggregate=false",
        "generators.gracePeriod=1s",
        "providers.allowedHosts={localhost}",
    ]
    .iter()
    .map(|&value| value.to_owned())
    .collect();
    values.push(format!("watchNamespaces={{{}}}", namespaces.join(",")));
    values
}

/// Applies the definitions of both charts.
pub(crate) async fn define(cx: &Context) -> Result<()> {
    for chart in ["latchkey", "provider"] {
        for file in std::fs::read_dir(root().join("charts").join(chart).join("crds"))? {
            cx.apply(&std::fs::read_to_string(file?.path())?).await?;
        }
    }
    let wait = [
        "wait",
        "--for=condition=Established",
        "--timeout=60s",
        "crd",
        "--all",
    ];
    cx.kubectl(&wait).await.map(drop)
}

/// Serves a provider at `localhost`; its address. It ends with `tasks`.
pub(crate) async fn serve<P: Provider>(
    provider: P,
    identity: Identity,
    tasks: &mut JoinSet<()>,
) -> Result<String> {
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    let admin = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", grpc.local_addr()?.port());
    let mut registry = Registry::default();
    let server = Server {
        provider: Arc::new(provider),
        metrics: Metrics::register(&mut registry),
        registry,
        limits: ServiceLimits::default(),
        drain_timeout: Duration::from_secs(1),
    };
    let identity = SharedIdentity::new(identity);
    tasks.spawn(async move {
        let stop = CancellationToken::new();
        let served = server.serve(grpc, admin, async { Some(identity) }, &stop);
        served.await.expect("the server works until it is dropped");
    });
    Ok(address)
}

/// Waits for a Secret with an identity.
pub(crate) async fn identity_secret(cx: &Context, name: &str) -> Result<Secret> {
    let secrets: Api<Secret> = Api::namespaced(cx.client(), cx.namespace());
    eventually(PATIENCE, &format!("secret {name}"), async || {
        Ok(secrets.get_opt(name).await?)
    })
    .await
}

/// The identity in a Secret.
pub(crate) fn identity(secret: &Secret) -> Result<Identity> {
    let data = secret.data.as_ref().context("it has data")?;
    let part = |key: &str| {
        let bytes = data.get(key).map(|bytes| bytes.0.as_slice());
        bytes.with_context(|| format!("it has no {key}"))
    };
    Ok(Identity::from_pem(
        part("ca.crt")?,
        part("tls.crt")?,
        part("tls.key")?,
    )?)
}

/// How stores reach the provider: with a client identity of their own namespace, and by the name in its certificate.
pub(crate) fn reach(cx: &Context, address: &str, kind: &str, name: &str) -> Value {
    json!({
        "address": address,
        "providerRef": { "kind": kind, "name": name },
        "auth": { "clientCertificate": {
            "secretRef": { "name": "client" },
            "serverName": format!("provider-test.{}.svc", cx.namespace()),
        } },
    })
}

/// An ExternalSecret of one key from a store of its namespace or of the cluster.
pub(crate) fn external_secret(name: &str, kind: &str, store: &str) -> Value {
    json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": name },
        "spec": {
            "refreshInterval": "1h",
            "secretStoreRef": {
                "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": kind, "name": store,
            },
            "data": [{ "secretKey": "k", "remoteRef": { "key": "key" } }],
        },
    })
}

/// Waits until an ExternalSecret is ready or failed with a message that contains `part`.
pub(crate) async fn condition(
    cx: &Context,
    namespace: &str,
    name: &str,
    status: ConditionStatus,
    part: &str,
) -> Result<()> {
    let objects: Api<ExternalSecret> = Api::namespaced(cx.client(), namespace);
    eventually(
        PATIENCE,
        &format!("{namespace}/{name} Ready={status} {part}"),
        async || {
            let found = objects.get(name).await?.status.unwrap_or_default();
            let ready = conditions::find(&found.conditions, READY);
            let as_wanted = ready.is_some_and(|ready| {
                let message = ready.message.as_deref().unwrap_or_default();
                ready.status == status && message.contains(part)
            });
            ensure!(as_wanted, "it is {ready:?}");
            Ok(Some(()))
        },
    )
    .await
}
