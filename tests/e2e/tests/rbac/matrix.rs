//! Every right of every account in every mode of the charts, and none beside them.

use anyhow::{Result, ensure};
use latchkey_cluster::Context;
use serde_json::{Value, json};

use crate::judge::{Places, ask, judge};
use crate::rendered::{self, RIGHTS, is_of_cluster, of_kinds};
use crate::table::{Install, Row, rows};

/// A way to install the chart `latchkey`.
struct Mode {
    values: Vec<String>,
    install: Install,
    /// Whether single questions are asked too.
    asks: bool,
    /// Roles of the node account and of the one of the Deployment; none if the account must not exist.
    node: &'static [&'static str],
    sync: &'static [&'static str],
}

fn modes(cx: &Context, places: &Places) -> Vec<Mode> {
    let own = || vec![cx.namespace().to_owned()];
    let install =
        |watched: &[&String], certificates: Vec<String>, holds: &[&'static str]| Install {
            release: cx.namespace().to_owned(),
            watched: watched.iter().map(|&name| name.clone()).collect(),
            certificates,
            bound: vec![places.a.clone()],
            holds: holds.to_vec(),
            shards: 4,
            ..Install::default()
        };
    let (node, templates, spread, managed, users) = (
        "node.enabled",
        "node.configMapTemplates",
        "clusterExternalSecrets.enabled",
        "certificates.mode=managed",
        "rbac.aggregate",
    );
    let everything = [node, templates, spread, managed, users];
    let mode = |values: &[&str],
                install: Install,
                node: &'static [&'static str],
                sync: &'static [&'static str]| Mode {
        values: values.iter().map(|&value| value.to_owned()).collect(),
        install,
        asks: true,
        node,
        sync,
    };
    let told = |mode: Mode| Mode {
        asks: false,
        ..mode
    };
    let (both, only): (&[&str], &[&str]) = (&["node", "sync"], &["node"]);
    let watch = format!("watchNamespaces={{{},{}}}", places.a, places.b);
    let certificates = format!("certificates.namespaces={{{}}}", places.certificates);
    let watched = [&places.a, &places.b];
    let tokens = [
        format!("sync.serviceAccountTokens[0].namespace={}", places.a),
        String::from("sync.serviceAccountTokens[0].names={one,two}"),
    ];
    const GENERIC: [&str; 3] = [
        "sync.genericTargets.enabled=true",
        "sync.genericTargets.resources[0].apiGroups={apps}",
        "sync.genericTargets.resources[0].resources={deployments,daemonsets}",
    ];
    let generic = || {
        let resources = ["deployments", "daemonsets"];
        Some((String::from("apps"), resources.map(str::to_owned).to_vec()))
    };
    vec![
        mode(&[], install(&[], own(), &everything), both, &[]),
        mode(
            &[
                "sync.mode=Deployment",
                &tokens[0],
                &tokens[1],
                GENERIC[0],
                GENERIC[1],
                GENERIC[2],
            ],
            Install {
                tokens: Some((places.a.clone(), vec!["one".to_owned(), "two".to_owned()])),
                generic: generic(),
                ..install(
                    &[],
                    own(),
                    &[&everything[..], &["sync.genericTargets.enabled"]].concat(),
                )
            },
            only,
            &["sync"],
        ),
        told(mode(
            &["sync.mode=Disabled", "certificates.mode=external"],
            install(&[], own(), &[node, templates, spread, users]),
            only,
            &[],
        )),
        told(mode(
            &[
                "sync.mode=Deployment",
                "sync.shards=7",
                "clusterExternalSecrets.enabled=false",
                "node.configMapTemplates=false",
                "rbac.aggregate=false",
                &certificates,
            ],
            Install {
                shards: 7,
                ..install(&[], vec![places.certificates.clone()], &[node, managed])
            },
            only,
            &["sync"],
        )),
        told(mode(
            &[
                "certificates.mode=external",
                "admissionPolicies.enabled=false",
            ],
            install(&[], vec![], &[node, templates, spread, users]),
            both,
            &[],
        )),
        told(mode(
            &[&watch],
            install(&watched, own(), &everything),
            both,
            &[],
        )),
        mode(
            &[&watch, "sync.mode=Deployment", &certificates],
            install(&watched, vec![places.certificates.clone()], &everything),
            only,
            &["sync"],
        ),
        mode(
            &[
                &watch,
                "sync.mode=Deployment",
                "node.enabled=false",
                "admissionPolicies.enabled=false",
                "rbac.aggregate=false",
                GENERIC[0],
                GENERIC[1],
                GENERIC[2],
            ],
            Install {
                generic: generic(),
                ..install(
                    &watched,
                    own(),
                    &[spread, managed, "sync.genericTargets.enabled"],
                )
            },
            &[],
            &["sync"],
        ),
    ]
}

/// SB-27: nodes read no Secret, no GeneratorState and no token unless they sync; the Deployment, which alone reads private keys, has
/// exactly what the page says.
#[test]
fn rbac_of_the_agent_is_what_the_page_says_in_every_mode() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        let places = Places::new(&cx).await?;
        let outcome = async {
            for (number, mode) in modes(&cx, &places).into_iter().enumerate() {
                let release = release("m", number, &cx);
                let shown = format!("{:?}", mode.values);
                let judged = judge_mode(&cx, &places, &release, mode).await;
                judged.map_err(|error| error.context(shown))?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        places.delete(&cx).await?;
        outcome
    })
}

