//! Objects of any kind: reading and writing them without leaving their values behind.
//!
//! Texts of an object move into the wiping type as they are read. They leave it for the body of a request only, and what the API type
//! still holds after that is overwritten. What the API server says about a write may quote the object, so only words that
//! cannot are told.

use std::fmt;

use k8s_openapi::apimachinery::pkg::apis::meta::v1::ObjectMeta;
use kube::Client;
use kube::api::{Api, DeleteParams, DynamicObject, PostParams, Preconditions, TypeMeta};
use kube::core::Status;
use kube::discovery::ApiResource;
use latchkey_engine::hash;
use latchkey_engine::tree::{Tree, wipe};

use super::super::names;
use super::super::target::{REQUEST_TIMEOUT, RequestError, bounded, describe};
use super::is_managed;

/// Fields of an object that are not its content.
const TYPE_AND_METADATA: [&str; 3] = ["apiVersion", "kind", "metadata"];

/// An object as it was read or shall be written.
#[derive(Clone)]
pub(super) struct Live {
    pub(super) metadata: ObjectMeta,
    /// All other fields, but for `apiVersion` and `kind`.
    pub(super) content: Tree,
}

/// An object with neither `spec` nor `data` (5.5).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("generic target content does not have a spec or data field for content hashing")]
pub(super) struct NoContent;

/// The objects of a kind in one namespace.
pub(super) struct Objects {
    api: Api<DynamicObject>,
    resource: ApiResource,
}

/// Why an object was not written, in words that show nothing of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum WriteError {
    /// It is not what it was when it was read.
    Conflict,
    /// There is one already.
    Exists,
    /// It, its namespace or its kind is gone.
    Missing,
    /// Anything else.
    Other(String),
}

// === impl Live ===

impl Live {
    /// Whether it carries our label.
    pub(super) fn is_managed(&self) -> bool {
        is_managed(&self.metadata)
    }

    /// The digest that it carries.
    pub(super) fn stored_hash(&self) -> Option<&str> {
        let annotations = self.metadata.annotations.as_ref()?;
        annotations
            .get(names::DATA_HASH_ANNOTATION)
            .map(String::as_str)
    }

    /// The digest of what is in it: of `spec` unless that is null, else of `data` (5.5).
    pub(super) fn content_hash(&self) -> Result<String, NoContent> {
        ["spec", "data"]
            .iter()
            .filter_map(|field| self.content.get(field))
            .find(|content| !content.is_null())
            .map(hash::of_tree)
            .ok_or(NoContent)
    }
}

impl From<DynamicObject> for Live {
    fn from(object: DynamicObject) -> Self {
        let mut content = Tree::from_json(object.data);
        if let Tree::Map(fields) = &mut content {
            fields.retain(|field, _| !TYPE_AND_METADATA.contains(&field.as_str()));
        }
        Self {
            metadata: object.metadata,
            content,
        }
    }
}

impl fmt::Debug for Live {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "Live({:?})", self.metadata.name)
    }
}

// === impl Objects ===

impl Objects {
    pub(super) fn new(client: &Client, namespace: &str, resource: &ApiResource) -> Self {
        Self {
            api: Api::namespaced_with(client.clone(), namespace, resource),
            resource: resource.clone(),
        }
    }

    pub(super) fn resource(&self) -> &ApiResource {
        &self.resource
    }

    /// Reads an object.
    pub(super) async fn read(&self, name: &str) -> Result<Option<Live>, RequestError> {
        Ok(bounded(self.api.get_opt(name)).await?.map(Live::from))
    }

    /// Reads the metadata of an object: its values stay where they are.
    pub(super) async fn read_metadata(
        &self,
        name: &str,
    ) -> Result<Option<ObjectMeta>, RequestError> {
        let found = bounded(self.api.get_metadata_opt(name)).await?;
        Ok(found.map(|object| object.metadata))
    }

