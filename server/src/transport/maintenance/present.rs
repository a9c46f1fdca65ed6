//! Contracts, quotes, orders and prices to wire.

use upkeep::rpc::v1;

use crate::domain::license::{License, Module};
use crate::domain::machine::{Role, SmaState};
use crate::domain::maintenance::{self, Flag};
use crate::domain::money::Money;
use crate::domain::order::Order;
use crate::domain::price_book::{Entry, Item, Per};
use crate::domain::quote::{Asked, Deal, ExpandTo, Line, Quote, QuoteState};
use crate::domain::refusal::Refusal;
use crate::flow::contract::{self, FeeYear};
use crate::flow::expiring::Expiring;
use crate::flow::{Caller, Deps, Outcome, quote};
use crate::transport::present::{self, timestamp};

/// The contract of a license as it stands now.
pub(in crate::transport) fn contract(
    deps: &Deps,
    license: License,
) -> Result<v1::MaintenanceContract, Outcome> {
    let contract = contract::contract(deps, license, deps.clock.now())?;
    let (license, programme) = (&contract.license, contract.programme);
    let (purchase, refusal) = match &contract.purchase {
        Ok(deal) => (kind(*deal), None),
        Err(refusal) => (v1::PurchaseKind::Unspecified, Some(refusal)),
    };
    Ok(v1::MaintenanceContract {
        serial: license.serial.to_string(),
        state: match contract.state {
            Some(SmaState::InForce) => v1::ContractState::InForce,
            Some(SmaState::EndsAtTerm) => v1::ContractState::EndsAtTerm,
            _ => v1::ContractState::None,
        }
        .into(),
        tier_id: text(license.contract.tier.as_ref()),
        flag: flag(contract.flag).into(),
        colour: maintenance::colour(programme, contract.flag)
            .unwrap_or_default()
            .to_owned(),
        last_date: text(contract.last_day.as_ref()),
        cover_end_time: contract.cover_end.map(timestamp),
        terms: terms(license),
        renewal_opens_date: text(contract.opens_on.as_ref()),
        renewal_closes_date: text(contract.closes_on.as_ref()),
        extends_automatically: contract.extends(),
        cancel_by_date: text(contract.cancel_by.as_ref()),
        cancelled_date: text(license.contract.cancelled_on.as_ref()),
        ends_date: text(contract.ends_on.as_ref()),
        programme_id: programme.id().to_string(),
        programme_revision: programme.revision(),
        channel: programme.channel().to_owned(),
        regions: programme
            .regions()
            .iter()
            .map(|region| v1::Region {
                region_id: region.id.to_string(),
                phone: region.phone.clone(),
            })
            .collect(),
        purchase: purchase.into(),
        purchase_refusal: refusal
            .map(|refusal| refusal.reason.to_string())
            .unwrap_or_default(),
        purchase_refusal_message: refusal.map(Refusal::message).unwrap_or_default(),
    })
}

/// All terms, those on record first.
pub(in crate::transport) fn terms(license: &License) -> Vec<v1::MaintenanceTerm> {
    license
        .terms
        .iter()
        .enumerate()
        .map(|(index, term)| present::term(term, index >= license.terms_on_record))
        .collect()
}

pub(in crate::transport) fn flag(flag: Flag) -> v1::MaintenanceFlag {
    match flag {
        Flag::Protected => v1::MaintenanceFlag::Protected,
        Flag::ExpiringSoon => v1::MaintenanceFlag::ExpiringSoon,
        Flag::Expired => v1::MaintenanceFlag::Expired,
    }
}

/// A quote as it stands today. Whom to answer is personal: support and admin see it, others don't.
pub(in crate::transport) fn quote(
    deps: &Deps,
    caller: &Caller,
    quote: &Quote,
) -> Result<v1::Quote, Outcome> {
    let state = quote::state(deps, quote, deps.clock.now())?;
    let contact = match caller.role {
        Role::Support | Role::Admin => quote::contact(deps, quote),
        Role::EndUser | Role::Partner | Role::System => String::new(),
    };
    let (count, expand_to) = match &quote.asked {
        Asked::Terms { count, .. } | Asked::Group { count, .. } => (*count, None),
        Asked::Join => (0, None),
        Asked::Expand(to) => (0, Some(expansion(to))),
    };
    Ok(v1::Quote {
        quote_id: quote.id.to_string(),
        serial: quote.serial.to_string(),
        kind: kind(quote.deal).into(),
        state: match state {
            QuoteState::Pending => v1::QuoteState::Pending,
            QuoteState::Quoted => v1::QuoteState::Quoted,
            QuoteState::Ordered => v1::QuoteState::Ordered,
            QuoteState::Expired => v1::QuoteState::Expired,
        }
        .into(),
        lines: quote.lines.iter().map(line).collect(),
        total: quote.total().map_err(Refusal::from)?.map(money),
        terms: count,
        tier_id: text(quote.tier.as_ref()),
        expand_to,
        valid_until_date: quote.valid_until.to_string(),
        contact,
        answer_reason: quote.answer.clone(),
        order_id: text(quote.order.as_ref()),
        next_step: next_step(state).to_owned(),
        create_time: Some(timestamp(quote.created_at)),
    })
}

