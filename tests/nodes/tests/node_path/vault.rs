//! An OpenBao beside the cluster and `provider-vault` in it, with an agent whose kubelet hands over tokens.

use std::path::PathBuf;

use anyhow::{Context as _, Result, bail, ensure};
use latchkey_cluster::Context;
use latchkey_e2e::{
    AGENT, Bao, SYSTEM, agent_pod, ensure_installed, helm_install_agent, helm_install_provider,
    images,
};
use latchkey_proto::provider::v1::{
    ExternalSecretDataRemoteRef, GetSecretRequest, ProviderReference,
};
use latchkey_transport::{Address, ClientOptions, Connection, FileNames, Identity, SharedIdentity};
use serde_json::{Value, json};
use tonic::{Request, Status};

/// The server, and a role's part in it.
pub(crate) struct Rig {
    pub(crate) bao: Bao,
    /// A cluster-wide name of this test alone.
    reviewer: String,
}

/// Runs `body` with an OpenBao that has `password=first` at `secret/web` and a policy `web` to read it, the provider of release
/// `vault`, tokens for the audience `bao`, and service accounts `web` and `worker`. What is not in the test's namespace is taken
/// away again.
pub(crate) async fn with_vault(
    cx: &Context,
    body: impl AsyncFnOnce(&Context, &Rig) -> Result<()>,
) -> Result<()> {
    ensure_installed(cx).await?;
    let address = cx.cluster().layout().node(1).address();
    let rig = Rig {
        bao: Bao::start(&address).await?,
        reviewer: format!("{}-reviewer", cx.namespace()),
    };
    let outcome = match rig.install(cx).await {
        Ok(()) => body(cx, &rig).await,
        Err(error) => Err(error.context("the vault of this test")),
    };
    let cleaned = rig.take_away(cx).await;
    outcome.and(cleaned)
}

// === impl Rig ===

impl Rig {
    async fn install(&self, cx: &Context) -> Result<()> {
        self.put("first")?;
        let policy = "path \"secret/data/web\" { capabilities = [\"read\"] }";
        self.bao
            .run(&["policy", "write", "web", "-"], Some(policy))?;
        for account in ["web", "worker"] {
            cx.kubectl(&["create", "serviceaccount", account]).await?;
        }
        let image = images().join("provider-vault.tar");
        ensure!(image.exists(), "no image at {}", image.display());
        cx.cluster().import_image(&image).await?;
        let values = ["--set=provider.type=vault", "--set=replicaCount=1"];
        helm_install_provider(cx, "vault", &values).await?;
        self.request_tokens(cx, "bao", &[]).await?;
        // They look at the CSIDriver object once a minute: this is not what is tested.
        restart_agents(cx).await
    }

    async fn take_away(&self, cx: &Context) -> Result<()> {
        let uninstalled = cx
            .helm(&[
                "uninstall",
                "vault",
                "--namespace",
                SYSTEM,
                "--wait",
                "--ignore-not-found",
            ])
            .await;
        // What kubectl has set would stay otherwise.
        let patched = patch_driver(cx, &Value::Null).await;
        let agent = helm_install_agent(cx, &[]).await;
        let unbound = cx
            .kubectl(&[
                "delete",
                "clusterrolebinding",
                &self.reviewer,
                "--ignore-not-found",
            ])
            .await;
        uninstalled?;
        patched?;
        agent?;
        unbound.map(drop)
    }

    /// Writes the one value.
    pub(crate) fn put(&self, value: &str) -> Result<()> {
        let pair = format!("password={value}");
        self.bao.run(&["kv", "put", "secret/web", &pair], None)?;
        Ok(())
    }

    /// The method `kubernetes`: the role `web` is for these service accounts of the test's namespace, and the API server is asked
    /// whether a token for the audience `bao` holds.
    pub(crate) async fn admit_by_review(&self, cx: &Context, accounts: &str) -> Result<()> {
        let methods = self.bao.run(&["auth", "list"], None)?;
        if !methods.contains("kubernetes/") {
            self.review_tokens(cx).await?;
        }
        let names = format!("bound_service_account_names={accounts}");
        let namespaces = format!("bound_service_account_namespaces={}", cx.namespace());
        let role = "auth/kubernetes/role/web";
        let rest = ["audience=bao", "token_policies=web", "token_ttl=10m"];
        self.bao.run(
            &[&["write", role, &names, &namespaces], &rest[..]].concat(),
            None,
        )?;
        Ok(())
    }

