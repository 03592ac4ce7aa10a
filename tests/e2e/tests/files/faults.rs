//! What goes wrong costs no content: neither a provider that is away nor a process that is killed.

use std::path::Path;
use std::time::Duration;

use anyhow::{Result, ensure};
use latchkey_cluster::eventually;
use serde_json::json;

use crate::rig::{Machine, SOON, pair};

#[tokio::test]
async fn files_outlive_their_provider_and_are_refreshed_when_it_is_back() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let mut provider = machine.provider().await?;
    let config = machine.config(&provider, &[machine.entry("db", "db")]);
    machine.configure(&config)?;
    let files = machine.start().await?;
    machine.shows("db", "one").await?;
    files.answers(200).await?;

    provider.kill().await?;
    files.answers(503).await?;
    ensure!(pair(&machine.out("db"))? == ("one".into(), "one".into()));
    let (_, metrics) = files.get("/metrics").await?;
    ensure!(metrics.contains("latchkey_files_entry_current{entry=\"db\"} 0"));

    // A restart meanwhile finds no provider and keeps what is there.
    files.kill().await?;
    let files = machine.start().await?;
    eventually(SOON, "the failure is told", async || {
        // The process before told it once, too.
        let told = files.log()?.matches("files are not current").count();
        Ok((told >= 2).then_some(()))
    })
    .await?;
    ensure!(pair(&machine.out("db"))? == ("one".into(), "one".into()));

    machine.values(&[("db", "two")])?;
    provider.restore().await?;
    machine.shows("db", "two").await?;
    files.answers(200).await?;
    Ok(())
}

/// One entry's failure is its own: a remote secret that is missing, a directory that is somebody's.
#[tokio::test]
async fn an_entry_that_fails_disturbs_no_other() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let provider = machine.provider().await?;
    let taken = machine.out("taken");
    std::fs::create_dir(&taken)?;
    std::fs::write(taken.join("a"), "somebody's")?;
    let entries = [
        machine.entry("absent", "no-such-key"),
        machine.entry("taken", "db"),
        machine.entry("db", "db"),
    ];
    machine.configure(&machine.config(&provider, &entries))?;
    let files = machine.start().await?;
    machine.shows("db", "one").await?;
    eventually(SOON, "the failing ones are named", async || {
        let (code, text) = files.get("/readyz").await?;
        Ok((code == 503 && text.contains("not current: absent, taken")).then_some(()))
    })
    .await?;
    ensure!(std::fs::read_to_string(taken.join("a"))? == "somebody's");
    machine.values(&[("db", "two"), ("no-such-key", "late")])?;
    machine.shows("db", "two").await?;
    // It is tried again by itself.
    machine.shows("absent", "late").await?;
    Ok(())
}

/// `kill -9` at any moment, as often as one likes: what a reader sees is whole, and in the end nothing is left over.
#[tokio::test]
async fn a_kill_at_any_moment_leaves_a_whole_directory() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "value-0")])?;
    let provider = machine.provider().await?;
    machine.configure(&machine.config(&provider, &[machine.entry("db", "db")]))?;
    let directory = machine.out("db");
    let mut files = machine.start().await?;
    machine.shows("db", "value-0").await?;
    for round in 1..=12_u64 {
        machine.values(&[("db", &format!("value-{round}"))])?;
        files.kill().await?;
        whole(&directory)?;
        files = machine.start().await?;
        // Another moment of its start and of its first switch in each round.
        tokio::time::sleep(Duration::from_millis(round * 23)).await;
    }
    machine.shows("db", "value-12").await?;
    whole(&directory)?;
    eventually(SOON, "the generations before are gone", async || {
        Ok((entries(&directory)? == ["..data", "a", "b", "one generation"]).then_some(()))
    })
    .await?;
    ensure!(files.stop().await? == Some(0));
    Ok(())
}

fn whole(directory: &Path) -> Result<()> {
    let (a, b) = pair(directory)?;
    ensure!(a == b && a.starts_with("value-"), "mixed: {a:?} and {b:?}");
    Ok(())
}

fn entries(directory: &Path) -> Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let name = entry?.file_name().to_string_lossy().into_owned();
        let is_generation = name.starts_with("..") && name != "..data";
        names.push(if is_generation {
            "one generation".to_owned()
        } else {
            name
        });
    }
    names.sort();
    Ok(names)
}

#[tokio::test]
async fn an_action_that_fails_costs_nothing_and_is_told() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let provider = machine.provider().await?;
    let mut entry = machine.entry("db", "db");
    entry["onChange"] = json!({"command": ["/bin/false"]});
    machine.configure(&machine.config(&provider, &[entry]))?;
    let files = machine.start().await?;
    machine.shows("db", "one").await?;
    machine.values(&[("db", "two")])?;
    machine.shows("db", "two").await?;
    eventually(SOON, "both failures are counted", async || {
        let (_, metrics) = files.get("/metrics").await?;
        let failed = "latchkey_files_actions_total{entry=\"db\",result=\"error\"} 2";
        Ok(metrics.contains(failed).then_some(()))
    })
    .await?;
    files.answers(200).await?;
    Ok(())
}
