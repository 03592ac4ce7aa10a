//! The attribute `data`: keys of one store, without an ExternalSecret (csi.md 8).
//!
//! A refusal says where the text is wrong and never quotes it.

use std::collections::BTreeSet;

use latchkey_crds::external_secret::{DecodingStrategy, RemoteRef};
use serde::Deserialize;

use super::scalars::{MAX_KEY_BYTES, is_data_key};
use super::subject::InlineEntry;
use super::text::{Text, parse_list};

/// Most entries of one list.
const MAX_ENTRIES: usize = 64;

const FORM: &str =
    "a YAML or JSON list of {secretKey, remoteRef: {key, property, version, decodingStrategy}}";

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct Wire {
    secret_key: Text,
    remote_ref: WireRef,
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct WireRef {
    key: Text,
    #[serde(default)]
    property: Option<Text>,
    #[serde(default)]
    version: Option<Text>,
    #[serde(default)]
    decoding_strategy: Option<Text>,
}

/// Reads and checks the list.
///
/// # Errors
///
/// The first broken rule, in words, naming the entry by its index or the place in the text.
pub(super) fn parse(text: &str) -> Result<Vec<InlineEntry>, String> {
    let wires: Vec<Wire> =
        parse_list(text, 16 * MAX_ENTRIES).map_err(|error| match error.location() {
            Some(at) => format!(
                "line {}, column {}: not {FORM}, without other fields",
                at.line(),
                at.column()
            ),
            None => format!("not {FORM}, without other fields"),
        })?;
    if wires.is_empty() {
        return Err(format!("the list is empty; write {FORM}"));
    }
    if wires.len() > MAX_ENTRIES {
        return Err(format!(
            "more than {MAX_ENTRIES} entries; use an ExternalSecret"
        ));
    }
    let mut entries = Vec::with_capacity(wires.len());
    let mut keys = BTreeSet::new();
    for (index, wire) in wires.into_iter().enumerate() {
        let entry = checked(wire).map_err(|rule| format!("entry {index}: {rule}"))?;
        if !keys.insert(entry.secret_key.clone()) {
            return Err(format!(
                "entry {index}: its secretKey is that of an earlier entry; rename one"
            ));
        }
        entries.push(entry);
    }
    Ok(entries)
}

fn checked(wire: Wire) -> Result<InlineEntry, String> {
    let secret_key = wire.secret_key.required("secretKey")?;
    if secret_key.is_empty() || secret_key.len() > MAX_KEY_BYTES || !is_data_key(&secret_key) {
        return Err(format!(
            "secretKey must be 1 to {MAX_KEY_BYTES} letters, digits, '-', '_' and '.'"
        ));
    }
    let WireRef {
        key,
        property,
        version,
        decoding_strategy,
    } = wire.remote_ref;
    let key = key.required("remoteRef.key")?;
    if key.is_empty() {
        return Err(String::from("remoteRef.key is empty"));
    }
    let optional =
        |name: &str, text: Option<Text>| text.map(|text| text.required(name)).transpose();
    let decoding = optional("remoteRef.decodingStrategy", decoding_strategy)?;
    let decoding_strategy = decoding.as_deref().map(decoding_of).transpose()?;
    Ok(InlineEntry {
        secret_key,
        remote_ref: RemoteRef {
            key,
            property: optional("remoteRef.property", property)?,
            version: optional("remoteRef.version", version)?,
            decoding_strategy,
            ..RemoteRef::default()
        },
    })
}

fn decoding_of(text: &str) -> Result<DecodingStrategy, String> {
    use DecodingStrategy as Strategy;
    let known = [
        Strategy::Auto,
        Strategy::Base64,
        Strategy::Base64Url,
        Strategy::None,
    ];
    let found = known.into_iter().find(|strategy| strategy.as_str() == text);
    found.ok_or_else(|| {
        String::from("remoteRef.decodingStrategy must be Auto, Base64, Base64URL or None")
    })
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn yaml_and_json_lists_read_the_same() {
        let yaml = "- secretKey: password\n  remoteRef: {key: db, property: pw, version: \"3\", decodingStrategy: Base64}\n\
                    - secretKey: user\n  remoteRef:\n    key: db\n";
        let json = r#"[{"secretKey":"password","remoteRef":{"key":"db","property":"pw","version":"3","decodingStrategy":"Base64"}},
                       {"secretKey":"user","remoteRef":{"key":"db"}}]"#;
        let entries = parse(yaml).unwrap();
        assert!(entries == parse(json).unwrap());
        let remote = &entries[0].remote_ref;
        assert_eq!(
            (
                remote.property.as_deref(),
                remote.version.as_deref(),
                remote.decoding_strategy
            ),
            (Some("pw"), Some("3"), Some(DecodingStrategy::Base64))
        );
        assert_eq!(entries[1].remote_ref.property, None);
    }

    #[test]
    fn lists_that_break_csi_md_8_are_refused_without_a_word_of_their_text() {
        let many = |count: usize| {
            let entries =
                (0..count).map(|n| format!("{{secretKey: k{n}, remoteRef: {{key: canary}}}}"));
            format!("[{}]", entries.collect::<Vec<_>>().join(","))
        };
        assert_eq!(parse(&many(MAX_ENTRIES)).unwrap().len(), MAX_ENTRIES);
        for (text, part) in [
            ("[]", "the list is empty"),
            ("canary", "line 1, column 1: not a YAML or JSON list"),
            ("canary: b", "not a YAML or JSON list"),
            ("[{secretKey: canary}]", "not a YAML or JSON list"),
            ("[{canary: a, remoteRef: {key: b}}]", "without other fields"),
            (
                "- secretKey: a\n  remoteRef: {key: b, canary: c}\n",
                "line 2, column",
            ),
            (
                "[{secretKey: a, remoteRef: {key: b, metadataPolicy: Fetch}}]",
                "without other fields",
            ),
            (
                "- &x {secretKey: canary, remoteRef: {key: b}}\n- *x\n",
                "not a YAML or JSON list",
            ),
            (
                "[{secretKey: a, remoteRef: {key: canary, version: 3}}]",
                "entry 0: remoteRef.version must be text; put it in quotes",
            ),
            (
                "[{secretKey: 1, remoteRef: {key: canary}}]",
                "entry 0: secretKey must be text",
            ),
            (
                "[{secretKey: canary/x, remoteRef: {key: b}}]",
                "entry 0: secretKey must be 1 to 253 letters",
            ),
            (
                "[{secretKey: a, remoteRef: {key: \"\"}}]",
                "entry 0: remoteRef.key is empty",
            ),
            (
                "[{secretKey: a, remoteRef: {key: b, decodingStrategy: canary}}]",
                "decodingStrategy must be Auto, Base64, Base64URL or None",
            ),
            (
                "[{secretKey: canary, remoteRef: {key: b}}, {secretKey: canary, remoteRef: {key: c}}]",
                "entry 1: its secretKey is that of an earlier entry",
            ),
            (&many(MAX_ENTRIES + 1), "more than 64 entries"),
        ] {
            let Err(rule) = parse(text) else {
                panic!("{text}")
            };
            assert!(rule.contains(part), "{text:?}: {part:?} not in {rule:?}");
            assert!(!rule.contains("canary") && rule.len() < 300, "{rule:?}");
        }
    }

    proptest! {
        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
