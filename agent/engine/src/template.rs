//! What `spec.target.template` makes of fetched values (`externalsecret.md` 4, `templates.md` 1.2).
//!
//! ```text
//! template ──> check: rules, engine version
//!          └─> Texts::read: the keys of ConfigMaps and Secrets that templateFrom names, through TemplateObjects
//!                ├─> render (pure): templateFrom in order, data, labels, annotations ──> Rendered
//!                └─> render_manifest (pure): the same for targets of other kinds ──> Tree
//! ```
//!
//! [`Renderer`] does all of it for both deliveries, away from the threads that serve requests. The offline command calls
//! [`render`] itself.

mod error;
mod manifest;
mod objects;
mod render;
mod renderer;
mod run;
mod sources;

pub use error::{Origin, Place, TemplateError};
pub use manifest::{fill_manifest, render_manifest};
pub use objects::{ObjectError, ObjectKind, TemplateObjects, Texts};
pub use render::{Rendered, check, render};
pub use renderer::{Renderer, Settings};

#[cfg(test)]
mod tests;
