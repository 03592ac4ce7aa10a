//! The command line, the configuration and its changes, the service manager, an own tmpfs.

use std::os::unix::net::UnixDatagram;

use anyhow::{Context as _, Result, ensure};
use latchkey_cluster::eventually;
use serde_json::json;

use crate::rig::{Machine, SOON, mode, pair};

#[tokio::test]
async fn once_tells_by_its_exit_code_whether_all_entries_are_there() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let provider = machine.provider().await?;
    let good = machine.entry("db", "db");
    machine.configure(&machine.config(&provider, std::slice::from_ref(&good)))?;
    let run = machine.run(&["--once"]).await?;
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(run.status.code() == Some(0), "{text}");
    ensure!(pair(&machine.out("db"))?.0 == "one");

    // A change, and one that is not there: the first arrives all the same.
    machine.values(&[("db", "two")])?;
    let absent = machine.entry("absent", "no-such-key");
    machine.configure(&machine.config(&provider, &[absent, good]))?;
    let run = machine.run(&["--once"]).await?;
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(run.status.code() == Some(1), "{text}");
    ensure!(
        text.contains("latchkey: entry absent: ") && !text.contains("entry db"),
        "{text}"
    );
    ensure!(pair(&machine.out("db"))?.0 == "two");
    // Nobody is left to remove the old files later.
    let names = std::fs::read_dir(machine.out("db"))?;
    let hidden = names.filter(|name| {
        let name = name.as_ref().map(std::fs::DirEntry::file_name);
        name.is_ok_and(|name| name.to_string_lossy().starts_with(".."))
    });
    ensure!(hidden.count() == 2, "more than `..data` and its generation");
    Ok(())
}

#[tokio::test]
async fn a_wrong_configuration_is_refused_with_line_and_path() -> Result<()> {
    let machine = Machine::new()?;
    machine.write("files.yaml", "providers: []\nentires: []\n")?;
    for arguments in [&["--check"][..], &["--once"], &[]] {
        let run = machine.run(arguments).await?;
        let text = String::from_utf8_lossy(&run.stderr).into_owned();
        ensure!(run.status.code() == Some(64), "{arguments:?}: {text}");
        ensure!(
            text.contains("files.yaml:2: entires: unknown key \"entires\"; did you mean entries?"),
            "{text}"
        );
    }
    // It names programs that run as this user.
    let path = machine.path("files.yaml");
    std::fs::set_permissions(&path, std::os::unix::fs::PermissionsExt::from_mode(0o666))?;
    let run = machine.run(&["--check"]).await?;
    ensure!(run.status.code() == Some(64));
    ensure!(String::from_utf8_lossy(&run.stderr).contains("nobody else may write it"));
    Ok(())
}

#[tokio::test]
async fn a_changed_configuration_is_taken_over_and_a_wrong_one_is_not() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one"), ("web", "two")])?;
    let provider = machine.provider().await?;
    let (db, web) = (machine.entry("db", "db"), machine.entry("web", "web"));
    machine.configure(&machine.config(&provider, std::slice::from_ref(&db)))?;
    let files = machine.start().await?;
    machine.shows("db", "one").await?;

    machine.write("files.yaml", "entries: [")?;
    eventually(SOON, "the mistake is told", async || {
        Ok(files
            .log()?
            .contains("the configuration is refused")
            .then_some(()))
    })
    .await?;
    machine.values(&[("db", "one-more"), ("web", "two")])?;
    machine.shows("db", "one-more").await?;

    // Found without a signal; the entry that stays is not disturbed.
    machine.configure(&machine.config(&provider, &[db.clone(), web.clone()]))?;
    machine.shows("web", "two").await?;

    // A spec that changes is fetched anew, whatever its interval.
    let mut other = web;
    other["spec"]["refreshInterval"] = json!("1h");
    other["spec"]["dataFrom"][0]["extract"]["key"] = json!("db");
    machine.configure(&machine.config(&provider, &[db.clone(), other.clone()]))?;
    files.signal("HUP")?;
    machine.shows("web", "one-more").await?;

    // So are modes; files of an entry that is gone stay.
    other["defaultMode"] = json!("0440");
    machine.configure(&machine.config(&provider, &[other]))?;
    eventually(SOON, "the mode is another", async || {
        Ok((mode(&machine.out("web").join("a"))? == 0o440).then_some(()))
    })
    .await?;
    eventually(SOON, "the entry is gone", async || {
        Ok(files.log()?.contains("its files stay").then_some(()))
    })
    .await?;
    ensure!(pair(&machine.out("db"))?.0 == "one-more");
    ensure!(files.stop().await? == Some(0));
    Ok(())
}

