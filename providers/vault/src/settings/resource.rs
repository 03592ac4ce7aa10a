//! From the resource's `spec` to [`Settings`]: the static part of validation (providers specification 8.1 and 8.9).

use latchkey_crds::provider_vault::{
    HashicorpVaultSpec, VaultAuth, VaultClientTls, VaultJwt, VaultKubernetes, VaultKvVersion,
};
use latchkey_crds::selectors::{CaProviderType, SecretKeySelector};
use latchkey_provider_sdk::ProviderError;

use super::{
    AccountToken, Auth, CertificateReference, DEFAULT_JWT_MOUNT, DEFAULT_KUBERNETES_MOUNT,
    KeyReference, KvVersion, Roots, Settings, mount_path, server_address, user_headers,
    vault_namespace,
};
use crate::client::Consistency;

// === impl Settings ===

impl Settings {
    /// Checks a `spec`. Whatever this server does not support is refused by name instead of being ignored.
    ///
    /// # Errors
    ///
    /// `INVALID_CONFIG` with the field at fault.
    pub fn try_from_spec(spec: &HashicorpVaultSpec) -> Result<Self, ProviderError> {
        let version = match spec.version() {
            VaultKvVersion::V1 => KvVersion::V1,
            VaultKvVersion::V2 => KvVersion::V2,
        };
        let is_cas_required = spec
            .check_and_set
            .as_ref()
            .and_then(|setting| setting.required)
            .unwrap_or(false);
        if is_cas_required && version == KvVersion::V1 {
            return Err(ProviderError::invalid_config(
                "checkAndSet is not supported with Vault KV version v1",
            ));
        }
        let namespace = vault_namespace("namespace", spec.namespace.as_deref())?;
        let auth_namespace = spec
            .auth
            .as_ref()
            .and_then(|auth| auth.namespace.as_deref());
        let auth_namespace =
            vault_namespace("auth.namespace", auth_namespace)?.or_else(|| namespace.clone());
        let read_your_writes = spec.read_your_writes.unwrap_or(false);
        let forward_inconsistent = spec.forward_inconsistent.unwrap_or(false);
        Ok(Self {
            server: server_address(&spec.server)?,
            mount: mount_path("path", spec.path.as_deref())?,
            version,
            namespace,
            auth_namespace,
            roots: roots(spec)?,
            certificate: spec.tls.as_ref().map(certificate).transpose()?.flatten(),
            consistency: Consistency {
                remember_index: read_your_writes || forward_inconsistent,
                forward_to_active: read_your_writes && forward_inconsistent,
            },
            headers: user_headers(&spec.headers)?,
            auth: spec.auth.as_ref().map_or(Ok(Auth::None), auth)?,
        })
    }
}

fn roots(spec: &HashicorpVaultSpec) -> Result<Option<Roots>, ProviderError> {
    if let Some(bundle) = spec
        .ca_bundle
        .as_deref()
        .filter(|bundle| !bundle.is_empty())
    {
        return Ok(Some(Roots::Bundle(bundle.to_owned())));
    }
    let Some(provider) = &spec.ca_provider else {
        return Ok(None);
    };
    let key = provider.key.clone().filter(|key| !key.is_empty());
    let reference = KeyReference {
        name: provider.name.clone(),
        namespace: provider
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty()),
        key: key.ok_or_else(|| ProviderError::invalid_config("caProvider.key must be set"))?,
    };
    Ok(Some(match provider.type_ {
        CaProviderType::Secret => Roots::Secret(reference),
        CaProviderType::ConfigMap => Roots::ConfigMap(reference),
    }))
}

fn certificate(tls: &VaultClientTls) -> Result<Option<CertificateReference>, ProviderError> {
    match (&tls.cert_secret_ref, &tls.key_secret_ref) {
        (None, None) => Ok(None),
        (Some(certificate), Some(key)) => Ok(Some(CertificateReference {
            certificate: reference("tls.certSecretRef", certificate, Some("tls.crt"))?,
            key: reference("tls.keySecretRef", key, Some("tls.key"))?,
        })),
        _ => Err(ProviderError::invalid_config(
            "when provided, both ClientTLS.ClientCert and ClientTLS.SecretRef should be provided",
        )),
    }
}

