//! From the key of a secret to the path of Vault's API (providers specification 8.4).

use latchkey_provider_sdk::ProviderError;

/// Version of the key-value engine.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KvVersion {
    /// Plain values.
    V1,
    /// Versioned values.
    #[default]
    V2,
}

/// First segments that Vault reserves for itself; no key-value engine can be mounted there. A key that leads there could read
/// the very token that reads it (`auth/token/lookup-self`).
const RESERVED: [&str; 2] = ["auth", "sys"];

/// A path below `/v1/`, as segments that are percent-encoded one by one when they are sent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ApiPath(Vec<String>);

// === impl ApiPath ===

impl ApiPath {
    /// A path of this program's own making.
    pub(crate) fn fixed(path: &str) -> Self {
        Self(path.split('/').map(str::to_owned).collect())
    }

    /// This path with another one, such as a mount's, behind it.
    ///
    /// # Errors
    ///
    /// As for [`segments`].
    pub(crate) fn join(mut self, path: &str) -> Result<Self, ProviderError> {
        self.0.extend(segments(path)?);
        Ok(self)
    }

    /// The segments, not encoded.
    pub(crate) fn segments(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(String::as_str)
    }
}

impl std::fmt::Display for ApiPath {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str(&self.0.join("/"))
    }
}

/// Where the values of `key` are read.
///
/// # Errors
///
/// `INVALID_ARGUMENT` for a key that is empty, has a `.` or `..` segment or leads out of the key-value engines.
pub(crate) fn data_path(
    mount: Option<&str>,
    version: KvVersion,
    key: &str,
) -> Result<ApiPath, ProviderError> {
    let path = match (mount, version) {
        (Some(mount), KvVersion::V1) => format!("{mount}/{}", without_mount(mount, version, key)),
        (Some(mount), KvVersion::V2) => {
            format!("{mount}/data/{}", without_mount(mount, version, key))
        }
        (None, KvVersion::V1) => key.to_owned(),
        (None, KvVersion::V2) if key.contains("/data/") => key.to_owned(),
        (None, KvVersion::V2) => match key.trim_start_matches('/').split_once('/') {
            Some((mount, rest)) => format!("{mount}/data/{rest}"),
            None => format!("{key}/data"),
        },
    };
    finish(mount, key, &path)
}

/// Where the metadata of `key` are read.
///
/// # Errors
///
/// As for [`data_path`], and `INVALID_ARGUMENT` for version 2 without a mount if the key does not tell where the mount ends.
pub(crate) fn metadata_path(
    mount: Option<&str>,
    version: KvVersion,
    key: &str,
) -> Result<ApiPath, ProviderError> {
    let path = match (mount, version) {
        (Some(mount), KvVersion::V1) => format!("{mount}/{}", without_mount(mount, version, key)),
        (Some(mount), KvVersion::V2) => {
            format!("{mount}/metadata/{}", without_mount(mount, version, key))
        }
        (None, KvVersion::V1) => key.to_owned(),
        (None, KvVersion::V2) if key.contains("/data/") => key.replacen("/data/", "/metadata/", 1),
        (None, KvVersion::V2) => {
            return Err(ProviderError::invalid_argument(
                "provided Path isn't a valid kv v2 path",
            ));
        }
    };
    finish(mount, key, &path)
}

/// `key` without a leading mount and, for version 2, without the `data/` behind that mount. A secret whose own first folder
/// has the name of the mount loses that folder; upstream does the same.
fn without_mount<'a>(mount: &str, version: KvVersion, key: &'a str) -> &'a str {
    let Some(rest) = key
        .strip_prefix(mount)
        .and_then(|rest| rest.strip_prefix('/'))
    else {
        return key;
    };
    match version {
        KvVersion::V1 => rest,
        KvVersion::V2 => rest.strip_prefix("data/").unwrap_or(rest),
    }
}

fn finish(mount: Option<&str>, key: &str, path: &str) -> Result<ApiPath, ProviderError> {
    if key.split('/').all(str::is_empty) {
        return Err(ProviderError::invalid_argument(
            "the key of the secret is empty",
        ));
    }
    let path = ApiPath(segments(path)?);
    let first = path.segments().next().unwrap_or_default();
    if mount.is_none() && RESERVED.contains(&first) {
        return Err(ProviderError::invalid_argument(format!(
            "\"{first}/\" holds no secrets of a key-value engine"
        )));
    }
    Ok(path)
}

