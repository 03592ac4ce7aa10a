//! The fuzz targets with random input.

#[path = "../fuzz/src/lib.rs"]
#[expect(unreachable_pub, reason = "the fuzz crate's own library")]
mod targets;

use proptest::prelude::*;

/// Words that lead somewhere, and nearly so.
const WORDS: &str = "(externalSecret|data|secretStore|secretStoreKind|items|defaultMode|uid|gid|optional|refreshInterval|startPolicy|\
    maxStaleness|audience|sizeLimit|es|0440|true|1h|AllowedCached|AllowCached|4Mi|4294967295|[a-z0-9.-]{0,6})";

proptest! {
    #[test]
    fn bytes_break_no_promise(input in proptest::collection::vec(any::<u8>(), 0..300)) {
        targets::attributes(&input);
        targets::data(&input);
        targets::items(&input);
    }

    #[test]
    fn attributes_that_are_nearly_right_break_no_promise(words in proptest::collection::vec(WORDS, 0..12)) {
        targets::attributes(words.join("\0").as_bytes());
    }

    #[test]
    fn lists_that_are_nearly_right_break_no_promise(
        entries in proptest::collection::vec("\\{(secretKey: [a-z./]{0,4}, ?)?remoteRef: \\{key: [a-z/ ]{0,4}(, [a-z]{0,8}: [a-z&*]{0,3})?\\}\\}", 0..5),
        files in proptest::collection::vec("\\{key: [a-z]{0,3}, path: [a-z./]{0,6}(, mode: [0-9\"]{0,6})?\\}", 0..5),
    ) {
        targets::data(format!("[{}]", entries.join(",")).as_bytes());
        targets::items(format!("[{}]", files.join(",")).as_bytes());
    }
}
