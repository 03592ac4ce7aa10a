//! The steps of the demo. Each returns only after it has seen what it claims.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, bail};
use k8s_openapi::api::core::v1::{Namespace, Pod, Secret};
use kube::api::{DeleteParams, PostParams};
use kube::{Api, Client};
use latchkey_cluster::{Cluster, TEST_IMAGE, etcd, eventually};
use rand::RngExt as _;

use crate::backend::OpenBao;
use crate::{Args, Progress};

/// Namespace of the charts; `examples/quickstart/store.yaml` names it.
const SYSTEM: &str = "latchkey";
/// Namespace of the application.
const APPLICATION: &str = "demo";
/// Longest wait for anything to become true.
const PATIENCE: Duration = Duration::from_secs(120);

/// A selector-less Service that gives the OpenBao server beside the cluster the name that the quickstart uses.
const OPENBAO_SERVICE: &str = r#"
apiVersion: v1
kind: Service
metadata: {name: openbao, namespace: latchkey}
spec: {ports: [{name: http, port: 8200}]}
---
apiVersion: discovery.k8s.io/v1
kind: EndpointSlice
metadata: {name: openbao-1, namespace: latchkey, labels: {kubernetes.io/service-name: openbao}}
addressType: IPv4
ports: [{name: http, port: 8200}]
endpoints: [{addresses: ["10.89.0.1"], conditions: {ready: true}}]
"#;

/// Runs every step.
pub(crate) async fn run(
    cluster: &Cluster,
    backend: &OpenBao<'_>,
    args: &Args,
    progress: &mut Progress,
) -> Result<()> {
    let client = cluster.client().await?;
    prepare(cluster, &client, args, progress).await?;

    let mut values = Values::random();
    values.store(backend)?;
    progress.done("OpenBao runs and holds three random values");

    install(cluster, args, progress).await?;

    let manifests = args.root.join("examples/quickstart");
    kubectl(
        cluster,
        &["apply", "--server-side", "--filename"],
        &[manifests.join("store.yaml").as_os_str()],
    )?;
    kubectl(
        cluster,
        &[
            "apply",
            "--server-side",
            "--namespace",
            APPLICATION,
            "--filename",
        ],
        &[manifests.join("app.yaml").as_os_str()],
    )?;
    secret_shows(&client, &values).await?;
    progress.done(
        "the Secret `app-config` was made from the ExternalSecret and holds OpenBao's values",
    );

    pod_runs(&client).await?;
    file_shows(cluster, "/etc/app/config/password", &values.password).await?;
    file_shows(cluster, "/etc/app/config/username", &values.username).await?;
    progress.done("the same ExternalSecret is files in the running pod, the bytes equal");

    file_shows(cluster, "/etc/app/signing/key", &values.signing).await?;
    stored_nowhere(&values).await?;
    progress.done(
        "the volume-only ExternalSecret is a file in the pod, and its value is nowhere in the API server (every stored object was searched)",
    );

    values = Values::random();
    values.store(backend)?;
    let changed = Instant::now();
    secret_shows(&client, &values).await?;
    let secret_after = changed.elapsed();
    file_shows(cluster, "/etc/app/config/password", &values.password).await?;
    file_shows(cluster, "/etc/app/signing/key", &values.signing).await?;
    stored_nowhere(&values).await?;
    progress.done(&format!(
        "a change in OpenBao arrived in the Secret after {:.1} s and in the files after {:.1} s (refreshInterval 10s)",
        secret_after.as_secs_f64(),
        changed.elapsed().as_secs_f64()
    ));

    unmounted_with_the_pod(cluster, &client).await?;
    progress.done("the pod was deleted and its mounts are gone from the node");

    if args.keep {
        kubectl(
            cluster,
            &[
                "apply",
                "--server-side",
                "--namespace",
                APPLICATION,
                "--filename",
            ],
            &[manifests.join("app.yaml").as_os_str()],
        )?;
    }
    Ok(())
}

/// The values that are planted, fresh in each run, so that nothing can be right by accident.
struct Values {
    username: String,
    password: String,
    signing: String,
}

impl Values {
    fn random() -> Self {
        let text = |prefix: &str| format!("{prefix}-{:032x}", rand::rng().random::<u128>());
        Self {
            username: text("user"),
            password: text("password"),
            signing: text("signing"),
        }
    }

    fn store(&self, backend: &OpenBao<'_>) -> Result<()> {
        backend.put(
            "app/config",
            &[("username", &self.username), ("password", &self.password)],
        )?;
        backend.put("app/signing", &[("key", &self.signing)])
    }
}

/// Images on the node, namespaces, the name of the OpenBao server.
async fn prepare(
    cluster: &Cluster,
    client: &Client,
    args: &Args,
    progress: &mut Progress,
) -> Result<()> {
    progress.note("importing the images");
    for name in ["latchkey", "provider-vault"] {
        cluster
            .import_image(&args.images.join(format!("{name}.tar")))
            .await?;
    }
    // The quickstart's pod wants a public image; the cluster's own test image holds the same program.
    let mut tag = cluster.ctr("n1")?;
    tag.args([
        "images",
        "tag",
        "--force",
        TEST_IMAGE,
        "docker.io/library/busybox:1.35",
    ]);
    succeed(tag)?;
    let namespaces: Api<Namespace> = Api::all(client.clone());
    for name in [SYSTEM, APPLICATION] {
        let mut namespace = Namespace::default();
        namespace.metadata.name = Some(name.to_owned());
        namespaces
            .create(&PostParams::default(), &namespace)
            .await?;
    }
    let mut apply = cluster.kubectl();
    apply.args(["apply", "--server-side", "--filename=-"]);
    succeed_with(apply, OPENBAO_SERVICE)?;
    progress.done("images imported");
    Ok(())
}

