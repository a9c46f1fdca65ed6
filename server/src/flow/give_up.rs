//! DeclareLost, WaiveProof and RevokeActivation: a seat is freed by a person's decision, with a reason, on record (E-15).

use std::sync::Arc;

use upkeep::id::ActivationId;
use upkeep::level::ProofGrade;

use super::deactivate::{Deactivated, receipt, seat_is_free, sign_receipt};
use super::once::Principal;
use super::verify::load_with_license;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::activation::{Activation, Return};
use crate::domain::license::License;
use crate::domain::machine::{ActivationEvent, DeactivationEvent, DeactivationState, step};
use crate::domain::refusal::Reason;
use crate::random::{bytes32, uuid_v7};
use crate::record::activation::ActivationWire;
use crate::record::license::LicenseWire;
use crate::record::{Record, save};

/// Which decision it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decision {
    /// The machine is lost: no ticket needed.
    DeclareLost,
    /// A ticket is out or ran out, and no proof will come.
    WaiveProof,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct GivenUp {
    #[prost(message, optional, tag = "1")]
    activation: Option<ActivationWire>,
    #[prost(message, optional, tag = "2")]
    license: Option<LicenseWire>,
}

/// The path of both decisions.
///
/// # Errors
/// NOT_FOUND, what the machines say for the role and state, LOST_LIMIT or WAIVER_LIMIT.
pub(crate) async fn give_up(
    deps: &Arc<Deps>,
    call: Call,
    decision: Decision,
    id: ActivationId,
    reason: String,
) -> Result<Deactivated, Outcome> {
    let (inner, now, role) = (Arc::clone(deps), whole_micros(call.now), call.caller.role);
    let (nonce, receipt_id) = (bytes32(&*deps.random), uuid_v7(&*deps.clock, &*deps.random));
    let principal = Principal::of(&call);
    let body = format!("{id}\0{reason}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            note.reason = reason.clone();
            let (activation, mut license) = load_with_license(&inner, tx, &id, now)?;
            note.serial = Some(license.serial.clone());
            let mut activation = activation.at(now, &license);
            let limit = match decision {
                Decision::DeclareLost => Reason::LostLimit,
                Decision::WaiveProof => {
                    let begun = activation
                        .deactivation
                        .as_ref()
                        .ok_or(Reason::TicketRequired)?;
                    step(begun.state, DeactivationEvent::Waive, role)?;
                    Reason::WaiverLimit
                }
            };
            let end = Return {
                grade: ProofGrade::Waived,
                recorded_at: now,
                epoch: license.usage.return_epoch,
                receipt: receipt(&inner, &activation, ProofGrade::Waived, receipt_id, now)?,
                reason: Some(reason.clone()),
            };
            activation.give_up(&mut license, role, nonce, end)?;
            let today = inner.today(&license, now)?;
            license.count_waiver(inner.programme(&license)?, today, limit)?;
            seat_is_free(&inner, tx, &mut license, &activation, now)?;
            Ok(GivenUp {
                activation: Some(activation.to_wire()),
                license: Some(license.to_wire()),
            })
        })
        .await?;
    let (activation, license) = read_kept(committed.into_inner())?;
    let receipt = sign_receipt(deps, &activation)?;
    Ok(Deactivated {
        receipt,
        activation,
        license,
    })
}

/// RevokeActivation: withdraws one activation for good. Its seat is free, but nothing was returned: it pays for no upgrade code.
///
/// # Errors
/// NOT_FOUND, what the machine says for the role and state.
pub(crate) async fn revoke(
    deps: &Arc<Deps>,
    call: Call,
    id: ActivationId,
    reason: String,
) -> Result<(Activation, License), Outcome> {
    let (inner, now, role) = (Arc::clone(deps), whole_micros(call.now), call.caller.role);
    let principal = Principal::of(&call);
    let body = format!("{id}\0{reason}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            note.reason = reason.clone();
            let (activation, mut license) = load_with_license(&inner, tx, &id, now)?;
            note.serial = Some(license.serial.clone());
            let mut activation = activation.at(now, &license);
            activation.state = step(activation.state, ActivationEvent::Revoke, role)?;
            if let Some(begun) = &mut activation.deactivation
                && begun.state == DeactivationState::TicketIssued
            {
                // The ticket dies with the activation.
                begun.state = DeactivationState::Expired;
            }
            license.usage.seats_taken = license.usage.seats_taken.saturating_sub(1);
            seat_is_free(&inner, tx, &mut license, &activation, now)?;
            save(tx, &activation);
            Ok(GivenUp {
                activation: Some(activation.to_wire()),
                license: Some(license.to_wire()),
            })
        })
        .await?;
    read_kept(committed.into_inner())
}

fn read_kept(kept: GivenUp) -> Result<(Activation, License), Outcome> {
    let activation =
        Activation::from_wire(kept.activation.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let license = License::from_wire(kept.license.unwrap_or_default()).map_err(|_| MALFORMED)?;
    Ok((activation, license))
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
