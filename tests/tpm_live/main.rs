//! Client and server around a real software TPM, over real TLS: what the pure tests say about evidence, said by a TPM.
//!
//! Skips, loudly, where swtpm is not installed; `UPKEEP_REQUIRE_SWTPM=1` makes it fail. The endorsement certificates begin on
//! the day of the test, so the vendor's clock stands well behind it.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    clippy::disallowed_methods,
    reason = "a test says what is wrong by panicking"
)]

// The vendor's world is that of the end-to-end tests.
#[allow(dead_code, reason = "used by the end-to-end tests")]
#[path = "../e2e/device.rs"]
mod device;
#[path = "../e2e/dial.rs"]
mod dial;
#[allow(dead_code, reason = "used by the end-to-end tests")]
#[path = "../e2e/world.rs"]
mod world;

mod evidence;
mod life;
mod machine;
mod owner;
mod rolled_back;
mod scene;
mod shared;
mod trust;
