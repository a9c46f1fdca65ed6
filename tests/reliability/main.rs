//! What the server promises when things break: a test for each row of SECURITY 5, named by its row.
//!
//! The sizes here are those of CI; docs/reliability.md has the long runs, how to start them and what they gave.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../e2e/alone.rs"]
mod alone;
mod broken_disk;
mod clients;
mod coin;
mod damage;
#[allow(dead_code, reason = "the tests over TLS use the rest of it")]
#[path = "../e2e/device.rs"]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
mod disk;
mod kill;
mod loss;
mod machine;
mod power;
mod power_real;
mod restart;
mod rows;
mod server;
mod simulation;
mod site;
#[allow(dead_code, reason = "the tests over TLS use the rest of it")]
#[path = "../e2e/world.rs"]
mod world;
