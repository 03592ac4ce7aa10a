//! `files.yaml`: strict, and every mistake is named with its line, its path and what was probably meant.
//!
//! Pure but for the names of users and groups, which come from `/etc/passwd` and `/etc/group`.

mod document;
mod on_change;
mod scalars;
mod spec;

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use latchkey_crds::external_secret::{ExternalSecret, RefreshPolicy, SecretStoreRef, StoreKind};
use latchkey_crds::secret_store::{DEFAULT_PROVIDER_API_VERSION, SecretStore};
use latchkey_csi::backend::VolumeRequest;
use latchkey_csi::directory::{Access, Directory};
use latchkey_engine::source::Caller;
use serde_json::{Value, json};

pub(super) use self::document::Mistake;

use self::document::{Document, Fields, nearest};
use self::on_change::on_change;
use self::scalars::{duration, id_of, is_plain, object_name, required_fields, tmpfs};
use crate::stores::{AllowedHosts, Policy, Store, StoreKey};
use crate::volumes::attributes::{
    DEFAULT_MODE, EXTERNAL_SECRET, ITEMS, Plan, Rules, is_dns1123_subdomain, parse_mode, quoted,
};

/// Namespace that stands for this machine where the file names none.
const DEFAULT_NAMESPACE: &str = "default";
/// Longest time of one call to a provider.
const DEFAULT_CALL_TIMEOUT: Duration = Duration::from_secs(30);
/// Most bytes of all files of an entry that has no tmpfs of its own.
const DEFAULT_LIMIT: u64 = 16 << 20;
/// What an own tmpfs needs beside two generations of the files, bytes.
const TMPFS_OVERHEAD: u64 = 64 << 10;

/// A whole file.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Config {
    /// Where secrets come from, by the store that entries name.
    pub providers: BTreeMap<StoreKey, Provider>,
    /// What is delivered, by name.
    pub entries: BTreeMap<String, Entry>,
}

/// One way to a provider.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Provider {
    /// The store that it stands for, as it would be in a cluster.
    pub store: Store,
    /// The authorities that the provider's certificate must come from.
    pub ca: PathBuf,
    /// The certificate that is shown to the provider.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Longest time of one call.
    pub timeout: Duration,
}

/// One directory and what it shows.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Entry {
    /// The ExternalSecret, without generation.
    pub object: ExternalSecret,
    /// Which keys, where, with which mode.
    pub plan: Plan,
    /// Where.
    pub directory: Directory,
    /// Who may do what with the files.
    pub access: Access,
    /// What happens after a change.
    pub on_change: Option<OnChange>,
    /// Whether it is fetched once and never again.
    pub is_created_once: bool,
}

/// What happens after a change.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum OnChange {
    /// A command runs.
    Command {
        /// Program and arguments; no shell.
        argv: Vec<String>,
        /// Longest time.
        timeout: Duration,
    },
    /// A process gets a signal.
    Signal {
        /// File with its number.
        pid_file: PathBuf,
        /// Number of the signal.
        signal: i32,
    },
}

// === impl Config ===

impl Config {
    /// Reads the text of `file`.
    ///
    /// # Errors
    ///
    /// Every mistake, in the order of the file.
    pub(super) fn parse(file: &Path, text: &str) -> Result<Self, Vec<Mistake>> {
        let (document, value) = Document::parse(file, text).map_err(|mistake| vec![mistake])?;
        let config = read(&document, &value, file.parent().unwrap_or(Path::new("/")));
        match config {
            Some(config) if document.count() == 0 => Ok(config),
            _ => Err(document.into_mistakes()),
        }
    }
}

