//! Random passwords (generators.md 2.1).
//!
//! A password has a fixed number of letters, digits and symbols. Every character is drawn with the same chance from those of its
//! set that may still be used, and goes to a place that is as random.

use std::collections::BTreeSet;

use latchkey_crds::provider_generators::{
    DEFAULT_PASSWORD_LENGTH, MAX_PASSWORD_LENGTH, PasswordEncoding, PasswordSpec,
};
use latchkey_provider_sdk::{ProviderError, Result};
use latchkey_secret::{SecretData, SecretValue};
use zeroize::Zeroizing;

use crate::encoding;
use crate::random::Random;

/// Symbols of a spec that names none.
pub const DEFAULT_SYMBOLS: &str = r#"~!@#$%^&*()_+`-={}|[]\:"<>?,./"#;
/// Key of a spec that names none.
pub const DEFAULT_KEY: &str = "password";
const LOWER: &str = "abcdefghijklmnopqrstuvwxyz";
const UPPER: &str = "ABCDEFGHIJKLMNOPQRSTUVWXYZ";
const DIGITS: &str = "0123456789";

/// How a password is made: a spec with its defaults, checked, so that making one cannot fail for lack of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Recipe {
    /// Letters, digits and symbols, in this order.
    parts: [Part; 3],
    allow_repeat: bool,
    keys: BTreeSet<String>,
    encoding: PasswordEncoding,
}

/// One sort of characters.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Part {
    count: usize,
    /// What is drawn from, each character once.
    characters: Vec<char>,
}

// === impl Recipe ===

impl Recipe {
    /// Checks a spec and fills in its defaults.
    ///
    /// # Errors
    ///
    /// `INVALID_ARGUMENT` for negative counts, else `INVALID_CONFIG`, in upstream's words.
    pub fn from_spec(spec: &PasswordSpec) -> Result<Self> {
        let length = match spec.length {
            Some(length) if length > 0 => length,
            _ => DEFAULT_PASSWORD_LENGTH,
        };
        if length > MAX_PASSWORD_LENGTH {
            return Err(ProviderError::invalid_config(format!(
                "length {length} is above the limit of {MAX_PASSWORD_LENGTH}"
            )));
        }
        let quarter = length / 4;
        let digits = not_negative("digits", spec.digits.unwrap_or(quarter))?;
        let symbols = not_negative("symbols", spec.symbols.unwrap_or(quarter))?;
        let letters = length
            .checked_sub(digits)
            .and_then(|rest| rest.checked_sub(symbols))
            .and_then(|rest| usize::try_from(rest).ok())
            .ok_or_else(|| {
                ProviderError::invalid_config(
                    "number of digits and symbols must be less than total length",
                )
            })?;
        let set = spec.symbol_characters.as_deref().unwrap_or_default();
        let recipe = Self {
            parts: [
                Part::new(letters, LOWER.chars().chain(upper(spec.no_upper).chars())),
                Part::new(count(digits), DIGITS.chars()),
                Part::new(
                    count(symbols),
                    if set.is_empty() { DEFAULT_SYMBOLS } else { set }.chars(),
                ),
            ],
            allow_repeat: spec.allow_repeat,
            keys: keys(spec.secret_keys.as_deref())?,
            encoding: spec.encoding.unwrap_or(PasswordEncoding::Raw),
        };
        recipe.check_supply()?;
        Ok(recipe)
    }

    /// Without repetition there must be characters enough, whatever is drawn first: a set of symbols may share characters with
    /// letters and digits, and what those may have taken is not counted (G-04).
    fn check_supply(&self) -> Result<()> {
        if self.allow_repeat {
            return Ok(());
        }
        for (index, what) in ["letters", "digits", "symbols"].into_iter().enumerate() {
            let (before, part) = (&self.parts[..index], &self.parts[index]);
            let taken: usize = before
                .iter()
                .map(|other| other.count.min(other.shared_with(part)))
                .sum();
            if part.count > part.characters.len().saturating_sub(taken) {
                return Err(ProviderError::invalid_config(format!(
                    "number of {what} exceeds available {what} and repeats are not allowed"
                )));
            }
        }
        Ok(())
    }

    /// New passwords, one for each key.
    ///
    /// # Errors
    ///
    /// There are no random numbers.
    pub fn generate(&self, random: &mut impl Random) -> Result<SecretData> {
        self.keys
            .iter()
            .map(|key| {
                let password = self.password(random)?;
                Ok((key.clone(), encoding::encode(self.encoding, password)))
            })
            .collect()
    }

    fn password(&self, random: &mut impl Random) -> Result<SecretValue> {
        // Its final size at once: a buffer that grows leaves copies behind.
        let length = self.parts.iter().map(|part| part.count).sum();
        let mut password: Zeroizing<Vec<char>> = Zeroizing::new(Vec::with_capacity(length));
        for part in &self.parts {
            // What is left of the set tells what was drawn, so it is wiped as well.
            let mut left = Zeroizing::new(part.characters.clone());
            if !self.allow_repeat {
                left.retain(|character| !password.contains(character));
            }
            for _ in 0..part.count {
                let choice = random.below(left.len())?;
                let drawn = if self.allow_repeat {
                    left.get(choice).copied()
                } else {
                    (choice < left.len()).then(|| left.swap_remove(choice))
                };
                let drawn = drawn.ok_or_else(|| {
                    ProviderError::internal("a checked password ran out of characters")
                })?;
                let place = random.below(password.len() + 1)?;
                password.insert(place, drawn);
            }
        }
        let mut text =
            Vec::with_capacity(password.iter().map(|character| character.len_utf8()).sum());
        for character in password.iter() {
            let mut buffer = Zeroizing::new([0; 4]);
            text.extend_from_slice(character.encode_utf8(&mut *buffer).as_bytes());
        }
        Ok(SecretValue::new(text))
    }
}

// === impl Part ===

impl Part {
    fn new(count: usize, characters: impl Iterator<Item = char>) -> Self {
        let distinct: BTreeSet<char> = characters.collect();
        Self {
            count,
            characters: distinct.into_iter().collect(),
        }
    }

    /// How many characters both have.
    fn shared_with(&self, other: &Self) -> usize {
        let is_shared = |character: &&char| other.characters.binary_search(character).is_ok();
        self.characters.iter().filter(is_shared).count()
    }
}

fn upper(no_upper: bool) -> &'static str {
    if no_upper { "" } else { UPPER }
}

fn not_negative(field: &str, number: i64) -> Result<i64> {
    if number < 0 {
        return Err(ProviderError::invalid_argument(format!(
            "{field} must not be negative"
        )));
    }
    Ok(number)
}

/// Of a number that was checked.
fn count(number: i64) -> usize {
    usize::try_from(number).unwrap_or_default()
}

fn keys(given: Option<&[String]>) -> Result<BTreeSet<String>> {
    let Some(given) = given else {
        return Ok(BTreeSet::from([DEFAULT_KEY.to_owned()]));
    };
    let keys: BTreeSet<String> = given.iter().cloned().collect();
    if keys.is_empty() || keys.len() < given.len() || keys.contains("") {
        return Err(ProviderError::invalid_config(
            "secretKeys must be non-empty and unique",
        ));
    }
    Ok(keys)
}

#[cfg(test)]
mod tests;
