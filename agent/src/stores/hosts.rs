//! Hosts that stores of a namespace may name.

/// Patterns of `--allowed-provider-hosts`: an exact host, or `*.` and a suffix of at least one label before it, or `*`.
///
/// They bound where a tenant's store can make the agent connect, and so where it shows its certificate (SB-22).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AllowedHosts(Vec<String>);

impl Default for AllowedHosts {
    /// Services of the cluster: `*.svc` and `*.svc.cluster.local`.
    fn default() -> Self {
        Self::new(["*.svc", "*.svc.cluster.local"])
    }
}

impl AllowedHosts {
    /// Takes patterns; case does not matter.
    pub fn new<P: AsRef<str>>(patterns: impl IntoIterator<Item = P>) -> Self {
        let normal = |pattern: P| {
            pattern
                .as_ref()
                .trim()
                .trim_end_matches('.')
                .to_ascii_lowercase()
        };
        Self(
            patterns
                .into_iter()
                .map(normal)
                .filter(|pattern| !pattern.is_empty())
                .collect(),
        )
    }

    /// Whether `host`, in lower case, matches a pattern.
    #[must_use]
    pub fn allows(&self, host: &str) -> bool {
        self.0
            .iter()
            .any(|pattern| match pattern.strip_prefix('*') {
                Some("") => true,
                Some(suffix) if suffix.starts_with('.') => {
                    host.len() > suffix.len() && host.ends_with(suffix)
                }
                _ => host == pattern,
            })
    }

    /// The patterns, for messages.
    #[must_use]
    pub fn patterns(&self) -> String {
        self.0.join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::AllowedHosts;

    #[test]
    fn patterns_match_whole_labels() {
        let cases = [
            ("*.svc", "provider.team-a.svc", true),
            ("*.svc", "svc", false),
            ("*.svc", ".svc", false),
            ("*.svc", "provider.team-a.svc.evil.test", false),
            ("*.svc", "provider.evilsvc", false),
            ("*.SVC.cluster.local.", "p.a.svc.cluster.local", true),
            ("provider.example.com", "provider.example.com", true),
            ("provider.example.com", "x.provider.example.com", false),
            ("*", "10.0.0.1", true),
            ("10.0.0.1", "10.0.0.1", true),
            ("", "x", false),
            ("*svc", "p.a.svc", false),
        ];
        for (pattern, host, expected) in cases {
            assert_eq!(
                AllowedHosts::new([pattern]).allows(host),
                expected,
                "{pattern} {host}"
            );
        }
    }
}
