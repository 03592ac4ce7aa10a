//! End-to-end tests of the node path: pods on real kubelets that mount volumes of the agent from its chart.
//!
//! They are a package of their own because they wait for kubelets most of their time: `make test` runs them beside those of the
//! controllers. Most of them want a cluster for themselves, so they have two and run two at a time.
