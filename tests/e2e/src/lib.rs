//! What the end-to-end tests share: the charts installed once on the cluster of the run, manifests, planted values and the
//! search for their traces.
//!
//! Tests live in `tests/`, one binary per path through the product. They need the images of `make images` (folder `dist/images`,
//! or the one that `LATCHKEY_IMAGES` names) and run on a cluster of `latchkey-cluster`: the one that `cluster run` prepared, or
//! one of their own.

mod bao;
mod installed;
mod manifests;
mod planted;
pub mod tls;

pub use bao::{Bao, ROOT_TOKEN};
pub use installed::{
    AGENT, SYSTEM, agent_pod, ensure_absent, ensure_installed, helm_install_agent,
    helm_install_provider, images, root,
};
pub use manifests::{Values, external_secret, fake, fake_object, list, pod, store, volume};
pub use planted::Planted;