    /// Creates an object.
    pub(super) async fn create(&self, desired: &Live) -> Result<(), WriteError> {
        let object = self.to_api(desired);
        let parameters = PostParams::default();
        let request = self.api.create(&parameters, &object);
        let written = write(request).await;
        wipe_object(object);
        written
    }

    /// Replaces an object, provided that it still is the one that was read.
    pub(super) async fn update(&self, desired: &Live) -> Result<(), WriteError> {
        let object = self.to_api(desired);
        let name = desired.metadata.name.as_deref().unwrap_or_default();
        let parameters = PostParams::default();
        let request = self.api.replace(name, &parameters, &object);
        let written = write(request).await;
        wipe_object(object);
        written
    }

    /// Deletes an object, provided that it still is the one that was seen. One that is gone already is a success.
    pub(super) async fn delete(&self, seen: &ObjectMeta) -> Result<(), RequestError> {
        let parameters = DeleteParams {
            preconditions: Some(Preconditions {
                uid: seen.uid.clone(),
                resource_version: seen.resource_version.clone(),
            }),
            ..DeleteParams::default()
        };
        let name = seen.name.as_deref().unwrap_or_default();
        let request = async {
            match self.api.delete(name, &parameters).await {
                Ok(outcome) => {
                    // What is deleted may come back in full.
                    if let Some(object) = outcome.left() {
                        wipe_object(object);
                    }
                    Ok(())
                }
                Err(kube::Error::Api(status)) if status.code == 404 => Ok(()),
                Err(error) => Err(error),
            }
        };
        bounded(request).await
    }

    fn to_api(&self, desired: &Live) -> DynamicObject {
        DynamicObject {
            types: Some(TypeMeta {
                api_version: self.resource.api_version.clone(),
                kind: self.resource.kind.clone(),
            }),
            metadata: desired.metadata.clone(),
            data: desired.content.to_json(),
        }
    }
}

fn wipe_object(mut object: DynamicObject) {
    wipe(&mut object.data);
}

/// Runs a request that writes an object, within [`REQUEST_TIMEOUT`].
async fn write(
    request: impl Future<Output = kube::Result<DynamicObject>>,
) -> Result<(), WriteError> {
    match tokio::time::timeout(REQUEST_TIMEOUT, request).await {
        Ok(Ok(written)) => {
            wipe_object(written);
            Ok(())
        }
        Ok(Err(kube::Error::Api(status))) => Err(refused(&status)),
        Ok(Err(error)) => Err(WriteError::Other(describe(&error))),
        Err(_) => Err(WriteError::Other(format!(
            "the API server did not answer within {} s",
            REQUEST_TIMEOUT.as_secs()
        ))),
    }
}

/// What the API server's refusal means.
fn refused(status: &Status) -> WriteError {
    match (status.code, status.reason.as_str()) {
        (409, "Conflict") => WriteError::Conflict,
        (409, "AlreadyExists") => WriteError::Exists,
        (404, _) => WriteError::Missing,
        (422, _) => WriteError::Other(wrong_fields(status)),
        // Words of the API server's own, about who asks and how much, never about what.
        (403, _)
            if [
                "is forbidden: User ",
                "is forbidden: exceeded quota",
                "because it is being terminated",
            ]
            .iter()
            .any(|words| status.message.contains(words)) =>
        {
            WriteError::Other(status.message.clone())
        }
        (code, reason) => WriteError::Other(format!(
            "the API server answered {code} {reason}; its words could show values and are left out"
        )),
    }
}

