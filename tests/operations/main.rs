//! What an operator sees and relies on: metrics, health, logs, traces, doctor; how the server behaves under more load than it
//! can take, over hours, and what it never says.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

#[path = "../binaries/mod.rs"]
mod binaries;
mod canary;
mod dev;
#[path = "../e2e/device.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod device;
#[path = "../e2e/dial.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod dial;
mod doctor;
mod gate;
mod http;
mod lines;
mod metrics;
mod overload;
mod postman;
mod readiness;
mod scene;
mod soak;
mod traces;
#[path = "../e2e/world.rs"]
#[allow(dead_code, reason = "other tests use the rest")]
mod world;
