//! Cancelling a contract that goes on by itself, and taking that back (V-05, N-14).

use std::sync::Arc;

use upkeep::serial::SerialNumber;

use super::asker::{self, check_sellable};
use super::authenticate::Credential;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::license::License;
use crate::domain::machine::{SmaEvent, SmaState, step};
use crate::domain::maintenance::covered_on;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::Record;
use crate::record::license::LicenseWire;

/// Which of the two calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// CancelMaintenance.
    Cancel,
    /// WithdrawCancellation.
    Withdraw,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    license: Option<LicenseWire>,
}

/// The path of both calls. A cancellation never shortens the current term; a second one changes nothing.
///
/// # Errors
/// ROLE_NOT_ALLOWED; who asks ([`asker::prove`], [`asker::Asker::check_binds`]); LICENSE_FINAL; SMA_FINAL without a contract; AUTO_EXTEND_OFF; SMA_EXPIRED when a
/// cancellation is taken back too late.
pub(crate) async fn change(
    deps: &Arc<Deps>,
    call: Call,
    serial: SerialNumber,
    credential: Option<&Credential>,
    change: Change,
    reason: String,
) -> Result<License, Outcome> {
    let event = match change {
        Change::Cancel => SmaEvent::Cancel,
        Change::Withdraw => SmaEvent::WithdrawCancel,
    };
    let role = call.caller.role;
    let asker = asker::prove(deps, &call, &serial, credential).await?;
    asker.check_binds()?;
    let (inner, now, principal) = (Arc::clone(deps), whole_micros(call.now), asker.principal());
    let body = format!("{serial}\0{reason}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.serial = Some(serial.clone());
            note.reason = reason.clone();
            let mut license = asker.license(&inner, tx, now)?;
            check_sellable(&license)?;
            let (programme, today) = (inner.programme(&license)?, inner.today(&license, now)?);
            let state = license.contract_state().unwrap_or(SmaState::Terminated);
            step(state, event, role)?;
            if change == Change::Cancel && programme.auto_extend().is_none() {
                return Err(Reason::AutoExtendOff.into());
            }
            if change == Change::Withdraw && !covered_on(&license.terms, today) {
                return Err(Refusal::new(Reason::SmaExpired)
                    .detail("cover has ended; buy maintenance again")
                    .into());
            }
            let cancelled_on = &mut license.contract.cancelled_on;
            *cancelled_on = match change {
                // The first one counts: a later one could only count for a later end.
                Change::Cancel => cancelled_on.or(Some(today)),
                Change::Withdraw => None,
            };
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
