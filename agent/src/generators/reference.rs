//! Which generator a reference means (`externalsecret.md` 7.1, SB-15, SB-16).

use latchkey_crds::external_secret::GeneratorRef;
use latchkey_crds::generator::API_VERSION;
use latchkey_engine::source::{FailureClass, FetchError};

use crate::stores::StoreKey;

/// The group of v1, whose kinds are a provider's configuration objects here.
const V1_GROUP: &str = "generators.external-secrets.io";
/// Kinds of that group.
const V1_KINDS: [&str; 17] = [
    "ACRAccessToken",
    "BeyondtrustWorkloadCredentialsDynamicSecret",
    "CloudsmithAccessToken",
    "ECRAuthorizationToken",
    "Fake",
    "GCRAccessToken",
    "GithubAccessToken",
    "GitlabDeployToken",
    "Grafana",
    "MFA",
    "Password",
    "QuayAccessToken",
    "SSHKey",
    "STSSessionToken",
    "UUID",
    "VaultDynamicSecret",
    "Webhook",
];

/// The generator that `reference` means for an object in `namespace`. A Generator is always one of that namespace.
///
/// # Errors
///
/// [`FailureClass::Reference`] for everything that no other object can mend.
pub fn key_of(namespace: &str, reference: &GeneratorRef) -> Result<StoreKey, FetchError> {
    let GeneratorRef {
        api_version,
        kind,
        name,
    } = reference;
    if namespace.is_empty() {
        return Err(wrong("a caller without namespace cannot use a generator"));
    }
    let group = match api_version.split_once('/') {
        Some((group, version))
            if !group.is_empty() && !version.is_empty() && !version.contains('/') =>
        {
            group
        }
        _ => {
            return Err(wrong(format!(
                "unexpected GroupVersion string: {api_version}"
            )));
        }
    };
    if group == V1_GROUP {
        return Err(wrong(v1_text(api_version, kind, name)));
    }
    if Some(group) != API_VERSION.split_once('/').map(|(group, _)| group) {
        return Err(wrong(format!(
            "generatorRef may only reference the generators group, but got {group}"
        )));
    }
    if name.is_empty() {
        return Err(wrong("generatorRef.name is required"));
    }
    match kind.as_str() {
        "Generator" if api_version == API_VERSION => Ok(StoreKey::generator(namespace, name)),
        "ClusterGenerator" if api_version == API_VERSION => Ok(StoreKey::cluster_generator(name)),
        _ => Err(wrong(unknown(api_version, kind))),
    }
}

/// Kinds of v1 have no server of their own: a provider is asked for them, and a Generator says which.
fn v1_text(api_version: &str, kind: &str, name: &str) -> String {
    if matches!(kind, "Generator" | "ClusterGenerator") {
        return format!(
            "kind {kind} of {api_version} is not served: for one of {API_VERSION} set generatorRef.apiVersion to it"
        );
    }
    if !V1_KINDS.contains(&kind) {
        return unknown(api_version, kind);
    }
    format!(
        "{kind} \"{name}\" of {api_version} cannot be used by itself: wrap it in a Generator of {API_VERSION} whose \
         spec.providerConfig names it and a provider that serves it, and reference that Generator"
    )
}

fn unknown(api_version: &str, kind: &str) -> String {
    format!("generatorRef references unknown GVK {api_version}, Kind={kind}")
}

fn wrong(message: impl Into<String>) -> FetchError {
    FetchError::Failed {
        class: FailureClass::Reference,
        message: message.into(),
        retry_after: None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(api_version: &str, kind: &str, name: &str) -> Result<StoreKey, String> {
        let reference = GeneratorRef {
            api_version: api_version.into(),
            kind: kind.into(),
            name: name.into(),
        };
        key_of("team-a", &reference).map_err(|error| {
            let FetchError::Failed { class, message, .. } = error else {
                panic!("{error}")
            };
            assert_eq!(class, FailureClass::Reference, "{message}");
            message
        })
    }

    #[test]
    fn only_generators_of_v2alpha1_are_meant_and_namespaced_ones_are_the_callers() {
        // B6, SB-15.
        assert_eq!(
            key(API_VERSION, "Generator", "g"),
            Ok(StoreKey::generator("team-a", "g"))
        );
        assert_eq!(
            key(API_VERSION, "ClusterGenerator", "g"),
            Ok(StoreKey::cluster_generator("g"))
        );
    }

    #[test]
    fn other_references_are_named_for_good() {
        // externalsecret.md 7.1; SB-16, SB-34.
        let v1 = "generators.external-secrets.io/v1alpha1";
        for (api_version, kind, name, text) in [
            ("v1", "Secret", "g", "unexpected GroupVersion string: v1"),
            ("a/b/c", "X", "g", "unexpected GroupVersion string: a/b/c"),
            ("/v1", "X", "g", "unexpected GroupVersion string: /v1"),
            (
                "apps/v1",
                "Deployment",
                "g",
                "generatorRef may only reference the generators group, but got apps",
            ),
            (
                "provider.generator.external-secrets.io/v2alpha1",
                "Password",
                "g",
                "generatorRef may only reference the generators group, but got provider.generator.external-secrets.io",
            ),
            (
                API_VERSION,
                "Password",
                "g",
                "generatorRef references unknown GVK generator.external-secrets.io/v2alpha1, Kind=Password",
            ),
            (
                "generator.external-secrets.io/v3",
                "Generator",
                "g",
                "generatorRef references unknown GVK generator.external-secrets.io/v3, Kind=Generator",
            ),
            (
                API_VERSION,
                "Generator",
                "",
                "generatorRef.name is required",
            ),
            (
                v1,
                "Thing",
                "g",
                "generatorRef references unknown GVK generators.external-secrets.io/v1alpha1, Kind=Thing",
            ),
            (
                v1,
                "Password",
                "pw",
                "Password \"pw\" of generators.external-secrets.io/v1alpha1 cannot be used by itself: wrap it in a Generator of \
                 generator.external-secrets.io/v2alpha1 whose spec.providerConfig names it and a provider that serves it, and \
                 reference that Generator",
            ),
            (
                v1,
                "ClusterGenerator",
                "g",
                "kind ClusterGenerator of generators.external-secrets.io/v1alpha1 is not served: for one of \
                 generator.external-secrets.io/v2alpha1 set generatorRef.apiVersion to it",
            ),
        ] {
            assert_eq!(key(api_version, kind, name), Err(text.to_owned()));
        }
    }
}
