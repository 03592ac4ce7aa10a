//! RSA keys.

use crypto_bigint::modular::{BoxedMontyForm, BoxedMontyParams};
use crypto_bigint::{BoxedUint, ConcatenatingMul, NonZero, Odd};
use zeroize::Zeroizing;

use super::PublicKey;
use crate::context::Context;
use crate::der::{self, Element};
use crate::failure::{Failure, Result};

/// Bits of the largest number that is computed with. Go has no such bound.
const MAXIMUM_BITS: usize = 16_384;

/// A private key with two primes, checked.
pub(crate) struct RsaKey {
    numbers: Numbers,
    crt: Crt,
}

/// The numbers that make a key, big-endian and without leading zeros.
pub(crate) struct Numbers {
    pub(crate) modulus: Vec<u8>,
    pub(crate) exponent: i64,
    pub(crate) private: Zeroizing<Vec<u8>>,
    pub(crate) first: Zeroizing<Vec<u8>>,
    pub(crate) second: Zeroizing<Vec<u8>>,
}

/// What makes private operations fast, big-endian and without leading zeros.
pub(crate) struct Crt {
    /// d mod p-1
    pub(crate) first: Zeroizing<Vec<u8>>,
    /// d mod q-1
    pub(crate) second: Zeroizing<Vec<u8>>,
    /// q^-1 mod p
    pub(crate) coefficient: Zeroizing<Vec<u8>>,
}

/// The numbers of a key to compute with, all of one width.
struct Key {
    n: BoxedUint,
    d: BoxedUint,
    p: BoxedUint,
    q: BoxedUint,
}

// === impl RsaKey ===

impl RsaKey {
    /// Go's `Precompute` and `Validate`: checks the key with the given CRT values, or computes them.
    pub(crate) fn new(cx: &mut Context, numbers: Numbers, crt: Option<Crt>) -> Result<Self> {
        let parts = [
            numbers.modulus.as_slice(),
            &numbers.private,
            &numbers.first,
            &numbers.second,
        ];
        let given = crt.iter().flat_map(|crt| {
            [
                crt.first.as_slice(),
                crt.second.as_slice(),
                crt.coefficient.as_slice(),
            ]
        });
        let longest = parts.into_iter().chain(given).map(<[u8]>::len).max();
        let bits = longest.unwrap_or(0) * 8;
        if bits > MAXIMUM_BITS {
            return Err(Failure::plain(format!(
                "crypto/rsa: keys above {MAXIMUM_BITS} bits are not supported"
            )));
        }
        pay(cx, bits, crt.is_none())?;
        let width = (bits as u32).next_multiple_of(64).max(64);
        let key = Key::new(&numbers, width)?;
        let crt = match crt {
            Some(crt) => {
                below(&crt.coefficient, &key.p)?;
                crt
            }
            None => key.crt()?,
        };
        check_public(&key.n, numbers.exponent)?;
        key.check(numbers.exponent as u64, &crt, width)?;
        Ok(Self { numbers, crt })
    }

    /// Bits of the modulus.
    pub(crate) fn bits(&self) -> usize {
        let zeros = self
            .numbers
            .modulus
            .first()
            .map_or(0, |b| b.leading_zeros());
        self.numbers.modulus.len() * 8 - zeros as usize
    }

    /// Microseconds of a private operation, its set-up included, as measured for 2048 and 4096 bits.
    pub(crate) fn cost(&self) -> u64 {
        let kilobits = (self.bits() as u64).div_ceil(1024);
        400 * kilobits * kilobits + 40 * kilobits * kilobits * kilobits
    }

    pub(crate) fn public(&self) -> PublicKey {
        let exponent = self.numbers.exponent.to_be_bytes();
        PublicKey::Rsa(
            self.numbers.modulus.clone(),
            der::strip_zeros(&exponent).to_vec(),
        )
    }

    /// The key in PKCS#1.
    pub(crate) fn pkcs1(&self) -> Element {
        let Numbers {
            modulus,
            exponent,
            private,
            first,
            second,
        } = &self.numbers;
        der::sequence(&[
            &der::small_integer(0),
            &der::integer(modulus),
            &der::integer(&exponent.to_be_bytes()),
            &der::integer(private),
            &der::integer(first),
            &der::integer(second),
            &der::integer(&self.crt.first),
            &der::integer(&self.crt.second),
            &der::integer(&self.crt.coefficient),
        ])
    }
}

// === impl Key ===

impl Key {
    fn new(numbers: &Numbers, width: u32) -> Result<Self> {
        let n = modulus(&numbers.modulus, width)?;
        let p = modulus(&numbers.first, width)?;
        let q = modulus(&numbers.second, width)?;
        below(&numbers.private, &n)?;
        let d = number(&numbers.private, width)?;
        Ok(Self { n, d, p, q })
    }

    fn crt(&self) -> Result<Crt> {
        let first = self.d.rem(&minus_one(&self.p)?);
        let second = self.d.rem(&minus_one(&self.q)?);
        let Some(p) = Odd::new(self.p.clone()).into_option() else {
            return Err(Failure::plain("crypto/rsa: p is even"));
        };
        // The inverse by Fermat's theorem, as in Go: it is one only if p is prime.
        let two = BoxedUint::from(2u8);
        let exponent = self.p.wrapping_sub(&two);
        let q = self.q.rem(&nonzero(self.p.clone())?);
        let parameters = BoxedMontyParams::new(p);
        let coefficient = BoxedMontyForm::new(q, &parameters)
            .pow(&exponent)
            .retrieve();
        Ok(Crt {
            first: bytes(&first),
            second: bytes(&second),
            coefficient: bytes(&coefficient),
        })
    }