async fn judge_mode(cx: &Context, places: &Places, release: &str, mode: Mode) -> Result<()> {
    let Mode {
        values,
        mut install,
        asks,
        node,
        sync,
    } = mode;
    let objects = rendered::render(cx, "latchkey", release, &values).await?;
    let is_limited = !install.watched.is_empty();
    let cluster_wide: Vec<&Value> = objects
        .iter()
        .filter(|object| object["kind"].as_str().is_some_and(is_of_cluster))
        .map(|object| &object["kind"])
        .collect();
    if node.is_empty() {
        ensure!(
            cluster_wide.is_empty(),
            "outside namespaces: {cluster_wide:?}"
        );
    }
    let bindings = of_kinds(&objects, &["ClusterRoleBinding"]);
    ensure!(
        bindings.is_empty() == is_limited,
        "{} ClusterRoleBindings",
        bindings.len()
    );
    // The chart's name for its objects.
    let full_name = format!("{release}-latchkey");
    let (node_account, sync_account) = (format!("{full_name}-node"), format!("{full_name}-sync"));
    install.owner = if node.is_empty() {
        &sync_account
    } else {
        &node_account
    }
    .clone();
    let accounts = of_kinds(&objects, &["ServiceAccount"]).len();
    let expected = usize::from(!node.is_empty()) + usize::from(!sync.is_empty());
    ensure!(accounts == expected, "{accounts} accounts");

    let mut objects = of_kinds(&objects, &RIGHTS);
    let mut judged = Vec::new();
    for (account, roles) in [(node_account, node), (sync_account, sync)] {
        if !roles.is_empty() {
            judged.push((account, table(roles)?));
        }
    }
    if install.holds.contains(&"rbac.aggregate") {
        for role in ["view", "edit"] {
            let account = format!("{release}-user-{role}");
            objects.extend(user(
                &account,
                &format!("{full_name}-{role}"),
                cx,
                &places.a,
            ));
            judged.push((account, table(&[role])?));
        }
    }
    let outcome = async {
        rendered::apply(cx, &objects, cx.namespace()).await?;
        for (account, table) in &judged {
            let judged = async {
                judge(cx, places, account, table, &install).await?;
                if asks {
                    ask(cx, places, account, table, &install).await?;
                }
                Ok(())
            };
            let judged: Result<()> = judged.await;
            judged.map_err(|error| error.context(format!("account {account}")))?;
        }
        Ok(())
    };
    let outcome = outcome.await;
    rendered::delete(cx, &objects, cx.namespace()).await?;
    outcome
}

/// Objects that give a ClusterRole to a new account in a namespace.
fn user(account: &str, role: &str, cx: &Context, namespace: &str) -> [Value; 2] {
    [
        json!({
            "apiVersion": "v1", "kind": "ServiceAccount",
            "metadata": { "name": account, "namespace": cx.namespace() },
        }),
        json!({
            "apiVersion": "rbac.authorization.k8s.io/v1", "kind": "RoleBinding",
            "metadata": { "name": account, "namespace": namespace },
            "roleRef": { "apiGroup": "rbac.authorization.k8s.io", "kind": "ClusterRole", "name": role },
            "subjects": [{ "kind": "ServiceAccount", "name": account, "namespace": cx.namespace() }],
        }),
    ]
}

fn table(roles: &[&str]) -> Result<Vec<Row>> {
    let tables: Result<Vec<Vec<Row>>> = roles.iter().map(|role| rows(role)).collect();
    Ok(tables?.into_iter().flatten().collect())
}

/// A short name that no other test uses: what a namespace ends with is random.
fn release(prefix: &str, number: usize, cx: &Context) -> String {
    let random = cx.namespace().rsplit('-').next().unwrap_or_default();
    format!("{prefix}{number}-{random}")
}

#[test]
fn rbac_of_providers_is_what_the_page_says() -> Result<()> {
    latchkey_cluster::test(async |cx| {
        let places = Places::new(&cx).await?;
        let outcome = async {
            let own = || vec![cx.namespace().to_owned()];
            let all = || vec![String::from("*")];
            let some = |name: &String| vec![name.clone()];
            for (number, (kind, objects, credentials)) in [
                ("provider.type=vault", own(), own()),
                ("provider.type=fake", own(), own()),
                ("provider.type=generators", own(), own()),
                ("provider.type=vault", some(&places.a), some(&places.b)),
                ("provider.type=fake", all(), some(&places.b)),
                ("provider.type=vault", all(), all()),
            ]
            .into_iter()
            .enumerate()
            {
                let values = [
                    kind.to_owned(),
                    format!("rbac.namespaces={{{}}}", objects.join(",")),
                    format!("rbac.credentialNamespaces={{{}}}", credentials.join(",")),
                ];
                let install = Install {
                    objects,
                    credentials,
                    holds: vec![kind],
                    ..Install::default()
                };
                let release = release("p", number, &cx);
                let judged = judge_provider(&cx, &places, &release, &values, &install).await;
                judged.map_err(|error| error.context(format!("{values:?}")))?;
            }
            Ok(())
        };
        let outcome = outcome.await;
        places.delete(&cx).await?;
        outcome
    })
}

async fn judge_provider(
    cx: &Context,
    places: &Places,
    release: &str,
    values: &[String],
    install: &Install,
) -> Result<()> {
    let objects = rendered::render(cx, "provider", release, values).await?;
    let objects = of_kinds(&objects, &RIGHTS);
    let outcome = async {
        rendered::apply(cx, &objects, cx.namespace()).await?;
        let account = format!("provider-{release}");
        let table = rows("provider")?;
        judge(cx, places, &account, &table, install).await?;
        ask(cx, places, &account, &table, install).await
    };
    let outcome = outcome.await;
    rendered::delete(cx, &objects, cx.namespace()).await?;
    outcome
}
