//! The Upkeep server: transport -> flow -> domain, and beside them the store, the signer, clock and randomness.

pub mod clock;
pub mod random;
pub mod store;
