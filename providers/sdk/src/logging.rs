//! Logs: one JSON object per line on standard error, without secret material.
//!
//! Some libraries log what they should not: kube-client prints the whole body of an answer that it cannot decode, which may be
//! a Secret. Their targets are clamped after the user's filter was read, so that no setting opens them.

use tracing_subscriber::EnvFilter;

/// Targets and the most that they may log.
const CLAMPS: [(&str, &str); 7] = [
    ("kube_client::client", "off"),
    ("h2", "info"),
    ("hyper", "info"),
    ("hyper_util", "info"),
    ("rustls", "info"),
    ("reqwest", "info"),
    ("tonic", "info"),
];

/// The filter is malformed.
#[derive(Debug, thiserror::Error)]
#[error("log level \"{filter}\" is not a filter such as info or debug,kube=warn")]
pub struct InvalidFilter {
    filter: String,
}

/// Installs the global subscriber. A second call changes nothing.
///
/// # Errors
///
/// [`InvalidFilter`] if `filter` cannot be parsed.
pub fn install(filter: &str) -> Result<(), InvalidFilter> {
    let filter = clamped(filter)?;
    let subscriber = tracing_subscriber::fmt()
        .json()
        .with_env_filter(filter)
        .with_writer(std::io::stderr);
    let _ = subscriber.try_init();
    Ok(())
}

/// Logs panics with their place only: the text of a panic may quote what was worked on.
pub fn install_panic_hook() {
    std::panic::set_hook(Box::new(|panic| {
        let place = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
        tracing::error!(place, "a task panicked");
    }));
}

fn clamped(filter: &str) -> Result<EnvFilter, InvalidFilter> {
    let invalid = || InvalidFilter {
        filter: filter.to_owned(),
    };
    // A directive for a part of a clamped target would be more specific than the clamp, and win.
    let allowed: Vec<&str> = filter
        .split(',')
        .filter(|directive| !names_clamped_target(directive))
        .collect();
    let mut parsed = EnvFilter::builder()
        .parse(allowed.join(","))
        .map_err(|_| invalid())?;
    for (target, level) in CLAMPS {
        parsed = parsed.add_directive(format!("{target}={level}").parse().map_err(|_| invalid())?);
    }
    Ok(parsed)
}

fn names_clamped_target(directive: &str) -> bool {
    let target = directive
        .split(['=', '['])
        .next()
        .unwrap_or_default()
        .trim();
    CLAMPS
        .iter()
        .any(|(clamped, _)| target == *clamped || target.starts_with(&format!("{clamped}::")))
}

#[cfg(test)]
mod tests {
    use super::clamped;

    #[test]
    fn no_filter_opens_a_clamped_target() {
        for filter in [
            "trace",
            "info,kube_client::client=trace",
            "kube_client::client::body=trace",
            "h2::codec=trace",
        ] {
            let text = clamped(filter).unwrap().to_string();
            assert!(text.contains("kube_client::client=off"), "{text}");
            assert!(text.contains("h2=info"), "{text}");
            assert!(!text.contains("body") && !text.contains("codec"), "{text}");
        }
        assert!(clamped("no such level=!").is_err());
    }
}
