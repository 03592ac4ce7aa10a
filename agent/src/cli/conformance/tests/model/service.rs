//! The calls of the server.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use latchkey_proto::generator::v1 as generator;
use latchkey_proto::generator::v1::generator_provider_server::GeneratorProvider;
use latchkey_proto::provider::v1 as wire;
use latchkey_proto::provider::v1::secret_store_provider_server::SecretStoreProvider;
use regex::Regex;
use tonic::{Code, Request, Response, Status};

use super::{Abandoned, CANARY, DATA, Dialect, Fault, GENERATOR_GROUP, Service};

#[tonic::async_trait]
impl SecretStoreProvider for Service {
    async fn get_secret(
        &self,
        request: Request<wire::GetSecretRequest>,
    ) -> Result<Response<wire::GetSecretResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        state.prepare(request.provider_ref, &request.source_namespace)?;
        if state.has(Fault::StopsWhenAbandoned) {
            if state.is_stopped.load(Ordering::SeqCst) {
                return Err(Status::unavailable("stopped"));
            }
            let mut abandoned = Abandoned(Some(&state.is_stopped));
            tokio::time::sleep(Duration::from_millis(20)).await;
            abandoned.0 = None;
        }
        let remote = request
            .remote_ref
            .ok_or_else(|| state.invalid("remote ref is nil"))?;
        let value = state.value(&remote.key, &remote.version)?;
        let value = state.property(&value, &remote.property)?;
        Ok(Response::new(wire::GetSecretResponse { value }))
    }

    async fn get_secret_map(
        &self,
        request: Request<wire::GetSecretMapRequest>,
    ) -> Result<Response<wire::GetSecretMapResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        state.prepare(request.provider_ref, &request.source_namespace)?;
        let remote = request
            .remote_ref
            .ok_or_else(|| state.invalid("remote ref is nil"))?;
        let value = match state.value(&remote.key, &remote.version) {
            Err(_) if state.has(Fault::MissingMapIsUnknown) => {
                return Err(Status::unknown("Secret does not exist"));
            }
            value => value?,
        };
        let secrets = state.map(&value)?;
        Ok(Response::new(wire::GetSecretMapResponse { secrets }))
    }

    async fn push_secret(
        &self,
        request: Request<wire::PushSecretRequest>,
    ) -> Result<Response<wire::PushSecretResponse>, Status> {
        let state = &self.0;
        let mut request = request.into_inner();
        state.prepare(request.provider_ref, &request.source_namespace)?;
        let data = request.push_secret_data.unwrap_or_default();
        let is_own = DATA.iter().any(|entry| entry.0 == data.remote_key);
        if is_own && !state.has(Fault::OverwritesAll) {
            return Err(state.refuse(Code::Aborted, "CONFLICT", "key already exists"));
        }
        let value = request
            .secret_data
            .remove(&data.secret_key)
            .unwrap_or_default();
        let mut pushed = state.pushed.lock();
        if !(state.has(Fault::KeepsFirstPush) && pushed.contains_key(&data.remote_key)) {
            pushed.insert(data.remote_key, value);
        }
        Ok(Response::new(wire::PushSecretResponse {}))
    }

    async fn delete_secret(
        &self,
        request: Request<wire::DeleteSecretRequest>,
    ) -> Result<Response<wire::DeleteSecretResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        state.prepare(request.provider_ref, &request.source_namespace)?;
        let removed = state
            .pushed
            .lock()
            .remove(&request.remote_ref.unwrap_or_default().remote_key);
        if removed.is_none() && state.has(Fault::DeleteNeedsValue) {
            return Err(Status::not_found("nothing to delete"));
        }
        Ok(Response::new(wire::DeleteSecretResponse {}))
    }

    async fn secret_exists(
        &self,
        request: Request<wire::SecretExistsRequest>,
    ) -> Result<Response<wire::SecretExistsResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        state.prepare(request.provider_ref, &request.source_namespace)?;
        let key = request.remote_ref.unwrap_or_default().remote_key;
        let exists = state.value(&key, "").is_ok() && !state.has(Fault::NothingExists);
        Ok(Response::new(wire::SecretExistsResponse { exists }))
    }

    async fn get_all_secrets(
        &self,
        request: Request<wire::GetAllSecretsRequest>,
    ) -> Result<Response<wire::GetAllSecretsResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        state.prepare(request.provider_ref, &request.source_namespace)?;
        let Some(name) = request.find.and_then(|find| find.name) else {
            return Err(match state.fault {
                Some(Fault::NamelessIsNotFound) => Status::not_found("nothing"),
                _ => state.invalid("unsupported find operator"),
            });
        };
        let regexp = Regex::new(&name.regexp).map_err(|_| state.invalid("no regexp"))?;
        let is_found = |key: &str| {
            !state.has(Fault::FindsNothing) && (state.has(Fault::FindsAll) || regexp.is_match(key))
        };
        let mut versions = BTreeMap::new();
        for (key, value, version) in DATA.iter().filter(|entry| is_found(entry.0)) {
            let greatest = versions.entry(*key).or_insert((*version, *value));
            if version > &greatest.0 && !state.has(Fault::FindsFirstVersion) {
                *greatest = (*version, *value);
            }
        }
        let value = |(_, value): (&str, &str)| value.as_bytes().to_vec();
        let found = versions.into_iter();
        let secrets = found
            .map(|(key, best)| (key.to_owned(), value(best)))
            .collect();
        Ok(Response::new(wire::GetAllSecretsResponse { secrets }))
    }

    async fn validate(
        &self,
        request: Request<wire::ValidateRequest>,
    ) -> Result<Response<wire::ValidateResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        if request.source_namespace.is_empty() && state.has(Fault::ValidateNeedsSource) {
            return Err(state.invalid("source namespace is required"));
        }
        let name = state.object(request.provider_ref, &request.source_namespace)?;
        let (valid, error, warnings) = match (&*name, state.dialect) {
            ("broken", _) if !state.has(Fault::InvalidIsValid) => {
                (false, "unable to validate", vec![])
            }
            ("unsure", _) if state.has(Fault::UnsureIsSilent) => (true, "", vec![]),
            ("unsure", Dialect::Upstream) => (false, "unable to validate", vec![]),
            ("unsure", Dialect::Own) => (true, "", vec!["unable to validate".to_owned()]),
            _ => (true, "", vec![]),
        };
        Ok(Response::new(wire::ValidateResponse {
            valid,
            error: error.to_owned(),
            warnings,
        }))
    }

    async fn capabilities(
        &self,
        request: Request<wire::CapabilitiesRequest>,
    ) -> Result<Response<wire::CapabilitiesResponse>, Status> {
        let state = &self.0;
        let request = request.into_inner();
        let reference = request.provider_ref.unwrap_or_default();
        state.kind(&reference.api_version, &reference.kind)?;
        if state.has(Fault::CapabilitiesOfObjects) {
            state.object(Some(reference), &request.source_namespace)?;
        }
        let capabilities = match state.fault {
            Some(Fault::UnknownCapability) => 9,
            Some(Fault::ReadOnly) => 0,
            _ => 2,
        };
        Ok(Response::new(wire::CapabilitiesResponse { capabilities }))
    }
}

