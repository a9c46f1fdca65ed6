//! Quotes and orders: each is found by its licenses, and what was ordered is on the license.

use std::collections::{BTreeMap, BTreeSet};

use upkeep::id::{OrderId, QuoteId};
use upkeep::serial::SerialNumber;

use super::{All, Found, same_keys};
use crate::domain::license::License;
use crate::domain::order::Order;
use crate::domain::quote::{Quote, QuoteState};
use crate::flow::{Deps, Fault};
use crate::record::{Records, keys};

/// I9: a quote that was ordered names its order and no other does; the newest order's terms are on the license, unless its contract
/// was terminated; both are found by each license that they are for.
pub(super) fn orders(deps: &Deps, all: &All, found: &mut Found) -> Result<(), Fault> {
    let mut store = &deps.store;
    let orders: BTreeMap<OrderId, Order> = store
        .load_range::<Order>(&keys::orders(), usize::MAX)?
        .into_iter()
        .map(|(_, order)| (order.id, order))
        .collect();
    let quotes: BTreeMap<QuoteId, Quote> = store
        .load_range::<Quote>(&keys::quotes(), usize::MAX)?
        .into_iter()
        .map(|(_, quote)| (quote.id, quote))
        .collect();
    let current = all.current();
    let mut quoted = BTreeSet::new();
    for quote in quotes.values() {
        for serial in quote.serials() {
            quoted.insert(keys::license_quote(&serial, quote.sequence, &quote.id));
        }
        let is_ordered = quote.state == QuoteState::Ordered;
        let named = quote.order.and_then(|id| orders.get(&id));
        let own = named.is_some_and(|order| order.quote == Some(quote.id));
        let holds = own == is_ordered && quote.order.is_some() == is_ordered;
        found.check(holds, "I9 quotes", quote.id, "its order");
    }
    let mut ordered = BTreeSet::new();
    let mut newest: BTreeMap<SerialNumber, &Order> = BTreeMap::new();
    for order in orders.values() {
        let quote = order.quote.map(|id| quotes.get(&id));
        let own = quote.is_none_or(|quote| quote.is_some_and(|q| q.order == Some(order.id)));
        found.check(own, "I9 orders", order.id, "its quote names another");
        for serial in order.serials() {
            ordered.insert(keys::license_order(&serial, order.sequence, &order.id));
            found.check(
                current.contains_key(&serial),
                "I9 orders",
                order.id,
                "of no license",
            );
            // By the place in the ledger; an expansion brings no terms.
            let later = newest
                .get(&serial)
                .is_none_or(|known| known.sequence < order.sequence);
            if later && order.lines.iter().any(|line| line.term.is_some()) {
                newest.insert(serial, order);
            }
        }
    }
    for (serial, order) in newest {
        if let Some(license) = current.get(&serial) {
            on_license(order, license, found);
        }
    }
    same_keys(deps, b'J', &quoted, "index J", found)?;
    same_keys(deps, b'o', &ordered, "index o", found)
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
