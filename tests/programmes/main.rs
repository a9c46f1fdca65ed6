//! The maintenance programmes as dated stories: what four vendors' own words promise, played through the API of a real server.
//!
//! Each story runs on a movable clock from purchase to renewal, lapse and update, over real TLS and a real store. Each step cites
//! the requirement that it plays, with the line of the vendor's text where the story turns on its words. What the text gives as
//! a date or a rate is asserted as it stands there; list prices and customers are invented.
//!
//! `vendor` is the server with its desks, `license` one license with whoever speaks for it. `fifth` is a vendor that exists only
//! as a file.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

#[allow(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../e2e/device.rs"]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
mod fifth;
mod license;
mod perkinelmer;
mod seetec;
mod smartertools;
mod teklynx;
mod teklynx_update;
mod tier;
mod vendor;
#[allow(dead_code, reason = "the end-to-end tests use the rest of it")]
#[path = "../e2e/world.rs"]
mod world;