/// `helm install` of both charts, with no TLS input.
async fn install(cluster: &Cluster, args: &Args, progress: &mut Progress) -> Result<()> {
    progress.note("helm install latchkey; helm install bao --set provider.type=vault");
    let charts = args.root.join("charts");
    let mut latchkey = cluster.helm();
    latchkey
        .args(["install", "latchkey", "--namespace", SYSTEM])
        .arg(charts.join("latchkey"));
    succeed(latchkey)?;
    let mut provider = cluster.helm();
    provider
        .args([
            "install",
            "bao",
            "--namespace",
            SYSTEM,
            "--set",
            "provider.type=vault",
        ])
        .arg(charts.join("provider"));
    succeed(provider)?;
    kubectl(
        cluster,
        &[
            "rollout",
            "status",
            "--namespace",
            SYSTEM,
            "daemonset/latchkey",
            "--timeout=120s",
        ],
        &[],
    )?;
    kubectl(
        cluster,
        &[
            "rollout",
            "status",
            "--namespace",
            SYSTEM,
            "deployment/provider-bao",
            "--timeout=120s",
        ],
        &[],
    )?;
    progress.done("both charts are installed and ready; certificates were made without any input");
    Ok(())
}

/// Waits until the Secret holds exactly the planted values.
async fn secret_shows(client: &Client, values: &Values) -> Result<()> {
    let secrets: Api<Secret> = Api::namespaced(client.clone(), APPLICATION);
    eventually(
        PATIENCE,
        "the Secret app-config with the values of OpenBao",
        async || {
            let Some(secret) = secrets.get_opt("app-config").await? else {
                return Ok(None);
            };
            let data = secret.data.unwrap_or_default();
            let shows = |key: &str, value: &str| {
                data.get(key)
                    .is_some_and(|bytes| bytes.0 == value.as_bytes())
            };
            Ok(
                (shows("username", &values.username) && shows("password", &values.password))
                    .then_some(()),
            )
        },
    )
    .await
}

async fn pod_runs(client: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), APPLICATION);
    eventually(PATIENCE, "the pod app running", async || {
        let phase = pods
            .get("app")
            .await?
            .status
            .and_then(|status| status.phase);
        Ok((phase.as_deref() == Some("Running")).then_some(()))
    })
    .await
}

/// Waits until a file in the pod's container holds exactly `value`.
async fn file_shows(cluster: &Cluster, path: &str, value: &str) -> Result<()> {
    eventually(
        PATIENCE,
        &format!("{path} with the value of OpenBao"),
        async || {
            let mut read = cluster.kubectl();
            read.args(["exec", "--namespace", APPLICATION, "app", "--", "cat", path]);
            let output = read.stdin(Stdio::null()).output()?;
            if !output.status.success() {
                bail!("{}", String::from_utf8_lossy(&output.stderr).trim());
            }
            Ok((output.stdout == value.as_bytes()).then_some(()))
        },
    )
    .await
}

/// Searches every object in etcd. The value of the Secret must be found there, or the search itself proves nothing.
async fn stored_nowhere(values: &Values) -> Result<()> {
    if etcd::keys_containing(values.password.as_bytes())
        .await?
        .is_empty()
    {
        bail!("the search of etcd did not even find the Secret app-config");
    }
    let found = etcd::keys_containing(values.signing.as_bytes()).await?;
    if !found.is_empty() {
        bail!(
            "the value of the volume-only ExternalSecret is stored in {}",
            found.join(", ")
        );
    }
    Ok(())
}

/// Deletes the pod and waits until the node has no mount of it.
async fn unmounted_with_the_pod(cluster: &Cluster, client: &Client) -> Result<()> {
    let pods: Api<Pod> = Api::namespaced(client.clone(), APPLICATION);
    let uid = pods
        .get("app")
        .await?
        .metadata
        .uid
        .context("a stored pod has a UID")?;
    if !cluster.mounts("n1")?.contains(&uid) {
        bail!("the node shows no mount of the running pod");
    }
    pods.delete("app", &DeleteParams::default()).await?;
    eventually(PATIENCE, "the pod's mounts gone", async || {
        let mounted = cluster.mounts("n1")?.contains(&uid);
        Ok((pods.get_opt("app").await?.is_none() && !mounted).then_some(()))
    })
    .await
}

fn kubectl(cluster: &Cluster, arguments: &[&str], paths: &[&std::ffi::OsStr]) -> Result<()> {
    let mut command = cluster.kubectl();
    command.args(arguments).args(paths);
    succeed(command)
}

fn succeed(command: Command) -> Result<()> {
    succeed_with(command, "")
}

/// Runs a program to its end with `input` on its standard input; its error output is the error.
fn succeed_with(mut command: Command, input: &str) -> Result<()> {
    use std::io::Write as _;
    let name = command
        .get_args()
        .chain([command.get_program()])
        .filter_map(|word| word.to_str())
        .collect::<Vec<_>>()
        .join(" ");
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .with_context(|| format!("failed to run {name}"))?;
    if let Some(mut stdin) = child.stdin.take() {
        stdin.write_all(input.as_bytes())?;
    }
    let output = child.wait_with_output()?;
    if !output.status.success() {
        bail!("{name}: {}", String::from_utf8_lossy(&output.stderr).trim());
    }
    Ok(())
}
