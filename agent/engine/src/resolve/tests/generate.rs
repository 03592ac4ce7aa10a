//! Entries that a generator fills (`externalsecret.md` 2.3, 3.3).

use super::*;

fn generator(name: &str) -> serde_json::Value {
    json!({ "sourceRef": { "generatorRef": {
        "apiVersion": "generator.external-secrets.io/v2alpha1", "kind": "Generator", "name": name,
    } } })
}

fn asked(shelf: &Shelf) -> Vec<(usize, String)> {
    std::mem::take(&mut shelf.generated.lock())
}

#[tokio::test]
async fn generated_values_take_the_place_of_their_entry() {
    // externalsecret.md 2.3, E049
    let shelf = Shelf::with(&[
        (
            "s/slow",
            &[("a", b"1"), ("b", b"1"), ("c", b"1"), ("d", b"1")],
        ),
        ("generator/one", &[("b", b"2"), ("c", b"2"), ("d", b"2")]),
        ("s/three", &[("c", b"3"), ("d", b"3")]),
        ("generator/two", &[("e", b"5"), ("f", b"5")]),
        ("s/four", &[("", b"4")]),
    ]);
    let spec = json!({
        "dataFrom": [
            { "extract": { "key": "slow" } },
            generator("one"),
            { "extract": { "key": "three" } },
            generator("two"),
        ],
        "data": [
            { "secretKey": "d", "remoteRef": { "key": "four" } },
            { "secretKey": "f", "remoteRef": { "key": "four" } },
        ],
    });
    let resolution = run(&shelf, spec).await.unwrap();
    assert_eq!(
        texts(&resolution),
        [
            ("a", "1"),
            ("b", "2"),
            ("c", "3"),
            ("d", "4"),
            ("e", "5"),
            ("f", "4")
        ]
        .map(|(key, value)| (key, value.to_owned()))
    );
    assert_eq!(
        asked(&shelf),
        [(1, "one".to_owned()), (3, "two".to_owned())]
    );
}

#[tokio::test]
async fn generated_keys_are_rewritten_and_checked_and_nothing_else_is_done() {
    // externalsecret.md 3.3; SB-37
    let shelf = Shelf::with(&[
        ("generator/odd", &[("a/b", b"x\0y"), ("", b"dropped")]),
        ("generator/fine", &[("password", b"eA==")]),
    ]);
    let mut entry = generator("odd");
    entry["rewrite"] = json!([{ "regexp": { "source": "/", "target": "-" } }]);
    let resolution = run(&shelf, json!({ "dataFrom": [entry] })).await.unwrap();
    assert_eq!(texts(&resolution), [("a-b", "x\0y".to_owned())]);
    let resolution = run(&shelf, json!({ "dataFrom": [generator("fine")] }))
        .await
        .unwrap();
    assert_eq!(texts(&resolution), [("password", "eA==".to_owned())]);
    let error = run(&shelf, json!({ "dataFrom": [generator("odd")] }))
        .await
        .unwrap_err();
    assert_eq!(
        error,
        "error processing spec.dataFrom[0].sourceRef.generatorRef, err: invalid secret keys (TIP: use rewrite or \
         conversionStrategy to change keys): key has invalid character /, only alphanumeric, '-', '.' and '_' are allowed: a/b"
    );
    // Of several sources in one entry the first counts.
    let mut both = generator("fine");
    both["extract"] = json!({ "key": "odd" });
    both["sourceRef"]["storeRef"] = json!({ "name": "generator" });
    asked(&shelf);
    run(&shelf, json!({ "dataFrom": [both] })).await.unwrap();
    assert_eq!(asked(&shelf), []);
}

#[tokio::test]
async fn nothing_is_generated_for_a_fetch_that_fails_otherwise() {
    // P-RT-2: what is made may have to be revoked.
    let shelf = Shelf::with(&[("generator/one", &[("a", b"1")])])
        .failing("s/down", "it is down")
        .failing("generator/two", "quota");
    let spec = json!({
        "dataFrom": [generator("one")],
        "data": [{ "secretKey": "a", "remoteRef": { "key": "down" } }],
    });
    let error = run(&shelf, spec).await.unwrap_err();
    assert_eq!(
        error,
        "error processing spec.data[0] (key: down), err: it is down"
    );
    assert_eq!(asked(&shelf), []);
    // A secret that is missing and may be does not count as a failure.
    let spec = json!({
        "target": { "deletionPolicy": "Delete" },
        "dataFrom": [{ "extract": { "key": "absent" } }, generator("one")],
    });
    let resolution = run(&shelf, spec).await.unwrap();
    assert_eq!(texts(&resolution), [("a", "1".to_owned())]);
    assert_eq!(resolution.missing.len(), 1);
    // The second is not repeated, and the third not asked.
    asked(&shelf);
    let spec = json!({ "dataFrom": [generator("one"), generator("two"), generator("one")] });
    let error = run(&shelf, spec).await.unwrap_err();
    assert_eq!(
        error,
        "error processing spec.dataFrom[1].sourceRef.generatorRef, err: error using generator: quota"
    );
    assert_eq!(
        asked(&shelf),
        [(0, "one".to_owned()), (1, "two".to_owned())]
    );
}

#[tokio::test]
async fn a_wrong_reference_is_told_apart_from_a_generator_that_fails() {
    // externalsecret.md 7.1
    let shelf = Shelf::default();
    let spec: ExternalSecretSpec =
        serde_json::from_value(json!({ "dataFrom": [generator("wrong")] })).unwrap();
    let error = resolve(&spec, &test_caller(), &shelf, &renderer(), Timestamp::now())
        .await
        .unwrap_err();
    assert_eq!(
        error.to_string(),
        "error processing spec.dataFrom[0].sourceRef.generatorRef, err: unable to get generator: no such kind"
    );
    assert_eq!(error.class(), Some(FailureClass::Reference));
}
