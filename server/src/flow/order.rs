//! Orders: what was quoted is decided again on the day, and written for all its licenses or for none.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::id::{OrderId, QuoteId};
use upkeep::serial::SerialNumber;

use super::asker::{self, About, Asker, check_reader, check_sellable};
use super::authenticate::Credential;
use super::outbox::enqueue;
use super::quote::{check_event, expired, ordered, tier};
use super::{Call, Caller, Deps, Fault, Outcome, deal, expansion, extension, whole_micros};
use crate::domain::license::License;
use crate::domain::machine::{SmaEvent, SmaState};
use crate::domain::mail::{MailKind, Recipient};
use crate::domain::maintenance::covered_on;
use crate::domain::order::Order;
use crate::domain::quote::{Asked, Deal, Line, Quote, QuoteState};
use crate::domain::refusal::{Reason, Refusal};
use crate::random::uuid_v7;
use crate::record::license::LicenseWire;
use crate::record::quote::OrderWire;
use crate::record::{Record, Records, keys, save};
use crate::store::Tx;

/// A parsed PlaceOrder request.
pub(crate) struct Request {
    pub(crate) quote: QuoteId,
    pub(crate) serial: SerialNumber,
    pub(crate) credential: Option<Credential>,
    pub(crate) purchase_reference: String,
    /// The request's content, for telling a retry from another request.
    pub(crate) body: Vec<u8>,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(message, optional, tag = "1")]
    order: Option<OrderWire>,
    #[prost(message, optional, tag = "2")]
    license: Option<LicenseWire>,
}

/// The path of PlaceOrder. All licenses of the quote get their terms, or none does.
///
/// # Errors
/// Who asks ([`asker::prove`], [`Asker::check_binds`]); NOT_FOUND for a quote of another license; QUOTE_ORDERED with `order_id`, QUOTE_EXPIRED,
/// QUOTE_PENDING; QUOTE_OUTDATED when it is no longer what the license needs; what [`deal::decide`] and the maintenance machine say.
pub(crate) async fn place(
    deps: &Arc<Deps>,
    call: Call,
    ask: Request,
) -> Result<(Order, License), Outcome> {
    // 1 Who orders.
    asker::check_role(SmaEvent::Renew, call.caller.role)?;
    let asker = asker::prove(deps, &call, &ask.serial, ask.credential.as_ref()).await?;
    asker.check_binds()?;
    // 2 One transaction: the quote as it stands, the purchase as it would be today, everything that follows from it.
    let (inner, now) = (Arc::clone(deps), whole_micros(call.now));
    let id = OrderId::from_uuid(uuid_v7(&*deps.clock, &*deps.random));
    let (principal, body) = (asker.principal(), ask.body.clone());
    let committed = deps
        .once(call, principal, &body, move |tx, note| {
            note.serial = Some(ask.serial.clone());
            note.subject = ask.quote.to_string();
            let main = asker.license(&inner, tx, now)?;
            let quote: Option<Quote> = tx.load(&keys::quote(&ask.quote))?;
            let mut quote = quote
                .filter(|quote| quote.serial == ask.serial)
                .ok_or_else(|| Refusal::new(Reason::NotFound).with("quote_id", ask.quote))?;
            let who = (Some(&asker), asker.caller());
            check_reader(&inner, tx, who, &About::quote(&quote), now)?;
            check_sellable(&main)?;
            let lines = decide_again(&inner, tx, &asker, &main, &quote, now)?;
            note.subject = id.to_string();
            let order = Order {
                id,
                quote: Some(quote.id),
                serial: quote.serial.clone(),
                customer: main.customer.clone(),
                deal: quote.deal,
                tier: quote.tier.clone(),
                lines,
                purchase_reference: ask.purchase_reference.clone(),
                placed_by: asker.caller().actor(),
                placed_on: inner.today(&main, now)?,
                sequence: tx.sequence(),
                created_at: now,
            };
            let main = carry_out(&inner, tx, &asker, &order, &quote.asked, now)?;
            quote.state = QuoteState::Ordered;
            quote.order = Some(id);
            save(tx, &quote);
            record(&inner, tx, &order, Tell::Owner, now)?;
            Ok(Kept {
                order: Some(order.to_wire()),
                license: Some(main.to_wire()),
            })
        })
        .await?;
    let kept = committed.into_inner();
    let order = Order::from_wire(kept.order.unwrap_or_default()).map_err(|_| MALFORMED)?;
    let license = License::from_wire(kept.license.unwrap_or_default()).map_err(|_| MALFORMED)?;
    Ok((order, license))
}

