//! Whether the installed ExternalSecret is one that this agent can serve.
//!
//! Where upstream's definition was installed over ours, the API server drops `secretStoreRef.apiVersion`, and every reference to a
//! v2 store silently turns into one to a v1 store (`pushsecret-and-stores.md` B5). Nothing is reconciled then.

use std::time::Duration;

use http::Request;
use kube::Client;
use serde_json::Value;
use tracing::{error, info};

use super::Metrics;

const SCHEMA_PATH: &str = "/openapi/v3/apis/external-secrets.io/v1";
const FIELD: &str = "/properties/spec/properties/secretStoreRef/properties/apiVersion";
/// Pause between two looks.
const PAUSE: Duration = Duration::from_secs(5);
/// One complaint per so many looks.
const LOOKS_PER_COMPLAINT: u32 = 12;
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);

/// Returns as soon as the API server serves an ExternalSecret with the field; complains once a minute until then.
pub(super) async fn wait_until_usable(client: &Client, metrics: &Metrics) {
    let mut looks = 0_u32;
    loop {
        match look(client).await {
            Ok(()) => break,
            Err(reason) => {
                metrics.usable(false);
                if looks.is_multiple_of(LOOKS_PER_COMPLAINT) {
                    error!("no ExternalSecret is reconciled: {reason}");
                }
            }
        }
        looks = looks.wrapping_add(1);
        tokio::time::sleep(PAUSE).await;
    }
    metrics.usable(true);
    if looks > 0 {
        info!("the installed ExternalSecret can be served");
    }
}

async fn look(client: &Client) -> Result<(), &'static str> {
    let request = Request::get(SCHEMA_PATH)
        .body(Vec::new())
        .map_err(|_| "the request cannot be made")?;
    match tokio::time::timeout(REQUEST_TIMEOUT, client.request::<Value>(request)).await {
        Ok(Ok(document)) if has_field(&document) => Ok(()),
        Ok(Ok(_)) => Err(
            "the installed ExternalSecret has no field secretStoreRef.apiVersion; install the definitions of this project",
        ),
        Ok(Err(kube::Error::Api(status))) if status.code == 404 => {
            Err("the definition of ExternalSecret is not installed")
        }
        Ok(Err(_)) => Err("the API server does not tell its schema"),
        Err(_) => Err("the API server does not answer"),
    }
}

fn has_field(document: &Value) -> bool {
    let schemas = document
        .pointer("/components/schemas")
        .and_then(Value::as_object);
    schemas.is_some_and(|schemas| {
        schemas
            .values()
            .any(|schema| schema.pointer(FIELD).is_some())
    })
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::has_field;

    #[test]
    fn the_field_is_found_in_any_schema_of_the_document() {
        // pushsecret-and-stores.md B5
        let document = |fields: serde_json::Value| {
            json!({ "components": { "schemas": {
                "other": { "type": "object" },
                "io.external-secrets.v1.ExternalSecret": { "properties": { "spec": { "properties": { "secretStoreRef": { "properties": fields } } } } },
            } } })
        };
        assert!(has_field(&document(
            json!({ "apiVersion": { "type": "string" }, "name": {} })
        )));
        assert!(!has_field(&document(json!({ "name": {} }))));
        assert!(!has_field(&json!({})));
    }
}
