//! The role `node`: the CSI plugin with ExternalSecrets as its content.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use futures::FutureExt as _;
use kube::Client;
use kube::core::Selector;
use kube::runtime::events::{Recorder, Reporter};
use latchkey_csi::config::{CONTAINER_FILE_LABEL, Selinux};
use latchkey_csi::events::Event;
use latchkey_csi::{Plugin, PluginHandle};
use latchkey_engine::template::Renderer;
use prometheus_client::registry::Registry;
use tokio::time::{sleep, timeout};
use tokio_util::sync::CancellationToken;
use tracing::{error, warn};

use super::{Parts, chain, driver};
use crate::admin::{Health, Scope};
use crate::args::SelinuxMode;
use crate::generators::journal::Journal;
use crate::namespaces::WatchNamespaces;
use crate::providers::{PodTokens, ProviderSource, Providers};
use crate::stores::{WatchReader, WatchSettings};
use crate::volumes::namespaces::AllowedNamespaces;
use crate::volumes::{self, Rules, Volumes};

/// How often the CSIDriver object is looked at.
const DRIVER_INTERVAL: Duration = Duration::from_secs(60);

/// Longest wait for one answer of the API server.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// What the role needs to know.
pub(super) struct Settings {
    pub(super) node_name: String,
    pub(super) kubelet_root: PathBuf,
    pub(super) driver_name: String,
    /// Whose pods may mount volumes; all if there is none.
    pub(super) allowed_namespaces: Option<AllowedNamespaces>,
    /// Where this agent works at all.
    pub(super) namespaces: WatchNamespaces,
    pub(super) selinux: SelinuxMode,
    pub(super) require_noswap: bool,
    /// Of all volumes together.
    pub(super) max_total_bytes: u64,
    /// How long the previous files of a volume stay.
    pub(super) generation_grace: Duration,
    pub(super) rules: Rules,
    pub(super) rotation_events: bool,
    /// How long replaced values of generators stay; `None` if what generators leave is not kept.
    pub(super) generator_grace: Option<Duration>,
    pub(super) metrics_per_volume: bool,
}

/// The role before it runs.
pub(super) struct Node {
    client: Client,
    driver_name: String,
    namespaces: WatchNamespaces,
    plugin: Plugin,
    node_name: String,
    /// Labels of the namespaces whose pods may mount volumes.
    selector: Option<Selector>,
    rules: Rules,
    rotation_events: bool,
    journal: Option<Arc<Journal>>,
    metrics: volumes::Metrics,
    providers: Arc<Providers>,
    renderer: Arc<Renderer>,
}

// === impl Node ===

impl Node {
    /// Makes the plugin and registers its series and checks.
    pub(super) fn new(
        client: Client,
        settings: Settings,
        providers: Arc<Providers>,
        renderer: Arc<Renderer>,
        registry: &mut Registry,
        health: &Health,
    ) -> Self {
        let Settings {
            node_name,
            kubelet_root,
            driver_name,
            allowed_namespaces,
            namespaces,
            selinux,
            require_noswap,
            max_total_bytes,
            generation_grace,
            rules,
            rotation_events,
            generator_grace,
            metrics_per_volume,
        } = settings;
        let mut config = latchkey_csi::Config::new(node_name.clone(), env!("CARGO_PKG_VERSION"));
        config.kubelet_root = kubelet_root;
        config.driver_name.clone_from(&driver_name);
        config.require_noswap = require_noswap;
        config.max_volume_bytes = rules.max_size;
        config.max_total_bytes = max_total_bytes;
        config.generation_grace = generation_grace;
        let (names, selector) = mountable(allowed_namespaces, &namespaces);
        config.allowed_namespaces = names;
        config.selinux = match selinux {
            SelinuxMode::Context => Selinux::Context(CONTAINER_FILE_LABEL.to_owned()),
            SelinuxMode::Relabel => Selinux::Relabel,
            SelinuxMode::Off => Selinux::Off,
        };
        config.metrics_per_volume = metrics_per_volume;
        let generated = config.plugin_directory().join("generated");
        let journal = generator_grace.map(|grace| Journal::open(generated, grace));
        let plugin = Plugin::new(config);
        plugin.register(registry);
        let metrics = volumes::Metrics::default();
        metrics.register(registry);
        let handle = plugin.handle();
        let live = handle.clone();
        health.register_question(Scope::Live, "csi", move || {
            let live = live.clone();
            async move { live.live().await }.boxed()
        });
        health.register_question(Scope::Ready, "csi", move || {
            futures::future::ready(handle.ready()).boxed()
        });
        Self {
            client,
            driver_name,
            namespaces,
            plugin,
            node_name,
            selector,
            rules,
            rotation_events,
            journal,
            metrics,
            providers,
            renderer,
        }
    }

