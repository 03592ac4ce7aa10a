//! Go's `text/template` with the function set of External Secrets' template engine v2.
//!
//! Pure: bytes in, bytes out. There is no file, network, environment or clock here; the time and the time zone are passed in
//! with [`Options`]. Work is bounded by [`Limits`], so that a template from anybody may be rendered by an agent that holds
//! everybody's secrets. What a template means is in the project's book, `docs/templates.md`; every rule follows the Go engine to the byte,
//! error texts included.
//!
//! ```text
//! text ─> syntax (lexer, parser) ─> tree ─> eval ─> bytes
//!                                            ├── functions  one small file a subject, one table
//!                                            ├── methods    of times, durations, versions
//!                                            └── format     how values print
//! ```

pub mod error;
pub mod limits;
pub mod object;
pub mod reference;
pub mod regexp;
pub mod template;
pub mod tree;

mod buffer;
mod context;
mod convert;
mod der;
mod eval;
mod failure;
mod format;
mod functions;
mod ip;
mod json;
mod keys;
mod methods;
mod output;
mod pattern;
mod pem;
mod radix64;
mod syntax;
mod time;
mod unicode;
mod value;
mod version;
mod x509;
pub mod yaml;

pub use error::{ParseError, RenderError};
pub use limits::{Limit, Limits, Usage};
pub use reference::reference;
pub use template::{Delimiters, MissingKey, Options, Template};
pub use tree::Tree;
