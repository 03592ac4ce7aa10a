use serde_json::{Value, json};

use super::*;

fn external_secret(name: &str, metadata: Value) -> PartialObjectMeta<ExternalSecret> {
    let mut all = json!({ "namespace": "a", "name": name, "uid": name, "generation": 1 });
    for (key, value) in metadata.as_object().cloned().unwrap_or_default() {
        all[key] = value;
    }
    serde_json::from_value(json!({ "metadata": all })).unwrap()
}

fn owned_by(set: &str) -> Value {
    json!([{ "apiVersion": "external-secrets.io/v1", "kind": "ClusterExternalSecret", "name": set, "uid": "u", "controller": true }])
}

#[test]
fn owners_are_looked_at_when_what_they_own_changes() {
    // externalsecret.md 6.1
    let (owned, begin) = (Owned::default(), Instant::now());
    let note = |event: Event<PartialObjectMeta<ExternalSecret>>, after: u64| {
        owned.note(&event, begin + Duration::from_millis(after))
    };
    let mine = |version: &str| {
        external_secret(
            "x",
            json!({ "ownerReferences": owned_by("one"), "resourceVersion": version }),
        )
    };
    let none = Vec::<String>::new;
    assert_eq!(
        note(Event::Apply(external_secret("foreign", json!({}))), 0),
        none()
    );
    assert_eq!(note(Event::Apply(mine("1")), 0), ["one"]);
    // Changes of nothing but the status: one a second.
    assert_eq!(note(Event::Apply(mine("2")), 1), ["one"]);
    assert_eq!(note(Event::Apply(mine("3")), 900), none());
    assert_eq!(note(Event::Apply(mine("4")), 1001), ["one"]);
    // A change of the object itself: always.
    let labelled = external_secret(
        "x",
        json!({ "ownerReferences": owned_by("one"), "labels": { "by": "hand" } }),
    );
    assert_eq!(note(Event::Apply(labelled), 1002), ["one"]);
    // Both owners when it changes hands, the former one when it is let go or gone.
    let theirs = external_secret("x", json!({ "ownerReferences": owned_by("two") }));
    assert_eq!(note(Event::Apply(theirs), 1003), ["one", "two"]);
    assert_eq!(
        note(Event::Apply(external_secret("x", json!({}))), 1004),
        ["two"]
    );
    assert_eq!(note(Event::Apply(mine("9")), 1005), ["one"]);
    assert_eq!(note(Event::Delete(mine("9")), 1006), ["one"]);
    // Gone while the watch was broken.
    note(Event::Apply(mine("10")), 1007);
    note(Event::Init, 1008);
    assert_eq!(note(Event::InitDone, 1009), ["one"]);
}

#[test]
fn one_that_is_as_wanted_need_not_be_read_again() {
    let set: latchkey_crds::cluster_external_secret::ClusterExternalSecret =
        serde_json::from_value(json!({
            "metadata": { "name": "one", "uid": "u", "generation": 3 },
            "spec": { "externalSecretSpec": {}, "externalSecretName": "x", "externalSecretMetadata": { "labels": { "l": "1" } } },
        }))
        .unwrap();
    let (desired, key) = (Desired::of(&set), (String::from("a"), String::from("x")));
    let object = |generation: i64, label: &str| {
        external_secret(
            "x",
            json!({ "ownerReferences": owned_by("one"), "generation": generation, "labels": { "l": label } }),
        )
    };
    let owned = Owned::default();
    let is_settled = |set: &ObjectMeta| owned.is_settled(&key, &desired, set);
    owned.note(&Event::Apply(object(1, "1")), Instant::now());
    assert!(!is_settled(&set.metadata), "nobody has looked at its spec");
    owned.settle(
        key.clone(),
        Settled::of(&object(1, "1").metadata, &set.metadata),
    );
    assert!(is_settled(&set.metadata));

    let mut edited = set.metadata.clone();
    edited.generation = Some(4);
    assert!(!is_settled(&edited), "the set was edited");
    owned.note(&Event::Apply(object(1, "2")), Instant::now());
    assert!(!is_settled(&set.metadata), "a label was edited");
    owned.note(&Event::Apply(object(2, "1")), Instant::now());
    assert!(!is_settled(&set.metadata), "its spec was edited");
    owned.note(&Event::Apply(object(1, "1")), Instant::now());
    assert!(is_settled(&set.metadata));
    owned.note(&Event::Delete(object(1, "1")), Instant::now());
    owned.note(&Event::Apply(object(1, "1")), Instant::now());
    assert!(!is_settled(&set.metadata), "it was deleted in between");
}

#[tokio::test]
async fn namespaces_are_complete_once_the_first_list_is() {
    let namespaces = Namespaces::default();
    let namespace = |name: &str, finalizers: Value| -> PartialObjectMeta<Namespace> {
        serde_json::from_value(json!({ "metadata": { "name": name, "finalizers": finalizers } }))
            .unwrap()
    };
    let ours = "externalsecrets.external-secrets.io/ces-one";
    namespaces.note(&Event::Init);
    let changes = namespaces.note(&Event::InitApply(namespace(
        "a",
        json!(["kubernetes", ours]),
    )));
    assert_eq!(changes.len(), 1);
    assert_eq!(changes[0].before, None);
    assert!(
        changes[0]
            .after
            .as_ref()
            .unwrap()
            .finalizers
            .iter()
            .eq([ours])
    );
    let waiting = tokio::time::timeout(Duration::from_millis(10), namespaces.all());
    assert!(waiting.await.is_err(), "the list is not complete");
    namespaces.note(&Event::InitDone);
    assert_eq!(namespaces.all().await.len(), 1);

    namespaces.note(&Event::Init);
    namespaces.note(&Event::InitApply(namespace("b", json!(null))));
    let changes = namespaces.note(&Event::InitDone);
    assert_eq!(changes.len(), 1, "a vanished");
    assert_eq!(changes[0].after, None);
    assert!(namespaces.all().await.keys().eq(["b"]));
}
