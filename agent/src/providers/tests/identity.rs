//! Stores that are read under the identity of pods: what travels, and to whom (csi.md 9.2; provider-protocol.md 13.3).

use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use latchkey_csi::backend::ServiceAccountToken;
use latchkey_engine::source::{
    CallerNeeds, CallerScope, FailureClass, PodCaller, Source as _, Standing, StoreMark,
};
use latchkey_proto::provider::v1::ValidateResponse;
use latchkey_secret::SecretValue;
use serde_json::json;
use tonic::Status;

use super::server::{Authority, Provider, providers};
use super::source::{Held, caller, failure, reference, remote};
use crate::providers::{PodTokens, PodVolume, ProviderSource};
use crate::stores::validation::examine;
use crate::stores::{CALLER_IDENTITY, Store};

struct Scene {
    provider: Provider,
    providers: Arc<crate::providers::Providers>,
    pods: Arc<PodTokens>,
    held: Arc<Held>,
}

/// Stores of `team-a`, whose pod `web-0` of account `web` has a token.
async fn scene(authority: &Authority) -> Scene {
    let provider = Provider::start(authority).await;
    provider.script.on_secret(|| Ok(b"value".to_vec()));
    let pods = Arc::new(PodTokens::new("n1"));
    let token = ServiceAccountToken {
        token: SecretValue::from(String::from("ey.canary.sig")),
        expires_at: Timestamp::now() + SignedDuration::from_mins(10),
    };
    let volume = PodVolume {
        namespace: "team-a",
        pod_name: "web-0",
        pod_uid: "p0",
        service_account: "web",
        volume_id: "csi-1",
    };
    pods.keep(
        &volume,
        &[("vault".to_owned(), token)].into_iter().collect(),
    );
    Scene {
        providers: Arc::new(providers(authority)),
        provider,
        pods,
        held: Arc::new(Held::default()),
    }
}

impl Scene {
    fn add(&self, identity: Option<&str>) -> Store {
        let mut object = json!({
            "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore",
            "metadata": {"name": "bao", "namespace": "team-a", "uid": "u", "generation": 1},
            "spec": {"providerConfig": {
                "address": self.provider.address(), "providerRef": {"kind": "HashicorpVault", "name": "vault"},
            }},
            "status": {"conditions": [{"type": "Ready", "status": "True", "reason": "Valid"}]},
        });
        if let Some(identity) = identity {
            object["metadata"]["annotations"] = json!({ CALLER_IDENTITY: identity });
        }
        let store = serde_json::from_value::<latchkey_crds::secret_store::SecretStore>(object);
        let store = Store::from(&store.unwrap());
        self.held.add(store.clone());
        store
    }

    fn for_volumes(&self) -> ProviderSource<Held> {
        let (held, providers) = (Arc::clone(&self.held), Arc::clone(&self.providers));
        ProviderSource::for_volumes(held, providers, Arc::clone(&self.pods))
    }

    /// The token of each call since this was asked last, and whose it was said to be.
    fn heard(&self) -> Vec<Option<(String, String)>> {
        let said = std::mem::take(&mut *self.provider.script.callers.lock());
        said.into_iter()
            .map(|said| {
                let is_silent = !said.keys().any(|key| key.starts_with("eso-caller"));
                if is_silent && !said.contains_key("eso-node") {
                    return None;
                }
                let token = said.get("eso-caller-token").cloned().unwrap_or_default();
                Some((token, said["eso-caller-name"].clone()))
            })
            .collect()
    }
}

fn pod(account: &str, uid: Option<&str>) -> latchkey_engine::source::Caller {
    latchkey_engine::source::Caller {
        pod: Some(PodCaller {
            service_account: account.to_owned(),
            pod_uid: uid.map(str::to_owned),
            audience: None,
        }),
        ..caller("team-a")
    }
}

#[tokio::test]
async fn the_token_of_a_pod_goes_to_stores_that_ask_for_it_and_with_reads_alone() {
    let authority = Authority::new();
    let scene = scene(&authority).await;
    let source = scene.for_volumes();
    let store = reference("SecretStore");

    // A store that does not ask is told nothing, whoever is known.
    scene.add(None);
    for caller in [pod("web", None), caller("team-a")] {
        source.secret(&caller, &store, &remote()).await.unwrap();
    }
    assert_eq!(scene.heard(), [None, None]);

    let asking = scene.add(Some("ServiceAccount"));
    let shown = Some(("ey.canary.sig".to_owned(), "web-0".to_owned()));
    for caller in [pod("web", None), pod("web", Some("p0"))] {
        source.secret(&caller, &store, &remote()).await.unwrap();
    }
    assert_eq!(scene.heard(), [shown.clone(), shown]);

    // Whoever validates speaks for no pod.
    scene.provider.script.on_validate(|| {
        Ok(ValidateResponse {
            valid: true,
            ..ValidateResponse::default()
        })
    });
    examine(&scene.providers, &asking).await;
    assert!(scene.heard().iter().all(Option::is_none));
}

#[tokio::test]
async fn nobody_is_asked_in_the_place_of_a_pod() {
    let authority = Authority::new();
    let scene = scene(&authority).await;
    let store = reference("SecretStore");
    scene.add(Some("Pod"));
    // The role `sync` has no pods; a volume may be known by its account only, or not at all.
    let (held, providers) = (Arc::clone(&scene.held), Arc::clone(&scene.providers));
    let sync = ProviderSource::new(held, providers);
    let node = scene.for_volumes();
    for (source, caller, expected, part) in [
        (
            &sync,
            pod("web", Some("p0")),
            FailureClass::PodOnly,
            CALLER_IDENTITY,
        ),
        (
            &sync,
            caller("team-a"),
            FailureClass::PodOnly,
            CALLER_IDENTITY,
        ),
        (
            &node,
            caller("team-a"),
            FailureClass::PodOnly,
            CALLER_IDENTITY,
        ),
        (
            &node,
            pod("web", None),
            FailureClass::NoToken,
            "each pod for itself",
        ),
        (
            &node,
            pod("web", Some("p1")),
            FailureClass::NoToken,
            "team-a/web",
        ),
        (
            &node,
            pod("worker", Some("p0")),
            FailureClass::NoToken,
            "team-a/worker",
        ),
    ] {
        let error = source.secret(&caller, &store, &remote()).await.unwrap_err();
        let (class, message) = failure(error);
        assert_eq!(class, expected, "{message}");
        assert!(message.contains(part), "{message}");
    }
    assert_eq!(scene.heard(), []);
    let marks = node.standing(&caller("team-a"), &[&store]).await.unwrap();
    let mark = StoreMark {
        uid: "u".into(),
        generation: Some(1),
        caller: CallerNeeds {
            scope: CallerScope::Pod,
            audience: None,
        },
    };
    assert_eq!(marks, Standing(vec![mark]));
}

#[tokio::test]
async fn a_refused_pod_is_told_from_refused_credentials() {
    let authority = Authority::new();
    let scene = scene(&authority).await;
    let store = reference("SecretStore");
    let source = scene.for_volumes();
    let answer = || Err(Status::permission_denied("no role for team-a/web"));
    scene.provider.script.on_secret(answer);
    scene.add(Some("ServiceAccount"));
    let error = source.secret(&pod("web", None), &store, &remote()).await;
    let (class, message) = failure(error.unwrap_err());
    assert_eq!(class, FailureClass::CallerRefused);
    assert!(message.contains("no role for team-a/web"), "{message}");
    scene.add(None);
    let error = source.secret(&pod("web", None), &store, &remote()).await;
    assert_eq!(failure(error.unwrap_err()).0, FailureClass::Unauthorized);
}
