//! What every check shares: the connection, the subject, the requests.

use std::future::Future;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use latchkey_proto::code_name;
use latchkey_proto::generator::v1 as generator;
use latchkey_proto::provider::v1 as wire;
use latchkey_secret::{SecretData, SecretValue};
use latchkey_transport::{Address, ClientOptions, Connection, Identity, SharedIdentity};
use regex::Regex;
use rustls::ClientConfig;
use tonic::{Code, Request, Response, Status};
use tonic_health::pb::HealthCheckRequest;
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use zeroize::Zeroizing;

use super::reference::Reference;
use super::subject::{Generator, Store};
use super::{ConformanceArgs, Entry, Failure, exit, probe};
use crate::providers::sanitise;

/// Beginning of every name that the suite makes up.
const PREFIX: &str = "latchkey-conformance-";

/// Shortest value that is masked in texts of the server, in bytes: a shorter one is part of any text.
const SHORTEST_MASKED: usize = 4;

/// Everything that the checks work with.
pub(super) struct Suite {
    /// The connection of a good client.
    pub(super) connection: Connection,
    pub(super) probes: Probes,
    pub(super) timeout: Duration,
    pub(super) store: Option<Store>,
    pub(super) generator: Option<Generator>,
    pub(super) existing: Vec<Entry>,
    pub(super) absent_version: String,
    pub(super) json: Option<String>,
    pub(super) find: Option<Regex>,
    pub(super) found: Vec<Entry>,
    pub(super) invalid: Option<wire::ProviderReference>,
    pub(super) unsure: Option<wire::ProviderReference>,
    pub(super) write: bool,
    pub(super) protected: Option<String>,
    /// How long an idle connection is watched, if it is at all.
    pub(super) slow: Option<Duration>,
}

/// What connections by hand are made with.
pub(super) struct Probes {
    pub(super) address: Address,
    pub(super) server_name: Option<String>,
    pub(super) identity: Arc<ClientConfig>,
    pub(super) anonymous: Arc<ClientConfig>,
    pub(super) foreign: Arc<ClientConfig>,
    /// A server's certificate shown by a client, if one was given.
    pub(super) server: Option<Arc<ClientConfig>>,
}

// === impl Suite ===

impl Suite {
    /// Reads what the flags name. Nothing is sent yet.
    pub(super) fn open(args: &ConformanceArgs) -> Result<Self, Failure> {
        let (ca, cert, key) = (read(&args.ca)?, read(&args.cert)?, read(&args.key)?);
        let data = |error: String| Failure::new(exit::DATA, error);
        let identity =
            Identity::from_pem(&ca, &cert, &key).map_err(|error| data(error.to_string()))?;
        let options = ClientOptions {
            server_name: args.server_name.clone(),
            ..ClientOptions::default()
        };
        let connection = Connection::open(&args.address, SharedIdentity::new(identity), &options)
            .map_err(|error| Failure::new(exit::USAGE, error.to_string()))?;
        let config = |pair: Option<(&[u8], &[u8])>| probe::config(&ca, pair).map_err(data);
        let foreign = probe::foreign_client().map_err(|text| Failure::new(exit::SOFTWARE, text))?;
        let server = match (&args.server_cert, &args.server_key) {
            (Some(cert), Some(key)) => Some(config(Some((&read(cert)?[..], &read(key)?[..])))?),
            _ => None,
        };
        let probes = Probes {
            address: args.address.clone(),
            server_name: args.server_name.clone(),
            identity: config(Some((&cert[..], &key[..])))?,
            anonymous: config(None)?,
            foreign: config(Some((&foreign.0[..], &foreign.1[..])))?,
            server,
        };
        let store = args.provider_ref.as_ref();
        let store = store
            .map(|reference| Store::of(reference, args))
            .transpose()?;
        let sibling = |reference: Option<&Reference>| match (reference, &store) {
            (Some(reference), Some(store)) => Some(store.sibling(reference)),
            _ => None,
        };
        let generator = args.generator_ref.as_ref();
        let generator = generator
            .map(|reference| Generator::of(reference, args))
            .transpose()?;
        let mut existing = args.existing.clone();
        for (key, file) in &args.existing_file {
            let value = read(Path::new(file))?;
            existing.push(Entry {
                key: key.clone(),
                value: SecretValue::new(value.to_vec()),
            });
        }
        Ok(Self {
            invalid: sibling(args.invalid_ref.as_ref()),
            unsure: sibling(args.unsure_ref.as_ref()),
            connection,
            probes,
            timeout: args.answer_timeout(),
            store,
            generator,
            existing,
            absent_version: args.absent_version.clone(),
            json: args.json.clone(),
            find: args.find_regexp.clone(),
            found: args.found.clone(),
            write: args.write,
            protected: args.protected.clone(),
            slow: args.slow.then(|| Duration::from_secs(args.slow_time)),
        })
    }

