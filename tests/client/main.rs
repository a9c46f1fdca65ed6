//! The client library against the real server, over real TLS, with a relay between them that loses answers, cuts connections and
//! stays silent at any numbered call.
//!
//! What counts as failure: a run of the same command that never ends well; a seat too many or too few at the server; a certificate
//! that is in force here and not there. Spurious deadlines do not count: a command may be run again as often as it likes.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

// The vendor's world and the plain channel are those of the end-to-end tests.
#[allow(dead_code, reason = "used by the end-to-end tests")]
#[path = "../e2e/device.rs"]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
#[allow(dead_code, reason = "used by the end-to-end tests")]
#[path = "../e2e/world.rs"]
mod world;

mod flows;
mod hardware;
mod relay;
mod resume;
mod retry;
mod site;
mod tls;
