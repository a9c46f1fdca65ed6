//! VerifyActivation: the online check. It hands out the certificate signed afresh, with today's maintenance.

use std::sync::{Arc, OnceLock};

use chrono::{DateTime, Utc};
use data_encoding::BASE64URL_NOPAD;
use upkeep::binding;
use upkeep::id::{ActivationId, RequestId};
use upkeep::key::{PublicKey, Thumbprint};
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::activate::{certificate, spend};
use super::once::Principal;
use super::seen::Use;
use super::{Call, Caller, Deps, Fault, Outcome, lease, refuse_stranger, tpm, whole_micros};
use crate::attest::{self, CounterReading, Relation};
use crate::challenge::{self, Fresh, Purpose};
use crate::domain::activation::Activation;
use crate::domain::enrollment::{Certified, Enrollment};
use crate::domain::license::{License, VirtualEnvironment};
use crate::domain::machine::{ActivationEvent, ActivationState, LicenseState, Role, step};
use crate::domain::refusal::Reason;
use crate::record::activation::ActivationWire;
use crate::record::license::LicenseWire;
use crate::record::{self, Reads, Record, Records, keys, save};

/// A parsed call that names an activation and is signed by its device key.
pub(crate) struct Request {
    pub(crate) request: RequestId,
    pub(crate) challenge: Vec<u8>,
    pub(crate) activation: ActivationId,
    pub(crate) signature: [u8; 64],
    /// What the TPM says of its counter in this call.
    pub(crate) heartbeat: Option<Certified>,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Refreshed {
    #[prost(message, optional, tag = "1")]
    activation: Option<ActivationWire>,
    #[prost(message, optional, tag = "2")]
    license: Option<LicenseWire>,
}

/// The answer.
pub(crate) struct Verified {
    pub(crate) activation: Activation,
    pub(crate) license: License,
    pub(crate) certificate: String,
}

/// The path of VerifyActivation.
///
/// # Errors
/// ATTESTATION_FAILED for an unknown activation and a wrong signature alike; the challenge; what the state says.
pub(crate) async fn verify(
    deps: &Arc<Deps>,
    call: Call,
    ask: Request,
) -> Result<Verified, Outcome> {
    let stored = prove_possession(deps, &call, &ask, binding::verify).await?;
    let heartbeat = read_heartbeat(deps, &ask)?;
    let action = call.action;
    let mut fresh = challenge::check(&deps.pepper, Purpose::Verify, &ask.challenge, call.now);
    if let Ok(known) = fresh {
        match deps
            .verified
            .note(&known, ask.activation, ask.request, call.now)
        {
            Use::Own => {
                if let Some(verified) = unchanged(deps, &call, &ask, &known, stored)? {
                    return Ok(verified);
                }
            }
            Use::Anothers => fresh = Err(Reason::ChallengeSpent),
            Use::Unknown => {}
        }
    }
    let (inner, now, id) = (Arc::clone(deps), whole_micros(call.now), ask.activation);
    let body = id.to_string();
    let committed = deps
        .once(
            call,
            Principal::owner("activation", &body),
            body.as_bytes(),
            move |tx, note| {
                note.subject = id.to_string();
                spend(tx, note, fresh)?;
                let (mut activation, mut license) = load_with_license(&inner, tx, &id, now)?;
                note.serial = Some(license.serial.clone());
                if lease::forget_cooled(tx, &mut license, now)? {
                    inner.save_license(tx, &mut license)?;
                }
                activation = activation.at(now, &license);
                activation.state = step(activation.state, ActivationEvent::Refresh, Role::EndUser)?;
                check_license(&license, &activation)?;
                if let Some(seat) = activation.tpm() {
                    let reading = heartbeat.as_ref().map_err(|reason| *reason)?;
                    tpm::heartbeat(tx, note, seat, reading, fresh?.made_at(), now)?;
                }
                let exp = lease::extend(&inner, &license, &mut activation, now)?;
                activation.certificate = certificate(&inner, &license, &activation, exp, now)?;
                save(tx, &activation);
                Ok(Refreshed {
                    activation: Some(activation.to_wire()),
                    license: Some(license.to_wire()),
                })
            },
        )
        .await;
    tpm::warn_if_frozen(&committed, action, &body);
    let kept = committed?.into_inner();
    let activation =
        Activation::from_wire(kept.activation.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let license = License::from_wire(kept.license.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let certificate = deps.sign(&activation.certificate)?;
    Ok(Verified {
        activation,
        license,
        certificate,
    })
}

/// The answer of a call that has nothing to write: the seat stands as its record says, and a certificate of today says what the one on
/// record says, which is signed once more. So it is durable already, and there is no transaction and no event; a retry gets it afresh.
/// `None` where anything is to be written or refused, or was answered before: then the transaction decides.
///
/// * `stored` - the activation as this call has read it.
///
/// # Errors
/// Faults.
fn unchanged(
    deps: &Deps,
    call: &Call,
    ask: &Request,
    fresh: &Fresh,
    stored: Activation,
) -> Result<Option<Verified>, Outcome> {
    let mut store = &deps.store;
    let now = whole_micros(call.now);
    let owner = Principal::owner("activation", &ask.activation.to_string());
    let answered = store.value(&keys::once(&owner.0, &ask.request))?;
    let spent = store.value(&keys::spent_challenge(fresh.expires_at, &fresh.nonce))?;
    if answered.is_some() || spent.is_some() {
        return Ok(None);
    }
    let Some(license) = deps.license(&mut store, &stored.serial, now)? else {
        return Ok(None);
    };
    let activation = stored.at(now, &license);
    let refreshed = step(activation.state, ActivationEvent::Refresh, Role::EndUser).ok();
    if activation.tpm().is_some()
        || license.usage.seats_cooling > 0
        || refreshed.is_none_or(|state| state != activation.state)
        || check_license(&license, &activation).is_err()
    {
        return Ok(None);
    }
    // A lease is renewed, which is written down.
    let mut renewed = activation.clone();
    let exp = lease::extend(deps, &license, &mut renewed, now)?;
    if exp.is_some() || renewed.lease_end != activation.lease_end {
        return Ok(None);
    }
    let of_today = certificate(deps, &license, &activation, exp, now)?;
    if !says_the_same(&of_today, &activation.certificate) {
        return Ok(None);
    }
    Ok(Some(Verified {
        // The text on record and no other: nothing is signed that is not (I4).
        certificate: deps.sign(&activation.certificate)?,
        activation,
        license,
    }))
}

/// Whether two signing inputs of ours differ in nothing but when they were issued; no if one is no such text.
fn says_the_same(new: &str, old: &str) -> bool {
    let parts = new.split_once('.').zip(old.split_once('.'));
    let Some(((header, new), (old_header, old))) = parts else {
        return false;
    };
    let read = |payload: &str| BASE64URL_NOPAD.decode(payload.as_bytes()).ok();
    let (Some(new), Some(old)) = (read(new), read(old)) else {
        return false;
    };
    let new = around_iat(&new);
    header == old_header && new.is_some() && new == around_iat(&old)
}

/// The JSON of a certificate before and after the number of its `iat`. A quote inside a text is escaped, so the first such name is the
/// member's.
fn around_iat(json: &[u8]) -> Option<(&[u8], &[u8])> {
    const NAME: &[u8] = br#""iat":"#;
    let at = json.windows(NAME.len()).position(|here| here == NAME)?;
    let (before, rest) = json.split_at(at.saturating_add(NAME.len()));
    let digits = rest.iter().take_while(|byte| byte.is_ascii_digit()).count();
    Some((before, rest.get(digits..)?))
}

/// Verifies the TPM's statement in this call with what is on record. Whether one was needed is for the transaction to say.
///
/// # Errors
/// Faults; inside, HEARTBEAT_REQUIRED and ATTESTATION_FAILED.
fn read_heartbeat(deps: &Deps, ask: &Request) -> Result<Result<CounterReading, Reason>, Outcome> {
    let mut store = &deps.store;
    let Some(said) = &ask.heartbeat else {
        return Ok(Err(Reason::HeartbeatRequired));
    };
    let activation: Option<Activation> = store.load(&keys::activation(&ask.activation))?;
    let enrolled = activation.and_then(|activation| activation.enrolled);
    let enrollment: Option<Enrollment> = match enrolled {
        Some(enrolled) => store.load(&keys::enrollment(&enrolled.device))?,
        None => None,
    };
    let Some(of) = enrollment.as_ref().and_then(Enrollment::tpm) else {
        return Ok(Err(Reason::AttestationFailed));
    };
    let b = binding::verify(&ask.challenge, &ask.request, &ask.activation.to_string());
    let reading = tpm::read(of, said, &b, Relation::AtLeast(0));
    Ok(match reading {
        Ok(reading) if !tpm::is_denied(deps, of, reading.firmware()) => Ok(reading),
        _ => Err(Reason::AttestationFailed),
    })
}

/// A revoked or suspended license, or one that was upgraded, is enforced on next contact (DOMAIN 7).
fn check_license(license: &License, activation: &Activation) -> Result<(), Outcome> {
    if activation.generation != license.generation {
        return Err(Reason::LicenseFinal.into());
    }
    match license.state {
        LicenseState::Issued => Ok(()),
        LicenseState::Suspended => Err(Reason::LicenseSuspended.into()),
        LicenseState::Ordered => Err(Reason::LicenseNotIssued.into()),
        LicenseState::Superseded | LicenseState::Revoked => Err(Reason::LicenseFinal.into()),
    }
}

/// Verifies the device's signature over a call about its activation, and gives the activation as it is on record: nobody else gets even
/// the kept answer of a retry. An unknown activation costs one verification too, and gets the same answer.
///
/// # Errors
/// ATTESTATION_FAILED.
pub(crate) async fn prove_possession(
    deps: &Arc<Deps>,
    call: &Call,
    ask: &Request,
    bind: fn(&[u8], &RequestId, &str) -> [u8; 32],
) -> Result<Activation, Outcome> {
    let mut store = &deps.store;
    let known: Option<Activation> = store.load(&keys::activation(&ask.activation))?;
    let is_known = known.is_some();
    // The decoy is decoded like a stored activation, and a key is looked for, so that an unknown one costs what a known one costs.
    let activation = match known {
        Some(activation) => activation,
        None => record::decode(b"decoy", decoy())?,
    };
    let key = match store.value(&keys::device_activation(&activation.device, &activation.id))? {
        Some(sec1) => PublicKey::from_sec1(&sec1)?,
        // Nobody holds the server's key but the server: the work is the same, the answer no.
        None => PublicKey::from_sec1(deps.decoy_key().ok_or(MALFORMED)?.sec1_bytes())?,
    };
    let b = bind(&ask.challenge, &ask.request, &ask.activation.to_string());
    let shown = attest::appraise_software(&key, &b, &ask.signature).is_ok();
    if shown & is_known {
        return Ok(activation);
    }
    let subject = ask.activation.to_string();
    Err(refuse_stranger(deps, call, subject, Reason::AttestationFailed.into()).await)
}

/// An activation that nobody has, as the store would hold it.
fn decoy() -> &'static [u8] {
    static RECORD: OnceLock<Vec<u8>> = OnceLock::new();
    RECORD.get_or_init(|| {
        // Built from constants; a parse that fails leaves it empty, which decoding reports.
        let activation = || -> Option<Activation> {
            Some(Activation {
                id: ActivationId::from_uuid(uuid::Uuid::nil()),
                serial: SerialNumber::parse("DECOY-0000-0000").ok()?,
                generation: 1,
                state: ActivationState::Active,
                device: Thumbprint::from_bytes([0; 32]),
                level: AssuranceLevel::Software,
                version: Version::parse("10.0").ok()?,
                vm: VirtualEnvironment::No,
                vm_contradiction: None,
                created_at: DateTime::UNIX_EPOCH,
                lease_end: None,
                // As long as one is.
                certificate: "-".repeat(900),
                deactivation: None,
                enrolled: None,
            })
        };
        activation().map_or_else(Vec::new, |decoy| record::encode(&decoy.to_wire()))
    })
}

/// An activation and the current generation of its license.
pub(crate) fn load_with_license(
    deps: &Deps,
    reads: &mut impl Records,
    id: &ActivationId,
    now: DateTime<Utc>,
) -> Result<(Activation, License), Outcome> {
    let activation: Activation = reads
        .load(&keys::activation(id))?
        .ok_or_else(|| Outcome::from(Reason::NotFound))?;
    let license = deps
        .license(reads, &activation.serial, now)?
        .ok_or(MALFORMED)?;
    Ok((activation, license))
}

/// As [`load_with_license`], for a caller who may see only its own customers' licenses.
pub(crate) fn load_own(
    deps: &Deps,
    reads: &mut impl Records,
    caller: &Caller,
    id: &ActivationId,
    now: DateTime<Utc>,
) -> Result<(Activation, License), Outcome> {
    let found = match load_with_license(deps, reads, id, now) {
        Err(Outcome::Refused(refusal)) if refusal.reason == Reason::NotFound => {
            // A partner can't tell an unknown activation from a foreign one.
            caller.check_owns(None)?;
            return Err(Outcome::Refused(refusal));
        }
        found => found?,
    };
    caller.check_owns(Some(&found.1))?;
    Ok(found)
}

const MALFORMED: Fault = Fault::Inconsistent("an activation's keys and records disagree");

#[cfg(test)]
mod tests {
    use super::*;

    fn input(json: &str) -> String {
        format!("header.{}", BASE64URL_NOPAD.encode(json.as_bytes()))
    }

    #[test]
    fn only_the_time_of_issue_may_differ() {
        let old = input(r#"{"iss":"a","iat":1,"exp":7}"#);
        for (json, same) in [
            (r#"{"iss":"a","iat":1,"exp":7}"#, true),
            (r#"{"iss":"a","iat":234,"exp":7}"#, true),
            (r#"{"iss":"a","iat":1,"exp":8}"#, false),
            (r#"{"iss":"b","iat":1,"exp":7}"#, false),
            (r#"{"iss":"a","iat":1}"#, false),
            (r#"{"iss":"a","exp":7}"#, false),
            (r#"{"iss":"\"iat\":1","iat":1,"exp":7}"#, false),
        ] {
            assert_eq!(says_the_same(&input(json), &old), same, "{json}");
        }
        let tricky = |iat| input(&format!(r#"{{"iss":"\"iat\":5","iat":{iat},"exp":7}}"#));
        assert!(says_the_same(&tricky(1), &tricky(2)));
        let another = old.replacen("header", "leader", 1);
        assert!(!says_the_same(&another, &old));
        for none in ["", "header", "header.=", "header.AA"] {
            assert!(!says_the_same(none, none), "{none}");
        }
    }
}