fn next_step(state: QuoteState) -> &'static str {
    match state {
        QuoteState::Pending => "Wait until the vendor has priced it.",
        QuoteState::Quoted => "Order it by its last day.",
        QuoteState::Ordered => "Nothing: it is ordered.",
        QuoteState::Expired => "Ask for a new quote.",
    }
}

pub(super) fn order(order: &Order) -> Result<v1::Order, Outcome> {
    Ok(v1::Order {
        order_id: order.id.to_string(),
        quote_id: text(order.quote.as_ref()),
        serial: order.serial.to_string(),
        kind: kind(order.deal).into(),
        lines: order.lines.iter().map(line).collect(),
        total: order.total().map_err(Refusal::from)?.map(money),
        purchase_reference: order.purchase_reference.clone(),
        tier_id: text(order.tier.as_ref()),
        placed_by: order.placed_by.clone(),
        purchase_date: order.placed_on.to_string(),
        create_time: Some(timestamp(order.created_at)),
    })
}

pub(super) fn fee_year(year: FeeYear) -> v1::FeeYear {
    v1::FeeYear {
        contract_year: year.contract_year,
        first_date: year.term.first().to_string(),
        last_date: year.term.last().to_string(),
        amount: year.amount.map(money),
        computation: year.how,
    }
}

pub(in crate::transport) fn price(entry: &Entry) -> v1::Price {
    let (item, item_id) = match &entry.thing.item {
        Item::License => (v1::PriceItem::License, String::new()),
        Item::Sma => (v1::PriceItem::Sma, String::new()),
        Item::Upgrade => (v1::PriceItem::Upgrade, String::new()),
        Item::Module(id) => (v1::PriceItem::Module, id.to_string()),
        Item::AddOn(id) => (v1::PriceItem::AddOn, id.to_string()),
    };
    v1::Price {
        product_id: entry.thing.product.to_string(),
        item: item.into(),
        item_id,
        edition: text(entry.thing.edition.as_ref()),
        license_type: text(entry.thing.license_type.as_ref()),
        unit: match entry.per {
            Per::License => v1::PriceUnit::License,
            Per::Seat => v1::PriceUnit::Seat,
        }
        .into(),
        amount: Some(money(entry.amount)),
        valid_from_date: entry.valid_from.to_string(),
    }
}

pub(in crate::transport) fn money(money: Money) -> v1::Money {
    v1::Money {
        minor_units: money.minor(),
        currency_code: money.currency().code().to_owned(),
    }
}

pub(in crate::transport) fn modules(modules: &[Module]) -> Vec<v1::LicenseModule> {
    let module = |module: &Module| v1::LicenseModule {
        module_id: module.id.to_string(),
        count: module.count,
    };
    modules.iter().map(module).collect()
}

fn line(line: &Line) -> v1::QuoteLine {
    v1::QuoteLine {
        serial: line.serial.to_string(),
        first_date: text(line.term.map(|term| term.first()).as_ref()),
        last_date: text(line.term.map(|term| term.last()).as_ref()),
        months: line.months,
        amount: line.amount.map(money),
        computation: line.how.clone(),
    }
}

/// A license whose cover ends.
pub(in crate::transport) fn expiring(found: &Expiring) -> v1::ExpiringLicense {
    let license = &found.license;
    v1::ExpiringLicense {
        serial: license.serial.to_string(),
        product_id: license.product.to_string(),
        customer_id: license.customer.to_string(),
        partner_id: text(license.partner.as_ref()),
        flag: flag(found.flag).into(),
        last_date: found.last_day.to_string(),
        extends_automatically: found.extends,
    }
}

fn expansion(to: &ExpandTo) -> v1::Expansion {
    v1::Expansion {
        product_id: to.product.to_string(),
        edition: to.edition.to_string(),
        license_type: to.license_type.to_string(),
        modules: modules(&to.modules),
    }
}

fn kind(deal: Deal) -> v1::PurchaseKind {
    match deal {
        Deal::First => v1::PurchaseKind::First,
        Deal::Renewal => v1::PurchaseKind::Renewal,
        Deal::Reinstatement => v1::PurchaseKind::Reinstatement,
        Deal::Upgrade => v1::PurchaseKind::Upgrade,
        Deal::CoTermination => v1::PurchaseKind::CoTermination,
        Deal::Expansion => v1::PurchaseKind::Expansion,
        Deal::AutoExtension => v1::PurchaseKind::AutoExtension,
    }
}

fn text(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}
