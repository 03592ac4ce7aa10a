//! Base64 as Go's `encoding/base64` reads and writes it.

use base64::engine::general_purpose::STANDARD;
use base64::engine::{GeneralPurpose, GeneralPurposeConfig};
use base64::{Engine, alphabet};
use zeroize::Zeroizing;

/// Go's `StdEncoding`: padding is required, unused bits may be set. Refuses line ends, which Go skips.
const STRICT: GeneralPurpose = GeneralPurpose::new(
    &alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_allow_trailing_bits(true),
);

/// Which characters stand for a value and whether the end is padded.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Alphabet {
    /// `+` and `/`, with padding.
    Standard,
    /// `+` and `/`, without padding.
    StandardRaw,
    /// `-` and `_`, with padding.
    Url,
    /// `-` and `_`, without padding.
    UrlRaw,
}

/// What a reader of four characters ends with.
enum Quantum {
    /// As many characters as a quantum has, or fewer before the end.
    Characters(usize),
    /// The input ended before the first character.
    End,
}

/// Reads `text`: line feeds and carriage returns are skipped, unused bits are ignored.
///
/// # Errors
///
/// The offset that Go names in `illegal base64 data at input byte N`.
pub(crate) fn decode(alphabet: Alphabet, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, usize> {
    if alphabet == Alphabet::Standard {
        let mut out = Zeroizing::new(vec![0; base64::decoded_len_estimate(text.len())]);
        if let Ok(length) = STRICT.decode_slice(text, &mut out) {
            out.truncate(length);
            return Ok(out);
        }
    }
    decode_slowly(alphabet, text)
}

/// [`decode`] of the standard alphabet with padding, with the whole of Go's message.
pub(crate) fn decode_or_message(text: &[u8]) -> Result<Vec<u8>, String> {
    match decode(Alphabet::Standard, text) {
        Ok(mut bytes) => Ok(std::mem::take(&mut *bytes)),
        Err(offset) => Err(format!("illegal base64 data at input byte {offset}")),
    }
}

/// [`decode`] of what the library does not take: with line ends, of another alphabet, or broken.
fn decode_slowly(alphabet: Alphabet, text: &[u8]) -> Result<Zeroizing<Vec<u8>>, usize> {
    let mut out = Zeroizing::new(Vec::with_capacity(decoded_capacity(alphabet, text.len())));
    let mut at = 0;
    let mut digits = [0u8; 4];
    loop {
        let count = match quantum(alphabet, text, &mut at, &mut digits)? {
            Quantum::End => return Ok(out),
            Quantum::Characters(count) => count,
        };
        let bits = digits
            .iter()
            .take(count)
            .fold(0u32, |bits, digit| bits << 6 | u32::from(*digit))
            << (6 * (4 - count));
        let bytes = bits.to_be_bytes();
        out.extend(bytes.iter().skip(1).take(count.saturating_sub(1)));
        if count < 4 {
            return Ok(out);
        }
    }
}

/// The standard alphabet with padding, on one line.
pub(crate) fn encode(bytes: &[u8]) -> Vec<u8> {
    let mut out = vec![0; encoded_length(bytes.len())];
    // The buffer has the length that base64 says it needs.
    let length = STANDARD.encode_slice(bytes, &mut out).unwrap_or(0);
    out.truncate(length);
    out
}

/// The length of [`encode`]'s result.
pub(crate) fn encoded_length(bytes: usize) -> usize {
    bytes.div_ceil(3).saturating_mul(4)
}

/// Go's `DecodedLen`: the capacity of what it decodes into.
pub(crate) fn decoded_capacity(alphabet: Alphabet, length: usize) -> usize {
    match alphabet {
        Alphabet::Standard | Alphabet::Url => length / 4 * 3,
        Alphabet::StandardRaw | Alphabet::UrlRaw => length / 4 * 3 + length % 4 * 6 / 8,
    }
}

/// Reads up to four characters from `at` on.
fn quantum(
    alphabet: Alphabet,
    text: &[u8],
    at: &mut usize,
    digits: &mut [u8; 4],
) -> Result<Quantum, usize> {
    let padded = matches!(alphabet, Alphabet::Standard | Alphabet::Url);
    for read in 0..4 {
        let Some(byte) = next(text, at) else {
            return match read {
                0 => Ok(Quantum::End),
                1 => Err(*at - 1),
                _ if padded => Err(*at - read),
                _ => Ok(Quantum::Characters(read)),
            };
        };
        if let (Some(value), Some(digit)) = (value(alphabet, byte), digits.get_mut(read)) {
            *digit = value;
            continue;
        }
        if byte != b'=' || !padded || read < 2 {
            return Err(*at - 1);
        }
        return padding(text, at, read);
    }
    Ok(Quantum::Characters(4))
}

/// The rest of the padding, of which the first character has been read, and of the input.
fn padding(text: &[u8], at: &mut usize, read: usize) -> Result<Quantum, usize> {
    if read == 2 {
        skip_line_ends(text, at);
        match text.get(*at) {
            None => return Err(text.len()),
            Some(b'=') => *at += 1,
            Some(_) => return Err(*at - 1),
        }
    }
    skip_line_ends(text, at);
    if *at < text.len() {
        return Err(*at);
    }
    Ok(Quantum::Characters(read))
}

/// The next byte that is no line end.
fn next(text: &[u8], at: &mut usize) -> Option<u8> {
    skip_line_ends(text, at);
    let byte = text.get(*at).copied()?;
    *at += 1;
    Some(byte)
}

fn skip_line_ends(text: &[u8], at: &mut usize) {
    while matches!(text.get(*at), Some(b'\n' | b'\r')) {
        *at += 1;
    }
}

fn value(alphabet: Alphabet, byte: u8) -> Option<u8> {
    let url = matches!(alphabet, Alphabet::Url | Alphabet::UrlRaw);
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' if !url => 62,
        b'/' if !url => 63,
        b'-' if url => 62,
        b'_' if url => 63,
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_go_reads() {
        let cases: &[(&str, &[u8])] = &[
            ("", b""),
            ("Zm9v", b"foo"),
            ("Zm9vYg==", b"foob"),
            ("Zm9vYmE=", b"fooba"),
            ("Zm9vYh==", b"foob"),
            ("Z\nm\r\n9v", b"foo"),
            ("Zm9vYg=\n=\n", b"foob"),
            ("\n", b""),
        ];
        for (text, bytes) in cases {
            let got = decode(Alphabet::Standard, text.as_bytes()).unwrap();
            assert_eq!(got.as_slice(), *bytes, "{text:?}");
        }
        assert_eq!(
            decode(Alphabet::UrlRaw, b"_-8").unwrap().as_slice(),
            b"\xff\xef"
        );
    }

    #[test]
    fn names_the_offset_that_go_names() {
        let cases: &[(&str, usize)] = &[
            ("***", 0),
            ("Z", 0),
            ("Zm", 0),
            ("Zm9", 0),
            ("Zm9vY", 4),
            ("Zm9vYg", 4),
            ("Zm9vYg=", 7),
            ("Zm9vYg=x", 6),
            ("Zm9vYg==x", 8),
            ("Zm9vYmE=x", 8),
            ("=", 0),
            ("Z=", 1),
            ("Zm9v!", 4),
            ("Zm9v-_", 4),
            ("Z\nm", 1),
        ];
        for (text, offset) in cases {
            let got = decode(Alphabet::Standard, text.as_bytes());
            assert_eq!(got.unwrap_err(), *offset, "{text:?}");
        }
    }

    #[test]
    fn writes_padding() {
        assert_eq!(encode(b"foob"), b"Zm9vYg==");
        assert_eq!(encode(b""), b"");
    }
}
