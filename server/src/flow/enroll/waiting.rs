//! How many enrollments may wait for their activation on one TPM or dongle: they are written down before anybody has shown a
//! license's secret, so a chip's owner could fill the ledger with them.

use std::time::Duration;

use chrono::{DateTime, Utc};
use upkeep::id::DeviceId;

use super::forget;
use crate::domain::enrollment::{Enrollment, Hardware};
use crate::domain::refusal::{Reason, Refusal};
use crate::flow::{Fault, Outcome};
use crate::record::{Reads, Records, keys};
use crate::store::Tx;

/// Puts an enrollment among those that wait on its hardware. Those that have lapsed are forgotten, and so is an earlier one for the
/// same license: its client has begun again.
///
/// # Errors
/// TOO_MANY_TRIES, until the oldest has lapsed or one is activated.
pub(super) fn join(
    tx: &mut Tx<'_>,
    enrollment: &Enrollment,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    let mut waiting = Vec::new();
    let mut next = enrollment.expires_at;
    for id in read(tx, &enrollment.hardware)? {
        let Some(other) = tx.load::<Enrollment>(&keys::enrollment(&id))? else {
            continue;
        };
        if now >= other.expires_at || other.subject.serial == enrollment.subject.serial {
            forget(tx, &id)?;
        } else {
            next = next.min(other.expires_at);
            waiting.push(id);
        }
    }
    if waiting.len() >= MOST {
        let wait = next.signed_duration_since(now).to_std();
        return Err(Refusal::new(Reason::TooManyTries)
            .detail("So many licenses wait for their activation on this device")
            .retry_after(wait.unwrap_or(Duration::ZERO))
            .into());
    }
    waiting.push(enrollment.id);
    write(tx, &enrollment.hardware, &waiting);
    Ok(())
}

/// Takes an enrollment, used or forgotten, from those that wait.
pub(crate) fn leave(tx: &mut Tx<'_>, enrollment: &Enrollment) -> Result<(), Outcome> {
    let mut waiting = read(tx, &enrollment.hardware)?;
    waiting.retain(|id| *id != enrollment.id);
    write(tx, &enrollment.hardware, &waiting);
    Ok(())
}

fn read(tx: &mut Tx<'_>, hardware: &Hardware) -> Result<Vec<DeviceId>, Outcome> {
    let stored = tx.value(&keys::waiting(hardware))?.unwrap_or_default();
    let ids = stored.chunks(16).map(DeviceId::from_slice);
    Ok(ids.collect::<Result<_, _>>().map_err(|_| MALFORMED)?)
}

fn write(tx: &mut Tx<'_>, hardware: &Hardware, waiting: &[DeviceId]) {
    let key = keys::waiting(hardware);
    if waiting.is_empty() {
        tx.delete(key);
    } else {
        tx.put(key, waiting.iter().flat_map(|id| *id.as_bytes()).collect());
    }
}

/// More than a machine has licenses to activate at once.
const MOST: usize = 16;
const MALFORMED: Fault = Fault::Inconsistent("the enrollments that wait on a device are malformed");
