//! The rig does what its users rely on (cluster.md 2 to 6). All on the real programs.

use std::path::Path;
use std::process::{Command, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result};
use latchkey_cluster::{Cluster, Context, NodeOptions, TEST_IMAGE, eventually, test, test_alone};

const POD_LIMIT: Duration = Duration::from_secs(60);

/// A pod of the test image on a node, running busybox with `arguments`.
fn pod(name: &str, node: &str, arguments: &[&str]) -> String {
    serde_json::json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "nodeName": node,
            "terminationGracePeriodSeconds": 0,
            "containers": [{"name": "main", "image": TEST_IMAGE, "imagePullPolicy": "Never", "command": arguments}],
        },
    })
    .to_string()
}

const SLEEP: &[&str] = &["/bin/busybox", "sleep", "1000000"];

#[test]
fn mount_a_service_is_reached_by_name_from_a_pod_and_by_address_from_the_test() -> Result<()> {
    test(async |cx: Context| {
        let serve = "mkdir -p /tmp/www && echo here > /tmp/www/index.html && exec httpd -f -p 8080 -h /tmp/www";
        cx.apply(&pod("server", "n1", &["/bin/busybox", "sh", "-c", serve]))
            .await?;
        cx.apply(&pod("asker", "n1", SLEEP)).await?;
        cx.apply(
            r#"{"apiVersion":"v1","kind":"Service","metadata":{"name":"web"},"spec":{"selector":{"app":"server"},"ports":[{"port":80,"targetPort":8080}]}}"#,
        )
        .await?;
        cx.pod_ready("server", POD_LIMIT).await?;
        cx.pod_ready("asker", POD_LIMIT).await?;
        let url = format!("http://web.{}.svc.cluster.local/", cx.namespace());
        let answer = eventually(POD_LIMIT, "an answer by name", async || {
            cx.pod_exec("asker", &["wget", "-q", "-O", "-", &url])
                .await
                .map(Some)
        })
        .await?;
        assert_eq!(answer.trim(), "here");
        let address = cx
            .kubectl(&["get", "pod", "server", "-o", "jsonpath={.status.podIP}"])
            .await?;
        let (code, body) =
            latchkey_cluster::http_get::get(&format!("http://{address}:8080/index.html")).await?;
        assert_eq!((code, body.trim()), (200, "here"));
        Ok(())
    })
}

#[test]
fn mount_what_a_privileged_pod_mounts_appears_on_its_node_alone() -> Result<()> {
    test(async |cx: Context| {
        cx.cluster().add_node("n2", NodeOptions::default()).await?;
        let root = cx.cluster().kubelet_root("n1")?;
        let name = cx.namespace().to_owned();
        let script = format!(
            "mkdir -p {root}/{name} && mount -t tmpfs latchkey {root}/{name} && echo mine > {root}/{name}/a && exec sleep 1000000"
        );
        let manifest = serde_json::json!({
            "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "mounter"},
            "spec": {
                "nodeName": "n2",
                "terminationGracePeriodSeconds": 0,
                "volumes": [{"name": "root", "hostPath": {"path": root}}],
                "containers": [{
                    "name": "main", "image": TEST_IMAGE, "imagePullPolicy": "Never",
                    "command": ["/bin/busybox", "sh", "-c", script],
                    "securityContext": {"privileged": true},
                    "volumeMounts": [{"name": "root", "mountPath": root, "mountPropagation": "Bidirectional"}],
                }],
            },
        });
        cx.apply(&manifest.to_string()).await?;
        cx.pod_ready("mounter", POD_LIMIT).await?;
        let path = format!("{root}/{name}");
        let file = cx.node_path("n2", &format!("{path}/a"))?;
        let text = eventually(POD_LIMIT, "the file on n2", async || {
            Ok(Some(std::fs::read_to_string(&file)?))
        })
        .await?;
        assert_eq!(text, "mine\n");
        assert!(cx.cluster().mounts("n2")?.contains(&path));
        assert!(
            !cx.cluster().mounts("n1")?.contains(&path),
            "n1 must not see the mounts of n2"
        );
        assert!(
            !std::fs::read_to_string("/proc/self/mountinfo")?.contains(&path),
            "nothing may be visible outside"
        );
        cx.on_node("n2", &["umount", &path]).await?;
        Ok(())
    })
}

#[test]
fn mount_a_pod_survives_the_kill_and_restart_of_its_kubelet() -> Result<()> {
    test_alone(async |cx: Context| {
        cx.apply(&pod("steady", "n1", SLEEP)).await?;
        cx.pod_ready("steady", POD_LIMIT).await?;
        let start = [
            "get",
            "pod",
            "steady",
            "-o",
            "jsonpath={.status.containerStatuses[0].containerID}",
        ];
        let before = cx.kubectl(&start).await?;
        cx.cluster().restart_kubelet("n1").await?;
        cx.apply(&pod("after", "n1", SLEEP)).await?;
        cx.pod_ready("after", POD_LIMIT).await?;
        assert_eq!(cx.kubectl(&start).await?, before);
        Ok(())
    })
}

