//! The bounds of a render. Upstream has none; a node agent that renders everybody's templates needs them.
//!
//! | limit | default | honest use | what a hostile render takes until it is stopped |
//! |---|---|---|---|
//! | steps | 100 000 | some hundreds; a value of 1 MiB may be copied, hashed or searched six times | 2 to 8 ms |
//! | memory | 32 MiB | garbage counts; thirty times the largest Secret | nothing: refused before it is taken |
//! | output | 2 MiB | twice the largest Secret | up to 5 ms |
//! | nesting | 1 000 | text and data have tens of levels | up to 5 ms, for building what is too deep |
//! | pattern | 1 MiB | patterns take tens of kilobytes | up to 5 ms |
//! | cryptography | 16 units | a certificate with its authority 2, a password hash 1 | 1 to 2 s on average |
//!
//! Times are processor time of the release profile on one core. `tests/hostile.rs` and `tests/bounds.rs` hold templates for each
//! limit; the corpus test renders honest ones within a tenth of all of them but cryptography.
//!
//! # Steps
//!
//! A step stands for at most about 50 ns: a node that is evaluated, an element or an entry that a function touches, a token that is
//! parsed (a text of more tokens than steps is refused), 64 bytes that are copied or made, eight states of a pattern. Where a
//! function looks at each byte or character on its own, or writes it in another form, it pays for 2 to 16 bytes with a step. A limit in
//! steps and not in time keeps renders repeatable: what renders once renders always, however busy the node is.
//!
//! # Cryptography
//!
//! Password hashes are slow on purpose and keys need primes, which are searched for at random, so no limit makes these fast. They
//! have a limit of their own, counted in operations instead of time for the same reason as steps. A unit is about 100 ms:
//!
//! | operation | units | time of one |
//! |---|---|---|
//! | `bcrypt`, `htpasswd` with bcrypt | 1 | 65 ms |
//! | an RSA key of 2048 bits: `genCA`, `genSelfSignedCert`, `genSignedCert` | 1 | 80 ms on average, rarely 300 ms |
//! | an RSA key of 4096 bits: `genPrivateKey "rsa"` | 4 | 400 ms on average, rarely 2 s |
//! | `derivePassword` | 2 | 180 ms and 32 MiB |
//! | a DSA key: `genPrivateKey "dsa"` | 12 | 1 to 5 s |
//! | signatures, checks of keys, keys on curves, key derivation of PKCS#12 | parts of one | as measured: 20 us to 10 ms, or as many rounds as the file says |
//!
//! So the default stops a loop over keys or hashes after one to two seconds; a single operation is never interrupted, and one DSA key is the longest that
//! can be asked for. Renders run in a pool of threads that no mount waits for. Ed25519 keys are cheap and pay 500 steps.

use std::fmt;

/// How much one render may use. The defaults are far above what an honest template needs and stop a hostile one within 10 ms of
/// work, expensive cryptography apart; the module's documentation says why they are what they are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of work, of at most about 50 ns. Bounds the tokens of the text, too.
    pub steps: u64,
    /// Bytes that all values made during the render may take together, garbage included.
    pub memory: u64,
    /// Bytes of output.
    pub output: u64,
    /// Depth of parentheses, blocks, template calls and of values inside values. Blocks and parentheses of all templates that are
    /// being run may be four times as deep together.
    pub nesting: u32,
    /// Bytes that a compiled regular expression may take.
    pub pattern: usize,
    /// Units of expensive cryptography: one for an operation of about 100 ms (a bcrypt hash, an RSA key of 2048 bits).
    pub cryptography: u32,
}

/// What a render used of its [`Limits`], for bounds over several renders.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Usage {
    /// Of [`Limits::steps`].
    pub steps: u64,
    /// Of [`Limits::cryptography`], begun units included.
    pub cryptography: u32,
}

/// One of the bounds of [`Limits`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Limit {
    /// [`Limits::steps`].
    Steps,
    /// [`Limits::memory`].
    Memory,
    /// [`Limits::output`].
    Output,
    /// [`Limits::nesting`].
    Nesting,
    /// [`Limits::pattern`].
    Pattern,
    /// [`Limits::cryptography`].
    Cryptography,
}

// === impl Limits ===

impl Default for Limits {
    fn default() -> Self {
        Self {
            steps: 100_000,
            memory: 32 << 20,
            output: 2 << 20,
            nesting: 1_000,
            pattern: 1 << 20,
            cryptography: 16,
        }
    }
}

// === impl Limit ===

impl fmt::Display for Limit {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(match self {
            Self::Steps => "steps",
            Self::Memory => "memory",
            Self::Output => "output",
            Self::Nesting => "nesting",
            Self::Pattern => "pattern size",
            Self::Cryptography => "cryptography",
        })
    }
}
