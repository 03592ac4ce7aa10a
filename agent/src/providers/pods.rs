//! Tokens of pods, as kubelet hands them over with each publish, for stores that are read under the identity of pods
//! (csi.md 9.2; provider-protocol.md 13.3).
//!
//! A token says to one provider which pod a value is for. It is kept in wiping memory per pod and audience, is replaced by each
//! publish, and goes with the last volume of its pod, or a minute after its end. It leaves this module as the value of one
//! header, marked as sensitive, on connections that send nothing before the provider's certificate is verified (SB-28), and only
//! to stores that ask for it. The log shows its audience, its end, and four bytes of a digest under a key of this process.

use std::collections::{BTreeMap, HashMap, HashSet};
use std::fmt::Write as _;
use std::hash::{BuildHasher as _, RandomState};
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use latchkey_csi::backend::{ServiceAccountToken, ServiceAccountTokens};
use latchkey_engine::source::PodCaller;
use latchkey_secret::SecretValue;
use parking_lot::Mutex;
use tokio::time::sleep;
use tokio_util::sync::CancellationToken;
use tonic::metadata::{Ascii, MetadataMap, MetadataValue};
use zeroize::Zeroizing;

use crate::stores::CALLER_AUDIENCE;

/// What must be left of a token's life for a fetch to begin with it.
const MARGIN: SignedDuration = SignedDuration::from_secs(30);
/// How long a token is kept after its end.
const AFTERLIFE: SignedDuration = SignedDuration::from_secs(60);
/// Time between two looks for tokens whose time is over.
const SWEEP: Duration = Duration::from_secs(30);

/// Request metadata: the kind of the caller; always `Pod`.
const KIND: &str = "eso-caller-kind";
/// Request metadata: namespace of the pod.
const NAMESPACE: &str = "eso-caller-namespace";
/// Request metadata: name of the pod.
const NAME: &str = "eso-caller-name";
/// Request metadata: UID of the pod.
const UID: &str = "eso-caller-uid";
/// Request metadata: the node that the pod runs on.
const NODE: &str = "eso-node";
/// Request metadata: UID of the pod that mounts the value.
const POD_UID: &str = "eso-pod-uid";
/// Request metadata: the proof, a token of the pod's service account.
const TOKEN: &str = "eso-caller-token";

/// One volume of a pod, as kubelet named it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PodVolume<'a> {
    /// Namespace of the pod.
    pub namespace: &'a str,
    /// Name of the pod.
    pub pod_name: &'a str,
    /// UID of the pod.
    pub pod_uid: &'a str,
    /// Service account the pod runs as.
    pub service_account: &'a str,
    /// Volume handle.
    pub volume_id: &'a str,
}

/// The tokens of the pods on this node that mount volumes.
pub struct PodTokens {
    node: String,
    /// The key of digests in the log.
    digest: RandomState,
    pods: Mutex<HashMap<String, Kept>>,
}

/// What is known of one pod.
struct Kept {
    namespace: String,
    name: String,
    service_account: String,
    /// Volumes for which tokens were handed over.
    volumes: HashSet<String>,
    tokens: BTreeMap<String, ServiceAccountToken>,
}

/// Who calls, and what proves it.
#[derive(Clone)]
pub(crate) struct CallerProof {
    namespace: String,
    name: String,
    uid: String,
    node: String,
    token: SecretValue,
}

/// Why nothing proves who calls.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NoProof {
    /// Nothing was handed over for the pod, or its end has come. The next publish may bring something.
    #[error("kubelet has handed over no token of service account {0}")]
    Missing(String),
    /// The next publish brings a longer one.
    #[error(
        "the token of service account {account} for audience {audience} is about to end; the next publish of kubelet brings another"
    )]
    Ending {
        /// Namespace and name of the account.
        account: String,
        /// Whom it is for.
        audience: String,
    },
    /// No publish will bring such a token as the CSIDriver object is.
    #[error(
        "kubelet hands over no token for audience {0}: add it to the chart value node.tokenRequests"
    )]
    Audience(String),
    /// There are tokens for several audiences, and none is named.
    #[error(
        "kubelet hands over tokens for several audiences: name one in annotation {CALLER_AUDIENCE} of the store"
    )]
    Ambiguous,
}

// === impl PodTokens ===

impl PodTokens {
    /// Without any token, on the node of that name.
    #[must_use]
    pub fn new(node: impl Into<String>) -> Self {
        Self {
            node: node.into(),
            digest: RandomState::new(),
            pods: Mutex::default(),
        }
    }

    /// Keeps what kubelet handed over for a volume, in place of what it handed over before.
    pub fn keep(&self, volume: &PodVolume<'_>, tokens: &ServiceAccountTokens) {
        let fresh = tokens
            .audiences()
            .filter_map(|audience| Some((audience.to_owned(), tokens.get(audience)?.clone())))
            .collect::<BTreeMap<_, _>>();
        let mut pods = self.pods.lock();
        let kept = pods
            .entry(volume.pod_uid.to_owned())
            .or_insert_with(|| Kept {
                namespace: volume.namespace.to_owned(),
                name: volume.pod_name.to_owned(),
                service_account: volume.service_account.to_owned(),
                volumes: HashSet::new(),
                tokens: BTreeMap::new(),
            });
        kept.volumes.insert(volume.volume_id.to_owned());
        for (audience, token) in &fresh {
            if kept.tokens.get(audience) != Some(token) {
                let digest = self.digest.hash_one(token.token.expose()).to_be_bytes();
                tracing::debug!(
                    audience,
                    exp = %token.expires_at,
                    digest = %hex(&digest[..4]),
                    "kubelet handed over a token"
                );
            }
        }
        kept.tokens = fresh;
    }

