//! The identity of pods, end to end (csi.md 9.2): tokens that a real API server signs, handed to the agent's volumes as kubelet
//! does, shown to a Vault provider, which logs in with them at a real OpenBao.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, bail, ensure};
use futures::StreamExt as _;
use jiff::Timestamp;
use k8s_openapi::api::authentication::v1::{BoundObjectReference, TokenRequest, TokenRequestSpec};
use k8s_openapi::api::core::v1::{Pod, ServiceAccount};
use kube::Api;
use kube::api::PostParams;
use kube::runtime::events::{Recorder, Reporter};
use latchkey::providers::{
    Identities, OwnIdentity, PodTokens, Pool, PoolSettings, ProviderMetrics, ProviderSource,
    Providers, Tokens,
};
use latchkey::stores::{AllowedHosts, ApiReader, Policy};
use latchkey::templates::ApiObjects;
use latchkey::volumes::{self, Plan, Volumes};
use latchkey_cluster::eventually;
use latchkey_csi::backend::{
    Backend as _, Failure, FailureClass, FileSet, ServiceAccountToken, ServiceAccountTokens,
    Update, VolumeRequest,
};
use latchkey_e2e::Bao;
use latchkey_e2e::tls::{Usage, identity};
use latchkey_engine::template::{Renderer, Settings};
use latchkey_provider_sdk::service::ServiceLimits;
use latchkey_provider_sdk::{Cluster, Metrics, Server};
use latchkey_provider_vault::{Backend, BackendOptions, Limits, VaultProvider};
use latchkey_secret::SecretValue;
use latchkey_transport::SharedIdentity;
use prometheus_client::registry::Registry;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::support::{PATIENCE, World, with_world};

const DEFINITION: &str = include_str!(
    "../../../../charts/provider/crds/provider.secretstore.external-secrets.io_hashicorpvaults.yaml"
);
const AUDIENCE: &str = "bao";

/// The volumes of one node, and kubelet's part in the test's hands.
struct Node {
    volumes: Volumes<ProviderSource<ApiReader>>,
    stop: CancellationToken,
}

/// A pod that never runs, and its volume.
struct Mounted {
    uid: String,
    account: String,
    plan: Plan,
}

#[test]
fn pods_read_what_the_backend_admits_their_service_account_to() -> Result<()> {
    with_world(async |world| {
        let bao = Bao::start("127.0.0.1").await?;
        let namespace = world.cx.namespace().to_owned();
        let public = std::fs::read_to_string(
            world
                .cx
                .cluster()
                .layout()
                .folder()
                .join("pki/service-accounts.pub"),
        )?;
        bao.run(&["kv", "put", "secret/web", "password=first"], None)?;
        bao.run(&["auth", "enable", "jwt"], None)?;
        let key = format!("jwt_validation_pubkeys={public}");
        bao.run(&["write", "auth/jwt/config", &key], None)?;
        let policy = "path \"secret/data/web\" { capabilities = [\"read\"] }";
        bao.run(&["policy", "write", "web", "-"], Some(policy))?;
        let subject = format!("bound_subject=system:serviceaccount:{namespace}:web");
        let role = [
            "write",
            "auth/jwt/role/web",
            "role_type=jwt",
            "user_claim=sub",
            "bound_audiences=bao",
            "token_policies=web",
            &subject,
        ];
        bao.run(&role, None)?;

        world.cx.apply(DEFINITION).await?;
        let kind = "crd/hashicorpvaults.provider.secretstore.external-secrets.io";
        let wait = ["wait", "--for=condition=Established", "--timeout=60s", kind];
        world.cx.kubectl(&wait).await?;
        let stop = CancellationToken::new();
        let _stopping = stop.clone().drop_guard();
        let address = serve(world, &stop).await?;
        apply_objects(world, &address, bao.address()).await?;
        // What the store's provider can tell without a pod is that it cannot tell.
        world
            .judged("SecretStore", "pods", "ValidationUnknown")
            .await?;

        let node = Node::start(world, &stop)?;
        let web = node.mounted(world, "web", "web-0", "es").await?;
        let files = node.publish(world, &web).await?;
        ensure!(files.map(|files| text(&files))? == "password=first");

        // Its token is genuine, and the role is not for it: nothing of what the other has read helps.
        let worker = node.mounted(world, "worker", "worker-0", "es").await?;
        let failure = refused(node.publish(world, &worker).await?)?;
        let account = format!("service account {namespace}/worker");
        ensure!(
            failure.class == FailureClass::PermissionDenied,
            "{failure:?}"
        );
        for part in [&*account, "role \"web\""] {
            ensure!(failure.message.contains(part), "{}", failure.message);
        }
        event(world, "worker-0", &account).await?;

        // No identity of the node's or the provider's takes a pod's place.
        let tokenless = node.mounted(world, "default", "default-0", "es").await?;
        let deadline = Instant::now() + PATIENCE;
        let failure = refused(node.volumes.first(&tokenless.plan, deadline).await)?;
        ensure!(
            failure.class == FailureClass::FailedPrecondition
                && failure.message.contains("node.tokenRequests"),
            "{failure:?}"
        );
        let plain = node.mounted(world, "web", "web-2", "plain").await?;
        let failure = refused(node.publish(world, &plain).await?)?;
        ensure!(
            failure.class == FailureClass::Unauthenticated
                && failure.message.contains("caller-identity"),
            "{failure:?}"
        );

        // A renewed token is used from the next refresh on (cluster.md 7.3).
        let mut updates = node.volumes.subscribe(&web.plan);
        bao.run(&["kv", "put", "secret/web", "password=second"], None)?;
        node.hand_over(world, &web).await?;
        let second = tokio::time::timeout(PATIENCE, async {
            loop {
                match updates.next().await.context("the stream has ended")? {
                    Update::Content(files, _) if text(&files) == "password=second" => break Ok(()),
                    Update::Content(..) => {}
                    Update::Stale(reason, _) => bail!("it is stale: {reason}"),
                }
            }
        });
        second.await??;
        node.stop.cancel();
        node.volumes.join().await;

        // The role `sync` has no pod: it says so, and reads nothing.
        let message = "a store is read under the identity of pods, so this is for volumes only: set spec.target.creationPolicy to None";
        world.told("secret", message).await?;
        ensure!(world.secrets.get_opt("secret").await?.is_none());
        world
            .told("es", "each pod that mounts it is given its own values")
            .await?;
        Ok(())
    })
}

