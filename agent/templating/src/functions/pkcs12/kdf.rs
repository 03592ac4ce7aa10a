//! Keys from passwords: PKCS#12's own way and PBKDF2. Both count iterations that a file may name; they are paid for.

use std::num::NonZeroU32;

use aws_lc_rs::digest::{self, Digest};
use aws_lc_rs::{hmac, pbkdf2};
use zeroize::Zeroizing;

use super::Failed;
use crate::context::Context;
use crate::der::oid;

/// A hash that files name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Hash {
    Sha1,
    Sha256,
    Sha512,
}

/// What a derived key is for: a number of RFC 7292, appendix B.3.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Purpose {
    Key = 1,
    Vector = 2,
    Mac = 3,
}

// === impl Hash ===

impl Hash {
    /// By the identifier of the hash.
    pub(super) fn from_oid(object: &[u8]) -> Option<Self> {
        match object {
            oid::SHA1 => Some(Self::Sha1),
            oid::SHA256 => Some(Self::Sha256),
            oid::SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// By the identifier of the HMAC over it.
    pub(super) fn from_hmac_oid(object: &[u8]) -> Option<Self> {
        match object {
            oid::HMAC_SHA1 => Some(Self::Sha1),
            oid::HMAC_SHA256 => Some(Self::Sha256),
            oid::HMAC_SHA512 => Some(Self::Sha512),
            _ => None,
        }
    }

    /// Bytes of a result.
    pub(super) fn size(self) -> usize {
        self.digest().output_len()
    }

    fn block(self) -> usize {
        self.digest().block_len()
    }

    fn digest(self) -> &'static digest::Algorithm {
        match self {
            Self::Sha1 => &digest::SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => &digest::SHA256,
            Self::Sha512 => &digest::SHA512,
        }
    }

    pub(super) fn hmac(self, key: &[u8], message: &[u8]) -> hmac::Tag {
        let algorithm = match self {
            Self::Sha1 => hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY,
            Self::Sha256 => hmac::HMAC_SHA256,
            Self::Sha512 => hmac::HMAC_SHA512,
        };
        hmac::sign(&hmac::Key::new(algorithm, key), message)
    }

    /// PBKDF2 with the HMAC over this hash.
    pub(super) fn pbkdf2(
        self,
        cx: &mut Context,
        password: &[u8],
        salt: &[u8],
        iterations: i64,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Failed> {
        pay(cx, iterations, length.div_ceil(self.size()), 2)?;
        cx.allocate(length)?;
        let algorithm = match self {
            Self::Sha1 => pbkdf2::PBKDF2_HMAC_SHA1,
            Self::Sha256 => pbkdf2::PBKDF2_HMAC_SHA256,
            Self::Sha512 => pbkdf2::PBKDF2_HMAC_SHA512,
        };
        let iterations = u32::try_from(iterations).ok().and_then(NonZeroU32::new);
        let mut key = Zeroizing::new(vec![0; length]);
        pbkdf2::derive(
            algorithm,
            iterations.unwrap_or(NonZeroU32::MIN),
            salt,
            password,
            &mut key,
        );
        Ok(key)
    }

    /// RFC 7292, appendix B.2.
    pub(super) fn pkcs12(
        self,
        cx: &mut Context,
        password: &[u8],
        salt: &[u8],
        iterations: i64,
        purpose: Purpose,
        length: usize,
    ) -> Result<Zeroizing<Vec<u8>>, Failed> {
        pay(cx, iterations, length.div_ceil(self.size()), 1)?;
        let block = self.block();
        cx.allocate((salt.len() + password.len() + 2 * block).saturating_mul(2))?;
        let mut input = Zeroizing::new(vec![purpose as u8; block]);
        fill(salt, block, &mut input);
        fill(password, block, &mut input);
        let mut key = Zeroizing::new(Vec::with_capacity(length + self.size()));
        while key.len() < length {
            let sum = self.repeated(&input, iterations);
            key.extend_from_slice(sum.as_ref());
            let addend: Zeroizing<Vec<u8>> =
                Zeroizing::new(sum.as_ref().iter().copied().cycle().take(block).collect());
            for part in input.chunks_mut(block).skip(1) {
                add(part, &addend);
            }
        }
        key.truncate(length);
        Ok(key)
    }

    fn repeated(self, input: &[u8], iterations: i64) -> Digest {
        let mut sum = digest::digest(self.digest(), input);
        for _ in 1..iterations {
            sum = digest::digest(self.digest(), sum.as_ref());
        }
        sum
    }
}

/// Pays for `iterations` of `hashes` for each block of a key, at a third of a microsecond for each hash.
fn pay(cx: &mut Context, iterations: i64, blocks: usize, hashes: u64) -> Result<(), Failed> {
    let iterations = u64::try_from(iterations).unwrap_or(0);
    let total = iterations
        .saturating_mul(blocks as u64)
        .saturating_mul(hashes);
    cx.cryptography_time(total / 3)?;
    Ok(())
}

/// Appends copies of `pattern` up to a whole number of blocks.
fn fill(pattern: &[u8], block: usize, out: &mut Vec<u8>) {
    let length = pattern.len().next_multiple_of(block);
    out.extend(pattern.iter().copied().cycle().take(length));
}

/// `part + addend + 1`, big-endian, without what does not fit.
fn add(part: &mut [u8], addend: &[u8]) {
    let mut carry = 1;
    for (byte, other) in part.iter_mut().zip(addend).rev() {
        let sum = u16::from(*byte) + u16::from(*other) + carry;
        *byte = sum as u8;
        carry = sum >> 8;
    }
}
