//! Digests that deliveries write down (`externalsecret.md` 2.6): SHA3-224 over a text form of the hashed value.
//!
//! The text form is that of upstream, so that targets written by either are recognised by the other. Secret bytes are fed to the
//! digest piece by piece: no copy of their text form is ever made.

use std::collections::BTreeMap;
use std::fmt::Write as _;

use latchkey_secret::SecretData;
use latchkey_templating::Tree;
use sha3::{Digest, Sha3_224};

/// Digest of a text.
#[must_use]
pub fn of_text(text: &str) -> String {
    hexadecimal(&Sha3_224::digest(text.as_bytes()))
}

/// Digest of the data of a Secret, all keys included.
#[must_use]
pub fn of_secret_data(data: &SecretData) -> String {
    of_bytes(
        data.iter()
            .map(|(key, value)| (key.as_str(), value.expose())),
    )
}

/// Digest of keys and bytes; the keys must come in ascending order.
#[must_use]
pub fn of_bytes<'a>(entries: impl IntoIterator<Item = (&'a str, &'a [u8])>) -> String {
    let mut digest = Sha3_224::new();
    digest.update("map[");
    for (index, (key, bytes)) in entries.into_iter().enumerate() {
        if index > 0 {
            digest.update(" ");
        }
        digest.update(key);
        digest.update(":[");
        for (index, byte) in bytes.iter().enumerate() {
            if index > 0 {
                digest.update(" ");
            }
            let (digits, count) = decimal(*byte);
            digest.update(&digits[3 - count..]);
        }
        digest.update("]");
    }
    digest.update("]");
    hexadecimal(&digest.finalize())
}

/// Digest of labels and annotations, the second half of `syncedResourceVersion`.
#[must_use]
pub fn of_metadata(
    labels: Option<&BTreeMap<String, String>>,
    annotations: Option<&BTreeMap<String, String>>,
) -> String {
    let text = |map: Option<&BTreeMap<String, String>>| {
        let pairs: Vec<String> = map
            .into_iter()
            .flatten()
            .map(|(key, value)| format!("{key}:{value}"))
            .collect();
        format!("map[{}]", pairs.join(" "))
    };
    of_text(&format!(
        "{{annotations:{} labels:{}}}",
        text(annotations),
        text(labels)
    ))
}

/// Digest of the content of a target of another kind than Secret.
#[must_use]
pub fn of_tree(tree: &Tree) -> String {
    let mut digest = Sha3_224::new();
    feed(tree, &mut digest);
    hexadecimal(&digest.finalize())
}

/// `<generation>-<digest of labels and annotations>` of an ExternalSecret.
#[must_use]
pub fn synced_resource_version(
    generation: i64,
    labels: Option<&BTreeMap<String, String>>,
    annotations: Option<&BTreeMap<String, String>>,
) -> String {
    format!("{generation}-{}", of_metadata(labels, annotations))
}

fn feed(tree: &Tree, digest: &mut Sha3_224) {
    match tree {
        Tree::Null => digest.update("<nil>"),
        Tree::Bool(true) => digest.update("true"),
        Tree::Bool(false) => digest.update("false"),
        Tree::Integer(integer) => digest.update(integer.to_string()),
        Tree::Float(float) => digest.update(float_text(*float)),
        Tree::Text(value) => digest.update(value.expose()),
        Tree::List(items) => {
            digest.update("[");
            for (index, item) in items.iter().enumerate() {
                if index > 0 {
                    digest.update(" ");
                }
                feed(item, digest);
            }
            digest.update("]");
        }
        Tree::Map(map) => {
            digest.update("map[");
            for (index, (key, item)) in map.iter().enumerate() {
                if index > 0 {
                    digest.update(" ");
                }
                digest.update(key);
                digest.update(":");
                feed(item, digest);
            }
            digest.update("]");
        }
    }
}

/// The shortest digits, in exponent form below 1e-4 and from 1e6.
fn float_text(float: f64) -> String {
    let scientific = format!("{float:e}");
    let (mantissa, exponent) = scientific.split_once('e').unwrap_or((&scientific, "0"));
    let exponent: i32 = exponent.parse().unwrap_or_default();
    if float != 0.0 && !(-4..6).contains(&exponent) {
        let sign = if exponent < 0 { '-' } else { '+' };
        format!("{mantissa}e{sign}{:02}", exponent.abs())
    } else {
        float.to_string()
    }
}

