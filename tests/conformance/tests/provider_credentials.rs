//! The lookups that all provider servers share, against a real API server: credentials, their namespaces, tokens, authorities
//! (providers.md 2.2, 2.3 and 16.3).
//!
//! Whatever is missing or forbidden, none of it may look like a missing secret (P-04).

#![expect(clippy::unwrap_used, reason = "helpers of tests may fail as tests may")]

use anyhow::{Result, ensure};
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use k8s_openapi::api::core::v1::ConfigMap;
use latchkey_cluster::{Context, test};
use latchkey_crds::selectors::{CaProvider, CaProviderType};
use latchkey_provider_sdk::{
    Cluster, CredentialScope, ErrorClass, KeySelector, Operation, ProviderError, ProviderReference,
    RequestContext, ServiceAccountSelector,
};
use serde_json::{Value, json};
use tonic::Code;

fn selector<'a>(name: &'a str, namespace: Option<&'a str>, key: &'a str) -> KeySelector<'a> {
    KeySelector {
        name,
        namespace,
        key,
    }
}

#[track_caller]
fn assert_class<T>(result: Result<T, ProviderError>, class: ErrorClass, text: &str) {
    let Err(error) = result else {
        panic!("the lookup succeeded, but {class:?} was expected")
    };
    assert_eq!(error.class(), class, "{error}");
    assert_ne!(error.code(), Code::NotFound);
    assert!(
        error.message().contains(text),
        "\"{error}\" does not contain \"{text}\""
    );
}

async fn apply(cx: &Context, object: Value) -> Result<()> {
    cx.apply(&object.to_string()).await.map(drop)
}

async fn secret(cx: &Context, name: &str, value: &str) -> Result<()> {
    let metadata = json!({"name": name, "namespace": cx.namespace()});
    apply(cx, json!({"apiVersion": "v1", "kind": "Secret", "metadata": metadata, "stringData": {"token": value}})).await
}

#[test]
fn credentials_are_read_byte_for_byte_with_their_version() -> Result<()> {
    test(async |cx| {
        let cluster = Cluster::new(cx.client(), []);
        let scope = CredentialScope::new(cx.namespace(), false);
        secret(&cx, "s", " one\n").await?;
        let first = cluster
            .secret_key(&scope, selector("s", None, "token"))
            .await?;
        assert_eq!(first.value.expose(), b" one\n");
        // A rotation takes effect with the next read and changes the version.
        secret(&cx, "s", "two").await?;
        let second = cluster
            .secret_key(&scope, selector("s", Some(cx.namespace()), "token"))
            .await?;
        assert_eq!(second.value.expose(), b"two");
        assert_ne!(first.version, second.version);
        let missing = format!(
            "cannot get Kubernetes secret \"none\" from namespace \"{}\"",
            cx.namespace()
        );
        let result = cluster
            .secret_key(&scope, selector("none", None, "token"))
            .await;
        assert_class(result, ErrorClass::CredentialsNotFound, &missing);
        let result = cluster
            .secret_key(&scope, selector("s", None, "none"))
            .await;
        assert_class(
            result,
            ErrorClass::CredentialsNotFound,
            "cannot find secret data for key: \"none\"",
        );
        let result = cluster
            .config_map_key(&scope, selector("none", None, "k"))
            .await;
        assert_class(result, ErrorClass::CredentialsNotFound, "does not exist");
        Ok(())
    })
}

