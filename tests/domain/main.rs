//! The pure rules from outside: refusals, state machines, programmes, maintenance and the guess limiter.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "a test that can't go on has failed"
)]

mod errors;
mod guess;
mod machines;
mod maintenance;
mod programme_refused;
mod programme_rules;
mod programmes;
mod purchase;
mod story;
mod virtual_machine;
mod world;
