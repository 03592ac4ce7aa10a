//! One fetch of one ExternalSecret through the engine, with a panic and an endless wait turned into failures.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt;
use latchkey_crds::external_secret::ExternalSecret;
use latchkey_csi::backend::FailureClass;
use latchkey_engine::source::{Caller, Source};
use latchkey_secret::SecretData;

use super::attributes::ObjectKey;
use super::failure::{Failed, Patience};

/// Longest time of one fetch, all entries and retries of the source included.
const TIMEOUT: Duration = Duration::from_secs(110);

/// Fetches what `object` asks for.
///
/// # Errors
///
/// A [`Failed`] that names the object.
pub(super) async fn fetch<S: Source>(
    source: &S,
    key: &ObjectKey,
    object: &ExternalSecret,
) -> Result<SecretData, Failed> {
    let caller = Caller {
        namespace: key.namespace.clone(),
        name: key.name.clone(),
        uid: object.metadata.uid.clone().unwrap_or_default(),
    };
    let work = AssertUnwindSafe(resolve(source, key, &caller, object)).catch_unwind();
    match tokio::time::timeout(TIMEOUT, work).await {
        Ok(Ok(result)) => result,
        Ok(Err(_)) => {
            let text =
                format!("ExternalSecret {key} made the agent fail internally; please report it");
            Err(Failed::new(
                FailureClass::Unavailable,
                Patience::Never,
                text,
            ))
        }
        Err(_) => {
            let text = format!(
                "ExternalSecret {key} was not answered within {} s; it is tried again by itself",
                TIMEOUT.as_secs()
            );
            Err(Failed::new(
                FailureClass::Unavailable,
                Patience::Later,
                text,
            ))
        }
    }
}

// Until the engine's own `resolve` is called here.
async fn resolve<S: Source>(
    source: &S,
    key: &ObjectKey,
    caller: &Caller,
    object: &ExternalSecret,
) -> Result<SecretData, Failed> {
    let mut data = SecretData::new();
    for (index, entry) in object.spec.data.iter().enumerate() {
        let store = object.spec.secret_store_ref.clone().unwrap_or_default();
        let value = source.secret(caller, &store, &entry.remote_ref).await.map_err(|error| {
            Failed::of_fetch(&error, &format!("ExternalSecret {key}: error processing spec.data[{index}] (key: {}), err: {error}", entry.remote_ref.key))
        })?;
        data.insert(entry.secret_key.clone(), value);
    }
    Ok(data)
}
