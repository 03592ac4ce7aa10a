//! The command line of every component.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::layout::{ETCD_ENDPOINT, FIRST_NODE_ADDRESS, Layout, NodeLayout, SERVICE_RANGE};
use crate::tools::Tools;

/// A program with its arguments, ready to be started any number of times.
#[derive(Clone, Debug)]
pub(crate) struct Component {
    /// Name in requests and log files, for instance `apiserver` or `n1/kubelet`.
    pub name: String,
    /// Program and arguments.
    pub command: Vec<OsString>,
}

impl Component {
    fn new(name: impl Into<String>, program: impl Into<OsString>, arguments: Vec<String>) -> Self {
        let command = std::iter::once(program.into())
            .chain(arguments.into_iter().map(OsString::from))
            .collect();
        Self {
            name: name.into(),
            command,
        }
    }

    fn kube(name: &str, tools: &Tools, program: &str, mut arguments: Vec<String>) -> Self {
        arguments.insert(0, program.to_owned());
        Self::new(name, &tools.kube, arguments)
    }

    /// The same component, started in the mount namespace of the process `holder`.
    fn on_node(mut self, holder: u32) -> Self {
        let enter = [
            "nsenter".to_owned(),
            format!("--target={holder}"),
            "--mount".to_owned(),
            "--wd=/".to_owned(),
            "--".to_owned(),
        ];
        self.command.splice(0..0, enter.map(OsString::from));
        self
    }
}

fn flag(name: &str, value: PathBuf) -> String {
    format!("--{name}={}", value.display())
}

/// etcd without fsync: its data dies with the cluster.
pub(crate) fn etcd(layout: &Layout, tools: &Tools) -> Component {
    let peer = "http://127.0.0.1:12380";
    let arguments = vec![
        flag("data-dir", layout.file("etcd")),
        format!("--listen-client-urls={ETCD_ENDPOINT}"),
        format!("--advertise-client-urls={ETCD_ENDPOINT}"),
        format!("--listen-peer-urls={peer}"),
        format!("--initial-advertise-peer-urls={peer}"),
        format!("--initial-cluster=default={peer}"),
        "--unsafe-no-fsync".to_owned(),
        "--logger=zap".to_owned(),
        "--log-level=warn".to_owned(),
    ];
    Component::kube("etcd", tools, "etcd", arguments)
}

pub(crate) fn apiserver(layout: &Layout, tools: &Tools) -> Component {
    let arguments = vec![
        format!("--etcd-servers={ETCD_ENDPOINT}"),
        "--bind-address=0.0.0.0".to_owned(),
        "--secure-port=6443".to_owned(),
        format!("--advertise-address={FIRST_NODE_ADDRESS}"),
        "--kubelet-preferred-address-types=InternalIP".to_owned(),
        flag("client-ca-file", layout.pki("ca.crt")),
        flag("tls-cert-file", layout.pki("apiserver.crt")),
        flag("tls-private-key-file", layout.pki("apiserver.key")),
        flag("kubelet-client-certificate", layout.pki("admin.crt")),
        flag("kubelet-client-key", layout.pki("admin.key")),
        flag("kubelet-certificate-authority", layout.pki("ca.crt")),
        "--authorization-mode=Node,RBAC".to_owned(),
        "--enable-admission-plugins=NodeRestriction".to_owned(),
        "--service-account-issuer=https://kubernetes.default.svc".to_owned(),
        "--api-audiences=https://kubernetes.default.svc".to_owned(),
        flag(
            "service-account-signing-key-file",
            layout.pki("service-accounts.key"),
        ),
        flag(
            "service-account-key-file",
            layout.pki("service-accounts.pub"),
        ),
        format!("--service-cluster-ip-range={SERVICE_RANGE}"),
        "--allow-privileged=true".to_owned(),
        flag("audit-policy-file", layout.file("audit-policy.json")),
        flag("audit-log-path", layout.audit_log()),
        // Unbuffered: a test reads the log right after the request it looks for.
        "--audit-log-mode=blocking".to_owned(),
    ];
    Component::kube("apiserver", tools, "kube-apiserver", arguments)
}

pub(crate) fn controller_manager(layout: &Layout, tools: &Tools) -> Component {
    let arguments = vec![
        flag("kubeconfig", layout.kubeconfig_of("controller-manager")),
        flag(
            "service-account-private-key-file",
            layout.pki("service-accounts.key"),
        ),
        flag("root-ca-file", layout.pki("ca.crt")),
        "--use-service-account-credentials=true".to_owned(),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ];
    Component::kube(
        "controller-manager",
        tools,
        "kube-controller-manager",
        arguments,
    )
}

pub(crate) fn scheduler(layout: &Layout, tools: &Tools) -> Component {
    let arguments = vec![
        flag("kubeconfig", layout.kubeconfig_of("scheduler")),
        "--leader-elect=false".to_owned(),
        "--bind-address=127.0.0.1".to_owned(),
    ];
    Component::kube("scheduler", tools, "kube-scheduler", arguments)
}

/// One kube-proxy serves all nodes, because they share the network namespace.
pub(crate) fn proxy(layout: &Layout, tools: &Tools) -> Component {
    let arguments = vec![
        flag("kubeconfig", layout.kubeconfig_of("proxy")),
        "--hostname-override=n1".to_owned(),
        "--cluster-cidr=10.88.0.0/16".to_owned(),
        "--proxy-mode=iptables".to_owned(),
        // The system-wide limit belongs to the host and cannot be written from here.
        "--conntrack-max-per-core=0".to_owned(),
    ];
    Component::kube("proxy", tools, "kube-proxy", arguments)
}

pub(crate) fn dns(layout: &Layout, tools: &Tools) -> Component {
    let arguments = vec![
        "-conf".to_owned(),
        layout.file("Corefile").display().to_string(),
        "-dns.port".to_owned(),
        "53".to_owned(),
    ];
    Component::new("dns", &tools.dns, arguments)
}

pub(crate) fn containerd(node: &NodeLayout, tools: &Tools, holder: u32) -> Component {
    let arguments = vec![
        "--config".to_owned(),
        node.file("containerd.toml").display().to_string(),
    ];
    Component::new(node.component("containerd"), &tools.containerd, arguments).on_node(holder)
}

pub(crate) fn kubelet(
    layout: &Layout,
    node: &NodeLayout,
    tools: &Tools,
    holder: u32,
    root: &str,
) -> Component {
    let arguments = vec![
        flag("config", node.file("kubelet.json")),
        flag("kubeconfig", layout.kubeconfig_of(&node.name())),
        format!("--hostname-override={}", node.name()),
        format!("--node-ip={}", node.address()),
        format!("--root-dir={root}"),
        flag("cert-dir", node.file("certificates")),
        "--v=2".to_owned(),
    ];
    Component::kube(&node.component("kubelet"), tools, "kubelet", arguments).on_node(holder)
}
