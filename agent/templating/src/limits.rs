//! The bounds of a render. Upstream has none; a node agent that renders everybody's templates needs them.

use std::fmt;

/// How much one render may use. The defaults are far above what an honest template needs and stop a hostile one within some
/// 10 ms.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limits {
    /// Units of work: one for each node that is evaluated and for about each 64 bytes or list element that a function touches.
    pub steps: u64,
    /// Bytes that all values made during the render may take together, garbage included.
    pub memory: u64,
    /// Bytes of output.
    pub output: u64,
    /// Depth of parentheses, blocks, template calls and of values inside values.
    pub nesting: u32,
    /// Bytes that a compiled regular expression may take.
    pub pattern: usize,
    /// Units of expensive cryptography: one for about 100 ms of processor time (a bcrypt hash, a 2048 bit RSA key).
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
            steps: 200_000,
            memory: 32 << 20,
            output: 4 << 20,
            nesting: 1_000,
            pattern: 1 << 20,
            cryptography: 32,
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
