//! Client and server around a real software TPM. Skips, loudly, where swtpm is not installed; `UPKEEP_REQUIRE_SWTPM=1` makes it fail.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "tests"
)]

mod evidence;
mod machine;
