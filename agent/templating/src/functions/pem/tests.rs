use super::*;

#[test]
fn words_are_compared_without_regard_to_case() {
    assert_eq!(fold(b"PRIVATE key"), fold(b"private KEY"));
    assert_eq!(fold("\u{212a}EY".as_bytes()), fold(b"key"));
    assert_ne!(fold(b"a"), fold(b"b"));
}

#[test]
fn junk_ends_where_the_first_block_begins() {
    assert_eq!(without_junk(b"ab-----BEGIN X"), b"-----BEGIN X");
    assert_eq!(without_junk(b"ab"), b"ab");
    assert_eq!(without_junk(b""), b"");
}
