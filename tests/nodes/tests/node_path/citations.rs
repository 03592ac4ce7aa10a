//! Each scenario of cluster.md 7 is cited by a test here, by its number.

use anyhow::{Result, ensure};

const SOURCES: [&str; 11] = [
    include_str!("charts.rs"),
    include_str!("crowd.rs"),
    include_str!("disturbances.rs"),
    include_str!("failures.rs"),
    include_str!("identity.rs"),
    include_str!("kills.rs"),
    include_str!("mounts.rs"),
    include_str!("nodes.rs"),
    include_str!("peers.rs"),
    include_str!("pods.rs"),
    include_str!("roots.rs"),
];

#[test]
fn every_scenario_is_cited_by_a_test() -> Result<()> {
    let documentation: String = SOURCES
        .iter()
        .flat_map(|source| source.lines())
        .filter(|line| line.trim_start().starts_with("///"))
        .collect();
    let is_cited = |scenario: u32| {
        let number = format!("7.{scenario}");
        documentation.split(&number).skip(1).any(|rest| {
            let next = rest.chars().next();
            next.is_none_or(|next| !next.is_ascii_digit())
        })
    };
    for scenario in 1..=18 {
        ensure!(is_cited(scenario), "nothing cites cluster.md 7.{scenario}");
    }
    Ok(())
}
