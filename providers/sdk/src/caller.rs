//! On whose behalf a read is made, as request metadata says it (provider-protocol.md 13.3).
//!
//! An agent that reads a value for a pod's volume may say which pod, and prove it by a token of the pod's service account. The
//! names are for the record; the token is for whoever can verify it. **Nothing here is verified**: what [`CallerToken`] tells of
//! itself is what the token claims, good for messages and for keeping sessions apart, and never for a decision. A provider that
//! decides by the caller shows the token to its backend, or has the API server review it.

use std::fmt;

use aws_lc_rs::digest::{SHA256, digest};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey_secret::SecretValue;
use serde::Deserialize;
use tonic::metadata::MetadataMap;

use crate::error::{ErrorClass, ProviderError, Result};

/// Request metadata: the kind of the caller, such as `Pod`.
pub const METADATA_CALLER_KIND: &str = "eso-caller-kind";
/// Request metadata: namespace of the caller.
pub const METADATA_CALLER_NAMESPACE: &str = "eso-caller-namespace";
/// Request metadata: name of the caller.
pub const METADATA_CALLER_NAME: &str = "eso-caller-name";
/// Request metadata: UID of the caller.
pub const METADATA_CALLER_UID: &str = "eso-caller-uid";
/// Request metadata: the node that the call comes from.
pub const METADATA_NODE: &str = "eso-node";
/// Request metadata: UID of the pod that mounts the value.
pub const METADATA_POD_UID: &str = "eso-pod-uid";
/// Request metadata: a token of the pod's service account.
pub const METADATA_CALLER_TOKEN: &str = "eso-caller-token";

/// Longest token, in bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// Who calls, in the agent's words. Empty where it says nothing.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Caller {
    /// Kind of the caller.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Its UID.
    pub uid: String,
    /// The node that the call comes from.
    pub node: String,
    /// UID of the pod that mounts the value.
    pub pod_uid: String,
    /// What proves it, if anything does.
    pub token: Option<CallerToken>,
}

/// A token of the caller's service account, and what it claims.
#[derive(Clone, PartialEq, Eq)]
pub struct CallerToken {
    token: SecretValue,
    namespace: String,
    service_account: String,
    pod_uid: String,
    audiences: Vec<String>,
    expires: u64,
}

/// The claims that the API server writes into tokens of service accounts.
#[derive(Deserialize)]
struct Claims {
    aud: Audiences,
    exp: u64,
    #[serde(rename = "kubernetes.io")]
    kubernetes: Kubernetes,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum Audiences {
    One(String),
    Many(Vec<String>),
}

#[derive(Deserialize)]
struct Kubernetes {
    namespace: String,
    serviceaccount: Named,
    #[serde(default)]
    pod: Named,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    uid: String,
}

// === impl Caller ===

impl Caller {
    /// What `metadata` says; `None` if it says nothing of a caller.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidArgument`] for names that are no percent-encoded text and for a token that is none of a service
    /// account. Neither is repeated.
    pub fn from_metadata(metadata: &MetadataMap) -> Result<Option<Self>> {
        let text = |key| decoded(metadata, key);
        let caller = Self {
            kind: text(METADATA_CALLER_KIND)?,
            namespace: text(METADATA_CALLER_NAMESPACE)?,
            name: text(METADATA_CALLER_NAME)?,
            uid: text(METADATA_CALLER_UID)?,
            node: text(METADATA_NODE)?,
            pod_uid: text(METADATA_POD_UID)?,
            token: metadata
                .get(METADATA_CALLER_TOKEN)
                .map(|value| CallerToken::try_new(SecretValue::new(value.as_bytes().to_vec())))
                .transpose()?,
        };
        Ok((caller != Self::default()).then_some(caller))
    }

