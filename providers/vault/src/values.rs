//! What a user sees of Vault's data: typed conversion, property lookup and the metadata map (providers specification 3.1, 3.4
//! and 8.5).

use latchkey_provider_sdk::json::{self, Escape};
use latchkey_provider_sdk::{ProviderError, gjson};
use latchkey_secret::{SecretData, SecretValue};
use zeroize::Zeroizing;

use crate::body::Value;

/// Fields of version 2 metadata that fetch mode shows beside `custom_metadata`.
const METADATA_FIELDS: [&str; 3] = ["created_time", "current_version", "delete_version_after"];

/// The whole of the object `data` as `JSONH`.
///
/// # Errors
///
/// `INVALID_PAYLOAD` if it nests too deep.
pub(crate) fn whole(data: &[u8]) -> Result<SecretValue, ProviderError> {
    canonical(data).map(|mut text| SecretValue::new(std::mem::take(&mut *text)))
}

/// One property of the object `data`: the exact top-level key, else the path evaluated on `JSONH(data)`.
///
/// # Errors
///
/// `PROPERTY_NOT_FOUND` if neither exists.
pub(crate) fn property(data: &[u8], property: &str) -> Result<SecretValue, ProviderError> {
    if let Some(member) = json::member(data, property) {
        return json::typed_value(member).map_err(|_error| unusable());
    }
    let document = canonical(data)?;
    gjson::get(&document, property)
        .map(|found| found.render())
        .ok_or_else(|| {
            ProviderError::property_not_found(format!(
                "cannot find secret data for key: \"{property}\""
            ))
        })
}

/// All members of the object that `text` holds, by conversion B.
///
/// # Errors
///
/// `INVALID_PAYLOAD` if it does not hold one; the message is constant because a parser's would quote the secret.
pub(crate) fn members(text: &[u8]) -> Result<SecretData, ProviderError> {
    json::typed_map(text).map_err(|_error| unusable())
}

fn canonical(data: &[u8]) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    json::canonical(data, Escape::Html).map_err(|_error| unusable())
}

fn unusable() -> ProviderError {
    ProviderError::invalid_payload("failed to unmarshal secret: not a JSON object")
}

/// The map of strings, as JSON text, that fetch mode shows for the metadata of a version 2 secret: three fields of the engine,
/// overlaid by the user's own.
///
/// # Errors
///
/// `INVALID_PAYLOAD` if a value nests too deep.
pub(crate) fn metadata(answer: Value<'_>) -> Result<Zeroizing<Vec<u8>>, ProviderError> {
    let mut map = SecretData::new();
    for field in METADATA_FIELDS {
        if let Some(value) = answer.present(field) {
            map.insert(
                field.to_owned(),
                json::typed_value(value.text()).map_err(|_error| unusable())?,
            );
        }
    }
    if let Some(custom) = answer.present("custom_metadata") {
        map.extend(members(custom.text())?);
    }
    let texts = map
        .iter()
        .map(|(key, value)| (key.as_str(), value.expose()));
    Ok(json::from_texts(texts, Escape::Html))
}

#[cfg(test)]
mod tests {
    use super::*;
    use latchkey_provider_sdk::ErrorClass;

    fn text(value: &SecretValue) -> &str {
        std::str::from_utf8(value.expose()).unwrap()
    }

    #[test]
    fn conversion_b_follows_section_3_4() {
        let members = members(
            br#"{"s":"<a>","o":{"z":1,"a":"<&>","f":1.50},"l":[1,"x",null],"i":12345678901234567890,"f":1.50,"w":1.0,
                "e":1e3,"m":-2.5e-3,"big":1e21,"huge":1e999,"t":true,"n":null,"empty":"","neg":-7}"#,
        )
        .unwrap();
        for (key, expected) in [
            ("s", "<a>"),
            ("o", r#"{"a":"\u003c\u0026\u003e","f":1.50,"z":1}"#),
            ("l", r#"[1,"x",null]"#),
            ("i", "12345678901234567890"),
            ("f", "1.5"),
            ("w", "1"),
            ("e", "1000"),
            ("m", "-0.0025"),
            ("big", "1000000000000000000000"),
            ("huge", "1e999"),
            ("t", "true"),
            ("n", ""),
            ("empty", ""),
            ("neg", "-7"),
        ] {
            assert_eq!(text(&members[key]), expected, "{key}");
        }
    }

    #[test]
    fn p_06_integers_above_2_to_the_53_keep_their_digits_on_the_map_path() {
        let members = members(br#"{"id":9007199254740993}"#).unwrap();
        assert_eq!(text(&members["id"]), "9007199254740993");
    }

    #[test]
    fn the_whole_secret_keeps_the_numbers_as_sent() {
        let data = br#"{ "b":1.50, "a":[1e3, "<"], "c":12345678901234567890 }"#;
        assert_eq!(
            text(&whole(data).unwrap()),
            r#"{"a":[1e3,"\u003c"],"b":1.50,"c":12345678901234567890}"#
        );
    }

    #[test]
    fn a_property_is_a_literal_key_first_and_a_path_second() {
        let data = br#"{"a.b":{"c":"literal"},"a":{"b":{"c":"nested"}},"n":null,"num":1.0,"list":[{"k":"v"}],"h":{"x":"<"}}"#;
        for (path, expected) in [
            ("a.b", r#"{"c":"literal"}"#),
            ("a.b.c", "nested"),
            ("n", ""),
            ("num", "1"),
            ("list.0.k", "v"),
            ("list.#", "1"),
            ("h.x", "<"),
            ("h", r#"{"x":"\u003c"}"#),
        ] {
            assert_eq!(text(&property(data, path).unwrap()), expected, "{path}");
        }
        let error = property(data, "missing").unwrap_err();
        assert_eq!(error.class(), ErrorClass::PropertyNotFound);
        assert_eq!(
            error.message(),
            "cannot find secret data for key: \"missing\""
        );
    }

    #[test]
    fn a_map_of_something_else_than_an_object_is_an_invalid_payload() {
        for document in ["plain canary", "\"canary\"", "[1]", "", "12"] {
            let error = members(document.as_bytes()).unwrap_err();
            assert_eq!(error.class(), ErrorClass::InvalidPayload);
            assert!(!error.message().contains("canary"));
        }
    }

    #[test]
    fn metadata_are_strings_and_the_users_own_win() {
        let answer = Value::try_new(
            br#"{"created_time":"2026-01-01T00:00:00Z","current_version":3,"delete_version_after":null,"max_versions":0,
                "custom_metadata":{"owner":"team","current_version":"mine","flag":true,"n":2.50}}"#,
        )
        .unwrap();
        let expected = r#"{"created_time":"2026-01-01T00:00:00Z","current_version":"mine","flag":"true","n":"2.5","owner":"team"}"#;
        assert_eq!(
            std::str::from_utf8(&metadata(answer).unwrap()).unwrap(),
            expected
        );
        assert_eq!(*metadata(Value::try_new(b"{}").unwrap()).unwrap(), b"{}");
    }
}
