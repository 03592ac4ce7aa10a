//! The Fake provider server: values from its own resource, for tests and demos.
