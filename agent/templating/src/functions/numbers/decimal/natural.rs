//! Natural numbers of any size, in base 1,000,000,000 because they come from decimal text and go back to it.

use std::cmp::Ordering;

use crate::context::Context;
use crate::failure::Result;

const BASE: u64 = 1_000_000_000;
/// Decimal digits of one limb.
const LIMB_DIGITS: i64 = 9;

/// The limbs, lowest first, without zeros at the high end.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct Natural(Vec<u32>);

// === impl Natural ===

impl Natural {
    pub(super) fn is_zero(&self) -> bool {
        self.0.is_empty()
    }

    /// Pays for a step over all limbs that makes so many bytes of each.
    pub(super) fn pay(&self, cx: &mut Context, bytes: usize) -> Result<()> {
        cx.work(1 + self.0.len() as u64)?;
        cx.allocate(self.0.len().saturating_mul(bytes))
    }

    /// Pays for a step over all pairs of limbs.
    pub(super) fn pay_product(&self, cx: &mut Context, other: &Self) -> Result<()> {
        cx.work((self.0.len() as u64).saturating_mul(other.0.len() as u64) / 8)?;
        self.pay(cx, 8)?;
        other.pay(cx, 8)
    }

    pub(super) fn add(&self, other: &Self) -> Self {
        let (long, short) = if self.0.len() < other.0.len() {
            (other, self)
        } else {
            (self, other)
        };
        let mut limbs = long.0.clone();
        let mut carry = 0;
        for (index, limb) in limbs.iter_mut().enumerate() {
            let sum = u64::from(*limb) + short.limb(index) + carry;
            *limb = (sum % BASE) as u32;
            carry = sum / BASE;
        }
        if carry > 0 {
            limbs.push(carry as u32);
        }
        Self(limbs)
    }

    /// The difference to a number that is not larger.
    pub(super) fn subtract(&self, other: &Self) -> Self {
        let mut limbs = self.0.clone();
        let mut borrow = 0;
        for (index, limb) in limbs.iter_mut().enumerate() {
            let difference = u64::from(*limb) + BASE - other.limb(index) - borrow;
            *limb = (difference % BASE) as u32;
            borrow = u64::from(difference < BASE);
        }
        Self::trimmed(limbs)
    }

    pub(super) fn multiply(&self, other: &Self) -> Self {
        let mut limbs = vec![0_u32; self.0.len() + other.0.len()];
        for (offset, left) in self.0.iter().enumerate() {
            let mut carry = 0;
            for (index, limb) in limbs.iter_mut().skip(offset).enumerate() {
                let sum = u64::from(*limb) + u64::from(*left) * other.limb(index) + carry;
                *limb = (sum % BASE) as u32;
                carry = sum / BASE;
                if carry == 0 && index >= other.0.len() {
                    break;
                }
            }
        }
        Self::trimmed(limbs)
    }

    /// Times ten to a power that is not negative.
    pub(super) fn times_power_of_ten(&self, cx: &mut Context, power: i64) -> Result<Self> {
        if power <= 0 || self.is_zero() {
            return Ok(self.clone());
        }
        let whole = usize::try_from(power / LIMB_DIGITS).unwrap_or(usize::MAX);
        cx.allocate(self.0.len().saturating_add(whole).saturating_mul(8))?;
        let factor = 10_u32.pow((power % LIMB_DIGITS) as u32);
        let product = self.multiply(&Self(vec![factor]));
        let mut limbs = vec![0; whole];
        limbs.extend_from_slice(&product.0);
        Ok(Self(limbs))
    }

