use futures::FutureExt as _;
use kube::core::DeserializeGuard;
use serde_json::json;

use super::super::backoff::Pace;
use super::*;
use crate::namespaces::WatchNamespaces;

fn object(name: &str, target: &str) -> Guarded {
    DeserializeGuard(Ok(serde_json::from_value(json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": name, "namespace": "a" }, "spec": { "target": { "name": target } },
    }))
    .unwrap()))
}

fn secret(name: &str, uid: &str) -> PartialObjectMeta<Secret> {
    serde_json::from_value(json!({ "metadata": { "name": name, "namespace": "a", "uid": uid } }))
        .unwrap()
}

fn versioned(name: &str, version: &str) -> PartialObjectMeta<Secret> {
    let mut secret = secret(name, "u");
    secret.metadata.resource_version = Some(version.to_owned());
    secret
}

fn note_target(watched: &Watched, event: Event<PartialObjectMeta<Secret>>) -> Vec<String> {
    let touched = watched.note_target(&Place::all(), &event);
    touched.into_iter().map(|(_, name)| name).collect()
}

fn owners(watched: &Watched, name: &str) -> Vec<String> {
    note_target(watched, Event::Apply(secret(name, "u")))
}

#[test]
fn a_secret_belongs_to_every_object_that_names_it() {
    // externalsecret.md 2.1
    let (watched, metrics) = (Watched::default(), Metrics::default());
    for (name, target) in [("one", "shared"), ("two", "shared"), ("three", "other")] {
        watched.note(
            &Place::all(),
            Event::InitApply(object(name, target)),
            &metrics,
        );
    }
    assert_eq!(owners(&watched, "shared"), ["one", "two"]);
    watched.note(
        &Place::all(),
        Event::Apply(object("one", "other")),
        &metrics,
    );
    assert_eq!(owners(&watched, "shared"), ["two"]);
    assert_eq!(owners(&watched, "other"), ["one", "three"]);
    watched.note(
        &Place::all(),
        Event::Delete(object("two", "shared")),
        &metrics,
    );
    assert_eq!(owners(&watched, "shared"), Vec::<String>::new());
}

#[test]
fn a_target_that_only_vanished_from_the_watch_is_remembered_by_its_uid() {
    // externalsecret.md 2.1
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let key = (String::from("a"), String::from("one"));
    watched.note(
        &Place::all(),
        Event::InitApply(object("one", "shared")),
        &metrics,
    );
    let vanish = || note_target(&watched, Event::Delete(secret("shared", "u")));
    assert_eq!(vanish(), ["one"]);
    assert_eq!(watched.take_lost(&key).as_deref(), Some("u"));
    assert_eq!(watched.take_lost(&key), None, "it was told once");
    // A change of either is another reason to look.
    vanish();
    watched.note(
        &Place::all(),
        Event::Apply(object("one", "shared")),
        &metrics,
    );
    assert_eq!(watched.take_lost(&key).as_deref(), Some("u"), "no change");
    vanish();
    let mut changed = object("one", "shared");
    changed.meta_mut().generation = Some(2);
    watched.note(&Place::all(), Event::Apply(changed), &metrics);
    assert_eq!(watched.take_lost(&key), None);
    vanish();
    note_target(&watched, Event::Apply(secret("shared", "v")));
    assert_eq!(watched.take_lost(&key), None);
    vanish();
    watched.note(
        &Place::all(),
        Event::Delete(object("one", "shared")),
        &metrics,
    );
    assert_eq!(watched.take_lost(&key), None);
}

#[test]
fn targets_that_a_new_list_lacks_are_looked_at() {
    let (watched, metrics) = (Watched::default(), Metrics::default());
    for name in ["x", "y", "z"] {
        watched.note(
            &Place::all(),
            Event::InitApply(object(name, name)),
            &metrics,
        );
    }
    let list = |names: &[&str]| {
        let mut touched = note_target(&watched, Event::Init);
        for name in names {
            touched.extend(note_target(&watched, Event::InitApply(secret(name, "u"))));
        }
        touched.extend(note_target(&watched, Event::InitDone));
        touched.sort();
        touched
    };
    assert_eq!(list(&["x", "y"]), ["x", "y"]);
    note_target(&watched, Event::Apply(secret("z", "u")));
    note_target(&watched, Event::Delete(secret("x", "u")));
    assert_eq!(list(&["y"]), ["y", "z"]);
    assert_eq!(list(&["y"]), ["y"]);
}

