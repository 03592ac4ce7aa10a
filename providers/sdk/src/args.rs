//! The settings that all provider servers share.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use latchkey_transport::FileNames;

use crate::service::ServiceLimits;

/// Settings of a provider server; flatten it into the server's own arguments.
#[derive(Clone, Debug, clap::Args)]
pub struct ServerArgs {
    /// Address of the gRPC server
    #[arg(long, env = "LATCHKEY_LISTEN_ADDRESS", default_value = "0.0.0.0:8080")]
    pub listen_address: SocketAddr,
    /// Address of the HTTP server for /healthz, /readyz and /metrics
    #[arg(long, env = "LATCHKEY_ADMIN_ADDRESS", default_value = "0.0.0.0:8081")]
    pub admin_address: SocketAddr,
    /// Directory with the server's identity; it is waited for, and reloaded when it changes
    #[arg(long, env = "TLS_CERT_DIR", default_value = "/etc/provider/certs")]
    pub tls_cert_dir: PathBuf,
    /// File in that directory with the authorities that client certificates must come from
    #[arg(long, env = "TLS_CA_CERT_FILE", default_value = "ca.crt")]
    pub tls_ca_cert_file: String,
    /// File in that directory with the server's certificate
    #[arg(long, env = "TLS_CERT_FILE", default_value = "tls.crt")]
    pub tls_cert_file: String,
    /// File in that directory with the server's private key
    #[arg(long, env = "TLS_KEY_FILE", default_value = "tls.key")]
    pub tls_key_file: String,
    /// Kubeconfig file; by default KUBECONFIG or the identity of the pod
    #[arg(long)]
    pub kubeconfig: Option<PathBuf>,
    /// Directory of manifests that are read in place of a Kubernetes cluster: the objects that configure stores, and the Secrets
    /// and ConfigMaps that they refer to
    #[arg(long, env = "LATCHKEY_OBJECTS_DIR", conflicts_with = "kubeconfig")]
    pub objects: Option<PathBuf>,
    /// Namespaces whose credentials this server may read; empty leaves the limit to RBAC
    #[arg(long, env = "LATCHKEY_CREDENTIAL_NAMESPACES", value_delimiter = ',')]
    pub credential_namespaces: Vec<String>,
    /// Requests in flight; one more is answered RESOURCE_EXHAUSTED
    #[arg(long, env = "LATCHKEY_MAX_CONCURRENT_REQUESTS", default_value_t = 256)]
    pub max_concurrent_requests: u16,
    /// Bytes in one answer; a larger one is answered RESOURCE_EXHAUSTED
    #[arg(long, env = "LATCHKEY_MAX_RESPONSE_BYTES", default_value_t = 4 << 20)]
    pub max_response_bytes: u32,
    /// Results of one find; more are answered RESOURCE_EXHAUSTED
    #[arg(long, env = "LATCHKEY_FIND_MAX_RESULTS", default_value_t = 10_000)]
    pub find_max_results: u32,
    /// Values that one find reads from the backend at a time
    #[arg(long, env = "LATCHKEY_FIND_CONCURRENCY", default_value_t = 8)]
    pub find_concurrency: u16,
    /// How long reads are shared when the caller names no reconcile; 0 is off
    #[arg(long, env = "LATCHKEY_READ_CACHE_TTL", default_value = "0s", value_parser = duration)]
    pub read_cache_ttl: Duration,
    /// Longest call to the backend
    #[arg(long, env = "LATCHKEY_BACKEND_TIMEOUT", default_value = "30s", value_parser = duration)]
    pub backend_timeout: Duration,
    /// Attempts of one call to the backend, the first included
    #[arg(long, env = "LATCHKEY_BACKEND_MAX_ATTEMPTS", default_value_t = 3)]
    pub backend_max_attempts: u16,
    /// How long requests in flight may take after SIGTERM
    #[arg(long, env = "LATCHKEY_DRAIN_TIMEOUT", default_value = "20s", value_parser = duration)]
    pub drain_timeout: Duration,
    /// Log filter: error, warn, info, debug, trace, or target=level pairs joined by commas
    #[arg(long, env = "LATCHKEY_LOG_LEVEL", default_value = "info")]
    pub log_level: String,
}

// === impl ServerArgs ===

impl ServerArgs {
    /// The names of the identity's files.
    #[must_use]
    pub fn file_names(&self) -> FileNames {
        FileNames {
            authority: self.tls_ca_cert_file.clone(),
            certificate: self.tls_cert_file.clone(),
            key: self.tls_key_file.clone(),
        }
    }

    /// The bounds of the service.
    #[must_use]
    pub fn limits(&self) -> ServiceLimits {
        ServiceLimits {
            max_concurrent_requests: usize::from(self.max_concurrent_requests.max(1)),
            max_response_bytes: usize::try_from(self.max_response_bytes).unwrap_or(usize::MAX),
            find_max_results: usize::try_from(self.find_max_results).unwrap_or(usize::MAX),
        }
    }
}

fn duration(text: &str) -> Result<Duration, String> {
    match latchkey_crds::duration::parse("value", text) {
        Ok(parsed) if !parsed.is_negative => Ok(parsed.absolute),
        _ => Err("use a duration such as 500ms, 30s or 5m".into()),
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::*;

    #[derive(clap::Parser)]
    struct Command {
        #[command(flatten)]
        server: ServerArgs,
    }

    #[test]
    fn defaults_are_those_of_the_specification() {
        let args = Command::parse_from(["provider"]).server;
        assert_eq!(args.listen_address.port(), 8080);
        assert_eq!(args.admin_address.port(), 8081);
        assert_eq!(args.tls_cert_dir, PathBuf::from("/etc/provider/certs"));
        assert_eq!(args.file_names(), FileNames::default());
        assert_eq!((args.find_concurrency, args.backend_max_attempts), (8, 3));
        assert_eq!(
            (args.backend_timeout.as_secs(), args.drain_timeout.as_secs()),
            (30, 20)
        );
        assert_eq!(args.read_cache_ttl, Duration::ZERO);
        assert!(args.credential_namespaces.is_empty());
    }

    #[test]
    fn lists_and_durations_are_parsed() {
        let args = Command::parse_from([
            "provider",
            "--credential-namespaces",
            "a,b",
            "--drain-timeout",
            "500ms",
        ])
        .server;
        assert_eq!(args.credential_namespaces, ["a", "b"]);
        assert_eq!(args.drain_timeout, Duration::from_millis(500));
        assert!(Command::try_parse_from(["provider", "--drain-timeout", "-1s"]).is_err());
        assert!(Command::try_parse_from(["provider", "--drain-timeout", "soon"]).is_err());
    }
}
