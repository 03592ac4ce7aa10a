//! Tokens of ServiceAccounts that accompany calls: made by a real API server with the chart's own rights, heard by a provider
//! (P-TLS-5).

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::authentication::v1::{
    SelfSubjectReview, TokenReview, TokenReviewSpec, TokenReviewStatus,
};
use k8s_openapi::api::core::v1::Secret;
use k8s_openapi::api::events::v1::Event;
use kube::api::{Api, DeleteParams, ListParams, Patch, PatchParams, PostParams};
use kube::config::{AuthInfo, KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use latchkey::namespaces::WatchNamespaces;
use latchkey::providers::{
    Identities, OwnIdentity, Pool, PoolSettings, ProviderMetrics, ProviderSource, Providers, Tokens,
};
use latchkey::shards::Ownership;
use latchkey::stores::validation::{self, StoreMetrics, Validator};
use latchkey::stores::{AllowedHosts, ApiReader, Policy};
use latchkey::sync;
use latchkey::templates::ApiObjects;
use latchkey_cluster::{Context, eventually};
use latchkey_crds::conditions::{self, ConditionStatus, READY};
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_crds::secret_store::SecretStore;
use latchkey_e2e::root;
use latchkey_e2e::tls::{Usage, identity};
use latchkey_engine::template::{Renderer, Settings};
use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::{
    SecretStoreProvider, SecretStoreProviderServer,
};
use latchkey_transport::{Incoming, ServerOptions};
use parking_lot::Mutex;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use tonic::{Request, Response, Status};

use crate::support::{DEFINITIONS, texts};

/// Longer than the longest pause between two looks at a store.
const PATIENCE: Duration = Duration::from_secs(60);

/// The agents of other tests look at all namespaces; stores of this class are this test's alone.
const CLASS: &str = "tokens";

/// The header `authorization` of every call.
type Heard = Arc<Mutex<Vec<Option<String>>>>;

/// Answers the value `one` to every read.
struct Service;

#[tonic::async_trait]
impl SecretStoreProvider for Service {
    async fn get_secret(
        &self,
        _: Request<wire::GetSecretRequest>,
    ) -> Result<Response<wire::GetSecretResponse>, Status> {
        let value = b"one".to_vec();
        Ok(Response::new(wire::GetSecretResponse { value }))
    }

    async fn get_secret_map(
        &self,
        _: Request<wire::GetSecretMapRequest>,
    ) -> Result<Response<wire::GetSecretMapResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn push_secret(
        &self,
        _: Request<wire::PushSecretRequest>,
    ) -> Result<Response<wire::PushSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn delete_secret(
        &self,
        _: Request<wire::DeleteSecretRequest>,
    ) -> Result<Response<wire::DeleteSecretResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn secret_exists(
        &self,
        _: Request<wire::SecretExistsRequest>,
    ) -> Result<Response<wire::SecretExistsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn get_all_secrets(
        &self,
        _: Request<wire::GetAllSecretsRequest>,
    ) -> Result<Response<wire::GetAllSecretsResponse>, Status> {
        Err(Status::unimplemented(""))
    }

    async fn validate(
        &self,
        _: Request<wire::ValidateRequest>,
    ) -> Result<Response<wire::ValidateResponse>, Status> {
        Ok(Response::new(wire::ValidateResponse {
            valid: true,
            ..wire::ValidateResponse::default()
        }))
    }

    async fn capabilities(
        &self,
        _: Request<wire::CapabilitiesRequest>,
    ) -> Result<Response<wire::CapabilitiesResponse>, Status> {
        Ok(Response::new(wire::CapabilitiesResponse {
            capabilities: 2,
        }))
    }
}

/// Runs the provider; its address and what it hears.
async fn serve(stop: &CancellationToken, tasks: &mut JoinSet<()>) -> Result<(String, Heard)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = format!("localhost:{}", listener.local_addr()?.port());
    let own = identity(Usage::ServerAuth)?;
    let incoming = Incoming::new(listener, own.into(), &ServerOptions::default(), stop);
    let heard = Heard::default();
    let listening = {
        let heard = Arc::clone(&heard);
        move |request: Request<()>| {
            let header = request.metadata().get("authorization");
            let header = header.map(|header| header.to_str().unwrap_or("?").to_owned());
            heard.lock().push(header);
            Ok(request)
        }
    };
    let server = tonic::transport::Server::builder()
        .layer(tonic::service::InterceptorLayer::new(listening))
        .add_service(SecretStoreProviderServer::new(Service))
        .serve_with_incoming_shutdown(incoming, stop.clone().cancelled_owned());
    tasks.spawn(async move { server.await.expect("it serves until it is told to stop") });
    Ok((address, heard))
}

