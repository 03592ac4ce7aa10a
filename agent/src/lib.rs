//! The Latchkey node agent.