    /// Makes the connection.
    pub(super) async fn reach(&self) -> Result<(), Failure> {
        match self.health("").await {
            Err(status) if Connection::is_local(&status) => {
                Err(Failure::new(exit::UNAVAILABLE, self.tell(&status)))
            }
            // A server without health is reached all the same; PC-15 tells it.
            _ => Ok(()),
        }
    }

    /// Code and text of a refusal, fit for a report.
    pub(super) fn tell(&self, status: &Status) -> String {
        if let Some(error) = self.connection.explain(status) {
            return error.to_string();
        }
        let code = code_name(status.code());
        match self.masked(status.message()) {
            text if text.is_empty() => code.to_owned(),
            text => format!("{code} \"{text}\""),
        }
    }

    /// A text of the server, fit for a report.
    pub(super) fn masked(&self, text: &str) -> String {
        let mut text = text.to_owned();
        for entry in self.existing.iter().chain(&self.found) {
            if let Ok(value) = std::str::from_utf8(entry.value.expose())
                && value.len() >= SHORTEST_MASKED
            {
                text = text.replace(value, "[value]");
            }
        }
        sanitise(&text)
    }

    /// Waits for one answer.
    async fn ask<Q, A, F>(
        &self,
        request: Q,
        call: impl FnOnce(Request<Q>) -> F,
    ) -> Result<A, Status>
    where
        F: Future<Output = Result<Response<A>, Status>>,
    {
        let mut request = Request::new(request);
        request.set_timeout(self.timeout);
        match tokio::time::timeout(self.timeout, call(request)).await {
            Ok(answer) => answer.map(Response::into_inner),
            Err(_) => Err(Status::deadline_exceeded(format!(
                "no answer within {} s",
                self.timeout.as_secs()
            ))),
        }
    }

    /// What the server says of its health under this name.
    pub(super) async fn health(&self, service: &str) -> Result<ServingStatus, Status> {
        let request = HealthCheckRequest {
            service: service.to_owned(),
        };
        let mut client = HealthClient::new(self.connection.channel());
        let answer = self
            .ask(request, async |request| client.check(request).await)
            .await?;
        Ok(answer.status())
    }

    pub(super) async fn get(&self, request: wire::GetSecretRequest) -> Result<SecretValue, Status> {
        let mut client = self.connection.store_client();
        self.ask(request, async |request| client.get_secret(request).await)
            .await
            .map(|answer| SecretValue::new(answer.value))
    }

    pub(super) async fn get_map(
        &self,
        request: wire::GetSecretRequest,
    ) -> Result<SecretData, Status> {
        let request = wire::GetSecretMapRequest {
            remote_ref: request.remote_ref,
            provider_ref: request.provider_ref,
            source_namespace: request.source_namespace,
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| {
            client.get_secret_map(request).await
        })
        .await
        .map(|answer| secret_data(answer.secrets))
    }

    pub(super) async fn find_all(
        &self,
        store: &Store,
        find: wire::ExternalSecretFind,
    ) -> Result<SecretData, Status> {
        let request = wire::GetAllSecretsRequest {
            provider_ref: Some(store.reference.clone()),
            find: Some(find),
            source_namespace: store.source.clone(),
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| {
            client.get_all_secrets(request).await
        })
        .await
        .map(|answer| secret_data(answer.secrets))
    }

