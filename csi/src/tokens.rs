//! Service-account tokens that kubelet hands over with a publish (csi.md 4.2, 9.2).
//!
//! They are parsed, and never verified: that is for the provider that they are shown to. A text that is no set of tokens counts
//! as none, without a word about it: it may hold anything.

use std::collections::BTreeMap;
use std::fmt;

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use latchkey_secret::SecretValue;
use serde::Deserialize;
use zeroize::Zeroizing;

/// Longest JSON, bytes.
const MAX_JSON: usize = 64 * 1024;

/// Longest token, bytes.
const MAX_TOKEN: usize = 16 * 1024;

/// How kubelet hands over tokens, as the CSIDriver object says (`tokenRequests`, `serviceAccountTokenInSecrets`).
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum TokenDelivery {
    /// Not at all: whatever stands where a token would be was written by the pod's author. The default.
    #[default]
    Off,
    /// In `volume_context`, where kubelet overwrites what the pod's author wrote.
    VolumeContext,
    /// In `secrets`; a copy in `volume_context` was written by the pod's author.
    Secrets,
}

/// One token of the pod's service account.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServiceAccountToken {
    /// The token itself, a JSON Web Token.
    pub token: SecretValue,
    /// When it ends.
    pub expires_at: jiff::Timestamp,
}

/// The tokens of one publish by their audience. `Debug` shows how many there are.
#[derive(Clone, Default, PartialEq, Eq)]
pub struct ServiceAccountTokens(BTreeMap<String, ServiceAccountToken>);

// === impl ServiceAccountTokens ===

impl ServiceAccountTokens {
    /// The token for `audience`.
    #[must_use]
    pub fn get(&self, audience: &str) -> Option<&ServiceAccountToken> {
        self.0.get(audience)
    }

    /// All audiences, in order.
    pub fn audiences(&self) -> impl Iterator<Item = &str> {
        self.0.keys().map(String::as_str)
    }

    /// Whether there is no token.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The tokens of a publish: `secrets` before `volume_context`, and neither where kubelet writes none.
    pub(crate) fn of_publish(
        delivery: TokenDelivery,
        secrets: Option<String>,
        context: Option<String>,
    ) -> Self {
        let (secrets, context) = (secrets.map(Zeroizing::new), context.map(Zeroizing::new));
        let text = match delivery {
            TokenDelivery::Off => None,
            TokenDelivery::VolumeContext => secrets.or(context),
            TokenDelivery::Secrets => secrets,
        };
        text.map(|text| Self::parse(&text)).unwrap_or_default()
    }

    /// `{"<audience>": {"token": "…", "expirationTimestamp": "…"}}`; anything else is no token.
    pub(crate) fn parse(text: &str) -> Self {
        #[derive(Deserialize)]
        #[serde(rename_all = "camelCase")]
        struct Wire {
            token: String,
            expiration_timestamp: jiff::Timestamp,
        }
        if text.len() > MAX_JSON {
            return Self::default();
        }
        let Ok(tokens) = serde_json::from_str::<BTreeMap<String, Wire>>(text) else {
            return Self::default();
        };
        let kept = tokens.into_iter().filter_map(|(audience, wire)| {
            let token = SecretValue::from(wire.token);
            is_signed(token.expose()).then_some((
                audience,
                ServiceAccountToken {
                    token,
                    expires_at: wire.expiration_timestamp,
                },
            ))
        });
        Self(kept.collect())
    }
}

/// Tokens by their audience.
impl FromIterator<(String, ServiceAccountToken)> for ServiceAccountTokens {
    fn from_iter<I: IntoIterator<Item = (String, ServiceAccountToken)>>(tokens: I) -> Self {
        Self(tokens.into_iter().collect())
    }
}

impl fmt::Debug for ServiceAccountTokens {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "ServiceAccountTokens({})", self.0.len())
    }
}

