//! The book says what the function table holds, and both say what External Secrets has.

#[path = "../examples/book/text.rs"]
mod text;

use std::collections::BTreeSet;

use jiff::Timestamp;
use latchkey_secret::SecretData;
use latchkey_templating::{Options, Template, reference};

#[test]
fn the_functions_are_those_of_external_secrets_with_their_types() {
    // templates.md, appendix: the table of engine v2, read by reflection
    let expected: BTreeSet<&str> = include_str!("signatures.txt").lines().collect();
    assert_eq!(expected.len(), 227);
    let signatures: Vec<String> = reference()
        .iter()
        .filter(|entry| entry.source != "Go")
        .map(latchkey_templating::reference::Entry::signature)
        .collect();
    assert_eq!(signatures.len(), 227);
    let signatures: BTreeSet<&str> = signatures.iter().map(String::as_str).collect();
    let missing: Vec<_> = expected.difference(&signatures).collect();
    let surplus: Vec<_> = signatures.difference(&expected).collect();
    assert!(
        missing.is_empty() && surplus.is_empty(),
        "missing {missing:#?}\nsurplus {surplus:#?}"
    );
}

#[test]
fn the_functions_of_go_are_documented_too() {
    let own: BTreeSet<&str> = reference()
        .iter()
        .filter(|entry| entry.source == "Go")
        .map(|entry| entry.name)
        .collect();
    let expected =
        "and call eq ge gt html index js le len lt ne not or print printf println urlquery";
    assert_eq!(own, expected.split(' ').collect());
}

#[test]
fn every_example_renders_to_what_the_book_says() {
    let options = Options::new(Timestamp::UNIX_EPOCH);
    for entry in reference() {
        let template = Template::parse("example", entry.example, &options)
            .unwrap_or_else(|error| panic!("{}: {error}", entry.name));
        let output = template
            .render(&SecretData::new(), &options)
            .unwrap_or_else(|error| panic!("{}: {}", entry.name, error.full_text()));
        assert_eq!(
            String::from_utf8_lossy(output.expose()),
            entry.output,
            "{}: {}",
            entry.name,
            entry.example
        );
        assert!(
            entry.summary.ends_with('.') && !entry.summary.contains('\n'),
            "{}",
            entry.name
        );
        assert!(
            ["Go", "sprig", "External Secrets"].contains(&entry.source),
            "{}: {}",
            entry.name,
            entry.source
        );
    }
}

#[test]
fn the_page_in_the_book_is_what_the_table_says() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/../../docs/templates.md");
    let stored = std::fs::read_to_string(path).unwrap_or_default();
    assert!(
        stored == text::page(),
        "docs/templates.md is stale: run `make generate`"
    );
}
