//! Running a test's body against a cluster.

mod claims;

use std::hash::{BuildHasher as _, RandomState};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::path::PathBuf;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, anyhow, bail, ensure};
use k8s_openapi::api::core::v1::{Namespace, ServiceAccount};
use kube::api::{DeleteParams, ObjectMeta, PostParams};
use kube::{Api, Client};
use tokio::io::AsyncWriteExt as _;

use self::claims::{Claim, Claimed, FOLDER, free_one, keep_logs, shared_one};
use crate::audit;
use crate::cluster::Cluster;

/// Longest run of one program on a test's behalf.
const PROGRAM_TIMEOUT: Duration = Duration::from_secs(180);

/// What a test has in hand: the cluster, a client, a namespace of its own. Cheap to clone.
#[derive(Clone)]
pub struct Context {
    cluster: Arc<Cluster>,
    client: Client,
    namespace: String,
}

/// Runs `body` against the shared cluster, in a namespace made for it and deleted after it, side by side with other tests.
///
/// Where no cluster can run (not root) and none was prepared, the test fails and says so; under `make test` a cluster is always
/// prepared. When the body fails, the namespace's pods and events are printed. `LATCHKEY_KEEP=1` keeps it.
///
/// # Errors
/// Those of the body, those of starting the cluster, and that this process is not root.
pub fn test<F>(body: F) -> Result<()>
where
    F: AsyncFnOnce(Context) -> Result<()> + Send + 'static,
{
    on_thread(body, Claim::Together, shared_one)
}

/// As [`test()`], alone on the cluster: for tests that stop or restart what others use.
///
/// # Errors
/// As [`test()`].
pub fn test_alone<F>(body: F) -> Result<()>
where
    F: AsyncFnOnce(Context) -> Result<()> + Send + 'static,
{
    on_thread(body, Claim::Alone, shared_one)
}

/// For test binaries whose tests mostly want a cluster for themselves and mostly wait: as many go on at a time as there are
/// clusters, and these are the shared one and another, which the process starts when it is first needed.
pub mod either {
    use super::{Claim, Context, Result, free_one, on_thread};

    /// As [`test()`](super::test()), on whichever of the two clusters nobody has alone.
    ///
    /// # Errors
    /// As [`test()`](super::test()).
    pub fn test<F>(body: F) -> Result<()>
    where
        F: AsyncFnOnce(Context) -> Result<()> + Send + 'static,
    {
        on_thread(body, Claim::Together, free_one)
    }

    /// As [`test_alone()`](super::test_alone()), on whichever of the two clusters nobody uses. The machine is not its own: a test
    /// on the other cluster may keep the processors busy.
    ///
    /// # Errors
    /// As [`test()`](super::test()).
    pub fn test_alone<F>(body: F) -> Result<()>
    where
        F: AsyncFnOnce(Context) -> Result<()> + Send + 'static,
    {
        on_thread(body, Claim::Alone, free_one)
    }
}

fn on_thread<F>(body: F, claim: Claim, find: fn(Claim) -> Result<Claimed>) -> Result<()>
where
    F: AsyncFnOnce(Context) -> Result<()> + Send + 'static,
{
    can_run(
        std::env::var_os(FOLDER).is_some(),
        nix::unistd::Uid::effective().is_root(),
    )?;
    let name = std::thread::current().name().unwrap_or("test").to_owned();
    // A thread of its own: entering the network cannot be undone for the one that libtest lent us.
    let thread = std::thread::Builder::new()
        .name(name.clone())
        .spawn(move || run(&name, body, find(claim)?))?;
    thread.join().unwrap_or_else(|panic| resume_unwind(panic))
}

/// A test that cannot run must not count as passed.
fn can_run(is_prepared: bool, is_root: bool) -> Result<()> {
    ensure!(
        is_prepared || is_root,
        "this test needs a cluster, which needs root: run `make test` as root"
    );
    Ok(())
}