/// Whether `token` has the form of a signed JSON Web Token: three parts, and a header that names an algorithm (RFC 7515).
fn is_signed(token: &[u8]) -> bool {
    #[derive(Deserialize)]
    struct Header {
        alg: String,
    }
    if token.len() > MAX_TOKEN {
        return false;
    }
    let parts = token.split(|byte| *byte == b'.').collect::<Vec<_>>();
    let [header, payload, signature] = parts[..] else {
        return false;
    };
    let legal = |part: &[u8]| {
        !part.is_empty()
            && part
                .iter()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    legal(payload)
        && legal(signature)
        && URL_SAFE_NO_PAD
            .decode(header)
            .ok()
            .and_then(|json| serde_json::from_slice::<Header>(&json).ok())
            .is_some_and(|header| !header.alg.is_empty() && header.alg != "none")
}

#[cfg(test)]
pub(crate) mod tests {
    use proptest::prelude::*;

    use super::{ServiceAccountTokens, TokenDelivery};

    /// A token with the header `{"alg":"RS256"}`.
    pub(crate) fn token(payload: &str) -> String {
        format!("eyJhbGciOiJSUzI1NiJ9.{payload}.c2ln")
    }

    /// What kubelet writes for one audience.
    pub(crate) fn json(audience: &str, payload: &str) -> String {
        format!(
            r#"{{"{audience}":{{"token":"{}","expirationTimestamp":"2030-01-01T00:00:00Z"}}}}"#,
            token(payload)
        )
    }

    #[test]
    fn what_kubelet_writes_is_understood() {
        let tokens = ServiceAccountTokens::parse(&json("vault", "cGF5"));
        assert_eq!(tokens.audiences().collect::<Vec<_>>(), ["vault"]);
        let vault = tokens.get("vault").unwrap();
        assert_eq!(vault.token.expose(), token("cGF5").as_bytes());
        assert_eq!(vault.expires_at.to_string(), "2030-01-01T00:00:00Z");
        assert!(!format!("{tokens:?} {vault:?}").contains("cGF5"));
    }

    #[test]
    fn garbage_is_no_token() {
        let with = |token: &str| {
            format!(r#"{{"a":{{"token":"{token}","expirationTimestamp":"2030-01-01T00:00:00Z"}}}}"#)
        };
        let long = format!("eyJhbGciOiJSUzI1NiJ9.{}.c2ln", "a".repeat(16 * 1024));
        let table = [
            String::new(),
            "[]".to_owned(),
            "{}".to_owned(),
            r#"{"a":{}}"#.to_owned(),
            r#"{"a":{"token":"x.y.z","expirationTimestamp":"soon"}}"#.to_owned(),
            with("opaque"),
            // {"alg":"none"}, no alg, no JSON, no payload, no signature.
            with("eyJhbGciOiJub25lIn0.cGF5.c2ln"),
            with("e30.cGF5.c2ln"),
            with("!!!.cGF5.c2ln"),
            with("eyJhbGciOiJSUzI1NiJ9..c2ln"),
            with("eyJhbGciOiJSUzI1NiJ9.cGF5."),
            with(&long),
            format!("{}{}", " ".repeat(64 * 1024), json("a", "cGF5")),
        ];
        for text in table {
            let shown = text.chars().take(60).collect::<String>();
            assert!(ServiceAccountTokens::parse(&text).is_empty(), "{shown}");
        }
    }

    proptest! {
        /// Whatever the text, it is parsed or counts as nothing; it never panics, and what is kept is within the bounds.
        #[test]
        fn any_text_is_tokens_or_none(text in "\\PC{0,200}|\\{\"a\":\\{\"token\":\"[a-zA-Z0-9._-]{0,80}\",\"expirationTimestamp\":\"2030-01-01T00:00:00Z\"\\}\\}") {
            let tokens = ServiceAccountTokens::of_publish(TokenDelivery::Secrets, Some(text), None);
            for audience in tokens.audiences() {
                let token = tokens.get(audience).unwrap();
                prop_assert!(token.token.len() <= 16 * 1024);
                prop_assert_eq!(token.token.expose().iter().filter(|byte| **byte == b'.').count(), 2);
            }
        }
    }
}
