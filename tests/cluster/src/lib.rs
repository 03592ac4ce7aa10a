//! A real Kubernetes control plane and kubelets on one machine, for tests and the demo.
