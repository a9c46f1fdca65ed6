//! Licenses: created, delivered, suspended, resumed, revoked; and the activation code told again.

use std::sync::Arc;

use upkeep::code::Code;
use upkeep::id::OrderId;
use upkeep::serial::SerialNumber;

use super::new_license::{self, Made, Request};
use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::license::{Carrier, License};
use crate::domain::machine::LicenseEvent;
use crate::domain::programme::CredentialKind;
use crate::domain::refusal::Reason;
use crate::random::{bytes32, uuid_v7};
use crate::record::license::LicenseWire;
use crate::record::{Record, Records, keys};

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    license: Option<LicenseWire>,
}

/// The path of CreateLicense: [`new_license::make`], and its activation code.
///
/// # Errors
/// As [`new_license::make`].
pub(crate) async fn create(
    deps: &Arc<Deps>,
    call: Call,
    ask: Request,
) -> Result<(License, Option<Code>), Outcome> {
    let password = match &ask.password {
        None => None,
        Some(password) => {
            let mac = deps.pepper.password(&ask.serial, password);
            Some(deps.passwords.verifier(mac, bytes32(&*deps.random)).await?)
        }
    };
    let (inner, now, principal) = (
        Arc::clone(deps),
        whole_micros(call.now),
        Principal::of(&call),
    );
    let body = ask.body.clone();
    let order = OrderId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let actor = call.caller.actor();
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.serial = Some(ask.serial.clone());
            note.add(ask.special_conditions.clone());
            let made = Made {
                customer: &ask.customer,
                partner: ask.partner.as_ref(),
                password: password.clone(),
                sale: Some((order, &actor)),
                imported: None,
            };
            let license = new_license::make(&inner, tx, &ask, made, now)?;
            Ok(Kept {
                license: Some(license.to_wire()),
            })
        })
        .await?;
    let license = License::from_wire(committed.into_inner().license.unwrap_or_default())
        .map_err(|_| MALFORMED)?;
    let code = activation_code(deps, &license)?;
    Ok((license, code))
}

/// Moves a license by an administrator's or support's decision: fulfil, suspend, resume, revoke.
///
/// # Errors
/// NOT_FOUND; what the machine says for the role and state.
pub(crate) async fn decide(
    deps: &Arc<Deps>,
    call: Call,
    serial: SerialNumber,
    event: LicenseEvent,
    reason: String,
) -> Result<License, Outcome> {
    let (inner, now) = (Arc::clone(deps), whole_micros(call.now));
    let (role, principal) = (call.caller.role, Principal::of(&call));
    let body = format!("{serial}\0{reason}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.serial = Some(serial.clone());
            note.reason = reason.clone();
            let mut license = inner.license(tx, &serial, now)?.ok_or(Reason::NotFound)?;
            license.step(event, role)?;
            inner.save_license(tx, &mut license)?;
            Ok(Kept {
                license: Some(license.to_wire()),
            })
        })
        .await?;
    License::from_wire(committed.into_inner().license.unwrap_or_default())
        .map_err(|_| MALFORMED.into())
}

/// Tells the activation code of the current generation, on record.
///
/// # Errors
/// NOT_FOUND; CREDENTIAL_KIND_MISMATCH for a serial that takes a password.
pub(crate) async fn tell_activation_code(
    deps: &Arc<Deps>,
    call: Call,
    serial: SerialNumber,
    reason: String,
) -> Result<Code, Outcome> {
    let inner = Arc::clone(deps);
    let committed = deps
        .commit(call, move |tx, note| {
            note.serial = Some(serial.clone());
            note.reason = reason.clone();
            let license: License = tx.load(&keys::license(&serial))?.ok_or(Reason::NotFound)?;
            activation_code(&inner, &license)?.ok_or_else(|| Reason::CredentialKindMismatch.into())
        })
        .await?;
    Ok(committed.into_inner())
}

/// The activation code of a license, unless its serial takes a password or it is on a hardware key.
fn activation_code(deps: &Deps, license: &License) -> Result<Option<Code>, Outcome> {
    let kinds = deps.programme(license)?.credential_kinds(&license.serial);
    let takes_code =
        kinds.contains(&CredentialKind::ActivationCode) && license.carrier == Carrier::SoftwareKey;
    Ok(takes_code.then(|| deps.codes.activation(&license.serial, license.generation)))
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
