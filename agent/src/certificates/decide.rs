//! Decides what is due and why. Pure: observed state and time in, a verdict out.
//!
//! The life of a CA, in days before its end:
//!
//! ```text
//!  365            150                         60                          0
//!   | issues       | successor is made and     | successor issues,         | leaves the bundles
//!   |              | joins every trust bundle  | this one stays trusted    |
//! ```
//!
//! So everyone has trusted a CA for one leaf lifetime (90 days) before the first leaf of it appears, and no leaf loses its issuer.

use std::fmt;
use std::time::Duration;

use jiff::Timestamp;
use latchkey_secret::{SecretData, SecretValue};

use super::authority::{
    self, Authority, CA_RENEW, Error, Facts, LEAF_LIFETIME, LEAF_RENEW, Profile,
};
use super::{CA_CERTIFICATE_KEY, CA_PRIVATE_KEY, CERTIFICATE_KEY, PRIVATE_KEY};

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// Key of the successor's certificate in the CA's Secret.
const NEXT_CERTIFICATE: &str = "ca-next.crt";
/// Key of the successor's private key in the CA's Secret.
const NEXT_KEY: &str = "ca-next.key";
/// Key of the certificates of predecessors that are still trusted.
const PREVIOUS: &str = "ca-previous.crt";

/// When a successor takes over at the latest, although it was published for less than a leaf lifetime (the agent was away).
/// Longer than [`LEAF_RENEW`], so that no leaf is due for renewal by a CA that can give it no more life.
const LATEST_SWITCH: Duration = LEAF_RENEW.saturating_add(DAY);

/// For how long a successor is published before such a late switch; every bundle is rewritten within minutes.
const SHORTEST_OVERLAP: Duration = DAY;

/// A new leaf must add at least this much life, else it is not worth the change.
const WORTHWHILE: Duration = DAY;

/// The CAs of a cluster: the one that issues, its successor and its predecessors.
#[derive(Clone, Debug)]
pub struct Chain {
    /// Issues leaves.
    pub current: Authority,
    /// Trusted already, issues later.
    pub next: Option<Authority>,
    /// Certificates that no longer issue but are still trusted, PEM.
    pub previous: Vec<String>,
}

/// What is due for the CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ChainStep {
    /// Nothing.
    Keep,
    /// Make the successor and publish it.
    Announce,
    /// The successor issues from now on.
    Switch,
    /// A predecessor has expired and leaves the bundles.
    Prune,
    /// There is no usable CA: begin anew.
    Begin,
}

/// Why a leaf or a bundle is written. The label `reason` of `eso_provider_certificate_rotation_total`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Reason {
    /// There is no Secret.
    Created,
    /// A key is missing or empty.
    Incomplete,
    /// Certificate or key cannot be parsed, or they do not belong together.
    Unreadable,
    /// The certificate is near its end.
    Expiring,
    /// It is not trusted: another CA, other names, other usage.
    Untrusted,
    /// Only the trust bundle is out of date.
    Bundle,
}

impl fmt::Display for Reason {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Created => "created",
            Self::Incomplete => "incomplete",
            Self::Unreadable => "unreadable",
            Self::Expiring => "expiring",
            Self::Untrusted => "untrusted",
            Self::Bundle => "bundle",
        })
    }
}

/// What is due for a leaf.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing; it ends at this time.
    Keep(Timestamp),
    /// Keep the leaf, write the bundle beside it.
    Publish(Timestamp),
    /// Issue a new leaf.
    Issue(Reason),
    /// It is somebody's own: use it, never write it. `None` if it cannot be used either.
    Foreign(Option<Timestamp>),
}

// === impl Chain ===

impl Chain {
    /// A new CA without history.
    ///
    /// # Errors
    ///
    /// [`Error`] if no key can be made.
    pub fn begin(now: Timestamp) -> Result<Self, Error> {
        Ok(Self {
            current: Authority::generate(now)?,
            next: None,
            previous: Vec::new(),
        })
    }

    /// Reads the CA's Secret. A successor that cannot be read counts as none.
    ///
    /// # Errors
    ///
    /// [`Error`] if the issuing CA cannot be used.
    pub fn from_data(data: &SecretData) -> Result<Self, Error> {
        let current = authority(data, CA_CERTIFICATE_KEY, CA_PRIVATE_KEY)?;
        let next = authority(data, NEXT_CERTIFICATE, NEXT_KEY).ok();
        let previous = data
            .get(PREVIOUS)
            .map_or_else(Vec::new, |value| split_certificates(value.expose()));
        Ok(Self {
            current,
            next,
            previous,
        })
    }

    /// The content of the CA's Secret.
    #[must_use]
    pub fn to_data(&self) -> SecretData {
        let text = |text: &str| SecretValue::from(text.to_owned());
        let current = self.current.identity();
        let mut data = SecretData::from([
            (CA_CERTIFICATE_KEY.to_owned(), text(&current.certificate)),
            (CA_PRIVATE_KEY.to_owned(), current.key.clone()),
        ]);
        if let Some(next) = &self.next {
            data.insert(
                NEXT_CERTIFICATE.to_owned(),
                text(&next.identity().certificate),
            );
            data.insert(NEXT_KEY.to_owned(), next.identity().key.clone());
        }
        if !self.previous.is_empty() {
            data.insert(PREVIOUS.to_owned(), text(&self.previous.concat()));
        }
        data
    }

