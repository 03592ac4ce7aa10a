//! Admission by the test: the API server asks it about each write of one agent, and it makes the first attempts fail.
//!
//! Refusals of an admission webhook reach the client with the code, the reason and the `Retry-After` that the webhook gave.
//! Source: Kubernetes, "Dynamic Admission Control", response.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use anyhow::{Context as _, Result};
use axum::Router;
use axum::extract::State;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::{ApiResource, GroupVersionKind};
use latchkey_cluster::eventually;
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_e2e::tls::{Usage, authority, issue};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivatePkcs8KeyDer;
use tokio_rustls::server::TlsStream;

use crate::world::{PATIENCE, World};

/// Annotation that a foreign writer puts on Secrets.
pub(crate) const MEDDLER: &str = "example.com/meddler";
/// Condition that a foreign writer puts into the status of ExternalSecrets.
pub(crate) const MEDDLED: &str = "Meddled";

/// What happens to the first attempt of each write.
pub(crate) enum Fault {
    /// It is refused with 409. Events are not: a recorder takes no for an answer, Kubernetes' own does too.
    Conflict,
    /// It is refused with 429; the API server asks to wait one second.
    TooManyRequests,
    /// Someone else writes the object first, with this client, or creates the one that was to be created: the API server's own
    /// check of versions then refuses it.
    Race(Client),
}

/// Verb in capitals, resource with subresource, namespace and name.
pub(crate) type Write = (String, String, String, String);

/// When a write was attempted, in order.
type Attempts = BTreeMap<Write, Vec<Instant>>;

/// The webhook, until it is closed.
pub(crate) struct Gate {
    desk: Arc<Desk>,
    name: String,
    client: Client,
    _server: JoinSet<()>,
}

struct Desk {
    fault: Fault,
    attempts: Mutex<Attempts>,
    /// Whether the API server has asked at all.
    is_known: Mutex<bool>,
}

// === impl Gate ===

impl Gate {
    /// Lets the API server ask about each write of `account` in the world's namespaces.
    pub(crate) async fn open(world: &World, account: &str, fault: Fault) -> Result<Self> {
        let desk = Arc::new(Desk {
            fault,
            attempts: Mutex::default(),
            is_known: Mutex::new(false),
        });
        let (port, server) = serve(Arc::clone(&desk)).await?;
        let gate = Self {
            desk,
            name: format!("{}-gate", world.cx.namespace()),
            client: world.cx.client(),
            _server: server,
        };
        let configuration = gate.configuration(world, account, port).await?;
        gate.api()
            .create(&PostParams::default(), &configuration)
            .await?;
        // The API server takes a moment to take notice.
        let secrets: Api<Secret> =
            Api::namespaced(world.client(account, None).await?, world.cx.namespace());
        let probe: Secret = serde_json::from_value(json!({ "metadata": { "name": "probe" } }))?;
        let dry_run = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        eventually(PATIENCE, "the API server asks", async || {
            secrets.create(&dry_run, &probe).await.ok();
            Ok(gate.desk.is_known.lock().then_some(()))
        })
        .await?;
        Ok(gate)
    }

    /// The attempts so far. From now on first ones fail again.
    pub(crate) fn forget(&self) -> Attempts {
        std::mem::take(&mut self.desk.attempts.lock())
    }

    pub(crate) async fn close(self) -> Result<()> {
        self.api()
            .delete(&self.name, &DeleteParams::default())
            .await?;
        Ok(())
    }

    fn api(&self) -> Api<DynamicObject> {
        Api::all_with(self.client.clone(), &resource())
    }

    async fn configuration(
        &self,
        world: &World,
        account: &str,
        port: u16,
    ) -> Result<DynamicObject> {
        let bundle = ByteString(authority().into_bytes());
        let rule = |group: &str, resources: &[&str], operations: &[&str]| json!({ "apiGroups": [group], "apiVersions": ["v1"], "resources": resources, "operations": operations });
        let objects = ["externalsecrets", "externalsecrets/status"];
        let user = format!("system:serviceaccount:{}:{account}", world.cx.namespace());
        let object = json!({
            "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
            "metadata": { "name": self.name, "ownerReferences": [world.owner().await?] },
            "webhooks": [{
                "name": "gate.latchkey.test",
                "clientConfig": { "url": format!("https://127.0.0.1:{port}/"), "caBundle": bundle },
                "rules": [
                    rule("", &["secrets"], &["CREATE", "UPDATE"]),
                    rule("external-secrets.io", &objects, &["UPDATE"]),
                    rule("events.k8s.io", &["events"], &["CREATE"]),
                ],
                "namespaceSelector": { "matchExpressions": [
                    { "key": "kubernetes.io/metadata.name", "operator": "In", "values": world.namespaces },
                ] },
                "matchConditions": [
                    { "name": "agent", "expression": format!("request.userInfo.username == '{user}'") },
                ],
                "sideEffects": "NoneOnDryRun",
                "admissionReviewVersions": ["v1"],
                "timeoutSeconds": 10,
            }],
        });
        Ok(serde_json::from_value(object)?)
    }
}

fn resource() -> ApiResource {
    ApiResource::from_gvk(&GroupVersionKind::gvk(
        "admissionregistration.k8s.io",
        "v1",
        "ValidatingWebhookConfiguration",
    ))
}

// === impl Desk ===

