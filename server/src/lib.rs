//! The Upkeep server: transport -> flow -> domain, and beside them the store, the signer, clock and randomness.

pub mod clock;
pub mod keys;
pub mod pki;
pub mod random;
pub mod signer;
pub mod store;