#[test]
fn mount_the_audit_log_shows_what_a_service_account_asked_for() -> Result<()> {
    test(async |cx: Context| {
        let user = format!("system:serviceaccount:{}:default", cx.namespace());
        let refused = cx.kubectl(&["get", "secrets", "--as", &user]).await;
        assert!(
            refused.is_err(),
            "the default account has no right on secrets"
        );
        // Impersonation is logged under the real user, so the token itself is used.
        let token = cx.kubectl(&["create", "token", "default"]).await?;
        let server = "--server=https://127.0.0.1:6443";
        let authority = format!(
            "--certificate-authority={}",
            cx.cluster().layout().folder().join("pki/ca.crt").display()
        );
        let token = format!("--token={}", token.trim());
        let refused = cx
            .kubectl(&[
                "--kubeconfig=/dev/null",
                server,
                &authority,
                &token,
                "get",
                "secrets",
            ])
            .await;
        assert!(
            refused.is_err(),
            "the default account has no right on secrets"
        );
        let events = cx.audit(cx.namespace(), "default")?;
        let asked = events
            .iter()
            .find(|event| event.object_ref.resource == "secrets")
            .context("no event on secrets")?;
        assert_eq!(
            (asked.verb.as_str(), asked.response_status.code),
            ("list", 403)
        );
        Ok(())
    })
}

#[test]
fn mount_a_planted_value_is_found_in_etcd_and_only_where_it_is() -> Result<()> {
    test(async |cx: Context| {
        let canary = format!("canary-of-{}", cx.namespace());
        assert_eq!(
            latchkey_cluster::etcd::keys_containing(canary.as_bytes()).await?,
            Vec::<String>::new()
        );
        cx.kubectl(&[
            "create",
            "secret",
            "generic",
            "planted",
            &format!("--from-literal=a={canary}"),
        ])
        .await?;
        let keys = latchkey_cluster::etcd::keys_containing(canary.as_bytes()).await?;
        assert_eq!(
            keys,
            [format!("/registry/secrets/{}/planted", cx.namespace())]
        );
        Ok(())
    })
}

#[test]
fn mount_helm_installs_a_chart() -> Result<()> {
    test(async |cx: Context| {
        let folder = tempfile::tempdir()?;
        std::fs::create_dir(folder.path().join("templates"))?;
        std::fs::write(
            folder.path().join("Chart.yaml"),
            "apiVersion: v2\nname: tiny\nversion: 0.1.0\n",
        )?;
        let template =
            "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: {{ .Release.Name }}-made}\n";
        std::fs::write(folder.path().join("templates/made.yaml"), template)?;
        let chart = folder.path().to_str().context("a path that is text")?;
        cx.helm(&["install", "one", chart, "--wait", "--timeout=30s"])
            .await?;
        cx.kubectl(&["get", "configmap", "one-made"]).await?;
        cx.helm(&["uninstall", "one"]).await?;
        Ok(())
    })
}

/// What is left of a cluster: processes of its folder, its folder, its cgroup.
fn leftovers(folder: &Path) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let name = folder.to_str().context("a path that is text")?;
    for entry in std::fs::read_dir("/proc")?.flatten() {
        let line = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let line = String::from_utf8_lossy(&line).replace('\0', " ");
        if line.contains(name) {
            found.push(line);
        }
    }
    if std::fs::read_to_string("/proc/self/mountinfo")?.contains(name) {
        found.push("a mount".to_owned());
    }
    if folder.exists() {
        found.push(name.to_owned());
    }
    Ok(found)
}

/// The owner of this cluster is `cluster run`, killed without a chance to clean up.
#[test]
fn mount_a_cluster_ends_when_its_owner_is_killed() -> Result<()> {
    if !nix::unistd::Uid::effective().is_root() {
        return Ok(());
    }
    let seen = tempfile::tempdir()?;
    let file = seen.path().join("folder");
    let script = format!(
        "echo $LATCHKEY_CLUSTER_DIR > {0}.new && mv {0}.new {0} && exec cat",
        file.display()
    );
    let mut owner = Command::new(env!("CARGO_BIN_EXE_cluster"))
        .args(["run", "--", "sh", "-c", &script])
        .stdin(Stdio::piped())
        .stderr(Stdio::null())
        .spawn()?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(async {
        let folder = eventually(Duration::from_secs(120), "the cluster", async || {
            Ok(Some(std::fs::read_to_string(&file)?))
        })
        .await?;
        let folder = Path::new(folder.trim());
        assert!(Cluster::attach(folder).is_ok());
        owner.kill()?;
        owner.wait()?;
        eventually(Duration::from_secs(20), "nothing left", async || {
            let found = leftovers(folder)?;
            if found.is_empty() {
                Ok(Some(()))
            } else {
                anyhow::bail!("left: {found:?}")
            }
        })
        .await
    })
}
