//! What an agent exposes, as a whole: every series of every part, held against its documentation.

use prometheus_client::encoding::text::encode;
use prometheus_client::registry::Registry;

use crate::documented::assert_documented;
use crate::passes::Passes;
use crate::providers::ProviderMetrics;
use crate::stores::validation::StoreMetrics;
use crate::{certificates, cluster_external_secrets, leader, runtime, shards, sync, volumes};

/// The series that a registry exposes, without comments and in order.
pub(crate) fn series(registry: &Registry) -> Vec<String> {
    let mut text = String::new();
    encode(&mut text, registry).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    let mut lines: Vec<_> = lines.map(str::to_owned).collect();
    lines.sort();
    lines
}

/// Where an agent registers what it exposes.
const WIRING: [&str; 4] = [
    include_str!("runtime.rs"),
    include_str!("runtime/access.rs"),
    include_str!("runtime/sync.rs"),
    include_str!("runtime/node.rs"),
];

#[test]
fn every_series_of_an_agent_is_documented_with_its_type_and_labels() {
    // externalsecret.md 8.1; provider-protocol.md 8.4, 11
    let mut registry = Registry::default();
    runtime::register_build(&mut registry);
    let providers = ProviderMetrics::default();
    providers.register(&mut registry);
    providers.show_all();
    let certificates = certificates::Metrics::default();
    certificates.register(&mut registry);
    certificates.show_all();
    let stores = StoreMetrics::default();
    stores.register(&mut registry);
    stores.show_all();
    let sync = sync::Metrics::default();
    sync.register(&mut registry);
    sync.show_all();
    let sets = cluster_external_secrets::Metrics::default();
    sets.register(&mut registry);
    sets.show_all();
    let passes = Passes::default();
    passes.register(&mut registry);
    passes.show_all();
    volumes::Metrics::default().register(&mut registry);
    leader::Metrics::default().register(&mut registry);
    shards::Metrics::default().register(&mut registry);
    let mut text = String::new();
    encode(&mut text, &registry).unwrap();
    assert_documented("The agent", &text);
    // A part whose series are not in this test is not documented either. The volumes' are tested beside them.
    let calls = [".register(registry)", ".register(&mut registry)"];
    let registering: usize = WIRING
        .iter()
        .flat_map(|source| calls.map(|call| source.matches(call).count()))
        .sum();
    assert_eq!(registering, 9 + 1, "another part registers series");
}