/// The quote's lines as they are today: the terms of this day, the amounts that were promised.
fn decide_again(
    deps: &Deps,
    tx: &mut Tx<'_>,
    asker: &Asker,
    main: &License,
    quote: &Quote,
    now: DateTime<Utc>,
) -> Result<Vec<Line>, Outcome> {
    let today = deps.today(main, now)?;
    match quote.state_on(today) {
        QuoteState::Quoted => {}
        QuoteState::Ordered => return Err(ordered(quote).into()),
        QuoteState::Expired => return Err(expired(quote).into()),
        QuoteState::Pending => {
            return Err(Refusal::new(Reason::QuotePending)
                .with("quote_id", quote.id)
                .into());
        }
    }
    let outdated = || Refusal::new(Reason::QuoteOutdated).with("quote_id", quote.id);
    let named = quote.serials();
    for serial in &named {
        let member = deps.license(tx, serial, now)?.ok_or(NOT_THERE)?;
        if member.created_at > quote.created_at || check_sellable(&member).is_err() {
            return Err(outdated()
                .detail("the license was upgraded or withdrawn since")
                .with("serial", serial)
                .into());
        }
        if let Some(newest) = ordered_since(tx, serial, quote.sequence)? {
            return Err(outdated()
                .detail("something was ordered for the license since")
                .with("serial", serial)
                .with("order_id", newest.id)
                .into());
        }
    }
    if quote.needs_cover && !covered_on(&main.terms, today) {
        return Err(outdated()
            .detail("what was paid is credited while maintenance is in force only")
            .with("serial", &main.serial)
            .into());
    }
    let decided = deal::decide(deps, tx, asker, main, &quote.asked, Some(&named), today)?;
    if !quote.still_is(decided.deal, &decided.lines, today) {
        return Err(outdated()
            .with("kind", decided.deal)
            .with("quoted_kind", quote.deal)
            .into());
    }
    Ok(decided
        .lines
        .into_iter()
        .zip(&quote.lines)
        .map(|(now, quoted)| Line {
            amount: quoted.amount,
            how: quoted.how.clone(),
            ..now
        })
        .collect())
}

/// The newest order that somebody placed for a license behind `sequence` in the ledger. An extension that was put on record is none:
/// it follows from the dates, so whether the due pass ran yet decides nothing (N-12).
fn ordered_since(
    tx: &mut Tx<'_>,
    serial: &SerialNumber,
    sequence: u64,
) -> Result<Option<Order>, Outcome> {
    let range = keys::license_orders(serial);
    for (key, _) in tx.scan_back(&range.from, &range.to, NEWEST_ORDERS)? {
        let at = keys::order_of_index(keys::tail(&key, &range)).ok_or(NOT_THERE)?;
        let order: Order = tx.load(&at)?.ok_or(NOT_THERE)?;
        if order.sequence <= sequence {
            break;
        }
        if order.deal != Deal::AutoExtension {
            return Ok(Some(order));
        }
    }
    Ok(None)
}

/// Gives each license what the order says; answers the license that it was placed for.
fn carry_out(
    deps: &Deps,
    tx: &mut Tx<'_>,
    asker: &Asker,
    order: &Order,
    asked: &Asked,
    now: DateTime<Utc>,
) -> Result<License, Outcome> {
    let mut main = None;
    for serial in order.serials() {
        let mut license = deps.license(tx, &serial, now)?.ok_or(NOT_THERE)?;
        let terms: Vec<_> = order
            .lines
            .iter()
            .filter(|line| line.serial == serial)
            .filter_map(|line| line.term)
            .collect();
        // What followed by itself until today has the prices of the license that it was.
        extension::settle(deps, tx, &mut license, now)?;
        if let Asked::Expand(to) = asked {
            let due = order.total().map_err(Refusal::from)?;
            expansion::apply(tx, &mut license, to, due, order.placed_on)?;
        }
        if !terms.is_empty() {
            let after = check_event(&license, order.deal, asker.caller().role)?;
            license.add_terms(terms);
            license.contract.tier = tier(deps.programme(&license)?, &license, order.tier.as_ref())?;
            // A renewal takes a cancellation back (DOMAIN 7: EndsAtTerm -> InForce).
            if after == SmaState::InForce {
                license.contract.cancelled_on = None;
            }
        }
        deps.save_license(tx, &mut license)?;
        if serial == order.serial {
            main = Some(license);
        }
    }
    main.ok_or_else(|| NOT_THERE.into())
}

/// Whether the owner is told of an order.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tell {
    /// By mail.
    Owner,
    /// What was bought on an earlier day and is only recorded now is no news.
    Nobody,
}

/// Puts an order on record, where its licenses find it, and tells the owner.
///
/// # Errors
/// Store faults.
pub(crate) fn record(
    deps: &Deps,
    tx: &mut Tx<'_>,
    order: &Order,
    tell: Tell,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    for serial in order.serials() {
        tx.put(
            keys::license_order(&serial, order.sequence, &order.id),
            Vec::new(),
        );
    }
    save(tx, order);
    if tell == Tell::Nobody {
        return Ok(());
    }
    let kind = MailKind::OrderConfirmation {
        order: order.id,
        serial: order.serial.clone(),
    };
    enqueue(
        deps,
        tx,
        now,
        kind,
        Recipient::Customer(order.customer.clone()),
    )?;
    Ok(())
}

/// An order, for a caller who may see it.
///
/// # Errors
/// NOT_FOUND; NOT_YOUR_CUSTOMER for a partner in that case too.
pub(crate) fn read(
    deps: &Deps,
    asker: Option<&Asker>,
    caller: &Caller,
    id: &OrderId,
    now: DateTime<Utc>,
) -> Result<Order, Outcome> {
    let mut store = &deps.store;
    let order: Option<Order> = store.load(&keys::order(id))?;
    let Some(order) = order else {
        caller.check_owns(None)?;
        return Err(Refusal::new(Reason::NotFound).with("order_id", id).into());
    };
    check_reader(
        deps,
        &mut store,
        (asker, caller),
        &About::order(&order),
        now,
    )?;
    Ok(order)
}

/// Orders that are looked through; a quote does not live for so many extensions.
const NEWEST_ORDERS: usize = 100;
const MALFORMED: Fault = Fault::Inconsistent("a kept answer can't be read");
const NOT_THERE: Fault = Fault::Inconsistent("an order names a record that is not there");
