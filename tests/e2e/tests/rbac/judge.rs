//! What a service account may do, compared with its table.

use std::collections::BTreeSet;

use anyhow::{Result, bail, ensure};
use k8s_openapi::api::authorization::v1::{
    ResourceAttributes, SubjectAccessReview, SubjectAccessReviewSpec,
};
use kube::Client;
use kube::api::{Api, PostParams};
use latchkey_cluster::{Context, eventually};
use tokio::task::JoinSet;

use crate::account;
use crate::table::{Install, Right, Row, allows};
use crate::world::PATIENCE;

const VERBS: [&str; 8] = [
    "get",
    "list",
    "watch",
    "create",
    "update",
    "patch",
    "delete",
    "deletecollection",
];

/// What is worth taking over a service account for, besides what it has.
const SENSITIVE: [(&str, &str); 30] = [
    ("", "secrets"),
    ("", "configmaps"),
    ("", "serviceaccounts"),
    ("", "serviceaccounts/token"),
    ("", "pods"),
    ("", "pods/exec"),
    ("", "pods/log"),
    ("", "nodes"),
    ("", "nodes/proxy"),
    ("", "namespaces"),
    ("", "services"),
    ("", "events"),
    ("events.k8s.io", "events"),
    ("coordination.k8s.io", "leases"),
    ("external-secrets.io", "externalsecrets"),
    ("external-secrets.io", "externalsecrets/status"),
    ("external-secrets.io", "clusterexternalsecrets"),
    ("secretstore.external-secrets.io", "secretstores"),
    ("secretstore.external-secrets.io", "clustersecretstores"),
    ("generator.external-secrets.io", "clustergenerators"),
    ("generators.external-secrets.io", "generatorstates"),
    ("storage.k8s.io", "csidrivers"),
    ("authentication.k8s.io", "tokenreviews"),
    ("authorization.k8s.io", "subjectaccessreviews"),
    ("rbac.authorization.k8s.io", "roles"),
    ("rbac.authorization.k8s.io", "clusterrolebindings"),
    ("apiextensions.k8s.io", "customresourcedefinitions"),
    (
        "admissionregistration.k8s.io",
        "validatingadmissionpolicies",
    ),
    (
        "admissionregistration.k8s.io",
        "validatingwebhookconfigurations",
    ),
    ("apps", "daemonsets"),
];

/// Namespaces of a test.
pub(crate) struct Places {
    pub(crate) a: String,
    pub(crate) b: String,
    pub(crate) certificates: String,
    pub(crate) elsewhere: String,
}

impl Places {
    pub(crate) async fn new(cx: &Context) -> Result<Self> {
        Ok(Self {
            a: cx.new_namespace("a").await?,
            b: cx.new_namespace("b").await?,
            certificates: cx.new_namespace("certificates").await?,
            elsewhere: cx.new_namespace("elsewhere").await?,
        })
    }

    fn all<'a>(&'a self, cx: &'a Context) -> [&'a str; 5] {
        let Self {
            a,
            b,
            certificates,
            elsewhere,
        } = self;
        [cx.namespace(), a, b, certificates, elsewhere]
    }

    pub(crate) async fn delete(self, cx: &Context) -> Result<()> {
        let Self {
            a,
            b,
            certificates,
            elsewhere,
        } = &self;
        let names = [
            "delete",
            "namespace",
            "--wait=false",
            a,
            b,
            certificates,
            elsewhere,
        ];
        cx.kubectl(&names).await.map(drop)
    }
}

/// Compares the rules that hold for an account in each namespace, as the API server tells them, with its table.
pub(crate) async fn judge(
    cx: &Context,
    places: &Places,
    account: &str,
    table: &[Row],
    install: &Install,
) -> Result<()> {
    let client = account::client(cx, cx.namespace(), account).await?;
    let nobody = account::client(cx, cx.namespace(), "default").await?;
    for namespace in places.all(cx) {
        let expected = install.rights(table, namespace)?;
        eventually(
            PATIENCE,
            &format!("the rights in {namespace}"),
            async || {
                let everybody = account::rights(&nobody, namespace).await?;
                let found: BTreeSet<Right> = account::rights(&client, namespace)
                    .await?
                    .difference(&everybody)
                    .cloned()
                    .collect();
                let beside: Vec<_> = found.difference(&expected).collect();
                let missing: Vec<_> = expected.difference(&found).collect();
                ensure!(
                    beside.is_empty() && missing.is_empty(),
                    "not on the page: {beside:?}; not given: {missing:?}"
                );
                Ok(Some(()))
            },
        )
        .await?;
    }
    Ok(())
}

