//! Files appear, changes arrive whole, and whoever waits for them is told once.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use anyhow::{Result, ensure};
use latchkey_cluster::eventually;
use serde_json::json;

use crate::rig::{Machine, SOON, mode, pair};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn files_appear_with_their_modes_and_a_change_arrives_whole_and_is_told_once() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "value-0")])?;
    let provider = machine.provider().await?;
    let told = machine.path("told");
    let mut entry = machine.entry("db", "db");
    entry["onChange"] = json!({"command": [
        "/bin/sh", "-c", r#"echo "$LATCHKEY_ENTRY $(cat "$LATCHKEY_DIRECTORY/a")" >> "$0""#, told,
    ]});
    let mut template = machine.entry("app", "db");
    template["group"] = json!(7);
    template["items"] = json!([
        {"key": "app.conf", "path": "etc/app.conf"}, {"key": "a", "path": "key", "mode": "0600"},
    ]);
    template["spec"]["target"] = json!({"template": {
        "data": {"a": "{{ .a }}"},
        "templateFrom": [{"literal": "app.conf: |\n  password = {{ .b }}\n"}],
    }});
    machine.configure(&machine.config(&provider, &[entry, template]))?;

    let files = machine.start().await?;
    machine.shows("db", "value-0").await?;
    files.answers(200).await?;
    let (db, app) = (machine.out("db"), machine.out("app"));
    ensure!((mode(&db)?, mode(&db.join("a"))?) == (0o2750, 0o400));
    let text = std::fs::read_to_string(app.join("etc/app.conf"))?;
    ensure!(text == "password = value-0\n", "{text:?}");
    ensure!((mode(&app.join("etc/app.conf"))?, mode(&app.join("key"))?) == (0o440, 0o600));
    let owner = std::os::unix::fs::MetadataExt::gid(&std::fs::metadata(app.join("key"))?);
    ensure!(owner == 7, "group {owner}");

    let reader = Reader::start(&db);
    let last = 5;
    for number in 1..=last {
        let value = format!("value-{number}");
        machine.values(&[("db", &value)])?;
        machine.shows("db", &value).await?;
        eventually(SOON, "the command ran", async || {
            let text = std::fs::read_to_string(&told).unwrap_or_default();
            Ok(text.contains(&value).then_some(()))
        })
        .await?;
    }
    let reads = reader.stop()?;
    ensure!(reads > 0, "nothing was read");
    // Some refreshes that find nothing new, counted by the agent.
    let refreshed = "latchkey_files_entry_refreshed_timestamp_seconds{entry=\"db\"} ";
    let (_, before) = files.get("/metrics").await?;
    let line = |text: &str| {
        let found = text.lines().find(|line| line.starts_with(refreshed));
        found.map(str::to_owned)
    };
    eventually(SOON, "another refresh", async || {
        let (_, after) = files.get("/metrics").await?;
        Ok((line(&after) != line(&before)).then_some(()))
    })
    .await?;
    let expected: String = (0..=last).map(|n| format!("db value-{n}\n")).collect();
    ensure!(std::fs::read_to_string(&told)? == expected);
    let (_, metrics) = files.get("/metrics").await?;
    let changes = format!("latchkey_files_changes_total{{entry=\"db\"}} {}", last + 1);
    ensure!(metrics.contains(&changes), "{metrics}");

    let log = files.log()?;
    ensure!(!log.contains("value-"), "a value in the log");
    ensure!(files.stop().await? == Some(0));
    ensure!(pair(&db)?.0 == format!("value-{last}"));
    Ok(())
}

/// Reads the pair over and over, and remembers if it was ever mixed.
struct Reader {
    stop: Arc<AtomicBool>,
    reads: Arc<AtomicUsize>,
    thread: std::thread::JoinHandle<Result<()>>,
}

// === impl Reader ===

impl Reader {
    fn start(directory: &std::path::Path) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let reads = Arc::new(AtomicUsize::new(0));
        let thread = {
            let (directory, stop, reads) = (directory.to_owned(), stop.clone(), reads.clone());
            std::thread::spawn(move || {
                while !stop.load(Ordering::SeqCst) {
                    // A reader that is held up for longer than the grace finds its generation gone, and reads again.
                    let Ok((a, b)) = pair(&directory) else {
                        continue;
                    };
                    ensure!(a == b, "a mixed pair: {a} and {b}");
                    reads.fetch_add(1, Ordering::SeqCst);
                }
                Ok(())
            })
        };
        Self {
            stop,
            reads,
            thread,
        }
    }

    fn stop(self) -> Result<usize> {
        self.stop.store(true, Ordering::SeqCst);
        match self.thread.join() {
            Ok(result) => result?,
            Err(panic) => std::panic::resume_unwind(panic),
        }
        Ok(self.reads.load(Ordering::SeqCst))
    }
}
