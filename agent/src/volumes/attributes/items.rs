//! The attribute `items`: which keys a volume shows, where, and with which mode (csi.md 8 and 5.5).

use std::collections::BTreeMap;

use serde::Deserialize;

use super::quoted;
use super::scalars::{MAX_KEY_BYTES, is_data_key, parse_mode};
use super::text::{self, Text};

/// Most entries of one list.
const MAX_ITEMS: usize = 256;
/// Longest path below the root of a volume, in bytes (csi.md 5.5).
const MAX_PATH_BYTES: usize = 1024;
/// Longest component of a path, in bytes (csi.md 5.5).
const MAX_COMPONENT_BYTES: usize = 255;
/// Most components of a path (csi.md 5.5).
const MAX_DEPTH: usize = 8;

/// One picked key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Key of the ExternalSecret's result.
    pub key: String,
    /// Path relative to the volume's root; already checked against csi.md 5.5.
    pub path: String,
    /// Permission bits; `None` for the volume's default.
    pub mode: Option<u32>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Wire {
    key: Text,
    path: Text,
    #[serde(default)]
    mode: Option<Text>,
}

/// Reads and checks the list.
///
/// # Errors
///
/// The first broken rule, in words, naming the entry by its index and the key or path.
pub(super) fn parse(text: &str) -> Result<Vec<Item>, String> {
    let wires: Vec<Wire> = text::parse_list(text, 8 * MAX_ITEMS).map_err(|error| {
        format!(
            "not a YAML or JSON list of {{key, path, mode}}: {}",
            quoted(&one_line(&error.to_string()))
        )
    })?;
    if wires.is_empty() {
        return Err(String::from(
            "the list is empty; remove the attribute to show every key",
        ));
    }
    if wires.len() > MAX_ITEMS {
        return Err(format!("more than {MAX_ITEMS} entries"));
    }
    let mut items = Vec::with_capacity(wires.len());
    for (index, wire) in wires.into_iter().enumerate() {
        items.push(checked(wire).map_err(|rule| format!("entry {index}: {rule}"))?);
    }
    check_collisions(
        items
            .iter()
            .map(|item| (item.path.as_str(), item.key.as_str())),
    )?;
    Ok(items)
}

fn checked(wire: Wire) -> Result<Item, String> {
    let key = wire.key.required("key")?;
    if key.is_empty() || key.len() > MAX_KEY_BYTES {
        return Err(format!("key must have 1 to {MAX_KEY_BYTES} bytes"));
    }
    if !is_data_key(&key) {
        return Err(format!(
            "key {} has characters other than letters, digits, '-', '_' and '.'",
            quoted(&key)
        ));
    }
    let path = wire.path.required("path")?;
    check_path(&path).map_err(|rule| format!("path {} {rule}", quoted(&path)))?;
    let mode = match wire.mode {
        None => None,
        Some(mode) => {
            Some(parse_mode(&mode.required("mode")?).map_err(|rule| format!("mode {rule}"))?)
        }
    };
    Ok(Item { key, path, mode })
}

/// Checks one path against csi.md 5.5. Nothing is cleaned: a path that is not its own normal form is refused.
///
/// # Errors
///
/// The broken rule, as the end of a sentence that begins with the path.
pub(in crate::volumes) fn check_path(path: &str) -> Result<(), String> {
    if path.is_empty() {
        return Err(String::from("is empty"));
    }
    if path.len() > MAX_PATH_BYTES {
        return Err(format!("is longer than {MAX_PATH_BYTES} bytes"));
    }
    if path.starts_with('/') {
        return Err(String::from(
            "is absolute; paths are relative to the volume",
        ));
    }
    if path.chars().any(char::is_control) {
        return Err(String::from("has control characters"));
    }
    let mut depth = 0_usize;
    for component in path.split('/') {
        depth += 1;
        if component.is_empty() {
            return Err(String::from("has an empty component"));
        }
        if component == "." {
            return Err(String::from("has a component \".\""));
        }
        if component.starts_with("..") {
            return Err(String::from("has a component that begins with \"..\""));
        }
        if component.len() > MAX_COMPONENT_BYTES {
            return Err(format!(
                "has a component longer than {MAX_COMPONENT_BYTES} bytes"
            ));
        }
    }
    if depth > MAX_DEPTH {
        return Err(format!("is deeper than {MAX_DEPTH} components"));
    }
    Ok(())
}

/// Refuses a path that appears twice or is a directory of another one, naming both keys. Takes pairs of path and key.
///
/// # Errors
///
/// The collision, in words.
pub(in crate::volumes) fn check_collisions<'a>(
    pairs: impl Iterator<Item = (&'a str, &'a str)>,
) -> Result<(), String> {
    let mut seen: BTreeMap<&str, &str> = BTreeMap::new();
    for (path, key) in pairs {
        if let Some(other) = seen.insert(path, key) {
            return Err(format!(
                "keys {other} and {key} have the same path {}",
                quoted(path)
            ));
        }
    }
    for (path, key) in &seen {
        for (at, _) in path.match_indices('/') {
            if let Some(other) = seen.get(&path[..at]) {
                return Err(format!(
                    "path {} of key {other} is a directory of the path of key {key}",
                    quoted(&path[..at])
                ));
            }
        }
    }
    Ok(())
}