fn read(document: &Document, value: &Value, base: &Path) -> Option<Config> {
    let fields = document.fields("", value, &["namespace", "providers", "entries"])?;
    let namespace = fields.text("namespace").unwrap_or(DEFAULT_NAMESPACE);
    if !is_dns1123_subdomain(namespace) || namespace.contains('.') {
        fields.wrong("namespace", "must be lower case letters, digits and '-'");
    }
    let mut providers = BTreeMap::new();
    for (index, value) in fields.list("providers").iter().enumerate() {
        let path = format!("providers[{index}]");
        let Some(provider) = provider(document, &path, value, namespace, base) else {
            continue;
        };
        let key = provider.store.key.clone();
        if providers.insert(key.clone(), provider).is_some() {
            document.wrong(&path, format!("is a second {key}"));
        }
    }
    if fields.list("providers").is_empty() {
        fields.wrong("providers", "at least one is required");
    }
    // One that is left out because of a mistake would be missed by each entry that names it.
    let known = (document.count() == 0).then_some(&providers);
    let mut entries: BTreeMap<String, Entry> = BTreeMap::new();
    for (index, value) in fields.list("entries").iter().enumerate() {
        let path = format!("entries[{index}]");
        let Some((name, entry)) = entry(document, &path, value, namespace, known) else {
            continue;
        };
        for (other, earlier) in &entries {
            let (left, right) = (entry.directory.path(), earlier.directory.path());
            if left.starts_with(right) || right.starts_with(left) {
                document.wrong(
                    &format!("{path}.directory"),
                    format!("is that of entry {other}, or within it, or around it"),
                );
            }
        }
        if entries.insert(name.clone(), entry).is_some() {
            document.wrong(
                &format!("{path}.name"),
                format!("is that of another entry, {}", quoted(&name)),
            );
        }
    }
    if fields.list("entries").is_empty() {
        fields.wrong("entries", "at least one is required");
    }
    Some(Config { providers, entries })
}

fn provider(
    document: &Document,
    path: &str,
    value: &Value,
    namespace: &str,
    base: &Path,
) -> Option<Provider> {
    let known = [
        "name",
        "kind",
        "address",
        "tls",
        "providerRef",
        "timeout",
        "retry",
    ];
    let fields = document.fields(path, value, &known)?;
    let name = object_name(&fields);
    let kind = store_kind(&fields)?;
    let address = fields.required("address");
    let tls = required_fields(
        document,
        &fields,
        "tls",
        &["ca", "cert", "key", "serverName"],
    );
    let file = |key: &str| {
        let path = tls.as_ref()?.required(key)?;
        Some(base.join(path))
    };
    let (ca, cert, key) = (file("ca"), file("cert"), file("key"));
    let server_name = tls.as_ref().and_then(|tls| tls.text("serverName"));
    let known = ["apiVersion", "kind", "name", "namespace"];
    let reference = required_fields(document, &fields, "providerRef", &known)?;
    let provider_ref = json!({
        "apiVersion": reference.text("apiVersion").unwrap_or(DEFAULT_PROVIDER_API_VERSION),
        "kind": reference.required("kind")?,
        "name": reference.required("name")?,
        "namespace": reference.text("namespace"),
    });
    let timeout = duration(&fields, "timeout").unwrap_or(DEFAULT_CALL_TIMEOUT);
    let retry = retry_settings(&fields);
    let manifest = json!({
        "metadata": {"name": name?, "namespace": namespace, "uid": format!("file:{}", name?)},
        "spec": {
            "gatingPolicy": "Disabled",
            "retrySettings": retry,
            "providerConfig": {
                "address": address?,
                "providerRef": provider_ref,
                "auth": {"clientCertificate": {"serverName": server_name}},
            },
        },
    });
    let store = match store_of(kind, manifest) {
        Ok(store) => store,
        Err(error) => {
            document.wrong(path, format!("cannot be read: {error}"));
            return None;
        }
    };
    if let Err(error) = policy().check(&store) {
        let text = error.message.replace("spec.providerConfig.", "");
        document.wrong(path, text);
        return None;
    }
    Some(Provider {
        store,
        ca: ca?,
        cert: cert?,
        key: key?,
        timeout,
    })
}

