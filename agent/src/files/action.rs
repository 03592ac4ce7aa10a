//! What happens after a change: a command without a shell, or a signal.

use std::os::unix::fs::MetadataExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use rustix::process::{Pid, Signal};
use tokio::process::Command;

use super::config::OnChange;

/// Variables of the environment that a command inherits. Others could hold what is not its business.
const INHERITED: [&str; 5] = ["PATH", "HOME", "LANG", "LC_ALL", "TZ"];
/// Name of the entry, for a command.
const ENTRY: &str = "LATCHKEY_ENTRY";
/// Its directory, for a command.
const DIRECTORY: &str = "LATCHKEY_DIRECTORY";
/// Largest file with the number of a process, bytes.
const MAX_PID_FILE: u64 = 64;

/// Why an action did not work.
#[derive(Debug, thiserror::Error)]
pub(super) enum ActionError {
    #[error("failed to start {program}")]
    Start {
        program: String,
        #[source]
        source: std::io::Error,
    },
    #[error("{program} ended with {status}")]
    Status {
        program: String,
        status: std::process::ExitStatus,
    },
    #[error("{program} took longer than {} s and was killed", limit.as_secs())]
    TimedOut { program: String, limit: Duration },
    #[error("{path} {reason}")]
    PidFile { path: String, reason: String },
    #[error("failed to signal process {pid}")]
    Signal {
        pid: i32,
        #[source]
        source: rustix::io::Errno,
    },
}

/// Runs the action once. Its output goes where the agent's goes.
///
/// # Cancel safety
///
/// Dropping the future kills the command.
pub(super) async fn run(
    action: &OnChange,
    entry: &str,
    directory: &Path,
) -> Result<(), ActionError> {
    match action {
        OnChange::Command { argv, timeout } => command(argv, *timeout, entry, directory).await,
        OnChange::Signal { pid_file, signal } => send(pid_file, *signal),
    }
}

async fn command(
    argv: &[String],
    limit: Duration,
    entry: &str,
    directory: &Path,
) -> Result<(), ActionError> {
    let Some((program, arguments)) = argv.split_first() else {
        return Ok(());
    };
    let start = |source| ActionError::Start {
        program: program.clone(),
        source,
    };
    let inherited = INHERITED
        .iter()
        .filter_map(|name| Some((*name, std::env::var_os(name)?)));
    let mut child = Command::new(program)
        .args(arguments)
        .env_clear()
        .envs(inherited)
        .env(ENTRY, entry)
        .env(DIRECTORY, directory)
        .current_dir("/")
        .stdin(Stdio::null())
        // What it starts is ended with it.
        .process_group(0)
        .kill_on_drop(true)
        .spawn()
        .map_err(start)?;
    let group = child
        .id()
        .and_then(|id| Pid::from_raw(i32::try_from(id).ok()?));
    match tokio::time::timeout(limit, child.wait()).await {
        Ok(Ok(status)) if status.success() => Ok(()),
        Ok(Ok(status)) => Err(ActionError::Status {
            program: program.clone(),
            status,
        }),
        Ok(Err(source)) => Err(start(source)),
        Err(_) => {
            if let Some(group) = group {
                let _ = rustix::process::kill_process_group(group, Signal::KILL);
            }
            let _ = child.wait().await;
            Err(ActionError::TimedOut {
                program: program.clone(),
                limit,
            })
        }
    }
}

fn send(pid_file: &Path, signal: i32) -> Result<(), ActionError> {
    let wrong = |reason: String| ActionError::PidFile {
        path: pid_file.display().to_string(),
        reason,
    };
    let metadata =
        std::fs::metadata(pid_file).map_err(|error| wrong(format!("cannot be read: {error}")))?;
    // Whoever may write it would say whom root signals.
    if metadata.mode() & 0o022 != 0 {
        return Err(wrong(String::from(
            "may be written by its group or by others; take that right away",
        )));
    }
    if !metadata.is_file() || metadata.len() > MAX_PID_FILE {
        return Err(wrong(String::from("is no file with one number")));
    }
    let text = std::fs::read_to_string(pid_file)
        .map_err(|error| wrong(format!("cannot be read: {error}")))?;
    // Not 1, and nothing that means a group.
    let pid = text.trim().parse::<i32>().ok().filter(|pid| *pid > 1);
    let pid = pid.ok_or_else(|| wrong(String::from("holds no number of a process")))?;
    let target = Pid::from_raw(pid).ok_or_else(|| wrong(String::from("holds no number")))?;
    let signal =
        Signal::from_named_raw(signal).ok_or_else(|| wrong(String::from("has no such signal")))?;
    rustix::process::kill_process(target, signal)
        .map_err(|source| ActionError::Signal { pid, source })
}

#[cfg(test)]
mod tests;