    /// Quotient and remainder; the divisor is not zero. Knuth's algorithm D.
    pub(super) fn divide(&self, divisor: &Self) -> (Self, Self) {
        if *self < *divisor {
            return (Self(Vec::new()), self.clone());
        }
        let Some(highest) = divisor.0.last() else {
            return (Self(Vec::new()), Self(Vec::new()));
        };
        // Scaled so that the divisor's highest limb is at least half the base: then a guess is at most two too large.
        let scale = (BASE / (u64::from(*highest) + 1)) as u32;
        let mut rest = self.multiply(&Self(vec![scale])).0;
        let divisor = divisor.multiply(&Self(vec![scale]));
        let count = divisor.0.len();
        rest.resize(self.0.len() + 1, 0);
        let mut quotient = vec![0; rest.len() - count];
        for place in (0..quotient.len()).rev() {
            let window = &mut rest[place..=place + count];
            quotient[place] = take_multiple(window, &divisor);
        }
        let remainder = Self::trimmed(rest).divide_by_limb(u64::from(scale));
        (Self::trimmed(quotient), remainder)
    }

    /// In decimal; empty for zero.
    pub(super) fn to_digits(&self) -> String {
        let mut text = String::with_capacity(self.0.len() * 9);
        for (index, limb) in self.0.iter().rev().enumerate() {
            if index == 0 {
                text.push_str(&limb.to_string());
            } else {
                text.push_str(&format!("{limb:09}"));
            }
        }
        text
    }

    fn divide_by_limb(&self, divisor: u64) -> Self {
        let mut limbs = self.0.clone();
        let mut rest = 0;
        for limb in limbs.iter_mut().rev() {
            let dividend = rest * BASE + u64::from(*limb);
            *limb = (dividend / divisor) as u32;
            rest = dividend % divisor;
        }
        Self::trimmed(limbs)
    }

    fn limb(&self, index: usize) -> u64 {
        self.0.get(index).copied().map_or(0, u64::from)
    }

    fn trimmed(mut limbs: Vec<u32>) -> Self {
        while limbs.last() == Some(&0) {
            limbs.pop();
        }
        Self(limbs)
    }
}

/// Takes `divisor` off `window`, which is one limb longer, as often as possible and returns how often. The divisor's highest
/// limb is at least half the base, and the window's upper limbs are below the divisor.
fn take_multiple(window: &mut [u32], divisor: &Natural) -> u32 {
    let count = divisor.0.len();
    let at = |index: usize| window.get(index).copied().map_or(0, u64::from);
    let top = at(count) * BASE + at(count - 1);
    let highest = divisor.limb(count - 1);
    let mut guess = (top / highest).min(BASE - 1);
    // With the next limb most wrong guesses are seen.
    if count > 1 {
        let (second, below) = (divisor.limb(count - 2), at(count - 2));
        while u128::from(guess) * u128::from(highest * BASE + second)
            > u128::from(top) * u128::from(BASE) + u128::from(below)
        {
            guess -= 1;
        }
    }
    let mut borrow = 0;
    for (index, limb) in window.iter_mut().enumerate() {
        let taken = guess * divisor.limb(index) + borrow;
        let low = taken % BASE;
        let current = u64::from(*limb);
        borrow = taken / BASE + u64::from(current < low);
        *limb = ((current + BASE - low) % BASE) as u32;
    }
    if borrow > 0 {
        // One too many: give it back.
        guess -= 1;
        let mut carry = 0;
        for (index, limb) in window.iter_mut().enumerate() {
            let sum = u64::from(*limb) + divisor.limb(index) + carry;
            *limb = (sum % BASE) as u32;
            carry = sum / BASE;
        }
    }
    guess as u32
}

impl From<u64> for Natural {
    fn from(value: u64) -> Self {
        let limbs = [value % BASE, value / BASE % BASE, value / BASE / BASE];
        Self::trimmed(limbs.iter().map(|limb| *limb as u32).collect())
    }
}

impl PartialOrd for Natural {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Natural {
    fn cmp(&self, other: &Self) -> Ordering {
        let by_length = self.0.len().cmp(&other.0.len());
        by_length.then_with(|| self.0.iter().rev().cmp(other.0.iter().rev()))
    }
}
