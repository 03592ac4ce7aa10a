//! The identity of pods by kubelet's own hand (cluster.md 7.3; csi.md 9.2): kubelet has the tokens made and hands them over, the
//! agent and the provider are those of the charts, and a real OpenBao decides.

use anyhow::{Context as _, Result, bail, ensure};
use k8s_openapi::api::core::v1::Pod;
use kube::Api;
use latchkey_cluster::either::test_alone;
use latchkey_cluster::{Context, eventually};
use latchkey_e2e::{Planted, ROOT_TOKEN, SYSTEM, list, pod, volume};
use serde_json::{Value, json};
use tonic::Code;

use crate::support::{
    PATIENCE, event, file, file_becomes, mounts_of, nothing_is_left, pod_goes, uid,
};
use crate::vault::{Provider, Rig, external_secret, store, vault, with_vault};

/// cluster.md 7.3, with the method that asks the API server. The node's own identity, the provider's, and what the pod's author
/// writes take no pod's place.
#[test]
fn kubelets_token_gives_a_pod_what_its_own_service_account_may_read() -> Result<()> {
    test_alone(async |cx| {
        with_vault(&cx, async |cx, rig| {
            rig.admit_by_review(cx, "web").await?;
            let auth = json!({"kubernetes": {"role": "web", "useCallerToken": true}});
            cx.apply(&list(&[
                vault("bao", rig, auth),
                store("pods", "bao", json!({"latchkey.dev/caller-identity": "ServiceAccount", "latchkey.dev/caller-audience": "bao"})),
                store("plain", "bao", json!({})),
                external_secret("es", "pods"),
                external_secret("plain", "plain"),
            ]))
            .await?;
            let of = |external_secret: &str| json!({"externalSecret": external_secret});
            // Whoever has stolen a token cannot hand it over in kubelet's place.
            let token = cx.kubectl(&["create", "token", "web", "--audience=bao"]).await?;
            let stolen = json!({"bao": {"token": token.trim(), "expirationTimestamp": "2099-01-01T00:00:00Z"}});
            let mut forged = of("es");
            forged["csi.storage.k8s.io/serviceAccount.tokens"] = json!(stolen.to_string());
            cx.apply(&list(&[
                pod_of("web", "web", "n1", of("es")),
                pod_of("worker", "worker", "n1", of("es")),
                pod_of("forged", "worker", "n1", forged),
                pod_of("plain", "web", "n1", of("plain")),
            ]))
            .await?;
            cx.pod_ready("web", PATIENCE).await?;
            ensure!(file(cx, "web", "/v/password").await? == "first");

            let account = format!("service account {}/worker", cx.namespace());
            for pod in ["worker", "forged"] {
                let parts = ["PermissionDenied", "the role \"web\"", &account];
                event(cx, pod, "FailedMount", &parts).await?;
                event(cx, pod, "SecretMountFailed", &parts[1..]).await?;
            }
            let parts = ["Unauthenticated", "caller-identity"];
            event(cx, "plain", "FailedMount", &parts).await?;
            for pod in ["worker", "forged", "plain"] {
                is_still_being_created(cx, pod).await?;
                ensure!(mounts_of(cx, "n1", &uid(cx, pod).await?)?.is_empty());
            }
            // With the agent's and the provider's own tokens there is no login either.
            for account in ["latchkey-node", "provider-vault"] {
                let token = cx
                    .kubectl(&["create", "token", account, "--audience=bao", "--namespace", SYSTEM])
                    .await?;
                ensure!(rig.logs_in("web", token.trim()).is_err(), "{account} logs in");
            }
            ensure!(rig.logs_in("web", token.trim()).is_ok(), "the role admits nobody");

            // Whom the backend admits later starts by itself.
            rig.admit_by_review(cx, "web,worker").await?;
            cx.kubectl(&["delete", "pod", "worker", "forged", "plain", "--wait=false"]).await?;
            pod_goes(cx, "worker").await?;
            cx.apply(&list(&[pod_of("worker", "worker", "n1", of("es"))])).await?;
            cx.pod_ready("worker", PATIENCE).await?;
            ensure!(file(cx, "worker", "/v/password").await? == "first");
            let uid = uid(cx, "web").await?;
            cx.kubectl(&["delete", "pod", "web", "--wait=false"]).await?;
            nothing_is_left(cx, "n1", &uid).await
        })
        .await
    })
}