#[tonic::async_trait]
impl GeneratorProvider for Service {
    async fn generate(
        &self,
        request: Request<generator::GenerateRequest>,
    ) -> Result<Response<generator::GenerateResponse>, Status> {
        let state = &self.0;
        let reference = request.into_inner().generator_ref.unwrap_or_default();
        let group = reference.api_version.split('/').next().unwrap_or_default();
        if group != GENERATOR_GROUP && !state.has(Fault::AnyGroup) {
            let text = "generatorRef may only reference the generators group, but got x";
            return Err(state.refuse(Code::InvalidArgument, "UNSUPPORTED_KIND", text));
        }
        let left = if state.has(Fault::StateIsText) {
            "id 1"
        } else {
            r#"{"id":1}"#
        };
        Ok(Response::new(generator::GenerateResponse {
            secrets: [("password".to_owned(), CANARY.into())].into(),
            state: left.into(),
        }))
    }

    async fn cleanup(
        &self,
        _: Request<generator::CleanupRequest>,
    ) -> Result<Response<generator::CleanupResponse>, Status> {
        // The first is that of PC-26.
        if self.0.cleanups.fetch_add(1, Ordering::SeqCst) >= 2 && self.0.has(Fault::CleanupOnce) {
            return Err(Status::unknown("no such state"));
        }
        Ok(Response::new(generator::CleanupResponse {}))
    }
}
