//! A `HashicorpVault` resource, checked: what is left has no contradictions and nothing that this server does not support.

mod resource;

use http::header::{HeaderMap, HeaderName, HeaderValue};
use latchkey_provider_sdk::ProviderError;
use reqwest::Url;

use crate::client::Consistency;
pub use crate::paths::KvVersion;
use crate::paths::segments;

/// Default mount of the Kubernetes auth method.
pub(crate) const DEFAULT_KUBERNETES_MOUNT: &str = "kubernetes";
/// Default mount of the JWT auth method.
pub(crate) const DEFAULT_JWT_MOUNT: &str = "jwt";

/// Everything that a store of this kind says, owned and checked.
#[derive(Clone)]
pub struct Settings {
    /// Base address: http or https, without credentials, query or fragment.
    pub(crate) server: Url,
    /// Mount of the key-value engine without slashes at its ends.
    pub(crate) mount: Option<String>,
    pub(crate) version: KvVersion,
    /// Namespace of data calls.
    pub(crate) namespace: Option<String>,
    /// Namespace of calls that concern the token.
    pub(crate) auth_namespace: Option<String>,
    /// Trusted roots; `None` for those of the system.
    pub(crate) roots: Option<Roots>,
    /// Certificate that is shown to the server with all calls.
    pub(crate) certificate: Option<CertificateReference>,
    pub(crate) consistency: Consistency,
    /// Headers of the user's own.
    pub(crate) headers: HeaderMap,
    pub(crate) auth: Auth,
}

// === impl Settings ===

impl Settings {
    /// Whether each pod logs in for itself.
    pub(crate) const fn logs_in_as_caller(&self) -> bool {
        matches!(
            self.auth,
            Auth::Kubernetes {
                account: AccountToken::Caller,
                ..
            }
        )
    }
}

/// Where trusted roots come from.
#[derive(Clone)]
pub(crate) enum Roots {
    /// Text of the resource itself, in base64.
    Bundle(String),
    /// A key of a Secret.
    Secret(KeyReference),
    /// A key of a ConfigMap.
    ConfigMap(KeyReference),
}

/// A key of a Secret or ConfigMap.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct KeyReference {
    pub(crate) name: String,
    pub(crate) namespace: Option<String>,
    pub(crate) key: String,
}

/// A client certificate and its key.
#[derive(Clone)]
pub(crate) struct CertificateReference {
    pub(crate) certificate: KeyReference,
    pub(crate) key: KeyReference,
}

/// How a token is obtained.
#[derive(Clone)]
pub(crate) enum Auth {
    /// No token is sent: something in front of the server adds one.
    None,
    /// A token that the user manages.
    Token(KeyReference),
    /// A login with a token of a service account, at a Kubernetes or JWT auth method: both are asked alike.
    Kubernetes {
        /// Mount of the auth method.
        mount: String,
        /// Empty for the default role of a JWT auth method.
        role: String,
        account: AccountToken,
    },
}

/// Where the service account token of a login comes from, in the order in which the resource is read.
#[derive(Clone)]
pub(crate) enum AccountToken {
    /// A token requested for an account, for the audiences named here only.
    Requested {
        name: String,
        namespace: Option<String>,
        audiences: Vec<String>,
    },
    /// A key of a Secret.
    Secret(KeyReference),
    /// The token of this server's own pod.
    OwnPod,
    /// The token that came with the request: that of the pod that mounts the value.
    Caller,
}

