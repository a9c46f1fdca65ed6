//! Update requests: asked for, read, withdrawn, cleared, rejected (T-13 to T-30, N-13).

use std::sync::Arc;

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::id::{LicenseType, UpgradeId};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::authenticate::{Credential, authenticate};
use super::once::Principal;
use super::{Call, Caller, Deps, Fault, Outcome, party, whole_micros};
use crate::domain::catalogue::Release;
use crate::domain::license::{Carrier, License, VirtualEnvironment};
use crate::domain::machine::{Role, UpgradeEvent, UpgradeState, step};
use crate::domain::programme::UpdateField;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::upgrade::{self, Upgrade, Wish};
use crate::domain::upgrade_check::empty_fields;
use crate::random::uuid_v7;
use crate::record::license::LicenseWire;
use crate::record::upgrade::UpgradeWire;
use crate::record::{Record, Records, keys, save};
use crate::store::Tx;

/// A parsed CreateUpdateRequest: each field well formed or absent.
pub(crate) struct Request {
    pub(crate) serial: SerialNumber,
    pub(crate) credential: Option<Credential>,
    pub(crate) email: Option<String>,
    pub(crate) vm: Option<VirtualEnvironment>,
    pub(crate) license_type: Option<LicenseType>,
    pub(crate) target: Option<Version>,
    pub(crate) device: Option<Thumbprint>,
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    upgrade: Option<UpgradeWire>,
    #[prost(message, optional, tag = "2")]
    license: Option<LicenseWire>,
}

/// The path of CreateUpdateRequest, for customers and partners.
///
/// # Errors
/// NOT_YOUR_CUSTOMER; MISSING_FIELD with all of them, the credential last; the credential; ALREADY_EXISTS while a request is open;
/// then [`upgrade::submit`].
pub(crate) async fn create(
    deps: &Arc<Deps>,
    call: Call,
    ask: Request,
) -> Result<(Upgrade, License), Outcome> {
    // 1 Who asks: a partner by its certificate, and everybody by the license's secret (T-22). Without a certificate nothing of the
    // license is looked at before its secret: a serial that is known would take longer.
    let mut store = &deps.store;
    let own = match call.caller.role {
        Role::Partner => {
            deps.check_listed(&mut store, &call.caller, &ask.serial)?;
            let own = deps.license(&mut store, &ask.serial, call.now)?;
            call.caller.check_owns(own.as_ref())?;
            own
        }
        _ => None,
    };
    check_fields(deps, &ask, own.as_ref())?;
    let who = match &ask.credential {
        Some(credential) => Some(authenticate(deps, &call, &ask.serial, credential).await?),
        None => None,
    };
    let known = match own {
        Some(own) => Some(own),
        None => deps.license(&mut store, &ask.serial, call.now)?,
    };
    let Some(known) = known else {
        return Err(Reason::CredentialInvalid.into());
    };
    let missing: Vec<_> =
        empty_fields(&deps.programme(&known)?.update().fields, &ask.given()).collect();
    if !missing.is_empty() {
        return Err(Refusal::missing(missing.into_iter().map(path)).into());
    }
    // 2 The address is sealed before it meets the ledger (T-23).
    let id = UpgradeId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let email = party::seal_for(
        deps,
        &known.customer,
        &email_field(&id),
        &ask.email.unwrap_or_default(),
    )?;
    // What the programme does not ask for stays as it is.
    let wish = Wish {
        email,
        vm: ask.vm.unwrap_or(VirtualEnvironment::No),
        license_type: ask
            .license_type
            .unwrap_or_else(|| known.license_type.clone()),
        target: ask.target,
        device: ask.device,
    };
    // 3 One transaction.
    let (inner, now, serial, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        ask.serial,
        call.caller.clone(),
    );
    let principal = match caller.role {
        Role::Partner => Principal::of(&call),
        _ => Principal::owner("serial", serial.as_str()),
    };
    let committed = deps
        .once(call, principal, &ask.body, move |tx, note| {
            note.serial = Some(serial.clone());
            note.subject = id.to_string();
            let mut license = inner.license(tx, &serial, now)?.ok_or(MALFORMED)?;
            caller.check_owns(Some(&license))?;
            if who
                .as_ref()
                .is_some_and(|who| who.generation() != license.generation)
            {
                // Upgraded since the secret was compared.
                return Err(Reason::CredentialInvalid.into());
            }
            refuse_second(tx, &license, now)?;
            let programme = inner.programme(&license)?;
            let releases = releases(tx, &license)?;
            let today = inner.today(&license, now)?;
            let (state, target) = upgrade::submit(&license, programme, &wish, &releases, today)?;
            let lifetime = TimeDelta::days(i64::from(programme.request_days()));
            let upgrade = Upgrade {
                id,
                serial: serial.clone(),
                generation: license.generation,
                state,
                wish: wish.clone(),
                target: target.version,
                target_build_date: target.build_date,
                created_at: now,
                expires_at: now.checked_add_signed(lifetime).unwrap_or(now),
                code_number: 0,
                file: None,
            };
            license.open_upgrade = Some(id);
            tx.put(keys::license_upgrade(&serial, &id), Vec::new());
            save(tx, &upgrade);
            inner.save_license(tx, &mut license)?;
            Ok(Kept {
                upgrade: Some(upgrade.to_wire()),
                license: Some(license.to_wire()),
            })
        })
        .await?;
    read_kept(committed.into_inner())
}

