//! SELinux: with which label a volume is mounted, and whether the mount can be read-only (csi.md 5.4).
//!
//! Where a mount's files have labels of their own (`seclabel`), kubelet has the container runtime relabel them, which fails on a
//! read-only mount and keeps the container from starting. With one label for the whole mount (`context=`) nobody relabels.

use crate::config::Selinux;

/// How this node labels volumes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Labels {
    /// Whether the node has SELinux at all; without it the kernel refuses the option.
    present: bool,
    setting: Selinux,
}

impl Labels {
    /// `present`: the node has SELinux.
    pub(crate) fn of(setting: &Selinux, present: bool) -> Self {
        Self {
            present,
            setting: setting.clone(),
        }
    }

    /// The label of a volume whose request names `requested`, if it gets one, and whether its mount is read-only.
    pub(crate) fn of_mount(&self, requested: Option<&str>) -> (Option<String>, bool) {
        if !self.present {
            return (None, true);
        }
        match (requested, &self.setting) {
            (Some(label), _) => (Some(label.to_owned()), true),
            (None, Selinux::Context(label)) => (Some(label.clone()), true),
            (None, Selinux::Relabel) => (None, false),
            (None, Selinux::Off) => (None, true),
        }
    }
}
