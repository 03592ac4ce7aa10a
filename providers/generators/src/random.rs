//! Numbers that nobody can guess.

use latchkey_provider_sdk::{ProviderError, Result};
use rand::TryRng as _;
use rand::rngs::SysRng;
use zeroize::Zeroizing;

/// Bytes that are fetched from the operating system at a time.
const BATCH: usize = 256;

/// A source of random bytes.
pub trait Random {
    /// Fills `bytes`.
    ///
    /// # Errors
    ///
    /// The source failed; nothing may be made without it.
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()>;

    /// A number below `bound`, each with the same chance; 0 for a bound of 0.
    ///
    /// # Errors
    ///
    /// As for [`Random::fill`].
    fn below(&mut self, bound: usize) -> Result<usize> {
        let Ok(bound) = u32::try_from(bound) else {
            return Err(ProviderError::internal("too many to choose from"));
        };
        if bound < 2 {
            return Ok(0);
        }
        // Numbers past the last whole multiple of the bound are thrown away, or some results would be more likely.
        let rest = (u32::MAX - bound + 1) % bound;
        loop {
            let mut bytes = Zeroizing::new([0; 4]);
            self.fill(&mut *bytes)?;
            let number = u32::from_le_bytes(*bytes);
            if number <= u32::MAX - rest {
                return Ok((number % bound) as usize);
            }
        }
    }
}

/// Random bytes of the operating system, fetched in batches and wiped.
pub struct System {
    batch: Zeroizing<[u8; BATCH]>,
    used: usize,
}

impl Default for System {
    fn default() -> Self {
        Self {
            batch: Zeroizing::new([0; BATCH]),
            used: BATCH,
        }
    }
}

impl Random for System {
    fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
        for byte in bytes {
            if self.used == BATCH {
                SysRng.try_fill_bytes(&mut *self.batch).map_err(|_| {
                    ProviderError::internal("the operating system has no random numbers")
                })?;
                self.used = 0;
            }
            *byte = std::mem::take(&mut self.batch[self.used]);
            self.used += 1;
        }
        Ok(())
    }
}

/// Random numbers that repeat, for tests.
#[cfg(test)]
pub(crate) mod fixture {
    use super::{Random, Result};

    /// The generator splitmix64.
    pub(crate) struct Repeatable(pub(crate) u64);

    impl Random for Repeatable {
        fn fill(&mut self, bytes: &mut [u8]) -> Result<()> {
            for byte in bytes {
                self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
                let mut mixed = self.0;
                mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
                mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
                *byte = (mixed ^ (mixed >> 31)).to_le_bytes()[0];
            }
            Ok(())
        }
    }

    /// A source that is broken.
    pub(crate) struct Broken;

    impl Random for Broken {
        fn fill(&mut self, _: &mut [u8]) -> Result<()> {
            Err(latchkey_provider_sdk::ProviderError::internal("broken"))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::fixture::Repeatable;
    use super::*;

    #[test]
    fn numbers_stay_below_their_bound_and_reach_all_of_it() {
        let mut random = Repeatable(1);
        for bound in [0, 1, 2, 3, 10, 62, 1 << 20] {
            let numbers: Vec<usize> = (0..1000).map(|_| random.below(bound).unwrap()).collect();
            assert!(
                numbers.iter().all(|number| *number < bound.max(1)),
                "{bound}"
            );
            if bound <= 62 {
                for number in 0..bound {
                    assert!(numbers.contains(&number), "{number} of {bound}");
                }
            }
        }
    }

    #[test]
    fn the_system_gives_other_bytes_each_time() {
        let mut random = System::default();
        let mut draw = || {
            let mut bytes = [0; BATCH + 44];
            random.fill(&mut bytes).unwrap();
            bytes
        };
        let (first, second) = (draw(), draw());
        assert_ne!(first, second);
        assert!(first.windows(8).all(|window| window != [0; 8]));
    }
}