    /// All certificates to trust, the issuing one first.
    #[must_use]
    pub fn bundle(&self) -> String {
        let mut bundle = self.current.identity().certificate.clone();
        for certificate in self
            .next
            .iter()
            .map(|next| &next.identity().certificate)
            .chain(&self.previous)
        {
            if !bundle.ends_with('\n') {
                bundle.push('\n');
            }
            bundle.push_str(certificate);
        }
        bundle
    }

    /// Issues a leaf that everyone who has the bundle trusts.
    ///
    /// # Errors
    ///
    /// [`Error::Untrusted`] where the CA, somebody's own, has expired or may not sign such names: a leaf of it would be refused, and
    /// replaced by the next one, for ever.
    pub fn issue(&self, profile: &Profile, now: Timestamp) -> Result<authority::Identity, Error> {
        let identity = self.current.issue(profile, now)?;
        let certificate = identity.certificate.as_bytes();
        if authority::is_trusted(certificate, profile, &self.bundle(), now) {
            Ok(identity)
        } else {
            Err(Error::Untrusted)
        }
    }

    /// What is due for this chain.
    #[must_use]
    pub fn step(&self, now: Timestamp) -> ChainStep {
        let remaining = self.current.facts().remaining(now);
        let next = self
            .next
            .as_ref()
            .map(Authority::facts)
            .filter(|next| !next.remaining(now).is_zero());
        match next {
            Some(next) => {
                let age = next.age(now).saturating_sub(authority::BACKDATE);
                let published =
                    age >= LEAF_LIFETIME || (remaining <= LATEST_SWITCH && age >= SHORTEST_OVERLAP);
                if remaining.is_zero() || (remaining <= CA_RENEW && published) {
                    return ChainStep::Switch;
                }
            }
            None if remaining.is_zero() => return ChainStep::Begin,
            None if remaining <= CA_RENEW + LEAF_LIFETIME => return ChainStep::Announce,
            None => {}
        }
        if self
            .previous
            .iter()
            .any(|certificate| has_ended(certificate, now))
        {
            ChainStep::Prune
        } else {
            ChainStep::Keep
        }
    }

    /// Takes the step.
    ///
    /// # Errors
    ///
    /// [`Error`] if no key can be made.
    pub fn take(mut self, step: ChainStep, now: Timestamp) -> Result<Self, Error> {
        match step {
            ChainStep::Keep => {}
            ChainStep::Begin => return Self::begin(now),
            ChainStep::Announce => self.next = Some(Authority::generate(now)?),
            ChainStep::Switch => {
                if let Some(next) = self.next.take() {
                    let before = std::mem::replace(&mut self.current, next);
                    self.previous
                        .insert(0, before.identity().certificate.clone());
                }
            }
            ChainStep::Prune => {}
        }
        self.previous
            .retain(|certificate| !has_ended(certificate, now));
        Ok(self)
    }
}

/// Decides about a leaf. `observed` is the Secret's data and whether we wrote it.
#[must_use]
pub fn leaf(
    observed: Option<(&SecretData, bool)>,
    profile: &Profile,
    chain: &Chain,
    now: Timestamp,
) -> Verdict {
    let Some((data, managed)) = observed else {
        return Verdict::Issue(Reason::Created);
    };
    let present = |key| {
        data.get(key)
            .filter(|value: &&SecretValue| !value.is_empty())
    };
    let (Some(bundle), Some(certificate), Some(key)) = (
        present(CA_CERTIFICATE_KEY),
        present(CERTIFICATE_KEY),
        present(PRIVATE_KEY),
    ) else {
        return if managed {
            Verdict::Issue(Reason::Incomplete)
        } else {
            Verdict::Foreign(None)
        };
    };
    let facts =
        Facts::of(certificate.expose()).and_then(|facts| facts.check_key(key).map(|()| facts));
    let facts = match facts {
        Ok(facts) if !managed => return Verdict::Foreign(Some(facts.not_after)),
        Err(_) if !managed => return Verdict::Foreign(None),
        Err(_) => return Verdict::Issue(Reason::Unreadable),
        Ok(facts) => facts,
    };
    if facts.remaining(now) < LEAF_RENEW
        && chain.current.leaf_end(now) > facts.not_after + WORTHWHILE
    {
        return Verdict::Issue(Reason::Expiring);
    }
    let expected = chain.bundle();
    if !authority::is_trusted(certificate.expose(), profile, &expected, now) {
        return Verdict::Issue(Reason::Untrusted);
    }
    if bundle.expose() == expected.as_bytes() {
        Verdict::Keep(facts.not_after)
    } else {
        Verdict::Publish(facts.not_after)
    }
}

fn authority(data: &SecretData, certificate: &str, key: &str) -> Result<Authority, Error> {
    let certificate = data.get(certificate).ok_or(Error::Certificate)?;
    let certificate =
        String::from_utf8(certificate.expose().to_vec()).map_err(|_| Error::Certificate)?;
    Authority::from_pem(certificate, data.get(key).ok_or(Error::Key)?.clone())
}

fn has_ended(certificate: &str, now: Timestamp) -> bool {
    Facts::of(certificate.as_bytes()).map_or(true, |facts| facts.remaining(now).is_zero())
}

/// The certificates of a PEM text, each with its lines.
fn split_certificates(pem: &[u8]) -> Vec<String> {
    const END: &str = "-----END CERTIFICATE-----";
    let text = String::from_utf8_lossy(pem);
    let parts = text
        .split_inclusive(END)
        .filter(|part| part.trim_end().ends_with(END));
    parts.map(|part| format!("{}\n", part.trim())).collect()
}

#[cfg(test)]
mod tests;