    pub(super) async fn validate(
        &self,
        reference: &wire::ProviderReference,
        source: &str,
    ) -> Result<wire::ValidateResponse, Status> {
        let request = wire::ValidateRequest {
            provider_ref: Some(reference.clone()),
            source_namespace: source.to_owned(),
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| client.validate(request).await)
            .await
    }

    /// The number that the server answers.
    pub(super) async fn capabilities(
        &self,
        reference: wire::ProviderReference,
        source: &str,
    ) -> Result<i32, Status> {
        let request = wire::CapabilitiesRequest {
            provider_ref: Some(reference),
            source_namespace: source.to_owned(),
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| client.capabilities(request).await)
            .await
            .map(|answer| answer.capabilities)
    }

    pub(super) async fn push(
        &self,
        store: &Store,
        key: &str,
        value: Vec<u8>,
    ) -> Result<(), Status> {
        const SECRET_KEY: &str = "value";
        let request = wire::PushSecretRequest {
            provider_ref: Some(store.reference.clone()),
            secret_data: [(SECRET_KEY.to_owned(), value)].into(),
            push_secret_data: Some(wire::PushSecretData {
                secret_key: SECRET_KEY.to_owned(),
                remote_key: key.to_owned(),
                ..Default::default()
            }),
            source_namespace: store.source.clone(),
            secret_type: String::from("Opaque"),
            ..Default::default()
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| client.push_secret(request).await)
            .await
            .map(drop)
    }

    pub(super) async fn delete(&self, store: &Store, key: &str) -> Result<(), Status> {
        let request = wire::DeleteSecretRequest {
            provider_ref: Some(store.reference.clone()),
            remote_ref: Some(remote(key)),
            source_namespace: store.source.clone(),
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| client.delete_secret(request).await)
            .await
            .map(drop)
    }

    pub(super) async fn exists(&self, store: &Store, key: &str) -> Result<bool, Status> {
        let request = wire::SecretExistsRequest {
            provider_ref: Some(store.reference.clone()),
            remote_ref: Some(remote(key)),
            source_namespace: store.source.clone(),
        };
        let mut client = self.connection.store_client();
        self.ask(request, async |request| client.secret_exists(request).await)
            .await
            .map(|answer| answer.exists)
    }

    /// Values, and what it takes to revoke them.
    pub(super) async fn generate(
        &self,
        reference: generator::GeneratorRef,
        source: &str,
    ) -> Result<(SecretData, Vec<u8>), Status> {
        let request = generator::GenerateRequest {
            generator_ref: Some(reference),
            source_namespace: source.to_owned(),
        };
        let mut client = self.connection.generator_client();
        let answer = self
            .ask(request, async |request| client.generate(request).await)
            .await?;
        Ok((secret_data(answer.secrets), answer.state))
    }

    pub(super) async fn cleanup(&self, generator: &Generator, state: &[u8]) -> Result<(), Status> {
        let request = generator::CleanupRequest {
            generator_ref: Some(generator.reference.clone()),
            state: state.to_vec(),
            source_namespace: generator.source.clone(),
        };
        let mut client = self.connection.generator_client();
        self.ask(request, async |request| client.cleanup(request).await)
            .await
            .map(drop)
    }
}

/// A name that nothing has.
pub(super) fn made_up() -> String {
    format!("{PREFIX}{:016x}", rand::random::<u64>())
}

fn remote(key: &str) -> wire::PushSecretRemoteRef {
    wire::PushSecretRemoteRef {
        remote_key: key.to_owned(),
        property: String::new(),
    }
}

fn secret_data(secrets: std::collections::BTreeMap<String, Vec<u8>>) -> SecretData {
    let values = secrets.into_iter();
    values
        .map(|(key, value)| (key, SecretValue::new(value)))
        .collect()
}

fn read(path: &Path) -> Result<Zeroizing<Vec<u8>>, Failure> {
    std::fs::read(path).map(Zeroizing::new).map_err(|error| {
        Failure::new(
            exit::NO_INPUT,
            format!("failed to read {}: {error}", path.display()),
        )
    })
}

/// Whether nothing but the operation is missing, as a kind that cannot do it says.
pub(super) fn is_unsupported(status: &Status) -> bool {
    status.code() == Code::Unimplemented
}
