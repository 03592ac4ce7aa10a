//! `Debug` of the messages that can carry secrets, tokens or volume contexts.
//!
//! Names, paths and references stay readable, because they are what a log line is for; contents become their size.

use std::collections::BTreeMap;
use std::fmt;

use crate::{csi, fake, generator, provider};

/// Prints a number of bytes in place of a value.
struct Bytes(usize);

impl fmt::Debug for Bytes {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{} bytes>", self.0)
    }
}

/// Prints a number of entries in place of a collection. Its keys stay hidden too: names of fields say what a secret is for,
/// and names in a volume context are written by users.
struct Entries(usize);

impl fmt::Debug for Entries {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "<{} entries>", self.0)
    }
}

fn entries<V>(map: &BTreeMap<String, V>) -> Entries {
    Entries(map.len())
}

impl fmt::Debug for provider::v1::GetSecretResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GetSecretResponse")
            .field("value", &Bytes(self.value.len()))
            .finish()
    }
}

impl fmt::Debug for fake::v1::PutRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PutRequest")
            .field("resource", &self.resource)
            .field("key", &self.key)
            .field("version", &self.version)
            .field("value", &Bytes(self.value.len()))
            .finish()
    }
}

impl fmt::Debug for fake::v1::GetResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GetResponse")
            .field("origin", &self.origin)
            .field("value", &Bytes(self.value.len()))
            .finish()
    }
}

impl fmt::Debug for provider::v1::GetSecretMapResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GetSecretMapResponse")
            .field("secrets", &entries(&self.secrets))
            .finish()
    }
}

impl fmt::Debug for provider::v1::GetAllSecretsResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GetAllSecretsResponse")
            .field("secrets", &entries(&self.secrets))
            .finish()
    }
}

impl fmt::Debug for provider::v1::PushSecretRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PushSecretRequest")
            .field("provider_ref", &self.provider_ref)
            .field("secret_data", &entries(&self.secret_data))
            .field("push_secret_data", &self.push_secret_data)
            .field("source_namespace", &self.source_namespace)
            .field("secret_type", &self.secret_type)
            .field("secret_labels", &entries(&self.secret_labels))
            .field("secret_annotations", &entries(&self.secret_annotations))
            .finish()
    }
}

impl fmt::Debug for provider::v1::PushSecretData {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("PushSecretData")
            .field("metadata", &Bytes(self.metadata.len()))
            .field("secret_key", &self.secret_key)
            .field("remote_key", &self.remote_key)
            .field("property", &self.property)
            .finish()
    }
}

impl fmt::Debug for provider::v1::Error {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Error")
            .field("code", &self.code)
            .field("message", &Bytes(self.message.len()))
            .field("retryable", &self.retryable)
            .field("details", &entries(&self.details))
            .finish()
    }
}

impl fmt::Debug for generator::v1::GenerateResponse {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("GenerateResponse")
            .field("secrets", &entries(&self.secrets))
            .field("state", &Bytes(self.state.len()))
            .finish()
    }
}

impl fmt::Debug for generator::v1::CleanupRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("CleanupRequest")
            .field("generator_ref", &self.generator_ref)
            .field("state", &Bytes(self.state.len()))
            .field("source_namespace", &self.source_namespace)
            .finish()
    }
}

impl fmt::Debug for csi::v1::NodeStageVolumeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeStageVolumeRequest")
            .field("volume_id", &self.volume_id)
            .field("publish_context", &entries(&self.publish_context))
            .field("staging_target_path", &self.staging_target_path)
            .field("volume_capability", &self.volume_capability)
            .field("secrets", &entries(&self.secrets))
            .field("volume_context", &entries(&self.volume_context))
            .finish()
    }
}

impl fmt::Debug for csi::v1::NodePublishVolumeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodePublishVolumeRequest")
            .field("volume_id", &self.volume_id)
            .field("publish_context", &entries(&self.publish_context))
            .field("staging_target_path", &self.staging_target_path)
            .field("target_path", &self.target_path)
            .field("volume_capability", &self.volume_capability)
            .field("readonly", &self.readonly)
            .field("secrets", &entries(&self.secrets))
            .field("volume_context", &entries(&self.volume_context))
            .finish()
    }
}

impl fmt::Debug for csi::v1::NodeExpandVolumeRequest {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("NodeExpandVolumeRequest")
            .field("volume_id", &self.volume_id)
            .field("volume_path", &self.volume_path)
            .field("capacity_range", &self.capacity_range)
            .field("staging_target_path", &self.staging_target_path)
            .field("volume_capability", &self.volume_capability)
            .field("secrets", &entries(&self.secrets))
            .finish()
    }
}

impl fmt::Debug for csi::v1::volume_capability::MountVolume {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("MountVolume")
            .field("fs_type", &self.fs_type)
            .field("mount_flags", &Entries(self.mount_flags.len()))
            .field("volume_mount_group", &self.volume_mount_group)
            .finish()
    }
}