fn auth(auth: &VaultAuth) -> Result<Auth, ProviderError> {
    let methods = [
        ("tokenSecretRef", auth.token_secret_ref.is_some()),
        ("appRole", auth.app_role.is_some()),
        ("kubernetes", auth.kubernetes.is_some()),
        ("ldap", auth.ldap.is_some()),
        ("userPass", auth.user_pass.is_some()),
        ("jwt", auth.jwt.is_some()),
        ("cert", auth.cert.is_some()),
        ("iam", auth.iam.is_some()),
        ("gcp", auth.gcp.is_some()),
    ];
    let set: Vec<&str> = methods
        .iter()
        .filter(|(_, is_set)| *is_set)
        .map(|(name, _)| *name)
        .collect();
    let [method] = set.as_slice() else {
        return Err(ProviderError::invalid_config(format!(
            "exactly one method of auth must be set, found {}",
            if set.is_empty() {
                "none".to_owned()
            } else {
                set.join(", ")
            }
        )));
    };
    if let Some(selector) = &auth.token_secret_ref {
        return Ok(Auth::Token(reference(
            "auth.tokenSecretRef",
            selector,
            None,
        )?));
    }
    if let Some(method) = &auth.kubernetes {
        return kubernetes(method);
    }
    if let Some(method) = auth
        .jwt
        .as_ref()
        .filter(|method| method.use_caller_token == Some(true))
    {
        return jwt_of_caller(method);
    }
    Err(ProviderError::invalid_config(format!(
        "auth.{method} is not supported by this provider yet: use tokenSecretRef, kubernetes, or jwt with useCallerToken"
    )))
}

fn kubernetes(method: &VaultKubernetes) -> Result<Auth, ProviderError> {
    if method.role.is_empty() {
        return Err(ProviderError::invalid_config(
            "auth.kubernetes.role must be set",
        ));
    }
    let account = if method.use_caller_token == Some(true) {
        if method.service_account_ref.is_some() || method.secret_ref.is_some() {
            return Err(ProviderError::invalid_config(
                "auth.kubernetes.useCallerToken excludes serviceAccountRef and secretRef",
            ));
        }
        AccountToken::Caller
    } else if let Some(account) = &method.service_account_ref {
        AccountToken::Requested {
            name: account.name.clone(),
            namespace: account
                .namespace
                .clone()
                .filter(|namespace| !namespace.is_empty()),
            audiences: account.audiences.clone(),
        }
    } else if let Some(selector) = &method.secret_ref {
        AccountToken::Secret(reference(
            "auth.kubernetes.secretRef",
            selector,
            Some("token"),
        )?)
    } else {
        AccountToken::OwnPod
    };
    let mount = mount_path("auth.kubernetes.mountPath", method.mount_path.as_deref())?;
    Ok(Auth::Kubernetes {
        mount: mount.unwrap_or_else(|| DEFAULT_KUBERNETES_MOUNT.to_owned()),
        role: method.role.clone(),
        account,
    })
}

/// A JWT auth method takes a pod's token as a Kubernetes auth method does, and verifies it by itself.
fn jwt_of_caller(method: &VaultJwt) -> Result<Auth, ProviderError> {
    if method.secret_ref.is_some() || method.kubernetes_service_account_token.is_some() {
        return Err(ProviderError::invalid_config(
            "auth.jwt.useCallerToken excludes secretRef and kubernetesServiceAccountToken",
        ));
    }
    let mount = mount_path("auth.jwt.path", method.path.as_deref())?;
    Ok(Auth::Kubernetes {
        mount: mount.unwrap_or_else(|| DEFAULT_JWT_MOUNT.to_owned()),
        role: method.role.clone().unwrap_or_default(),
        account: AccountToken::Caller,
    })
}

