//! The checks of NodePublishVolume that need no I/O, in the order of csi.md 1.3; the first failure answers.

use std::collections::BTreeMap;
use std::fmt;

use latchkey_proto::csi::v1::volume_capability::{AccessType, MountVolume, access_mode};
use latchkey_proto::csi::v1::{NodePublishVolumeRequest, VolumeCapability};

use crate::backend::{ServiceAccountTokens, VolumeRequest, VolumeSettings};
use crate::config::Config;
use crate::digest::{Digest, Hasher};
use crate::error::NodeError;
use crate::status::Trust;
use crate::target::{Roots, Target};

/// Keys of `volume_context` that kubelet writes (csi.md 4.2).
mod keys {
    pub(super) const PREFIXES: [&str; 2] = ["csi.storage.k8s.io/", "kubernetes.io/"];
    pub(super) const POD_NAME: &str = "csi.storage.k8s.io/pod.name";
    pub(super) const POD_NAMESPACE: &str = "csi.storage.k8s.io/pod.namespace";
    pub(super) const POD_UID: &str = "csi.storage.k8s.io/pod.uid";
    pub(super) const SERVICE_ACCOUNT: &str = "csi.storage.k8s.io/serviceAccount.name";
    pub(super) const EPHEMERAL: &str = "csi.storage.k8s.io/ephemeral";
    pub(super) const TOKENS: &str = "csi.storage.k8s.io/serviceAccount.tokens";
}

/// Longest volume id, bytes.
const MAX_VOLUME_ID: usize = 128;

/// Most bytes of keys and values in one map (csi.md 1.2).
const MAX_MAP: usize = 256 * 1024;

/// A publish request that passed the checks.
#[derive(Clone, PartialEq, Eq)]
pub(crate) struct Checked {
    pub(crate) target: Target,
    pub(crate) request: VolumeRequest,
    pub(crate) gid: Option<u32>,
    pub(crate) context: Option<String>,
    pub(crate) tokens: ServiceAccountTokens,
    /// Over everything that decides how the volume looks, tokens excluded.
    pub(crate) digest: Digest,
}

/// Without the label, which came in a mount flag (csi.md R8).
impl fmt::Debug for Checked {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Checked")
            .field("target", &self.target)
            .field("request", &self.request)
            .field("gid", &self.gid)
            .field("tokens", &self.tokens)
            .finish_non_exhaustive()
    }
}

/// Checks 1 to 5 of csi.md 1.3 that NodeUnpublishVolume shares: ids and paths.
pub(crate) fn check_target(
    volume_id: &str,
    target_path: &str,
    roots: &Roots,
) -> Result<Target, NodeError> {
    if volume_id.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    if target_path.is_empty() {
        return Err(invalid("target_path is missing"));
    }
    roots
        .parse(target_path)
        .map_err(|error| invalid(&error.to_string()))
}

/// All checks of csi.md 1.3 but those that need the backend (15) or look at the target (17 to 20).
pub(crate) fn check(
    mut request: NodePublishVolumeRequest,
    config: &Config,
    roots: &Roots,
    trust: Trust,
) -> Result<Checked, NodeError> {
    if request.volume_id.is_empty() {
        return Err(invalid("volume_id is missing"));
    }
    if request.target_path.is_empty() {
        return Err(invalid("target_path is missing"));
    }
    let Some(capability) = request.volume_capability else {
        return Err(invalid("volume_capability is missing"));
    };
    if request.volume_id.len() > MAX_VOLUME_ID || request.volume_id.chars().any(char::is_control) {
        return Err(invalid(
            "volume_id is longer than 128 bytes or has control characters",
        ));
    }
    let target = check_target(&request.volume_id, &request.target_path, roots)?;
    let mount = check_capability(capability)?;
    let context = check_mount_flags(&mount.mount_flags)?;
    let gid = check_group(&mount.volume_mount_group)?;
    check_maps(&request.volume_context, &request.secrets)?;
    let relaxations = &config.relaxations;
    let mut attributes = std::mem::take(&mut request.volume_context);
    let mut take = |key: &str| attributes.remove(key).filter(|value| !value.is_empty());
    let ephemeral = take(keys::EPHEMERAL);
    if ephemeral.as_deref() != Some("true") && !relaxations.allow_non_ephemeral {
        return Err(invalid(
            "only inline (ephemeral) volumes are supported; if the pod's volume is one, the CSIDriver object lacks podInfoOnMount: true",
        ));
    }
    if !request.readonly && !relaxations.allow_writable {
        return Err(invalid("set readOnly: true on the csi volume of the pod"));
    }
    if !trust.pod_info_on_mount && !relaxations.allow_non_ephemeral {
        return Err(NodeError::NoPodInfo);
    }
    let mut identity = |key: &str| match take(key) {
        Some(value) => Ok(value),
        None if relaxations.allow_non_ephemeral => Ok("unknown".to_owned()),
        None => Err(invalid(&format!(
            "kubelet's key {key} is missing from volume_context"
        ))),
    };
    let (pod_name, namespace, pod_uid, service_account) = (
        identity(keys::POD_NAME)?,
        identity(keys::POD_NAMESPACE)?,
        identity(keys::POD_UID)?,
        identity(keys::SERVICE_ACCOUNT)?,
    );
    if target.pod_uid().is_some_and(|uid| uid != pod_uid) {
        return Err(invalid("the pod's uid is not the one in target_path"));
    }
    if request.secrets.keys().any(|key| key != keys::TOKENS) {
        return Err(invalid(
            "nodePublishSecretRef is not supported; remove it from the pod's volume",
        ));
    }
    let tokens = ServiceAccountTokens::of_publish(
        trust.tokens,
        request.secrets.remove(keys::TOKENS),
        attributes.remove(keys::TOKENS),
    );
    attributes.retain(|key, _| !keys::PREFIXES.iter().any(|prefix| key.starts_with(prefix)));
    let request = VolumeRequest {
        volume_id: request.volume_id,
        namespace,
        pod_name,
        pod_uid,
        service_account,
        attributes,
    };
    let digest = spec_digest(&request, gid, context.as_deref());
    Ok(Checked {
        target,
        request,
        gid,
        context,
        tokens,
        digest,
    })
}

