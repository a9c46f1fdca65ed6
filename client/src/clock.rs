//! The machine's clock. It decides the end of a lease and of a ticket, while a license is still whole; what else carries it only informs.

use std::time::SystemTime;

/// Seconds since 1970; 0 for a clock that stands before.
#[allow(
    clippy::disallowed_methods,
    reason = "the one place where this crate reads the clock"
)]
pub(crate) fn now_secs() -> u64 {
    SystemTime::now()
        .duration_since(SystemTime::UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
