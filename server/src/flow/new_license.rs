//! The one way in which a license is made: its rules are the same for one that is sold today and for one that is brought over from
//! another system.

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};
use upkeep::id::{
    AddOn, CustomerId, Edition, LicenseKind, LicenseType, OrderId, PartnerId, ProductId,
    ProgrammeId, TierId,
};
use upkeep::serial::SerialNumber;
use zeroize::Zeroizing;

use super::order::Tell;
use super::{Deps, Outcome, deal, order, quote};
use crate::domain::catalogue::Product;
use crate::domain::license::{
    Carrier, Contract, Imported, License, MAX_ON_DONGLE, Module, PasswordVerifier, Placed, Usage,
    VmPermission,
};
use crate::domain::machine::{LicenseEvent, LicenseState, Role};
use crate::domain::maintenance::{self, NewLicense, VmProduct};
use crate::domain::money::Money;
use crate::domain::order::Order;
use crate::domain::party::{Customer, Partner};
use crate::domain::programme::{CredentialKind, Programme};
use crate::domain::quote::Deal;
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::{Reads, Records, keys};
use crate::store::Tx;

/// A license that is to be made, parsed.
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
    /// Perpetual, subscription, free (T-05).
    pub(crate) kind: LicenseKind,
    pub(crate) tier: Option<TierId>,
    pub(crate) modules: Vec<Module>,
    pub(crate) paid: Option<Money>,
    /// Another programme than the product's (V-06).
    pub(crate) programme: Option<ProgrammeId>,
    /// Another revision than the newest (N-12).
    pub(crate) programme_rev: Option<u32>,
    /// What the vendor agreed to for a virtual machine (T-08).
    pub(crate) special_conditions: Option<String>,
    /// Terms bought with the software (V-09).
    pub(crate) maintenance_terms: u32,
    /// What another system knows of it.
    pub(crate) past: Past,
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// What another system knows of a license that is brought over from it.
#[derive(Clone, Debug, Default)]
pub(crate) struct Past {
    /// Its maintenance; `None` where the programme says what is included.
    pub(crate) terms: Option<Vec<Term>>,
    /// When a cancellation was received (N-14).
    pub(crate) cancelled_on: Option<CivilDate>,
    /// The reminders that were sent for the present last day (N-09).
    pub(crate) reminded: Vec<u32>,
    /// Upgrades of the serial so far.
    pub(crate) upgrades: u32,
}

/// What is decided beside what was asked.
pub(crate) struct Made<'a> {
    /// The owner.
    pub(crate) customer: &'a CustomerId,
    /// The reseller that was named.
    pub(crate) partner: Option<&'a PartnerId>,
    /// What the password is checked against.
    pub(crate) password: Option<PasswordVerifier>,
    /// The id of the order, and who places it, where maintenance may be bought with it.
    pub(crate) sale: Option<(OrderId, &'a str)>,
    /// Where it came from.
    pub(crate) imported: Option<Imported>,
}

/// Decides a new license and stages it. The programme's included months start on the day of purchase (T-05, P-05, S-03).
///
/// # Errors
/// As CreateLicense: ALREADY_EXISTS for a serial that ever was; INVALID_FIELD for a product, customer or partner that does not exist,
/// a password where none belongs or none where one does, a hardware key that is full or of another programme; PROGRAMME_CLOSED;
/// TIER_UNKNOWN; VM_NOT_ALLOWED where the programme's `cover.vm` is `deny`, REFER_TO_VENDOR where it is `refer` and no special
/// conditions are given (T-08); what buying maintenance with the software is refused for ([`deal::terms`], PRICE_UNKNOWN).
pub(crate) fn make(
    deps: &Deps,
    tx: &mut Tx<'_>,
    ask: &Request,
    made: Made<'_>,
    now: DateTime<Utc>,
) -> Result<License, Outcome> {
    if tx.value(&keys::license(&ask.serial))?.is_some() {
        return Err(Refusal::new(Reason::AlreadyExists)
            .with("serial", &ask.serial)
            .into());
    }
    let (product, customer) = referenced(tx, ask, &made)?;
    let programme = programme_of(deps, &product, ask)?;
    check_password(programme.credential_kinds(&ask.serial), ask)?;
    check_dongle(deps, tx, programme, ask)?;
    let included = included(programme, ask)?;
    let terms = ask.past.terms.clone().unwrap_or(included);
    let mut license = License {
        serial: ask.serial.clone(),
        generation: ask.past.upgrades.saturating_add(1),
        state: LicenseState::Issued,
        product: ask.product.clone(),
        programme: programme.id().clone(),
        programme_rev: programme.revision(),
        customer: made.customer.clone(),
        // The usual reseller: the license's own, else the customer's (T-10).
        partner: made.partner.cloned().or(customer.partner),
        carrier: ask.carrier.clone(),
        kind: ask.kind.clone(),
        license_type: ask.license_type.clone(),
        edition: ask.edition.clone(),
        add_ons: ask.add_ons.clone(),
        modules: ask.modules.clone(),
        seats: ask.seats,
        vm: ask.vm,
        purchased_on: ask.purchased_on,
        paid: ask.paid,
        terms_on_record: terms.len(),
        terms,
        contract: Contract {
            cancelled_on: ask.past.cancelled_on,
            reminded: ask.past.reminded.clone(),
            ..Contract::default()
        },
        placed: Placed::default(),
        password: made.password,
        usage: Usage::default(),
        open_upgrade: None,
        seal: None,
        imported: made.imported,
        created_at: now,
    };
    license.contract.tier = quote::tier(programme, &license, ask.tier.as_ref())?;
    match ask.state {
        LicenseState::Ordered => license.state = LicenseState::Ordered,
        LicenseState::Issued | LicenseState::Superseded => {}
        LicenseState::Suspended => license.step(LicenseEvent::Suspend, Role::Admin)?,
        LicenseState::Revoked => license.step(LicenseEvent::Revoke, Role::Admin)?,
    }
    if let Some(sale) = made.sale
        && ask.maintenance_terms > 0
    {
        sell_with(deps, tx, programme, &mut license, ask, sale, now)?;
    }
    index(tx, &license);
    deps.save_license(tx, &mut license)?;
    Ok(license)
}

