//! The rules for a path inside a volume (csi.md 5.5): refused, never repaired.

/// Longest path, bytes.
const MAX_PATH: usize = 1024;

/// Longest component, bytes.
const MAX_COMPONENT: usize = 255;

/// Most components.
const MAX_DEPTH: usize = 8;

/// Checks `path`; the error is the broken rule in words.
pub(crate) fn check(path: &str) -> Result<(), &'static str> {
    if path.is_empty() {
        return Err("it is empty");
    }
    if path.len() > MAX_PATH {
        return Err("it is longer than 1024 bytes");
    }
    if path.chars().any(char::is_control) {
        return Err("it has a control character");
    }
    if path.starts_with('/') {
        return Err("it must be relative");
    }
    if path.split('/').count() > MAX_DEPTH {
        return Err("it is deeper than 8 levels");
    }
    for component in path.split('/') {
        if component.is_empty() {
            return Err("it has an empty component");
        }
        if component == "." {
            return Err("it has a `.` component");
        }
        if component.starts_with("..") {
            return Err("a component begins with `..`, which is reserved");
        }
        if component.len() > MAX_COMPONENT {
            return Err("a component is longer than 255 bytes");
        }
    }
    Ok(())
}

/// The first 64 bytes of `path` for an error text.
pub(crate) fn shorten(path: &str) -> String {
    let mut end = path.len().min(64);
    while !path.is_char_boundary(end) {
        end -= 1;
    }
    path[..end].to_owned()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{check, shorten};

    #[test]
    fn legal_paths_pass() {
        for path in [
            "a",
            "tls.crt",
            "conf/app.yaml",
            ".hidden",
            "a..b",
            "a b",
            "ü/ö",
            "1/2/3/4/5/6/7/8",
        ] {
            assert_eq!(check(path), Ok(()), "{path}");
        }
        assert_eq!(check(&"x".repeat(255)), Ok(()));
    }

    #[test]
    fn path_tricks_are_refused() {
        // csi.md 5.5; SB-37: what a key would do as a file name.
        let long = "x".repeat(256);
        let deep = "a/b/c/d/e/f/g/h/i";
        let wide = vec!["x".repeat(255); 5].join("/");
        for path in [
            "",
            "/",
            "/etc/passwd",
            "a/",
            "a//b",
            ".",
            "..",
            "a/..",
            "../a",
            "a/../b",
            "./a",
            "a/./b",
            "..data",
            "a/..data",
            "...",
            "..2026",
            "a\0b",
            "a\nb",
            "\u{7f}",
            "\u{85}",
            &long,
            deep,
            &wide,
        ] {
            assert!(check(path).is_err(), "{path:?}");
        }
    }

    #[test]
    fn shortening_respects_characters() {
        assert_eq!(shorten("abc"), "abc");
        assert_eq!(shorten(&"ü".repeat(40)).len(), 64);
        assert_eq!(shorten(&format!("a{}", "ü".repeat(40))).len(), 63);
    }

    proptest! {
        /// Whatever passes stays below the volume's root: only normal components.
        #[test]
        fn what_passes_cannot_escape(path in "[a./\\x00]{0,12}|\\PC{0,40}") {
            if check(&path).is_ok() {
                let components = std::path::Path::new(&path).components().collect::<Vec<_>>();
                let normal = components.iter().all(|component| matches!(component, std::path::Component::Normal(_)));
                prop_assert!(normal);
                let joined = components.iter().map(|component| component.as_os_str().to_str().unwrap()).collect::<Vec<_>>().join("/");
                prop_assert_eq!(joined, path);
            }
        }
    }
}
