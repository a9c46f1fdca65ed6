//! Seats that are free, taken, or cooling: returned while a certificate on them still holds (DESIGN 9, I2).
//!
//! A cooling seat counts as returned where an upgrade waits for that (T-17), but nobody gets it before the lease has ended, save
//! the device that left it behind.

use chrono::{DateTime, SecondsFormat, Utc};
use upkeep::date::CivilDate;

use crate::domain::license::License;
use crate::domain::refusal::{Reason, Refusal};

/// The cooling seats of a license, as one device sees them.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Cooling {
    /// When the lease ends that this device left behind.
    pub(crate) own: Option<DateTime<Utc>>,
    /// When those of other devices end, earliest first; at least the first few.
    pub(crate) others: Vec<DateTime<Utc>>,
}

/// Whether the device gets one seat more.
///
/// # Errors
/// NO_SEAT, with `free_at` where a lease that ends will free one.
pub fn check(license: &License, cooling: &Cooling, today: CivilDate) -> Result<(), Refusal> {
    let usage = &license.usage;
    let overlap = usage.overlap_until.is_some_and(|last| today <= last);
    let allowed = license.seats.saturating_add(u32::from(overlap));
    let others = usage
        .seats_cooling
        .saturating_sub(u32::from(cooling.own.is_some()));
    let held = usage.seats_taken.saturating_add(others);
    if held < allowed {
        return Ok(());
    }
    let refusal = Refusal::new(Reason::NoSeat)
        .with("seats", license.seats)
        .with("seats_taken", usage.seats_taken);
    if others == 0 {
        return Err(refusal);
    }
    let refusal = refusal.with("seats_cooling", others);
    // That many leases have to end before one seat is free.
    let over = usize::try_from(held.saturating_sub(allowed)).unwrap_or(usize::MAX);
    Err(match cooling.others.get(over) {
        None => refusal,
        Some(end) => {
            let end = end.to_rfc3339_opts(SecondsFormat::Secs, true);
            let detail = format!(
                "A seat that was returned is free from {end}: until then a certificate on it still holds"
            );
            refusal.with("free_at", end).detail(detail)
        }
    })
}
