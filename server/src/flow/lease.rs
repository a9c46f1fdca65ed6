//! Leases and the seats that cool (DESIGN 9, I2): a seat that was returned, given up or withdrawn is free only when the last
//! certificate on it has ended.
//!
//! A cooling seat stands in two tables, by time and by device, and is counted in its license, so no call costs more on a license
//! with many seats. What has cooled is forgotten by the call that could use it; nothing depends on a sweep.

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::key::Thumbprint;

use super::{Deps, Fault, Outcome};
use crate::domain::activation::Activation;
use crate::domain::assurance;
use crate::domain::license::License;
use crate::domain::seat::Cooling;
use crate::record::{Reads, keys};
use crate::store::Tx;

/// Gives the activation the lease of a certificate that is issued at `now`, and says when that ends. An older certificate may end
/// later, where the server's clock was set back.
///
/// # Errors
/// Faults only.
pub(crate) fn extend(
    deps: &Deps,
    license: &License,
    activation: &mut Activation,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Outcome> {
    let fresh = assurance::lease_end(deps.programme(license)?, activation.level, now);
    activation.lease_end = fresh.map(|end| activation.lease_end.map_or(end, |old| old.max(end)));
    Ok(fresh)
}

/// The end of a certificate that renews nothing: that of the lease as it runs, and not beyond a lease from `now`, where the server's
/// clock was set back.
///
/// # Errors
/// Faults only.
pub(crate) fn rest(
    deps: &Deps,
    license: &License,
    activation: &Activation,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, Outcome> {
    let fresh = assurance::lease_end(deps.programme(license)?, activation.level, now);
    Ok(fresh.map(|end| activation.lease_end.map_or(end, |held| held.min(end))))
}

/// Forgets the seats that have cooled by `now`; the caller saves the license when it says that there were any.
///
/// # Errors
/// Faults only.
pub(crate) fn forget_cooled(
    tx: &mut Tx<'_>,
    license: &mut License,
    now: DateTime<Utc>,
) -> Result<bool, Outcome> {
    let cooled = cooled(tx, license, now, BATCH)?;
    for (end, device) in &cooled {
        tx.delete(keys::cooling(&license.serial, *end, device));
        tx.delete(keys::left_behind(&license.serial, device));
    }
    discount(license, cooled.len());
    Ok(!cooled.is_empty())
}

/// The license as it stands at `now`, for those who only look: without the seats that have cooled.
///
/// # Errors
/// Faults only.
pub(crate) fn as_of(
    reads: &mut impl Reads,
    mut license: License,
    now: DateTime<Utc>,
) -> Result<License, Outcome> {
    let cooled = cooled(reads, &license, now, usize::MAX)?.len();
    discount(&mut license, cooled);
    Ok(license)
}

/// The cooling seats of the license as `device` sees them, once those that have cooled are forgotten.
///
/// # Errors
/// Faults only.
pub(crate) fn cooling(
    reads: &mut impl Reads,
    license: &License,
    device: &Thumbprint,
) -> Result<Cooling, Outcome> {
    if license.usage.seats_cooling == 0 {
        return Ok(Cooling::default());
    }
    let range = keys::cooling_seats(&license.serial);
    let first = parts(&range, &reads.range(&range.from, &range.to, FIRST)?)?;
    let others = first.into_iter().filter(|(_, whose)| whose != device);
    Ok(Cooling {
        own: own(reads, license, device)?,
        others: others.map(|(end, _)| end).collect(),
    })
}

/// The device takes the seat back that it left behind: it cools no longer. When the certificate ends that it has of it.
///
/// # Errors
/// Faults only.
pub(crate) fn take_back(
    tx: &mut Tx<'_>,
    license: &mut License,
    device: &Thumbprint,
) -> Result<Option<DateTime<Utc>>, Outcome> {
    let left = own(tx, license, device)?;
    if let Some(end) = left {
        tx.delete(keys::cooling(&license.serial, end, device));
        tx.delete(keys::left_behind(&license.serial, device));
        discount(license, 1);
    }
    Ok(left)
}

/// Lets the seat of an activation cool that has ended, for as long as its lease runs. The caller saves the license.
pub(crate) fn cool(
    tx: &mut Tx<'_>,
    license: &mut License,
    activation: &Activation,
    now: DateTime<Utc>,
) {
    let Some(end) = activation.lease_end.filter(|end| *end > now) else {
        return;
    };
    let device = &activation.device;
    tx.put(keys::cooling(&license.serial, end, device), Vec::new());
    let millis = end.timestamp_millis().to_be_bytes().to_vec();
    tx.put(keys::left_behind(&license.serial, device), millis);
    license.usage.seats_cooling = license.usage.seats_cooling.saturating_add(1);
}

fn own(
    reads: &mut impl Reads,
    license: &License,
    device: &Thumbprint,
) -> Result<Option<DateTime<Utc>>, Outcome> {
    if license.usage.seats_cooling == 0 {
        return Ok(None);
    }
    let stored = reads.value(&keys::left_behind(&license.serial, device))?;
    stored
        .map(|bytes| {
            let bytes = bytes.try_into().map_err(|_| MALFORMED)?;
            keys::millis(bytes).ok_or_else(|| MALFORMED.into())
        })
        .transpose()
}

/// The first `most` that have cooled by `now`.
fn cooled(
    reads: &mut impl Reads,
    license: &License,
    now: DateTime<Utc>,
    most: usize,
) -> Result<Vec<(DateTime<Utc>, Thumbprint)>, Outcome> {
    if license.usage.seats_cooling == 0 {
        return Ok(Vec::new());
    }
    let range = keys::cooling_seats(&license.serial);
    // A lease that ends now has ended.
    let behind = now
        .checked_add_signed(TimeDelta::milliseconds(1))
        .unwrap_or(now);
    let to = keys::cooling_until(&license.serial, behind);
    parts(&range, &reads.range(&range.from, &to, most)?)
}

fn parts(
    range: &keys::Range,
    pairs: &[(Vec<u8>, Vec<u8>)],
) -> Result<Vec<(DateTime<Utc>, Thumbprint)>, Outcome> {
    let read = |(key, _): &(Vec<u8>, Vec<u8>)| {
        keys::cooling_parts(keys::tail(key, range)).ok_or_else(|| MALFORMED.into())
    };
    pairs.iter().map(read).collect()
}

fn discount(license: &mut License, cooled: usize) {
    let cooled = u32::try_from(cooled).unwrap_or(u32::MAX);
    let usage = &mut license.usage;
    usage.seats_cooling = usage.seats_cooling.saturating_sub(cooled);
}

/// So many are forgotten in one call: one would do for the seat that is asked for.
const BATCH: usize = 100;
/// So many are looked at to tell when a seat is free: more than an overlap can have added.
const FIRST: usize = 8;
const MALFORMED: Fault = Fault::Inconsistent("the cooling seats of a license are malformed");
