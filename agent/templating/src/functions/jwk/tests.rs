use crate::functions::testing::call;
use crate::value::Value;

fn public(jwk: &str) -> String {
    call("jwkPublicKeyPem", &[Value::from(jwk)])
}

fn private(jwk: &str) -> String {
    call("jwkPrivateKeyPem", &[Value::from(jwk)])
}

#[test]
fn broken_keys_fail_with_the_texts_of_the_go_library() {
    let hint = "error: failed to unmarshal JSON into key hint: ";
    let rsa = "error: failed to unmarshal JSON into key (*jwk.rsaPublicKey): ";
    let cases = [
        (" ", format!("{hint}EOF")),
        ("{\"kty\"", format!("{hint}unexpected EOF")),
        (
            "{\"kty\":\"RSA\",}",
            format!("{hint}invalid character '}}' looking for beginning of object key string"),
        ),
        (
            "[]",
            format!(
                "{hint}json: cannot unmarshal array into Go value of type struct {{ Kty string \"json:\\\"kty\\\"\"; \
                 D json.RawMessage \"json:\\\"d\\\"\" }}"
            ),
        ),
        ("null", "error: invalid key type from JSON ()".to_owned()),
        (
            "{\"kty\":1e999}",
            format!("{hint}json: cannot unmarshal number into Go struct field .kty of type string"),
        ),
        (
            "{\"kty\":\"RSA\",\"kty\":\"X\"}",
            "error: invalid key type from JSON (X)".to_owned(),
        ),
        (
            "{\"kty\":\"RSA\",\"e\":true}",
            format!(
                "{rsa}failed to decode value for key e: error reading next value: json: cannot unmarshal bool into Go value of type string"
            ),
        ),
        (
            "{\"kty\":\"RSA\",\"alg\":[]}",
            format!(
                "{rsa}failed to decode value for key alg: json: cannot unmarshal array into Go value of type string"
            ),
        ),
        (
            "{\"kty\":\"RSA\",\"z\":[1e999]}",
            format!(
                "{rsa}could not decode field z: failed to decode field z: json: cannot unmarshal number 1e999 into Go value of type float64"
            ),
        ),
        (
            "{\"kty\":\"RSA\",\"key_ops\":[\"sign\",5]}",
            format!(
                "{rsa}failed to decode value for key key_ops: json: cannot unmarshal number into Go value of type jwk.KeyOperation"
            ),
        ),
        (
            "{\"kty\":\"OKP\",\"crv\":\"X448\",\"x\":\"AA\"}",
            "error: failed to build public key: invalid curve algorithm X448".to_owned(),
        ),
    ];
    for (jwk, expected) in cases {
        assert_eq!(public(jwk), expected, "{jwk}");
    }
}

#[test]
fn names_of_the_type_are_found_whatever_their_case() {
    let jwk = "{\"KTY\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\"}";
    assert!(public(jwk).starts_with("-----BEGIN PUBLIC KEY-----\n"));
    let jwk = "{\"kty\":\"RSA\",\"n\":\"AQAB\",\"e\":\"AQAB\",\"D\":\"\"}";
    assert_eq!(
        private(jwk),
        "error: failed to unmarshal JSON into key (*jwk.rsaPrivateKey): required field d is missing"
    );
}