/// externalsecret.md 2.4: `CreatedOnce` is fetched until the first success, over restarts too; `OnChange` on a change only.
#[tokio::test]
async fn refresh_policies_are_those_of_an_external_secret() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let provider = machine.provider().await?;
    let with_policy = |name: &str, policy: &str| {
        let mut entry = machine.entry(name, "db");
        entry["spec"]["refreshPolicy"] = json!(policy);
        entry
    };
    let entries = [
        with_policy("created", "CreatedOnce"),
        with_policy("changed", "OnChange"),
        with_policy("periodic", "Periodic"),
    ];
    machine.configure(&machine.config(&provider, &entries))?;
    let files = machine.start().await?;
    for name in ["created", "changed", "periodic"] {
        machine.shows(name, "one").await?;
    }
    machine.values(&[("db", "two")])?;
    machine.shows("periodic", "two").await?;
    machine.values(&[("db", "three")])?;
    machine.shows("periodic", "three").await?;
    for name in ["created", "changed"] {
        ensure!(pair(&machine.out(name))?.0 == "one", "{name}");
    }
    ensure!(files.stop().await? == Some(0));
    let files = machine.start().await?;
    // A restart knows nothing of what was fetched when.
    machine.shows("changed", "three").await?;
    files.answers(200).await?;
    ensure!(pair(&machine.out("created"))?.0 == "one");
    Ok(())
}

#[tokio::test]
async fn the_service_manager_is_told_when_entries_have_settled() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let provider = machine.provider().await?;
    let entries = [
        machine.entry("db", "db"),
        // One that fails does not keep the machine from starting.
        machine.entry("absent", "no-such-key"),
    ];
    machine.configure(&machine.config(&provider, &entries))?;
    let path = machine.path("notify");
    let socket = UnixDatagram::bind(&path)?;
    socket.set_read_timeout(Some(SOON))?;
    let files = machine
        .start_with(&[
            ("NOTIFY_SOCKET", &path),
            ("WATCHDOG_USEC", std::path::Path::new("200000")),
        ])
        .await?;
    let heard = tokio::task::spawn_blocking(move || {
        let mut heard = String::new();
        let mut buffer = [0; 512];
        // In whatever order: the watchdog begins at once.
        while !(heard.contains("READY=1") && heard.contains("WATCHDOG=1")) {
            let length = socket.recv(&mut buffer).context("nothing was told")?;
            heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
            heard.push('\n');
        }
        anyhow::Ok((heard, socket))
    });
    let (heard, socket) = heard.await??;
    ensure!(
        heard.contains("STATUS=1 of 2 entries are current"),
        "{heard}"
    );
    ensure!(
        pair(&machine.out("db"))?.0 == "one",
        "ready before the files"
    );
    ensure!(files.stop().await? == Some(0));
    let mut heard = String::new();
    let mut buffer = [0; 512];
    while !heard.contains("STOPPING=1") {
        let length = socket.recv(&mut buffer)?;
        heard.push_str(&String::from_utf8_lossy(&buffer[..length]));
    }
    Ok(())
}

/// Needs root, as CI is: without it this fails, because a skipped test would read as passed.
#[tokio::test]
async fn an_own_tmpfs_is_mounted_once_and_outlives_the_process() -> Result<()> {
    let machine = Machine::new()?;
    machine.values(&[("db", "one")])?;
    let provider = machine.provider().await?;
    let mut entry = machine.entry("db", "db");
    entry["tmpfs"] = json!("1Mi");
    machine.configure(&machine.config(&provider, &[entry]))?;
    let directory = machine.out("db");
    let _mounted = Unmount(directory.clone());
    let files = machine.start().await?;
    machine.shows("db", "one").await?;
    files.kill().await?;
    machine.values(&[("db", "two")])?;
    let files = machine.start().await?;
    machine.shows("db", "two").await?;
    ensure!(files.stop().await? == Some(0));
    ensure!(pair(&directory)?.0 == "two");
    let mounts = std::fs::read_to_string("/proc/self/mountinfo")?;
    let ours: Vec<&str> = mounts
        .lines()
        .filter(|line| line.contains(&*directory.to_string_lossy()))
        .collect();
    ensure!(ours.len() == 1, "{ours:#?}");
    for option in ["nosuid", "nodev", "noexec", "tmpfs latchkey", "size=1024k"] {
        ensure!(ours[0].contains(option), "{option}: {}", ours[0]);
    }
    // Too much for half of it: the old content stays.
    let large = "x".repeat(300 * 1024);
    machine.values(&[("db", &large)])?;
    let run = machine.run(&["--once"]).await?;
    let text = String::from_utf8_lossy(&run.stderr).into_owned();
    ensure!(
        run.status.code() == Some(1) && text.contains("bytes"),
        "{text}"
    );
    ensure!(pair(&directory)?.0 == "two");
    Ok(())
}

/// Takes a mount away, however the test ends.
struct Unmount(std::path::PathBuf);

impl Drop for Unmount {
    fn drop(&mut self) {
        let _ = std::process::Command::new("umount")
            .arg("-l")
            .arg(&self.0)
            .status();
    }
}
