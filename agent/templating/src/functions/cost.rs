//! What functions pay for the texts that they are given.
//!
//! A step stands for some 50 ns. In that time a text is copied, compared, hashed or searched at 64 bytes and more; but looked
//! at byte by byte, or character by character with Unicode's tables, much slower. What a function makes of a text is paid for where it
//! is made; this is for looking.

use super::Function;

/// Bytes that most functions look at for one step.
const FAST: u64 = 64;
/// For those of [`BYTEWISE_NAMES`].
const BYTEWISE: u64 = 16;
/// For those of [`BY_CHARACTER_NAMES`].
const BY_CHARACTER: u64 = 4;
/// Texts so short are fast for every function: their time goes into the call.
const SHORT: u64 = 64;

/// Steps for looking at `bytes` of text.
pub(crate) fn of_looking_at(bytes: u64, function: &Function) -> u64 {
    if bytes <= SHORT {
        return 0;
    }
    bytes / bytes_per_step(function.name)
}

/// Functions that take each byte in turn.
const BYTEWISE_NAMES: &[&str] = &[
    "add1f",
    "addf",
    "b32dec",
    "b32enc",
    "base",
    "ceil",
    "certSANs",
    "clean",
    "dateModify",
    "date_modify",
    "dir",
    "divf",
    "duration",
    "durationRound",
    "ext",
    "filterCertChain",
    "filterPEM",
    "float64",
    "floor",
    "hexdec",
    "initials",
    "jwkPrivateKeyPem",
    "jwkPublicKeyPem",
    "maxf",
    "minf",
    "mulf",
    "mustDateModify",
    "mustToDate",
    "must_date_modify",
    "osBase",
    "osClean",
    "osDir",
    "osExt",
    "round",
    "semver",
    "semverCompare",
    "subf",
    "toDate",
    "toDecimal",
    "trim",
    "trimAll",
    "trimall",
    "urlParse",
    "wrap",
];

/// Functions that decode each character, look it up in a table, or write it on its own.
const BY_CHARACTER_NAMES: &[&str] = &[
    "camelcase",
    "kebabcase",
    "nospace",
    "regexQuoteMeta",
    "shuffle",
    "snakecase",
    "swapcase",
    "title",
    "untitle",
    "urlJoin",
    "wrapWith",
];

fn bytes_per_step(name: &str) -> u64 {
    if BY_CHARACTER_NAMES.contains(&name) {
        BY_CHARACTER
    } else if BYTEWISE_NAMES.contains(&name) {
        BYTEWISE
    } else {
        FAST
    }
}

#[cfg(test)]
mod tests {
    use super::{BY_CHARACTER, BY_CHARACTER_NAMES, BYTEWISE, BYTEWISE_NAMES, of_looking_at};
    use crate::functions::find;

    #[test]
    fn a_long_text_costs_more_where_each_character_is_looked_at() {
        let steps = |name| of_looking_at(6_400, find(name).expect("the function exists"));
        assert_eq!(steps("upper"), 100);
        assert_eq!(steps("trim"), 6_400 / BYTEWISE);
        assert_eq!(steps("title"), 6_400 / BY_CHARACTER);
    }

    #[test]
    fn the_names_are_those_of_functions() {
        for name in BYTEWISE_NAMES.iter().chain(BY_CHARACTER_NAMES) {
            assert!(find(name).is_some(), "{name}");
        }
    }

    #[test]
    fn a_short_text_costs_nothing() {
        assert_eq!(of_looking_at(64, find("title").expect("exists")), 0);
    }
}
