//! What is remembered of TPMs: read, brought forward and, when one went back, frozen (ATTESTATION 3).

use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use upkeep::artefact::TpmName;
use upkeep::id::DeviceId;
use upkeep::level::AssuranceLevel;

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
    Ok(reads
        .load(&keys::tpm(ek_id))?
        .unwrap_or_else(|| KnownTpm::new(*ek_id)))
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

/// Takes an enrollment that is used from those that wait at its counter.
pub(crate) fn used(
    tx: &mut Tx<'_>,
    ek_id: &[u8; 32],
    name: &TpmName,
    id: &DeviceId,
) -> Result<(), Outcome> {
    if let Some(mut counter) = known_counter(tx, ek_id, name)? {
        counter.unused.retain(|waiting| waiting != id);
        counter.activated = true;
        save(tx, &counter);
    }
    Ok(())
}

/// Takes an enrollment that is forgotten from those that wait at its counter, and the counter with the last of them.
pub(crate) fn no_longer_unused(
    tx: &mut Tx<'_>,
    ek_id: &[u8; 32],
    name: &TpmName,
    id: &DeviceId,
) -> Result<(), Outcome> {
    let known = known_counter(tx, ek_id, name)?;
    if let Some(mut counter) = known.filter(|known| known.unused.contains(id)) {
        counter.unused.retain(|waiting| waiting != id);
        if counter.is_worth_keeping() {
            save(tx, &counter);
        } else {
            tx.delete(keys::counter(ek_id, name));
        }
    }
    Ok(())
}

/// Refuses a TPM's key that signs although it can't: its TPM is frozen, or was cleared since. Such a clear was none, and freezes.
///
/// * `era` - the TPM's when the key was enrolled.
/// * `asked_at` - when the challenge was made that it signed.
///
/// # Errors
/// DEVICE_FROZEN, by now or since before; CHALLENGE_EXPIRED when the TPM was cleared while the call was on its way.
pub(crate) fn check_key(
    tx: &mut Tx<'_>,
    note: &mut Note,
    ek_id: &[u8; 32],
    era: u32,
    asked_at: DateTime<Utc>,
) -> Result<(), Outcome> {
    check_thawed(tx, ek_id)?;
    let tpm = known(tx, ek_id)?;
    match tpm.judge_key(era, asked_at) {
        Judgement::Back(why) => Err(freeze(tx, note, tpm, why)),
        Judgement::OutOfDate => Err(Reason::ChallengeExpired.into()),
        Judgement::Forward | Judgement::Cleared => Ok(()),
    }
}

/// Judges and remembers what a proof of deactivation says. A chip's clock is not judged: its counter can't go back.
///
/// * `asked_at` - when the ticket was made that it answers.
///
/// # Errors
/// DEVICE_FROZEN, by now or since before.
pub(crate) fn proof(
    tx: &mut Tx<'_>,
    note: &mut Note,
    activation: &Activation,
    reading: &CounterReading,
    asked_at: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    let seat = activation.tpm().ok_or(Reason::ProofInvalid)?;
    check_thawed(tx, &seat.ek_id)?;
    let mut tpm = known(tx, &seat.ek_id)?;
    let mut counter = known_counter(tx, &seat.ek_id, &seat.counter.name)?
        .unwrap_or_else(|| KnownCounter::new(seat.ek_id, seat.counter, now));
    let ever = DateTime::<Utc>::MIN_UTC;
    let said = statement(reading, asked_at.unwrap_or(ever), now);
    let judged = match activation.level {
        AssuranceLevel::Hardware => Judgement::Forward,
        _ => said.judge_proof(&tpm, &counter),
    };
    if let Judgement::Back(why) = judged {
        return Err(freeze(tx, note, tpm, why));
    }
    if judged == Judgement::Cleared || said.is_next(&tpm, &counter) {
        tpm.remember(&said, &judged);
        counter.remember(&said, tpm.era);
    } else {
        // Its clock may be that of before a TPM2_Clear.
        counter.raise(said.counter, now);
        tpm.largest = tpm.largest.max(said.counter);
    }
    save(tx, &tpm);
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
    check_key(tx, note, &seat.ek_id, seat.era, asked_at)?;
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
    let mut counter = counter.unwrap_or_else(|| KnownCounter::new(seat.ek_id, seat.counter, now));
    counter.remember(&said, tpm.era);
    save(tx, &counter);
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
