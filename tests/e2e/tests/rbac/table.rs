//! The tables of `docs/rbac.md`, and what they say about a service account.

use std::collections::BTreeSet;

use anyhow::{Context as _, Result, ensure};
use latchkey_e2e::root;

/// One right: group (empty for core), resource with its subresource, verb, and the only name that it is for, if it is.
pub(crate) type Right = (String, String, String, Option<String>);

/// A row of a table.
#[derive(Debug)]
pub(crate) struct Row {
    group: String,
    resources: Vec<String>,
    verbs: Vec<String>,
    names: Vec<String>,
    place: String,
    condition: String,
}

/// What the tables leave open: how the chart was installed.
#[derive(Clone, Debug, Default)]
pub(crate) struct Install {
    /// Namespace of the release.
    pub(crate) release: String,
    /// Value `watchNamespaces`.
    pub(crate) watched: Vec<String>,
    /// Value `certificates.namespaces`, or its default.
    pub(crate) certificates: Vec<String>,
    /// Value `sync.serviceAccountTokens`, of one namespace: it and the names.
    pub(crate) tokens: Option<(String, Vec<String>)>,
    /// Value `sync.genericTargets.resources`, of one group: it and the resources.
    pub(crate) generic: Option<(String, Vec<String>)>,
    /// Where the roles of users are bound.
    pub(crate) bound: Vec<String>,
    /// Value `rbac.namespaces` of the chart `provider`, or its default.
    pub(crate) objects: Vec<String>,
    /// Value `rbac.credentialNamespaces` of the same, or its default.
    pub(crate) credentials: Vec<String>,
    /// Conditions of the tables that hold.
    pub(crate) holds: Vec<&'static str>,
    /// The account that owns the certificates' Secrets.
    pub(crate) owner: String,
    /// Value `sync.shards`.
    pub(crate) shards: usize,
}

/// The rows of the table below the heading `Role <role>`.
pub(crate) fn rows(role: &str) -> Result<Vec<Row>> {
    let page = std::fs::read_to_string(root().join("docs/rbac.md"))?;
    let heading = format!("# Role {role}");
    let below = page.lines().skip_while(|line| !line.ends_with(&heading));
    let lines = below.skip(1).take_while(|line| !line.starts_with('#'));
    // The first two are the head of the table.
    let rows: Result<Vec<Row>> = lines
        .filter(|line| line.starts_with('|'))
        .skip(2)
        .map(row)
        .collect();
    let rows = rows?;
    ensure!(rows.len() > 2, "docs/rbac.md has no table of role {role}");
    Ok(rows)
}

fn row(line: &str) -> Result<Row> {
    let cells: Vec<&str> = line.trim_matches('|').split('|').map(str::trim).collect();
    let [group, resources, verbs, names, place, condition, _why] = cells[..] else {
        anyhow::bail!("not seven cells: {line}")
    };
    let list = |cell: &str| -> Vec<String> {
        let items = cell.split(',').map(str::trim);
        items
            .filter(|item| !item.is_empty())
            .map(str::to_owned)
            .collect()
    };
    Ok(Row {
        group: if group == "core" { "" } else { group }.to_owned(),
        resources: list(resources),
        verbs: list(verbs),
        names: list(names),
        place: place.to_owned(),
        condition: condition.trim_matches('`').to_owned(),
    })
}

// === impl Install ===

impl Install {
    /// What the rows grant in `namespace`.
    pub(crate) fn rights(&self, rows: &[Row], namespace: &str) -> Result<BTreeSet<Right>> {
        let mut rights = BTreeSet::new();
        for row in rows {
            let holds = row.condition.is_empty() || self.holds.contains(&row.condition.as_str());
            if !holds || !self.reaches(&row.place, namespace)? {
                continue;
            }
            let (group, resources) = self.kinds(row);
            for (resource, verb) in product(resources, &row.verbs) {
                for name in self.names(&row.names) {
                    rights.insert((group.clone(), resource.to_owned(), verb.to_owned(), name));
                }
            }
        }
        Ok(rights)
    }

