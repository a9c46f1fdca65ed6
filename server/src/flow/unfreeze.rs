//! UnfreezeDevice: a person has found out why a TPM went back, and lets it go on.

use std::sync::Arc;

use upkeep::id::ActivationId;

use super::once::Principal;
use super::verify::load_with_license;
use super::{Call, Deps, Fault, Outcome, tpm, whole_micros};
use crate::domain::activation::Activation;
use crate::domain::license::License;
use crate::domain::refusal::{Reason, Refusal};
use crate::record::activation::ActivationWire;
use crate::record::license::LicenseWire;
use crate::record::{Record, save};

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    activation: Option<ActivationWire>,
    #[prost(message, optional, tag = "2")]
    license: Option<LicenseWire>,
}

/// The path of UnfreezeDevice. The clock starts anew with the next statement; the largest counter values stay: a counter that went
/// back has to pass them before a key counts again.
///
/// # Errors
/// NOT_FOUND; ILLEGAL_TRANSITION when the activation is on no frozen TPM.
pub(crate) async fn unfreeze(
    deps: &Arc<Deps>,
    call: Call,
    id: ActivationId,
    reason: String,
) -> Result<(Activation, License), Outcome> {
    let (inner, now) = (Arc::clone(deps), whole_micros(call.now));
    let principal = Principal::of(&call);
    let body = format!("{id}\0{reason}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            note.reason.clone_from(&reason);
            let (activation, license) = load_with_license(&inner, tx, &id, now)?;
            note.serial = Some(license.serial.clone());
            let seat = activation.tpm().ok_or_else(not_frozen)?;
            let mut known = tpm::known(tx, &seat.ek_id)?;
            known.thaw().ok_or_else(not_frozen)?;
            save(tx, &known);
            Ok(Kept {
                activation: Some(activation.to_wire()),
                license: Some(license.to_wire()),
            })
        })
        .await?;
    let kept = committed.into_inner();
    let activation =
        Activation::from_wire(kept.activation.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let license = License::from_wire(kept.license.unwrap_or_default()).map_err(|_| MALFORMED)?;
    Ok((activation, license))
}

fn not_frozen() -> Refusal {
    Refusal::new(Reason::IllegalTransition).detail("the activation is on no frozen TPM")
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
