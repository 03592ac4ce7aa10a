//! What a key-value engine answers, and what is made of its refusals (providers specification 8.5 and 8.9).

use http::StatusCode;
use latchkey_provider_sdk::{ErrorClass, ProviderError, RemoteRef};
use latchkey_secret::SecretValue;
use zeroize::Zeroizing;

use crate::body::Value;
use crate::client::answer::error_text;
use crate::client::{Answer, Call};
use crate::credentials::CredentialSource;
use crate::paths::{ApiPath, KvVersion};
use crate::session::Session;
use crate::values;

/// Names of the calls in metrics.
pub(super) const READ: &str = "ReadSecretData";
pub(super) const READ_METADATA: &str = "ReadSecretMetadata";
const READ_MOUNT: &str = "ReadMount";

/// Text by which Vault says that a path belongs to a version 2 engine but is not one of its paths.
const VERSIONED_HINT: &str = "Invalid path for a versioned K/V secrets engine";

/// The data or the metadata that `call` reads, as the text of a JSON object.
pub(super) async fn fetch(
    session: &Session,
    credentials: &impl CredentialSource,
    call: &Call,
) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let answer = session.call(credentials, call).await?;
    let body = match accepted(&answer, session, &call.path) {
        Ok(body) => body,
        Err(error) if error.class() == ErrorClass::SecretNotFound => {
            // Version 1 answers a version 2 path like any other missing secret. Before anybody deletes something because of
            // it, the server is asked whether the mount is what the store says (P-33).
            check_mount(session, credentials).await?;
            return Err(error);
        }
        Err(error) => return Err(error),
    };
    if call.name == READ_METADATA {
        return values::metadata(data_member(body)?);
    }
    let data = secret_data(body, session.settings.version)?;
    Ok(Zeroizing::new(data.text().to_vec()))
}

/// The version as a number; `None` for the current one.
///
/// # Errors
///
/// `INVALID_ARGUMENT` for text that is no number, and for any version with version 1 of the engine (P-32).
pub(super) fn version_query(
    engine: KvVersion,
    remote: &RemoteRef,
) -> Result<Option<u64>, ProviderError> {
    if remote.version.is_empty() {
        return Ok(None);
    }
    if engine == KvVersion::V1 {
        return Err(ProviderError::invalid_argument(
            "kv version v1 has no versions: remoteRef.version must be empty",
        ));
    }
    match remote.version.parse() {
        Ok(version) => Ok(Some(version)),
        Err(_) => Err(ProviderError::invalid_argument(format!(
            "version \"{}\" is not a number",
            remote.version
        ))),
    }
}

/// The body of an answer that has what was asked for.
///
/// Only what the engine itself says about a missing secret becomes `SECRET_NOT_FOUND`: it may make an agent delete a Secret.
/// A wrong mount (P-33), a missing namespace and a proxy's own 404 are other errors.
fn accepted<'a>(
    answer: &'a Answer,
    session: &Session,
    path: &ApiPath,
) -> Result<Value<'a>, ProviderError> {
    let origin = session.client.origin();
    let status = answer.status;
    let secrets = session.secrets();
    let secrets: Vec<&SecretValue> = secrets.iter().collect();
    if status.is_success() {
        return answer.json();
    }
    let text = answer.error_text(&secrets);
    let detailed = |what: &str| {
        if text.is_empty() {
            format!("{what} {path} of vault server {origin}")
        } else {
            format!("{what} {path} of vault server {origin}: {text}")
        }
    };
    Err(match status {
        StatusCode::NOT_FOUND => not_found(answer.json()?, &secrets, &origin, path),
        StatusCode::FORBIDDEN if text.contains("invalid token") || text.contains("bad token") => {
            ProviderError::new(
                ErrorClass::Unauthenticated,
                detailed("the token was not accepted for"),
            )
        }
        StatusCode::UNAUTHORIZED => ProviderError::new(
            ErrorClass::Unauthenticated,
            detailed("the token was not accepted for"),
        ),
        StatusCode::FORBIDDEN => {
            let text = detailed("cannot read") + &session.on_whose_behalf();
            ProviderError::new(ErrorClass::PermissionDenied, text)
        }
        StatusCode::BAD_REQUEST => ProviderError::invalid_argument(detailed("cannot read")),
        StatusCode::METHOD_NOT_ALLOWED => ProviderError::invalid_config(detailed("cannot read")),
        other => ProviderError::internal(format!(
            "status {} for {path} of vault server {origin}",
            other.as_u16()
        )),
    })
}

