//! A TPM's proof of deactivation: its counter has moved on, so the device key never signs again (ATTESTATION 3).
//!
//! Attestation key, counter and value are those of the enrollment on record; the proof names none of them, because another TPM has a
//! counter of the same Name. Without a ticket it is valid for ever, and it counts once: it is told apart by its activation.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::{DeactivationTicket, HardwareProof, TicketNonce};
use upkeep::{binding, jws};

use super::activate::verify_es256;
use super::deactivate::{Deactivated, proven, seat_is_free};
use super::verify::load_own;
use super::{Call, Deps, Fault, Outcome, refuse_stranger, tpm, whole_micros};
use crate::attest::{CounterReading, Relation};
use crate::domain::activation::Activation;
use crate::domain::enrollment::{Certified, Enrollment};
use crate::domain::machine::DeactivationState;
use crate::domain::refusal::{Reason, Refusal};
use crate::random::{bytes32, uuid_v7};
use crate::record::{Records, keys};

/// The path of a counter's proof.
///
/// # Errors
/// As [`super::deactivate::deactivate`].
pub(super) async fn deactivate(
    deps: &Arc<Deps>,
    call: Call,
    proof: HardwareProof,
) -> Result<Deactivated, Outcome> {
    // 1 The statement, by the keys of the enrollment; the ticket inside, by this server's.
    let verified = match verify(deps, &proof)? {
        Ok(verified) => verified,
        Err(refusal) => {
            let subject = proof.activation_id.to_string();
            return Err(refuse_stranger(deps, &call, subject, refusal).await);
        }
    };
    // 2 One transaction, as for any proof.
    let (inner, now, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        call.caller.clone(),
    );
    let (receipt_id, nonce) = (uuid_v7(&*deps.clock, &*deps.random), bytes32(&*deps.random));
    let (subject, action) = (proof.activation_id.to_string(), call.action);
    let committed = deps
        .commit(call, move |tx, note| {
            let id = &proof.activation_id;
            note.subject = id.to_string();
            let (activation, mut license) = load_own(&inner, tx, &caller, id, now)?;
            note.serial = Some(license.serial.clone());
            let mut activation = activation.at(now, &license);
            if is_recorded(&activation) {
                note.silence();
                return Ok((activation, license));
            }
            let said = &verified.reading;
            tpm::proof(tx, note, &activation, said, verified.asked_at, now)?;
            let end = proven(&inner, &activation, &license, receipt_id, now)?;
            let (programme, today) = (inner.programme(&license)?, inner.today(&license, now)?);
            match &verified.nonce {
                Some(answered) => activation.submit_proof(
                    &mut license,
                    programme,
                    caller.role,
                    answered.as_bytes(),
                    end,
                )?,
                None => activation.return_at_once(
                    &mut license,
                    programme,
                    caller.role,
                    today,
                    nonce,
                    end,
                )?,
            }
            license.count_return(programme, activation.level, today);
            tx.put(keys::proof(id), proof.to_text().into_bytes());
            seat_is_free(&inner, tx, &mut license, &activation, now)?;
            Ok((activation, license))
        })
        .await;
    tpm::warn_if_frozen(&committed, action, &subject);
    // 3 Sign the receipt that is on record.
    let (activation, license) = committed?.into_inner();
    Deactivated::signed(deps, activation, license)
}

/// What a proof says, once it is verified.
pub(super) struct Verified {
    reading: CounterReading,
    /// The nonce of the ticket that it answers.
    nonce: Option<TicketNonce>,
    /// When that ticket was made.
    asked_at: Option<DateTime<Utc>>,
}

/// Verifies a proof with what is on record. An activation that does not exist, or is in no TPM, has no proof.
///
/// # Errors
/// Faults; inside, PROOF_INVALID.
pub(super) fn verify(
    deps: &Deps,
    proof: &HardwareProof,
) -> Result<Result<Verified, Refusal>, Fault> {
    let mut store = &deps.store;
    let activation: Option<Activation> = store.load(&keys::activation(&proof.activation_id))?;
    let enrolled = activation.as_ref().and_then(|held| held.enrolled.as_ref());
    let enrollment: Option<Enrollment> = match enrolled {
        Some(enrolled) => store.load(&keys::enrollment(&enrolled.device))?,
        None => None,
    };
    let Some(of) = enrollment.as_ref().and_then(Enrollment::tpm) else {
        return Ok(Err(Reason::ProofInvalid.into()));
    };
    let (nonce, asked_at) = match answered(deps, proof) {
        Ok(Some((nonce, asked_at))) => (Some(nonce), asked_at),
        Ok(None) => (None, None),
        Err(refusal) => return Ok(Err(refusal)),
    };
    let b = match &nonce {
        Some(nonce) => binding::deactivate(&proof.activation_id, nonce),
        None => binding::deactivate_offline(&proof.activation_id),
    };
    let said = Certified {
        attest: proof.attest.clone(),
        signature: proof.signature.clone(),
    };
    let beyond = Relation::Greater(of.counter.value);
    Ok(match tpm::read(of, &said, &b, beyond) {
        Ok(reading) => Ok(Verified {
            reading,
            nonce,
            asked_at,
        }),
        Err(_) => Err(Reason::ProofInvalid.into()),
    })
}

/// The nonce of the ticket inside and when it was made, if there is one: this server's, for this activation.
fn answered(
    deps: &Deps,
    proof: &HardwareProof,
) -> Result<Option<(TicketNonce, Option<DateTime<Utc>>)>, Refusal> {
    let Some(ticket) = &proof.ticket else {
        return Ok(None);
    };
    let read = jws::verify::<DeactivationTicket>(ticket, |kid| deps.own_key(kid), verify_es256);
    match read {
        Ok(ticket) if ticket.claims().activation_id == proof.activation_id => {
            let made = i64::try_from(ticket.claims().iat).ok();
            let made = made.and_then(|made| DateTime::from_timestamp(made, 0));
            Ok(Some((ticket.claims().nonce, made)))
        }
        Ok(_) => Err(Refusal::new(Reason::ProofInvalid)
            .detail("the ticket inside is for another activation")),
        Err(error) => Err(Refusal::new(Reason::ProofInvalid)
            .detail(format!("the ticket inside is not this server's: {error}"))),
    }
}

/// The same activation returns once, whatever proof says so again: ECDSA has more than one signature for a statement.
fn is_recorded(activation: &Activation) -> bool {
    let begun = activation.deactivation.as_ref();
    begun.is_some_and(|begun| begun.state == DeactivationState::Recorded)
}
