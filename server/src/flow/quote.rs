//! Quotes: made and read. A person's answer to one is `quote_answer`'s.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::{DongleNumber, Edition, LicenseType, ProductId, QuoteId, TierId};
use upkeep::serial::SerialNumber;

use super::asker::{self, About, Asker, check_reader, check_sellable};
use super::authenticate::Credential;
use super::deal::{self, BY_A_PERSON, Decided};
use super::outbox::enqueue;
use super::quote_limit;
use super::{Call, Caller, Deps, Fault, Outcome, party, whole_micros};
use crate::domain::license::{Carrier, License, MAX_ON_DONGLE, Module};
use crate::domain::machine::{Role, SmaEvent, SmaState, step};
use crate::domain::mail::{MailKind, Recipient};
use crate::domain::maintenance::covered_on;
use crate::domain::programme::Programme;
use crate::domain::programme::policy::QuoteField;
use crate::domain::quote::{Asked, Deal, ExpandTo, Quote, QuoteState, serials};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::random::uuid_v7;
use crate::record::quote::QuoteWire;
use crate::record::{Record, Records, keys, save};
use crate::store::Tx;

/// A parsed CreateQuote request.
pub(crate) struct Request {
    pub(crate) serial: SerialNumber,
    pub(crate) credential: Option<Credential>,
    pub(crate) wanted: Option<Deal>,
    pub(crate) terms: u32,
    pub(crate) tier: Option<TierId>,
    pub(crate) contact: Option<String>,
    pub(crate) dongle: Option<DongleNumber>,
    pub(crate) shape: Shape,
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// Which licenses it is for, and what becomes of them.
pub(crate) enum Shape {
    /// Terms for the one license.
    One,
    /// Terms for all licenses on its hardware key (P-04).
    Group,
    /// The same, with the others named.
    Named(Vec<SerialNumber>),
    /// One end date for all licenses on its hardware key (P-06).
    Join,
    /// A larger system (V-07); what is left out stays.
    Expand {
        product: Option<ProductId>,
        edition: Edition,
        license_type: Option<LicenseType>,
        modules: Vec<Module>,
    },
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
pub(super) struct Kept {
    #[prost(message, optional, tag = "1")]
    pub(super) quote: Option<QuoteWire>,
}

/// The path of CreateQuote.
///
/// # Errors
/// Who asks ([`asker::prove`]); LICENSE_FINAL; TIER_UNKNOWN; what [`deal::decide`] and [`quote_limit::check`] say; MISSING_FIELD with all that the programme
/// requires of a quote which a person prices (P-17).
pub(crate) async fn create(deps: &Arc<Deps>, call: Call, ask: Request) -> Result<Quote, Outcome> {
    // 1 Who asks, and whether its role may buy at all.
    asker::check_role(SmaEvent::Renew, call.caller.role)?;
    let asker = asker::prove(deps, &call, &ask.serial, ask.credential.as_ref()).await?;
    let mut store = &deps.store;
    let known = asker.license(deps, &mut store, call.now)?;
    // 2 The contact is sealed before it meets the ledger.
    let id = QuoteId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let contact = match &ask.contact {
        None => Vec::new(),
        Some(contact) => party::seal_for(deps, &known.customer, &contact_field(&id), contact)?,
    };
    let customer = known.customer;
    // 3 One transaction decides and writes.
    let (inner, now) = (Arc::clone(deps), whole_micros(call.now));
    let (principal, body) = (asker.principal(), ask.body.clone());
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.serial = Some(ask.serial.clone());
            note.subject = id.to_string();
            let license = asker.license(&inner, tx, now)?;
            if license.customer != customer {
                return Err(MOVED.into());
            }
            let quote = decide(&inner, tx, &asker, &license, &ask, (id, &contact), now)?;
            for serial in quote.serials() {
                tx.put(
                    keys::license_quote(&serial, quote.sequence, &id),
                    Vec::new(),
                );
            }
            save(tx, &quote);
            if quote.state == QuoteState::Pending {
                let kind = MailKind::QuoteRequest {
                    quote: id,
                    serial: ask.serial.clone(),
                };
                enqueue(&inner, tx, now, kind, Recipient::Vendor(None))?;
            }
            Ok(Kept {
                quote: Some(quote.to_wire()),
            })
        })
        .await?;
    read_kept(committed.into_inner())
}

