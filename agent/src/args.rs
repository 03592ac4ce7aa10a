//! The command line of the binary `latchkey`.
//!
//! Every flag is also an environment variable, so that a chart can set it without composing a command line. A value is checked
//! where it is parsed ([`values`]); rules over several flags are in [`AgentArgs::validate`].

pub(crate) mod values;

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use clap::{Parser, Subcommand, ValueEnum};

use crate::cli::conformance::ConformanceArgs;
use crate::cli::node::NodeArgs;
use crate::cli::template::TemplateArgs;
use crate::files::FilesArgs;
use crate::namespaces::MOST_NAMESPACES;
use crate::volumes::namespaces::AllowedNamespaces;

/// Delivers external secrets into pods as volumes and into the cluster as Secrets.
#[derive(Clone, Debug, Parser)]
#[command(name = "latchkey", version)]
pub struct Cli {
    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// The commands of the binary.
#[derive(Clone, Debug, Subcommand)]
pub enum Command {
    /// Runs the agent in a Kubernetes cluster until it is told to stop.
    Agent(Box<AgentArgs>),
    /// Keeps external secrets in directories of this machine, without Kubernetes.
    Files(Box<FilesArgs>),
    /// Renders templates offline, from files, as the agent would.
    Template(Box<TemplateArgs>),
    /// Checks that a provider server keeps the contract.
    Conformance(Box<ConformanceArgs>),
    /// Looks at the volumes of a node, or takes them away, as root on the node or in the agent's container.
    Node(Box<NodeArgs>),
}

/// What an agent process does.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, ValueEnum)]
pub enum Role {
    /// The CSI node plugin of this node.
    Node,
    /// The controllers: ExternalSecrets become Secrets, stores are validated, certificates are issued.
    Sync,
}

/// Where the certificates of the agent and of the providers come from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum CertificateMode {
    /// The sync leader makes a CA and issues and rotates all identities.
    Managed,
    /// Someone else writes the Secrets, for example cert-manager; nothing is issued here.
    External,
}

/// How volumes are labelled on hosts with SELinux (csi.md 5.4). Without SELinux all are the same.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum SelinuxMode {
    /// With the label that every container may read.
    Context,
    /// Not at all, and writable, so that the container runtime relabels them.
    Relabel,
    /// Not at all.
    Off,
}

