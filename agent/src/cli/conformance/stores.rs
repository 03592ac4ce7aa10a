//! What is read from stores: PC-01 to PC-11 and PC-14.

use latchkey_proto::provider::v1 as wire;
use serde_json::{Map, Value};
use tonic::{Code, Status};

use super::Entry;
use super::expect::{Found, Mismatch, Refusal, different, member, size};
use super::report::Steps;
use super::subject::Store;
use super::suite::{Suite, made_up};
use crate::providers::Method;

/// A kind that no provider has.
const NO_KIND: &str = "LatchkeyConformance";

/// PC-01.
pub(super) async fn capabilities(suite: &Suite, store: &Store, steps: &mut Steps) {
    let mut reference = store.reference.clone();
    reference.name = made_up();
    let result = suite.capabilities(reference, &store.source).await;
    let found = suite.answered(result).and_then(|number| {
        let expected = if suite.write {
            "READ_WRITE or WRITE_ONLY, because --write is given"
        } else {
            "a known capability"
        };
        match wire::SecretStoreCapabilities::try_from(number) {
            Ok(wire::SecretStoreCapabilities::ReadOnly) if suite.write => {
                Err(Mismatch::new(expected, "READ_ONLY"))
            }
            Ok(capability) => Ok(capability.as_str_name().to_owned()),
            Err(_) => Err(Mismatch::new(expected, format!("the number {number}"))),
        }
    });
    steps.note("capabilities of an object that does not exist", found);
}

/// PC-02.
pub(super) async fn api_version(suite: &Suite, store: &Store, steps: &mut Steps) {
    let mut reference = store.reference.clone();
    reference.api_version = String::from("v2alpha1");
    let result = suite.capabilities(reference, &store.source).await;
    let refusal = Refusal::of_kind("invalid api version");
    steps.note(
        "capabilities with api_version \"v2alpha1\"",
        suite.refused(result, &refusal),
    );
}

/// PC-03.
pub(super) async fn kind(suite: &Suite, store: &Store, steps: &mut Steps) {
    let mut reference = store.reference.clone();
    reference.kind = NO_KIND.to_owned();
    let result = suite.capabilities(reference, &store.source).await;
    let refusal = Refusal::of_kind("resource mapping not found");
    let what = format!("capabilities of the kind {NO_KIND}");
    steps.note(what, suite.refused(result, &refusal));
}

/// PC-04.
pub(super) async fn value(suite: &Suite, store: &Store, steps: &mut Steps) {
    if suite.existing.is_empty() {
        steps.skip("a key that exists", "--existing");
    }
    for Entry { key, value } in &suite.existing {
        let result = suite.get(store.request(key)).await;
        steps.note(
            format!("the key {key}"),
            suite.value(result, value.expose()),
        );
    }
    let result = suite.get(store.request(&made_up())).await;
    steps.note(
        "a key that does not exist",
        suite.missing(Method::GetSecret, result),
    );
    let result = suite.get_map(store.request(&made_up())).await;
    let found = suite.missing(Method::GetSecretMap, result);
    steps.note("the map of a key that does not exist", found);
}

/// PC-05.
pub(super) async fn parts(suite: &Suite, store: &Store, steps: &mut Steps) {
    if let Some(Entry { key, .. }) = suite.existing.first() {
        let version = &suite.absent_version;
        let result = suite.get(store.request_of(key, version, "")).await;
        let what = format!("the key {key} in version {version}");
        steps.note(what, suite.missing(Method::GetSecret, result));
    } else {
        steps.skip("a version that does not exist", "--existing");
    }
    let Some(key) = &suite.json else {
        steps.skip("properties", "--json");
        return;
    };
    let object = match object_of(suite, store, key).await {
        Ok(object) => object,
        Err(mismatch) => return steps.note(format!("the key {key}"), Err(mismatch)),
    };
    let result = suite.get(store.request_of(key, "", &made_up())).await;
    let found = suite.missing(Method::GetSecret, result);
    steps.note("a property that does not exist", found);
    let Some((path, expected)) = nested(&object) else {
        let needs = "--json with a member inside an object";
        steps.skip("a property inside an object", needs);
        return;
    };
    let result = suite.get(store.request_of(key, "", &path)).await;
    steps.note(
        format!("the property {path}"),
        suite.member(result, expected),
    );
}

/// PC-06.
pub(super) async fn source(suite: &Suite, store: &Store, steps: &mut Steps) {
    let mut request = store.request(&some_key(suite).0);
    request.source_namespace.clear();
    let refusal = Refusal::of_argument("source namespace is required");
    let found = suite.refused(suite.get(request).await, &refusal);
    steps.note("GetSecret without a source namespace", found);
    // Only a cluster store has no caller when it is validated.
    let reference = of_cluster_store(store);
    let found = suite.answered(suite.validate(&reference, "").await);
    steps.note(
        "Validate without a source namespace, of an object with one",
        found.map(|answer| format!("valid: {}", answer.valid)),
    );
}

