//! Objects of a provider, as one word of a command line.

use std::str::FromStr;

/// Names an object: `[GROUP/VERSION/]KIND/[NAMESPACE/]NAME`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reference {
    /// Group and version, if given.
    pub api_version: Option<String>,
    /// Kind.
    pub kind: String,
    /// Namespace, if given.
    pub namespace: Option<String>,
    /// Name.
    pub name: String,
}

impl FromStr for Reference {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        const FORM: &str = "must be [GROUP/VERSION/]KIND/[NAMESPACE/]NAME";
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty()) {
            return Err(FORM);
        }
        let (api_version, kind, namespace, name) = match parts[..] {
            [kind, name] => (None, kind, None, name),
            [kind, namespace, name] => (None, kind, Some(namespace), name),
            [group, version, kind, name] => (Some((group, version)), kind, None, name),
            [group, version, kind, namespace, name] => {
                (Some((group, version)), kind, Some(namespace), name)
            }
            _ => return Err(FORM),
        };
        Ok(Self {
            api_version: api_version.map(|(group, version)| format!("{group}/{version}")),
            kind: kind.to_owned(),
            namespace: namespace.map(str::to_owned),
            name: name.to_owned(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::Reference;

    #[test]
    fn references_are_read_in_each_of_their_lengths() {
        let reference = |api: Option<&str>, namespace: Option<&str>| Reference {
            api_version: api.map(str::to_owned),
            kind: "Fake".into(),
            namespace: namespace.map(str::to_owned),
            name: "tide".into(),
        };
        for (text, expected) in [
            ("Fake/tide", reference(None, None)),
            ("Fake/team-a/tide", reference(None, Some("team-a"))),
            (
                "example.com/v1/Fake/tide",
                reference(Some("example.com/v1"), None),
            ),
            (
                "example.com/v1/Fake/team-a/tide",
                reference(Some("example.com/v1"), Some("team-a")),
            ),
        ] {
            assert_eq!(text.parse(), Ok(expected), "{text}");
        }
        for text in ["", "tide", "Fake/", "/tide", "Fake//tide", "a/b/c/d/e/f"] {
            assert!(text.parse::<Reference>().is_err(), "{text}");
        }
    }
}
