//! The processes of components: started, stopped, started again, and heard of when they end.

use std::fs::File;
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use anyhow::{Context as _, Result, anyhow, bail};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::process::{Child, Command};
use tokio::sync::watch;

use super::{Supervisor, say};
use crate::components::Component;

/// Longest wait for a component to end after a signal.
const STOP_TIMEOUT: Duration = Duration::from_secs(30);

/// A component and the process that runs it, if any.
pub(super) struct Entry {
    pub(super) component: Component,
    pub(super) process: Option<Process>,
}

pub(super) struct Process {
    pub(super) pid: u32,
    pub(super) ended: watch::Receiver<Option<ExitStatus>>,
}

impl Supervisor {
    /// Starts a component under its name; it may have been started before, then ended.
    pub(super) async fn start(&self, component: Component) -> Result<()> {
        let mut entries = self.entries.lock().await;
        if let Some(Entry {
            process: Some(process),
            ..
        }) = entries.get(&component.name)
            && process.ended.borrow().is_none()
        {
            return Ok(());
        }
        let log = File::options()
            .create(true)
            .append(true)
            .open(self.layout.log_of(&component.name))?;
        let path = std::env::var("PATH").unwrap_or_default();
        let [program, arguments @ ..] = component.command.as_slice() else {
            bail!("a component without a command")
        };
        let child = Command::new(program)
            .args(arguments)
            .env("PATH", format!("{path}:/usr/local/sbin:/usr/sbin:/sbin"))
            .current_dir("/")
            .stdin(Stdio::null())
            .stdout(log.try_clone()?)
            .stderr(log)
            .spawn()
            .with_context(|| format!("failed to start {}", component.name))?;
        let pid = child
            .id()
            .context("a process that just started has a number")?;
        let (sender, ended) = watch::channel(None);
        tokio::spawn(await_end(child, component.name.clone(), sender));
        entries.insert(
            component.name.clone(),
            Entry {
                component,
                process: Some(Process { pid, ended }),
            },
        );
        Ok(())
    }

    pub(super) async fn restart(&self, name: &str) -> Result<()> {
        let component = self
            .entries
            .lock()
            .await
            .get(name)
            .map(|entry| entry.component.clone());
        self.start(component.with_context(|| format!("no such component: {name}"))?)
            .await
    }

    pub(super) async fn stop(&self, name: &str, signal: i32) -> Result<()> {
        let signal = Signal::try_from(signal).context("no such signal")?;
        let mut ended = {
            let entries = self.entries.lock().await;
            let Some(entry) = entries.get(name) else {
                bail!(
                    "no such component: {name} (there are {})",
                    entries.keys().cloned().collect::<Vec<_>>().join(", ")
                );
            };
            let Some(process) = &entry.process else {
                return Ok(());
            };
            if process.ended.borrow().is_none() {
                kill(Pid::from_raw(process.pid.cast_signed()), signal)
                    .with_context(|| format!("failed to signal {name}"))?;
            }
            process.ended.clone()
        };
        tokio::time::timeout(STOP_TIMEOUT, ended.wait_for(Option::is_some))
            .await
            .map_err(|_| anyhow!("{name} still runs {STOP_TIMEOUT:?} after {signal}"))?
            .with_context(|| format!("lost sight of {name}"))?;
        Ok(())
    }
}

async fn await_end(mut child: Child, name: String, sender: watch::Sender<Option<ExitStatus>>) {
    if let Ok(status) = child.wait().await {
        say(&format!("{name} ended: {status}"));
        sender.send_replace(Some(status));
    }
}