/// Splits a path at its slashes. Empty segments vanish, as they do in Vault's own client.
///
/// # Errors
///
/// `INVALID_ARGUMENT` for a `.` or `..` segment, which a URL library would resolve and so leave the mount, and for control
/// characters.
pub(crate) fn segments(path: &str) -> Result<Vec<String>, ProviderError> {
    let mut segments = Vec::new();
    for segment in path.split('/').filter(|segment| !segment.is_empty()) {
        if segment == "." || segment == ".." {
            return Err(ProviderError::invalid_argument(
                "a path must not have a \".\" or \"..\" segment",
            ));
        }
        if segment.chars().any(char::is_control) {
            return Err(ProviderError::invalid_argument(
                "a path must not have control characters",
            ));
        }
        segments.push(segment.to_owned());
    }
    Ok(segments)
}

#[cfg(test)]
mod tests {
    use super::KvVersion::{V1, V2};
    use super::*;
    use latchkey_provider_sdk::ErrorClass;

    #[test]
    fn data_paths_follow_the_table_of_section_8_4() {
        for (version, mount, key, expected) in [
            (V2, Some("secret/path"), "foo", "secret/path/data/foo"),
            (V1, Some("secret/path"), "foo", "secret/path/foo"),
            (
                V2,
                Some("secret/path"),
                "secret/path/foo",
                "secret/path/data/foo",
            ),
            (
                V2,
                Some("secret/path"),
                "secret/path/data/foo",
                "secret/path/data/foo",
            ),
            (
                V1,
                Some("secret/path"),
                "secret/path/foo",
                "secret/path/foo",
            ),
            (V2, None, "secret/path/foo", "secret/data/path/foo"),
            (V2, None, "secret/path/data/foo", "secret/path/data/foo"),
            (V1, None, "secret/path/foo", "secret/path/foo"),
            // not in the table: what its rules imply
            (V2, Some("secret"), "data/foo", "secret/data/data/foo"),
            (V1, Some("secret"), "secret/data/foo", "secret/data/foo"),
            (V2, Some("secret"), "secrets/foo", "secret/data/secrets/foo"),
            (V2, Some("secret"), "secret", "secret/data/secret"),
            (V2, Some("secret"), "/a//b/", "secret/data/a/b"),
            (
                V2,
                Some("secret"),
                "secret/secret/x",
                "secret/data/secret/x",
            ),
            (V2, Some("auth"), "x", "auth/data/x"),
        ] {
            let path = data_path(mount, version, key).unwrap();
            assert_eq!(path.to_string(), expected, "{version:?} {mount:?} {key}");
        }
    }

    #[test]
    fn p_31_metadata_paths_cut_the_mount_like_data_paths() {
        for (version, mount, key, expected) in [
            (V2, Some("secret"), "foo", "secret/metadata/foo"),
            (V2, Some("secret"), "secret/foo", "secret/metadata/foo"),
            (V2, Some("secret"), "secret/data/foo", "secret/metadata/foo"),
            (V1, Some("secret"), "secret/foo", "secret/foo"),
            (
                V2,
                None,
                "secret/data/foo/data/bar",
                "secret/metadata/foo/data/bar",
            ),
            (V1, None, "secret/foo", "secret/foo"),
        ] {
            let path = metadata_path(mount, version, key).unwrap();
            assert_eq!(path.to_string(), expected, "{version:?} {mount:?} {key}");
        }
        let error = metadata_path(None, V2, "secret/foo").unwrap_err();
        assert_eq!(error.class(), ErrorClass::InvalidArgument);
        assert_eq!(error.message(), "provided Path isn't a valid kv v2 path");
    }

    #[test]
    fn a_key_cannot_leave_its_mount() {
        for (mount, key) in [
            (Some("secret"), "../sys/mounts"),
            (Some("secret"), "a/../../../auth/token/lookup-self"),
            (Some("secret"), "./a"),
            (Some("secret"), ""),
            (Some("secret"), "//"),
            (Some("secret"), "a\nb"),
            (None, ""),
            (None, "auth/token/lookup-self"),
            (None, "/sys/data/x"),
            (None, "secret/data/../../sys/mounts"),
        ] {
            for version in [V1, V2] {
                let error = data_path(mount, version, key).unwrap_err();
                assert_eq!(
                    error.class(),
                    ErrorClass::InvalidArgument,
                    "{version:?} {mount:?} {key:?}"
                );
                if let Err(error) = metadata_path(mount, version, key) {
                    assert_eq!(error.class(), ErrorClass::InvalidArgument);
                } else {
                    panic!("{version:?} {mount:?} {key:?}");
                }
            }
        }
    }
}