/// The quote that a request makes.
fn decide(
    deps: &Deps,
    tx: &mut Tx<'_>,
    asker: &Asker,
    license: &License,
    ask: &Request,
    (id, contact): (QuoteId, &[u8]),
    now: DateTime<Utc>,
) -> Result<Quote, Outcome> {
    check_sellable(license)?;
    check_dongle(license, ask)?;
    let (programme, today) = (deps.programme(license)?, deps.today(license, now)?);
    tier(programme, license, ask.tier.as_ref())?;
    let asked = asked(license, ask);
    let named = match &ask.shape {
        Shape::Named(others) => Some(with_own(&ask.serial, others)?),
        Shape::One | Shape::Group | Shape::Join | Shape::Expand { .. } => None,
    };
    let Decided { deal, mut lines } =
        deal::decide(deps, tx, asker, license, &asked, named.as_deref(), today)?;
    check_event(license, deal, asker.caller().role)?;
    if let Some(wanted) = &ask.tier
        && is_another_tier(deps, tx, &serials(&license.serial, &lines), wanted, now)?
    {
        // No price is that of a type of contract: a person finds it.
        for line in &mut lines {
            line.amount = None;
            line.how = format!("another type of contract: {BY_A_PERSON}");
        }
    }
    let priced = lines.iter().all(|line| line.amount.is_some());
    if !priced {
        check_required(programme, license, ask)?;
    }
    // D36, D37: with maintenance in force there is a credit, without it none.
    let needs_cover = deal == Deal::Expansion
        && priced
        && programme
            .expand()
            .is_some_and(|rule| rule.requires_active_sma)
        && covered_on(&license.terms, today);
    let quote = Quote {
        id,
        serial: license.serial.clone(),
        customer: license.customer.clone(),
        asked,
        deal,
        tier: ask.tier.clone(),
        lines,
        state: if priced {
            QuoteState::Quoted
        } else {
            QuoteState::Pending
        },
        contact: contact.to_vec(),
        answer: String::new(),
        order: None,
        made_on: today,
        valid_until: valid_until(programme, today),
        needs_cover,
        sequence: tx.sequence(),
        created_at: now,
    };
    quote_limit::check(tx, &quote, asker.caller().role, today)?;
    // A sum that can't be written down is told now, not when it is ordered.
    quote.total().map_err(Refusal::from)?;
    Ok(quote)
}

/// What was asked for, as it is kept.
fn asked(license: &License, ask: &Request) -> Asked {
    let (wanted, count) = (ask.wanted, ask.terms);
    match &ask.shape {
        Shape::One => Asked::Terms { wanted, count },
        Shape::Group | Shape::Named(_) => Asked::Group { wanted, count },
        Shape::Join => Asked::Join,
        Shape::Expand {
            product,
            edition,
            license_type,
            modules,
        } => Asked::Expand(ExpandTo {
            product: product.as_ref().unwrap_or(&license.product).clone(),
            edition: edition.clone(),
            license_type: license_type
                .as_ref()
                .unwrap_or(&license.license_type)
                .clone(),
            modules: match modules.as_slice() {
                [] => license.modules.clone(),
                given => given.to_vec(),
            },
        }),
    }
}

/// The named licenses and the one that was asked for, each once.
fn with_own(own: &SerialNumber, others: &[SerialNumber]) -> Result<Vec<SerialNumber>, Refusal> {
    let mut all = others.to_vec();
    all.push(own.clone());
    all.sort_unstable();
    all.dedup();
    if all.len() > MAX_ON_DONGLE {
        let why = format!("must be at most {MAX_ON_DONGLE} with this one");
        return Err(Refusal::invalid(vec![Violation::new("serials", why)]));
    }
    Ok(all)
}

/// The type of contract: the one asked for, the present one, or the programme's first (T-06, T-07).
///
/// # Errors
/// TIER_UNKNOWN with `known`.
pub(crate) fn tier(
    programme: &Programme,
    license: &License,
    wanted: Option<&TierId>,
) -> Result<Option<TierId>, Refusal> {
    let tiers = programme.tiers();
    match wanted {
        Some(wanted) if tiers.iter().any(|tier| tier.id == *wanted) => Ok(Some(wanted.clone())),
        Some(_) => {
            let known: Vec<&str> = tiers.iter().map(|tier| tier.id.as_str()).collect();
            Err(Refusal::new(Reason::TierUnknown).with("known", known.join(",")))
        }
        None => Ok(license
            .contract
            .tier
            .clone()
            .or_else(|| tiers.first().map(|tier| tier.id.clone()))),
    }
}

/// Whether a type of contract is another than the present one of any of the licenses `serials`.
///
/// # Errors
/// TIER_UNKNOWN with `known` and `serial`.
fn is_another_tier(
    deps: &Deps,
    tx: &mut Tx<'_>,
    serials: &[SerialNumber],
    wanted: &TierId,
    now: DateTime<Utc>,
) -> Result<bool, Outcome> {
    let mut another = false;
    for serial in serials {
        let member = deps.license(tx, serial, now)?.ok_or(NO_LICENSE)?;
        let programme = deps.programme(&member)?;
        tier(programme, &member, Some(wanted)).map_err(|refusal| refusal.with("serial", serial))?;
        another |= tier(programme, &member, None)?.as_ref() != Some(wanted);
    }
    Ok(another)
}