/// The lock is held until all is over.
fn run<F>(name: &str, body: F, (cluster, _lock): Claimed) -> Result<()>
where
    F: AsyncFnOnce(Context) -> Result<()>,
{
    cluster.enter_network()?;
    let runtime = cluster.runtime()?;
    let context = runtime.block_on(async {
        let client = cluster.client().await?;
        let namespace = new_namespace(&client, name).await?;
        Ok::<_, anyhow::Error>(Context {
            cluster,
            client,
            namespace,
        })
    })?;
    let outcome = catch_unwind(AssertUnwindSafe(|| runtime.block_on(body(context.clone()))));
    runtime.block_on(async {
        if !matches!(outcome, Ok(Ok(()))) {
            context.print_state().await;
            keep_logs(context.cluster()).ok();
        }
        if std::env::var_os("LATCHKEY_KEEP").is_none() {
            let namespaces: Api<Namespace> = Api::all(context.client.clone());
            namespaces
                .delete(&context.namespace, &DeleteParams::default())
                .await
                .ok();
        }
    });
    // Tasks that the body left behind end here.
    runtime.shutdown_timeout(Duration::from_secs(5));
    outcome.unwrap_or_else(|panic| resume_unwind(panic))
}

/// Makes a namespace named after the test and waits for its default service account, without which no pod is admitted.
async fn new_namespace(client: &Client, test: &str) -> Result<String> {
    let last = test.rsplit("::").next().unwrap_or(test).to_lowercase();
    let words: String = last
        .chars()
        .map(|letter| {
            if letter.is_ascii_alphanumeric() {
                letter
            } else {
                '-'
            }
        })
        .take(40)
        .collect();
    let random = RandomState::new().hash_one(test) & 0xff_ffff;
    let name = format!("{}-{random:06x}", words.trim_matches('-'));
    let namespace = Namespace {
        metadata: ObjectMeta {
            name: Some(name.clone()),
            ..ObjectMeta::default()
        },
        ..Namespace::default()
    };
    let namespaces: Api<Namespace> = Api::all(client.clone());
    namespaces
        .create(&PostParams::default(), &namespace)
        .await
        .with_context(|| format!("failed to create namespace {name}"))?;
    let accounts: Api<ServiceAccount> = Api::namespaced(client.clone(), &name);
    eventually(
        Duration::from_secs(30),
        "the default service account",
        async || Ok(accounts.get_opt("default").await?),
    )
    .await?;
    Ok(name)
}

