//! Requests to the API server: bounded in time, and failures by what can be done about them.

use std::time::Duration;

use kube::core::Status;

/// Longest time one request may take.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// A request that failed.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(super) enum Problem {
    /// The object is not what it was when it was read. Looking again helps.
    #[error("{0}")]
    Conflict(String),
    /// The object, or its namespace, is gone.
    #[error("{0}")]
    NotFound(String),
    /// The API server is busy or away. Trying again helps.
    #[error("{0}")]
    Unavailable(String),
    /// The API server refuses. Someone must change something.
    #[error("{0}")]
    Refused(String),
}

// === impl Problem ===

impl Problem {
    /// Whether trying again soon may help.
    pub(super) fn is_transient(&self) -> bool {
        match self {
            Self::Conflict(_) | Self::Unavailable(_) => true,
            Self::NotFound(_) | Self::Refused(_) => false,
        }
    }
}

/// Runs a request within [`REQUEST_TIMEOUT`].
pub(super) async fn bounded<T>(
    request: impl Future<Output = kube::Result<T>>,
) -> Result<T, Problem> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(answer) => answer.map_err(|error| problem(&error)),
        Err(_) => Err(Problem::Unavailable(format!(
            "the API server did not answer within {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

fn problem(error: &kube::Error) -> Problem {
    match error {
        kube::Error::Api(status) => of_status(status),
        kube::Error::SerdeError(error) => Problem::Refused(format!(
            "the API server's answer cannot be read at line {} column {}",
            error.line(),
            error.column()
        )),
        kube::Error::HyperError(_) | kube::Error::Service(_) => {
            Problem::Unavailable(String::from("the API server cannot be reached"))
        }
        _ => Problem::Unavailable(String::from("the request failed")),
    }
}

fn of_status(status: &Status) -> Problem {
    let text = if status.message.is_empty() {
        format!("the API server answered {}", status.code)
    } else {
        status.message.clone()
    };
    match status.code {
        404 => Problem::NotFound(text),
        409 => Problem::Conflict(text),
        429 | 500.. => Problem::Unavailable(text),
        _ => Problem::Refused(text),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn answers_are_told_apart_by_what_can_be_done() {
        let of = |code: u16| {
            of_status(&Status {
                code,
                ..Status::default()
            })
        };
        let text = |code: u16| format!("the API server answered {code}");
        assert_eq!(of(404), Problem::NotFound(text(404)));
        assert_eq!(of(409), Problem::Conflict(text(409)));
        for code in [429, 500, 503] {
            assert_eq!(of(code), Problem::Unavailable(text(code)));
            assert!(of(code).is_transient());
        }
        for code in [400, 403, 422] {
            assert_eq!(of(code), Problem::Refused(text(code)));
            assert!(!of(code).is_transient());
        }
    }
}
