//! What a change of a store, or of what it names, does to those who failed with it (`pushsecret-and-stores.md` B4).

use anyhow::{Result, ensure};
use kube::Api;
use kube::api::{Patch, PatchParams};
use latchkey_cluster::{Context, eventually};
use latchkey_crds::secret_store::SecretStore;
use latchkey_engine::source::FailureClass;
use serde_json::{Value, json};

use super::support::{PATIENCE, Rig};
use super::{QUIET, extract};

const FAKES: &str = include_str!(
    "../../../../charts/provider/crds/provider.secretstore.external-secrets.io_fakes.yaml"
);
const NOT_FETCHED: &str = "could not get secret data from provider";

fn store(name: &str, retries: u32) -> String {
    json!({
        "apiVersion": "secretstore.external-secrets.io/v2alpha1", "kind": "SecretStore", "metadata": { "name": name },
        "spec": {
            "retrySettings": { "maxRetries": retries },
            "providerConfig": { "address": "p.a.svc:8080", "providerRef": { "kind": "Fake", "name": "values" } },
        },
    })
    .to_string()
}

fn values(value: &str) -> String {
    json!({
        "apiVersion": "provider.secretstore.external-secrets.io/v2alpha1", "kind": "Fake", "metadata": { "name": "values" },
        "spec": { "data": [{ "key": "k", "value": value }] },
    })
    .to_string()
}

/// Writes what the validation of stores would write.
async fn validate(cx: &Context, name: &str, status: &str) -> Result<()> {
    let stores: Api<SecretStore> = Api::namespaced(cx.client(), cx.namespace());
    let condition = json!({
        "type": "Ready", "status": status, "reason": "Valid", "message": "the test says so",
        "lastTransitionTime": "2026-01-01T00:00:00Z",
    });
    let patch: Patch<Value> = Patch::Merge(json!({ "status": { "conditions": [condition] } }));
    stores
        .patch_status(name, &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// Nothing is asked of the provider for a while.
async fn stays_parked(rig: &Rig, key: &str, calls: usize) -> Result<()> {
    tokio::time::sleep(QUIET).await;
    let found = rig.shelf.calls(key);
    ensure!(
        found == calls,
        "{key} was asked for {found} times instead of {calls}"
    );
    Ok(())
}

#[test]
fn sync_of_an_object_that_waits_happens_when_its_store_becomes_ready() -> Result<()> {
    // pushsecret-and-stores.md B4, X-142; externalsecret.md 2.15, X11
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        rig.shelf.put("db", &[("a", "1")]);
        rig.shelf.fail(
            "waits",
            FailureClass::StoreNotReady,
            "SecretStore \"late\" is not ready",
        );
        let mut spec = extract("waits");
        spec["secretStoreRef"] =
            json!({ "apiVersion": "secretstore.external-secrets.io/v2alpha1", "name": "late" });
        rig.create("web", spec).await?;
        rig.create("other", extract("db")).await?;
        rig.failed("web", NOT_FETCHED).await?;
        rig.synced("other").await?;
        cx.apply(&store("late", 1)).await?;
        validate(&cx, "late", "False").await?;
        rig.shelf.put("waits", &[("a", "1")]);
        validate(&cx, "late", "True").await?;
        rig.synced("web").await?;
        rig.holds("web", &[("a", "1")]).await?;

        // What is in sync is not looked at for it (2.1).
        let calls = rig.shelf.calls("waits");
        rig.shelf.put("waits", &[("a", "2")]);
        validate(&cx, "late", "False").await?;
        validate(&cx, "late", "True").await?;
        cx.apply(&store("late", 2)).await?;
        stays_parked(&rig, "waits", calls).await?;
        rig.holds("web", &[("a", "1")]).await?;
        rig.stop().await
    })
}

#[test]
fn sync_parks_refused_credentials_until_something_changes() -> Result<()> {
    // pushsecret-and-stores.md B2, B4, X-142: nothing but a change can have made these look again within minutes
    latchkey_cluster::test(async |cx| {
        let rig = Rig::start(&cx).await?;
        cx.apply(FAKES).await?;
        cx.kubectl(&[
            "wait",
            "--for=condition=Established",
            "--timeout=60s",
            "crd/fakes.provider.secretstore.external-secrets.io",
        ])
        .await?;
        cx.apply(&values("1")).await?;
        cx.apply(&store("shelf", 1)).await?;
        validate(&cx, "shelf", "True").await?;

        let refuse = || {
            rig.shelf
                .fail("db", FailureClass::Unauthorized, "permission denied");
        };
        refuse();
        rig.create("web", extract("db")).await?;
        rig.failed("web", NOT_FETCHED).await?;
        rig.event_part("web", "UpdateFailed", "permission denied")
            .await?;
        stays_parked(&rig, "db", 1).await?;
        // Nobody is told that it works again: nothing happens.
        rig.shelf.put("db", &[("a", "1")]);
        stays_parked(&rig, "db", 1).await?;

        // The store changes.
        cx.apply(&store("shelf", 2)).await?;
        rig.synced("web").await?;
        rig.holds("web", &[("a", "1")]).await?;

        // The store becomes ready again.
        let again = async |number: usize| -> Result<usize> {
            refuse();
            let calls = rig.shelf.calls("db");
            let note =
                json!({ "metadata": { "annotations": { "force-sync": number.to_string() } } });
            rig.change("web", note).await?;
            rig.failed("web", NOT_FETCHED).await?;
            eventually(PATIENCE, "it was refused", async || {
                Ok((rig.shelf.calls("db") > calls).then_some(()))
            })
            .await?;
            Ok(rig.shelf.calls("db"))
        };
        let calls = again(1).await?;
        validate(&cx, "shelf", "False").await?;
        stays_parked(&rig, "db", calls).await?;
        rig.shelf.put("db", &[("a", "2")]);
        validate(&cx, "shelf", "True").await?;
        rig.holds("web", &[("a", "2")]).await?;

        // What the store names changes, although the store stays as it is.
        let calls = again(2).await?;
        rig.shelf.put("db", &[("a", "3")]);
        stays_parked(&rig, "db", calls).await?;
        // The kind is watched from the moment on that a store names it; until then a change is missed.
        let mut number = 1;
        eventually(PATIENCE, "the object is looked at again", async || {
            number += 1;
            cx.apply(&values(&number.to_string())).await?;
            let secret = rig.secrets.get("web").await?;
            Ok((super::texts(&secret)["a"] == "3").then_some(()))
        })
        .await?;
        rig.synced("web").await?;

        // The object itself changes.
        let calls = again(3).await?;
        stays_parked(&rig, "db", calls).await?;
        rig.shelf.put("db", &[("a", "4")]);
        rig.change("web", json!({ "metadata": { "labels": { "l": "1" } } }))
            .await?;
        rig.holds("web", &[("a", "4")]).await?;
        rig.stop().await
    })
}
