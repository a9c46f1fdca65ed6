//! The whole server in one process against a small model of it, and against everybody who means it no good.

// A test may stop where it likes.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod bad_input;
#[allow(dead_code, reason = "the tests over TLS use the rest of it")]
#[path = "../e2e/chip.rs"]
mod chip;
mod faults;
mod forged;
mod grammar;
mod history;
mod linear;
mod model;
mod race;
mod reproduction;
#[allow(dead_code, reason = "the store's tests use the rest of it")]
#[path = "../store/rig.rs"]
mod rig;
mod roles;
mod rules;
mod seat_time;
mod sent;
mod tenants;
mod totality;
mod world;

/// The size of a row of the threat model: what CI runs, or what the environment asks for.
fn size(variable: &str, ci: usize) -> usize {
    match std::env::var(variable) {
        Ok(text) => text.replace('_', "").parse().unwrap(),
        Err(_) => ci,
    }
}