/// Checks the base address.
///
/// # Errors
///
/// `INVALID_CONFIG` unless it is an http or https address without credentials, query and fragment. The address itself is not
/// repeated: it could hold a password.
pub(crate) fn server_address(text: &str) -> Result<Url, ProviderError> {
    let invalid = |reason: &str| ProviderError::invalid_config(format!("server {reason}"));
    let url = Url::parse(text.trim())
        .map_err(|_error| invalid("is not an address such as https://vault.example.com:8200"))?;
    if !matches!(url.scheme(), "http" | "https") {
        return Err(invalid("must be an http or https address"));
    }
    if url.host_str().is_none_or(str::is_empty) {
        return Err(invalid("has no host"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(invalid("must not contain a user name or password"));
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(invalid("must not have a query or fragment"));
    }
    Ok(url)
}

/// Checks a mount path and removes the slashes around it; an empty one counts as absent.
///
/// # Errors
///
/// `INVALID_CONFIG` for a path with `.` or `..` segments.
pub(crate) fn mount_path(field: &str, text: Option<&str>) -> Result<Option<String>, ProviderError> {
    let Some(text) = text else { return Ok(None) };
    let segments = segments(text)
        .map_err(|error| ProviderError::invalid_config(format!("{field}: {}", error.message())))?;
    Ok(if segments.is_empty() {
        None
    } else {
        Some(segments.join("/"))
    })
}

/// Checks a namespace, which travels as a header.
///
/// # Errors
///
/// `INVALID_CONFIG` for text that a header cannot carry.
pub(crate) fn vault_namespace(
    field: &str,
    text: Option<&str>,
) -> Result<Option<String>, ProviderError> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    HeaderValue::from_str(text)
        .map(|_value| Some(text.to_owned()))
        .map_err(|_error| {
            ProviderError::invalid_config(format!(
                "{field} has characters that no header can carry"
            ))
        })
}

/// Checks the user's headers. Their values are treated as sensitive.
///
/// # Errors
///
/// `INVALID_CONFIG` for a name or value that HTTP does not allow.
pub(crate) fn user_headers<'a>(
    headers: impl IntoIterator<Item = (&'a String, &'a String)>,
) -> Result<HeaderMap, ProviderError> {
    let mut map = HeaderMap::new();
    for (name, text) in headers {
        let header = HeaderName::from_bytes(name.as_bytes()).map_err(|_error| {
            ProviderError::invalid_config(format!("headers: {name:?} is not the name of a header"))
        })?;
        let mut value = HeaderValue::from_str(text).map_err(|_error| {
            ProviderError::invalid_config(format!("headers: the value of {name:?} cannot be sent"))
        })?;
        value.set_sensitive(true);
        map.insert(header, value);
    }
    Ok(map)
}

#[cfg(test)]
mod tests {
    use super::*;
    use latchkey_provider_sdk::ErrorClass;

    #[test]
    fn a_server_address_has_a_scheme_and_a_host_and_nothing_secret() {
        for text in [
            "http://bao:8200",
            "https://vault.example.com",
            "https://proxy/vault/",
            " https://[::1]:8200 ",
        ] {
            assert!(server_address(text).is_ok(), "{text}");
        }
        for text in [
            "",
            "vault",
            "vault:8200",
            "unix:///run/vault",
            "ftp://v",
            "https://user:canary@v",
            "https://v/?a=canary",
            "https://v/#x",
        ] {
            let error = server_address(text).unwrap_err();
            assert_eq!(error.class(), ErrorClass::InvalidConfig, "{text}");
            assert!(!error.message().contains("canary"));
        }
    }

    #[test]
    fn a_mount_path_loses_its_outer_slashes_and_cannot_climb() {
        for (text, expected) in [
            (None, None),
            (Some(""), None),
            (Some("/"), None),
            (Some("secret"), Some("secret")),
            (Some("/team/kv/"), Some("team/kv")),
        ] {
            assert_eq!(mount_path("path", text).unwrap().as_deref(), expected);
        }
        assert_eq!(
            mount_path("path", Some("a/../sys")).unwrap_err().class(),
            ErrorClass::InvalidConfig
        );
    }

    #[test]
    fn headers_and_namespaces_are_checked_before_they_are_sent() {
        let headers = |name: &str, value: &str| {
            user_headers([(&name.to_owned(), &value.to_owned())])
                .map(|map| map.len())
                .map_err(|error| error.message().to_owned())
        };
        assert_eq!(headers("X-Team", "a b"), Ok(1));
        assert!(headers("X Team", "a").unwrap_err().contains("X Team"));
        assert!(
            !headers("X-Team", "canary\n")
                .unwrap_err()
                .contains("canary")
        );
        assert_eq!(
            vault_namespace("namespace", Some("team/a"))
                .unwrap()
                .as_deref(),
            Some("team/a")
        );
        assert_eq!(vault_namespace("namespace", Some("")).unwrap(), None);
        assert!(vault_namespace("namespace", Some("a\nb")).is_err());
    }
}