/// The decimal digits of a byte at the end of three, and their number.
fn decimal(byte: u8) -> ([u8; 3], usize) {
    let digits = [b'0' + byte / 100, b'0' + byte / 10 % 10, b'0' + byte % 10];
    (
        digits,
        if byte >= 100 {
            3
        } else if byte >= 10 {
            2
        } else {
            1
        },
    )
}

fn hexadecimal(bytes: &[u8]) -> String {
    bytes
        .iter()
        .fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
            write!(text, "{byte:02x}").expect("writing to a String does not fail");
            text
        })
}

#[cfg(test)]
mod tests {
    use latchkey_secret::SecretValue;
    use serde_json::{Value, json};

    use super::*;

    fn data(entries: &[(&str, &str)]) -> SecretData {
        entries
            .iter()
            .map(|(key, value)| ((*key).to_owned(), SecretValue::from((*value).to_owned())))
            .collect()
    }

    #[test]
    fn golden_vectors_of_secret_data() {
        // externalsecret.md appendix A, E151
        for (entries, expected) in [
            (
                &[("foo", "value1"), ("bar", "value2")][..],
                "1bed8bcbcb4547ffe19a19cd47d9078e84aa6598266d86b99f992d64",
            ),
            (
                &[("pin", "007"), ("user", "ann")],
                "ee2228708f12f9e93dfa855bb2e32274dca1d59baa73593ba264e1e9",
            ),
            (
                &[("a", "")],
                "b4267d3031c382774d3148a47147cc308a0e534ac8381b5d58565df8",
            ),
            (
                &[],
                "74a974446e359fb3e6baff9bd0058950e6edd0f040888d9989b0a11b",
            ),
        ] {
            assert_eq!(of_secret_data(&data(entries)), expected, "{entries:?}");
        }
        // Made with Go 1.26: fmt "%+v" and crypto/sha3.
        assert_eq!(
            of_secret_data(&data(&[("a", ""), ("b", "x")])),
            "ad4200b5ac2d5145c9ad53847f9edcd7abcb9af9a709a65e5f3439f9"
        );
    }

    #[test]
    fn golden_vectors_of_texts_and_metadata() {
        // externalsecret.md appendix A
        assert_eq!(
            of_text("team-a/db-creds"),
            "495750aa64133197930843a0f8a3496e1a7e92e6e3b1e62f052fc4a3"
        );
        assert_eq!(
            of_text("ExternalSecret-team-a-db-creds-0"),
            "fc15af09f7046983e2b514b7fe5cb0795347be6778a4ebcc599cf551"
        );
        assert_eq!(
            of_text("a-rather-long-external-secret-name"),
            "924a5b0ea0441c671777b353036555d127bd4d4faef565e357731412"
        );
        assert_eq!(
            of_metadata(None, None),
            "f47fe3c0b255b6dd8047cdffa772587bb829efe7a1cb70febeda2eb2"
        );
        let labels = BTreeMap::from([("app".to_owned(), "web".to_owned())]);
        let annotations = BTreeMap::from([("force-sync".to_owned(), "1700000000".to_owned())]);
        assert_eq!(
            synced_resource_version(4, Some(&labels), Some(&annotations)),
            "4-662a7f5d7a59bf1c982558c35fec9b5bc13bd2da0f80a2160ae3825b"
        );
    }

    #[test]
    fn golden_vectors_of_trees() {
        // externalsecret.md appendix A; the last one made with Go 1.26: fmt "%+v" and crypto/sha3.
        for (value, expected) in [
            (
                Value::Null,
                "c461202a18e99215f121936fb2452e03843828e448a00a53f285a6fc",
            ),
            (
                json!({ "port": "5432", "host": "localhost" }),
                "6ec6846638afbb3eb3667a7ddbb80c7aaae95b8883ef49299ebf3d20",
            ),
            (
                json!({ "slack": { "channel": "ops" }, "replicas": 3, "enabled": true }),
                "2881638bade09846c9fbe5b8a29aa2e0f8e510ba936e4b2c284ab3b0",
            ),
            (
                json!({
                    "a": 1.5, "b": 123456.5, "c": 1e6, "d": 1234567.0, "e": 0.00001, "f": 0.0001, "g": -2.5e-7, "h": 1e21,
                    "i": null, "j": ["x", 3, true, {}], "k": { "z": "", "y": null }, "l": 100000.0, "m": 0.0, "n": 123456.0,
                }),
                "b8a8bc8d28f85cf9d0cc06b2e2c9718bfdd72ecba58f065fa3062e81",
            ),
        ] {
            assert_eq!(
                of_tree(&Tree::from_json(value.clone())),
                expected,
                "{value}"
            );
        }
    }
}