fn one_line(text: &str) -> String {
    text.lines().map(str::trim).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn yaml_and_json_lists_read_the_same() {
        let expected = vec![
            Item {
                key: String::from("tls.crt"),
                path: String::from("certs/server.pem"),
                mode: None,
            },
            Item {
                key: String::from("tls.key"),
                path: String::from("certs/server.key"),
                mode: Some(0o400),
            },
        ];
        let yaml = "- key: tls.crt\n  path: certs/server.pem\n- {key: tls.key, path: certs/server.key, mode: \"0400\"}\n";
        let json = r#"[{"key":"tls.crt","path":"certs/server.pem"},{"key":"tls.key","path":"certs/server.key","mode":"0400"}]"#;
        assert_eq!(parse(yaml).unwrap(), expected);
        assert_eq!(parse(json).unwrap(), expected);
    }

    #[test]
    fn one_key_may_have_several_paths() {
        assert_eq!(
            parse("[{key: a, path: x}, {key: a, path: y}]")
                .unwrap()
                .len(),
            2
        );
    }

    #[test]
    fn lists_that_break_csi_md_8_are_refused() {
        let many = format!(
            "[{}]",
            (0..=256)
                .map(|n| format!("{{key: k, path: p{n}}}"))
                .collect::<Vec<_>>()
                .join(",")
        );
        for (text, part) in [
            ("", "the list is empty"),
            ("a: b", "not a YAML or JSON list"),
            ("[a]", "not a YAML or JSON list"),
            ("[]", "the list is empty"),
            ("[{key: a}]", "not a YAML or JSON list"),
            ("[{key: a, path: b, content: c}]", "not a YAML or JSON list"),
            ("- &x {key: a, path: b}\n- *x\n", "not a YAML or JSON list"),
            (
                "[{key: a, path: b, mode: 256}]",
                "entry 0: mode must be text; put it in quotes",
            ),
            (
                "[{key: a, path: b, mode: 0o400}]",
                "entry 0: mode must be text",
            ),
            (
                "[{key: a, path: b, mode: \"256\"}]",
                "entry 0: mode looks decimal",
            ),
            (
                "[{key: a, path: b, mode: \"4755\"}]",
                "entry 0: mode has setuid",
            ),
            ("[{key: \"\", path: b}]", "key must have 1 to 253 bytes"),
            ("[{key: a/b, path: b}]", "key \"a/b\" has characters"),
            ("[{key: 1, path: b}]", "key must be text"),
            (
                "[{key: a, path: x}, {key: b, path: x}]",
                "keys a and b have the same path \"x\"",
            ),
            (
                "[{key: a, path: x/y}, {key: b, path: x}]",
                "path \"x\" of key b is a directory of the path of key a",
            ),
            (many.as_str(), "more than 256 entries"),
        ] {
            let rule = parse(text).unwrap_err();
            assert!(rule.contains(part), "{text:?}: {part:?} not in {rule:?}");
            assert!(rule.len() < 300 && !rule.contains('\n'), "{rule:?}");
        }
    }

    #[test]
    fn paths_that_break_csi_md_5_5_are_refused() {
        let long = "x".repeat(256);
        let very_long = vec!["x".repeat(200); 6].join("/");
        let deep = ["d"; 9].join("/");
        for path in [
            "",
            "/etc/passwd",
            "../x",
            "a/../../x",
            "a/..",
            "..data",
            "..data/x",
            "a/..b",
            "./x",
            "a/./b",
            "a//b",
            "a/",
            ".",
            "..",
            "a\nb",
            "a\0b",
            "a/\u{7f}",
            &long,
            &very_long,
            &deep,
        ] {
            assert!(check_path(path).is_err(), "{path:?}");
        }
        for path in [
            "a",
            ".hidden",
            "a/b/c",
            "a.b-c_d",
            "x..y",
            "mit leerzeichen",
            "\u{fc}ber/\u{1f511}",
            &"x".repeat(255),
        ] {
            assert!(check_path(path).is_ok(), "{path:?}");
        }
    }

    proptest! {
        #[test]
        fn an_accepted_path_never_leaves_the_volume(path in "[a./\\x00-\\x1f-]{0,12}") {
            if check_path(&path).is_ok() {
                let normal = std::path::Path::new(&path);
                prop_assert!(normal.components().all(|part| matches!(part, std::path::Component::Normal(_))));
                let rejoined: std::path::PathBuf = normal.components().collect();
                prop_assert_eq!(rejoined.to_str(), Some(path.as_str()));
            }
        }

        #[test]
        fn no_text_makes_the_reader_panic(text in "\\PC{0,200}") {
            let _ = parse(&text);
        }
    }
}
