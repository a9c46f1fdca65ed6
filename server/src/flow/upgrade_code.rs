//! GenerateUpgradeCode and ReissueUpgradeCode: maintenance is checked again, the returns are consumed, the code is signed.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::{self, BoundTo};
use upkeep::code::Code;
use upkeep::date::CivilDate;
use upkeep::id::{MailId, UpgradeId};
use upkeep::version::Version;
use upkeep::{armor, jws};

use super::activate::verify_es256;
use super::once::Principal;
use super::update_request::load_own;
use super::{Call, Deps, Fault, Outcome, outbox, seconds, whole_micros};
use crate::domain::license::{Carrier, License, VirtualEnvironment};
use crate::domain::machine::UpgradeState;
use crate::domain::mail::{MailKind, Recipient};
use crate::domain::maintenance::{self, access};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade::{self, Upgrade};
use crate::record::upgrade::UpgradeWire;
use crate::record::{Record, keys, save};
use crate::store::Tx;

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
            put_code(&inner, tx, &upgrade);
            inner.save_license(tx, &mut license)?;
            outbox::enqueue(&inner, tx, now, mail_of(&upgrade), to(&upgrade))?;
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

/// Makes the code that is out findable. Those before it stay: whoever shows one is told that it is too old.
fn put_code(deps: &Deps, tx: &mut Tx<'_>, upgrade: &Upgrade) {
    let code = deps.codes.upgrade(&upgrade.id, upgrade.code_number);
    let mac = deps.pepper.upgrade_code(&upgrade.serial, &code);
    tx.put(
        keys::upgrade_code(&upgrade.serial, &mac),
        keys::code_number(&upgrade.id, upgrade.code_number),
    );
}

/// What is kept of a mail sent again.
#[derive(Clone, PartialEq, prost::Message)]
struct KeptMail {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
}

/// The path of ResendUpgradeCodeMail: the code that is out goes to the address of its request once more (T-23).
///
/// # Errors
/// NOT_YOUR_CUSTOMER, NOT_FOUND; ILLEGAL_TRANSITION unless a code is out.
pub(crate) async fn mail_again(
    deps: &Arc<Deps>,
    call: Call,
    id: UpgradeId,
) -> Result<MailId, Outcome> {
    let (inner, now, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        call.caller.clone(),
    );
    let principal = Principal::of(&call);
    let committed = deps
        .once(
            call,
            principal,
            id.to_string().as_bytes(),
            move |tx, note| {
                note.subject = id.to_string();
                let (upgrade, license) = load_own(&inner, tx, &caller, &id, now)?;
                note.serial = Some(license.serial);
                if upgrade.state != UpgradeState::CodeIssued {
                    return Err(Refusal::new(Reason::IllegalTransition)
                        .with("state", upgrade.state)
                        .detail("No code of this request is out")
                        .into());
                }
                let id = outbox::again(&inner, tx, now, mail_of(&upgrade), to(&upgrade))?;
                Ok(KeptMail {
                    id: id.as_bytes().to_vec(),
                })
            },
        )
        .await?;
    MailId::from_slice(&committed.into_inner().id).map_err(|_| MALFORMED.into())
}

fn mail_of(upgrade: &Upgrade) -> MailKind {
    MailKind::UpgradeCode {
        upgrade: upgrade.id,
        code_number: upgrade.code_number,
    }
}

fn to(upgrade: &Upgrade) -> Recipient {
    Recipient::Requester(upgrade.id)
}

/// The signing input of the file form, where the code is bound to a device or dongle.
fn file_form(
    deps: &Deps,
    upgrade: &Upgrade,
    license: &License,
    now: DateTime<Utc>,
) -> Result<Option<String>, Outcome> {
    if !upgrade::has_file_form(upgrade, license, deps.programme(license)?) {
        return Ok(None);
    }
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
pub(crate) fn armoured(deps: &Deps, stored: &str) -> Result<String, Outcome> {
    let sealed = deps.sign(stored)?;
    let read =
        jws::verify::<artefact::UpgradeCode>(&sealed, |kid| deps.own_key(kid), verify_es256)?;
    Ok(armor::write(read.claims(), &sealed))
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
