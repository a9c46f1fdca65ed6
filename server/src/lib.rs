//! The Upkeep server: transport -> flow -> domain, and beside them the store, the signer, clock and randomness.

pub mod attest;
pub mod audit;
mod challenge;
pub mod cli;
pub mod clock;
pub mod config;
#[doc(hidden)]
pub mod decoders;
pub mod domain;
pub mod endorsement;
pub mod flow;
pub mod keys;
pub mod license_file;
pub mod listener;
pub mod logging;
pub mod mail;
pub mod metrics;
mod ops;
mod personal;
pub mod pki;
pub mod random;
pub mod record;
mod secrets;
pub mod serve;
pub mod signer;
pub mod store;
pub mod telemetry;
pub mod tls;
pub mod transport;
