//! Deactivate and RecordProof: a proof of deactivation is recorded, the seat is free, the receipt is signed (T-17, T-18).
//!
//! The proof is the request's identity: sending it again returns the same receipt, whoever sends it (I6).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::{
    ArtefactId, Confirmation, DeactivationReceipt, HardwareProof, VerifiedProof, verify_proof,
};
use upkeep::key::{PublicKey, Thumbprint};
use upkeep::level::ProofGrade;
use upkeep::serial::SerialNumber;
use uuid::Uuid;

use super::activate::verify_es256;
use super::counter_proof;
use super::verify::load_own;
use super::{Call, Deps, Fault, Outcome, lease, refuse_stranger, seconds, whole_micros};
use crate::domain::activation::{Activation, Return};
use crate::domain::license::License;
use crate::domain::machine::{DeactivationState, Role, UpgradeEvent, UpgradeState, step};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade::{Upgrade, is_paid_for, needs_return};
use crate::random::uuid_v7;
use crate::record::{Reads, Records, keys, save};
use crate::store::Tx;

/// The answer.
pub(crate) struct Deactivated {
    pub(crate) receipt: String,
    pub(crate) activation: Activation,
    pub(crate) license: License,
}

/// A proof as it came: read, and not verified.
pub(crate) enum Proof {
    /// A JWS by a software device key or a dongle's.
    Signed(String),
    /// A TPM's statement of its counter.
    Counter(HardwareProof),
}

/// The path of a proof.
///
/// # Errors
/// PROOF_INVALID for a proof that does not verify or is of the wrong kind, NOT_YOUR_CUSTOMER, TICKET_EXPIRED, DEVICE_FROZEN, and
/// what the state machines say.
pub(crate) async fn deactivate(
    deps: &Arc<Deps>,
    call: Call,
    proof: Proof,
) -> Result<Deactivated, Outcome> {
    match proof {
        Proof::Signed(text) => by_signature(deps, call, text).await,
        Proof::Counter(proof) => counter_proof::deactivate(deps, call, proof).await,
    }
}

async fn by_signature(deps: &Arc<Deps>, call: Call, proof: String) -> Result<Deactivated, Outcome> {
    // 1 Signatures: the proof by a device key on record, the ticket inside by this server.
    let mut store = &deps.store;
    let mut fault = None;
    let find_device = |jkt: &Thumbprint| {
        let known = keys::device_activations(jkt);
        match store.last(&known.from, &known.to) {
            Ok(found) => found.and_then(|(_, sec1)| PublicKey::from_sec1(&sec1).ok()),
            Err(error) => {
                fault = Some(error);
                None
            }
        }
    };
    let verified = verify_proof(&proof, find_device, |kid| deps.own_key(kid), verify_es256);
    if let Some(error) = fault {
        return Err(error.into());
    }
    let verified = match verified {
        Ok(verified) => verified,
        Err(error) => {
            let refusal = Refusal::new(Reason::ProofInvalid).detail(error.to_string());
            return Err(refuse_stranger(deps, &call, String::new(), refusal).await);
        }
    };
    // 2 One transaction for both machines, the seat and a waiting update request.
    let (inner, now, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        call.caller.clone(),
    );
    let receipt_id = uuid_v7(&*deps.clock, &*deps.random);
    let committed = deps
        .commit(call, move |tx, note| {
            let said = verified.proof();
            note.subject = said.activation_id.to_string();
            let (activation, mut license) =
                load_own(&inner, tx, &caller, &said.activation_id, now)?;
            note.serial = Some(license.serial.clone());
            if activation.device != said.cnf.jkt || activation.serial != said.serial {
                return Err(Refusal::new(Reason::ProofInvalid)
                    .detail("it is another device's proof")
                    .into());
            }
            if activation.tpm().is_some() {
                // The key signs whatever it is given; that it has ended only its counter proves.
                return Err(Refusal::new(Reason::ProofInvalid)
                    .detail("this activation is bound to a TPM: send the proof of its counter")
                    .into());
            }
            let mut activation = activation.at(now, &license);
            if is_recorded(&activation, &verified) {
                note.silence();
                return Ok((activation, license));
            }
            let end = proven(&inner, &activation, &license, receipt_id, now)?;
            let programme = inner.programme(&license)?;
            activation.submit_proof(
                &mut license,
                programme,
                caller.role,
                said.nonce.as_bytes(),
                end,
            )?;
            license.count_return(programme, activation.level, inner.today(&license, now)?);
            tx.put(keys::proof(&activation.id), proof.as_bytes().to_vec());
            seat_is_free(&inner, tx, &mut license, &activation, now)?;
            Ok((activation, license))
        })
        .await?;
    // 3 Sign the receipt that is on record.
    let (activation, license) = committed.into_inner();
    Deactivated::signed(deps, activation, license)
}

