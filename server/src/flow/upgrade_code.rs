//! GenerateUpgradeCode and ReissueUpgradeCode: maintenance is checked again, the returns are consumed, the code is signed.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::{self, BoundTo};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::UpgradeId;
use upkeep::version::Version;
use upkeep::{armor, jws};

use super::activate::verify_es256;
use super::once::Principal;
use super::update_request::load_own;
use super::{Call, Deps, Fault, Outcome, seconds, whole_micros};
use crate::domain::license::{Carrier, License, VirtualEnvironment};
use crate::domain::maintenance::{self, access};
use crate::domain::refusal::Reason;
use crate::domain::upgrade::{self, Upgrade};
use crate::record::upgrade::UpgradeWire;
use crate::record::{Record, save};

/// What is asked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Ask {
    /// The first code.
    Generate,
    /// A new code in place of the one that is out.
    Reissue {
        /// Why; goes on record.
        reason: String,
    },
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    upgrade: Option<UpgradeWire>,
}

/// The code in both its forms.
pub(crate) struct Issued {
    pub(crate) id: UpgradeId,
    pub(crate) code: Code,
    pub(crate) file: Option<String>,
    pub(crate) target: Version,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The path of both calls.
///
/// # Errors
/// NOT_YOUR_CUSTOMER, NOT_FOUND, then [`upgrade::issue`] or [`upgrade::reissue`].
pub(crate) async fn issue(
    deps: &Arc<Deps>,
    call: Call,
    id: UpgradeId,
    ask: Ask,
) -> Result<Issued, Outcome> {
    let (inner, now, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        call.caller.clone(),
    );
    let principal = Principal::of(&call);
    let body = match &ask {
        Ask::Generate => id.to_string(),
        Ask::Reissue { reason } => format!("{id}\0{reason}"),
    };
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            let (mut upgrade, mut license) = load_own(&inner, tx, &caller, &id, now)?;
            note.serial = Some(license.serial.clone());
            let programme = inner.programme(&license)?;
            let today = inner.today(&license, now)?;
            match &ask {
                Ask::Generate => upgrade::issue(
                    &mut upgrade,
                    &mut license,
                    programme,
                    caller.role,
                    today,
                    now,
                )?,
                Ask::Reissue { reason } => {
                    note.reason = reason.clone();
                    upgrade::reissue(
                        &mut upgrade,
                        &mut license,
                        programme,
                        caller.role,
                        today,
                        now,
                    )?;
                }
            }
            upgrade.file = file_form(&inner, &upgrade, &license, now)?;
            save(tx, &upgrade);
            inner.save_license(tx, &mut license)?;
            Ok(Kept {
                upgrade: Some(upgrade.to_wire()),
            })
        })
        .await?;
    let kept = committed.into_inner().upgrade.unwrap_or_default();
    let upgrade = Upgrade::from_wire(kept).map_err(|_| MALFORMED)?;
    Ok(Issued {
        id: upgrade.id,
        code: deps.codes.upgrade(&upgrade.id, upgrade.code_number),
        file: upgrade
            .file
            .as_deref()
            .map(|stored| armoured(deps, stored))
            .transpose()?,
        target: upgrade.target,
        expires_at: upgrade.expires_at,
    })
}

/// The signing input of the file form, where the code is bound to a device or dongle.
fn file_form(
    deps: &Deps,
    upgrade: &Upgrade,
    license: &License,
    now: DateTime<Utc>,
) -> Result<Option<String>, Outcome> {
    let bound_to = match (&license.carrier, upgrade.wish.device) {
        (Carrier::HardwareKey(number), _) => BoundTo::Dongle(number.clone()),
        (Carrier::SoftwareKey, Some(device)) => BoundTo::DeviceKey(device),
        (Carrier::SoftwareKey, None) => return Ok(None),
    };
    let claims = artefact::UpgradeCode {
        iss: deps.issuer.clone(),
        upgrade_id: upgrade.id,
        iat: seconds(now),
        serial: license.serial.clone(),
        generation: license.generation.saturating_add(1),
        product: license.product.clone(),
        license_type: Some(upgrade.wish.license_type.clone()),
        virtual_environment: upgrade.wish.vm == VirtualEnvironment::Yes,
        target_version: upgrade.target.clone(),
        target_build_date: upgrade.target_build_date,
        maintenance_last_day: covers_up_to(deps, upgrade, license)?,
        edition: license.edition.clone(),
        add_ons: license.add_ons.clone(),
        seats: license.seats,
        bound_to,
    };
    Ok(Some(deps.signing_input(&claims)?))
}

/// The newest build that the code opens: what maintenance covers, and for a Free Edition without any, its target (S-28).
fn covers_up_to(deps: &Deps, upgrade: &Upgrade, license: &License) -> Result<CivilDate, Outcome> {
    match maintenance::last_day(&license.terms) {
        Some(last_day) => Ok(last_day.max(upgrade.target_build_date)),
        None if access::is_free(deps.programme(license)?, &license.edition) => {
            Ok(upgrade.target_build_date)
        }
        None => Err(Reason::SmaExpired.into()),
    }
}

/// Signs the stored file form and wraps it for people and mail.
fn armoured(deps: &Deps, stored: &str) -> Result<String, Outcome> {
    let sealed = deps.sign(stored)?;
    let read =
        jws::verify::<artefact::UpgradeCode>(&sealed, |kid| deps.own_key(kid), verify_es256)?;
    Ok(armor::write(read.claims(), &sealed))
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