    async fn review_tokens(&self, cx: &Context) -> Result<()> {
        cx.kubectl(&["create", "serviceaccount", "reviewer"])
            .await?;
        let subject = format!("--serviceaccount={}:reviewer", cx.namespace());
        let role = "--clusterrole=system:auth-delegator";
        cx.kubectl(&[
            "create",
            "clusterrolebinding",
            &self.reviewer,
            role,
            &subject,
        ])
        .await?;
        let token = cx.kubectl(&["create", "token", "reviewer"]).await?;
        let authority = std::fs::read_to_string(pki(cx, "ca.crt"))?;
        let host = cx.cluster().layout().node(1).address();
        let config = json!({
            "kubernetes_host": format!("https://{host}:6443"),
            "kubernetes_ca_cert": authority,
            "token_reviewer_jwt": token.trim(),
            "disable_local_ca_jwt": true,
        });
        self.bao.run(&["auth", "enable", "kubernetes"], None)?;
        self.bao.run(
            &["write", "auth/kubernetes/config", "-"],
            Some(&config.to_string()),
        )?;
        Ok(())
    }

    /// The method `jwt`: the role `web` is for one service account of the test's namespace, for the audiences `bao` and `other`;
    /// logins remember token, audience and pod.
    pub(crate) fn admit_by_signature(&self, cx: &Context, account: &str) -> Result<()> {
        let public = std::fs::read_to_string(pki(cx, "service-accounts.pub"))?;
        self.bao.run(&["auth", "enable", "jwt"], None)?;
        let key = format!("jwt_validation_pubkeys={public}");
        self.bao.run(&["write", "auth/jwt/config", &key], None)?;
        let role = json!({
            "role_type": "jwt",
            "user_claim": "sub",
            "bound_audiences": ["bao", "other"],
            "bound_subject": format!("system:serviceaccount:{}:{account}", cx.namespace()),
            "claim_mappings": {"jti": "token", "/aud/0": "audience", "/kubernetes.io/pod/uid": "pod"},
            "token_policies": ["web"],
            "token_ttl": "10m",
        });
        self.bao.run(
            &["write", "auth/jwt/role/web", "-"],
            Some(&role.to_string()),
        )?;
        Ok(())
    }

    /// Logs in by the method `kubernetes` with a token.
    pub(crate) fn logs_in(&self, role: &str, token: &str) -> Result<()> {
        let body = json!({"role": role, "jwt": token});
        self.bao.run(
            &["write", "auth/kubernetes/login", "-"],
            Some(&body.to_string()),
        )?;
        Ok(())
    }

    /// What is remembered of each login that has not ended.
    pub(crate) fn sessions(&self) -> Result<Vec<Value>> {
        let accessors = self
            .bao
            .run(&["list", "-format=json", "auth/token/accessors"], None)?;
        let accessors: Vec<String> = serde_json::from_str(&accessors)?;
        let mut found = Vec::new();
        for accessor in accessors {
            let looked = ["token", "lookup", "-format=json", "-accessor", &accessor];
            // It may have ended since.
            let Ok(text) = self.bao.run(&looked, None) else {
                continue;
            };
            let token: Value = serde_json::from_str(&text)?;
            found.push(token["data"]["meta"].clone());
        }
        Ok(found)
    }

    /// Has kubelet hand over tokens for one audience. `values` are further ones of the agent's chart.
    pub(crate) async fn request_tokens(
        &self,
        cx: &Context,
        audience: &str,
        values: &[&str],
    ) -> Result<()> {
        let requests = json!([{"audience": audience, "expirationSeconds": 600}]);
        let requests = format!("--set-json=node.tokenRequests={requests}");
        helm_install_agent(cx, &[&[&*requests], values].concat()).await
    }

    /// Whether kubelet hands them over apart from the attributes, and agents that know.
    pub(crate) async fn hand_over_in_secrets(&self, cx: &Context, is_apart: &Value) -> Result<()> {
        patch_driver(cx, is_apart).await?;
        restart_agents(cx).await
    }

    /// Tokens are in no state file of a node and in no log of its agent (csi.md 9.2).
    pub(crate) async fn shows_no_token(&self, cx: &Context, node: &str) -> Result<()> {
        // The beginning of each JSON Web Token's header: `{"alg":"`.
        const HEADER: &str = "eyJhbGciOi";
        let agent = agent_pod(cx, node).await?.metadata.name;
        let agent = agent.context("a pod has a name")?;
        let mut texts = vec![cx.kubectl(&["logs", &agent, "--namespace", SYSTEM]).await?];
        let root = cx.cluster().kubelet_root(node)?;
        let states = cx.node_path(node, &format!("{root}/plugins/csi.latchkey.dev/volumes"))?;
        for state in std::fs::read_dir(states)? {
            texts.push(std::fs::read_to_string(state?.path())?);
        }
        ensure!(texts.len() > 1, "there is no state on {node}");
        if texts.iter().any(|text| text.contains(HEADER)) {
            bail!("a token is in a state or in the log on {node}");
        }
        Ok(())
    }
}