/// What the attributes ask for must be possible at all: part of check 15 that the backend cannot know.
pub(crate) fn check_settings(config: &Config, settings: &VolumeSettings) -> Result<(), NodeError> {
    let VolumeSettings {
        uid,
        gid,
        default_mode,
        size_limit,
    } = *settings;
    // The last value means "leave as it is" to chown(2).
    for (name, id) in [("uid", uid), ("gid", gid)] {
        if id == Some(u32::MAX) {
            return Err(invalid(&format!(
                "the volume's {name} must be from 0 to 4294967294"
            )));
        }
    }
    if default_mode.is_some_and(|mode| mode > 0o777) {
        return Err(invalid(
            "the volume's default mode has bits beyond 0777; remove them",
        ));
    }
    if size_limit.is_some_and(|limit| limit > config.max_volume_bytes) {
        return Err(invalid(&format!(
            "the volume's size limit is above the {} bytes that the agent allows; lower it",
            config.max_volume_bytes
        )));
    }
    Ok(())
}

/// Check 16: policy.
pub(crate) fn check_policy(config: &Config, namespace: &str) -> Result<(), NodeError> {
    match &config.allowed_namespaces {
        Some(allowed) if !allowed.contains(namespace) => Err(NodeError::Forbidden {
            namespace: namespace.to_owned(),
        }),
        Some(_) | None => Ok(()),
    }
}

/// What two publishes of one volume must have in common (csi.md 6.3).
pub(crate) fn spec_digest(
    request: &VolumeRequest,
    gid: Option<u32>,
    context: Option<&str>,
) -> Digest {
    let mut hasher = Hasher::new();
    let VolumeRequest {
        volume_id,
        namespace,
        pod_name,
        pod_uid,
        service_account,
        attributes,
    } = request;
    for field in [volume_id, namespace, pod_name, pod_uid, service_account] {
        hasher.field(field.as_bytes());
    }
    match gid {
        Some(gid) => hasher.field(&gid.to_le_bytes()),
        None => hasher.field(&[]),
    }
    hasher.field(context.unwrap_or_default().as_bytes());
    for (key, value) in attributes {
        hasher.field(key.as_bytes());
        hasher.field(value.as_bytes());
    }
    hasher.finish()
}

fn check_capability(capability: VolumeCapability) -> Result<MountVolume, NodeError> {
    let mount = match capability.access_type {
        Some(AccessType::Mount(mount)) => mount,
        Some(AccessType::Block(_)) => return Err(invalid("raw block volumes are not supported")),
        None => return Err(invalid("volume_capability has no access_type")),
    };
    let mode = capability
        .access_mode
        .and_then(|mode| access_mode::Mode::try_from(mode.mode).ok());
    if matches!(mode, None | Some(access_mode::Mode::Unknown)) {
        return Err(invalid("volume_capability has no known access_mode"));
    }
    if !matches!(mount.fs_type.as_str(), "" | "tmpfs") {
        return Err(invalid(
            "fsType must be empty or tmpfs; remove it from the pod's volume",
        ));
    }
    Ok(mount)
}

/// One `context=` option is allowed (csi.md 5.4). Flags are never echoed: CSI calls them possibly sensitive.
pub(crate) fn check_mount_flags(flags: &[String]) -> Result<Option<String>, NodeError> {
    let refused = || invalid("mount flags other than one SELinux context= are not supported");
    match flags {
        [] => Ok(None),
        [flag] => {
            let label = flag
                .strip_prefix("context=")
                .ok_or_else(refused)?
                .trim_matches('"');
            let legal = |byte: u8| {
                byte.is_ascii_alphanumeric() || matches!(byte, b':' | b'_' | b',' | b'.' | b'-')
            };
            if label.is_empty() || label.len() > 1024 || !label.bytes().all(legal) {
                return Err(refused());
            }
            Ok(Some(label.to_owned()))
        }
        _ => Err(refused()),
    }
}

fn check_group(group: &str) -> Result<Option<u32>, NodeError> {
    if group.is_empty() {
        return Ok(None);
    }
    let digits = group.len() <= 10 && group.bytes().all(|byte| byte.is_ascii_digit());
    // The last value means "leave as it is" to chown(2).
    let gid = if digits {
        group.parse::<u32>().ok().filter(|gid| *gid != u32::MAX)
    } else {
        None
    };
    gid.map(Some)
        .ok_or_else(|| invalid("volume_mount_group is not a group id from 0 to 4294967294"))
}

fn check_maps(
    context: &BTreeMap<String, String>,
    secrets: &BTreeMap<String, String>,
) -> Result<(), NodeError> {
    for (name, map) in [("volume_context", context), ("secrets", secrets)] {
        if map
            .iter()
            .map(|(key, value)| key.len() + value.len())
            .sum::<usize>()
            > MAX_MAP
        {
            return Err(invalid(&format!("{name} is larger than 256 KiB")));
        }
    }
    Ok(())
}

fn invalid(text: &str) -> NodeError {
    NodeError::Invalid(text.to_owned())
}

#[cfg(test)]
mod tests;
