//! Conformance suites that drive the built programs from outside.
