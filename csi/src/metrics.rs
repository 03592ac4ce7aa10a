//! Metrics of the plugin (csi.md 10). Labels are small closed sets; no pod, namespace or object appears in them.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::code_name;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tonic::Code;

use crate::board::{Board, VolumeHealth, VolumeStatus};

/// Labels in the order that they are written.
type Labels<const COUNT: usize> = [(&'static str, &'static str); COUNT];

/// Calls of kubelet that are counted.
pub(crate) const RPCS: [&str; 10] = [
    "GetInfo",
    "NotifyRegistrationStatus",
    "GetPluginInfo",
    "GetPluginCapabilities",
    "Probe",
    "NodeGetInfo",
    "NodeGetCapabilities",
    "NodePublishVolume",
    "NodeUnpublishVolume",
    "NodeGetVolumeStats",
];

/// Counters and gauges of the plugin; clones share them.
#[derive(Clone, Debug)]
pub(crate) struct Metrics {
    operations: Family<Labels<2>, Counter>,
    operation_seconds: Family<Labels<2>, Histogram, fn() -> Histogram>,
    rotations: Family<Labels<2>, Counter>,
    kubelet_calls: Family<Labels<1>, Counter>,
    orphans: Family<Labels<1>, Counter>,
    mount_api: Family<Labels<1>, Gauge>,
    sockets_displaced: Family<Labels<1>, Gauge>,
    pub(crate) registered: Gauge,
    pub(crate) socket_recreated: Counter,
    pub(crate) stuck_operations: Gauge,
    pub(crate) adopted: Counter,
    pub(crate) swap_exposed: Gauge,
    board: Arc<Board>,
    per_volume: bool,
}

impl Metrics {
    pub(crate) fn new(board: Arc<Board>) -> Self {
        let metrics = Self {
            operations: Family::default(),
            operation_seconds: Family::new_with_constructor(
                operation_histogram as fn() -> Histogram,
            ),
            rotations: Family::default(),
            kubelet_calls: Family::default(),
            orphans: Family::default(),
            mount_api: Family::default(),
            sockets_displaced: Family::default(),
            registered: Gauge::default(),
            socket_recreated: Counter::default(),
            stuck_operations: Gauge::default(),
            adopted: Counter::default(),
            swap_exposed: Gauge::default(),
            board,
            per_volume: false,
        };
        // Closed sets exist from the start.
        for socket in ["csi", "registration"] {
            drop(metrics.socket_displaced(socket));
        }
        for action in ["unpublished", "failed"] {
            drop(metrics.orphans.get_or_create(&[("action", action)]));
        }
        for rpc in RPCS {
            drop(metrics.kubelet_calls.get_or_create(&[("rpc", rpc)]));
        }
        for result in ["changed", "unchanged", "failed"] {
            for trigger in ["interval", "change", "push", "republish", "repair"] {
                let labels = [("result", result), ("trigger", trigger)];
                drop(metrics.rotations.get_or_create(&labels));
            }
        }
        metrics
    }

    /// Whether series about volumes tell pods apart.
    pub(crate) fn per_volume(self, per_volume: bool) -> Self {
        Self { per_volume, ..self }
    }

    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "latchkey_csi_operations",
            "Finished calls of the Node service",
            self.operations.clone(),
        );
        registry.register(
            "latchkey_csi_operation_seconds",
            "Duration of Node calls",
            self.operation_seconds.clone(),
        );
        registry.register(
            "latchkey_csi_rotations",
            "Content that arrived for mounted volumes",
            self.rotations.clone(),
        );
        registry.register(
            "latchkey_csi_kubelet_calls",
            "Calls on the plugin's sockets",
            self.kubelet_calls.clone(),
        );
        registry.register(
            "latchkey_csi_orphans",
            "Volumes that kubelet forgot and the janitor dealt with",
            self.orphans.clone(),
        );
        registry.register(
            "latchkey_csi_mount_api",
            "System calls that make the mounts",
            self.mount_api.clone(),
        );
        registry.register(
            "latchkey_csi_registered",
            "Whether kubelet took the plugin",
            self.registered.clone(),
        );
        registry.register(
            "latchkey_csi_socket_recreated",
            "Sockets that somebody removed and the plugin made anew",
            self.socket_recreated.clone(),
        );
        registry.register(
            "latchkey_csi_stuck_ops",
            "File system calls that hang",
            self.stuck_operations.clone(),
        );
        registry.register(
            "latchkey_csi_adopted",
            "Volumes taken over from an earlier process",
            self.adopted.clone(),
        );
        registry.register(
            "latchkey_csi_swap_exposed",
            "Whether volumes can reach swap",
            self.swap_exposed.clone(),
        );
        registry.register(
            "latchkey_csi_socket_displaced",
            "Whether another process serves a socket of the plugin",
            self.sockets_displaced.clone(),
        );
        registry.register_collector(Box::new(VolumeCollector {
            board: self.board.clone(),
            per_volume: self.per_volume,
        }));
    }

    pub(crate) fn operation(&self, op: &'static str, first: bool, code: Code, elapsed: Duration) {
        self.operations
            .get_or_create(&[("op", op), ("code", code_name(code))])
            .inc();
        let first = if first { "true" } else { "false" };
        self.operation_seconds
            .get_or_create(&[("op", op), ("first", first)])
            .observe(elapsed.as_secs_f64());
    }

    pub(crate) fn rotation(&self, result: &'static str, trigger: &'static str) {
        self.rotations
            .get_or_create(&[("result", result), ("trigger", trigger)])
            .inc();
    }

    pub(crate) fn kubelet_call(&self, rpc: &'static str) {
        self.kubelet_calls.get_or_create(&[("rpc", rpc)]).inc();
    }

    pub(crate) fn orphan(&self, action: &'static str) {
        self.orphans.get_or_create(&[("action", action)]).inc();
    }

    /// Whether somebody else serves the socket `name`.
    pub(crate) fn socket_displaced(&self, name: &'static str) -> Gauge {
        let gauge = self.sockets_displaced.get_or_create(&[("socket", name)]);
        gauge.clone()
    }

    pub(crate) fn mount_api(&self, kind: &'static str) {
        self.mount_api.get_or_create(&[("kind", kind)]).set(1);
    }
}