/// Whether the contract's state and the caller's role allow the deal (DOMAIN 7).
///
/// # Errors
/// What the maintenance machine answers.
pub(crate) fn check_event(license: &License, deal: Deal, role: Role) -> Result<SmaState, Reason> {
    let state = license.contract_state();
    match (deal, state) {
        // An expansion touches no term: the contract stays as it is.
        (Deal::Expansion, state) => {
            step(SmaState::InForce, SmaEvent::Renew, role)?;
            Ok(state.unwrap_or(SmaState::Terminated))
        }
        (_, None) => step(SmaState::Quoted, SmaEvent::Order, role),
        (Deal::AutoExtension, Some(state)) => step(state, SmaEvent::AutoExtend, role),
        (Deal::Reinstatement | Deal::Upgrade, Some(state)) => {
            step(state, SmaEvent::Reinstate, role)
        }
        (Deal::First | Deal::Renewal | Deal::CoTermination, Some(state)) => {
            step(state, SmaEvent::Renew, role)
        }
    }
}

/// P-17: what a person needs to price a quote; everything that is missing at once.
fn check_required(programme: &Programme, license: &License, ask: &Request) -> Result<(), Refusal> {
    let on_dongle = matches!(license.carrier, Carrier::HardwareKey(_));
    let mut missing = Vec::new();
    for field in &programme.quote().fields {
        match field {
            QuoteField::Contact if ask.contact.is_none() => missing.push("contact"),
            // A license that is on no hardware key has no number to give.
            QuoteField::DongleNumber if ask.dongle.is_none() && on_dongle => {
                missing.push("dongle_number");
            }
            QuoteField::Contact | QuoteField::DongleNumber => {}
        }
    }
    match missing.is_empty() {
        true => Ok(()),
        false => Err(Refusal::missing(missing)),
    }
}

/// P-17: a number that is given is that of the key which carries the license, whoever prices the quote.
fn check_dongle(license: &License, ask: &Request) -> Result<(), Refusal> {
    match (&ask.dongle, &license.carrier) {
        (None, _) => Ok(()),
        (Some(given), Carrier::HardwareKey(number)) if given == number => Ok(()),
        (Some(_), _) => {
            let why = "is not the number of the hardware key that carries this license";
            Err(Refusal::invalid(vec![Violation::new("dongle_number", why)]))
        }
    }
}

/// The last day of a quote that is made or answered on `today`.
pub(super) fn valid_until(programme: &Programme, today: CivilDate) -> CivilDate {
    // At the end of the calendar it stands for as long as there are days.
    today
        .plus_days(programme.quote().valid_days)
        .unwrap_or(today)
}

/// A quote, for a caller who may see it.
///
/// # Errors
/// NOT_FOUND; NOT_YOUR_CUSTOMER for a partner in that case too.
pub(crate) fn read(
    deps: &Deps,
    asker: Option<&Asker>,
    caller: &Caller,
    id: &QuoteId,
    now: DateTime<Utc>,
) -> Result<Quote, Outcome> {
    let mut store = &deps.store;
    let quote: Option<Quote> = store.load(&keys::quote(id))?;
    let Some(quote) = quote else {
        caller.check_owns(None)?;
        return Err(Refusal::new(Reason::NotFound).with("quote_id", id).into());
    };
    check_reader(
        deps,
        &mut store,
        (asker, caller),
        &About::quote(&quote),
        now,
    )?;
    Ok(quote)
}

/// The state of a quote today, in its license's calendar.
///
/// # Errors
/// Faults only.
pub(crate) fn state(deps: &Deps, quote: &Quote, now: DateTime<Utc>) -> Result<QuoteState, Outcome> {
    let mut store = &deps.store;
    let license: License = store
        .load(&keys::license(&quote.serial))?
        .ok_or(NO_LICENSE)?;
    Ok(quote.state_on(deps.today(&license, now)?))
}

pub(crate) fn ordered(quote: &Quote) -> Refusal {
    let refusal = Refusal::new(Reason::QuoteOrdered).with("quote_id", quote.id);
    match &quote.order {
        Some(order) => refusal.with("order_id", order),
        None => refusal,
    }
}

pub(crate) fn expired(quote: &Quote) -> Refusal {
    Refusal::new(Reason::QuoteExpired)
        .with("quote_id", quote.id)
        .with("valid_until", quote.valid_until)
}

/// Whom to answer; empty where none was given, or once the customer's data is erased.
pub(crate) fn contact(deps: &Deps, quote: &Quote) -> String {
    deps.personal
        .open(&quote.customer, &contact_field(&quote.id), &quote.contact)
        .unwrap_or_default()
}

/// What the contact of a quote is sealed as.
pub(crate) fn contact_field(id: &QuoteId) -> String {
    format!("quote/{id}/contact")
}

pub(super) fn read_kept(kept: Kept) -> Result<Quote, Outcome> {
    Quote::from_wire(kept.quote.unwrap_or_default()).map_err(|_| MALFORMED.into())
}

const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
pub(super) const NO_LICENSE: Fault =
    Fault::Inconsistent("a quote names a license that is not there");
const MOVED: Fault = Fault::Inconsistent("a license changed its owner meanwhile");