    fn reaches(&self, place: &str, namespace: &str) -> Result<bool> {
        let is_in = |list: &[String]| list.iter().any(|name| name == namespace || name == "*");
        Ok(match place {
            "watched" => self.watched.is_empty() || is_in(&self.watched),
            "cluster" => self.watched.is_empty(),
            "release" => self.release == namespace,
            "certificates" => is_in(&self.certificates),
            "tokens" => self
                .tokens
                .as_ref()
                .is_some_and(|(its, _)| its == namespace),
            "bound" => is_in(&self.bound),
            "objects" => is_in(&self.objects),
            "credentials" => is_in(&self.credentials),
            other => anyhow::bail!("docs/rbac.md does not say where \"{other}\" is"),
        })
    }

    /// Group and resources of a row.
    fn kinds<'a>(&'a self, row: &'a Row) -> (&'a String, &'a [String]) {
        match &self.generic {
            _ if row.group != "`group`" => (&row.group, &row.resources),
            Some((group, resources)) => (group, resources),
            None => (&row.group, &[]),
        }
    }

    fn names(&self, names: &[String]) -> Vec<Option<String>> {
        if names.is_empty() {
            return vec![None];
        }
        let expanded = names
            .iter()
            .flat_map(|name| match name.strip_suffix("`shard`") {
                Some(stem) => (0..self.shards)
                    .map(|shard| format!("{stem}{shard}"))
                    .collect(),
                None if name == "`owner`" => vec![self.owner.clone()],
                None if name == "`account`" => {
                    let tokens = self.tokens.as_ref();
                    tokens.map(|(_, names)| names.clone()).unwrap_or_default()
                }
                None => vec![name.clone()],
            });
        expanded.map(Some).collect()
    }
}

/// Every pair of two lists.
pub(crate) fn product<'a>(
    left: &'a [String],
    right: &'a [String],
) -> impl Iterator<Item = (&'a str, &'a str)> {
    left.iter().flat_map(move |first| {
        right
            .iter()
            .map(move |second| (first.as_str(), second.as_str()))
    })
}

/// Whether a set of rights answers a request.
pub(crate) fn allows(
    rights: &BTreeSet<Right>,
    group: &str,
    resource: &str,
    verb: &str,
    name: Option<&str>,
) -> bool {
    rights.iter().any(|(its, kind, action, only)| {
        its == group
            && kind == resource
            && action == verb
            && only.as_deref().is_none_or(|only| Some(only) == name)
    })
}

#[test]
fn rows_are_read_from_the_page_and_names_are_filled_in() -> Result<()> {
    let install = Install {
        release: "r".to_owned(),
        watched: vec!["a".to_owned()],
        owner: "boss".to_owned(),
        shards: 2,
        holds: vec!["certificates.mode=managed"],
        ..Install::default()
    };
    let sync = rows("sync")?;
    let there = install.rights(&sync, "r")?;
    ensure!(allows(
        &there,
        "coordination.k8s.io",
        "leases",
        "update",
        Some("latchkey-sync-1")
    ));
    ensure!(!allows(
        &there,
        "coordination.k8s.io",
        "leases",
        "update",
        Some("latchkey-sync-2")
    ));
    ensure!(allows(&there, "", "serviceaccounts", "get", Some("boss")));
    ensure!(!allows(&there, "", "secrets", "get", Some("app")));
    ensure!(allows(
        &install.rights(&sync, "a")?,
        "",
        "secrets",
        "get",
        Some("app")
    ));
    ensure!(install.rights(&sync, "b")?.is_empty(), "elsewhere");
    let node = rows("node").context("the other table")?;
    ensure!(
        !node
            .iter()
            .any(|row| row.resources.iter().any(|kind| kind == "secrets"))
    );
    Ok(())
}
