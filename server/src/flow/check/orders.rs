//! Quotes and orders: each is found by its licenses, and what was ordered is on the license.

use std::collections::BTreeMap;

use upkeep::id::OrderId;
use upkeep::serial::SerialNumber;

use super::{Found, each_record};
use crate::domain::license::License;
use crate::domain::order::Order;
use crate::domain::quote::{Quote, QuoteState};
use crate::flow::{Deps, Fault};
use crate::record::{Records, keys};

/// I9: a quote that was ordered names its order and no other does; the newest order's terms are on the license, unless its contract
/// was terminated; both are found by each license that they are for.
pub(super) fn orders(deps: &Deps, found: &mut Found) -> Result<(), Fault> {
    let mut store = &deps.store;
    each_record(deps, &keys::quotes(), |_, quote: Quote| {
        for serial in quote.serials() {
            found.key(
                b'J',
                keys::license_quote(&serial, quote.sequence, &quote.id),
            );
        }
        let is_ordered = quote.state == QuoteState::Ordered;
        let named: Option<Order> = match quote.order {
            Some(id) => store.load(&keys::order(&id))?,
            None => None,
        };
        let own = named.is_some_and(|order| order.quote == Some(quote.id));
        let holds = own == is_ordered && quote.order.is_some() == is_ordered;
        found.check(holds, "I9 quotes", quote.id, "its order");
        Ok(())
    })?;
    let mut newest: BTreeMap<SerialNumber, (u64, OrderId)> = BTreeMap::new();
    each_record(deps, &keys::orders(), |_, order: Order| {
        let own = match order.quote {
            None => true,
            Some(id) => {
                let quote: Option<Quote> = store.load(&keys::quote(&id))?;
                quote.is_some_and(|quote| quote.order == Some(order.id))
            }
        };
        found.check(own, "I9 orders", order.id, "its quote names another");
        for serial in order.serials() {
            found.key(
                b'o',
                keys::license_order(&serial, order.sequence, &order.id),
            );
            let known = store.get(&keys::license(&serial))?.is_some();
            found.check(known, "I9 orders", order.id, "of no license");
            // By the place in the ledger; an expansion brings no terms.
            let later = newest
                .get(&serial)
                .is_none_or(|(sequence, _)| *sequence < order.sequence);
            if later && order.lines.iter().any(|line| line.term.is_some()) {
                newest.insert(serial, (order.sequence, order.id));
            }
        }
        Ok(())
    })?;
    for (serial, (_, id)) in newest {
        let license: Option<License> = store.load(&keys::license(&serial))?;
        let order: Option<Order> = store.load(&keys::order(&id))?;
        if let (Some(order), Some(license)) = (order, license) {
            on_license(&order, &license, found);
        }
    }
    Ok(())
}

/// The terms that the newest order gave a license stand there. A contract that was terminated since has none of them: all are gone,
/// or all are there.
fn on_license(order: &Order, license: &License, found: &mut Found) {
    let mine = order
        .lines
        .iter()
        .filter(|line| line.serial == license.serial);
    let terms: Vec<_> = mine.filter_map(|line| line.term).collect();
    let held = terms
        .iter()
        .filter(|term| license.terms.contains(term))
        .count();
    let holds = held == terms.len() || held == 0;
    found.check(
        holds,
        "I9 orders",
        order.id,
        "some of its terms are missing",
    );
}
