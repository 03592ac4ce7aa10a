//! A hash that is the same in every process and version, which the standard hasher does not promise.

/// FNV-1a over 64 bits. Its lower bits follow the last bytes: whoever needs few bits folds or mixes it.
pub(crate) fn fnv1a(bytes: impl IntoIterator<Item = u8>) -> u64 {
    let sum = 0xcbf2_9ce4_8422_2325;
    bytes.into_iter().fold(sum, |sum, byte| {
        (sum ^ u64::from(byte)).wrapping_mul(0x0100_0000_01b3)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn published_vectors_are_met() {
        for (text, sum) in [
            ("", 0xcbf2_9ce4_8422_2325),
            ("a", 0xaf63_dc4c_8601_ec8c),
            ("foobar", 0x8594_4171_f739_67e8),
        ] {
            assert_eq!(fnv1a(text.bytes()), sum, "{text}");
        }
    }
}