/// The settings of `latchkey agent`.
#[derive(Clone, Debug, clap::Args)]
pub struct AgentArgs {
    /// What this process does: `node`, `sync` or both.
    #[arg(
        long,
        env = "LATCHKEY_ROLES",
        value_delimiter = ',',
        value_enum,
        default_value = "node,sync"
    )]
    pub roles: Vec<Role>,

    /// Name of the node that this process runs on, as Kubernetes knows it. Needed for the role `node`.
    #[arg(long, env = "NODE_NAME", value_parser = values::dns_subdomain)]
    pub node_name: Option<String>,

    /// Namespace of the release: its own Secrets and its Lease live there.
    #[arg(long, env = "POD_NAMESPACE", value_parser = values::dns_label, default_value = "latchkey")]
    pub namespace: String,

    /// Namespaces that this agent works in, up to 100: with permissions in these alone, and without anything that exists outside
    /// namespaces. Default: all.
    #[arg(long, env = "LATCHKEY_WATCH_NAMESPACES", value_delimiter = ',', value_parser = values::dns_label)]
    pub watch_namespaces: Vec<String>,

    /// Directory that the kubelet of this node was given as its root.
    #[arg(long, env = "LATCHKEY_KUBELET_ROOT", value_parser = values::absolute_path, default_value = "/var/lib/kubelet")]
    pub kubelet_root: PathBuf,

    /// Name under which the CSI driver registers.
    #[arg(long, env = "LATCHKEY_CSI_DRIVER_NAME", value_parser = values::driver_name, default_value = "csi.latchkey.dev")]
    pub csi_driver_name: String,

    /// Namespaces whose pods may mount volumes: names separated by commas, or a label selector. Default: all.
    #[arg(long, env = "LATCHKEY_CSI_ALLOWED_NAMESPACES", value_parser = AllowedNamespaces::parse)]
    pub csi_allowed_namespaces: Option<AllowedNamespaces>,

    /// Whether volumes may list the keys of a store themselves (attribute `data`), without an ExternalSecret.
    #[arg(long, env = "LATCHKEY_CSI_INLINE_DATA", action = clap::ArgAction::Set, default_value_t = true)]
    pub csi_inline_data: bool,

    /// The shortest `refreshInterval` that a volume may have, as a Go duration.
    #[arg(long, env = "LATCHKEY_CSI_MIN_REFRESH", value_parser = values::positive_duration, default_value = "30s")]
    pub csi_min_refresh: Duration,

    /// The most bytes that all volumes of the node may take, as a Kubernetes quantity. They count as memory of the agent.
    #[arg(long, env = "LATCHKEY_CSI_MAX_TOTAL_BYTES", value_parser = values::size, default_value = "64Mi")]
    pub csi_max_total_bytes: u64,

    /// How long the previous files of a volume can still be opened after a change, as a Go duration of at most 60s.
    #[arg(long, env = "LATCHKEY_CSI_GENERATION_GRACE", value_parser = values::generation_grace, default_value = "5s")]
    pub csi_generation_grace: Duration,

    /// How volumes are labelled on hosts with SELinux.
    #[arg(
        long,
        env = "LATCHKEY_CSI_SELINUX",
        value_enum,
        default_value = "context"
    )]
    pub csi_selinux: SelinuxMode,

    /// Whether volumes are refused on nodes where secrets could reach the swap.
    #[arg(long, env = "LATCHKEY_CSI_REQUIRE_NOSWAP", action = clap::ArgAction::Set, default_value_t = false)]
    pub csi_require_noswap: bool,

    /// Whether a pod gets an event each time that files of it change.
    #[arg(long, env = "LATCHKEY_CSI_ROTATION_EVENTS", action = clap::ArgAction::Set, default_value_t = false)]
    pub csi_rotation_events: bool,

    /// Whether series about volumes have the labels namespace and name, of the pod. As many series as there are pods with volumes.
    #[arg(long, env = "LATCHKEY_CSI_METRICS_PER_VOLUME", action = clap::ArgAction::Set, default_value_t = false)]
    pub csi_metrics_per_volume: bool,

    /// Address of the HTTP server for health and metrics.
    #[arg(long, env = "LATCHKEY_ADMIN_ADDRESS", default_value = "0.0.0.0:8081")]
    pub admin_address: SocketAddr,

    /// Secret in the release namespace with the identity that the agent shows to providers.
    #[arg(long, env = "LATCHKEY_CLIENT_IDENTITY_SECRET", value_parser = values::dns_subdomain, default_value = "latchkey-client-tls")]
    pub client_identity_secret: String,

    /// Directory with that identity (ca.crt, tls.crt, tls.key), for an agent without the role `sync`.
    #[arg(long, env = "LATCHKEY_CLIENT_IDENTITY_DIR", value_parser = values::absolute_path, default_value = "/etc/latchkey/client-identity")]
    pub client_identity_dir: PathBuf,

    /// Secret in the release namespace with the CA and its key.
    #[arg(long, env = "LATCHKEY_CA_SECRET", value_parser = values::dns_subdomain, default_value = "latchkey-ca")]
    pub ca_secret: String,

    /// Directory with one folder per mounted client identity of a store, named as its Secret.
    #[arg(long, env = "LATCHKEY_STORE_IDENTITIES_DIR", value_parser = values::absolute_path, default_value = "/etc/latchkey/store-identities")]
    pub store_identities_dir: PathBuf,

    /// Where certificates come from.
    #[arg(
        long,
        env = "LATCHKEY_CERTIFICATES",
        value_enum,
        default_value = "managed"
    )]
    pub certificates: CertificateMode,

    /// Namespaces whose provider Services get a server identity. Default: the release namespace.
    #[arg(long, env = "LATCHKEY_CERTIFICATE_NAMESPACES", value_delimiter = ',', value_parser = values::dns_label)]
    pub certificate_namespaces: Vec<String>,

    /// ServiceAccount in the release namespace that owns the CA and the client identity, so that they go when it goes.
    #[arg(long, env = "LATCHKEY_OWNER_SERVICE_ACCOUNT", value_parser = values::dns_subdomain)]
    pub owner_service_account: Option<String>,

    /// DNS domain of the cluster, part of the names in server certificates.
    #[arg(long, env = "LATCHKEY_CLUSTER_DOMAIN", value_parser = values::dns_subdomain, default_value = "cluster.local")]
    pub cluster_domain: String,

    /// Hosts that stores may name as provider, as patterns in which `*` stands for one or more labels.
    #[arg(
        long,
        env = "LATCHKEY_ALLOWED_PROVIDER_HOSTS",
        value_delimiter = ',',
        default_value = "*.svc,*.svc.cluster.local"
    )]
    pub allowed_provider_hosts: Vec<String>,

    /// Only stores with this `spec.controller`, or none, are served.
    #[arg(long, env = "LATCHKEY_CONTROLLER_CLASS", default_value = "default")]
    pub controller_class: String,

    /// Whether an ExternalSecret waits for its store to be ready.
    #[arg(long, env = "LATCHKEY_ENABLE_FLOOD_GATE", action = clap::ArgAction::Set, default_value_t = true)]
    pub enable_flood_gate: bool,

    /// Whether ClusterExternalSecrets are handled.
    #[arg(long, env = "LATCHKEY_ENABLE_CLUSTER_EXTERNAL_SECRET_RECONCILER", action = clap::ArgAction::Set, default_value_t = true)]
    pub enable_cluster_external_secret_reconciler: bool,

    /// Whether what generators leave is kept, so that values can be revoked once they are replaced.
    #[arg(long, env = "LATCHKEY_ENABLE_GENERATOR_STATE", action = clap::ArgAction::Set, default_value_t = true)]
    pub enable_generator_state: bool,

    /// How long generated values stay valid after they were replaced, as a Go duration.
    #[arg(long, env = "LATCHKEY_GENERATOR_GC_GRACE_PERIOD", value_parser = values::positive_duration, default_value = "2m")]
    pub generator_gc_grace_period: Duration,

    /// Whether ClusterSecretStores are validated, and ExternalSecrets whose `secretStoreRef` names one are looked at.
    #[arg(long, env = "LATCHKEY_ENABLE_CLUSTER_STORE_RECONCILER", action = clap::ArgAction::Set, default_value_t = true)]
    pub enable_cluster_store_reconciler: bool,

    /// Whether series about ExternalSecrets, ClusterExternalSecrets, stores and generators also have the labels app_kubernetes_io_*,
    /// from the labels of the object.
    #[arg(long, env = "LATCHKEY_ENABLE_EXTENDED_METRIC_LABELS", action = clap::ArgAction::Set, default_value_t = false)]
    pub enable_extended_metric_labels: bool,

    /// Whether ExternalSecrets may write other kinds than Secret (`target.manifest`). Values in them are only as safe as access policies
    /// and encryption make these kinds.
    #[arg(
        long,
        env = "LATCHKEY_UNSAFE_ALLOW_GENERIC_TARGETS",
        action = clap::ArgAction::Set,
        num_args = 0..=1,
        require_equals = true,
        default_missing_value = "true",
        default_value_t = false
    )]
    pub unsafe_allow_generic_targets: bool,

    /// How often a store is validated again, as a Go duration of at least 10s.
    #[arg(long, env = "LATCHKEY_STORE_REQUEUE_INTERVAL", value_parser = values::store_requeue, default_value = "5m")]
    pub store_requeue_interval: Duration,

    /// How long one call to a provider may take, as a Go duration.
    #[arg(long, env = "LATCHKEY_PROVIDER_TIMEOUT", value_parser = values::positive_duration, default_value = "30s")]
    pub provider_timeout: Duration,

    /// What opens an action in `spec.target.template`.
    #[arg(long, env = "LATCHKEY_TEMPLATE_LEFT_DELIMITER", value_parser = values::delimiter, default_value = "{{")]
    pub template_left_delimiter: String,

    /// What closes an action in `spec.target.template`.
    #[arg(long, env = "LATCHKEY_TEMPLATE_RIGHT_DELIMITER", value_parser = values::delimiter, default_value = "}}")]
    pub template_right_delimiter: String,

    /// Lease in the release namespace by which the sync leader is elected.
    #[arg(long, env = "LATCHKEY_SYNC_LEASE", value_parser = values::dns_subdomain, default_value = "latchkey-sync")]
    pub sync_lease: String,

    /// Number of shards that the work of the role sync is split into; the same for all agents. Each is held through a Lease of the
    /// release namespace, the sync leader's name with a number.
    #[arg(long, env = "LATCHKEY_SYNC_SHARDS", value_parser = clap::value_parser!(u16).range(1..=256), default_value_t = 4)]
    pub sync_shards: u16,

    /// The most ExternalSecrets that this process works on at once. They wait for providers and the API server nearly all of the time.
    #[arg(long, env = "LATCHKEY_SYNC_CONCURRENCY", value_parser = clap::value_parser!(u16).range(1..=1024), default_value_t = 64)]
    pub sync_concurrency: u16,

    /// The most of them that use the same store, so that a slow one does not hold up the others. Stores with the same address share half
    /// of all, or this if it is more.
    #[arg(long, env = "LATCHKEY_SYNC_STORE_CONCURRENCY", value_parser = clap::value_parser!(u16).range(1..=1024), default_value_t = 16)]
    pub sync_store_concurrency: u16,

    /// Log filter, for example `info` or `info,latchkey::sync=debug`.
    #[arg(long, env = "LATCHKEY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

