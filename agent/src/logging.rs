//! Logs: one flat JSON object per line on standard output.
//!
//! `timestamp`, `level`, `target` and `message` come first; then the fields of the event and of the spans around it, inner ones
//! winning, so that `namespace` and `name` are found at one place whoever logs.
//!
//! Some libraries log what they should not. kube-client prints a whole response body when it cannot decode it, which may be a
//! Secret. Their targets are therefore clamped after the user's filter was parsed, so that no setting opens them.

use std::fmt;
use std::io::Write;

use serde_json::{Map, Value};
use tracing::field::{Field, Visit};
use tracing::{Event, Subscriber};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::{Directive, LevelFilter};
use tracing_subscriber::fmt::format::{JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields, FormattedFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;

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

pub(crate) fn subscriber<W>(
    level: &str,
    writer: W,
) -> Result<impl tracing::Subscriber + Send + Sync, Error>
where
    W: for<'w> MakeWriter<'w, Writer: Write> + Send + Sync + 'static,
{
    Ok(tracing_subscriber::fmt()
        .fmt_fields(JsonFields::new())
        .event_format(Lines)
        .with_writer(writer)
        .with_env_filter(filter(level)?)
        .finish())
}

/// Formats an event as one line.
struct Lines;

impl<S> FormatEvent<S, JsonFields> for Lines
where
    S: Subscriber + for<'span> LookupSpan<'span>,
    JsonFields: for<'field> FormatFields<'field>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, JsonFields>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let mut fields = Map::new();
        for span in context
            .event_scope()
            .into_iter()
            .flat_map(|scope| scope.from_root())
        {
            let extensions = span.extensions();
            let recorded = extensions.get::<FormattedFields<JsonFields>>();
            if let Some(Ok(Value::Object(recorded))) =
                recorded.map(|text| serde_json::from_str(&text.fields))
            {
                fields.extend(recorded);
            }
        }
        event.record(&mut Recorder(&mut fields));
        let metadata = event.metadata();
        let message = fields.remove("message").unwrap_or_default();
        let head = [
            (
                "timestamp",
                Value::from(format!("{:.6}", jiff::Timestamp::now())),
            ),
            ("level", Value::from(metadata.level().as_str())),
            ("target", Value::from(metadata.target())),
            ("message", message),
        ];
        let mut separator = '{';
        for (key, value) in head {
            write!(writer, "{separator}\"{key}\":{value}")?;
            separator = ',';
            fields.remove(key);
        }
        for (key, value) in fields {
            write!(writer, ",{}:{value}", Value::from(key))?;
        }
        writeln!(writer, "}}")
    }
}

/// Puts the fields of an event into a map.
struct Recorder<'map>(&'map mut Map<String, Value>);

impl Visit for Recorder<'_> {
    fn record_debug(&mut self, field: &Field, value: &dyn fmt::Debug) {
        self.0
            .insert(field.name().to_owned(), Value::from(format!("{value:?}")));
    }

    fn record_str(&mut self, field: &Field, value: &str) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_i64(&mut self, field: &Field, value: i64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_u64(&mut self, field: &Field, value: u64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_f64(&mut self, field: &Field, value: f64) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }

    fn record_bool(&mut self, field: &Field, value: bool) {
        self.0.insert(field.name().to_owned(), Value::from(value));
    }
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
        // SB-24: logs of libraries.
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
    fn a_line_is_one_flat_json_object_with_the_fields_of_its_spans() {
        let text = logged("info", || {
            let _outer =
                tracing::info_span!("reconcile", namespace = "a", name = "outer", count = 1)
                    .entered();
            let _inner = tracing::info_span!("deliver", name = "b").entered();
            tracing::info!(changed = true, error = %"x\"y", "written");
        });
        assert_eq!(text.lines().count(), 1, "{text}");
        assert!(text.starts_with("{\"timestamp\":\"2"), "{text}");
        assert_eq!(text.matches("\"name\"").count(), 1, "{text}");
        let value: serde_json::Value = serde_json::from_str(&text).unwrap();
        assert_eq!(value["message"], "written");
        assert_eq!(value["level"], "INFO");
        assert_eq!(
            (&value["namespace"], &value["name"], &value["count"]),
            (&"a".into(), &"b".into(), &1.into())
        );
        assert_eq!(
            (&value["changed"], &value["error"]),
            (&true.into(), &"x\"y".into())
        );
    }

    #[test]
    fn a_wrong_filter_is_refused() {
        assert!(matches!(install("latchkey=loud"), Err(Error::Filter(_))));
    }
}
