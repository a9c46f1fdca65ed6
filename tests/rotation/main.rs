//! Keys and certificates that follow one another: issuing keys under load and offline (G20, OPS2, I5, I11), the listeners' certificate,
//! and client certificates that are withdrawn (PRT1).
//!
//! What counts as failure: a certificate that a rotation made invalid or lost; a signature by a key whose window was not open; a list
//! that is older than the one that is known, taken; a withdrawn certificate that still gets an answer. Real TLS, real disk.
//!
//! The large run: `UPKEEP_G20_CERTIFICATES=1000000 cargo test --workspace --test rotation g20`.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../binaries/mod.rs"]
mod binaries;
// The device and the plain channel are those of the end-to-end tests.
#[allow(dead_code, reason = "used by the end-to-end tests")]
#[path = "../e2e/device.rs"]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
#[allow(dead_code, reason = "used by the end-to-end tests")]
#[path = "../e2e/world.rs"]
mod world;

mod client_certificate;
mod commands;
mod g20;
mod listener_certificate;
mod offline;
mod vendor;