#[test]
fn what_a_new_list_lacks_and_what_a_late_pass_notes_is_forgotten() {
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let list = |objects: &[&str]| {
        watched.note(&Place::all(), Event::Init, &metrics);
        for name in objects {
            watched.note(
                &Place::all(),
                Event::InitApply(object(name, "shared")),
                &metrics,
            );
        }
        watched.note(&Place::all(), Event::InitDone, &metrics);
    };
    list(&["one", "two"]);
    list(&["two"]);
    assert_eq!(owners(&watched, "shared"), ["two"]);

    let key = (String::from("a"), String::from("two"));
    watched.note(
        &Place::all(),
        Event::Delete(object("two", "shared")),
        &metrics,
    );
    watched.replaced(&key, Some("6"), None);
    watched
        .backoff
        .failed(&key, Pace::Growing, None, std::time::Instant::now());
    watched.end_pass(&key, &metrics);
    let later = std::time::Instant::now() + std::time::Duration::from_secs(3600);
    assert!(!watched.is_stale(&key, Some("6")));
    assert!(!watched.backoff.is_impatient(&key, later));
}

#[test]
fn a_change_of_the_status_alone_deserves_no_pass() {
    // E102
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let mut object = json!({
        "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
        "metadata": { "name": "x", "namespace": "a", "uid": "1", "generation": 1 },
        "spec": {}, "status": {},
    });
    let key = (String::from("a"), String::from("x"));
    let mut change = |parent: &str, field: &str, value: serde_json::Value| {
        object.pointer_mut(parent).unwrap()[field] = value;
        let object = DeserializeGuard(Ok(serde_json::from_value(object.clone()).unwrap()));
        watched.note(&Place::all(), Event::Apply(object), &metrics)
    };
    assert_eq!(
        change("/status", "syncedResourceVersion", json!("1")),
        Some(key.clone())
    );
    assert_eq!(change("/status", "syncedResourceVersion", json!("2")), None);
    for (field, value) in [
        ("generation", json!(2)),
        ("labels", json!({ "a": "b" })),
        ("annotations", json!({ "a": "b" })),
        ("finalizers", json!(["example.com/x"])),
        ("finalizers", json!(["example.com/y"])),
        ("deletionTimestamp", json!("2024-03-05T12:00:00Z")),
    ] {
        let touched = change("/metadata", field, value);
        assert_eq!(touched.as_ref(), Some(&key), "{field}");
    }
    // Our own mark is no news; losing it is.
    let marked = json!(["example.com/y", names::FINALIZER]);
    assert_eq!(change("/metadata", "finalizers", marked), None);
    let stripped = json!(["example.com/y"]);
    assert_eq!(
        change("/metadata", "finalizers", stripped),
        Some(key.clone())
    );
    let seen = watched.get(&key).unwrap();
    let status = seen.0.as_ref().unwrap().status.as_ref().unwrap();
    assert_eq!(status.synced_resource_version.as_deref(), Some("2"));
}

fn at_version(version: &str) -> ExternalSecret {
    let mut object = object("x", "x").0.unwrap();
    object.metadata.resource_version = Some(version.to_owned());
    object
}

#[test]
fn a_cached_version_is_stale_until_the_watch_catches_up() {
    let (watched, key) = (Watched::default(), (String::from("a"), String::from("x")));
    watched.replaced(&key, Some("6"), None);
    watched.replaced(&key, Some("7"), None);
    watched.replaced(&key, Some("8"), Some(&at_version("8")));
    assert!(watched.is_stale(&key, Some("6")));
    assert!(watched.is_stale(&key, Some("7")));
    assert!(
        !watched.is_stale(&key, Some("8")),
        "a write that changed nothing"
    );
    let shown = DeserializeGuard(Ok(at_version("8")));
    watched.note(&Place::all(), Event::Apply(shown), &Metrics::default());
    assert!(
        !watched.is_stale(&key, Some("7")),
        "the note is gone once it was of no use"
    );
}

#[test]
fn a_version_that_others_have_replaced_is_stale_but_what_follows_is_heard() {
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let key = (String::from("a"), String::from("x"));
    let show = |version: &str, generation| {
        let mut object = at_version(version);
        object.metadata.generation = Some(generation);
        watched.note(
            &Place::all(),
            Event::Apply(DeserializeGuard(Ok(object))),
            &metrics,
        )
    };
    show("6", 1);
    // A write upon it was refused with 409.
    watched.replaced(&key, Some("6"), None);
    assert!(watched.is_stale(&key, Some("6")));
    assert_eq!(show("6", 1), None);
    assert!(
        watched.is_stale(&key, Some("6")),
        "shown late, it is no newer"
    );
    assert_eq!(show("7", 2), Some(key.clone()), "the change of others");
    assert!(!watched.is_stale(&key, Some("7")));
}

#[test]
fn what_our_own_write_answered_is_known_before_the_watch_shows_it() {
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let key = (String::from("a"), String::from("x"));
    let show = |version: &str| {
        let shown = DeserializeGuard(Ok(at_version(version)));
        watched.note(&Place::all(), Event::Apply(shown), &metrics)
    };
    let known = || {
        watched
            .get(&key)
            .and_then(|object| object.meta().resource_version.clone())
    };
    show("6");
    watched.replaced(&key, Some("6"), Some(&at_version("7")));
    watched.replaced(&key, Some("7"), Some(&at_version("8")));
    assert_eq!(known().as_deref(), Some("8"));
    assert_eq!(show("7"), None);
    assert_eq!(known().as_deref(), Some("8"), "the watch is behind");
    show("8");
    show("9");
    assert_eq!(known().as_deref(), Some("9"));
}

