//! Logs: one JSON object per line on standard output.
//!
//! Some libraries log what they should not. kube-client prints a whole response body when it cannot decode it, which may be a
//! Secret. Their targets are therefore clamped after the user's filter was parsed, so that no setting opens them.

use std::io::Write;

use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::fmt::MakeWriter;

/// Added after the user's directives; the last directive for a target wins.
const CLAMPS: &[(&str, LevelFilter)] = &[
    ("kube_client::client", LevelFilter::OFF),
    ("h2", LevelFilter::INFO),
    ("hyper", LevelFilter::INFO),
    ("hyper_util", LevelFilter::INFO),
    ("rustls", LevelFilter::INFO),
    ("tonic", LevelFilter::INFO),
    ("tower", LevelFilter::INFO),
];

/// Why logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The user's filter does not parse.
    #[error(
        "invalid --log-level {0:?}: use a level (error, warn, info, debug, trace) or target=level pairs joined by ','"
    )]
    Filter(String),
    /// Something else already receives this process' logs.
    #[error("logging is already set up")]
    AlreadySet,
}

/// Sends the logs of this process to standard output.
///
/// # Errors
///
/// [`Error::Filter`] if `level` does not parse.
pub fn install(level: &str) -> Result<(), Error> {
    let subscriber = subscriber(level, std::io::stdout)?;
    tracing::subscriber::set_global_default(subscriber).map_err(|_| Error::AlreadySet)
}

fn subscriber<W>(level: &str, writer: W) -> Result<impl tracing::Subscriber + Send + Sync, Error>
where
    W: for<'w> MakeWriter<'w, Writer: Write> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .json()
        .flatten_event(true)
        .with_current_span(true)
        .with_span_list(false);
    Ok(builder
        .with_writer(writer)
        .with_env_filter(filter(level)?)
        .finish())
}

/// The user's filter with the clamps behind it.
fn filter(level: &str) -> Result<EnvFilter, Error> {
    // A directive for a part of a clamped target would be more specific than the clamp and win: it is dropped.
    let kept: Vec<&str> = level
        .split(',')
        .filter(|directive| !opens_a_clamp(directive))
        .collect();
    let mut filter = EnvFilter::builder()
        .parse(kept.join(","))
        .map_err(|_| Error::Filter(level.to_owned()))?;
    for (target, limit) in CLAMPS {
        let directive: Directive = format!("{target}={limit}")
            .parse()
            .map_err(|_| Error::Filter(level.to_owned()))?;
        filter = filter.add_directive(directive);
    }
    Ok(filter)
}

/// Whether a directive names a clamped target, a module below one, or spans in one.
fn opens_a_clamp(directive: &str) -> bool {
    let target = directive
        .split(['=', '['])
        .next()
        .unwrap_or_default()
        .trim();
    CLAMPS.iter().any(|(clamped, _)| {
        target
            .strip_prefix(clamped)
            .is_some_and(|rest| rest.is_empty() || rest.starts_with("::"))
    })
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use parking_lot::Mutex;

    use super::*;

    #[derive(Clone, Default)]
    struct Sink(Arc<Mutex<Vec<u8>>>);

    impl Write for Sink {
        fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
            self.0.lock().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> std::io::Result<()> {
            Ok(())
        }
    }

    fn logged(level: &str, act: impl FnOnce()) -> String {
        let sink = Sink::default();
        let writer = sink.clone();
        let subscriber = subscriber(level, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, act);
        String::from_utf8(sink.0.lock().clone()).unwrap()
    }

    #[test]
    fn no_filter_opens_the_clamped_targets() {
        for level in [
            "trace",
            "kube_client::client=trace",
            "trace,kube_client::client::body=trace",
            "kube_client=trace",
        ] {
            let text = logged(level, || {
                tracing::warn!(target: "kube_client::client", "canary");
                tracing::warn!(target: "kube_client::client::body", "canary");
                tracing::debug!(target: "h2::frame", "canary");
            });
            assert!(!text.contains("canary"), "{level}: {text}");
        }
    }

    #[test]
    fn a_line_is_one_json_object_with_its_fields() {
        let text = logged("info", || {
            tracing::info!(namespace = "a", name = "b", "reconciled")
        });
        let value: serde_json::Value = serde_json::from_str(text.trim()).unwrap();
        assert_eq!(value["message"], "reconciled");
        assert_eq!(value["namespace"], "a");
        assert_eq!(value["level"], "INFO");
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        assert!(matches!(install("latchkey=loud"), Err(Error::Filter(_))));
    }
}
