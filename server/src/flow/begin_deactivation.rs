//! BeginDeactivation: the ticket that a proof of deactivation must answer. While it is out the seat stays taken.

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::{Confirmation, DeactivationTicket, TicketNonce};
use upkeep::binding;
use upkeep::id::ActivationId;

use super::activate::spend;
use super::once::Principal;
use super::verify::{self, load_own};
use super::{Call, Deps, Outcome, seconds, tpm, whole_micros};
use crate::challenge::{self, Fresh, Purpose};
use crate::domain::activation::{Deactivation, TicketWanted};
use crate::domain::machine::{ActivationEvent, ActivationState, DeactivationState, step};
use crate::domain::refusal::Reason;
use crate::random::bytes32;
use crate::record::{save, wire_micros};

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Ticketed {
    #[prost(string, tag = "1")]
    ticket: String,
    #[prost(int64, tag = "2")]
    expires_at: i64,
}

/// The answer.
pub(crate) struct Ticket {
    pub(crate) ticket: String,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The device itself asks.
///
/// # Errors
/// ATTESTATION_FAILED, the challenge, what the state says, RETURN_LIMIT.
pub(crate) async fn by_device(
    deps: &Arc<Deps>,
    call: Call,
    ask: verify::Request,
) -> Result<Ticket, Outcome> {
    verify::prove_possession(deps, &call, &ask, binding::begin_deactivation).await?;
    let fresh = challenge::check(
        &deps.pepper,
        Purpose::BeginDeactivation,
        &ask.challenge,
        call.now,
    );
    let principal = Principal::owner("activation", &ask.activation.to_string());
    begin(
        deps,
        call,
        principal,
        ask.activation,
        Asked::ByDevice(fresh),
    )
    .await
}

/// A partner or support asks for the device, which answers the ticket later (DOMAIN 7: `begin_release` [EU PA VS]).
///
/// # Errors
/// NOT_YOUR_CUSTOMER, NOT_FOUND, what the state says, RETURN_LIMIT.
pub(crate) async fn by_staff(
    deps: &Arc<Deps>,
    call: Call,
    activation: ActivationId,
) -> Result<Ticket, Outcome> {
    let principal = Principal::of(&call);
    begin(deps, call, principal, activation, Asked::ByStaff).await
}

#[derive(Clone, Copy)]
enum Asked {
    ByDevice(Result<Fresh, Reason>),
    ByStaff,
}

async fn begin(
    deps: &Arc<Deps>,
    call: Call,
    principal: Principal,
    id: ActivationId,
    asked: Asked,
) -> Result<Ticket, Outcome> {
    let (inner, now, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        call.caller.clone(),
    );
    let nonce = bytes32(&*deps.random);
    let committed = deps
        .once(
            call,
            principal,
            id.to_string().as_bytes(),
            move |tx, note| {
                note.subject = id.to_string();
                // The role comes before what the records say (N-10).
                step(
                    ActivationState::Active,
                    ActivationEvent::BeginRelease,
                    caller.role,
                )?;
                if let Asked::ByDevice(fresh) = asked {
                    spend(tx, note, fresh)?;
                }
                let (activation, mut license) = load_own(&inner, tx, &caller, &id, now)?;
                note.serial = Some(license.serial.clone());
                if let (Asked::ByDevice(fresh), Some(seat)) = (asked, activation.tpm()) {
                    tpm::check_key(tx, note, &seat.ek_id, seat.era, fresh?.made_at())?;
                }
                let mut activation = activation.at(now, &license);
                let today = inner.today(&license, now)?;
                let programme = inner.programme(&license)?;
                match activation.begin_release(&mut license, programme, caller.role, today)? {
                    TicketWanted::SameAgain => {}
                    TicketWanted::New => {
                        let lifetime = TimeDelta::days(i64::from(programme.ticket_days()));
                        let expires_at = now.checked_add_signed(lifetime).unwrap_or(now);
                        let ticket = inner.signing_input(&DeactivationTicket {
                            iss: inner.issuer.clone(),
                            nonce: TicketNonce::from_bytes(nonce),
                            iat: seconds(now),
                            exp: seconds(expires_at),
                            serial: license.serial.clone(),
                            activation_id: id,
                            cnf: Confirmation {
                                jkt: activation.device,
                            },
                        })?;
                        activation.deactivation = Some(Deactivation {
                            state: DeactivationState::TicketIssued,
                            nonce,
                            ticket,
                            ticket_expires_at: expires_at,
                            outcome: None,
                        });
                        inner.save_license(tx, &mut license)?;
                    }
                }
                save(tx, &activation);
                let begun = activation.deactivation.as_ref();
                Ok(Ticketed {
                    ticket: begun.map(|begun| begun.ticket.clone()).unwrap_or_default(),
                    expires_at: begun.map_or(0, |begun| begun.ticket_expires_at.timestamp_micros()),
                })
            },
        )
        .await?;
    let kept = committed.into_inner();
    Ok(Ticket {
        ticket: deps.sign(&kept.ticket)?,
        expires_at: wire_micros(kept.expires_at),
    })
}
