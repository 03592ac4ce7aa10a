//! What `spec.target.template` makes of fetched values (`externalsecret.md` 4, `templates.md` 1.2).
//!
//! ```text
//! template ──> check: rules, engine version
//!          └─> Texts::read: the keys of ConfigMaps and Secrets that templateFrom names, through TemplateObjects
//!                └─> render (pure): templateFrom in order, data, labels, annotations ──> Rendered
//! ```
//!
//! [`Renderer`] does all of it for both deliveries, away from the threads that serve requests. The offline command calls
//! [`render`] itself.

mod error;
mod objects;
mod render;
mod renderer;

pub use error::{Origin, Place, TemplateError};
pub use objects::{ObjectError, ObjectKind, TemplateObjects, Texts};
pub use render::{Rendered, check, render};
pub use renderer::{Renderer, Settings};

#[cfg(test)]
mod tests;
