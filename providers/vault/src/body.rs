//! Views into the JSON of an answer.
//!
//! The text is never turned into a tree: its bytes stay in the one buffer that is wiped, numbers keep the text that Vault sent
//! (providers specification 8.5), and no decoder's error can quote a secret.

use latchkey_provider_sdk::json;
use zeroize::Zeroizing;

/// One value within valid JSON text. It has no `Debug`.
#[derive(Clone, Copy)]
pub(crate) struct Value<'a>(&'a [u8]);

// === impl Value ===

impl<'a> Value<'a> {
    /// The value that `text` is; `None` unless it is JSON.
    pub(crate) fn try_new(text: &'a [u8]) -> Option<Self> {
        json::is_valid(text).then(|| Self(text.trim_ascii()))
    }

    /// The text of the value.
    pub(crate) fn text(self) -> &'a [u8] {
        self.0
    }

    /// The member `key` of an object; `None` for an absent one and for anything that is no object.
    pub(crate) fn member(self, key: &str) -> Option<Self> {
        json::member(self.0, key).map(|text| Self(text.trim_ascii()))
    }

    /// The member `key`, unless it is absent or `null`.
    pub(crate) fn present(self, key: &str) -> Option<Self> {
        self.member(key).filter(|value| !value.is_null())
    }

    /// Whether this is an object.
    pub(crate) fn is_object(self) -> bool {
        self.0.first() == Some(&b'{')
    }

    /// Whether this is `null`.
    pub(crate) fn is_null(self) -> bool {
        self.0 == b"null"
    }

    /// Whether this is an array without elements.
    pub(crate) fn is_empty_array(self) -> bool {
        self.0
            .strip_prefix(b"[")
            .is_some_and(|rest| rest.trim_ascii() == b"]")
    }

    /// The bytes of a string.
    pub(crate) fn string(self) -> Option<Zeroizing<Vec<u8>>> {
        (self.0.first() == Some(&b'"')).then(|| json::unescape(self.0))
    }

    /// The text of a string that is not a secret.
    pub(crate) fn plain(self) -> Option<String> {
        self.string()
            .map(|bytes| String::from_utf8_lossy(&bytes).into_owned())
    }

    /// A non-negative integer.
    pub(crate) fn count(self) -> Option<u64> {
        std::str::from_utf8(self.0).ok()?.parse().ok()
    }

    /// The strings among the first elements of an array, none of which is a secret: Vault's `errors` and `warnings`.
    pub(crate) fn messages(self, key: &str) -> Vec<String> {
        /// More than Vault ever sends, and a bound.
        const MOST: usize = 16;
        (0..MOST)
            .map_while(|index| latchkey_provider_sdk::gjson::get(self.0, &format!("{key}.{index}")))
            .filter_map(|found| Value(found.raw()).plain())
            .collect()
    }
}

#[cfg(test)]
mod tests {
    use super::Value;

    #[test]
    fn members_strings_and_counts_are_read_without_a_tree() {
        let text = br#" {"errors": ["a\n\"b\"", 1, "c"], "none": [ ], "data": {"data": null, "n": 12}, "auth": {"client_token": "hvs.x"}} "#;
        let body = Value::try_new(text).unwrap();
        assert_eq!(body.messages("errors"), ["a\n\"b\"", "c"]);
        assert!(body.messages("none").is_empty() && body.member("none").unwrap().is_empty_array());
        assert!(body.messages("absent").is_empty());
        let data = body.member("data").unwrap();
        assert!(
            data.is_object()
                && data.member("data").unwrap().is_null()
                && data.present("data").is_none()
        );
        assert_eq!(data.member("n").unwrap().count(), Some(12));
        assert_eq!(
            body.member("auth")
                .unwrap()
                .member("client_token")
                .unwrap()
                .string()
                .unwrap()
                .as_slice(),
            b"hvs.x"
        );
        assert!(
            data.member("n").unwrap().string().is_none()
                && data.member("n").unwrap().member("x").is_none()
        );
    }

    #[test]
    fn what_is_not_json_is_no_value() {
        for text in ["", "<html>", "{", "{}x", "nul"] {
            assert!(Value::try_new(text.as_bytes()).is_none(), "{text}");
        }
    }
}