/// PC-07.
pub(super) async fn reference(suite: &Suite, store: &Store, steps: &mut Steps) {
    let mut request = store.request(&some_key(suite).0);
    request.provider_ref = None;
    let refusal = Refusal::of_argument("provider reference is required");
    let found = suite.refused(suite.get(request).await, &refusal);
    steps.note("GetSecret without a provider reference", found);
}

/// PC-08. Without a key that exists a missing one will do: it is looked for only once the object was found.
pub(super) async fn namespaces(suite: &Suite, store: &Store, steps: &mut Steps) {
    let (key, value) = some_key(suite);
    let expected = |result| match &value {
        Some(value) => suite.value(result, value.value.expose()),
        None => suite.missing(Method::GetSecret, result),
    };
    let mut request = store.request(&key);
    request
        .source_namespace
        .clone_from(&store.reference.namespace);
    if let Some(reference) = &mut request.provider_ref {
        reference.namespace.clear();
    }
    let found = expected(suite.get(request).await);
    steps.note("a reference without a namespace", found);
    let mut request = store.request(&key);
    request.source_namespace = made_up();
    request.provider_ref = Some(of_cluster_store(store));
    let found = expected(suite.get(request).await);
    steps.note(
        "a cluster store's reference, on behalf of another namespace",
        found,
    );
}

/// PC-09.
pub(super) async fn absent_object(suite: &Suite, store: &Store, steps: &mut Steps) {
    const REFUSAL: Refusal = Refusal::by(&[
        Code::FailedPrecondition,
        Code::PermissionDenied,
        Code::InvalidArgument,
    ]);
    let (key, _) = some_key(suite);
    let request = || {
        let mut request = store.request(&key);
        if let Some(reference) = &mut request.provider_ref {
            reference.name = made_up();
        }
        request
    };
    let found = suite.refused(suite.get(request()).await, &REFUSAL);
    steps.note("GetSecret with an object that does not exist", found);
    let found = suite.refused(suite.get_map(request()).await, &REFUSAL);
    steps.note("GetSecretMap with an object that does not exist", found);
}

/// PC-10.
pub(super) async fn map(suite: &Suite, store: &Store, steps: &mut Steps) {
    const REFUSAL: Refusal = Refusal::by(&[Code::FailedPrecondition, Code::InvalidArgument]);
    let is_object = |entry: &&Entry| as_object(entry.value.expose()).is_some();
    if let Some(Entry { key, .. }) = suite.existing.iter().find(|entry| !is_object(entry)) {
        let found = suite.refused(suite.get_map(store.request(key)).await, &REFUSAL);
        steps.note(
            format!("the map of the key {key}, which is no JSON object"),
            found,
        );
    } else {
        steps.skip("the map of what is no JSON object", "--existing");
    }
    let Some(key) = &suite.json else {
        steps.skip("the map of a JSON object", "--json");
        return;
    };
    let object = match object_of(suite, store, key).await {
        Ok(object) => object,
        Err(mismatch) => return steps.note(format!("the key {key}"), Err(mismatch)),
    };
    let found = suite
        .answered(suite.get_map(store.request(key)).await)
        .and_then(|map| {
            if map.len() != object.len() || !map.keys().all(|key| object.contains_key(key)) {
                let came = format!("{} keys, different", map.len());
                return Err(Mismatch::new(format!("its {} keys", object.len()), came));
            }
            for (key, value) in &map {
                member(&object[key], value.expose()).map_err(|mismatch| Mismatch {
                    expected: format!("for the member {key} {}", mismatch.expected),
                    ..mismatch
                })?;
            }
            Ok(format!("{} keys", map.len()))
        });
    steps.note(format!("the map of the key {key}"), found);
}

/// PC-11.
pub(super) async fn find(suite: &Suite, store: &Store, steps: &mut Steps) {
    let nameless = suite
        .find_all(store, wire::ExternalSecretFind::default())
        .await;
    steps.note(
        "a search without a name",
        nameless_search(suite, nameless.map(|found| found.len())),
    );
    let Some(regexp) = &suite.find else {
        steps.skip("a search by name", "--find-regexp");
        return;
    };
    let by_name = |regexp: &str| wire::ExternalSecretFind {
        name: Some(wire::FindName {
            regexp: regexp.to_owned(),
        }),
        ..Default::default()
    };
    let nothing = suite
        .find_all(store, by_name(&format!("^{}$", made_up())))
        .await;
    let found = suite.answered(nothing).and_then(|map| match map.len() {
        0 => Ok(String::from("nothing")),
        count => Err(Mismatch::new("nothing", format!("{count} names"))),
    });
    steps.note("a search that matches nothing", found);
    let map = match suite.answered(suite.find_all(store, by_name(regexp.as_str())).await) {
        Ok(map) => map,
        Err(mismatch) => return steps.note(format!("a search for {regexp}"), Err(mismatch)),
    };
    // A provider may have converted the names already, after which they need not match any more.
    let stray = map
        .keys()
        .filter(|name| !regexp.is_match(name) && !name.contains('_'));
    let found = match stray.count() {
        0 => Ok(format!("{} names", map.len())),
        count => Err(Mismatch::new(
            "names that match",
            format!("{count} that do not"),
        )),
    };
    steps.note(format!("a search for {regexp}"), found);
    let existing = suite
        .existing
        .iter()
        .filter(|entry| regexp.is_match(&entry.key));
    let mut expected = existing.chain(&suite.found).peekable();
    if expected.peek().is_none() {
        steps.skip("the values that are found", "--existing or --found");
    }
    for Entry { key, value } in expected {
        let found = match map.get(key).or_else(|| map.get(&converted(key))) {
            Some(came) if came == value => Ok(size(came.expose())),
            Some(came) => Err(different(value.expose(), came.expose())),
            None => Err(Mismatch::new("to be found", "no such name")),
        };
        steps.note(format!("the name {key}"), found);
    }
}

