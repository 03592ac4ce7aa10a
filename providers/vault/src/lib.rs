//! The `HashicorpVault` provider server, for HashiCorp Vault and OpenBao.
//!
//! It reads the key-value engines, version 1 and 2: single values, maps and metadata. Everything else answers
//! `UNIMPLEMENTED`. A request passes through these modules:
//!
//! - [`provider`] reads the resource that configures the store, and [`settings`] checks it;
//! - [`credentials`] looks up what it refers to;
//! - `sessions` and `session` keep the client and the token of each store;
//! - `client` talks to the server; `paths`, `body` and `values` translate keys and answers;
//! - [`backend`] puts them together.

pub mod backend;
mod body;
mod buffer;
mod client;
pub mod credentials;
mod paths;
pub mod provider;
mod references;
mod session;
mod sessions;
pub mod settings;
mod values;

use latchkey_provider_sdk::{ServerArgs, ServerError, run_server};

pub use backend::{Backend, BackendOptions};
pub use client::Limits;
pub use provider::VaultProvider;

/// The HashicorpVault provider server
#[derive(Clone, Debug, clap::Parser)]
#[command(name = "provider-vault", version)]
pub struct Args {
    /// What all provider servers have.
    #[command(flatten)]
    pub server: ServerArgs,
    /// Keep the tokens of logins until they are about to expire; without it each request logs in and revokes its token
    #[arg(long, env = "LATCHKEY_VAULT_TOKEN_CACHE", default_value_t = true,
        action = clap::ArgAction::Set, num_args = 0..=1, default_missing_value = "true")]
    pub vault_token_cache: bool,
    /// Stores whose tokens are kept
    #[arg(long, env = "LATCHKEY_VAULT_TOKEN_CACHE_SIZE", default_value_t = 1024)]
    pub vault_token_cache_size: u32,
}

// === impl Args ===

impl Args {
    /// Stores whose tokens are kept, zero for none.
    fn token_cache_size(&self) -> usize {
        if self.vault_token_cache {
            usize::try_from(self.vault_token_cache_size).unwrap_or(usize::MAX)
        } else {
            0
        }
    }
}

/// Runs the server until it is told to stop.
///
/// # Errors
///
/// [`ServerError`] says which part could not start, or ended.
pub fn run(args: Args) -> Result<(), ServerError> {
    let token_cache_size = args.token_cache_size();
    run_server(
        "provider-vault",
        env!("CARGO_PKG_VERSION"),
        args.server,
        |context| {
            let backend = Backend::new(BackendOptions {
                limits: Limits {
                    timeout: context.args.backend_timeout,
                    attempts: u32::from(context.args.backend_max_attempts),
                },
                token_cache_size,
                read_cache_ttl: context.args.read_cache_ttl,
                metrics: context.metrics.clone(),
                stop: context.stop.clone(),
            });
            VaultProvider::new(context.cluster.clone(), backend)
        },
    )
}

#[cfg(test)]
mod tests {
    use clap::Parser as _;

    use super::Args;

    #[test]
    fn the_token_cache_is_on_unless_it_is_turned_off() {
        for (arguments, expected) in [
            (vec![], 1024),
            (vec!["--vault-token-cache"], 1024),
            (vec!["--vault-token-cache=false"], 0),
            (vec!["--vault-token-cache-size=7"], 7),
            (vec!["--vault-token-cache-size=0"], 0),
        ] {
            let args = Args::parse_from(std::iter::once("provider-vault").chain(arguments));
            assert_eq!(args.token_cache_size(), expected);
        }
        assert!(Args::try_parse_from(["provider-vault", "--vault-token-cache=maybe"]).is_err());
    }
}
