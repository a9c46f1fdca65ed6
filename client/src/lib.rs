//! The Upkeep client: what an installed product carries to activate, check, refresh, return and upgrade its license.
//!
//! A product opens its [`LicenseStore`] and calls one flow. Each flow writes what it is about to do before it does it, so that after
//! a crash or a lost answer the same call goes on where the last one stopped: no seat is taken twice, none is freed twice. [`check`]
//! needs no network. What goes over the wire is in docs/protocol.md.

pub mod error;
pub mod store;

pub mod check;
mod client;
mod clock;
mod random;
mod retry;
mod status;
mod tls;
mod verify;

pub use client::{Challenge, Client, ClientBuilder, Deadlines};
pub use error::ClientError;
pub use retry::RetryPolicy;
pub use store::{Enrollment, LicenseStore, State, VirtualEnvironment};
