//! The edge of the server over real sockets on loopback: what strangers, wrong certificates and floods meet.
//!
//! Each test starts listeners of its own on free ports. Nothing sleeps: a test waits for the event it asks about.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../e2e/alone.rs"]
mod alone;
mod attacks;
mod calls;
mod caps;
mod certificates;
mod files;
mod floods;
mod frames;
mod handshake;
mod probe;
mod stop;
mod world;
