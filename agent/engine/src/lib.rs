//! An ExternalSecret and a way to reach providers become the data to deliver.
//!
//! The engine has no Kubernetes client, no network and no clock: it asks a [`source::Source`] for values, decodes them, converts
//! and checks keys, and hands back one map. Every delivery calls it, so a volume and a Secret always show the same bytes.

pub mod source;