/// The required fields that can be told before anybody has shown a secret; all gaps at once, the credential last (N-13, D58).
///
/// Only a partner is known before its credential is, so it is asked for what its license's programme wants. To anybody else a
/// serial that does not exist must look like any other: it is asked for what every programme wants, and for the rest afterwards.
///
/// * `own` - the license of a partner who asks.
fn check_fields(deps: &Deps, ask: &Request, own: Option<&License>) -> Result<(), Outcome> {
    let fields: Vec<UpdateField> = match own {
        Some(license) => deps.programme(license)?.update().fields.clone(),
        None => UpdateField::ALL
            .iter()
            .copied()
            .filter(|field| {
                let mut all = deps.programmes.revisions();
                all.all(|programme| programme.update().fields.contains(field))
            })
            .collect(),
    };
    let on_dongle = own.is_some_and(|license| matches!(license.carrier, Carrier::HardwareKey(_)));
    let credential = (ask.credential.is_none() && !on_dongle).then_some("credential");
    let missing: Vec<&str> = empty_fields(&fields, &ask.given())
        .map(path)
        .chain(credential)
        .collect();
    if missing.is_empty() {
        Ok(())
    } else {
        Err(Refusal::missing(missing).into())
    }
}

/// Where a field stands in the request.
fn path(field: UpdateField) -> &'static str {
    match field {
        UpdateField::Email => "details.email",
        UpdateField::Serial => "serial",
        UpdateField::VirtualEnvironment => "details.virtual_environment",
        UpdateField::LicenseType => "details.license_type",
    }
}

impl Request {
    fn given(&self) -> Vec<UpdateField> {
        let given = [
            (true, UpdateField::Serial),
            (self.email.is_some(), UpdateField::Email),
            (self.vm.is_some(), UpdateField::VirtualEnvironment),
            (self.license_type.is_some(), UpdateField::LicenseType),
        ];
        let given = given.into_iter().filter(|(is, _)| *is);
        given.map(|(_, field)| field).collect()
    }
}

/// One open request per license.
fn refuse_second(tx: &mut Tx<'_>, license: &License, now: DateTime<Utc>) -> Result<(), Outcome> {
    let Some(open) = license.open_upgrade else {
        return Ok(());
    };
    let upgrade: Option<Upgrade> = tx.load(&keys::upgrade(&open))?;
    let state = upgrade.map(|upgrade| upgrade.at(now).state);
    let reason = match state {
        Some(UpgradeState::CodeIssued) => Reason::CodeAlreadyIssued,
        Some(
            UpgradeState::Submitted
            | UpgradeState::Referred
            | UpgradeState::AwaitingDeactivation
            | UpgradeState::Approved,
        ) => Reason::AlreadyExists,
        _ => return Ok(()),
    };
    Err(Refusal::new(reason)
        .detail("an update request for this license is open")
        .with("update_request_id", open)
        .into())
}