/// Runs what the agent does with stores and ExternalSecrets. Only its TokenRequests are made with `rights`.
fn run_agent(
    cx: &Context,
    rights: Client,
    stop: &CancellationToken,
    tasks: &mut JoinSet<()>,
) -> Result<()> {
    let own = OwnIdentity::new("the test");
    own.set(identity(Usage::ClientAuth)?);
    let providers = Arc::new(Providers {
        policy: Policy {
            controller_class: CLASS.into(),
            allowed_hosts: AllowedHosts::new(["*"]),
            ..Policy::default()
        },
        identities: Identities::from_files(own, "/nonexistent".into(), cx.namespace().to_owned()),
        tokens: Arc::new(Tokens::through_api(rights)),
        pool: Pool::new(PoolSettings::default(), ProviderMetrics::default()),
        timeout: Duration::from_secs(10),
    });
    let reader = Arc::new(ApiReader::new(cx.client()));
    let source = Arc::new(ProviderSource::new(reader, providers.clone()));
    let settings = validation::Settings {
        interval: Duration::from_secs(300),
        instance: None,
        cluster_stores: true,
        namespaces: WatchNamespaces::all(),
    };
    let validator = Validator::new(cx.client(), providers, settings, StoreMetrics::default());
    let objects = Arc::new(ApiObjects::new(cx.client(), true));
    let delivery = sync::run(
        cx.client(),
        source,
        Arc::new(Renderer::new(Settings::default(), objects)),
        sync::Config {
            namespaces: WatchNamespaces::of([cx.namespace()]),
            controller_class: CLASS.into(),
            ..sync::Config::default()
        },
        sync::Metrics::default(),
        Arc::new(Ownership::of_everything()),
        stop.clone(),
    );
    let validating = stop.clone();
    tasks.spawn(async move { Box::pin(validator.run(validating)).await });
    tasks.spawn(async move {
        Box::pin(delivery)
            .await
            .expect("it works until it is told to stop")
    });
    Ok(())
}

async fn config(cx: &Context) -> Result<Config> {
    let kubeconfig = Kubeconfig::read_from(cx.cluster().layout().kubeconfig())?;
    Ok(Config::from_custom_kubeconfig(kubeconfig, &KubeConfigOptions::default()).await?)
}

/// The release whose identity the agent has.
const RELEASE: &str = "tokens";

/// A client with no rights but those that [`allow`] gives.
async fn agent_identity(cx: &Context) -> Result<Client> {
    let mut config = config(cx).await?;
    let account = format!(
        "system:serviceaccount:{}:{RELEASE}-latchkey-node",
        cx.namespace()
    );
    config.auth_info.impersonate = Some(account);
    config.auth_info.impersonate_groups = Some(vec![
        String::from("system:serviceaccounts"),
        String::from("system:authenticated"),
    ]);
    Ok(Client::try_from(config)?)
}

/// The chart's own Role for these accounts.
async fn allow(cx: &Context, names: &[&str]) -> Result<()> {
    let chart = root().join("charts/latchkey");
    let accounts = json!([{ "namespace": cx.namespace(), "names": names }]);
    let manifests = cx
        .helm(&[
            "template",
            RELEASE,
            &chart.to_string_lossy(),
            "--show-only=templates/token-rbac.yaml",
            &format!("--set-json=sync.serviceAccountTokens={accounts}"),
        ])
        .await?;
    cx.apply(&manifests).await.map(drop)
}