/// A rule over several flags that does not hold. The text is one line for the user.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub struct Invalid(String);

// === impl AgentArgs ===

impl AgentArgs {
    /// Whether this process has `role`.
    #[must_use]
    pub fn has(&self, role: Role) -> bool {
        self.roles.contains(&role)
    }

    /// Checks the rules that concern several flags.
    ///
    /// # Errors
    ///
    /// [`Invalid`] names the flag to set.
    pub fn validate(&self) -> Result<(), Invalid> {
        if self.has(Role::Node) && self.node_name.is_none() {
            return Err(Invalid(String::from(
                "the role node needs --node-name (environment NODE_NAME)",
            )));
        }
        if !self.watch_namespaces.is_empty()
            && matches!(
                self.csi_allowed_namespaces,
                Some(AllowedNamespaces::Labelled(_))
            )
        {
            return Err(Invalid(String::from(
                "--csi-allowed-namespaces takes names with --watch-namespaces: labels of namespaces cannot be read then",
            )));
        }
        if self.watch_namespaces.len() > MOST_NAMESPACES {
            return Err(Invalid(format!(
                "--watch-namespaces takes at most {MOST_NAMESPACES} names, not {}: leave it out to work in all namespaces",
                self.watch_namespaces.len()
            )));
        }
        Ok(())
    }
}

/// The first paragraph of a parser error on one line, without its `error: `.
#[must_use]
pub fn one_line(error: &clap::Error) -> String {
    let text = error.render().to_string();
    let paragraph: Vec<&str> = text
        .lines()
        .take_while(|line| !line.trim().is_empty())
        .map(str::trim)
        .collect();
    let line = paragraph.join(" ");
    line.strip_prefix("error: ")
        .map(str::to_owned)
        .unwrap_or(line)
}

#[cfg(test)]
mod tests;