/// Which fields are wrong and how, without what is in them. Keys deep inside may have been rendered, too.
fn wrong_fields(status: &Status) -> String {
    let causes = status.details.iter().flat_map(|details| &details.causes);
    let mut fields: Vec<String> = causes
        .map(|cause| {
            let path = cause.field.split('[').next().unwrap_or_default();
            let path: Vec<&str> = path.split('.').take(2).collect();
            format!("{} ({})", path.join("."), cause.reason)
        })
        .collect();
    fields.dedup();
    format!(
        "the API server finds it invalid: {}; values are left out",
        fields.join(", ")
    )
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn live(object: Value) -> Live {
        Live::from(serde_json::from_value::<DynamicObject>(object).unwrap())
    }

    #[test]
    fn an_object_is_its_metadata_and_its_content() {
        let object = live(json!({
            "apiVersion": "example.com/v1", "kind": "Widget", "metadata": { "name": "w", "labels": { "a": "b" } },
            "spec": { "n": 3, "s": "canary" }, "status": { "ok": true },
        }));
        assert_eq!(object.metadata.name.as_deref(), Some("w"));
        assert_eq!(
            object.content.to_json(),
            json!({ "spec": { "n": 3, "s": "canary" }, "status": { "ok": true } })
        );
        assert!(!format!("{object:?}").contains("canary"));
    }

    #[test]
    fn the_digest_is_of_spec_and_else_of_data() {
        // externalsecret.md 5.5, appendix A, E194
        let config_map = "6ec6846638afbb3eb3667a7ddbb80c7aaae95b8883ef49299ebf3d20";
        let custom = "2881638bade09846c9fbe5b8a29aa2e0f8e510ba936e4b2c284ab3b0";
        let data = json!({ "host": "localhost", "port": "5432" });
        let spec = json!({ "enabled": true, "replicas": 3, "slack": { "channel": "ops" } });
        for (content, expected) in [
            (json!({ "data": data }), Ok(config_map)),
            (json!({ "spec": spec }), Ok(custom)),
            (json!({ "spec": spec, "data": data }), Ok(custom)),
            (json!({ "spec": null, "data": data }), Ok(config_map)),
            (json!({ "status": {} }), Err(NoContent)),
            (json!({ "spec": null }), Err(NoContent)),
        ] {
            let hash = live(content.clone()).content_hash();
            assert_eq!(
                hash.as_deref().map_err(|error| *error),
                expected,
                "{content}"
            );
        }
        assert_eq!(
            NoContent.to_string(),
            "generic target content does not have a spec or data field for content hashing"
        );
    }

    #[test]
    fn a_refusal_is_told_without_what_may_be_in_the_object() {
        let refusal = |status: Value| refused(&serde_json::from_value(status).unwrap());
        let other = |text: &str| WriteError::Other(text.to_owned());
        for (status, expected) in [
            (
                json!({ "code": 409, "reason": "Conflict" }),
                WriteError::Conflict,
            ),
            (
                json!({ "code": 409, "reason": "AlreadyExists" }),
                WriteError::Exists,
            ),
            (
                json!({ "code": 404, "reason": "NotFound", "message": "canary" }),
                WriteError::Missing,
            ),
            (
                json!({ "code": 403, "reason": "Forbidden", "message": "widgets.example.com is forbidden: User \"u\" cannot create resource" }),
                other("widgets.example.com is forbidden: User \"u\" cannot create resource"),
            ),
            (
                json!({ "code": 403, "reason": "Forbidden", "message": "admission webhook \"w\" denied the request: canary" }),
                other(
                    "the API server answered 403 Forbidden; its words could show values and are left out",
                ),
            ),
            (
                json!({ "code": 400, "reason": "BadRequest", "message": "canary" }),
                other(
                    "the API server answered 400 BadRequest; its words could show values and are left out",
                ),
            ),
            (
                json!({ "code": 422, "reason": "Invalid", "message": "canary", "details": { "causes": [
                    { "field": "spec.replicas", "reason": "FieldValueInvalid", "message": "Invalid value: \"canary\"" },
                    { "field": "data[canary]", "reason": "FieldValueInvalid", "message": "canary" },
                    { "field": "spec.data.canary", "reason": "FieldValueTooLong", "message": "canary" },
                ] } }),
                other(
                    "the API server finds it invalid: spec.replicas (FieldValueInvalid), data (FieldValueInvalid), spec.data (FieldValueTooLong); values are left out",
                ),
            ),
        ] {
            assert_eq!(refusal(status.clone()), expected, "{status}");
        }
    }
}
