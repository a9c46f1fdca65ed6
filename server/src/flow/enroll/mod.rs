//! Enrollment of a hardware key: evidence, then the secret that only the TPM of that endorsement key can read (ATTESTATION 3).
//!
//! Cheap checks come first: sizes at the door, the challenge's digest and time, whether it was used, and only then signatures.
//! What the verifier finds wrong goes to the log with its step; the client learns that it failed, and nothing to tune an attack by.

pub(crate) mod appraise;
mod pending;
pub(crate) mod waiting;

use std::sync::{Arc, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use data_encoding::HEXLOWER;
use subtle::ConstantTimeEq;
use upkeep::binding;
use upkeep::id::DeviceId;
use zeroize::Zeroizing;

pub(crate) use self::pending::Pending;
use self::pending::Session;
use super::activate::spend;
use super::{Call, Deps, Note, Outcome, refuse_stranger, tpm, whole_micros};
use crate::attest::{self, EvidenceError};
use crate::challenge::{self, Fresh, Purpose};
use crate::domain::enrollment::{
    Enrollment, Evidence, Hardware, PivShown, Shown, Subject, TpmShown, UNUSED_FOR,
};
use crate::domain::guess::Network;
use crate::domain::license::VirtualEnvironment;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::tpm::{Judgement, KnownCounter, Statement};
use crate::random::{bytes32, uuid_v7};
use crate::record::{Reads, Records, keys, save};
use crate::store::Tx;

/// A parsed BeginEnrollment request.
pub(crate) struct Request {
    pub(crate) challenge: Vec<u8>,
    pub(crate) subject: Subject,
    pub(crate) shown: Shown,
}

/// The answer to it.
pub(crate) enum Begun {
    /// The TPM has to open this.
    Asked {
        id: DeviceId,
        credential: attest::Credential,
        expires_at: DateTime<Utc>,
    },
    /// A dongle's key has answered for itself.
    Enrolled(Box<Enrollment>),
}

/// The path of BeginEnrollment.
///
/// # Errors
/// The challenge; ATTESTATION_FAILED for whatever is wrong with the evidence.
pub(crate) async fn begin(deps: &Arc<Deps>, call: Call, ask: Request) -> Result<Begun, Outcome> {
    // 1 The challenge: a digest and a look into memory, before any signature; and how often this network asked.
    let fresh = challenge::check(&deps.pepper, Purpose::Enroll, &ask.challenge, call.now)?;
    if deps.enrolling.is_used(&fresh) {
        return Err(Reason::ChallengeSpent.into());
    }
    budget(deps, &call)?;
    let b = binding_of(&ask.challenge, &ask.subject);
    match ask.shown {
        Shown::Tpm(shown) => {
            begin_tpm(deps, call, fresh, &b, ask.challenge, ask.subject, shown).await
        }
        Shown::Piv(shown) => {
            enroll_dongle(deps, call, fresh, &b, ask.challenge, ask.subject, shown).await
        }
    }
}

/// Every call costs the verifier a millisecond, and a good one is written down: each network has so many.
fn budget(deps: &Deps, call: &Call) -> Result<(), Refusal> {
    let calls = deps.enrollments.lock();
    let mut calls = calls.unwrap_or_else(PoisonError::into_inner);
    calls.check_network(call.now, call.caller.ip)?;
    calls.fail_network(call.now, call.caller.ip);
    Ok(())
}

/// What the evidence of an enrollment is over.
pub(crate) fn binding_of(challenge: &[u8], subject: &Subject) -> [u8; 32] {
    binding::enroll(
        challenge,
        &subject.serial,
        &subject.product,
        subject.vm == VirtualEnvironment::Yes,
        &subject.client_build,
    )
}

async fn begin_tpm(
    deps: &Arc<Deps>,
    call: Call,
    fresh: Fresh,
    b: &[u8; 32],
    challenge: Vec<u8>,
    subject: Subject,
    shown: TpmShown,
) -> Result<Begun, Outcome> {
    // 2 The whole checklist. Nothing is trusted by it yet: the attestation key may be anybody's.
    let (endorsements, random) = (Arc::clone(&deps.endorsements), Arc::clone(&deps.random));
    let (b, at) = (*b, call.now);
    let (shown, secret, appraised) = appraise::apart(deps, move || {
        let secret = Zeroizing::new(bytes32(&*random));
        let appraised = appraise::tpm(&endorsements, &shown, &b, at).and_then(|(result, facts)| {
            let credential = attest::make_credential(&facts.ek, &facts.ak_name, &secret, &*random)?;
            Ok((result, facts, credential))
        });
        (shown, secret, appraised)
    })
    .await?;
    let (result, facts, credential) = match appraised {
        Ok(appraised) => appraised,
        Err(error) => return Err(refuse(deps, &call, &Shown::Tpm(shown), error).await),
    };
    // 3 The session waits for the secret, in memory.
    let id = DeviceId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let session = Session {
        network: Network::of(call.caller.ip),
        secret,
        level: result.level(),
        key: result.device_key().clone(),
        tpm: appraise::kept(&shown, &result, &facts),
        clock: facts.clock,
        subject,
        evidence: Evidence {
            device: id,
            challenge,
            shown: Shown::Tpm(shown),
        },
        asked_at: fresh.made_at(),
        expires_at: later(call.now, pending::LIFETIME),
    };
    let expires_at = session.expires_at;
    deps.enrolling.keep(id, &fresh, session, call.now)?;
    Ok(Begun::Asked {
        id,
        credential,
        expires_at,
    })
}

/// The path of CompleteEnrollment.
///
/// * `secret` - what the TPM took out of the credential; compared in constant time.
///
/// # Errors
/// ENROLLMENT_INVALID for a session that is unknown, used or over; ATTESTATION_FAILED for a wrong secret, and for a key that
/// belongs to another chip; DEVICE_FROZEN when the TPM went back.
pub(crate) async fn complete(
    deps: &Arc<Deps>,
    call: Call,
    id: DeviceId,
    secret: Zeroizing<Vec<u8>>,
) -> Result<Enrollment, Outcome> {
    // 1 The session is used up whatever comes of it: one secret, one try.
    let Some(session) = deps.enrolling.take(&id, call.now) else {
        let refusal = Reason::EnrollmentInvalid.into();
        return Err(refuse_stranger(deps, &call, id.to_string(), refusal).await);
    };
    // 2 The proof that the attestation key lives beside that endorsement key.
    if !bool::from(session.secret.as_slice().ct_eq(secret.as_slice())) {
        let ek_id = HEXLOWER.encode(&session.tpm.ek_id);
        tracing::warn!(%ek_id, ak_name = %session.tpm.ak_name, "a wrong secret: the attestation key is not in that TPM");
        let refusal = Reason::AttestationFailed.into();
        return Err(refuse_stranger(deps, &call, id.to_string(), refusal).await);
    }
    // 3 Now the evidence is believed: everything is written at once.
    let (now, action) = (whole_micros(call.now), call.action);
    let said = Statement {
        counter: session.tpm.counter.value,
        reset_count: session.clock.reset_count,
        millis: session.clock.clock,
        asked_at: session.asked_at,
        now,
    };
    let committed = deps
        .commit(call, move |tx, note| {
            note.subject = id.to_string();
            let enrollment = Enrollment {
                id,
                key: session.key.clone(),
                level: session.level,
                subject: session.subject.clone(),
                hardware: Hardware::Tpm(Box::new(session.tpm.clone())),
                enrolled_at: now,
                expires_at: later(now, UNUSED_FOR),
                activation: None,
            };
            write_tpm(tx, note, enrollment, &session.evidence, &said)
        })
        .await;
    tpm::warn_if_frozen(&committed, action, &id.to_string());
    Ok(committed?.into_inner())
}

/// Writes an enrollment whose evidence is believed, with what it says about its TPM.
fn write_tpm(
    tx: &mut Tx<'_>,
    note: &mut Note,
    mut enrollment: Enrollment,
    evidence: &Evidence,
    said: &Statement,
) -> Result<Enrollment, Outcome> {
    let Hardware::Tpm(tpm) = &mut enrollment.hardware else {
        return Err(Reason::AttestationFailed.into());
    };
    // An attestation key belongs to one endorsement key for ever; a device key is enrolled once.
    let ak = keys::attestation_key(&tpm.ak_name);
    match tx.value(&ak)? {
        Some(owner) if owner != tpm.ek_id => return Err(Reason::AttestationFailed.into()),
        Some(_) => {}
        None => tx.put(ak, tpm.ek_id.to_vec()),
    }
    let name = keys::device_name(&tpm.device_name);
    if tx.value(&name)?.is_some() {
        return Err(Reason::AttestationFailed.into());
    }
    // The counter is beyond what was seen, or among its like at it, or the TPM went back.
    tpm::check_thawed(tx, &tpm.ek_id)?;
    let mut known = tpm::known(tx, &tpm.ek_id)?;
    let counter = tpm::known_counter(tx, &tpm.ek_id, &tpm.counter.name)?;
    let judged = said.judge_enrollment(&known, counter.as_ref(), tpm.shares_counter());
    match &judged {
        Judgement::Back(why) => return Err(tpm::freeze(tx, note, known, why.clone())),
        Judgement::OutOfDate => return Err(Reason::EnrollmentInvalid.into()),
        Judgement::Cleared => tpm.warnings.push(CLEARED.to_owned()),
        Judgement::Forward => {}
    }
    note.reason = tpm.warnings.join("; ");
    known.remember(said, &judged);
    save(tx, &known);
    tpm.era = known.era;
    tx.put(name, enrollment.id.as_bytes().to_vec());
    wait(tx, &enrollment, counter, said)?;
    write(tx, &enrollment, evidence);
    Ok(enrollment)
}

/// Puts an enrollment among those that wait at its counter. Whoever waited at a smaller value waits in vain, because that key never
/// signs again; an earlier one for the same license is given up, and so is the oldest where too many wait.
fn wait(
    tx: &mut Tx<'_>,
    enrollment: &Enrollment,
    counter: Option<KnownCounter>,
    said: &Statement,
) -> Result<(), Outcome> {
    let Some(tpm) = enrollment.tpm() else {
        return Ok(());
    };
    let mut siblings = Vec::new();
    let mut known = counter.unwrap_or_else(|| KnownCounter::new(tpm.ek_id, tpm.counter, said.now));
    for id in std::mem::take(&mut known.unused) {
        let Some(other) = tx.load::<Enrollment>(&keys::enrollment(&id))? else {
            continue;
        };
        let works = other
            .tpm()
            .is_some_and(|other| other.counter.value == tpm.counter.value);
        if works && other.subject.serial != enrollment.subject.serial {
            siblings.push(id);
        } else {
            forget(tx, &id)?;
        }
    }
    while siblings.len() >= MAX_WAITING {
        forget(tx, &siblings.remove(0))?;
    }
    siblings.push(enrollment.id);
    known.remember(said, tpm.era);
    known.unused = siblings;
    save(tx, &known);
    waiting::join(tx, enrollment, said.now)
}

fn write(tx: &mut Tx<'_>, enrollment: &Enrollment, evidence: &Evidence) {
    save(tx, enrollment);
    save(tx, evidence);
    tx.put(
        keys::lapse(enrollment.expires_at, &enrollment.id),
        Vec::new(),
    );
}

/// Removes an enrollment that was never activated, with everything about it but what is known of its TPM and of counters that
/// carried an activation.
pub(crate) fn forget(tx: &mut Tx<'_>, id: &DeviceId) -> Result<(), Outcome> {
    let Some(enrollment) = tx.load::<Enrollment>(&keys::enrollment(id))? else {
        return Ok(());
    };
    if enrollment.activation.is_some() {
        return Ok(());
    }
    if let Some(tpm) = enrollment.tpm() {
        tx.delete(keys::device_name(&tpm.device_name));
        tpm::no_longer_unused(tx, &tpm.ek_id, &tpm.counter.name, id)?;
    }
    waiting::leave(tx, &enrollment)?;
    tx.delete(keys::lapse(enrollment.expires_at, id));
    tx.delete(keys::evidence(id));
    tx.delete(keys::enrollment(id));
    Ok(())
}

/// A dongle's slot key proves itself by a signature, so one call is enough.
async fn enroll_dongle(
    deps: &Arc<Deps>,
    call: Call,
    fresh: Fresh,
    b: &[u8; 32],
    challenge: Vec<u8>,
    subject: Subject,
    shown: PivShown,
) -> Result<Begun, Outcome> {
    let (endorsements, b, at) = (Arc::clone(&deps.endorsements), *b, call.now);
    let (shown, appraised) = appraise::apart(deps, move || {
        let appraised = appraise::dongle(&endorsements, &shown, &b, at);
        (shown, appraised)
    })
    .await?;
    let (key, number, level) = match appraised {
        Ok(slot) => slot,
        Err(error) => return Err(refuse(deps, &call, &Shown::Piv(shown), error).await),
    };
    let now = whole_micros(call.now);
    let id = DeviceId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let enrollment = Enrollment {
        id,
        key,
        level,
        subject,
        hardware: Hardware::Dongle(number),
        enrolled_at: now,
        expires_at: later(now, UNUSED_FOR),
        activation: None,
    };
    let evidence = Evidence {
        device: id,
        challenge,
        shown: Shown::Piv(shown),
    };
    let committed = deps
        .commit(call, move |tx, note| {
            note.subject = id.to_string();
            spend(tx, note, Ok(fresh))?;
            waiting::join(tx, &enrollment, now)?;
            write(tx, &enrollment, &evidence);
            Ok(enrollment.clone())
        })
        .await?;
    Ok(Begun::Enrolled(Box::new(committed.into_inner())))
}

/// The one generic answer to bad evidence; the log has the step.
async fn refuse(deps: &Arc<Deps>, call: &Call, shown: &Shown, error: EvidenceError) -> Outcome {
    appraise::log(shown, error);
    refuse_stranger(deps, call, String::new(), Reason::AttestationFailed.into()).await
}

fn later(at: DateTime<Utc>, by: TimeDelta) -> DateTime<Utc> {
    at.checked_add_signed(by).unwrap_or(at)
}

/// So many licenses may wait for their activation on one counter.
const MAX_WAITING: usize = 16;
const CLEARED: &str = "the clock started again while the counter went on: TPM2_Clear";