fn store_kind(fields: &Fields<'_>) -> Option<StoreKind> {
    match fields.text("kind") {
        None | Some("SecretStore") => Some(StoreKind::SecretStore),
        Some("ClusterSecretStore") => Some(StoreKind::ClusterSecretStore),
        Some(other) => {
            let text = "it may be SecretStore, ClusterSecretStore";
            fields.wrong("kind", format!("is {}; {text}", quoted(other)));
            None
        }
    }
}

/// The retries as a store spells them.
fn retry_settings(fields: &Fields<'_>) -> Option<Value> {
    let retry = fields.fields("retry", &["maxRetries", "retryInterval"])?;
    let number = retry.get("maxRetries");
    if number.is_some_and(|number| number.as_u64().is_none_or(|number| number > 10)) {
        retry.wrong("maxRetries", "must be a number from 0 to 10");
    }
    let _ = duration(&retry, "retryInterval");
    Some(json!({"maxRetries": number, "retryInterval": retry.text("retryInterval")}))
}

/// As if the manifest had been read from a cluster.
fn store_of(kind: StoreKind, mut manifest: Value) -> Result<Store, serde_json::Error> {
    manifest["apiVersion"] = "secretstore.external-secrets.io/v2alpha1".into();
    manifest["kind"] = kind.as_str().into();
    match kind {
        StoreKind::SecretStore => {
            serde_json::from_value::<SecretStore>(manifest).map(|store| Store::from(&store))
        }
        StoreKind::ClusterSecretStore => {
            manifest["metadata"]["namespace"].take();
            serde_json::from_value(manifest)
                .map(|store: latchkey_crds::secret_store::ClusterSecretStore| Store::from(&store))
        }
    }
}

/// Whoever writes the file may name any host, and its stores are used whether or not they were validated.
pub(super) fn policy() -> Policy {
    Policy {
        allowed_hosts: AllowedHosts::new(["*"]),
        flood_gate: false,
        ..Policy::default()
    }
}

fn entry(
    document: &Document,
    path: &str,
    value: &Value,
    namespace: &str,
    providers: Option<&BTreeMap<StoreKey, Provider>>,
) -> Option<(String, Entry)> {
    let known = [
        "name",
        "directory",
        "tmpfs",
        "owner",
        "group",
        "defaultMode",
        "items",
        "onChange",
        "spec",
    ];
    let fields = document.fields(path, value, &known)?;
    let name = object_name(&fields);
    let directory = directory_of(&fields);
    let tmpfs = tmpfs(&fields);
    let owner = id_of(&fields, "owner", "/etc/passwd");
    let group = id_of(&fields, "group", "/etc/group");
    let on_change = on_change(document, &fields);
    if fields.get("spec").is_none() {
        document.wrong(path, "lacks spec, which is required");
    }
    let spec_path = fields.at("spec");
    let mut spec = spec::read(document, &spec_path, fields.get("spec")?)?;
    for reference in spec.store_refs() {
        if let Some(providers) = providers {
            check_reference(document, &spec_path, reference, namespace, providers);
        }
    }
    if spec.store_refs().next().is_none() {
        document.wrong(&spec_path, "names no provider; set secretStoreRef.name");
    }
    let policy = spec.refresh_policy();
    if policy != RefreshPolicy::Periodic {
        spec.refresh_interval = Some("0s".to_owned());
    }
    let name = name?.to_owned();
    let mut object = ExternalSecret::new(&name, spec);
    object.metadata.namespace = Some(namespace.to_owned());
    object.metadata.uid = Some(format!("file:{name}"));
    let plan = plan(&fields, &name, namespace)?;
    let limit = match tmpfs {
        Some(size) => (size - TMPFS_OVERHEAD) / 2,
        None => DEFAULT_LIMIT,
    };
    let access = access(&plan, owner, group, limit);
    let entry = Entry {
        object,
        plan,
        directory: Directory::new(directory?, tmpfs),
        access,
        on_change: on_change.ok()?,
        is_created_once: policy == RefreshPolicy::CreatedOnce,
    };
    Some((name, entry))
}