fn reference(
    field: &str,
    selector: &SecretKeySelector,
    default_key: Option<&str>,
) -> Result<KeyReference, ProviderError> {
    if selector.name.is_empty() {
        return Err(ProviderError::invalid_config(format!(
            "{field}.name must be set"
        )));
    }
    let key = selector
        .key
        .as_deref()
        .filter(|key| !key.is_empty())
        .or(default_key);
    Ok(KeyReference {
        name: selector.name.clone(),
        namespace: selector
            .namespace
            .clone()
            .filter(|namespace| !namespace.is_empty()),
        key: key
            .ok_or_else(|| ProviderError::invalid_config(format!("{field}.key must be set")))?
            .to_owned(),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use latchkey_provider_sdk::ErrorClass;
    use serde_json::{Value, json};

    fn settings(changes: Value) -> Result<Settings, ProviderError> {
        let mut spec = json!({"server": "https://vault:8200", "path": "secret"});
        for (key, value) in changes.as_object().unwrap() {
            spec[key] = value.clone();
        }
        Settings::try_from_spec(&serde_json::from_value(spec).unwrap())
    }

    #[test]
    fn defaults_are_those_of_section_8_1() {
        let found = settings(json!({"namespace": "team", "auth": {"kubernetes": {"role": "app"}}}))
            .unwrap();
        assert_eq!(found.version, KvVersion::V2);
        assert_eq!(
            (found.namespace.as_deref(), found.auth_namespace.as_deref()),
            (Some("team"), Some("team"))
        );
        assert!(!found.consistency.remember_index && !found.consistency.forward_to_active);
        let Auth::Kubernetes {
            mount,
            role,
            account: AccountToken::OwnPod,
        } = found.auth
        else {
            panic!("not the own pod")
        };
        assert_eq!((mount.as_str(), role.as_str()), ("kubernetes", "app"));

        let found =
            settings(json!({"auth": {"kubernetes": {"role": "r", "secretRef": {"name": "s"}}}}))
                .unwrap();
        let Auth::Kubernetes {
            account: AccountToken::Secret(reference),
            ..
        } = found.auth
        else {
            panic!("not a secret")
        };
        assert_eq!(reference.key, "token");

        let found = settings(
            json!({"tls": {"certSecretRef": {"name": "c"}, "keySecretRef": {"name": "c"}}}),
        )
        .unwrap();
        let certificate = found.certificate.unwrap();
        assert_eq!(
            (
                certificate.certificate.key.as_str(),
                certificate.key.key.as_str()
            ),
            ("tls.crt", "tls.key")
        );
        assert!(matches!(found.auth, Auth::None));
    }

    #[test]
    fn a_service_account_beats_a_secret_and_keeps_its_audiences_only() {
        let found = settings(json!({"auth": {"namespace": "root", "kubernetes": {
            "mountPath": "/k8s/a/", "role": "r", "secretRef": {"name": "s"},
            "serviceAccountRef": {"name": "a", "audiences": ["vault"]}}}}))
        .unwrap();
        assert_eq!(found.auth_namespace.as_deref(), Some("root"));
        let Auth::Kubernetes {
            mount,
            account:
                AccountToken::Requested {
                    name,
                    namespace,
                    audiences,
                },
            ..
        } = found.auth
        else {
            panic!("not a request")
        };
        assert_eq!(
            (mount.as_str(), name.as_str(), namespace),
            ("k8s/a", "a", None)
        );
        assert_eq!(audiences, ["vault"]);
    }

    #[test]
    fn pods_log_in_for_themselves_where_the_resource_says_so() {
        for (method, expected) in [
            (
                json!({"kubernetes": {"role": "app", "useCallerToken": true}}),
                ("kubernetes", "app"),
            ),
            (
                json!({"kubernetes": {"role": "app", "useCallerToken": true, "mountPath": "k8s"}}),
                ("k8s", "app"),
            ),
            (
                json!({"jwt": {"role": "app", "useCallerToken": true}}),
                ("jwt", "app"),
            ),
            (
                json!({"jwt": {"useCallerToken": true, "path": "/pods/"}}),
                ("pods", ""),
            ),
        ] {
            let found = settings(json!({ "auth": method })).unwrap();
            assert!(found.logs_in_as_caller());
            let Auth::Kubernetes { mount, role, .. } = found.auth else {
                panic!("no login")
            };
            assert_eq!((mount.as_str(), role.as_str()), expected);
        }
        let own = settings(json!({"auth": {"kubernetes": {"role": "r", "useCallerToken": false}}}));
        assert!(!own.unwrap().logs_in_as_caller());
    }

    #[test]
    fn what_is_not_supported_or_contradictory_is_refused_by_name() {
        let key = json!({"name": "s", "key": "k"});
        for (changes, text) in [
            (
                json!({"auth": {"appRole": {"roleId": "r", "secretRef": key}}}),
                "auth.appRole is not supported",
            ),
            (
                json!({"auth": {"ldap": {"username": "u", "secretRef": key}}}),
                "auth.ldap is not supported",
            ),
            (
                json!({"auth": {"userPass": {"username": "u", "secretRef": key}}}),
                "auth.userPass is not supported",
            ),
            (
                json!({"auth": {"jwt": {"secretRef": key}}}),
                "auth.jwt is not supported",
            ),
            (
                json!({"auth": {"cert": {"secretRef": key}}}),
                "auth.cert is not supported",
            ),
            (json!({"auth": {"iam": {}}}), "auth.iam is not supported"),
            (
                json!({"auth": {"gcp": {"role": "r"}}}),
                "auth.gcp is not supported",
            ),
            (
                json!({"auth": {"kubernetes": {
                    "role": "r", "useCallerToken": true, "serviceAccountRef": {"name": "a"},
                }}}),
                "useCallerToken excludes",
            ),
            (
                json!({"auth": {"jwt": {"useCallerToken": true, "secretRef": key}}}),
                "useCallerToken excludes",
            ),
            (json!({"auth": {}}), "found none"),
            (
                json!({"auth": {"tokenSecretRef": key, "kubernetes": {"role": "r"}}}),
                "found tokenSecretRef, kubernetes",
            ),
            (
                json!({"auth": {"tokenSecretRef": {"name": "s"}}}),
                "auth.tokenSecretRef.key must be set",
            ),
            (
                json!({"auth": {"kubernetes": {"role": ""}}}),
                "auth.kubernetes.role must be set",
            ),
            (
                json!({"tls": {"certSecretRef": key}}),
                "both ClientTLS.ClientCert and ClientTLS.SecretRef",
            ),
            (
                json!({"version": "v1", "checkAndSet": {"required": true}}),
                "checkAndSet is not supported with Vault KV version v1",
            ),
            (
                json!({"caProvider": {"type": "Secret", "name": "ca"}}),
                "caProvider.key must be set",
            ),
            (json!({"server": "vault:8200"}), "server"),
            (json!({"path": "a/../b"}), "path"),
            (json!({"headers": {"bad name": "x"}}), "headers"),
        ] {
            let error = settings(changes.clone())
                .err()
                .unwrap_or_else(|| panic!("accepted {changes}"));
            assert_eq!(error.class(), ErrorClass::InvalidConfig);
            assert!(error.message().contains(text), "{}", error.message());
        }
    }

    #[test]
    fn ca_bundle_wins_over_ca_provider() {
        let provider = json!({"type": "ConfigMap", "name": "ca", "key": "ca.crt"});
        let found = settings(json!({"caBundle": "YWJj", "caProvider": provider})).unwrap();
        assert!(matches!(found.roots, Some(Roots::Bundle(bytes)) if bytes == "YWJj"));
        let found = settings(json!({"caProvider": provider})).unwrap();
        assert!(matches!(found.roots, Some(Roots::ConfigMap(_))));
    }

    #[test]
    fn both_consistency_flags_are_needed_to_forward() {
        for (read, forward, expected) in [
            (false, false, (false, false)),
            (true, false, (true, false)),
            (false, true, (true, false)),
            (true, true, (true, true)),
        ] {
            let found =
                settings(json!({"readYourWrites": read, "forwardInconsistent": forward})).unwrap();
            assert_eq!(
                (
                    found.consistency.remember_index,
                    found.consistency.forward_to_active
                ),
                expected
            );
        }
    }
}