fn refused(result: Result<FileSet, Failure>) -> Result<Failure> {
    match result {
        Ok(files) => bail!("it was mounted with {} files", files.files.len()),
        Err(failure) => Ok(failure),
    }
}

fn text(files: &FileSet) -> String {
    let files = files.files.iter().map(|file| {
        let content = String::from_utf8_lossy(file.content.expose());
        format!("{}={content}", file.path)
    });
    files.collect::<Vec<_>>().join(" ")
}

/// Waits for an event of a pod whose text contains `part`.
async fn event(world: &World, pod: &str, part: &str) -> Result<()> {
    eventually(PATIENCE, &format!("event with {part}"), async || {
        let events = world.events("Pod", pod).await?;
        let notes: Vec<_> = events
            .into_iter()
            .filter(|event| event.reason.as_deref() == Some("SecretMountFailed"))
            .filter_map(|event| event.note)
            .collect();
        ensure!(notes.iter().any(|note| note.contains(part)), "{notes:?}");
        Ok(Some(()))
    })
    .await
}

/// Runs a Vault provider; its address.
async fn serve(world: &World, stop: &CancellationToken) -> Result<String> {
    let grpc = TcpListener::bind("127.0.0.1:0").await?;
    let admin = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", grpc.local_addr()?.port());
    let mut registry = Registry::default();
    let metrics = Metrics::register(&mut registry);
    let backend = Backend::new(BackendOptions {
        limits: Limits::default(),
        token_cache_size: 16,
        read_cache_ttl: Duration::ZERO,
        metrics: metrics.clone(),
        stop: stop.clone(),
    });
    let server = Server {
        provider: Arc::new(VaultProvider::new(
            Cluster::new(world.cx.client(), []),
            backend,
        )),
        metrics,
        registry,
        limits: ServiceLimits::default(),
        drain_timeout: Duration::from_millis(100),
    };
    let own = SharedIdentity::new(identity(Usage::ServerAuth)?);
    let stopped = stop.clone();
    tokio::spawn(async move {
        let served = server.serve(grpc, admin, async { Some(own) }, &stopped);
        served.await.expect("it serves until it is told to stop");
    });
    Ok(address)
}

/// One Vault, a store that is read under the identity of pods and one that is not, and what uses them.
async fn apply_objects(world: &World, address: &str, bao: &str) -> Result<()> {
    let class = world.cx.namespace();
    let store = |name: &str, annotations: Value| {
        json!({
            "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore",
            "metadata": {"name": name, "annotations": annotations},
            "spec": {"controller": class, "providerConfig": {
                "address": address, "providerRef": {"kind": "HashicorpVault", "name": "bao"},
            }},
        })
    };
    let object = |name: &str, store: &str, policy: &str| {
        json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": {"name": name},
            "spec": {
                "refreshInterval": "1s",
                "secretStoreRef": {
                    "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore", "name": store,
                },
                "target": {"creationPolicy": policy},
                "data": [{"secretKey": "password", "remoteRef": {"key": "web", "property": "password"}}],
            },
        })
    };
    let vault = json!({
        "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1", "kind": "HashicorpVault",
        "metadata": {"name": "bao"},
        "spec": {"server": bao, "path": "secret", "auth": {"jwt": {"role": "web", "useCallerToken": true}}},
    });
    let asks = json!({"latchkey.dev/caller-identity": "ServiceAccount", "latchkey.dev/caller-audience": AUDIENCE});
    let items = [
        vault,
        store("pods", asks),
        store("plain", json!({})),
        object("es", "pods", "None"),
        object("plain", "plain", "None"),
        object("secret", "pods", "Owner"),
    ];
    world.cx.apply(&latchkey_e2e::list(&items)).await?;
    for account in ["web", "worker"] {
        let create = ["create", "serviceaccount", account];
        world.cx.kubectl(&create).await?;
    }
    Ok(())
}

