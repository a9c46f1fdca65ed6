//! The Upkeep server: transport -> flow -> domain, and beside them the store, the signer, clock and randomness.

pub mod domain;
pub mod store;