#[test]
fn p_03_credentials_of_other_namespaces_need_a_cluster_store_and_a_permission() -> Result<()> {
    // SB-06.
    test(async |cx| {
        let other = cx.new_namespace("other").await?;
        let create = [
            "create",
            "secret",
            "generic",
            "s",
            "--from-literal=token=foreign",
        ];
        cx.kubectl(&[&["--namespace", &other], create.as_slice()].concat())
            .await?;
        let open = Cluster::new(cx.client(), []);
        let foreign = selector("s", Some(&other), "token");
        let own = CredentialScope::new(cx.namespace(), false);
        assert_class(
            open.secret_key(&own, foreign).await,
            ErrorClass::InvalidConfig,
            "namespace of a reference",
        );
        let follows = CredentialScope::new(cx.namespace(), true);
        assert_eq!(
            open.secret_key(&follows, foreign).await?.value.expose(),
            b"foreign"
        );
        // The allow list of the server (2.2, rule 5).
        let limited = Cluster::new(cx.client(), [cx.namespace().to_owned()]);
        let denied = ErrorClass::CredentialNamespaceDenied;
        assert_class(limited.secret_key(&follows, foreign).await, denied, &other);
        let account = ServiceAccountSelector {
            name: "default",
            namespace: Some(&other),
            audiences: &[],
        };
        assert_class(
            limited
                .service_account_token(&follows, account, &[], None)
                .await,
            denied,
            &other,
        );
        // RBAC: an account without any right.
        let powerless = powerless(&cx).await?;
        secret(&cx, "s", "own").await?;
        let result = powerless
            .secret_key(&own, selector("s", None, "token"))
            .await;
        assert_class(result, denied, "not permitted");
        let result = powerless
            .secret_key(&own, selector("none", None, "token"))
            .await;
        assert_class(result, denied, "not permitted");
        Ok(())
    })
}

/// Access with the rights of an account that has none.
async fn powerless(cx: &Context) -> Result<Cluster> {
    let metadata = json!({"name": "powerless", "namespace": cx.namespace()});
    apply(
        cx,
        json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": metadata}),
    )
    .await?;
    let token = cx.kubectl(&["create", "token", "powerless"]).await?;
    let shown = cx
        .kubectl(&[
            "config",
            "view",
            "--raw",
            "--minify",
            "--flatten",
            "--output=json",
        ])
        .await?;
    let mut config: Value = serde_json::from_str(&shown)?;
    *config.pointer_mut("/users/0/user").unwrap() = json!({"token": token.trim()});
    let config = kube::Config::from_custom_kubeconfig(
        serde_json::from_value(config)?,
        &kube::config::KubeConfigOptions::default(),
    )
    .await?;
    Ok(Cluster::new(kube::Client::try_from(config)?, []))
}

#[test]
fn tokens_are_for_the_account_and_the_audiences() -> Result<()> {
    test(async |cx| {
        let cluster = Cluster::new(cx.client(), []);
        let scope = CredentialScope::new(cx.namespace(), false);
        let audiences = ["a".to_owned(), "b".to_owned()];
        let account = ServiceAccountSelector {
            name: "default",
            namespace: None,
            audiences: &audiences,
        };
        let token = cluster
            .service_account_token(&scope, account, &["b".to_owned(), "c".to_owned()], None)
            .await?;
        let text = std::str::from_utf8(token.token.expose())?;
        let claims = URL_SAFE_NO_PAD.decode(text.split('.').nth(1).unwrap())?;
        let claims: Value = serde_json::from_slice(&claims)?;
        assert_eq!(claims["aud"], json!(["a", "b", "c"]));
        assert_eq!(
            claims["sub"],
            format!("system:serviceaccount:{}:default", cx.namespace())
        );
        assert_eq!(token.expires_at, claims["exp"].as_i64());
        let missing = ServiceAccountSelector {
            name: "none",
            ..account
        };
        let result = cluster
            .service_account_token(&scope, missing, &[], None)
            .await;
        assert_class(
            result,
            ErrorClass::CredentialsNotFound,
            "service account \"none\"",
        );
        let foreign = ServiceAccountSelector {
            namespace: Some("kube-system"),
            ..account
        };
        let result = cluster
            .service_account_token(&scope, foreign, &[], None)
            .await;
        assert_class(
            result,
            ErrorClass::InvalidConfig,
            "namespace of a reference",
        );
        Ok(())
    })
}

