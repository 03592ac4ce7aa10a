use std::sync::Arc;

use latchkey_crds::provider_fake::Fake;
use latchkey_provider_sdk::{
    Operation, Provider as _, ProviderReference, RemoteRef, RequestContext,
};
use latchkey_secret::SecretValue;
use serde_json::json;

use super::*;

fn context(operation: Operation) -> RequestContext {
    let reference = ProviderReference {
        api_version: KIND.api_version.to_owned(),
        kind: KIND.kind.to_owned(),
        name: "f".to_owned(),
        namespace: "s".to_owned(),
    };
    RequestContext::try_new(operation, reference, "s", "SecretStore", None).unwrap()
}

fn remote(key: &str) -> RemoteRef {
    RemoteRef {
        key: key.to_owned(),
        ..RemoteRef::default()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn requests_at_the_same_time_see_one_state() {
    // the state of a resource is made by whichever request comes first, and no push is lost meanwhile.
    let fake: Fake = serde_json::from_value(json!({
        "apiVersion": KIND.api_version, "kind": "Fake",
        "metadata": {"name": "f", "namespace": "s", "uid": "u"},
        "spec": {"data": [{"key": "k", "value": "v"}]},
    }))
    .unwrap();
    let provider = Arc::new(FakeProvider::fixed([fake]));
    let calls = (0..64).map(|number| {
        let provider = provider.clone();
        tokio::spawn(async move {
            let push = Push {
                data: [("a".to_owned(), SecretValue::from(format!("value {number}")))].into(),
                secret_type: String::new(),
                labels: Default::default(),
                annotations: Default::default(),
                secret_key: "a".to_owned(),
                remote_key: format!("key {number}"),
                property: String::new(),
                metadata: Vec::new(),
            };
            let (get, put) = (
                context(Operation::GetSecret),
                context(Operation::PushSecret),
            );
            let value = provider.get_secret(&get, &remote("k")).await.unwrap();
            assert_eq!(value.expose(), b"v");
            provider.push_secret(&put, &push).await.unwrap();
        })
    });
    let calls: Vec<_> = calls.collect();
    for call in calls {
        call.await.unwrap();
    }
    let get = context(Operation::GetSecret);
    for number in 0..64 {
        let key = remote(&format!("key {number}"));
        let value = provider.get_secret(&get, &key).await.unwrap();
        assert_eq!(value.expose(), format!("value {number}").as_bytes());
    }
}
