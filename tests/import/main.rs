//! Import and export: files of other systems, read by the real program into real stores, over TLS and in one process.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "../binaries/mod.rs"]
mod binaries;
mod interrupted;
mod mapping;
mod memory;
mod readers;
mod round_trip;
mod rows;
mod vendor;
#[allow(dead_code, reason = "shared with the tests of the command line")]
#[path = "../server_cli/world.rs"]
mod world;