    /// Starts everything the role consists of.
    pub(super) fn start(self, parts: &mut Parts) {
        let Self {
            client,
            driver_name,
            namespaces,
            plugin,
            node_name,
            selector,
            rules,
            rotation_events,
            journal,
            metrics,
            providers,
            renderer,
        } = self;
        let stop = parts.stop.clone();
        // Without a ClusterRole nobody may read the CSIDriver object: whoever manages it answers for it.
        let looks_at_driver = namespaces.is_all();
        let reader = WatchReader::new(client.clone(), WatchSettings::default(), &stop);
        let reader = Arc::new(reader.limited_to(namespaces));
        let pods = Arc::new(PodTokens::new(node_name.as_str()));
        let source = ProviderSource::for_volumes(Arc::clone(&reader), providers, Arc::clone(&pods));
        let source = Arc::new(source);
        let pod_tokens = Arc::clone(&pods);
        let tokens_stop = stop.clone();
        parts.spawn("the tokens of pods", async move {
            pod_tokens.maintain(tokens_stop).await;
            Ok(())
        });
        let reporter = Reporter {
            controller: String::from("latchkey"),
            instance: Some(node_name.clone()),
        };
        let recorder = Recorder::new(client.clone(), reporter);
        let mut volumes = Volumes::new(
            client.clone(),
            source,
            renderer,
            pods,
            volumes::Config {
                rules,
                rotation_events,
                node_name,
                journal,
                metrics,
                ..volumes::Config::default()
            },
            recorder,
            stop.clone(),
        );
        if let Some(selector) = selector {
            volumes = volumes.only_in(selector, reader);
        }
        let listening = volumes.clone();
        let plugin = plugin.on_event(move |event| {
            log(&event);
            listening.hear(&event);
        });
        let handle = plugin.handle();
        let plugin_stop = stop.clone();
        parts.spawn("the CSI plugin", async move {
            plugin
                .run(volumes.clone(), plugin_stop)
                .await
                .map_err(|error| chain(&error))?;
            volumes.join().await;
            Ok(())
        });
        if looks_at_driver {
            parts.spawn("the look at the CSIDriver object", async move {
                look_at_driver(client, &driver_name, &handle, stop).await;
                Ok(())
            });
        }
    }
}

/// The names of the namespaces whose pods may mount volumes, `None` for all, and the labels that they must have besides.
fn mountable(
    allowed: Option<AllowedNamespaces>,
    namespaces: &WatchNamespaces,
) -> (Option<BTreeSet<String>>, Option<Selector>) {
    match allowed {
        None => (namespaces.names().cloned(), None),
        Some(AllowedNamespaces::Named(names)) => {
            let names = names.into_iter();
            let names = names.filter(|name| namespaces.contains(name)).collect();
            (Some(names), None)
        }
        Some(AllowedNamespaces::Labelled(selector)) => {
            (namespaces.names().cloned(), Some(selector))
        }
    }
}

/// Tells the plugin whether kubelet vouches for the pods' identities (csi.md R7), and how it hands over their tokens. While the
/// object cannot be read, the last answer holds.
async fn look_at_driver(
    client: Client,
    name: &str,
    plugin: &PluginHandle,
    stop: CancellationToken,
) {
    let api = driver::api(client);
    let mut vouched = true;
    loop {
        let answer = tokio::select! {
            () = stop.cancelled() => return,
            answer = timeout(REQUEST_TIMEOUT, api.get_opt(name)) => answer,
        };
        if let Ok(Ok(Some(driver))) = answer {
            let vouches = driver::vouches(&driver);
            if vouches != vouched {
                warn!(
                    name,
                    pod_info_on_mount = vouches,
                    "the CSIDriver object changed"
                );
            }
            vouched = vouches;
            plugin.set_pod_info_on_mount(vouches);
            plugin.set_token_delivery(driver::token_delivery(&driver));
        }
        tokio::select! {
            () = stop.cancelled() => return,
            () = sleep(DRIVER_INTERVAL) => {}
        }
    }
}

/// What concerns the node, or could not be told as an event of a pod, goes to the log.
fn log(event: &Event) {
    match event {
        Event::VolumeLost { request } => {
            warn!(
                namespace = request.namespace,
                pod = request.pod_name,
                "the mount of a volume vanished"
            );
        }
        Event::SwapExposed => warn!("swap is on and tmpfs cannot be kept out of it"),
        Event::RegistrationFailed { message } => {
            error!("kubelet refused the registration: {message}")
        }
        Event::MountFailed { .. }
        | Event::Rotated { .. }
        | Event::Stale { .. }
        | Event::Fresh { .. } => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn volumes_are_for_pods_of_the_allowed_namespaces_in_which_the_agent_works() {
        for (allowed, watched, expected) in [
            (None, &[][..], None),
            (Some("a"), &[], Some(&["a"][..])),
            (None, &["a", "b"], Some(&["a", "b"])),
            (Some("b,c"), &["a", "b"], Some(&["b"])),
            (Some("c"), &["a"], Some(&[])),
        ] {
            let namespaces = WatchNamespaces::of(watched.iter().copied());
            let allowed = allowed.map(|text| AllowedNamespaces::parse(text).unwrap());
            let expected: Option<BTreeSet<String>> =
                expected.map(|names| names.iter().map(|&name| name.to_owned()).collect());
            assert_eq!(mountable(allowed, &namespaces), (expected, None));
        }
        let labels = AllowedNamespaces::parse("team=a").unwrap();
        let (names, selector) = mountable(Some(labels), &WatchNamespaces::all());
        assert!(names.is_none() && selector.is_some());
    }
}