    /// A volume is gone; with its pod's last one the tokens go.
    pub fn release(&self, volume: &PodVolume<'_>) {
        let mut pods = self.pods.lock();
        if let Some(kept) = pods.get_mut(volume.pod_uid) {
            kept.volumes.remove(volume.volume_id);
            if kept.volumes.is_empty() {
                pods.remove(volume.pod_uid);
            }
        }
    }

    /// Whether a token was handed over for the pod: for `audience`, or any.
    #[must_use]
    pub fn has(&self, pod_uid: &str, audience: Option<&str>) -> bool {
        let pods = self.pods.lock();
        pods.get(pod_uid).is_some_and(|kept| match audience {
            Some(audience) => kept.tokens.contains_key(audience),
            None => !kept.tokens.is_empty(),
        })
    }

    /// What proves that a pod of `caller` asks. Where any pod of the account will do, it is the one whose token lasts longest.
    ///
    /// # Errors
    ///
    /// [`NoProof`].
    pub(crate) fn proof(
        &self,
        namespace: &str,
        caller: &PodCaller,
        audience: Option<&str>,
        now: Timestamp,
    ) -> Result<CallerProof, NoProof> {
        let account = || format!("{namespace}/{}", caller.service_account);
        let pods = self.pods.lock();
        let mine = pods.iter().filter(|(uid, kept)| {
            kept.namespace == namespace
                && kept.service_account == caller.service_account
                && caller.pod_uid.as_ref().is_none_or(|wanted| wanted == *uid)
        });
        let mut best: Option<(&String, &Kept, &str, &ServiceAccountToken)> = None;
        let mut problem = NoProof::Missing(account());
        for (uid, kept) in mine {
            let (audience, token) = match kept.token(audience) {
                Ok(found) => found,
                Err(found) => {
                    problem = found.unwrap_or(problem);
                    continue;
                }
            };
            // The UID decides between equals, so that the same pod is shown each time.
            if best.is_none_or(|(other, _, _, held)| {
                (held.expires_at, other) < (token.expires_at, uid)
            }) {
                best = Some((uid, kept, audience, token));
            }
        }
        let (uid, kept, audience, token) = best.ok_or(problem)?;
        if now + MARGIN > token.expires_at {
            return Err(NoProof::Ending {
                account: account(),
                audience: audience.to_owned(),
            });
        }
        Ok(CallerProof {
            namespace: kept.namespace.clone(),
            name: kept.name.clone(),
            uid: uid.clone(),
            node: self.node.clone(),
            token: token.token.clone(),
        })
    }

    /// Drops tokens whose end is a while ago.
    pub(crate) fn sweep(&self, now: Timestamp) {
        for kept in self.pods.lock().values_mut() {
            kept.tokens
                .retain(|_, token| now < token.expires_at + AFTERLIFE);
        }
    }

    /// Sweeps now and then, until `stop`.
    pub async fn maintain(&self, stop: CancellationToken) {
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                () = sleep(SWEEP) => self.sweep(Timestamp::now()),
            }
        }
    }
}

// === impl Kept ===

impl Kept {
    /// The token for `audience`, or the only one. Without any the problem is whoever asks'.
    fn token(
        &self,
        audience: Option<&str>,
    ) -> Result<(&str, &ServiceAccountToken), Option<NoProof>> {
        if self.tokens.is_empty() {
            return Err(None);
        }
        if let Some(wanted) = audience {
            return self
                .tokens
                .get_key_value(wanted)
                .map(|(audience, token)| (audience.as_str(), token))
                .ok_or_else(|| Some(NoProof::Audience(wanted.to_owned())));
        }
        let mut all = self.tokens.iter();
        match (all.next(), all.next()) {
            (Some((audience, token)), None) => Ok((audience, token)),
            _ => Err(Some(NoProof::Ambiguous)),
        }
    }
}

// === impl CallerProof ===

impl CallerProof {
    /// Adds who calls, and the proof of it, to the metadata of a request.
    pub(crate) fn sign(&self, metadata: &mut MetadataMap) {
        for (key, text) in [
            (KIND, "Pod"),
            (NAMESPACE, &self.namespace),
            (NAME, &self.name),
            (UID, &self.uid),
            (NODE, &self.node),
            (POD_UID, &self.uid),
        ] {
            // Percent-encoded text is always legal there.
            if let Ok(value) = percent_encoded(text).parse() {
                metadata.insert(key, value);
            }
        }
        let text = Zeroizing::new(String::from_utf8_lossy(self.token.expose()).into_owned());
        // kubelet's tokens passed a check of their characters, all of which a header may hold.
        if let Ok(mut value) = text.parse::<MetadataValue<Ascii>>() {
            value.set_sensitive(true);
            metadata.insert(TOKEN, value);
        }
    }
}

/// `text` with all but the unreserved characters of RFC 3986 as `%XX`.
fn percent_encoded(text: &str) -> String {
    let mut encoded = String::with_capacity(text.len());
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
            encoded.push(char::from(byte));
        } else {
            // Writing to a string cannot fail.
            let _ = write!(encoded, "%{byte:02X}");
        }
    }
    encoded
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
#[path = "pods/tests.rs"]
mod tests;
