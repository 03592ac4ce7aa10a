//! `onChange`: a command or a signal.

use std::path::Path;
use std::time::Duration;

use super::OnChange;
use super::document::{Document, Fields};
use super::scalars::{duration, is_plain};
use crate::volumes::attributes::quoted;

/// Longest time of a command.
const DEFAULT_ACTION_TIMEOUT: Duration = Duration::from_secs(30);
/// Signals that make sense, by name without `SIG`.
const SIGNALS: [(&str, i32); 7] = [
    ("HUP", 1),
    ("INT", 2),
    ("QUIT", 3),
    ("USR1", 10),
    ("USR2", 12),
    ("TERM", 15),
    ("WINCH", 28),
];

pub(super) fn on_change(document: &Document, fields: &Fields<'_>) -> Result<Option<OnChange>, ()> {
    let before = document.count();
    let Some(action) = fields.fields("onChange", &["command", "timeout", "signal"]) else {
        return if document.count() == before {
            Ok(None)
        } else {
            Err(())
        };
    };
    let signal = action.fields("signal", &["pidFile", "signal"]);
    let argv: Vec<String> = action
        .list("command")
        .iter()
        .filter_map(|word| word.as_str().map(str::to_owned))
        .collect();
    let found = match (action.get("command"), signal) {
        (Some(_), None) => {
            let is_text = argv.len() == action.list("command").len();
            let is_program = argv.first().is_some_and(|program| program.starts_with('/'));
            if !is_text || !is_program {
                let text = "must be a list of texts that begins with the absolute path of a program; there is no shell";
                action.wrong("command", text);
            }
            OnChange::Command {
                argv,
                timeout: duration(&action, "timeout").unwrap_or(DEFAULT_ACTION_TIMEOUT),
            }
        }
        (None, Some(signal)) => {
            if action.get("timeout").is_some() {
                action.wrong("timeout", "is for a command");
            }
            let pid_file = signal.required("pidFile").unwrap_or_default();
            if !pid_file.is_empty() && !is_plain(Path::new(pid_file)) {
                signal.wrong("pidFile", "must be an absolute path");
            }
            let name = signal.text("signal").unwrap_or("HUP");
            let plain = name.strip_prefix("SIG").unwrap_or(name);
            let known = SIGNALS.iter().find(|(known, _)| *known == plain);
            if known.is_none() {
                let names = SIGNALS.map(|(name, _)| name).join(", ");
                signal.wrong("signal", format!("is {}; it may be {names}", quoted(name)));
            }
            OnChange::Signal {
                pid_file: pid_file.into(),
                signal: known.map_or(1, |(_, number)| *number),
            }
        }
        _ => {
            let text = "must have either command or signal";
            fields.wrong("onChange", text);
            return Err(());
        }
    };
    if document.count() == before {
        Ok(Some(found))
    } else {
        Err(())
    }
}
