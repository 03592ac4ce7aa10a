//! A generic CSI node plugin for inline secret volumes: kubelet registration, NodePublishVolume and NodeUnpublishVolume, tmpfs
//! mounts, atomic rotation, recovery after a restart. It knows no custom resource: what a volume shows comes from a
//! [`backend::Backend`].
//!
//! How the parts meet: [`Plugin::run`] opens the node's directories, takes over what an earlier process mounted and serves two
//! sockets. A publish is checked (`publish`), becomes a command to the task of its target (`volumes`), which asks the backend for
//! content, makes files of it (`layout`) in a tmpfs that nobody sees (`mount`), remembers the volume on disk (`state`) and attaches
//! it. From then on the task follows the backend's updates until the unpublish. All of this takes turns on one thread
//! (`plugin::thread`), but for calls that block (`blocking`).
//!
//! [`directory`] shows the same layout in a directory of the machine, without kubelet.

pub mod backend;
mod blocking;
mod board;
pub mod config;
#[cfg(test)]
mod conformance;
mod digest;
pub mod directory;
#[cfg(test)]
#[path = "../../tests/documented.rs"]
mod documented;
mod error;
pub mod events;
#[cfg(any(test, fuzzing))]
#[doc(hidden)]
pub mod fuzzing;
mod identity;
mod layout;
mod metrics;
mod mount;
mod node;
pub mod operations;
#[cfg(test)]
mod peers;
mod plugin;
mod publish;
mod registration;
mod socket;
mod state;
mod status;
mod step;
mod target;
#[cfg(test)]
mod testing;
mod tokens;
mod volumes;

pub use config::{Config, DRIVER_NAME};
pub use plugin::{Plugin, PluginError, PluginHandle};
pub use socket::SocketError;
pub use tokens::TokenDelivery;