    /// Refuses a token of another namespace than the request is for: no agent reads for a pod elsewhere.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::PermissionDenied`] with both namespaces.
    pub fn check_namespace(&self, source_namespace: &str) -> Result<()> {
        match &self.token {
            Some(token) if token.namespace != source_namespace => Err(ProviderError::new(
                ErrorClass::PermissionDenied,
                format!(
                    "a pod of namespace \"{}\" asks for values of namespace \"{source_namespace}\"",
                    token.namespace
                ),
            )),
            _ => Ok(()),
        }
    }
}

// === impl CallerToken ===

impl CallerToken {
    /// Reads the claims of `token`, which is not verified.
    ///
    /// # Errors
    ///
    /// [`ErrorClass::InvalidArgument`] unless it looks like a service account's token of at most 16 KiB.
    pub fn try_new(token: SecretValue) -> Result<Self> {
        let claims = claims(token.expose()).ok_or_else(|| {
            ProviderError::invalid_argument(format!(
                "request metadata {METADATA_CALLER_TOKEN} is not a token of a service account"
            ))
        })?;
        Ok(Self {
            token,
            namespace: claims.kubernetes.namespace,
            service_account: claims.kubernetes.serviceaccount.name,
            pod_uid: claims.kubernetes.pod.uid,
            audiences: match claims.aud {
                Audiences::One(audience) => vec![audience],
                Audiences::Many(audiences) => audiences,
            },
            expires: claims.exp,
        })
    }

    /// The token itself.
    #[must_use]
    pub fn token(&self) -> &SecretValue {
        &self.token
    }

    /// Namespace and name of the service account, as claimed.
    #[must_use]
    pub fn account(&self) -> String {
        format!("{}/{}", self.namespace, self.service_account)
    }

    /// UID of the pod that the token is bound to, as claimed; empty for a token that is bound to none.
    #[must_use]
    pub fn pod_uid(&self) -> &str {
        &self.pod_uid
    }

    /// Who may accept the token, as claimed.
    #[must_use]
    pub fn audiences(&self) -> &[String] {
        &self.audiences
    }

    /// When it ends, in seconds since the epoch, as claimed.
    #[must_use]
    pub const fn expires(&self) -> u64 {
        self.expires
    }

    /// SHA-256 of the token, in hexadecimal digits. What a backend granted to one token must not be handed to the bearer of
    /// another that merely claims the same: whoever keeps sessions puts this into their key.
    #[must_use]
    pub fn digest(&self) -> String {
        let digest = digest(&SHA256, self.token.expose());
        digest
            .as_ref()
            .iter()
            .map(|byte| format!("{byte:02x}"))
            .collect()
    }
}

/// Whose it claims to be, and never the token.
impl fmt::Debug for CallerToken {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "CallerToken({})", self.account())
    }
}

fn claims(token: &[u8]) -> Option<Claims> {
    if token.len() > MAX_TOKEN {
        return None;
    }
    let mut parts = token.split(|byte| *byte == b'.');
    let (_header, payload, signature) = (parts.next()?, parts.next()?, parts.next()?);
    if signature.is_empty() || parts.next().is_some() {
        return None;
    }
    let claims: Claims = serde_json::from_slice(&URL_SAFE_NO_PAD.decode(payload).ok()?).ok()?;
    let is_named = !claims.kubernetes.namespace.is_empty()
        && !claims.kubernetes.serviceaccount.name.is_empty();
    is_named.then_some(claims)
}

/// The percent-decoded text of `key`; empty if it is absent.
fn decoded(metadata: &MetadataMap, key: &'static str) -> Result<String> {
    let Some(value) = metadata.get(key) else {
        return Ok(String::new());
    };
    unescaped(value.as_bytes())
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .ok_or_else(|| {
            ProviderError::invalid_argument(format!(
                "request metadata {key} is not percent-encoded text"
            ))
        })
}

fn unescaped(text: &[u8]) -> Option<Vec<u8>> {
    let digit = |byte: u8| char::from(byte).to_digit(16);
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text;
    while let [first, after @ ..] = rest {
        rest = after;
        if *first != b'%' {
            bytes.push(*first);
            continue;
        }
        let [high, low, after @ ..] = rest else {
            return None;
        };
        bytes.push(u8::try_from(digit(*high)? * 16 + digit(*low)?).ok()?);
        rest = after;
    }
    Some(bytes)
}

#[cfg(test)]
#[path = "caller/tests.rs"]
mod tests;
