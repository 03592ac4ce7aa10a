//! The asking side: blocking, for a command of the terminal.

use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use super::{Answer, MAX_ANSWER, Request};

/// Longest time of one read or write: the overall deadline is looked at in between.
const STEP: Duration = Duration::from_secs(1);

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// Nobody serves the socket.
    #[error("no agent serves {path}")]
    Absent {
        /// The socket.
        path: String,
    },
    /// The socket cannot be used.
    #[error(
        "failed to use {path}; the command must run as root on the node or in the agent's container"
    )]
    Denied {
        /// The socket.
        path: String,
    },
    /// The connection failed.
    #[error("failed to talk over {path}")]
    Io {
        /// The socket.
        path: String,
        /// The kernel's answer.
        #[source]
        source: std::io::Error,
    },
    /// The agent did not answer in time.
    #[error("the agent did not answer within {seconds} s")]
    Late {
        /// How long it was waited for.
        seconds: u64,
    },
    /// The answer breaks a bound.
    #[error("the agent's answer is longer than {MAX_ANSWER} bytes")]
    TooLong,
    /// The answer is not understood, or there is none: the caller is not root, or the agent is of another version.
    #[error(
        "the agent gave no answer that this version understands; run the command as root and with the agent's own version"
    )]
    Garbled,
    /// The agent did not understand the request.
    #[error("the agent refused: {0}")]
    Refused(String),
}

/// Asks the plugin whose [`crate::Config::admin_socket`] is at `socket` and waits at most `patience`. Blocks.
///
/// # Errors
///
/// [`AskError`].
pub fn ask(socket: &Path, request: &Request, patience: Duration) -> Result<Answer, AskError> {
    let path = || socket.display().to_string();
    let failed = |source: std::io::Error| match source.kind() {
        ErrorKind::PermissionDenied => AskError::Denied { path: path() },
        _ => AskError::Io {
            path: path(),
            source,
        },
    };
    let mut stream = UnixStream::connect(socket).map_err(|source| match source.kind() {
        ErrorKind::NotFound | ErrorKind::ConnectionRefused => AskError::Absent { path: path() },
        _ => failed(source),
    })?;
    let deadline = Instant::now() + patience;
    stream.set_read_timeout(Some(STEP)).map_err(failed)?;
    stream.set_write_timeout(Some(patience)).map_err(failed)?;
    let mut line = serde_json::to_vec(request).map_err(|_| AskError::Garbled)?;
    line.push(b'\n');
    match stream.write_all(&line) {
        // Whoever was turned away is told so by the end of the stream.
        Ok(()) => {}
        Err(error) if error.kind() == ErrorKind::BrokenPipe => return Err(AskError::Garbled),
        Err(error) => return Err(failed(error)),
    }
    let _ = stream.shutdown(Shutdown::Write);
    let mut bytes = Vec::new();
    let mut chunk = [0; 16 * 1024];
    loop {
        if Instant::now() >= deadline {
            return Err(AskError::Late {
                seconds: patience.as_secs(),
            });
        }
        match stream.read(&mut chunk) {
            Ok(0) => break,
            Ok(count) => bytes.extend_from_slice(&chunk[..count]),
            Err(error) => match error.kind() {
                ErrorKind::WouldBlock | ErrorKind::TimedOut | ErrorKind::Interrupted => {}
                ErrorKind::ConnectionReset => break,
                _ => return Err(failed(error)),
            },
        }
        if bytes.len() as u64 > MAX_ANSWER {
            return Err(AskError::TooLong);
        }
    }
    match serde_json::from_slice(&bytes) {
        Ok(Answer::Refused(why)) => Err(AskError::Refused(why)),
        Ok(answer) => Ok(answer),
        Err(_) => Err(AskError::Garbled),
    }
}
