//! The Upkeep server: transport -> flow -> domain, and beside them the store, the signer, clock and randomness.

pub mod clock;
pub mod config;
pub mod keys;
pub mod listener;
pub mod logging;
pub mod pki;
pub mod random;
pub mod signer;
pub mod store;
pub mod tls;
