//! Wire messages into requests, and outcomes into wire messages.

use std::time::Duration;

use latchkey_proto::provider::v1 as wire;
use latchkey_secret::SecretData;
use tonic::metadata::MetadataMap;

use crate::error::{ErrorClass, ProviderError, Result, sanitise};
use crate::request::{
    ConversionStrategy, Find, MAX_WARNINGS, METADATA_PUSH_METADATA, MetadataPolicy, PushRemoteRef,
    RemoteRef, Validation, Verdict,
};

/// Longest warning, in bytes (specification 2.10).
pub(super) const MAX_WARNING_BYTES: usize = 256;

/// The caller's deadline: `grpc-timeout` is up to eight digits and a unit.
pub(super) fn deadline(metadata: &MetadataMap) -> Option<Duration> {
    let text = metadata.get("grpc-timeout")?.to_str().ok()?;
    let (digits, unit) = text.split_at_checked(text.len().checked_sub(1)?)?;
    if digits.is_empty() || digits.len() > 8 {
        return None;
    }
    let amount: u64 = digits.parse().ok()?;
    Some(match unit {
        "H" => Duration::from_secs(amount * 3600),
        "M" => Duration::from_secs(amount * 60),
        "S" => Duration::from_secs(amount),
        "m" => Duration::from_millis(amount),
        "u" => Duration::from_micros(amount),
        "n" => Duration::from_nanos(amount),
        _ => return None,
    })
}

pub(super) fn text(metadata: &MetadataMap, key: &'static str) -> Result<Option<String>> {
    metadata
        .get(key)
        .map(|value| {
            value.to_str().map(str::to_owned).map_err(|_| {
                ProviderError::invalid_argument(format!("request metadata {key} is not ASCII"))
            })
        })
        .transpose()
}

pub(super) fn remote_ref(remote: Option<wire::ExternalSecretDataRemoteRef>) -> Result<RemoteRef> {
    let remote =
        remote.ok_or_else(|| ProviderError::invalid_argument("request or remote ref is nil"))?;
    Ok(RemoteRef {
        metadata_policy: MetadataPolicy::from_wire(&remote.metadata_policy),
        key: remote.key,
        version: remote.version,
        property: remote.property,
    })
}

pub(super) fn push_remote_ref(
    metadata: &MetadataMap,
    remote: Option<wire::PushSecretRemoteRef>,
) -> Result<PushRemoteRef> {
    let remote =
        remote.ok_or_else(|| ProviderError::invalid_argument("request or remote ref is nil"))?;
    let last = metadata
        .get_bin(METADATA_PUSH_METADATA)
        .and_then(|value| value.to_bytes().ok());
    Ok(PushRemoteRef {
        key: remote.remote_key,
        property: remote.property,
        metadata: last.map(|bytes| bytes.to_vec()).unwrap_or_default(),
    })
}

pub(super) fn find(find: Option<wire::ExternalSecretFind>) -> Result<Find> {
    let find =
        find.ok_or_else(|| ProviderError::invalid_argument("request or find criteria is nil"))?;
    Ok(Find {
        path: Some(find.path).filter(|path| !path.is_empty()),
        name: find.name.map(|name| name.regexp),
        tags: find.tags,
        conversion_strategy: ConversionStrategy::from_wire(&find.conversion_strategy),
    })
}

pub(super) fn exposed(data: SecretData) -> std::collections::BTreeMap<String, Vec<u8>> {
    data.into_iter()
        .map(|(key, value)| (key, value.expose().to_vec()))
        .collect()
}

/// Only the two single reads may say that a secret does not exist.
pub(super) fn never_not_found(error: ProviderError) -> ProviderError {
    if error.class() == ErrorClass::SecretNotFound {
        return ProviderError::internal(error.message());
    }
    error
}

/// The answer of Validate (specification 2.9, 2.10).
pub(super) fn verdict(result: Result<Validation>) -> Result<wire::ValidateResponse> {
    let validation = match result {
        Ok(validation) => validation,
        Err(error) if error.class().is_verdict() => {
            Validation::invalid(format!("{}: {}", error.class().reason(), error.message()))
        }
        Err(error) => return Err(error),
    };
    let mut warnings = validation.warnings;
    let (valid, error) = match validation.verdict {
        Verdict::Ready => (true, String::new()),
        Verdict::Unknown(reason) => {
            warnings.insert(0, format!("validation unknown: {reason}"));
            (true, String::new())
        }
        Verdict::Invalid(reason) => (false, sanitise(&reason)),
    };
    let warnings = warnings
        .iter()
        .take(MAX_WARNINGS)
        .map(|warning| short(&sanitise(warning)))
        .collect();
    Ok(wire::ValidateResponse {
        valid,
        error,
        warnings,
    })
}

fn short(text: &str) -> String {
    text[..text.floor_char_boundary(MAX_WARNING_BYTES)].to_owned()
}