/// Calls `look` until it finds something; an error of it is final only when time is up.
///
/// # Errors
/// After `limit`, with `what` and the last error.
pub async fn eventually<T>(
    limit: Duration,
    what: &str,
    mut look: impl AsyncFnMut() -> Result<Option<T>>,
) -> Result<T> {
    let begin = Instant::now();
    let mut last;
    loop {
        match look().await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => last = None,
            Err(error) => last = Some(error),
        }
        if begin.elapsed() >= limit {
            return Err(match last {
                Some(error) => error.context(format!("{what}: not within {limit:?}")),
                None => anyhow!("{what}: not within {limit:?}"),
            });
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

impl Context {
    /// The cluster.
    #[must_use]
    pub fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    /// A client with the administrator's rights.
    #[must_use]
    pub fn client(&self) -> Client {
        self.client.clone()
    }

    /// The test's namespace.
    #[must_use]
    pub fn namespace(&self) -> &str {
        &self.namespace
    }

    /// Makes one more namespace, named after `hint`. The caller deletes it, or leaves it to the end of the cluster.
    ///
    /// # Errors
    /// When the API server refuses.
    pub async fn new_namespace(&self, hint: &str) -> Result<String> {
        new_namespace(&self.client, hint).await
    }

    /// Runs `kubectl` in the test's namespace; answers its standard output.
    ///
    /// # Errors
    /// With its standard error when it fails.
    pub async fn kubectl(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.cluster.kubectl();
        command
            .args(["--namespace", &self.namespace])
            .args(arguments);
        run_program(command, None).await
    }

    /// Runs `helm` in the test's namespace; answers its standard output.
    ///
    /// # Errors
    /// With its standard error when it fails.
    pub async fn helm(&self, arguments: &[&str]) -> Result<String> {
        let mut command = self.cluster.helm();
        command
            .args(["--namespace", &self.namespace])
            .args(arguments);
        run_program(command, None).await
    }

    /// Applies manifests (YAML or JSON, server-side) in the test's namespace.
    ///
    /// # Errors
    /// With kubectl's standard error when it fails.
    pub async fn apply(&self, manifests: &str) -> Result<String> {
        let mut command = self.cluster.kubectl();
        command.args([
            "--namespace",
            &self.namespace,
            "apply",
            "--server-side",
            "--filename=-",
        ]);
        run_program(command, Some(manifests)).await
    }

    /// Waits until a pod is Ready; on time-out the error carries its description.
    ///
    /// # Errors
    /// After `limit`.
    pub async fn pod_ready(&self, pod: &str, limit: Duration) -> Result<()> {
        let timeout = format!("--timeout={}s", limit.as_secs());
        let name = format!("pod/{pod}");
        if let Err(error) = self
            .kubectl(&["wait", "--for=condition=Ready", &timeout, &name])
            .await
        {
            let text = self.kubectl(&["describe", &name]).await.unwrap_or_default();
            return Err(error.context(text));
        }
        Ok(())
    }

    /// Runs a program in a pod's first container; answers its standard output.
    ///
    /// # Errors
    /// With its standard error when it fails.
    pub async fn pod_exec(&self, pod: &str, program: &[&str]) -> Result<String> {
        self.kubectl(&[&["exec", pod, "--"], program].concat())
            .await
    }

    /// Runs a program on a node, with its mounts; answers its standard output.
    ///
    /// # Errors
    /// With its standard error when it fails.
    pub async fn on_node(&self, node: &str, program: &[&str]) -> Result<String> {
        let [name, arguments @ ..] = program else {
            bail!("no program")
        };
        let mut command = self.cluster.node_command(node, name)?;
        command.args(arguments);
        run_program(command, None).await
    }

    /// Path of a node's file as this process reaches it, mounts included; [`Cluster::node_path`].
    ///
    /// # Errors
    /// When there is no such node.
    pub fn node_path(&self, node: &str, path: &str) -> Result<PathBuf> {
        self.cluster.node_path(node, path)
    }

    /// What service accounts of a namespace asked of the API server so far.
    ///
    /// # Errors
    /// When the audit log cannot be read.
    pub fn audit(&self, namespace: &str, account: &str) -> Result<Vec<audit::Event>> {
        audit::events_of(
            &self.cluster.layout().audit_log(),
            &format!("system:serviceaccount:{namespace}:{account}"),
        )
    }

    #[expect(clippy::print_stderr, reason = "goes to the failed test's output")]
    async fn print_state(&self) {
        let pods = self
            .kubectl(&["get", "pods", "--output=wide"])
            .await
            .unwrap_or_default();
        let events = self
            .kubectl(&["get", "events", "--sort-by=.lastTimestamp"])
            .await
            .unwrap_or_default();
        eprintln!(
            "--- namespace {}\n{pods}\n{events}--- logs: {}",
            self.namespace,
            self.cluster.layout().logs().display()
        );
    }
}

/// Runs a program to its end; answers its standard output.
async fn run_program(command: Command, input: Option<&str>) -> Result<String> {
    let shown = format!("{command:?}");
    let mut command = tokio::process::Command::from(command);
    command.stdin(if input.is_some() {
        Stdio::piped()
    } else {
        Stdio::null()
    });
    command
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .kill_on_drop(true);
    let mut child = command
        .spawn()
        .with_context(|| format!("failed to start {shown}"))?;
    if let (Some(mut pipe), Some(input)) = (child.stdin.take(), input) {
        pipe.write_all(input.as_bytes())
            .await
            .with_context(|| format!("failed to write to {shown}"))?;
    }
    let output = tokio::time::timeout(PROGRAM_TIMEOUT, child.wait_with_output())
        .await
        .with_context(|| format!("{shown} did not end in {PROGRAM_TIMEOUT:?}"))??;
    if !output.status.success() {
        let program = shown.split(" \"--\" ").last().unwrap_or(&shown).to_owned();
        let (out, error) = (
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
        );
        bail!("{program}: {}\n{}{}", output.status, out, error.trim_end());
    }
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

#[cfg(test)]
mod tests {
    use super::can_run;

    #[test]
    fn a_test_that_cannot_run_fails_and_says_what_it_needs() {
        for (is_prepared, is_root, passes) in [
            (true, false, true),
            (false, true, true),
            (true, true, true),
            (false, false, false),
        ] {
            let outcome = can_run(is_prepared, is_root);
            assert_eq!(outcome.is_ok(), passes);
            if let Err(error) = outcome {
                let text = error.to_string();
                assert!(text.contains("root") && !text.contains('\n'), "{text}");
            }
        }
    }
}
