//! Metrics of the plugin (csi.md 10). Labels are small closed sets; no pod, namespace or object appears in them.

use std::sync::Arc;
use std::time::Duration;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::{ConstGauge, Gauge};
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::{Registry, Unit};
use tokio::time::Instant;
use tonic::Code;

use crate::board::{Board, VolumeHealth};

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
        registry.register_collector(Box::new(VolumeCollector(self.board.clone())));
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

/// Name of a code as gRPC spells it.
fn code_name(code: Code) -> &'static str {
    match code {
        Code::Ok => "OK",
        Code::Cancelled => "CANCELLED",
        Code::Unknown => "UNKNOWN",
        Code::InvalidArgument => "INVALID_ARGUMENT",
        Code::DeadlineExceeded => "DEADLINE_EXCEEDED",
        Code::NotFound => "NOT_FOUND",
        Code::AlreadyExists => "ALREADY_EXISTS",
        Code::PermissionDenied => "PERMISSION_DENIED",
        Code::ResourceExhausted => "RESOURCE_EXHAUSTED",
        Code::FailedPrecondition => "FAILED_PRECONDITION",
        Code::Aborted => "ABORTED",
        Code::OutOfRange => "OUT_OF_RANGE",
        Code::Unimplemented => "UNIMPLEMENTED",
        Code::Internal => "INTERNAL",
        Code::Unavailable => "UNAVAILABLE",
        Code::DataLoss => "DATA_LOSS",
        Code::Unauthenticated => "UNAUTHENTICATED",
    }
}

/// Counts the volumes at each scrape.
#[derive(Debug)]
struct VolumeCollector(Arc<Board>);

impl Collector for VolumeCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), std::fmt::Error> {
        let volumes = self.0.snapshot();
        let now = Instant::now();
        let ages = age_histogram();
        for age in volumes.iter().filter_map(|volume| volume.last_success) {
            ages.observe(now.saturating_duration_since(age).as_secs_f64());
        }
        let mut states = encoder.encode_descriptor(
            "latchkey_csi_volumes",
            "Volumes of this node",
            None,
            MetricType::Gauge,
        )?;
        for health in [
            VolumeHealth::Ok,
            VolumeHealth::Stale,
            VolumeHealth::Lost,
            VolumeHealth::Pending,
        ] {
            let count = volumes
                .iter()
                .filter(|volume| volume.health == health)
                .count();
            let labels = [("state", health.as_str())];
            ConstGauge::new(as_gauge(count)).encode(states.encode_family(&labels)?)?;
        }
        for (name, help, unit, value) in [
            (
                "latchkey_csi",
                "Size of all volumes",
                Some(&Unit::Bytes),
                volumes.iter().map(|volume| volume.bytes).sum::<u64>(),
            ),
            (
                "latchkey_csi_inodes",
                "Inodes of all volumes",
                None,
                volumes.iter().map(|volume| volume.inodes).sum::<u64>(),
            ),
        ] {
            let gauge = ConstGauge::new(i64::try_from(value).unwrap_or(i64::MAX));
            gauge.encode(encoder.encode_descriptor(name, help, unit, MetricType::Gauge)?)?;
        }
        let name = "latchkey_csi_volume_age";
        let help = "Time since the content of each volume was last known to be current";
        ages.encode(encoder.encode_descriptor(
            name,
            help,
            Some(&Unit::Seconds),
            MetricType::Histogram,
        )?)
    }
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
    use crate::board::Board;

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
}
