//! Object identifiers, as the bytes of their encoded arcs.

macro_rules! identifiers {
    ($($name:ident $bytes:literal $dotted:literal)*) => {
        $(
            #[doc = $dotted]
            pub(crate) const $name: &[u8] = $bytes;
        )*

        #[cfg(test)]
        const ALL: &[(&[u8], &str)] = &[$(($name, $dotted)),*];
    };
}

identifiers! {
    RSA b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x01" "1.2.840.113549.1.1.1"
    SHA256_WITH_RSA b"\x2a\x86\x48\x86\xf7\x0d\x01\x01\x0b" "1.2.840.113549.1.1.11"
    EC b"\x2a\x86\x48\xce\x3d\x02\x01" "1.2.840.10045.2.1"
    ECDSA_WITH_SHA256 b"\x2a\x86\x48\xce\x3d\x04\x03\x02" "1.2.840.10045.4.3.2"
    ECDSA_WITH_SHA384 b"\x2a\x86\x48\xce\x3d\x04\x03\x03" "1.2.840.10045.4.3.3"
    ECDSA_WITH_SHA512 b"\x2a\x86\x48\xce\x3d\x04\x03\x04" "1.2.840.10045.4.3.4"
    P224 b"\x2b\x81\x04\x00\x21" "1.3.132.0.33"
    P256 b"\x2a\x86\x48\xce\x3d\x03\x01\x07" "1.2.840.10045.3.1.7"
    P384 b"\x2b\x81\x04\x00\x22" "1.3.132.0.34"
    P521 b"\x2b\x81\x04\x00\x23" "1.3.132.0.35"
    X25519 b"\x2b\x65\x6e" "1.3.101.110"
    ED25519 b"\x2b\x65\x70" "1.3.101.112"
    DSA b"\x2a\x86\x48\xce\x38\x04\x01" "1.2.840.10040.4.1"

    COMMON_NAME b"\x55\x04\x03" "2.5.4.3"

    SUBJECT_KEY_ID b"\x55\x1d\x0e" "2.5.29.14"
    KEY_USAGE b"\x55\x1d\x0f" "2.5.29.15"
    SUBJECT_ALT_NAME b"\x55\x1d\x11" "2.5.29.17"
    BASIC_CONSTRAINTS b"\x55\x1d\x13" "2.5.29.19"
    NAME_CONSTRAINTS b"\x55\x1d\x1e" "2.5.29.30"
    CRL_DISTRIBUTION_POINTS b"\x55\x1d\x1f" "2.5.29.31"
    CERTIFICATE_POLICIES b"\x55\x1d\x20" "2.5.29.32"
    POLICY_MAPPINGS b"\x55\x1d\x21" "2.5.29.33"
    AUTHORITY_KEY_ID b"\x55\x1d\x23" "2.5.29.35"
    POLICY_CONSTRAINTS b"\x55\x1d\x24" "2.5.29.36"
    EXTENDED_KEY_USAGE b"\x55\x1d\x25" "2.5.29.37"
    ANY_EXTENDED_KEY_USAGE b"\x55\x1d\x25\x00" "2.5.29.37.0"
    INHIBIT_ANY_POLICY b"\x55\x1d\x36" "2.5.29.54"
    AUTHORITY_INFO_ACCESS b"\x2b\x06\x01\x05\x05\x07\x01\x01" "1.3.6.1.5.5.7.1.1"
    SERVER_AUTH b"\x2b\x06\x01\x05\x05\x07\x03\x01" "1.3.6.1.5.5.7.3.1"
    CLIENT_AUTH b"\x2b\x06\x01\x05\x05\x07\x03\x02" "1.3.6.1.5.5.7.3.2"

    PKCS7_DATA b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x01" "1.2.840.113549.1.7.1"
    PKCS7_ENCRYPTED_DATA b"\x2a\x86\x48\x86\xf7\x0d\x01\x07\x06" "1.2.840.113549.1.7.6"
    PBKDF2 b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0c" "1.2.840.113549.1.5.12"
    PBES2 b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0d" "1.2.840.113549.1.5.13"
    PBMAC1 b"\x2a\x86\x48\x86\xf7\x0d\x01\x05\x0e" "1.2.840.113549.1.5.14"
    FRIENDLY_NAME b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x14" "1.2.840.113549.1.9.20"
    LOCAL_KEY_ID b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x15" "1.2.840.113549.1.9.21"
    X509_CERTIFICATE b"\x2a\x86\x48\x86\xf7\x0d\x01\x09\x16\x01" "1.2.840.113549.1.9.22.1"
    PBE_SHA_3DES b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x03" "1.2.840.113549.1.12.1.3"
    PBE_SHA_RC2_128 b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x05" "1.2.840.113549.1.12.1.5"
    PBE_SHA_RC2_40 b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x01\x06" "1.2.840.113549.1.12.1.6"
    KEY_BAG b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x01" "1.2.840.113549.1.12.10.1.1"
    SHROUDED_KEY_BAG b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x02" "1.2.840.113549.1.12.10.1.2"
    CERTIFICATE_BAG b"\x2a\x86\x48\x86\xf7\x0d\x01\x0c\x0a\x01\x03" "1.2.840.113549.1.12.10.1.3"
    JAVA_TRUST_STORE b"\x60\x86\x48\x01\x86\xf9\x66\xad\xca\x7b\x01\x01" "2.16.840.1.113894.746875.1.1"
    HMAC_SHA1 b"\x2a\x86\x48\x86\xf7\x0d\x02\x07" "1.2.840.113549.2.7"
    HMAC_SHA256 b"\x2a\x86\x48\x86\xf7\x0d\x02\x09" "1.2.840.113549.2.9"
    HMAC_SHA512 b"\x2a\x86\x48\x86\xf7\x0d\x02\x0b" "1.2.840.113549.2.11"
    SHA1 b"\x2b\x0e\x03\x02\x1a" "1.3.14.3.2.26"
    SHA256 b"\x60\x86\x48\x01\x65\x03\x04\x02\x01" "2.16.840.1.101.3.4.2.1"
    SHA512 b"\x60\x86\x48\x01\x65\x03\x04\x02\x03" "2.16.840.1.101.3.4.2.3"
    AES_128_CBC b"\x60\x86\x48\x01\x65\x03\x04\x01\x02" "2.16.840.1.101.3.4.1.2"
    AES_192_CBC b"\x60\x86\x48\x01\x65\x03\x04\x01\x16" "2.16.840.1.101.3.4.1.22"
    AES_256_CBC b"\x60\x86\x48\x01\x65\x03\x04\x01\x2a" "2.16.840.1.101.3.4.1.42"
}

/// The identifier with its arcs in decimal; the bytes must have been checked by a reader.
pub(crate) fn dotted(oid: &[u8]) -> String {
    let mut text = String::new();
    let mut arc: u64 = 0;
    for byte in oid {
        arc = arc << 7 | u64::from(byte & 0x7f);
        if byte & 0x80 != 0 {
            continue;
        }
        if text.is_empty() {
            let first = (arc / 40).min(2);
            text = format!("{first}.{}", arc - first * 40);
        } else {
            text.push('.');
            text.push_str(&arc.to_string());
        }
        arc = 0;
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_bytes_are_those_of_the_dotted_forms() {
        for (bytes, text) in ALL {
            assert_eq!(dotted(bytes), *text);
        }
    }
}
