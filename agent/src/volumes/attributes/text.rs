//! Lists inside of attributes, written as YAML or JSON.

use std::fmt;

use serde::Deserialize;
use serde::de::{self, DeserializeOwned, Deserializer, Visitor};

/// A scalar that must be written as text: `mode: 256` would otherwise quietly mean 0400 to one reader and 0256 to another.
pub(super) enum Text {
    /// Text, as it was written.
    Text(String),
    /// A number, a boolean or nothing.
    Other,
}

/// Reads a list of at most `max_nodes` nodes, without anchors and aliases.
///
/// # Errors
///
/// The parser's own words, which may quote the text.
pub(super) fn parse_list<T: DeserializeOwned>(
    text: &str,
    max_nodes: usize,
) -> Result<Vec<T>, serde_saphyr::Error> {
    let options = serde_saphyr::options! {
        with_snippet: false,
        strict_booleans: true,
        budget: serde_saphyr::budget! { max_nodes: max_nodes, max_depth: 8 },
        alias_limits: serde_saphyr::alias_limits! { max_total_replayed_events: 0 },
    };
    serde_saphyr::from_str_with_options(text, options)
}

// === impl Text ===

impl Text {
    /// The text of the field `name`.
    ///
    /// # Errors
    ///
    /// The rule, if it was not written as text.
    pub(super) fn required(self, name: &str) -> Result<String, String> {
        match self {
            Self::Text(text) => Ok(text),
            Self::Other => Err(format!("{name} must be text; put it in quotes")),
        }
    }
}

impl<'de> Deserialize<'de> for Text {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Reader;
        impl Visitor<'_> for Reader {
            type Value = Text;

            fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str("text in quotes")
            }

            fn visit_str<E: de::Error>(self, text: &str) -> Result<Text, E> {
                Ok(Text::Text(text.to_owned()))
            }

            fn visit_bool<E: de::Error>(self, _: bool) -> Result<Text, E> {
                Ok(Text::Other)
            }

            fn visit_i64<E: de::Error>(self, _: i64) -> Result<Text, E> {
                Ok(Text::Other)
            }

            fn visit_u64<E: de::Error>(self, _: u64) -> Result<Text, E> {
                Ok(Text::Other)
            }

            fn visit_f64<E: de::Error>(self, _: f64) -> Result<Text, E> {
                Ok(Text::Other)
            }

            fn visit_unit<E: de::Error>(self) -> Result<Text, E> {
                Ok(Text::Other)
            }
        }
        deserializer.deserialize_any(Reader)
    }
}