async fn store(cx: &Context, name: &str, address: &str, account: Value) -> Result<()> {
    let store = json!({
        "apiVersion": "secretstore.external-secrets.io/v2alpha1",
        "kind": "SecretStore", "metadata": { "name": name },
        "spec": { "controller": CLASS, "providerConfig": {
            "address": address,
            "auth": { "serviceAccountRef": account },
            "providerRef": { "kind": "Fake", "name": "fake" },
        } },
    });
    cx.apply(&store.to_string()).await.map(drop)
}

async fn has_condition(
    stores: &Api<SecretStore>,
    name: &str,
    status: ConditionStatus,
    reason: &str,
    part: &str,
) -> Result<()> {
    let what = format!("store {name} Ready={status} {reason} {part}");
    eventually(PATIENCE, &what, async || {
        let status_now = stores.get(name).await?.status.unwrap_or_default();
        let ready = conditions::find(&status_now.conditions, READY);
        let as_wanted = ready.is_some_and(|ready| {
            ready.status == status
                && ready.reason.as_deref() == Some(reason)
                && ready
                    .message
                    .as_deref()
                    .is_some_and(|message| message.contains(part))
        });
        ensure!(as_wanted, "it is {ready:?}");
        Ok(Some(()))
    })
    .await
}

/// What the API server thinks of a token that is shown to one of `audiences`, or to itself.
async fn review(cx: &Context, token: &str, audiences: &[&str]) -> Result<TokenReviewStatus> {
    let reviews: Api<TokenReview> = Api::all(cx.client());
    let audiences: Vec<String> = audiences.iter().map(|name| (*name).to_owned()).collect();
    let review = TokenReview {
        spec: TokenReviewSpec {
            audiences: (!audiences.is_empty()).then_some(audiences),
            token: Some(token.to_owned()),
        },
        ..TokenReview::default()
    };
    let review = reviews.create(&PostParams::default(), &review).await?;
    review.status.context("a review has an outcome")
}

/// The status code with which the API server answers whoever shows it the token.
async fn answer_to(cx: &Context, token: &str) -> Result<u16> {
    let mut config = config(cx).await?;
    config.auth_info = AuthInfo {
        token: Some(token.to_owned().into()),
        ..AuthInfo::default()
    };
    let reviews: Api<SelfSubjectReview> = Api::all(Client::try_from(config)?);
    let mine = SelfSubjectReview::default();
    match reviews.create(&PostParams::default(), &mine).await {
        Ok(_) => Ok(201),
        Err(kube::Error::Api(status)) => Ok(status.code),
        Err(error) => Err(error.into()),
    }
}

fn claims(token: &str) -> Result<Value> {
    let payload = token.split('.').nth(1).context("it has three parts")?;
    Ok(serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload)?)?)
}