    /// Go's `checkPrivateKey` without its checks of the public part.
    fn check(&self, exponent: u64, crt: &Crt, width: u32) -> Result<()> {
        let Self { n, d, p, q } = self;
        if p >= n || q >= n {
            return Err(Failure::plain("crypto/rsa: invalid prime"));
        }
        let zero = product(p, q).rem(&nonzero(n.clone())?);
        if !bool::from(zero.is_zero()) {
            return Err(Failure::plain("crypto/rsa: p * q != n"));
        }
        let prime = || Failure::plain("crypto/rsa: invalid prime");
        let below_p = minus_one(p).map_err(|_| prime())?;
        let first = crt_exponent(&crt.first, exponent, &below_p, width)?;
        let below_q = minus_one(q).map_err(|_| prime())?;
        let second = crt_exponent(&crt.second, exponent, &below_q, width)?;
        let coefficient = number(&crt.coefficient, width)?;
        let modulus = nonzero(p.clone())?;
        let one = product(&q.rem(&modulus), &coefficient).rem(&modulus);
        if !bool::from(one.is_one()) {
            return Err(Failure::plain("crypto/rsa: invalid CRT coefficient"));
        }
        if d.rem(&below_p) != first {
            return Err(Failure::plain("crypto/rsa: d does not match dP"));
        }
        if d.rem(&below_q) != second {
            return Err(Failure::plain("crypto/rsa: d does not match dQ"));
        }
        let difference = match p.cmp(q) {
            std::cmp::Ordering::Equal => return Err(Failure::plain("crypto/rsa: p == q")),
            std::cmp::Ordering::Less => q.wrapping_sub(p),
            std::cmp::Ordering::Greater => p.wrapping_sub(q),
        };
        let half = n.bit_width() / 2;
        if difference.bit_width().saturating_add(100) <= half {
            return Err(Failure::plain("crypto/rsa: |p - q| too small"));
        }
        if d.bit_width() <= half {
            return Err(Failure::plain("crypto/rsa: d too small"));
        }
        Ok(())
    }
}

/// Pays for the checks of a key, in measured microseconds.
fn pay(cx: &mut Context, bits: usize, inverse: bool) -> Result<()> {
    let kilobits = (bits as u64).div_ceil(1024);
    let checks = 25 * kilobits * kilobits;
    let power = if inverse {
        60 * kilobits * kilobits * kilobits
    } else {
        0
    };
    cx.cryptography_time(checks + power)
}

/// Go's `checkPublicKey`.
fn check_public(modulus: &BoxedUint, exponent: i64) -> Result<()> {
    let text = if !modulus.bit_vartime(0) {
        "crypto/rsa: public modulus is even"
    } else if exponent < 2 {
        "crypto/rsa: public exponent too small or negative"
    } else if exponent & 1 == 0 {
        "crypto/rsa: public exponent is even"
    } else if exponent > i64::from(i32::MAX) {
        "crypto/rsa: public exponent too large"
    } else {
        return Ok(());
    };
    Err(Failure::plain(text))
}

fn crt_exponent(
    bytes: &[u8],
    exponent: u64,
    modulus: &NonZero<BoxedUint>,
    width: u32,
) -> Result<BoxedUint> {
    let invalid = || Failure::plain("crypto/rsa: invalid CRT exponent");
    below(bytes, modulus).map_err(|_| invalid())?;
    let value = number(bytes, width)?;
    let one = product(&value, &BoxedUint::from(exponent)).rem(modulus);
    if !bool::from(one.is_one()) {
        return Err(invalid());
    }
    Ok(value)
}

/// Fails if the value of `bytes` is not below `modulus`, with the text that depends on how Go stores numbers.
fn below(bytes: &[u8], modulus: &BoxedUint) -> Result<()> {
    let bytes = der::strip_zeros(bytes);
    let limbs = modulus.bit_width().div_ceil(64) as usize;
    if bytes.len() > limbs * 8 {
        return Err(Failure::plain("input overflows the modulus size"));
    }
    if number(bytes, modulus.bits_precision())? >= *modulus {
        return Err(Failure::plain("input overflows the modulus"));
    }
    Ok(())
}

fn modulus(bytes: &[u8], width: u32) -> Result<BoxedUint> {
    let number = number(bytes, width)?;
    if number.bit_width() < 2 {
        return Err(Failure::plain("modulus must be > 1"));
    }
    Ok(number)
}

/// `number - 1`, which must be above 1.
fn minus_one(number: &BoxedUint) -> Result<NonZero<BoxedUint>> {
    let less = number.wrapping_sub(BoxedUint::one());
    if less.bit_width() < 2 {
        return Err(Failure::plain("modulus must be > 1"));
    }
    nonzero(less)
}

fn nonzero(number: BoxedUint) -> Result<NonZero<BoxedUint>> {
    NonZero::new(number)
        .into_option()
        .ok_or_else(|| Failure::plain("modulus must be > 1"))
}

fn product(one: &BoxedUint, other: &BoxedUint) -> BoxedUint {
    one.concatenating_mul(other)
}

fn number(bytes: &[u8], width: u32) -> Result<BoxedUint> {
    BoxedUint::from_be_slice(der::strip_zeros(bytes), width)
        .map_err(|_| Failure::plain("input overflows the modulus size"))
}

fn bytes(number: &BoxedUint) -> Zeroizing<Vec<u8>> {
    let bytes = Zeroizing::new(number.to_be_bytes());
    Zeroizing::new(der::strip_zeros(&bytes).to_vec())
}
