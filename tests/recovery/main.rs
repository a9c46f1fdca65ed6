//! Snapshots, backups, restores, checkpoints and audits, on a real disk; the rows G17 and G18.

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

#[path = "../e2e/device.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
#[path = "../e2e/world.rs"]
#[allow(dead_code, reason = "a part of it is used")]
mod world;

mod audits;
mod backups;
mod checks;
mod forger;
mod g17;
mod place;
mod snapshots;