#[test]
fn sync_shows_providers_a_short_token_that_is_good_for_nobody_else() -> Result<()> {
    // SB-29, SB-26, SB-24, P-TLS-5; pushsecret-and-stores.md B2
    latchkey_cluster::test(async |cx| {
        latchkey_e2e::ensure_absent(&cx).await?;
        for definition in DEFINITIONS {
            cx.apply(definition).await?;
        }
        let kinds = [
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/externalsecrets.external-secrets.io",
            "crd/secretstores.secretstore.external-secrets.io",
            "crd/clustersecretstores.secretstore.external-secrets.io",
        ];
        cx.kubectl(&kinds).await?;
        for account in ["caller", "unlisted"] {
            cx.kubectl(&["create", "serviceaccount", account]).await?;
        }
        let (stop, mut tasks) = (CancellationToken::new(), JoinSet::new());
        let _stopping = stop.clone().drop_guard();
        let (address, heard) = serve(&stop, &mut tasks).await?;
        run_agent(&cx, agent_identity(&cx).await?, &stop, &mut tasks)?;
        let stores: Api<SecretStore> = Api::namespaced(cx.client(), cx.namespace());

        // Off by default, and one condition says what is missing.
        let (bad, reason) = (ConditionStatus::False, "InvalidProviderConfig");
        let missing = |account: &str| {
            format!(
                "unable to create client: the agent may not create serviceaccounts/token of ServiceAccount {}/{account}: \
                 add it to the chart value sync.serviceAccountTokens",
                cx.namespace()
            )
        };
        store(&cx, "bao", &address, json!({ "name": "caller" })).await?;
        has_condition(&stores, "bao", bad, reason, &missing("caller")).await?;
        ensure!(heard.lock().is_empty(), "the provider was asked");

        // Allowed for one account and no other.
        allow(&cx, &["caller"]).await?;
        has_condition(
            &stores,
            "bao",
            ConditionStatus::True,
            "Valid",
            "store validated",
        )
        .await?;
        store(&cx, "unlisted", &address, json!({ "name": "unlisted" })).await?;
        has_condition(&stores, "unlisted", bad, reason, &missing("unlisted")).await?;
        let audiences =
            json!({ "name": "caller", "audiences": ["https://kubernetes.default.svc"] });
        store(&cx, "api", &address, audiences).await?;
        let (reason, part) = ("InvalidStoreConfiguration", "is the API server's");
        has_condition(&stores, "api", bad, reason, part).await?;

        let objects: Api<ExternalSecret> = Api::namespaced(cx.client(), cx.namespace());
        let secrets: Api<Secret> = Api::namespaced(cx.client(), cx.namespace());
        let object = json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": "web" },
            "spec": {
                "refreshInterval": "1h",
                "secretStoreRef": { "apiVersion": "secretstore.external-secrets.io/v2alpha1", "name": "bao" },
                "data": [{ "secretKey": "a", "remoteRef": { "key": "db" } }],
            },
        });
        cx.apply(&object.to_string()).await?;
        let secret = eventually(PATIENCE, "secret web", async || {
            Ok(secrets.get_opt("web").await?)
        })
        .await?;
        ensure!(texts(&secret)["a"] == "one");

        let calls = heard.lock().clone();
        ensure!(!calls.is_empty());
        for header in &calls {
            let token = header
                .as_deref()
                .and_then(|header| header.strip_prefix("Bearer "));
            let token = token.context("a call without token")?;
            let claims = claims(token)?;
            ensure!(
                claims["aud"] == json!(["external-secrets-provider"]),
                "{}",
                claims["aud"]
            );
            let time = |claim: &str| claims[claim].as_i64().context("a time");
            ensure!(time("exp")? - time("iat")? <= 600);
        }
        let token = calls.last().cloned().flatten().unwrap_or_default();
        let token = token.trim_start_matches("Bearer ");
        let shown = review(&cx, token, &["external-secrets-provider"]).await?;
        ensure!(shown.authenticated == Some(true), "it is not genuine");
        let user = shown.user.and_then(|user| user.username);
        let expected = format!("system:serviceaccount:{}:caller", cx.namespace());
        ensure!(user == Some(expected), "it is for {user:?}");
        ensure!(review(&cx, token, &[]).await?.authenticated != Some(true));
        ensure!(review(&cx, token, &["vault"]).await?.authenticated != Some(true));
        let code = answer_to(&cx, token).await?;
        ensure!(code == 401, "the API server answers {code}");

        // Without its store nothing is served any more; what is there stays.
        stores.delete("bao", &DeleteParams::default()).await?;
        let patch = json!({ "metadata": { "annotations": { "again": "1" } } });
        objects
            .patch("web", &PatchParams::default(), &Patch::Merge(patch))
            .await?;
        eventually(PATIENCE, "web fails", async || {
            let status = objects.get("web").await?.status.unwrap_or_default();
            let ready = conditions::find(&status.conditions, READY);
            Ok(ready.is_some_and(|ready| ready.status == bad).then_some(()))
        })
        .await?;
        ensure!(texts(&secrets.get("web").await?)["a"] == "one");
        ensure!(heard.lock().len() == calls.len(), "the provider was asked");

        let events: Api<Event> = Api::namespaced(cx.client(), cx.namespace());
        let told = [
            serde_json::to_string(&events.list(&ListParams::default()).await?.items)?,
            serde_json::to_string(&stores.list(&ListParams::default()).await?.items)?,
            serde_json::to_string(&objects.list(&ListParams::default()).await?.items)?,
        ];
        let signature = token.rsplit('.').next().unwrap_or_default();
        ensure!(!signature.is_empty() && told.iter().all(|text| !text.contains(signature)));
        Ok(())
    })
}
