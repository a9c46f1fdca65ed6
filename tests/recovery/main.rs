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

mod place;
mod snapshots;
