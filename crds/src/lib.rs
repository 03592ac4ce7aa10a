//! Custom resource types and the YAML generated from them.