impl Desk {
    /// The answer to a request for admission.
    async fn answer(&self, request: &Value) -> Result<Value> {
        *self.is_known.lock() = true;
        let text = |field: &str| request[field].as_str().unwrap_or_default().to_owned();
        let resource = match text("subResource").as_str() {
            "" => resource_of(request),
            part => format!("{}/{part}", resource_of(request)),
        };
        let write = (text("operation"), resource, text("namespace"), text("name"));
        let is_first = !request["dryRun"].as_bool().unwrap_or_default() && self.note(&write);
        let status = match &self.fault {
            _ if !is_first => None,
            Fault::Conflict if write.1 == "events" => None,
            Fault::Conflict => {
                Some(json!({ "code": 409, "reason": "Conflict", "message": "refused once" }))
            }
            Fault::TooManyRequests => Some(json!({
                "code": 429, "reason": "TooManyRequests", "message": "refused once",
                "details": { "retryAfterSeconds": 1 },
            })),
            Fault::Race(client) => {
                meddle(client, &write).await?;
                None
            }
        };
        Ok(match status {
            Some(status) => json!({ "uid": request["uid"], "allowed": false, "status": status }),
            None => json!({ "uid": request["uid"], "allowed": true }),
        })
    }

    /// Whether it is the first attempt of a write.
    fn note(&self, write: &Write) -> bool {
        let mut attempts = self.attempts.lock();
        let attempts = attempts.entry(write.clone()).or_default();
        attempts.push(Instant::now());
        attempts.len() == 1
    }
}

fn resource_of(request: &Value) -> String {
    let resource = request["resource"]["resource"].as_str();
    resource.unwrap_or_default().to_owned()
}

/// Whether the foreign writer creates the target of this object before the agent does.
pub(crate) fn is_created_by_meddler(name: &str) -> bool {
    name.ends_with(['0', '2', '4', '6', '8'])
}

/// Writes an object between the agent's read and its write.
async fn meddle(client: &Client, (operation, resource, namespace, name): &Write) -> Result<()> {
    static NUMBER: AtomicU64 = AtomicU64::new(0);
    // Never the same twice: an equal one would be no write.
    let number = format!("n{}", NUMBER.fetch_add(1, Ordering::Relaxed));
    let parameters = PatchParams::default();
    match (operation.as_str(), resource.as_str()) {
        ("CREATE", "secrets") if is_created_by_meddler(name) => {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let secret = json!({
                "metadata": { "name": name, "annotations": { MEDDLER: number } },
                "stringData": { "foreign": "value" },
            });
            secrets
                .create(&PostParams::default(), &serde_json::from_value(secret)?)
                .await?;
        }
        ("UPDATE", "secrets") => {
            let secrets: Api<Secret> = Api::namespaced(client.clone(), namespace);
            let patch = json!({ "metadata": { "annotations": { MEDDLER: number } } });
            secrets
                .patch(name, &parameters, &Patch::Merge(patch))
                .await?;
        }
        ("UPDATE", "externalsecrets" | "externalsecrets/status") => {
            let objects: Api<ExternalSecret> = Api::namespaced(client.clone(), namespace);
            let condition = json!({
                "type": MEDDLED, "status": "True", "reason": number,
                "message": "", "lastTransitionTime": "2026-01-01T00:00:00Z",
            });
            let patch = json!({ "status": { "conditions": [condition] } });
            objects
                .patch_status(name, &parameters, &Patch::Merge(patch))
                .await?;
        }
        _ => {}
    }
    Ok(())
}

async fn serve(desk: Arc<Desk>) -> Result<(u16, JoinSet<()>)> {
    let tcp = TcpListener::bind("127.0.0.1:0").await?;
    let port = tcp.local_addr()?.port();
    let issued = issue(Usage::ServerAuth)?;
    let key = PrivatePkcs8KeyDer::from(issued.key.serialize_der());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![issued.certificate.der().clone()], key.into())?;
    let listener = TlsListener {
        tcp,
        acceptor: TlsAcceptor::from(Arc::new(config)),
    };
    let router = Router::new().fallback(review).with_state(desk);
    let mut server = JoinSet::new();
    server.spawn(async move {
        axum::serve(listener, router).await.ok();
    });
    Ok((port, server))
}

async fn review(State(desk): State<Arc<Desk>>, body: String) -> impl IntoResponse {
    let review: Value = serde_json::from_str(&body).unwrap_or_default();
    let answer = desk.answer(&review["request"]).await;
    let answer = answer.context("the meddler").unwrap_or_else(|error| {
        let status = json!({ "code": 500, "message": format!("{error:#}") });
        json!({ "uid": review["request"]["uid"], "allowed": false, "status": status })
    });
    let answer = json!({ "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": answer });
    ([(CONTENT_TYPE, "application/json")], answer.to_string())
}

struct TlsListener {
    tcp: TcpListener,
    acceptor: TlsAcceptor,
}

impl axum::serve::Listener for TlsListener {
    type Io = TlsStream<TcpStream>;
    type Addr = SocketAddr;

    async fn accept(&mut self) -> (Self::Io, Self::Addr) {
        loop {
            // The API server is the only caller: one handshake at a time is enough.
            if let Ok((stream, address)) = self.tcp.accept().await
                && let Ok(stream) = self.acceptor.accept(stream).await
            {
                return (stream, address);
            }
        }
    }

    fn local_addr(&self) -> std::io::Result<Self::Addr> {
        self.tcp.local_addr()
    }
}