#[test]
fn a_target_is_known_until_the_watch_shows_another_version() {
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let key = (String::from("a"), String::from("one"));
    let target = (String::from("a"), String::from("shared"));
    watched.note(
        &Place::all(),
        Event::InitApply(object("one", "shared")),
        &metrics,
    );
    assert!(!watched.seems_absent(&target), "no list was read yet");
    note_target(&watched, Event::Init);
    assert!(!watched.seems_absent(&target));
    note_target(&watched, Event::InitDone);
    assert!(watched.seems_absent(&target));

    // Written, and not yet shown by the watch.
    watched.found_valid(&key, Some("7"));
    assert!(!watched.is_known_valid(&key, &target));
    note_target(&watched, Event::Apply(versioned("shared", "7")));
    assert!(watched.is_known_valid(&key, &target));
    assert!(!watched.seems_absent(&target));
    note_target(&watched, Event::Apply(versioned("shared", "8")));
    assert!(!watched.is_known_valid(&key, &target));
    watched.found_valid(&key, Some("8"));
    assert!(watched.is_known_valid(&key, &target));
    note_target(&watched, Event::Delete(versioned("shared", "9")));
    assert!(!watched.is_known_valid(&key, &target) && watched.seems_absent(&target));
    note_target(&watched, Event::Apply(versioned("shared", "8")));
    watched.note(
        &Place::all(),
        Event::Delete(object("one", "shared")),
        &metrics,
    );
    assert!(!watched.is_known_valid(&key, &target), "forgotten");
}

#[test]
fn a_target_of_another_kind_belongs_to_the_objects_that_name_it_and_secrets_do_not() {
    // externalsecret.md 2.1, 5.5, E180, E196, E197
    let (watched, metrics) = (Watched::default(), Metrics::default());
    let generic = |name: &str, kind: &str| -> Guarded {
        let manifest = json!({ "apiVersion": "v1", "kind": kind });
        DeserializeGuard(Ok(serde_json::from_value(json!({
            "apiVersion": "external-secrets.io/v1", "kind": "ExternalSecret",
            "metadata": { "name": name, "namespace": "a" }, "spec": { "target": { "name": "shared", "manifest": manifest } },
        }))
        .unwrap()))
    };
    let key = |name: &str| (String::from("a"), String::from(name));
    watched.note(
        &Place::all(),
        Event::InitApply(object("plain", "shared")),
        &metrics,
    );
    for name in ["one", "two"] {
        watched.note(
            &Place::all(),
            Event::InitApply(generic(name, "ConfigMap")),
            &metrics,
        );
    }
    assert_eq!(owners(&watched, "shared"), ["plain"]);
    let map = TargetId {
        gvk: Gvk {
            group: String::new(),
            version: "v1".to_owned(),
            kind: "ConfigMap".to_owned(),
        },
        namespace: "a".to_owned(),
        name: "shared".to_owned(),
    };
    assert_eq!(
        watched.note_generic(&map, Some("u".to_owned())),
        [key("one"), key("two")]
    );
    assert_eq!(watched.take_lost(&key("one")).as_deref(), Some("u"));
    watched.note_generic(&map, None);
    assert_eq!(watched.take_lost(&key("two")), None);
    // One becomes a Secret, the other goes: nobody is left to watch for.
    assert!(watched.uses(&map.gvk));
    watched.note(
        &Place::all(),
        Event::Apply(object("one", "shared")),
        &metrics,
    );
    assert!(watched.uses(&map.gvk));
    assert_eq!(owners(&watched, "shared"), ["one", "plain"]);
    let released = watched.released.notified();
    watched.note(
        &Place::all(),
        Event::Delete(generic("two", "ConfigMap")),
        &metrics,
    );
    assert!(!watched.uses(&map.gvk));
    assert!(released.now_or_never().is_some(), "whoever waits is woken");
}

#[tokio::test(start_paused = true)]
async fn passes_wait_for_the_lists_of_all_places() {
    let watched = Watched::default();
    let places = WatchNamespaces::of(["a".to_owned(), "b".to_owned()]).places();
    let listed = watched.targets_listed(places.len());
    let mut listed = std::pin::pin!(listed);
    let wait = std::time::Duration::from_secs(1);
    for place in &places {
        watched.note_target(place, &Event::Init);
        assert!(tokio::time::timeout(wait, &mut listed).await.is_err());
        watched.note_target(place, &Event::InitDone);
    }
    listed.await;
    // A watch that begins again does not take back what is known.
    watched.note_target(&places[0], &Event::Init);
    watched.targets_listed(places.len()).await;
}
