//! What every provider server shares.
