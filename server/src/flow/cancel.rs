//! Cancelling a contract that goes on by itself, and taking that back (V-05, N-14).

use std::sync::Arc;

use upkeep::serial::SerialNumber;

use super::asker::{self, check_sellable};
use super::authenticate::Credential;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::license::License;
use crate::domain::machine::SmaEvent;
use crate::domain::maintenance::cancel::{cancel, withdraw};
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
/// Who asks ([`asker::prove`], [`asker::Asker::check_binds`]); LICENSE_FINAL; then [`cancel`] or [`withdraw`].
pub(crate) async fn change(
    deps: &Arc<Deps>,
    call: Call,
    serial: SerialNumber,
    credential: Option<&Credential>,
    change: Change,
    reason: String,
) -> Result<License, Outcome> {
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
            let (terms, before) = (&license.terms, license.contract.cancelled_on);
            license.contract.cancelled_on = match change {
                Change::Cancel => Some(cancel(programme, terms, before, role, today)?),
                Change::Withdraw => {
                    withdraw(terms, before, role, today)?;
                    None
                }
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
