//! A new key for the seat of a dead one: the counter of the same TPM has moved on, so the activation before is over.
//!
//! That happens after TPM2_Clear, when the license store is lost, and with a counter that several licenses share. The statement of
//! the new enrollment proves what a proof of deactivation would: the old key never signs again.

use chrono::{DateTime, Utc};
use upkeep::id::ActivationId;
use uuid::Uuid;

use super::deactivate::{proven, seat_is_left};
use super::{Deps, Fault, Outcome};
use crate::domain::activation::Activation;
use crate::domain::enrollment::Enrollment;
use crate::domain::license::License;
use crate::domain::machine::Role;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Reads, Records, keys};
use crate::store::Tx;

/// What a return needs that the transaction can't make: it may run again.
#[derive(Clone, Copy)]
pub(crate) struct Fresh {
    pub(crate) nonce: [u8; 32],
    pub(crate) receipt: Uuid,
}

/// Records the return of the activation that this TPM held on the license at a smaller value of the same counter, if there is one.
/// The caller takes its seat again and saves the license.
///
/// # Errors
/// ENROLLMENT_INVALID when its key works still: on a counter that licenses share, another key was enrolled beside it. What [`Activation::return_at_once`] refuses.
pub(crate) fn supersede(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &mut License,
    enrollment: &Enrollment,
    fresh: Fresh,
    now: DateTime<Utc>,
) -> Result<Option<ActivationId>, Outcome> {
    let Some(tpm) = enrollment.tpm() else {
        return Ok(None);
    };
    let key = keys::counter_activation(&tpm.ek_id, &tpm.counter.name, &license.serial);
    let Some(id) = tx.value(&key)? else {
        return Ok(None);
    };
    let id = ActivationId::from_slice(&id).map_err(|_| MALFORMED)?;
    if enrollment.activation == Some(id) {
        return Ok(None);
    }
    let older: Activation = tx.load(&keys::activation(&id))?.ok_or(MALFORMED)?;
    let held = older.tpm().ok_or(MALFORMED)?;
    if held.counter.value >= tpm.counter.value {
        return Err(Refusal::new(Reason::EnrollmentInvalid)
            .detail("This TPM holds the license with another key, which its counter has not ended")
            .into());
    }
    let mut older = older.at(now, license);
    let end = proven(deps, &older, license, fresh.receipt, now)?;
    let (programme, today) = (deps.programme(license)?, deps.today(license, now)?);
    older.return_at_once(license, programme, Role::EndUser, today, fresh.nonce, end)?;
    license.count_return(programme, older.level, today);
    // The proof is the new enrollment's statement, which stands with its evidence.
    let proof = format!("{PROOF_BY_ENROLLMENT}{}", enrollment.id);
    tx.put(keys::proof(&id), proof.into_bytes());
    seat_is_left(deps, tx, license, &older, now);
    Ok(Some(id))
}

/// What the stored proof of such a return begins with; the device id of the enrollment follows.
pub(crate) const PROOF_BY_ENROLLMENT: &str = "enrollment:";
const MALFORMED: Fault = Fault::Inconsistent("a counter's activation is not its own");
