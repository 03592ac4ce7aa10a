//! A generic CSI node plugin for inline secret volumes: kubelet registration, NodePublishVolume and NodeUnpublishVolume, tmpfs
//! mounts, atomic rotation, recovery after a restart. It knows no custom resource: what a volume shows comes from a
//! [`backend::Backend`].

pub mod backend;
