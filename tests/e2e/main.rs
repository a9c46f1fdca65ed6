//! End to end over real TLS: a server in this process or the real binary, real sockets, a real store on a real disk.
//!
//! `world` makes the server and its sample data, `device` is an installed product that signs its calls by hand, so that these
//! tests hold the protocol to docs/protocol.md whatever the client crate does. Nothing sleeps.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

mod chip;
mod client;
mod device;
mod dial;
mod due;
mod grpcurl;
mod hardware;
mod maintenance;
mod review;
mod shutdown;
mod story;
mod world;