fn directory_of(fields: &Fields<'_>) -> Option<PathBuf> {
    let directory = PathBuf::from(fields.required("directory")?);
    if is_plain(&directory) {
        return Some(directory);
    }
    fields.wrong(
        "directory",
        "must be an absolute path without `.` and `..`, and not /",
    );
    None
}

/// Who may do what: where nobody is named, this process and nobody else.
fn access(plan: &Plan, owner: Option<u32>, group: Option<u32>, limit: u64) -> Access {
    let own_mode = if group.is_some() { 0o440 } else { 0o400 };
    let default_mode = plan.settings.default_mode.unwrap_or(own_mode);
    let items = plan.layout.items.iter().flatten();
    let modes = items.filter_map(|item| item.mode).chain([default_mode]);
    Access {
        uid: owner.unwrap_or_else(|| rustix::process::geteuid().as_raw()),
        gid: group.unwrap_or_else(|| rustix::process::getegid().as_raw()),
        default_mode,
        is_open: modes.fold(0, |all, mode| all | mode) & 0o007 != 0,
        limit,
    }
}

/// Keys, paths and modes are those of a volume, so its rules read them (csi.md 8).
fn plan(fields: &Fields<'_>, name: &str, namespace: &str) -> Option<Plan> {
    let mut attributes = BTreeMap::from([(EXTERNAL_SECRET.to_owned(), name.to_owned())]);
    if let Some(mode) = fields.text(DEFAULT_MODE) {
        if let Err(rule) = parse_mode(mode) {
            fields.wrong(DEFAULT_MODE, rule);
            return None;
        }
        attributes.insert(DEFAULT_MODE.to_owned(), mode.to_owned());
    }
    if let Some(items) = fields.get(ITEMS) {
        attributes.insert(ITEMS.to_owned(), items.to_string());
    }
    let request = VolumeRequest {
        volume_id: format!("file-{name}"),
        namespace: namespace.to_owned(),
        pod_name: name.to_owned(),
        pod_uid: format!("file:{name}"),
        service_account: String::new(),
        attributes,
    };
    match Plan::try_new(&request, &Rules::default()) {
        Ok(plan) => Some(plan),
        Err(refusal) => {
            let text = refusal.0.strip_prefix("attribute items: ");
            fields.wrong(ITEMS, text.unwrap_or(&refusal.0));
            None
        }
    }
}

fn check_reference(
    document: &Document,
    path: &str,
    reference: &SecretStoreRef,
    namespace: &str,
    providers: &BTreeMap<StoreKey, Provider>,
) {
    let key = store_key(reference, namespace);
    if providers.contains_key(&key) {
        return;
    }
    let names = providers.keys().map(|key| key.name.as_str());
    let hint = match nearest(&key.name, names) {
        Some(near) if near == key.name => {
            String::from("there is one of that name and another kind")
        }
        Some(near) => format!("did you mean {near}?"),
        None => String::from("name one of `providers`"),
    };
    let text = format!("no provider stands for {key}; {hint}");
    document.wrong(&format!("{path}.secretStoreRef"), text);
}

/// The store that a reference of this machine's entries means.
pub(super) fn store_key(reference: &SecretStoreRef, namespace: &str) -> StoreKey {
    match reference.kind() {
        StoreKind::SecretStore => StoreKey::namespaced(namespace, reference.name()),
        StoreKind::ClusterSecretStore => StoreKey::cluster(reference.name()),
    }
}

/// The same for whoever asks.
pub(super) fn store_of_caller(caller: &Caller, reference: &SecretStoreRef) -> StoreKey {
    store_key(reference, &caller.namespace)
}

#[cfg(test)]
mod tests;
