//! Automatic extension put on record: the terms that followed by themselves, and an order that says what they cost (V-05, N-12).
//!
//! That a contract goes on is derived from its dates, whether this ran or not. This only writes it down, once.

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};
use upkeep::id::OrderId;

use super::deal::{BY_A_PERSON, amount, purchase};
use super::order::{self, Tell};
use super::price_book::Size;
use super::{Deps, Outcome};
use crate::domain::license::License;
use crate::domain::machine::Role;
use crate::domain::maintenance::{last_day, price};
use crate::domain::money::Money;
use crate::domain::order::Order;
use crate::domain::programme::Programme;
use crate::domain::quote::{Deal, Line};
use crate::random::uuid_v7;
use crate::record::Records;
use crate::store::Tx;

/// Puts the derived terms of `license` on record, with an order for them; does nothing where there are none. The caller saves the
/// license. Whoever adds terms calls this before: what was derived is settled with them, and must not go unpriced.
///
/// * `license` - as it stands at `now`.
///
/// # Errors
/// Store faults. A price that can't be computed is no error: a person has to find it.
pub(crate) fn settle(
    deps: &Deps,
    tx: &mut Tx<'_>,
    license: &mut License,
    now: DateTime<Utc>,
) -> Result<(), Outcome> {
    let before = license.terms_on_record;
    let added = license.settle();
    if added.is_empty() {
        return Ok(());
    }
    let programme = deps.programme(license)?;
    let mut lines = Vec::with_capacity(added.len());
    for (number, term) in added.into_iter().enumerate() {
        let held = before.saturating_add(number);
        lines.push(line(tx, programme, license, held, term)?);
    }
    let placed_on = deps.today(license, now)?;
    for lines in lines.chunks(LINES_OF_AN_ORDER) {
        let order = Order {
            id: OrderId::from_uuid(uuid_v7(&*deps.clock, &*deps.random)),
            quote: None,
            serial: license.serial.clone(),
            customer: license.customer.clone(),
            deal: Deal::AutoExtension,
            tier: license.contract.tier.clone(),
            lines: lines.to_vec(),
            purchase_reference: String::new(),
            placed_by: Role::System.to_string(),
            placed_on,
            sequence: tx.sequence(),
            created_at: now,
        };
        order::record(deps, tx, &order, Tell::Owner, now)?;
    }
    Ok(())
}

/// How many keys a transaction changes for the orders of so many terms.
pub(crate) fn keys_for(terms: usize) -> usize {
    terms
        .div_ceil(LINES_OF_AN_ORDER)
        .saturating_mul(KEYS_OF_AN_ORDER)
}

/// One term, at the prices of its first day (N-08, V-14).
///
/// * `held` - how many of the license's terms stood before it.
fn line(
    reads: &mut impl Records,
    programme: &Programme,
    license: &License,
    held: usize,
    term: Term,
) -> Result<Line, Outcome> {
    let mut earlier = license.clone();
    earlier.terms.truncate(held);
    let (amount, how) = match priced(reads, programme, &earlier, term) {
        Ok(found) => found,
        // The extension stands all the same: nobody ordered it, so nobody can be refused.
        Err(Outcome::Refused(refusal)) => {
            let why = refusal.reason.as_str();
            (None, format!("{BY_A_PERSON}: {why}"))
        }
        Err(failed) => return Err(failed),
    };
    Ok(Line {
        serial: license.serial.clone(),
        term: Some(term),
        months: programme.auto_extend().map_or(0, |rule| rule.months),
        amount,
        how,
    })
}

fn priced(
    reads: &mut impl Records,
    programme: &Programme,
    earlier: &License,
    term: Term,
) -> Result<(Option<Money>, String), Outcome> {
    let end = last_day(&earlier.terms);
    // On the last covered day the window is open, whatever it is: it goes on as a renewal would.
    let on: CivilDate = end.unwrap_or(term.first());
    let mut bought = purchase(reads, programme, earlier, None, 1, on)?;
    bought.terms = vec![term];
    let prices = Size::of(earlier).prices(reads, programme, term.first())?;
    let lines = price::price(programme, &bought, &prices)?;
    Ok(match lines.into_iter().next() {
        Some(line) => (amount(line.price), line.how),
        None => (None, BY_A_PERSON.to_owned()),
    })
}

/// An order with more is several, so that each record stays small.
const LINES_OF_AN_ORDER: usize = 100;
/// The order, its place with the license, and its mail.
const KEYS_OF_AN_ORDER: usize = 5;
