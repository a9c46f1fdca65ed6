//! What is remembered of TPMs: read, brought forward and, when one went back, frozen (ATTESTATION 3).

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use upkeep::artefact::TpmName;
use upkeep::id::DeviceId;

use super::{Deps, Note, Outcome};
use crate::attest::{self, CounterReading, EvidenceError, Relation};
use crate::domain::activation::{Activation, TpmSeat};
use crate::domain::enrollment::{Certified, Tpm};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::tpm::{Judgement, KnownCounter, KnownTpm, Statement};
use crate::record::{Records, keys, save};
use crate::store::Tx;

/// What is known of a TPM; of a new one nothing.
pub(crate) fn known(reads: &mut impl Records, ek_id: &[u8; 32]) -> Result<KnownTpm, Outcome> {
    Ok(reads.load(&keys::tpm(ek_id))?.unwrap_or(KnownTpm {
        ek_id: *ek_id,
        clock: None,
        frozen: None,
    }))
}

/// The largest value that was seen of a counter.
pub(crate) fn known_counter(
    reads: &mut impl Records,
    ek_id: &[u8; 32],
    name: &TpmName,
) -> Result<Option<KnownCounter>, Outcome> {
    Ok(reads.load(&keys::counter(ek_id, name))?)
}

/// Whether the deny list names a TPM now: it reaches what was enrolled before. The log says so, the caller learns that it failed.
///
/// * `firmware` - what the TPM states now, or stated when it was enrolled.
pub(crate) fn is_denied(deps: &Deps, of: &Tpm, firmware: u64) -> bool {
    let denied = deps
        .endorsements
        .denies(&of.ek_id, of.manufacturer, firmware);
    if denied {
        let ek_id = HEXLOWER.encode(&of.ek_id);
        tracing::warn!(%ek_id, firmware, "an enrolled TPM is on the deny list");
    }
    denied
}

/// A frozen TPM is refused whatever it asks.
///
/// # Errors
/// DEVICE_FROZEN.
pub(crate) fn check_thawed(reads: &mut impl Records, ek_id: &[u8; 32]) -> Result<(), Outcome> {
    match known(reads, ek_id)?.frozen {
        None => Ok(()),
        Some(_) => Err(Reason::DeviceFrozen.into()),
    }
}

/// Why the TPM of an activation is frozen, for staff.
pub(crate) fn frozen_reason(
    deps: &Deps,
    activation: &Activation,
) -> Result<Option<String>, Outcome> {
    let mut store = &deps.store;
    match activation.tpm() {
        None => Ok(None),
        Some(seat) => Ok(known(&mut store, &seat.ek_id)?.frozen),
    }
}

/// Freezes a TPM that went back. It is the one thing that this transaction writes, and it stays although the call is refused.
pub(crate) fn freeze(tx: &mut Tx<'_>, note: &mut Note, mut tpm: KnownTpm, why: String) -> Outcome {
    tx.discard();
    tpm.frozen = Some(why.clone());
    save(tx, &tpm);
    note.reason = why;
    note.stand();
    Reason::DeviceFrozen.into()
}

/// Takes an enrollment, used or forgotten, from those that wait at its counter.
pub(crate) fn no_longer_unused(
    tx: &mut Tx<'_>,
    ek_id: &[u8; 32],
    name: &TpmName,
    id: &DeviceId,
) -> Result<(), Outcome> {
    let known = known_counter(tx, ek_id, name)?;
    if let Some(mut counter) = known.filter(|known| known.unused.contains(id)) {
        counter.unused.retain(|waiting| waiting != id);
        save(tx, &counter);
    }
    Ok(())
}

/// Puts a larger value of a counter on record; the enrollment that waited at a smaller one is for the caller.
pub(crate) fn raise(
    tx: &mut Tx<'_>,
    ek_id: &[u8; 32],
    name: &TpmName,
    value: u64,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    let known = known_counter(tx, ek_id, name)?;
    let mut counter = known.unwrap_or(KnownCounter {
        ek_id: *ek_id,
        name: *name,
        value,
        seen_at: now,
        unused: Vec::new(),
    });
    if value > counter.value {
        counter.value = value;
        counter.seen_at = now;
    }
    save(tx, &counter);
    Ok(())
}

/// Judges and remembers the heartbeat of an activation.
///
/// # Errors
/// DEVICE_FROZEN, by now or since before; CHALLENGE_EXPIRED when a newer statement of the same TPM overtook this one;
/// ATTESTATION_FAILED when the counter has moved on and the key is dead.
pub(crate) fn heartbeat(
    tx: &mut Tx<'_>,
    note: &mut Note,
    seat: &TpmSeat,
    reading: &CounterReading,
    asked_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    check_thawed(tx, &seat.ek_id)?;
    let mut tpm = known(tx, &seat.ek_id)?;
    let counter = known_counter(tx, &seat.ek_id, &seat.counter.name)?;
    let said = statement(reading, asked_at, now);
    let judged = said.judge_heartbeat(&tpm, counter.as_ref());
    match judged {
        Judgement::Back(why) => return Err(freeze(tx, note, tpm, why)),
        Judgement::OutOfDate => return Err(Reason::ChallengeExpired.into()),
        Judgement::Forward | Judgement::Cleared => {}
    }
    let ended = reading.value() > seat.counter.value;
    if ended {
        // What it said stands; what the call would have changed does not.
        tx.discard();
        note.stand();
    }
    tpm.remember(&said, &judged);
    save(tx, &tpm);
    raise(tx, &seat.ek_id, &seat.counter.name, reading.value(), now)?;
    if ended {
        return Err(Refusal::new(Reason::AttestationFailed)
            .detail("the counter has moved on, so the device key has ended: activate again")
            .into());
    }
    Ok(())
}

/// A reading as it is judged.
pub(crate) fn statement(
    reading: &CounterReading,
    asked_at: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Statement {
    let clock = reading.clock();
    Statement {
        counter: reading.value(),
        reset_count: clock.reset_count,
        millis: clock.clock,
        asked_at,
        now,
    }
}

/// Verifies a statement of an enrolled counter, and logs what is wrong with one: the caller learns only that something is.
///
/// * `b` - the binding of the call, computed here.
///
/// # Errors
/// The check that failed.
pub(crate) fn read(
    of: &Tpm,
    said: &Certified,
    b: &[u8; 32],
    relation: Relation,
) -> Result<CounterReading, EvidenceError> {
    let read = attest::ak_public(&of.ak_public).and_then(|ak| {
        attest::nv_certify(
            &ak,
            &of.nv_public,
            &said.attest,
            &said.signature,
            b,
            relation,
        )
    });
    if let Err(error) = &read {
        let (step, ek_id) = (error.step(), HEXLOWER.encode(&of.ek_id));
        tracing::warn!(step, %error, %ek_id, ak_name = %of.ak_name, "a statement of a counter failed");
    }
    read
}

/// The operator learns of every call of a frozen TPM; the caller learns no more than the reason.
///
/// * `subject` - the activation or enrollment that it is about.
pub(crate) fn warn_if_frozen<T>(outcome: &Result<T, Outcome>, action: &str, subject: &str) {
    if let Err(Outcome::Refused(refusal)) = outcome
        && refusal.reason == Reason::DeviceFrozen
    {
        tracing::warn!(
            action,
            subject,
            "a TPM went back and is frozen; the history says why"
        );
    }
}
