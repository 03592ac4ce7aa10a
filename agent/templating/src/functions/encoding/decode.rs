//! Decoders that say where they stopped as Go's do.

use zeroize::Zeroizing;

use crate::unicode;

/// Go's `base32.StdEncoding.DecodeString`, whose offsets do not count line breaks.
pub(super) fn base32_decode(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let digits = encoded.iter().copied();
    let digits: Zeroizing<Vec<u8>> = Zeroizing::new(
        digits
            .filter(|byte| !matches!(byte, b'\r' | b'\n'))
            .collect(),
    );
    let mut out = Zeroizing::new(Vec::with_capacity(digits.len() / 8 * 5 + 5));
    let mut start = 0;
    while start < digits.len() {
        let rest = digits.get(start..).unwrap_or_default();
        let (bits, count) = base32_quantum(rest)
            .map_err(|offset| format!("illegal base32 data at input byte {}", start + offset))?;
        let [_, _, _, bytes @ ..] = bits.to_be_bytes();
        out.extend(bytes.iter().take(count * 5 / 8));
        if count < 8 {
            break;
        }
        start += 8;
    }
    Ok(std::mem::take(&mut *out))
}

/// The bits of the next 8 digits, 40 of them, and how many digits there were. Fails with the offset that Go names.
fn base32_quantum(rest: &[u8]) -> Result<(u64, usize), usize> {
    let mut bits = 0;
    for count in 0..8 {
        let Some(&byte) = rest.get(count) else {
            // Without padding: Go names the start of the quantum.
            return Err(0);
        };
        if byte == b'=' && count >= 2 && rest.len() <= count + 8 {
            base32_padding(rest, count)?;
            return Ok((bits << (5 * (8 - count)), count));
        }
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'2'..=b'7' => byte - b'2' + 26,
            _ => return Err(count),
        };
        bits = bits << 5 | u64::from(digit);
    }
    Ok((bits, 8))
}

/// Checks the padding that begins behind `count` digits.
fn base32_padding(rest: &[u8], count: usize) -> Result<(), usize> {
    if rest.len() < 8 {
        return Err(rest.len());
    }
    let wrong = (count + 1..8).find(|&index| rest.get(index).is_some_and(|&byte| byte != b'='));
    if let Some(wrong) = wrong {
        return Err(wrong - 1);
    }
    if matches!(count, 3 | 6) {
        return Err(count);
    }
    Ok(())
}

/// Go's `hex.DecodeString`.
pub(super) fn hex_decode(encoded: &[u8]) -> Result<Vec<u8>, String> {
    let mut out = Zeroizing::new(Vec::with_capacity(encoded.len() / 2));
    for pair in encoded.chunks(2) {
        let mut value = 0;
        for &byte in pair {
            value = value << 4 | hex_digit(byte)?;
        }
        if pair.len() < 2 {
            return Err("encoding/hex: odd length hex string".to_owned());
        }
        out.push(value);
    }
    Ok(std::mem::take(&mut *out))
}

fn hex_digit(byte: u8) -> Result<u8, String> {
    match byte {
        b'0'..=b'9' => Ok(byte - b'0'),
        b'a'..=b'f' => Ok(byte - b'a' + 10),
        b'A'..=b'F' => Ok(byte - b'A' + 10),
        _ => {
            let mut message = format!("encoding/hex: invalid byte: U+{byte:04X}");
            let character = char::from(byte);
            if unicode::is_print(character) {
                message.push_str(" '");
                message.push(character);
                message.push('\'');
            }
            Err(message)
        }
    }
}
