//! What the CSIDriver object says (csi.md 4.1).
//!
//! It is read without its type: `serviceAccountTokenInSecrets` is younger than the API version that the types are of, and an
//! agent that did not see it would believe tokens that the pod's author wrote.

use k8s_openapi::api::storage::v1::CSIDriver;
use kube::Client;
use kube::api::{Api, ApiResource, DynamicObject};
use latchkey_csi::TokenDelivery;
use serde_json::Value;

/// CSIDriver objects as they are stored.
pub(super) fn api(client: Client) -> Api<DynamicObject> {
    Api::all_with(client, &ApiResource::erase::<CSIDriver>(&()))
}

/// Whether kubelet vouches for what it says of pods (csi.md R7).
pub(super) fn vouches(driver: &DynamicObject) -> bool {
    driver.data["spec"]["podInfoOnMount"] == Value::Bool(true)
}

/// How kubelet hands over tokens (csi.md 9.2). Without requests it writes none, and whatever stands there is the pod author's.
pub(super) fn token_delivery(driver: &DynamicObject) -> TokenDelivery {
    let spec = &driver.data["spec"];
    let has_requests = spec["tokenRequests"]
        .as_array()
        .is_some_and(|requests| !requests.is_empty());
    match (
        has_requests,
        spec["serviceAccountTokenInSecrets"] == Value::Bool(true),
    ) {
        (false, _) => TokenDelivery::Off,
        (true, false) => TokenDelivery::VolumeContext,
        (true, true) => TokenDelivery::Secrets,
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn tokens_are_believed_only_where_kubelet_writes_them() {
        // csi.md 4.1, 9.2
        let requests = json!([{"audience": "vault"}]);
        for (spec, vouched, delivery) in [
            (json!({"podInfoOnMount": true}), true, TokenDelivery::Off),
            (
                json!({"tokenRequests": [], "serviceAccountTokenInSecrets": true}),
                false,
                TokenDelivery::Off,
            ),
            (
                json!({"podInfoOnMount": true, "tokenRequests": requests}),
                true,
                TokenDelivery::VolumeContext,
            ),
            (
                json!({"podInfoOnMount": false, "tokenRequests": requests, "serviceAccountTokenInSecrets": false}),
                false,
                TokenDelivery::VolumeContext,
            ),
            (
                json!({"podInfoOnMount": true, "tokenRequests": requests, "serviceAccountTokenInSecrets": true}),
                true,
                TokenDelivery::Secrets,
            ),
        ] {
            let driver: DynamicObject = serde_json::from_value(json!({
                "apiVersion": "storage.k8s.io/v1", "kind": "CSIDriver",
                "metadata": {"name": "csi.latchkey.dev"}, "spec": spec,
            }))
            .unwrap();
            assert_eq!(vouches(&driver), vouched, "{:?}", driver.data);
            assert_eq!(token_delivery(&driver), delivery, "{:?}", driver.data);
        }
    }
}