fn operation_histogram() -> Histogram {
    Histogram::new([
        0.001, 0.002, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0,
        120.0,
    ])
}

fn age_histogram() -> Histogram {
    Histogram::new([
        60.0, 300.0, 900.0, 3600.0, 7200.0, 14_400.0, 43_200.0, 86_400.0, 604_800.0,
    ])
}

/// Looks at the volumes at each scrape.
#[derive(Debug)]
struct VolumeCollector {
    board: Arc<Board>,
    /// Whether pods are told apart.
    per_volume: bool,
}

/// Labels of a series about volumes; their values are not known before.
type VolumeLabels = Vec<(&'static str, String)>;

impl VolumeCollector {
    /// The volumes, by the labels of their series.
    fn groups(&self) -> BTreeMap<VolumeLabels, Vec<VolumeStatus>> {
        let volumes = self.board.snapshot();
        if !self.per_volume {
            return BTreeMap::from([(VolumeLabels::new(), volumes)]);
        }
        let mut groups: BTreeMap<_, Vec<_>> = BTreeMap::new();
        for volume in volumes {
            let pod = volume.request.as_deref();
            let pod = pod.map(|pod| (pod.namespace.clone(), pod.pod_name.clone()));
            let (namespace, name) = pod.unwrap_or_default();
            let labels = vec![("namespace", namespace), ("name", name)];
            groups.entry(labels).or_default().push(volume);
        }
        groups
    }
}

impl Collector for VolumeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let groups = self.groups();
        let now = Instant::now();
        let mut states = encoder.encode_descriptor(
            "latchkey_csi_volumes",
            "Volumes of this node",
            None,
            MetricType::Gauge,
        )?;
        for (labels, volumes) in &groups {
            for health in VolumeHealth::ALL {
                let of = volumes.iter().filter(|volume| volume.health == health);
                let mut all = vec![("state", health.as_str().to_owned())];
                all.extend_from_slice(labels);
                ConstGauge::new(as_gauge(of.count())).encode(states.encode_family(&all)?)?;
            }
        }
        type Size = fn(&VolumeStatus) -> u64;
        let sizes: [(_, _, _, Size); 2] = [
            (
                "latchkey_csi",
                "Size of all volumes",
                Some(&Unit::Bytes),
                |volume| volume.bytes,
            ),
            (
                "latchkey_csi_inodes",
                "Inodes of all volumes",
                None,
                |volume| volume.inodes,
            ),
        ];
        for (name, help, unit, size) in sizes {
            let series = encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?;
            encode_groups(series, &groups, |volumes| {
                let sum = volumes.iter().map(size).sum::<u64>();
                ConstGauge::new(i64::try_from(sum).unwrap_or(i64::MAX))
            })?;
        }
        let name = "latchkey_csi_volume_age";
        let help = "Time since the content of each volume was last known to be current";
        let unit = Some(&Unit::Seconds);
        let series = encoder.encode_descriptor(name, help, unit, MetricType::Histogram)?;
        encode_groups(series, &groups, |volumes| {
            let ages = age_histogram();
            for age in volumes.iter().filter_map(|volume| volume.last_success) {
                ages.observe(now.saturating_duration_since(age).as_secs_f64());
            }
            ages
        })
    }
}