// === impl Node ===

impl Node {
    fn start(world: &World, stop: &CancellationToken) -> Result<Self> {
        let own = OwnIdentity::new("the test");
        own.set(identity(Usage::ClientAuth)?);
        let namespace = world.cx.namespace().to_owned();
        let providers = Arc::new(Providers {
            policy: Policy {
                controller_class: namespace.clone(),
                allowed_hosts: AllowedHosts::new(["*"]),
                ..Policy::default()
            },
            identities: Identities::from_files(own, "/nonexistent".into(), namespace),
            tokens: Arc::new(Tokens::none()),
            pool: Pool::new(PoolSettings::default(), ProviderMetrics::default()),
            timeout: Duration::from_secs(10),
        });
        let client = world.cx.client();
        let pods = Arc::new(PodTokens::new("n1"));
        let reader = Arc::new(ApiReader::new(client.clone()));
        let source = ProviderSource::for_volumes(reader, providers, Arc::clone(&pods));
        let objects = Arc::new(ApiObjects::new(client.clone(), false));
        let reporter = Reporter {
            controller: "latchkey".to_owned(),
            instance: Some("n1".to_owned()),
        };
        let stop = stop.child_token();
        let volumes = Volumes::new(
            client.clone(),
            Arc::new(source),
            Arc::new(Renderer::new(Settings::default(), objects)),
            pods,
            volumes::Config::default(),
            Recorder::new(client, reporter),
            stop.clone(),
        );
        Ok(Self { volumes, stop })
    }

    /// A pod that nobody runs, for its token to be bound to, and its volume of an ExternalSecret.
    async fn mounted(
        &self,
        world: &World,
        account: &str,
        name: &str,
        external_secret: &str,
    ) -> Result<Mounted> {
        let mut pod = latchkey_e2e::pod(name, "", &[]);
        pod["spec"]["serviceAccountName"] = json!(account);
        pod["spec"]["schedulerName"] = json!("nobody");
        world.cx.apply(&pod.to_string()).await?;
        let pods: Api<Pod> = Api::namespaced(world.cx.client(), world.cx.namespace());
        let uid = pods
            .get(name)
            .await?
            .metadata
            .uid
            .context("a pod has a UID")?;
        let request = VolumeRequest {
            volume_id: format!("csi-{name}"),
            namespace: world.cx.namespace().to_owned(),
            pod_name: name.to_owned(),
            pod_uid: uid.clone(),
            service_account: account.to_owned(),
            attributes: [("externalSecret".to_owned(), external_secret.to_owned())].into(),
        };
        Ok(Mounted {
            uid,
            account: account.to_owned(),
            plan: self.volumes.plan(&request)?,
        })
    }

    /// What kubelet does before each publish: it has a token made for the pod, and hands it over.
    async fn hand_over(&self, world: &World, mounted: &Mounted) -> Result<()> {
        let accounts: Api<ServiceAccount> =
            Api::namespaced(world.cx.client(), world.cx.namespace());
        let request = TokenRequest {
            spec: TokenRequestSpec {
                audiences: vec![AUDIENCE.to_owned()],
                expiration_seconds: Some(600),
                bound_object_ref: Some(BoundObjectReference {
                    api_version: Some("v1".to_owned()),
                    kind: Some("Pod".to_owned()),
                    name: Some(mounted.plan.pod.name.clone()),
                    uid: Some(mounted.uid.clone()),
                }),
            },
            ..TokenRequest::default()
        };
        let made = accounts
            .create_token_request(&mounted.account, &PostParams::default(), &request)
            .await?;
        let status = made.status.context("a token was made")?;
        let token = ServiceAccountToken {
            token: SecretValue::from(status.token),
            expires_at: Timestamp::from_second(status.expiration_timestamp.0.as_second())?,
        };
        let tokens = ServiceAccountTokens::from_iter([(AUDIENCE.to_owned(), token)]);
        self.volumes.tokens(&mounted.plan, &tokens);
        Ok(())
    }

    /// The first publish of a volume.
    async fn publish(&self, world: &World, mounted: &Mounted) -> Result<Result<FileSet, Failure>> {
        self.hand_over(world, mounted).await?;
        let deadline = Instant::now() + PATIENCE;
        Ok(self.volumes.first(&mounted.plan, deadline).await)
    }
}