/// A connection to `provider-vault` with the identity of a node's agent.
pub(crate) struct Provider(Connection);

// === impl Provider ===

impl Provider {
    /// Takes the identity from the volume of the agent on a node.
    pub(crate) async fn connect(cx: &Context, node: &str) -> Result<Self> {
        let agent = agent_pod(cx, node).await?;
        let uid = agent.metadata.uid.context("a pod has a UID")?;
        let volumes = agent.spec.unwrap_or_default().volumes.unwrap_or_default();
        let own = volumes.iter().find(|volume| {
            let secret = volume.secret.as_ref();
            secret
                .is_some_and(|secret| secret.secret_name.as_deref() == Some("latchkey-client-tls"))
        });
        let volume = &own.context("the agent has an identity")?.name;
        let root = cx.cluster().kubelet_root(node)?;
        let folder = format!("{root}/pods/{uid}/volumes/kubernetes.io~secret/{volume}");
        let identity =
            Identity::from_directory(&cx.node_path(node, &folder)?, &FileNames::default())?;
        let service = "jsonpath={.spec.clusterIP}";
        let address = cx
            .kubectl(&[
                "get",
                "service",
                "provider-vault",
                "--namespace",
                SYSTEM,
                "--output",
                service,
            ])
            .await?;
        let options = ClientOptions {
            server_name: Some(format!("provider-vault.{SYSTEM}.svc")),
            ..ClientOptions::default()
        };
        let address: Address = format!("{address}:8080").parse()?;
        Ok(Self(Connection::open(
            &address,
            SharedIdentity::new(identity),
            &options,
        )?))
    }

    /// Reads the one value through a HashicorpVault, with a token of a pod or without.
    pub(crate) async fn read(
        &self,
        cx: &Context,
        vault: &str,
        token: Option<&str>,
    ) -> Result<Vec<u8>, Status> {
        let mut request = Request::new(GetSecretRequest {
            remote_ref: Some(ExternalSecretDataRemoteRef {
                key: "web".to_owned(),
                property: "password".to_owned(),
                ..Default::default()
            }),
            provider_ref: Some(ProviderReference {
                api_version: "provider.secretstore.external-secrets.io/v2alpha1".to_owned(),
                kind: "HashicorpVault".to_owned(),
                name: vault.to_owned(),
                namespace: cx.namespace().to_owned(),
                store_ref_kind: "SecretStore".to_owned(),
            }),
            source_namespace: cx.namespace().to_owned(),
        });
        if let Some(token) = token {
            let token = token.parse().map_err(|_| Status::internal("no header"))?;
            request.metadata_mut().insert("eso-caller-token", token);
        }
        Ok(self
            .0
            .store_client()
            .get_secret(request)
            .await?
            .into_inner()
            .value)
    }
}

/// A HashicorpVault of the rig's server.
pub(crate) fn vault(name: &str, rig: &Rig, auth: Value) -> Value {
    json!({
        "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1",
        "kind": "HashicorpVault",
        "metadata": {"name": name},
        "spec": {"server": rig.bao.address(), "path": "secret", "auth": auth},
    })
}

/// A store of a HashicorpVault.
pub(crate) fn store(name: &str, vault: &str, annotations: Value) -> Value {
    let mut store = latchkey_e2e::store(name, vault, "vault");
    store["metadata"]["annotations"] = annotations;
    store["spec"]["providerConfig"]["providerRef"]["kind"] = json!("HashicorpVault");
    store
}

/// An ExternalSecret of the one value.
pub(crate) fn external_secret(name: &str, store: &str) -> Value {
    let mut object = latchkey_e2e::external_secret(name, store, &[], "1s");
    object["spec"]["data"] = json!([
        {"secretKey": "password", "remoteRef": {"key": "web", "property": "password"}},
    ]);
    object
}

async fn patch_driver(cx: &Context, in_secrets: &Value) -> Result<()> {
    let patch = json!({"spec": {"serviceAccountTokenInSecrets": in_secrets}}).to_string();
    cx.kubectl(&[
        "patch",
        "csidriver",
        "csi.latchkey.dev",
        "--type=merge",
        "--patch",
        &patch,
    ])
    .await?;
    Ok(())
}

/// Agents read the CSIDriver object when they start.
async fn restart_agents(cx: &Context) -> Result<()> {
    cx.kubectl(&["delete", "pods", "--selector", AGENT, "--namespace", SYSTEM])
        .await?;
    for node in cx.cluster().nodes()? {
        agent_pod(cx, &node).await?;
    }
    Ok(())
}

fn pki(cx: &Context, name: &str) -> PathBuf {
    cx.cluster().layout().folder().join("pki").join(name)
}
