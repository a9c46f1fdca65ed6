//! The attester alone, against a real software TPM: what it makes, what ends it, and that it leaves nothing behind.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests"
)]

mod counter;
mod life;
mod limits;
mod machine;