/// Writes one metric for each group.
fn encode_groups<M: EncodeMetric>(
    mut series: MetricEncoder<'_>,
    groups: &BTreeMap<VolumeLabels, Vec<VolumeStatus>>,
    metric: impl Fn(&[VolumeStatus]) -> M,
) -> Result<(), std::fmt::Error> {
    for (labels, volumes) in groups {
        // The only group then; a family without labels would be written with empty braces.
        if labels.is_empty() {
            return metric(volumes).encode(series);
        }
        metric(volumes).encode(series.encode_family(labels)?)?;
    }
    Ok(())
}

fn as_gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;
    use std::time::Duration;

    use prometheus_client::encoding::text::encode;
    use prometheus_client::registry::Registry;
    use tonic::Code;

    use super::Metrics;
    use crate::backend::VolumeRequest;
    use crate::board::{Board, VolumeHealth, VolumeStatus};
    use crate::target::Target;

    /// csi.md 10: the names that dashboards rely on.
    #[test]
    fn series_have_the_names_of_the_specification() {
        let metrics = Metrics::new(Arc::new(Board::default()));
        let mut registry = Registry::default();
        metrics.register(&mut registry);
        metrics.operation("publish", true, Code::Ok, Duration::from_millis(3));
        metrics.orphan("unpublished");
        metrics.mount_api("fsopen");
        let mut text = String::new();
        encode(&mut text, &registry).unwrap();
        for series in [
            "latchkey_csi_operations_total{op=\"publish\",code=\"OK\"} 1",
            "latchkey_csi_operation_seconds_count{op=\"publish\",first=\"true\"} 1",
            "latchkey_csi_volumes{state=\"ok\"} 0",
            "latchkey_csi_volume_age_seconds_count",
            "latchkey_csi_rotations_total{result=\"changed\",trigger=\"change\"} 0",
            "latchkey_csi_bytes 0",
            "latchkey_csi_inodes 0",
            "latchkey_csi_registered 0",
            "latchkey_csi_socket_recreated_total 0",
            "latchkey_csi_kubelet_calls_total{rpc=\"NodePublishVolume\"} 0",
            "latchkey_csi_orphans_total{action=\"unpublished\"} 1",
            "latchkey_csi_stuck_ops 0",
            "latchkey_csi_adopted_total 0",
            "latchkey_csi_swap_exposed 0",
            "latchkey_csi_socket_displaced{socket=\"csi\"} 0",
            "latchkey_csi_mount_api{kind=\"fsopen\"} 1",
        ] {
            assert!(text.contains(series), "{series} is missing in\n{text}");
        }
        crate::documented::assert_documented("CSI volumes", &text);
    }

    /// csi.md 10, label rule: names of pods only by request, and then the sums stay what they were.
    #[test]
    fn pods_are_told_apart_by_request_only() {
        let board = Arc::new(Board::default());
        for (uid, health) in [("a", VolumeHealth::Ok), ("b", VolumeHealth::Stale)] {
            let path = format!("/k/pods/{uid}/volumes/kubernetes.io~csi/v/mount");
            let target = Target::parse(&path, "/k/pods", None).unwrap();
            let request = VolumeRequest {
                volume_id: "id".to_owned(),
                namespace: "shop".to_owned(),
                pod_name: format!("web-{uid}"),
                pod_uid: uid.to_owned(),
                service_account: "s".to_owned(),
                attributes: std::collections::BTreeMap::new(),
            };
            let status = VolumeStatus {
                health,
                bytes: 4096,
                last_success: Some(tokio::time::Instant::now()),
                ..VolumeStatus::pending(&request)
            };
            board.set(&target, status);
        }
        let shown = |per_volume| {
            let mut registry = Registry::default();
            Metrics::new(board.clone())
                .per_volume(per_volume)
                .register(&mut registry);
            let mut text = String::new();
            encode(&mut text, &registry).unwrap();
            text
        };
        let plain = shown(false);
        assert!(
            !plain.contains("shop") && !plain.contains("web-a"),
            "{plain}"
        );
        for series in [
            "latchkey_csi_volumes{state=\"stale\"} 1",
            "latchkey_csi_bytes 8192",
            "latchkey_csi_volume_age_seconds_count 2",
        ] {
            assert!(plain.contains(series), "{series} is missing in\n{plain}");
        }
        let detailed = shown(true);
        for series in [
            "latchkey_csi_volumes{state=\"ok\",namespace=\"shop\",name=\"web-b\"} 0",
            "latchkey_csi_volumes{state=\"stale\",namespace=\"shop\",name=\"web-b\"} 1",
            "latchkey_csi_bytes{namespace=\"shop\",name=\"web-a\"} 4096",
            "latchkey_csi_volume_age_seconds_count{namespace=\"shop\",name=\"web-a\"} 1",
        ] {
            assert!(
                detailed.contains(series),
                "{series} is missing in\n{detailed}"
            );
        }
    }
}