/// cluster.md 7.3: the token is bound to its pod and has the audience of the CSIDriver object; what kubelet hands over with a later
/// publish, renewed or for another audience, takes its place. kubelet renews after four fifths of ten minutes at the earliest, but
/// a kubelet that starts has forgotten its tokens and has others made: that is what is seen here. Both ways of handing over.
#[test]
fn renewed_tokens_take_the_place_of_earlier_ones_however_kubelet_hands_them_over() -> Result<()> {
    test_alone(async |cx| {
        with_vault(&cx, async |cx, rig| {
            rig.admit_by_signature(cx, "web")?;
            let auth = json!({"jwt": {"role": "web", "useCallerToken": true}});
            cx.apply(&list(&[
                vault("bao", rig, auth),
                // Without an audience: the only one that kubelet hands over.
                store(
                    "pods",
                    "bao",
                    json!({"latchkey.dev/caller-identity": "Pod"}),
                ),
                external_secret("es", "pods"),
                pod_of("p", "web", "n1", json!({"externalSecret": "es"})),
            ]))
            .await?;
            cx.pod_ready("p", PATIENCE).await?;
            ensure!(file(cx, "p", "/v/password").await? == "first");
            let uid_p = uid(cx, "p").await?;
            let first = logged_in(rig, &uid_p, "bao", None).await?;

            cx.cluster().restart_kubelet("n1").await?;
            logged_in(rig, &uid_p, "bao", Some(&first)).await?;
            rig.put("second")?;
            file_becomes(cx, "p", "/v/password", "second").await?;

            // The agent is not touched: it uses what the next publish brings.
            rig.request_tokens(cx, "other", &[]).await?;
            logged_in(rig, &uid_p, "other", None).await?;
            rig.put("third")?;
            file_becomes(cx, "p", "/v/password", "third").await?;

            // Before Kubernetes 1.35 tokens stood among the attributes of the volume.
            rig.hand_over_in_secrets(cx, &json!(false)).await?;
            cx.apply(&list(&[pod_of(
                "q",
                "web",
                "n2",
                json!({"externalSecret": "es"}),
            )]))
            .await?;
            cx.pod_ready("q", PATIENCE).await?;
            ensure!(file(cx, "q", "/v/password").await? == "third");
            logged_in(rig, &uid(cx, "q").await?, "other", None).await?;
            rig.put("fourth")?;
            for pod in ["p", "q"] {
                file_becomes(cx, pod, "/v/password", "fourth").await?;
            }
            for node in ["n1", "n2"] {
                rig.shows_no_token(cx, node).await?;
            }
            Ok(())
        })
        .await
    })
}

/// cluster.md 7.18: whoever has everything that lies on a node (kubelet's certificate, the rights of the agent's service account,
/// the agent's identity towards providers) has what pods of that node may read, and nothing that only pods of another node may.
///
/// This is so for stores that are read under the identity of pods, and with the role `sync` apart from the nodes. What a provider
/// reads with credentials of its own it reads for every node alike, since the agents have one identity towards providers.
#[test]
fn whoever_holds_one_node_reads_nothing_that_only_pods_of_the_other_may() -> Result<()> {
    test_alone(async |cx| {
        with_vault(&cx, async |cx, rig| {
            // With the role `sync` on the nodes, as is the default, each of them reads Secrets.
            let apart = ["--set=sync.mode=Deployment", "--set=sync.replicas=1"];
            rig.request_tokens(cx, "bao", &apart).await?;
            let mut planted = Planted::new();
            let value = planted.plant();
            rig.put(&value)?;
            rig.admit_by_review(cx, "web").await?;
            let auth = json!({"kubernetes": {"role": "web", "useCallerToken": true}});
            let asks = json!({"latchkey.dev/caller-identity": "ServiceAccount"});
            let of = |name: &str, account: &str, node: &str| {
                pod_of(name, account, node, json!({"externalSecret": "es"}))
            };
            let own = json!({"tokenSecretRef": {"name": "own", "key": "token"}});
            cx.apply(&list(&[
                vault("bao", rig, auth),
                vault("open", rig, own),
                json!({
                    "apiVersion": "v1", "kind": "Secret", "metadata": {"name": "own"},
                    "stringData": {"token": ROOT_TOKEN},
                }),
                store("pods", "bao", asks),
                external_secret("es", "pods"),
                of("web", "web", "n1"),
                of("worker", "worker", "n2"),
            ]))
            .await?;
            cx.pod_ready("web", PATIENCE).await?;
            ensure!(file(cx, "web", "/v/password").await? == value);
            event(cx, "worker", "FailedMount", &["PermissionDenied"]).await?;

            // Tokens: kubelet of n2 is given one for its own pod, and no other; the agent is given none.
            let (web, worker) = (uid(cx, "web").await?, uid(cx, "worker").await?);
            let kubelet = cx.cluster().layout().folder().join("n2.kubeconfig");
            let kubelet = format!("--kubeconfig={}", kubelet.display());
            let agent = format!("--as=system:serviceaccount:{SYSTEM}:latchkey-node");
            let token = token_for(cx, &kubelet, "worker", Some(("worker", &worker))).await?;
            for (who, pod) in [
                (&kubelet, Some(("web", &*web))),
                (&kubelet, Some(("worker", &*worker))),
                (&kubelet, None),
                (&agent, Some(("web", &*web))),
                (&agent, None),
            ] {
                forbidden(
                    token_for(cx, who, "web", pod).await,
                    &format!("{who} {pod:?}"),
                )?;
            }
            let overrides = json!({"spec": {"serviceAccountName": "web", "nodeName": "n2"}});
            let overrides = format!("--overrides={overrides}");
            let run = ["run", "thief", "--image=thief", &overrides, &kubelet];
            forbidden(cx.kubectl(&run).await, "a pod of the account on n2")?;

            // The provider: the identity of the agent on n2, as it lies there, with the tokens that n2 can have.
            let provider = Provider::connect(cx, "n2").await?;
            let refused = provider
                .read(cx, "bao", None)
                .await
                .err()
                .context("read by nobody")?;
            ensure!(refused.code() == Code::Unauthenticated, "{refused:?}");
            let refused = provider.read(cx, "bao", Some(token.trim())).await;
            let refused = refused.err().context("read by worker")?;
            ensure!(refused.code() == Code::PermissionDenied, "{refused:?}");
            // So asks the agent on n1: what is refused above is the token.
            let token = cx
                .kubectl(&["create", "token", "web", "--audience=bao"])
                .await?;
            let read = provider.read(cx, "bao", Some(token.trim())).await?;
            ensure!(read == value.as_bytes());
            // What does not hold (SECURITY.md): who reads with credentials of its own reads for every node.
            let read = provider.read(cx, "open", None).await?;
            ensure!(read == value.as_bytes());

            // What lies below kubelet's folder, volumes of all kinds included.
            for (node, is_there) in [("n1", true), ("n2", false)] {
                let root = cx.cluster().kubelet_root(node)?;
                let search = format!("grep -rlF -D skip {value} {root} || test $? = 1");
                let found = cx.on_node(node, &["sh", "-c", &search]).await?;
                ensure!(found.is_empty() != is_there, "on {node}: {found}");
            }
            Ok(())
        })
        .await
    })
}

