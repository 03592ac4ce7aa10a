//! Reading the API server's audit log: the proof of what an identity did, and did not.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context as _, Result};
use serde::Deserialize;

/// One request of a service account, as the API server saw it. Source: `audit.k8s.io/v1 Event`, level Metadata.
#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Event {
    /// `get`, `list`, `watch`, `create`, `update`, `patch`, `delete`, `deletecollection`.
    pub verb: String,
    /// Path and query of the request.
    #[serde(rename = "requestURI")]
    pub request_uri: String,
    /// Who asked.
    pub user: User,
    /// The program that asked, as it calls itself.
    #[serde(default)]
    pub user_agent: String,
    /// What was asked for; absent for paths like `/version`.
    #[serde(default)]
    pub object_ref: Object,
    /// The answer; absent while a watch runs.
    #[serde(default)]
    pub response_status: Status,
}

/// Who made a request.
#[derive(Clone, Debug, Default, Deserialize)]
pub struct User {
    /// `system:serviceaccount:<namespace>:<name>`.
    pub username: String,
    /// What the token says besides; see [`User::pod`].
    #[serde(default)]
    pub extra: BTreeMap<String, Vec<String>>,
}

// === impl User ===

impl User {
    /// Name of the pod whose token was shown; empty for tokens of no pod.
    #[must_use]
    pub fn pod(&self) -> &str {
        let names = self.extra.get("authentication.kubernetes.io/pod-name");
        names
            .and_then(|names| names.first())
            .map_or("", String::as_str)
    }
}

/// What a request was about.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Object {
    /// Plural name, `secrets`.
    pub resource: String,
    /// Namespace; empty for cluster-scoped objects and for all namespaces.
    pub namespace: String,
    /// Name; empty for lists.
    pub name: String,
    /// Group; empty for the core group.
    pub api_group: String,
    /// `status`, `token` and so on.
    pub subresource: String,
}

/// How a request ended.
#[derive(Clone, Debug, Default, Deserialize)]
#[serde(default)]
pub struct Status {
    /// HTTP code; 0 while unknown.
    pub code: u16,
}

/// All events of users whose name starts with `user`, oldest first.
///
/// # Errors
/// When the log cannot be read or a line of it is not an event.
pub fn events_of(log: &Path, user: &str) -> Result<Vec<Event>> {
    let text = std::fs::read_to_string(log)
        .with_context(|| format!("failed to read {}", log.display()))?;
    // The last line may still be on its way.
    let whole = text.rfind('\n').map_or("", |end| &text[..end]);
    let mut found = Vec::new();
    for line in whole.lines() {
        let event: Event =
            serde_json::from_str(line).context("audit log has a line that is not an event")?;
        if event.user.username.starts_with(user) {
            found.push(event);
        }
    }
    Ok(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn events_of_a_user_are_found_and_an_unfinished_line_is_left() -> Result<()> {
        let file = tempfile::NamedTempFile::new()?;
        let line = r#"{"kind":"Event","verb":"get","requestURI":"/api/v1/namespaces/a/secrets/b","user":{"username":"system:serviceaccount:a:x","extra":{"authentication.kubernetes.io/pod-name":["p"]}},"objectRef":{"resource":"secrets","namespace":"a","name":"b","apiVersion":"v1"},"responseStatus":{"metadata":{},"code":403}}"#;
        std::fs::write(
            file.path(),
            format!("{line}\n{}\n{{\"verb\":", line.replace("a:x", "a:y")),
        )?;
        let events = events_of(file.path(), "system:serviceaccount:a:x")?;
        assert_eq!(events.len(), 1);
        assert_eq!(events[0].object_ref.resource, "secrets");
        assert_eq!(events[0].response_status.code, 403);
        assert_eq!(events[0].user.pod(), "p");
        Ok(())
    }
}