fn not_found(
    body: Value<'_>,
    secrets: &[&SecretValue],
    origin: &str,
    path: &ApiPath,
) -> ProviderError {
    let text = error_text(body, secrets);
    if !text.is_empty() {
        return ProviderError::invalid_config(format!(
            "no secrets at {path} of vault server {origin}: {text}"
        ));
    }
    if body
        .messages("warnings")
        .iter()
        .any(|warning| warning.contains(VERSIONED_HINT))
    {
        return ProviderError::invalid_config(format!(
            "the engine at {path} of vault server {origin} has version 2, but not at this path: check path and version"
        ));
    }
    let is_deleted = body
        .member("data")
        .and_then(|data| data.member("data"))
        .is_some_and(Value::is_null);
    let is_absent = body.member("errors").is_some_and(Value::is_empty_array);
    if is_deleted || is_absent {
        return ProviderError::secret_not_found();
    }
    ProviderError::new(
        ErrorClass::BackendUnavailable,
        format!(
            "the answer with status 404 for {path} does not come from a key-value engine of vault server {origin}"
        ),
    )
}

/// The member `data` of an answer.
fn data_member(body: Value<'_>) -> Result<Value<'_>, ProviderError> {
    body.member("data")
        .ok_or_else(|| ProviderError::invalid_payload("failed to find data field"))
}

/// The secret in the answer to a read.
fn secret_data(body: Value<'_>, version: KvVersion) -> Result<Value<'_>, ProviderError> {
    let mut data = data_member(body)?;
    if version == KvVersion::V2 {
        data = data_member(data)?;
    }
    if data.is_null() {
        return Err(ProviderError::secret_not_found());
    }
    if !data.is_object() {
        return Err(ProviderError::invalid_payload(
            "the data field is not an object",
        ));
    }
    Ok(data)
}

/// Asks the server what is mounted where the store says a key-value engine is (8.9). A server that does not want to tell is
/// not held against the store.
///
/// # Errors
///
/// `INVALID_CONFIG` if it is something else.
pub(super) async fn check_mount(
    session: &Session,
    credentials: &impl CredentialSource,
) -> Result<(), ProviderError> {
    let settings = &session.settings;
    let Some(mount) = &settings.mount else {
        return Ok(());
    };
    let call = Call::get(
        READ_MOUNT,
        ApiPath::fixed("sys/internal/ui/mounts").join(mount)?,
    );
    let answer = session.ask(credentials, &call).await?;
    if !answer.status.is_success() {
        return Ok(());
    }
    let Ok(body) = answer.json() else {
        return Ok(());
    };
    let Some(data) = body.member("data") else {
        return Ok(());
    };
    let text = |value: Option<Value<'_>>| value.and_then(Value::plain);
    let wanted = match settings.version {
        KvVersion::V1 => "1",
        KvVersion::V2 => "2",
    };
    if let Some(engine) =
        text(data.member("type")).filter(|engine| engine != "kv" && engine != "generic")
    {
        return Err(ProviderError::invalid_config(format!(
            "expected engine type kv at {mount} found {engine}"
        )));
    }
    let found = text(
        data.member("options")
            .and_then(|options| options.member("version")),
    )
    .unwrap_or("1".to_owned());
    if found != wanted {
        return Err(ProviderError::invalid_config(format!(
            "expected kv engine version {wanted} found version {found}"
        )));
    }
    // With version 2 the path must be the mount itself: `data/` is inserted right behind it.
    if let Some(actual) = text(data.member("path"))
        && settings.version == KvVersion::V2
        && actual.trim_matches('/') != mount
    {
        return Err(ProviderError::invalid_config(format!(
            "path \"{mount}\" is not a mount: the engine is mounted at \"{}\"",
            actual.trim_matches('/')
        )));
    }
    Ok(())
}
