//! Maintenance terms: added by an administrator, or ended for good (N-03 to N-06). Orders and prices come with the programmes.

use std::sync::Arc;

use upkeep::date::CivilDate;
use upkeep::serial::SerialNumber;

use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, extension, whole_micros};
use crate::domain::license::License;
use crate::domain::machine::{LicenseState, SmaEvent, SmaState, step};
use crate::domain::maintenance;
use crate::domain::refusal::Reason;
use crate::record::Record;
use crate::record::license::LicenseWire;

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    license: Option<LicenseWire>,
}

/// The path of AddMaintenanceTerms.
///
/// # Errors
/// NOT_FOUND, LICENSE_FINAL, then [`maintenance::next_terms`].
pub(crate) async fn add_terms(
    deps: &Arc<Deps>,
    call: Call,
    serial: SerialNumber,
    count: u32,
    first: Option<CivilDate>,
) -> Result<License, Outcome> {
    let (inner, now, principal) = (
        Arc::clone(deps),
        whole_micros(call.now),
        Principal::of(&call),
    );
    let first_text = first.map(|day| day.to_string()).unwrap_or_default();
    let body = format!("{serial}\0{count}\0{first_text}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.serial = Some(serial.clone());
            let mut license = inner.license(tx, &serial, now)?.ok_or(Reason::NotFound)?;
            if matches!(
                license.state,
                LicenseState::Superseded | LicenseState::Revoked
            ) {
                return Err(Reason::LicenseFinal.into());
            }
            let today = inner.today(&license, now)?;
            let programme = inner.programme(&license)?;
            let terms = maintenance::next_terms(programme, &license.terms, today, count, first)?;
            extension::settle(&inner, tx, &mut license, now)?;
            license.add_terms(terms);
            // More terms take a cancellation back, as an order for them does (DOMAIN 7).
            license.contract.cancelled_on = None;
            inner.save_license(tx, &mut license)?;
            Ok(Kept {
                license: Some(license.to_wire()),
            })
        })
        .await?;
    License::from_wire(committed.into_inner().license.unwrap_or_default())
        .map_err(|_| MALFORMED.into())
}

/// The path of TerminateMaintenance: the contract's terms no longer count (N-06). The ledger keeps that they were.
///
/// # Errors
/// NOT_FOUND; SMA_FINAL when there is no contract; what the machine says for the role.
pub(crate) async fn terminate(
    deps: &Arc<Deps>,
    call: Call,
    serial: SerialNumber,
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
            let contract = license.contract_state().unwrap_or(SmaState::Terminated);
            step(contract, SmaEvent::Terminate, role)?;
            license.end_contract();
            inner.save_license(tx, &mut license)?;
            Ok(Kept {
                license: Some(license.to_wire()),
            })
        })
        .await?;
    License::from_wire(committed.into_inner().license.unwrap_or_default())
        .map_err(|_| MALFORMED.into())
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
