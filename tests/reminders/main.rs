//! What is due on a day: reminders, terms that follow by themselves, and the lists of both, over the server's own API.
//!
//! A server in this process with a real store and a movable clock. Which mails were queued is read from the store: the key under
//! which each is the only one says license, last day, threshold and recipient. How often the pass queued one is counted by it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "a test says what is wrong by panicking"
)]

mod checks;
#[allow(dead_code, reason = "the tests over TLS use the rest of it")]
#[path = "../e2e/chip.rs"]
mod chip;
mod crash;
mod days;
mod dry_run;
mod expiring;
mod extension;
mod left_out;
#[allow(dead_code, reason = "the store's tests use the rest of it")]
#[path = "../store/rig.rs"]
mod rig;
mod vendor;
#[allow(
    dead_code,
    unused_imports,
    reason = "the model's tests use the rest of it"
)]
#[path = "../model/world/mod.rs"]
mod world;
