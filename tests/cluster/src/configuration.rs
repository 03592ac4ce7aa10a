//! The components' configuration files.

use std::path::Path;

use serde_json::{Value, json};

use crate::layout::{
    CONTAINERD_SOCKET, DNS_SERVICE_ADDRESS, FIRST_NODE_ADDRESS, Layout, MOST_NODES, NodeLayout,
    PAUSE_IMAGE,
};
use crate::prerequisites::CNI_PLUGINS;
use crate::tools::Tools;

/// containerd, configuration version 3.
///
/// `restrict_oom_score_adj`: without CAP_SYS_RESOURCE no container may get a lower score than containerd's, and every sandbox
/// would fail. The two hugetlb settings are for kernels without that controller. NRI and CDI would look for plugins and devices
/// in folders of the machine. The shim and runc are named, because the machine may have others on PATH.
pub(crate) fn containerd(node: &NodeLayout, tools: &Tools) -> String {
    format!(
        r#"version = 3
root = "{root}"
state = "/run/containerd"
[grpc]
  address = "{CONTAINERD_SOCKET}"
[plugins."io.containerd.internal.v1.opt"]
  path = "{opt}"
[plugins."io.containerd.nri.v1.nri"]
  disable = true
[plugins."io.containerd.cri.v1.images"]
  snapshotter = "overlayfs"
  [plugins."io.containerd.cri.v1.images".pinned_images]
    sandbox = "{PAUSE_IMAGE}"
[plugins."io.containerd.cri.v1.runtime"]
  restrict_oom_score_adj = true
  disable_hugetlb_controller = true
  tolerate_missing_hugetlb_controller = true
  enable_cdi = false
  [plugins."io.containerd.cri.v1.runtime".cni]
    bin_dirs = ["{CNI_PLUGINS}"]
    conf_dir = "{network}"
  [plugins."io.containerd.cri.v1.runtime".containerd]
    default_runtime_name = "runc"
    [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc]
      runtime_type = "io.containerd.runc.v2"
      runtime_path = "{shim}"
      [plugins."io.containerd.cri.v1.runtime".containerd.runtimes.runc.options]
        BinaryName = "{runc}"
        SystemdCgroup = false
"#,
        root = node.file("containerd").display(),
        opt = node.file("opt").display(),
        network = node.file("cni").display(),
        shim = tools.shim.display(),
        runc = tools.runc.display(),
    )
}

/// The node's pod network: a bridge of its own, addresses from its own range.
pub(crate) fn pod_network(node: &NodeLayout) -> Value {
    json!({
        "cniVersion": "0.4.0",
        "name": "pods",
        "plugins": [{
            "type": "bridge",
            "bridge": node.bridge(),
            "isGateway": true,
            "ipMasq": true,
            "hairpinMode": true,
            "ipam": {
                "type": "host-local",
                "ranges": [[{"subnet": node.pods()}]],
                "routes": [{"dst": "0.0.0.0/0"}],
                "dataDir": node.file("addresses"),
            },
        }],
    })
}

/// KubeletConfiguration.
///
/// `syncFrequency` paces republishing, hence rotation. `failCgroupV1: false` because 1.35 else refuses cgroup v1;
/// `cgroupsPerQOS: false` keeps kubelet from making a cgroup tree of its own.
pub(crate) fn kubelet(layout: &Layout, node: &NodeLayout, sync_frequency: &str) -> Value {
    let name = node.name();
    json!({
        "apiVersion": "kubelet.config.k8s.io/v1beta1",
        "kind": "KubeletConfiguration",
        "authentication": {
            "anonymous": {"enabled": false},
            "webhook": {"enabled": true},
            "x509": {"clientCAFile": layout.pki("ca.crt")},
        },
        "authorization": {"mode": "Webhook"},
        "address": node.address(),
        "port": 10250,
        "readOnlyPort": 0,
        "healthzPort": 0,
        "clusterDNS": [DNS_SERVICE_ADDRESS],
        "clusterDomain": "cluster.local",
        "resolvConf": layout.file("resolv.conf"),
        "tlsCertFile": layout.pki(&format!("{name}.crt")),
        "tlsPrivateKeyFile": layout.pki(&format!("{name}.key")),
        "cgroupDriver": "cgroupfs",
        "cgroupsPerQOS": false,
        "enforceNodeAllocatable": [],
        "failSwapOn": false,
        "failCgroupV1": false,
        "volumePluginDir": node.file("volume-plugins"),
        "syncFrequency": sync_frequency,
        "nodeStatusUpdateFrequency": "10s",
        "imageGCHighThresholdPercent": 100,
        "evictionHard": {
            "memory.available": "50Mi",
            "nodefs.available": "1%",
            "nodefs.inodesFree": "1%",
            "imagefs.available": "1%",
        },
        "containerRuntimeEndpoint": format!("unix://{CONTAINERD_SOCKET}"),
    })
}

/// CoreDNS. No forwarding: there is nothing beyond the cluster's network.
pub(crate) fn dns(kubeconfig: &Path) -> String {
    format!(
        ".:53 {{\n  errors\n  ready 127.0.0.1:8181\n  cache 1\n  kubernetes cluster.local in-addr.arpa {{\n    kubeconfig {}\n    ttl 1\n  }}\n}}\n",
        kubeconfig.display()
    )
}

/// The Service `kube-dns` without a selector, and the hand-made slice that sends it to CoreDNS on the first node's address.
pub(crate) fn dns_objects() -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "Service",
            "metadata": {"name": "kube-dns", "namespace": "kube-system"},
            "spec": {"clusterIP": DNS_SERVICE_ADDRESS, "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ]},
        }),
        json!({
            "apiVersion": "discovery.k8s.io/v1", "kind": "EndpointSlice",
            "metadata": {"name": "kube-dns-1", "namespace": "kube-system", "labels": {"kubernetes.io/service-name": "kube-dns"}},
            "addressType": "IPv4",
            "ports": [
                {"name": "dns", "port": 53, "protocol": "UDP"},
                {"name": "dns-tcp", "port": 53, "protocol": "TCP"},
            ],
            "endpoints": [{"addresses": [FIRST_NODE_ADDRESS], "conditions": {"ready": true}}],
        }),
    ]
}

/// The audit policy: each request of a service account outside kube-system, without bodies; nothing else.
///
/// Agents, providers and their tests run under such accounts. Metadata names verb, resource, namespace and name, which is
/// what "never touches a Secret" is proven with.
pub(crate) fn audit_policy() -> Value {
    json!({
        "apiVersion": "audit.k8s.io/v1",
        "kind": "Policy",
        "omitStages": ["RequestReceived"],
        "rules": [
            {"level": "None", "userGroups": ["system:serviceaccounts:kube-system"]},
            {"level": "Metadata", "userGroups": ["system:serviceaccounts"]},
            {"level": "None"},
        ],
    })
}

/// The private `/etc/hosts`, naming all nodes that may ever be added.
pub(crate) fn hosts(layout: &Layout) -> String {
    let mut text = String::from("127.0.0.1 localhost\n");
    for number in 1..=MOST_NODES {
        let node = layout.node(number);
        text.push_str(&format!("{} {}\n", node.address(), node.name()));
    }
    text
}

/// The private `/etc/resolv.conf`.
pub(crate) fn resolver() -> String {
    format!("nameserver {DNS_SERVICE_ADDRESS}\nsearch svc.cluster.local\n")
}
