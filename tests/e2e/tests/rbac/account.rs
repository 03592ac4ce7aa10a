//! Acting as a service account, with a token of it.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, ensure};
use k8s_openapi::api::authentication::v1::{TokenRequest, TokenRequestSpec};
use k8s_openapi::api::authorization::v1::{SelfSubjectRulesReview, SelfSubjectRulesReviewSpec};
use k8s_openapi::api::core::v1::ServiceAccount;
use kube::api::{Api, PostParams};
use kube::config::{KubeConfigOptions, Kubeconfig};
use kube::{Client, Config};
use latchkey_cluster::Context;
use serde_json::{Value, json};

use crate::table::{Right, product};

/// The text of a kubeconfig for a service account.
pub(crate) async fn kubeconfig(cx: &Context, namespace: &str, account: &str) -> Result<String> {
    let accounts: Api<ServiceAccount> = Api::namespaced(cx.client(), namespace);
    let request = TokenRequest {
        spec: TokenRequestSpec {
            expiration_seconds: Some(3600),
            ..TokenRequestSpec::default()
        },
        ..TokenRequest::default()
    };
    let answer = accounts
        .create_token_request(account, &PostParams::default(), &request)
        .await?;
    let token = answer.status.context("a token request has a status")?.token;
    let text = std::fs::read_to_string(cx.cluster().layout().kubeconfig())?;
    let mut file: Value = serde_saphyr::from_str(&text)?;
    let users = file["users"].as_array_mut().context("it has users")?;
    for user in users {
        user["user"] = json!({ "token": token });
    }
    Ok(file.to_string())
}

/// Writes such a kubeconfig into a folder.
pub(crate) async fn kubeconfig_file(
    cx: &Context,
    namespace: &str,
    account: &str,
    folder: &Path,
) -> Result<PathBuf> {
    let path = folder.join(format!("{account}.kubeconfig"));
    std::fs::write(&path, kubeconfig(cx, namespace, account).await?)?;
    Ok(path)
}

/// A client with the rights of a service account.
pub(crate) async fn client(cx: &Context, namespace: &str, account: &str) -> Result<Client> {
    let file = Kubeconfig::from_yaml(&kubeconfig(cx, namespace, account).await?)?;
    let config = Config::from_custom_kubeconfig(file, &KubeConfigOptions::default()).await?;
    Ok(Client::try_from(config)?)
}

/// All rights of whom `client` acts for in a namespace, as the API server tells them.
pub(crate) async fn rights(client: &Client, namespace: &str) -> Result<BTreeSet<Right>> {
    let reviews: Api<SelfSubjectRulesReview> = Api::all(client.clone());
    let review = SelfSubjectRulesReview {
        spec: SelfSubjectRulesReviewSpec {
            namespace: Some(namespace.to_owned()),
        },
        ..SelfSubjectRulesReview::default()
    };
    let review = reviews.create(&PostParams::default(), &review).await?;
    let status = review.status.context("a review has a status")?;
    let mut rights = BTreeSet::new();
    for rule in status.resource_rules {
        let names: Vec<Option<String>> = match rule.resource_names {
            Some(names) if !names.is_empty() => names.into_iter().map(Some).collect(),
            _ => vec![None],
        };
        let (groups, resources) = (
            rule.api_groups.unwrap_or_default(),
            rule.resources.unwrap_or_default(),
        );
        for (group, resource) in product(&groups, &resources) {
            for verb in &rule.verbs {
                for name in &names {
                    let (group, resource) = (group.to_owned(), resource.to_owned());
                    rights.insert((group, resource, verb.clone(), name.clone()));
                }
            }
        }
    }
    ensure!(!rights.is_empty(), "every account has some rights");
    Ok(rights)
}