/// A provider refuses a search without a name, or answers with everything; never with NOT_FOUND (provider-protocol.md 1.5).
fn nameless_search(suite: &Suite, result: Result<usize, Status>) -> Found {
    const REFUSAL: Refusal = Refusal::by(&[
        Code::InvalidArgument,
        Code::Unimplemented,
        Code::ResourceExhausted,
    ]);
    match result {
        Ok(count) => Ok(format!("{count} names")),
        refused => suite.refused(refused, &REFUSAL),
    }
}

/// PC-14.
pub(super) async fn validation(suite: &Suite, store: &Store, steps: &mut Steps) {
    let told = |answer: &wire::ValidateResponse| {
        let error = suite.masked(&answer.error);
        format!(
            "valid: {}, error \"{error}\", {} warnings",
            answer.valid,
            answer.warnings.len()
        )
    };
    let found = suite.answered(suite.validate(&store.reference, &store.source).await);
    let found = found.and_then(|answer| {
        if answer.valid {
            Ok(told(&answer))
        } else {
            Err(Mismatch::new("valid", told(&answer)))
        }
    });
    steps.note("the object of --provider-ref", found);
    if let Some(reference) = &suite.invalid {
        let found = suite.answered(suite.validate(reference, &store.source).await);
        let found = found.and_then(|answer| {
            if answer.valid || answer.error.is_empty() {
                return Err(Mismatch::new("not valid, with an error", told(&answer)));
            }
            Ok(told(&answer))
        });
        steps.note("the object of --invalid-ref", found);
    } else {
        steps.skip("an object that does not validate", "--invalid-ref");
    }
    if let Some(reference) = &suite.unsure {
        let found = suite.answered(suite.validate(reference, &store.source).await);
        let found = found.and_then(|answer| {
            let is_told = if answer.valid {
                !answer.warnings.is_empty()
            } else {
                !answer.error.is_empty()
            };
            if is_told {
                Ok(told(&answer))
            } else {
                let expected = "valid with a warning, or not valid with an error";
                Err(Mismatch::new(expected, told(&answer)))
            }
        });
        steps.note("the object of --unsure-ref", found);
    } else {
        steps.skip("an object that nobody can validate", "--unsure-ref");
    }
}

/// A key that exists with its value, or one that does not.
fn some_key(suite: &Suite) -> (String, Option<&Entry>) {
    match suite.existing.first() {
        Some(entry) => (entry.key.clone(), Some(entry)),
        None => (made_up(), None),
    }
}

/// The same object for a cluster-wide store, whose callers are elsewhere.
fn of_cluster_store(store: &Store) -> wire::ProviderReference {
    let mut reference = store.reference.clone();
    reference.store_ref_kind = String::from("ClusterSecretStore");
    reference
}

/// The value of `--json`.
async fn object_of(
    suite: &Suite,
    store: &Store,
    key: &str,
) -> Result<Map<String, Value>, Mismatch> {
    let value = suite.answered(suite.get(store.request(key)).await)?;
    as_object(value.expose()).ok_or_else(|| {
        Mismatch::new(
            "a JSON object",
            format!("{}, of another form", size(value.expose())),
        )
    })
}

fn as_object(value: &[u8]) -> Option<Map<String, Value>> {
    serde_json::from_slice(value).ok()
}

/// The first member inside an object whose path needs no escapes, as `a.b`.
fn nested(object: &Map<String, Value>) -> Option<(String, &Value)> {
    let is_plain = |name: &str| {
        let mut bytes = name.bytes();
        bytes.next().is_some_and(|byte| byte.is_ascii_alphabetic())
            && bytes.all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
    };
    for (outer, value) in object.iter().filter(|(name, _)| is_plain(name)) {
        let Some(members) = value.as_object() else {
            continue;
        };
        if let Some((name, member)) = members
            .iter()
            .find(|(name, member)| is_plain(name) && !member.is_null())
        {
            return Some((format!("{outer}.{name}"), member));
        }
    }
    None
}

/// A name as some providers convert it (provider-protocol.md 1.5).
fn converted(name: &str) -> String {
    let is_kept = |letter: char| letter.is_alphanumeric() || matches!(letter, '-' | '.' | '_');
    name.chars()
        .map(|letter| if is_kept(letter) { letter } else { '_' })
        .collect()
}