/// Asks the API server whether the account may do what would be worth something, one question each: what the table says is allowed,
/// everything else is not.
pub(crate) async fn ask(
    cx: &Context,
    places: &Places,
    account: &str,
    table: &[Row],
    install: &Install,
) -> Result<()> {
    // For all namespaces at once counts what holds where nothing was said.
    let anywhere = install.rights(table, "")?;
    let mut questions = Vec::new();
    for namespace in [cx.namespace(), &places.a, &places.elsewhere, ""] {
        let rights = match namespace {
            "" => anywhere.clone(),
            namespace => install.rights(table, namespace)?,
        };
        for (group, resource) in SENSITIVE {
            let named = rights
                .iter()
                .filter(|(its, kind, ..)| its == group && kind == resource);
            let names: BTreeSet<Option<&str>> = named
                .map(|(.., name)| name.as_deref())
                .chain([None])
                .collect();
            for name in names {
                for verb in VERBS {
                    let is_allowed = allows(&rights, group, resource, verb, name);
                    let question = attributes(group, resource, verb, namespace, name);
                    questions.push((question, is_allowed));
                }
            }
        }
        for (group, resource, verb) in [
            ("*", "*", "*"),
            ("rbac.authorization.k8s.io", "roles", "escalate"),
            ("rbac.authorization.k8s.io", "clusterroles", "bind"),
            ("", "serviceaccounts", "impersonate"),
            ("", "users", "impersonate"),
        ] {
            questions.push((attributes(group, resource, verb, namespace, None), false));
        }
    }
    ask_all(&cx.client(), cx.namespace(), account, questions).await
}

fn attributes(
    group: &str,
    resource: &str,
    verb: &str,
    namespace: &str,
    name: Option<&str>,
) -> ResourceAttributes {
    let (resource, subresource) = match resource.split_once('/') {
        Some((resource, part)) => (resource, Some(part.to_owned())),
        None => (resource, None),
    };
    ResourceAttributes {
        group: Some(group.to_owned()),
        resource: Some(resource.to_owned()),
        subresource,
        verb: Some(verb.to_owned()),
        namespace: Some(namespace.to_owned()),
        name: name.map(str::to_owned),
        ..ResourceAttributes::default()
    }
}

/// Asks all questions and fails with those that are answered otherwise than expected.
async fn ask_all(
    client: &Client,
    namespace: &str,
    account: &str,
    questions: Vec<(ResourceAttributes, bool)>,
) -> Result<()> {
    ensure!(questions.len() > 900, "only {} questions", questions.len());
    let mut questions = questions.into_iter();
    let mut running = JoinSet::new();
    let mut wrong = Vec::new();
    loop {
        while running.len() < 16
            && let Some((question, expected)) = questions.next()
        {
            let review = SubjectAccessReview {
                spec: SubjectAccessReviewSpec {
                    user: Some(format!("system:serviceaccount:{namespace}:{account}")),
                    groups: Some(vec![
                        String::from("system:serviceaccounts"),
                        format!("system:serviceaccounts:{namespace}"),
                        String::from("system:authenticated"),
                    ]),
                    resource_attributes: Some(question.clone()),
                    ..SubjectAccessReviewSpec::default()
                },
                ..SubjectAccessReview::default()
            };
            let reviews: Api<SubjectAccessReview> = Api::all(client.clone());
            running.spawn(async move {
                let answer = reviews.create(&PostParams::default(), &review).await?;
                let is_allowed = answer.status.is_some_and(|status| status.allowed);
                Ok::<_, kube::Error>((is_allowed != expected).then_some((question, is_allowed)))
            });
        }
        match running.join_next().await {
            None => break,
            Some(answer) => wrong.extend(answer??),
        }
    }
    if !wrong.is_empty() {
        bail!(
            "{} answers are wrong: {:?}",
            wrong.len(),
            &wrong[..wrong.len().min(5)]
        );
    }
    Ok(())
}
