//! End-to-end tests of the node path: pods on real kubelets that mount volumes of the agent from its chart.
//!
//! They are a package of their own because they wait for kubelets most of their time: `make test` runs them on one cluster while
//! all others run on a second one. Most of them want a cluster for themselves, so they start another of their own and run two at a
//! time.