impl Deactivated {
    /// The answer, once the return is durable.
    pub(crate) fn signed(
        deps: &Deps,
        activation: Activation,
        license: License,
    ) -> Result<Self, Outcome> {
        Ok(Self {
            receipt: sign_receipt(deps, &activation)?,
            activation,
            license,
        })
    }
}

/// How a return by proof ends.
pub(crate) fn proven(
    deps: &Deps,
    activation: &Activation,
    license: &License,
    receipt_id: Uuid,
    now: DateTime<Utc>,
) -> Result<Return, Outcome> {
    let grade = activation.proof_grade();
    Ok(Return {
        grade,
        recorded_at: now,
        epoch: license.usage.return_epoch,
        receipt: receipt(deps, activation, grade, receipt_id, now)?,
        reason: None,
    })
}

/// The receipt of a recorded return, signed.
pub(crate) fn sign_receipt(deps: &Deps, activation: &Activation) -> Result<String, Outcome> {
    let end = activation
        .deactivation
        .as_ref()
        .and_then(|begun| begun.outcome.as_ref());
    Ok(deps.sign(&end.ok_or(MALFORMED)?.receipt)?)
}

/// The signing input of a receipt.
pub(crate) fn receipt(
    deps: &Deps,
    activation: &Activation,
    grade: ProofGrade,
    id: Uuid,
    now: DateTime<Utc>,
) -> Result<String, Outcome> {
    Ok(deps.signing_input(&DeactivationReceipt {
        iss: deps.issuer.clone(),
        jti: ArtefactId::parse(&id.to_string()).map_err(|_| MALFORMED)?,
        iat: seconds(now),
        serial: activation.serial.clone(),
        activation_id: activation.id,
        generation: activation.generation,
        grade,
        cnf: Confirmation {
            jkt: activation.device,
        },
    })?)
}

/// Writes what a freed seat changes: the device's live key, the license, the lease that still runs, and an update request that
/// waited for it.
pub(crate) fn seat_is_free(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &mut License,
    activation: &Activation,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    seat_is_left(deps, tx, license, activation, now);
    approve_waiting(deps, tx, license, now)?;
    deps.save_license(tx, license)?;
    Ok(())
}

/// The part of [`seat_is_free`] that is true of a seat, too, that the same transaction takes again: it approves no request that
/// waits for free seats. The caller saves the license.
pub(crate) fn seat_is_left(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &mut License,
    activation: &Activation,
    now: DateTime<Utc>,
) {
    tx.delete(keys::live(
        &license.serial,
        activation.generation,
        &activation.device,
    ));
    if let Some(tpm) = activation.tpm() {
        tx.delete(keys::counter_activation(
            &tpm.ek_id,
            &tpm.counter.name,
            &license.serial,
        ));
    }
    forget_product_code(deps, tx, &license.serial, activation);
    lease::cool(tx, license, activation, now);
    save(tx, activation);
}

/// The product code exists only while the product is activated.
fn forget_product_code(
    deps: &Deps,
    tx: &mut Tx<'_>,
    serial: &SerialNumber,
    activation: &Activation,
) {
    let code = deps.codes.product(&activation.id);
    tx.delete(keys::product_code(
        serial,
        &deps.pepper.product_code(serial, &code),
    ));
}

/// An update request that waited for the return of the old license goes on once every seat is free (T-17).
fn approve_waiting(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &License,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    let Some(id) = license.open_upgrade else {
        return Ok(());
    };
    // A withdrawn seat is free but proves nothing: the request waits on unless another return pays for it.
    if needs_return(license) || !is_paid_for(license, deps.programme(license)?) {
        return Ok(());
    }
    let upgrade: Option<Upgrade> = tx.load(&keys::upgrade(&id))?;
    let Some(mut upgrade) = upgrade.map(|upgrade| upgrade.at(now)) else {
        return Ok(());
    };
    if upgrade.state == UpgradeState::AwaitingDeactivation {
        upgrade.state = step(upgrade.state, UpgradeEvent::ProofRecorded, Role::System)?;
        save(tx, &upgrade);
    }
    Ok(())
}

fn is_recorded(activation: &Activation, verified: &VerifiedProof) -> bool {
    activation.deactivation.as_ref().is_some_and(|begun| {
        begun.state == DeactivationState::Recorded
            && begun.nonce == *verified.proof().nonce.as_bytes()
    })
}

const MALFORMED: Fault = Fault::Inconsistent("an activation's return has no receipt");