fn releases(tx: &mut Tx<'_>, license: &License) -> Result<Vec<Release>, Outcome> {
    let range = keys::releases(&license.product);
    Ok(tx
        .load_range::<Release>(&range, MAX_RELEASES)?
        .into_iter()
        .map(|(_, release)| release)
        .collect())
}

/// Reads a request as it stands now.
///
/// # Errors
/// NOT_FOUND; NOT_YOUR_CUSTOMER for partners in both cases.
pub(crate) fn read(
    deps: &Deps,
    caller: &Caller,
    id: &UpgradeId,
    now: DateTime<Utc>,
) -> Result<(Upgrade, License), Outcome> {
    let mut store = &deps.store;
    load_own(deps, &mut store, caller, id, now)
}

/// Moves a request by a person's decision: withdraw, clear the referral, reject.
///
/// # Errors
/// As [`read`]; what the machine says for the role and state.
pub(crate) async fn decide(
    deps: &Arc<Deps>,
    call: Call,
    id: UpgradeId,
    event: UpgradeEvent,
    reason: String,
) -> Result<(Upgrade, License), Outcome> {
    let (inner, now, caller) = (
        Arc::clone(deps),
        whole_micros(call.now),
        call.caller.clone(),
    );
    let principal = match caller.role {
        // Customers have no name of their own; who gets here has shown the secret of this request's license.
        Role::EndUser => Principal::owner("update-request", &id.to_string()),
        _ => Principal::of(&call),
    };
    let body = format!("{id}\0{reason}");
    let committed = deps
        .once(call, principal, body.as_bytes(), move |tx, note| {
            note.subject = id.to_string();
            note.reason = reason.clone();
            let (mut upgrade, mut license) = load_own(&inner, tx, &caller, &id, now)?;
            note.serial = Some(license.serial.clone());
            upgrade.state = step(upgrade.state, event, caller.role)?;
            match upgrade.state {
                UpgradeState::Submitted => {
                    upgrade.state = upgrade::after_referral(upgrade.state, &license)?
                }
                UpgradeState::Withdrawn | UpgradeState::Rejected => {
                    license.open_upgrade = None;
                    inner.save_license(tx, &mut license)?;
                }
                _ => {}
            }
            save(tx, &upgrade);
            Ok(Kept {
                upgrade: Some(upgrade.to_wire()),
                license: Some(license.to_wire()),
            })
        })
        .await?;
    read_kept(committed.into_inner())
}

fn read_kept(kept: Kept) -> Result<(Upgrade, License), Outcome> {
    let upgrade = Upgrade::from_wire(kept.upgrade.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let license = License::from_wire(kept.license.unwrap_or_default()).map_err(|_| MALFORMED)?;
    Ok((upgrade, license))
}

/// A request and the current generation of its license, for a caller who may see it.
pub(crate) fn load_own(
    deps: &Deps,
    reads: &mut impl Records,
    caller: &Caller,
    id: &UpgradeId,
    now: DateTime<Utc>,
) -> Result<(Upgrade, License), Outcome> {
    let upgrade: Option<Upgrade> = reads.load(&keys::upgrade(id))?;
    let Some(upgrade) = upgrade else {
        caller.check_owns(None)?;
        return Err(Reason::NotFound.into());
    };
    let license = deps
        .license(reads, &upgrade.serial, now)?
        .ok_or(MALFORMED)?;
    caller.check_owns(Some(&license))?;
    Ok((upgrade.at(now), license))
}

/// What the e-mail address of a request is sealed as.
pub(crate) fn email_field(id: &UpgradeId) -> String {
    format!("update-request/{id}/email")
}

/// Releases of one product that are looked through for the newest.
const MAX_RELEASES: usize = 10_000;
const MALFORMED: Fault = Fault::Inconsistent("an update request and its license disagree");
