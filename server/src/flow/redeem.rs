//! RedeemUpgradeCode: an upgrade code is used, once; the next generation of the license is issued (T-31, DOMAIN 7).

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::binding;
use upkeep::code::Code;
use upkeep::id::{ActivationId, DongleNumber, ProductId, RequestId, UpgradeId};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::activate::{Build, release_of, seat, spend};
use super::authenticate::guarded;
use super::enrolled::{self, DeviceKey};
use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, lease, whole_micros};
use crate::challenge::{self, Purpose};
use crate::domain::activation::{self, Ask, Granted};
use crate::domain::license::{Carrier, License, VirtualEnvironment};
use crate::domain::machine::{LicenseEvent, Role, UpgradeState, step};
use crate::domain::programme::CredentialKind;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::seat as seats;
use crate::domain::upgrade::{self, Upgrade};
use crate::domain::virtual_machine::contradiction;
use crate::random::uuid_v7;
use crate::record::license::LicenseWire;
use crate::record::{self, Reads, Record, Records, keys, save};
use crate::store::Tx;

/// A parsed RedeemUpgradeCode request.
pub(crate) struct Request {
    pub(crate) request: RequestId,
    pub(crate) serial: SerialNumber,
    pub(crate) code: Code,
    pub(crate) version: Version,
    pub(crate) manifest: Option<String>,
    pub(crate) vm: VirtualEnvironment,
    /// What the client saw of a virtual machine; claims.
    pub(crate) vm_hints: Vec<String>,
    pub(crate) by: By,
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// What the new generation is for.
pub(crate) enum By {
    /// A device that signs the call.
    Device {
        key: Box<DeviceKey>,
        challenge: Vec<u8>,
        signature: [u8; 64],
    },
    /// A hardware key.
    Dongle(DongleNumber),
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    license: Option<LicenseWire>,
    #[prost(bytes = "vec", tag = "2")]
    activation: Vec<u8>,
    #[prost(string, tag = "3")]
    certificate: String,
    #[prost(string, tag = "4")]
    file: String,
}

/// The answer.
pub(crate) struct Redeemed {
    pub(crate) license: License,
    pub(crate) seat: Option<(ActivationId, String, Code)>,
    pub(crate) file: Option<String>,
    pub(crate) activation_code: Option<Code>,
}

/// The path of RedeemUpgradeCode. The code is the credential: wrong ones count as guesses.
///
/// # Errors
/// TOO_MANY_TRIES, CODE_INVALID (unknown serial and wrong code alike), CODE_TOO_OLD after a reissue, the challenge, the device's
/// signature, then what the machines and the activation rules say.
pub(crate) async fn redeem(
    deps: &Arc<Deps>,
    call: Call,
    ask: Request,
) -> Result<Redeemed, Outcome> {
    let now = whole_micros(call.now);
    // 1 The code, behind the guess limit. A right one makes up for no wrong guess: it may have been redeemed or replaced long ago.
    let guess = async { find_code(deps, &ask.serial, &ask.code) };
    let (id, number) = guarded(deps, &call, &ask.serial, Reason::CodeInvalid, guess).await?;
    // 2 The device, where there is one; 3 the build.
    let build = Build {
        product: product_of(deps, &ask.serial)?,
        version: ask.version,
        manifest: ask.manifest,
    };
    let release = release_of(deps, &build)?;
    let (shown, dongle) = match ask.by {
        By::Dongle(number) => (None, Some(number)),
        By::Device {
            key,
            challenge,
            signature,
        } => {
            let b = binding::redeem(&challenge, &ask.request, ask.code.canonical());
            let fresh = challenge::check(&deps.pepper, Purpose::Redeem, &challenge, call.now);
            let shown = enrolled::appraise(deps, &key, &b, &signature)?;
            (Some((shown, fresh)), None)
        }
    };
    // 4 One transaction.
    let (inner, serial, vm, hints) = (Arc::clone(deps), ask.serial, ask.vm, ask.vm_hints);
    let new_id = ActivationId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let principal = Principal::owner("redeem", serial.as_str());
    let committed = deps
        .once(call, principal, &ask.body, move |tx, note| {
            note.serial = Some(serial.clone());
            note.subject = id.to_string();
            let device = match &shown {
                None => None,
                Some((shown, fresh)) => {
                    spend(tx, note, *fresh)?;
                    Some((shown.device(tx)?, (*fresh)?.made_at()))
                }
            };
            let (mut upgrade, mut old) = load(&inner, tx, &id, &serial, now)?;
            if number != upgrade.code_number {
                return Err(Reason::CodeTooOld.into());
            }
            upgrade = upgrade.at(now);
            if let Some((device, asked_at)) = &device {
                let wanted = (&old.serial, &old.product, vm);
                device.check_use(tx, note, wanted, None, *asked_at, now)?;
            }
            let device = device.map(|(device, _)| device);
            let key = device.as_ref().map(|device| device.appraised.thumbprint());
            let mut new = supersede(&mut upgrade, &mut old, key, dongle.as_ref(), vm, now)?;
            tx.put(
                keys::superseded(&old.serial, old.generation),
                record::encode(&old.to_wire()),
            );
            save(tx, &upgrade);
            inner.save_license(tx, &mut new)?;
            let mut kept = Kept {
                license: Some(new.to_wire()),
                ..Kept::default()
            };
            match device {
                None => kept.file = upgrade.file.clone().ok_or(MALFORMED)?,
                Some(device) => {
                    let mut new = new;
                    let today = inner.today(&new, now)?;
                    let ask = Ask {
                        release: release.clone()?,
                        vm,
                        vm_contradiction: contradiction(vm, &hints, device.endorsed()),
                        dongle: device.dongle().cloned(),
                        today,
                        now,
                    };
                    note.add(ask.vm_contradiction.clone());
                    activation::admit(&new, inner.programme(&new)?, device.appraised, &ask)?;
                    lease::forget_cooled(tx, &mut new, now)?;
                    let cooling = lease::cooling(tx, &new, &device.appraised.thumbprint())?;
                    seats::check(&new, &cooling, today)?;
                    let taken = seat(
                        &inner,
                        tx,
                        &mut new,
                        Granted::NewSeat,
                        None,
                        &device,
                        &ask,
                        new_id,
                    )?;
                    kept.activation = taken.id.as_bytes().to_vec();
                    kept.certificate = taken.certificate;
                    kept.license = Some(new.to_wire());
                }
            }
            Ok(kept)
        })
        .await?;
    // 5 Sign what is durable.
    finish(deps, committed.into_inner())
}

/// The new generation, once the code is marked used and the old generation superseded.
fn supersede(
    upgrade: &mut Upgrade,
    old: &mut License,
    device: Option<Thumbprint>,
    dongle: Option<&DongleNumber>,
    vm: VirtualEnvironment,
    now: DateTime<Utc>,
) -> Result<License, Outcome> {
    match (&old.carrier, device, dongle) {
        (Carrier::SoftwareKey, Some(_), _) => {}
        (Carrier::HardwareKey(own), None, Some(shown)) if own == shown => {}
        _ => return Err(Reason::WrongDevice.into()),
    }
    upgrade::redeem(upgrade, device.as_ref(), vm)?;
    if old.usage.seats_taken > 0 {
        return Err(Refusal::new(Reason::SeatInUse)
            .with("seats_taken", old.usage.seats_taken)
            .into());
    }
    // A suspended license says so, as it does to Activate.
    step(old.state, LicenseEvent::Activate, Role::EndUser)?;
    old.step(LicenseEvent::Supersede, Role::System)?;
    old.open_upgrade = None;
    Ok(old.next_generation(
        upgrade.wish.license_type.clone(),
        upgrade.vm_permission(),
        now,
    ))
}

fn finish(deps: &Deps, kept: Kept) -> Result<Redeemed, Outcome> {
    let license = License::from_wire(kept.license.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let seat = match ActivationId::from_slice(&kept.activation) {
        Err(_) => None,
        Ok(id) => Some((id, deps.sign(&kept.certificate)?, deps.codes.product(&id))),
    };
    let file = if kept.file.is_empty() {
        None
    } else {
        Some(deps.sign(&kept.file)?)
    };
    let takes_code = deps.programme(&license)?.credential_kinds(&license.serial);
    let activation_code = (seat.is_some() && takes_code.contains(&CredentialKind::ActivationCode))
        .then(|| deps.codes.activation(&license.serial, license.generation));
    Ok(Redeemed {
        license,
        seat,
        file,
        activation_code,
    })
}

/// The update request that this code belongs to, and which of its codes it is. One look into the index, whatever the license has
/// been through: an unknown serial, one without requests and one with many cost the same.
fn find_code(
    deps: &Deps,
    serial: &SerialNumber,
    code: &Code,
) -> Result<Option<(UpgradeId, u32)>, Outcome> {
    let mut store = &deps.store;
    let key = keys::upgrade_code(serial, &deps.pepper.upgrade_code(serial, code));
    let Some(named) = store.value(&key)? else {
        return Ok(None);
    };
    Ok(Some(keys::read_code_number(&named).ok_or(MALFORMED)?))
}

fn load(
    deps: &Deps,
    tx: &mut Tx<'_>,
    id: &UpgradeId,
    serial: &SerialNumber,
    now: DateTime<Utc>,
) -> Result<(Upgrade, License), Outcome> {
    let upgrade: Upgrade = tx.load(&keys::upgrade(id))?.ok_or(MALFORMED)?;
    let license = deps.license(tx, serial, now)?.ok_or(MALFORMED)?;
    if upgrade.state != UpgradeState::Redeemed && upgrade.generation != license.generation {
        return Err(Reason::UpgradeFinal.into());
    }
    Ok((upgrade, license))
}

fn product_of(deps: &Deps, serial: &SerialNumber) -> Result<ProductId, Outcome> {
    let mut store = &deps.store;
    let license: Option<License> = store.load(&keys::license(serial))?;
    Ok(license.ok_or(MALFORMED)?.product)
}

const MALFORMED: Fault = Fault::Inconsistent("an update request and its license disagree");