async fn token_for(
    cx: &Context,
    who: &str,
    account: &str,
    pod: Option<(&str, &str)>,
) -> Result<String> {
    let mut arguments = vec!["create", "token", account, "--audience=bao", who];
    let bound = pod.map(|(name, uid)| {
        [
            "--bound-object-kind=Pod".to_owned(),
            format!("--bound-object-name={name}"),
            format!("--bound-object-uid={uid}"),
        ]
    });
    arguments.extend(bound.iter().flatten().map(String::as_str));
    cx.kubectl(&arguments).await
}

fn forbidden(outcome: Result<String>, what: &str) -> Result<()> {
    let Err(error) = outcome else {
        bail!("{what}: it was given");
    };
    let text = format!("{error:#}");
    ensure!(text.contains("forbidden"), "{what}: {text}");
    Ok(())
}

/// Waits until the provider holds exactly one login with a token that is bound to the pod and for `audience`, and whose
/// identifier is not `earlier`: that one was given up. Answers the identifier.
async fn logged_in(rig: &Rig, uid: &str, audience: &str, earlier: Option<&str>) -> Result<String> {
    eventually(PATIENCE, "one login for the pod", async || {
        let mut sessions = rig.sessions()?;
        sessions.retain(|login| login["pod"] == uid && login["audience"] == audience);
        let [login] = &sessions[..] else {
            bail!("there are {sessions:?}");
        };
        let token = login["token"].as_str().context("logins name their token")?;
        Ok((earlier != Some(token)).then(|| token.to_owned()))
    })
    .await
}

fn pod_of(name: &str, account: &str, node: &str, attributes: Value) -> Value {
    let mut pod = pod(name, node, &[volume("v", attributes)]);
    pod["spec"]["serviceAccountName"] = json!(account);
    pod
}

async fn is_still_being_created(cx: &Context, pod: &str) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(cx.client(), cx.namespace());
    let status = pods.get(pod).await?.status.unwrap_or_default();
    let containers = status.container_statuses.context("its containers")?;
    let is_waiting = containers.iter().all(|container| {
        let waiting = container
            .state
            .as_ref()
            .and_then(|state| state.waiting.as_ref());
        waiting.and_then(|waiting| waiting.reason.as_deref()) == Some("ContainerCreating")
    });
    ensure!(is_waiting, "{pod} is not waiting: {containers:?}");
    Ok(())
}
