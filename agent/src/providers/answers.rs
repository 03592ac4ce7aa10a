//! What providers say about themselves.

/// What a provider says about its configuration object.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Validation {
    /// `None` if it is valid, else why not.
    pub error: Option<String>,
    /// What should be looked at all the same; at most five.
    pub warnings: Vec<String>,
}

/// What a provider supports.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Capability {
    /// Only reads.
    ReadOnly,
    /// Only writes.
    WriteOnly,
    /// Both.
    ReadWrite,
    /// A number that this agent does not know (PC-28).
    Unknown(i32),
}

/// What a provider says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Health {
    /// It serves.
    Serving,
    /// It does not.
    NotServing,
    /// It does not say: the health service is not there.
    Unspoken,
}
