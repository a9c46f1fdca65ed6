//! Licenses: created, delivered, suspended, resumed, revoked; and the activation code told again.

use std::sync::Arc;

use upkeep::code::Code;
use upkeep::date::{CivilDate, Term};
use upkeep::id::{AddOn, CustomerId, Edition, LicenseKind, LicenseType, PartnerId, ProductId};
use upkeep::serial::SerialNumber;
use zeroize::Zeroizing;

use super::once::Principal;
use super::{Call, Deps, Fault, Outcome, whole_micros};
use crate::domain::catalogue::Product;
use crate::domain::license::{Carrier, Contract, License, Placed, Usage, VmPermission};
use crate::domain::machine::{LicenseEvent, LicenseState};
use crate::domain::maintenance::{self, NewLicense, VmProduct};
use crate::domain::party::{Customer, Partner};
use crate::domain::programme::CredentialKind;
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::random::bytes32;
use crate::record::license::LicenseWire;
use crate::record::{Reads, Record, Records, keys};
use crate::store::Tx;

/// A parsed CreateLicense request.
pub(crate) struct Request {
    pub(crate) serial: SerialNumber,
    pub(crate) product: ProductId,
    pub(crate) customer: CustomerId,
    pub(crate) partner: Option<PartnerId>,
    pub(crate) carrier: Carrier,
    pub(crate) license_type: LicenseType,
    pub(crate) edition: Edition,
    pub(crate) add_ons: Vec<AddOn>,
    pub(crate) seats: u32,
    pub(crate) vm: VmPermission,
    pub(crate) purchased_on: CivilDate,
    pub(crate) password: Option<Zeroizing<String>>,
    pub(crate) state: LicenseState,
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    license: Option<LicenseWire>,
}

/// The path of CreateLicense. The programme's included months start on the day of purchase (T-05, P-05, S-03).
///
/// # Errors
/// ALREADY_EXISTS for a serial that ever was; INVALID_FIELD for a product, customer or partner that does not exist, a password
/// where none belongs or none where one does; VM_NOT_ALLOWED where the programme's `cover.vm` is `deny`.
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
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.serial = Some(ask.serial.clone());
            if tx.value(&keys::license(&ask.serial))?.is_some() {
                return Err(Refusal::new(Reason::AlreadyExists)
                    .with("serial", &ask.serial)
                    .into());
            }
            let product = referenced(tx, &ask)?;
            let programme = inner
                .programmes
                .current(&product.programme)
                .ok_or(super::UNKNOWN_PROGRAMME)?;
            let kinds = programme.credential_kinds(&ask.serial);
            check_password(kinds, &ask)?;
            let kind = LicenseKind::parse("perpetual").map_err(|_| MALFORMED)?;
            let terms: Vec<Term> = maintenance::cover_of_new(
                programme,
                &NewLicense {
                    kind: &kind,
                    edition: Some(&ask.edition),
                    // An administrator records what the vendor has decided to sell (T-08).
                    vm: match ask.vm {
                        VmPermission::Allowed => VmProduct::Cleared,
                        VmPermission::NotAllowed => VmProduct::No,
                    },
                    on: ask.purchased_on,
                },
            )?
            .into_iter()
            .collect();
            let mut license = License {
                serial: ask.serial.clone(),
                generation: 1,
                state: ask.state,
                product: ask.product.clone(),
                programme: programme.id().clone(),
                programme_rev: programme.revision(),
                customer: ask.customer.clone(),
                partner: partner_of(tx, &ask)?,
                carrier: ask.carrier.clone(),
                kind,
                license_type: ask.license_type.clone(),
                edition: ask.edition.clone(),
                add_ons: ask.add_ons.clone(),
                modules: Vec::new(),
                seats: ask.seats,
                vm: ask.vm,
                purchased_on: ask.purchased_on,
                paid: None,
                terms_on_record: terms.len(),
                terms,
                contract: Contract::default(),
                placed: Placed::default(),
                password: password.clone(),
                usage: Usage::default(),
                open_upgrade: None,
                seal: None,
                created_at: now,
            };
            index(tx, &license);
            inner.save_license(tx, &mut license)?;
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
    let kinds = deps.programme(&license)?.credential_kinds(&license.serial);
    let takes_code =
        kinds.contains(&CredentialKind::ActivationCode) && license.carrier == Carrier::SoftwareKey;
    Ok(takes_code.then(|| deps.codes.activation(&license.serial, license.generation)))
}

/// What the request names must exist.
fn referenced(tx: &mut Tx<'_>, ask: &Request) -> Result<Product, Outcome> {
    let product: Option<Product> = tx.load(&keys::product(&ask.product))?;
    let customer: Option<Customer> = tx.load(&keys::customer(&ask.customer))?;
    let mut violations = Vec::new();
    if customer.is_none() {
        violations.push(Violation::new(
            "customer_id",
            "no such customer; create it first",
        ));
    }
    if let Some(partner) = &ask.partner
        && tx.load::<Partner>(&keys::partner(partner))?.is_none()
    {
        violations.push(Violation::new(
            "partner_id",
            "no such partner; create it first",
        ));
    }
    match product {
        Some(product) if violations.is_empty() => Ok(product),
        Some(_) => Err(Refusal::invalid(violations).into()),
        None => {
            violations.push(Violation::new(
                "product_id",
                "no such product; create it first",
            ));
            Err(Refusal::invalid(violations).into())
        }
    }
}

fn check_password(kinds: &[CredentialKind], ask: &Request) -> Result<(), Refusal> {
    let takes_password =
        kinds.contains(&CredentialKind::Password) && ask.carrier == Carrier::SoftwareKey;
    match (takes_password, ask.password.is_some()) {
        (true, false) => Err(Refusal::missing(["password"])),
        (false, true) => Err(Refusal::invalid(vec![Violation::new(
            "password",
            "this serial takes no password",
        )])),
        _ => Ok(()),
    }
}

/// The usual reseller: the license's own, else the customer's (T-10).
fn partner_of(tx: &mut Tx<'_>, ask: &Request) -> Result<Option<PartnerId>, Outcome> {
    if ask.partner.is_some() {
        return Ok(ask.partner.clone());
    }
    let customer: Option<Customer> = tx.load(&keys::customer(&ask.customer))?;
    Ok(customer.and_then(|customer| customer.partner))
}

fn index(tx: &mut Tx<'_>, license: &License) {
    tx.put(
        keys::customer_license(&license.customer, &license.serial),
        Vec::new(),
    );
    if let Some(partner) = &license.partner {
        tx.put(keys::partner_license(partner, &license.serial), Vec::new());
    }
    if let Carrier::HardwareKey(number) = &license.carrier {
        tx.put(keys::dongle_license(number, &license.serial), Vec::new());
    }
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
