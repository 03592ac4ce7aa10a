//! A real Kubernetes control plane and kubelets on one machine, for tests and the demo.
//!
//! Nothing here imitates Kubernetes: etcd, the API server, the controllers, the scheduler, kube-proxy, CoreDNS, and per node
//! kubelet and containerd with runc are the real programs, built once from pinned sources ([`tools`]) and run in namespaces
//! of their own, so that a cluster is invisible outside, several can live side by side, and all of it goes when its owner
//! does.
//!
//! # For tests
//!
//! ```no_run
//! #[test]
//! fn mount_a_pod_runs() -> anyhow::Result<()> {
//!     latchkey_cluster::test(async |cx| {
//!         cx.apply(r#"{"apiVersion":"v1","kind":"ConfigMap","metadata":{"name":"a"}}"#).await?;
//!         assert!(cx.kubectl(&["get", "configmap", "a"]).await.is_ok());
//!         Ok(())
//!     })
//! }
//! ```
//!
//! [`test()`] hands the body a [`Context`]: the cluster, a namespace made for this test alone, and a `kube::Client`. The body
//! runs on threads inside the cluster's network, so pod, Service and node addresses can be dialled directly. The cluster is
//! the one named by `LATCHKEY_CLUSTER_DIR` (set by `cluster run`, which `make test` uses); without it, a test binary starts
//! one for itself. Tests of [`either`] may run on a second one, which their binary starts beside it.
//!
//! # How it is held together
//!
//! ```text
//! owner (a test binary, `cluster run`)        its end closes a pipe, whatever the reason
//!   `-- cluster hold                          new mount, network and PID namespaces; removes leftovers
//!         `-- cluster init    (PID 1)         its end is the end of every process inside, by kernel rule
//!               |-- cluster serve             sets up, starts and watches the components, answers requests
//!               |     |-- etcd, kube-apiserver, kube-controller-manager, kube-scheduler, kube-proxy, CoreDNS
//!               |     `-- per node: a holder with a mount namespace of its own, containerd, kubelet
//!               `-- containers
//! ```
//!
//! Each node has its own mount namespace, so `/var/lib/kubelet`, `/var/log` and `/run/containerd` mean that node's, as on
//! separate machines, and one DaemonSet with one kubelet root serves all nodes. All nodes share the network namespace.

pub mod archive;
pub mod audit;
pub mod cache;
pub mod cli;
pub mod etcd;
pub mod http_get;
pub mod prerequisites;
pub mod tools;

mod cgroups;
mod cluster;
mod components;
mod configuration;
mod control;
mod harness;
mod layout;
mod namespaces;
mod pki;
mod supervisor;

pub use cluster::{Cluster, NodeOptions, Options};
pub use harness::{Context, either, eventually, test, test_alone};
pub use layout::{Layout, NodeLayout, TEST_IMAGE};
