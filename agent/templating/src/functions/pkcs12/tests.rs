use super::*;

#[test]
fn passwords_are_utf_16() {
    let encode = |text: &[u8]| bmp_password(text).ok().map(|bytes| bytes.to_vec());
    assert_eq!(encode(b"").unwrap(), [0, 0]);
    assert_eq!(
        encode("p\u{df}".as_bytes()).unwrap(),
        [0, b'p', 0, 0xdf, 0, 0]
    );
    assert_eq!(encode(b"\xe2\x82").unwrap(), b"\xff\xfd\xff\xfd\0\0");
    assert_eq!(encode("\u{10000}".as_bytes()), None);
    let back = |text: &[u8]| utf8_password(&bmp_password(text).ok().unwrap()).to_vec();
    assert_eq!(back("p\u{df}\0".as_bytes()), "p\u{df}\0".as_bytes());
    assert_eq!(back(b"\xff"), "\u{fffd}".as_bytes());
    assert!(utf8_password(&[]).is_empty());
}