#[test]
fn authorities_come_from_config_maps_and_secrets() -> Result<()> {
    // externalsecret.md E179
    test(async |cx| {
        let key = rcgen::KeyPair::generate()?;
        let pem = rcgen::CertificateParams::new(vec!["ca".to_owned()])?
            .self_signed(&key)?
            .pem();
        let metadata = json!({"name": "ca", "namespace": cx.namespace()});
        let data =
            json!({"ca.crt": format!("{pem}{pem}"), "empty": "", "rubbish": "no certificate"});
        apply(
            &cx,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata, "data": data}),
        )
        .await?;
        secret(&cx, "ca", &pem).await?;
        let cluster = Cluster::new(cx.client(), []);
        let context = |kind: &str| {
            let provider = ProviderReference {
                namespace: cx.namespace().into(),
                name: "v".into(),
                ..Default::default()
            };
            RequestContext::try_new(Operation::GetSecret, provider, cx.namespace(), kind, None)
                .unwrap()
        };
        let provider = |type_, key: &str, namespace: Option<&str>| CaProvider {
            type_,
            name: "ca".into(),
            key: Some(key.into()),
            namespace: namespace.map(str::to_owned),
        };
        let store = context("SecretStore");
        let of_map = provider(CaProviderType::ConfigMap, "ca.crt", None);
        let found = cluster
            .trust_bundle(&store, None, Some(&of_map))
            .await?
            .unwrap();
        assert_eq!(found.certificates.len(), 2);
        let of_secret = provider(CaProviderType::Secret, "token", None);
        let bundle = cluster
            .trust_bundle(&store, None, Some(&of_secret))
            .await?
            .unwrap();
        ensure!(bundle.certificates.len() == 1 && bundle.version != found.version);
        ensure!(cluster.trust_bundle(&store, None, None).await?.is_none());
        for key in ["empty", "rubbish"] {
            let result = cluster
                .trust_bundle(
                    &store,
                    None,
                    Some(&provider(CaProviderType::ConfigMap, key, None)),
                )
                .await;
            assert_class(result, ErrorClass::InvalidConfig, "no certificates");
        }
        let foreign = provider(CaProviderType::ConfigMap, "ca.crt", Some("kube-system"));
        let result = cluster.trust_bundle(&store, None, Some(&foreign)).await;
        assert_class(
            result,
            ErrorClass::InvalidConfig,
            "namespace of a reference",
        );
        let result = cluster
            .trust_bundle(&context("ClusterSecretStore"), None, Some(&of_map))
            .await;
        assert_class(
            result,
            ErrorClass::InvalidConfig,
            "missing namespace on caProvider secret",
        );
        let named = provider(CaProviderType::ConfigMap, "ca.crt", Some(cx.namespace()));
        ensure!(
            cluster
                .trust_bundle(&context("ClusterSecretStore"), None, Some(&named))
                .await?
                .is_some()
        );
        Ok(())
    })
}

#[test]
fn a_missing_resource_is_told_as_it_was_asked_for_and_whether_others_exist_is_not() -> Result<()> {
    // SB-30. A ConfigMap stands for a provider's own resource: what is read makes no difference.
    test(async |cx| {
        let other = cx.new_namespace("other").await?;
        let create = ["--namespace", &other, "create", "configmap", "canary"];
        cx.kubectl(&create).await?;
        let cluster = Cluster::new(cx.client(), []);
        let context = |namespace: &str, name: &str, kind: &str| {
            let provider = ProviderReference {
                namespace: namespace.into(),
                name: name.into(),
                ..Default::default()
            };
            RequestContext::try_new(Operation::GetSecret, provider, cx.namespace(), kind, None)
        };
        let mut seen = Vec::new();
        for name in ["canary", "absent"] {
            let own = context(cx.namespace(), name, "SecretStore").unwrap();
            let result = cluster.resource::<ConfigMap>(&own).await;
            let error = result.expect_err("there is none");
            ensure!(error.class() == ErrorClass::ConfigNotFound, "{error}");
            let text = error.to_string();
            ensure!(text.contains(&format!("\"{name}\"")), "{text}");
            ensure!(
                text.contains(cx.namespace()) && !text.contains(&other),
                "{text}"
            );
            // The same answer where there is one of that name elsewhere.
            seen.push(text.replace(name, "NAME"));
            // A namespaced store that names another namespace is refused before anything is read.
            let error = context(&other, name, "SecretStore").expect_err("it is refused");
            ensure!(error.class() == ErrorClass::NamespaceMismatch, "{error}");
            seen.push(error.to_string().replace(name, "NAME"));
        }
        ensure!(seen[..2] == seen[2..], "{seen:?}");
        cx.kubectl(&["delete", "namespace", "--wait=false", &other])
            .await?;
        Ok(())
    })
}
