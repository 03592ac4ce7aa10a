//! What the flags ask for, sorted by the parts that they concern.

use std::collections::BTreeSet;
use std::net::SocketAddr;

use latchkey_templating::Delimiters;

use super::access::{Access, IdentityOrigin};
use super::{Error, node, sync};
use crate::args::{AgentArgs, CertificateMode, Role};
use crate::certificates;
use crate::namespaces::WatchNamespaces;
use crate::stores::{AllowedHosts, Policy};
use crate::volumes::Rules;

/// The settings of all parts; those of a role are there if the process has it.
pub(super) struct Settings {
    pub(super) roles: Vec<Role>,
    pub(super) namespaces: WatchNamespaces,
    pub(super) admin_address: SocketAddr,
    pub(super) access: Access,
    pub(super) delimiters: Delimiters,
    pub(super) node: Option<node::Settings>,
    pub(super) sync: Option<sync::Settings>,
}

// === impl Settings ===

impl Settings {
    /// Sorts the flags.
    ///
    /// # Errors
    ///
    /// [`Error::Configuration`] if a role lacks what it needs.
    pub(super) fn try_new(args: AgentArgs) -> Result<Self, Error> {
        let has_node = args.has(Role::Node);
        let has_sync = args.has(Role::Sync);
        // In full, so that a flag without effect does not compile.
        let AgentArgs {
            roles,
            node_name,
            namespace,
            watch_namespaces,
            kubelet_root,
            csi_driver_name,
            csi_allowed_namespaces,
            csi_inline_data,
            csi_min_refresh,
            csi_max_total_bytes,
            csi_generation_grace,
            csi_selinux,
            csi_require_noswap,
            csi_rotation_events,
            csi_metrics_per_volume,
            admin_address,
            client_identity_secret,
            client_identity_dir,
            ca_secret,
            store_identities_dir,
            certificates,
            certificate_namespaces,
            owner_service_account,
            cluster_domain,
            allowed_provider_hosts,
            controller_class,
            enable_flood_gate,
            enable_cluster_store_reconciler,
            enable_extended_metric_labels,
            enable_cluster_external_secret_reconciler,
            enable_generator_state,
            unsafe_allow_generic_targets,
            generator_gc_grace_period,
            store_requeue_interval,
            provider_timeout,
            template_left_delimiter,
            template_right_delimiter,
            sync_lease,
            sync_shards,
            sync_concurrency,
            sync_store_concurrency,
            log_level: _,
        } = args;
        let namespaces = WatchNamespaces::of(watch_namespaces);
        let generator_grace = enable_generator_state.then_some(generator_gc_grace_period);
        let access = Access {
            policy: Policy {
                controller_class: controller_class.clone(),
                allowed_hosts: AllowedHosts::new(allowed_provider_hosts),
                flood_gate: enable_flood_gate,
            },
            timeout: provider_timeout,
            identities: if has_sync {
                IdentityOrigin::Secrets {
                    namespace: namespace.clone(),
                    own: client_identity_secret.clone(),
                }
            } else {
                IdentityOrigin::Directories {
                    own: client_identity_dir,
                    stores: store_identities_dir,
                    namespace: namespace.clone(),
                }
            },
        };
        let sync = has_sync.then(|| sync::Settings {
            identity: process_identity(node_name.as_deref()),
            certificates: (certificates == CertificateMode::Managed).then(|| {
                certificates::Settings {
                    release_namespace: namespace.clone(),
                    ca_secret,
                    client_secret: client_identity_secret,
                    namespaces: one_or_more(certificate_namespaces, &namespace),
                    cluster_domain,
                    owner_service_account,
                }
            }),
            namespace,
            namespaces: namespaces.clone(),
            lease: sync_lease,
            shards: sync_shards,
            store_requeue_interval,
            generator_grace,
            controller_class,
            cluster_stores: enable_cluster_store_reconciler,
            extended_metric_labels: enable_extended_metric_labels,
            cluster_external_secrets: enable_cluster_external_secret_reconciler,
            concurrency: sync_concurrency,
            store_concurrency: sync_store_concurrency,
            generic_targets: unsafe_allow_generic_targets,
        });
        let node = if has_node {
            Some(node::Settings {
                node_name: node_name.ok_or_else(|| {
                    Error::Configuration(String::from("the role node needs --node-name"))
                })?,
                kubelet_root,
                driver_name: csi_driver_name,
                allowed_namespaces: csi_allowed_namespaces,
                namespaces: namespaces.clone(),
                selinux: csi_selinux,
                require_noswap: csi_require_noswap,
                max_total_bytes: csi_max_total_bytes,
                generation_grace: csi_generation_grace,
                rotation_events: csi_rotation_events,
                generator_grace,
                metrics_per_volume: csi_metrics_per_volume,
                rules: Rules {
                    inline_data: csi_inline_data,
                    min_refresh: csi_min_refresh,
                    ..Rules::default()
                },
            })
        } else {
            None
        };
        Ok(Self {
            roles,
            namespaces,
            admin_address,
            access,
            delimiters: Delimiters {
                left: template_left_delimiter,
                right: template_right_delimiter,
            },
            node,
            sync,
        })
    }
}

fn one_or_more(names: Vec<String>, default: &str) -> BTreeSet<String> {
    if names.is_empty() {
        BTreeSet::from([default.to_owned()])
    } else {
        names.into_iter().collect()
    }
}

/// The name of this process in the election: readable, and new with every start.
fn process_identity(node_name: Option<&str>) -> String {
    let place = node_name.map_or_else(
        || std::env::var("HOSTNAME").unwrap_or_else(|_| String::from("agent")),
        str::to_owned,
    );
    format!("{place}_{:08x}", rand::random::<u32>())
}