/// The programme of a new license: the product's, unless the request names another (V-06, N-12).
fn programme_of<'d>(
    deps: &'d Deps,
    product: &Product,
    ask: &Request,
) -> Result<&'d Programme, Outcome> {
    let id = ask.programme.as_ref().unwrap_or(&product.programme);
    let Some(current) = deps.programmes.current(id) else {
        return Err(match &ask.programme {
            Some(_) => {
                let violation = Violation::new("programme_id", "is not loaded here");
                Refusal::invalid(vec![violation]).into()
            }
            None => super::UNKNOWN_PROGRAMME.into(),
        });
    };
    let programme = match ask.programme_rev {
        None => current,
        Some(revision) => deps.programmes.get(id, revision).ok_or_else(|| {
            let why = format!("is not loaded here; the newest is {}", current.revision());
            Refusal::invalid(vec![Violation::new("programme_revision", why)])
        })?,
    };
    match programme.sold_until() {
        Some(until) if ask.purchased_on > until => Err(Refusal::new(Reason::ProgrammeClosed)
            .with("sold_until", until)
            .into()),
        _ => Ok(programme),
    }
}

/// The maintenance that the programme includes (T-05, T-08).
fn included(programme: &Programme, ask: &Request) -> Result<Vec<Term>, Refusal> {
    let new = NewLicense {
        kind: &ask.kind,
        edition: Some(&ask.edition),
        vm: match (ask.vm, &ask.special_conditions) {
            (VmPermission::NotAllowed, _) => VmProduct::No,
            (VmPermission::Allowed, None) => VmProduct::Yes,
            (VmPermission::Allowed, Some(_)) => VmProduct::Cleared,
        },
        on: ask.purchased_on,
    };
    let included = maintenance::cover_of_new(programme, &new)?;
    Ok(included.into_iter().collect())
}

/// Maintenance bought with the software: its first term starts on the day of purchase, at the rates for that (V-09, V-13).
fn sell_with(
    deps: &Deps,
    tx: &mut Tx<'_>,
    programme: &Programme,
    license: &mut License,
    ask: &Request,
    (id, actor): (OrderId, &str),
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    if !license.terms.is_empty() {
        let why = "the programme includes maintenance; renew for more";
        return Err(Refusal::invalid(vec![Violation::new("maintenance_terms", why)]).into());
    }
    let bought = deal::terms(
        tx,
        programme,
        license,
        Some(Deal::First),
        ask.maintenance_terms,
        ask.purchased_on,
    )?;
    license.add_terms(bought.lines.iter().filter_map(|line| line.term));
    let order = Order {
        id,
        quote: None,
        serial: license.serial.clone(),
        customer: license.customer.clone(),
        deal: bought.deal,
        tier: license.contract.tier.clone(),
        lines: bought.lines,
        purchase_reference: String::new(),
        placed_by: actor.to_owned(),
        placed_on: ask.purchased_on,
        sequence: tx.sequence(),
        created_at: now,
    };
    let today = deps.today(license, now)?;
    let tell = if ask.purchased_on < today {
        Tell::Nobody
    } else {
        Tell::Owner
    };
    order::record(deps, tx, &order, tell, now)
}

/// A hardware key carries so many licenses at most, and all of one programme: they are bought for together, in one transaction and by
/// the same rules (P-04, N-07).
fn check_dongle(
    deps: &Deps,
    tx: &mut Tx<'_>,
    programme: &Programme,
    ask: &Request,
) -> Result<(), Outcome> {
    let Carrier::HardwareKey(number) = &ask.carrier else {
        return Ok(());
    };
    let range = keys::dongle_licenses(number);
    let why = if tx.scan(&range.from, &range.to, MAX_ON_DONGLE)?.len() >= MAX_ON_DONGLE {
        format!("carries {MAX_ON_DONGLE} licenses already, the most")
    } else {
        let beside = deal::on_dongle(deps, tx, number, ask.purchased_on)?;
        let other = beside.iter().find(|one| one.programme != *programme.id());
        let Some(other) = other else {
            return Ok(());
        };
        format!(
            "carries licenses of {}, and this one would follow {}; take another hardware key",
            other.programme,
            programme.id()
        )
    };
    Err(Refusal::invalid(vec![Violation::new("dongle_number", why)]).into())
}

/// What the request names must exist.
fn referenced(
    tx: &mut Tx<'_>,
    ask: &Request,
    made: &Made<'_>,
) -> Result<(Product, Customer), Outcome> {
    let product: Option<Product> = tx.load(&keys::product(&ask.product))?;
    let customer: Option<Customer> = tx.load(&keys::customer(made.customer))?;
    let mut violations = Vec::new();
    if customer.is_none() {
        violations.push(Violation::new(
            "customer_id",
            "no such customer; create it first",
        ));
    }
    if let Some(partner) = made.partner
        && tx.load::<Partner>(&keys::partner(partner))?.is_none()
    {
        violations.push(Violation::new(
            "partner_id",
            "no such partner; create it first",
        ));
    }
    if product.is_none() {
        violations.push(Violation::new(
            "product_id",
            "no such product; create it first",
        ));
    }
    match (product, customer) {
        (Some(product), Some(customer)) if violations.is_empty() => Ok((product, customer)),
        _ => Err(Refusal::invalid(violations).into()),
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
