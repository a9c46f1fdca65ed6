//! Stored quotes and orders.

use upkeep::id::{CustomerId, Edition, LicenseType, OrderId, ProductId, QuoteId, TierId};
use upkeep::serial::SerialNumber;

use super::license::ModuleWire;
use super::wire::{
    Bad, MoneyWire, TermWire, date, from_micros, number_of, optional_text, text_of, value_of,
};
use super::{Record, keys};
use crate::domain::order::Order;
use crate::domain::quote::{Asked, Deal, ExpandTo, Line, Quote, QuoteState};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct QuoteWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    serial: String,
    #[prost(string, tag = "3")]
    customer: String,
    #[prost(message, optional, tag = "4")]
    asked: Option<AskedWire>,
    #[prost(uint32, tag = "5")]
    deal: u32,
    #[prost(string, tag = "6")]
    tier: String,
    #[prost(message, repeated, tag = "7")]
    lines: Vec<LineWire>,
    #[prost(uint32, tag = "8")]
    state: u32,
    #[prost(bytes = "vec", tag = "9")]
    contact: Vec<u8>,
    #[prost(string, tag = "10")]
    answer: String,
    #[prost(bytes = "vec", tag = "11")]
    order: Vec<u8>,
    #[prost(string, tag = "12")]
    made_on: String,
    #[prost(string, tag = "13")]
    valid_until: String,
    #[prost(uint64, tag = "14")]
    sequence: u64,
    #[prost(int64, tag = "15")]
    created_at: i64,
    #[prost(bool, tag = "16")]
    needs_cover: bool,
}

#[derive(Clone, PartialEq, prost::Message)]
struct AskedWire {
    /// 1 terms, 2 group, 3 join, 4 expansion.
    #[prost(uint32, tag = "1")]
    what: u32,
    /// 0 for none.
    #[prost(uint32, tag = "2")]
    wanted: u32,
    #[prost(uint32, tag = "3")]
    count: u32,
    #[prost(string, tag = "4")]
    product: String,
    #[prost(string, tag = "5")]
    edition: String,
    #[prost(string, tag = "6")]
    license_type: String,
    #[prost(message, repeated, tag = "7")]
    modules: Vec<ModuleWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct LineWire {
    #[prost(string, tag = "1")]
    serial: String,
    #[prost(message, optional, tag = "2")]
    term: Option<TermWire>,
    #[prost(uint32, tag = "3")]
    months: u32,
    #[prost(message, optional, tag = "4")]
    amount: Option<MoneyWire>,
    #[prost(string, tag = "5")]
    how: String,
}

impl Record for Quote {
    type Wire = QuoteWire;

    fn key(&self) -> Vec<u8> {
        keys::quote(&self.id)
    }

    fn to_wire(&self) -> QuoteWire {
        QuoteWire {
            id: self.id.as_bytes().to_vec(),
            serial: self.serial.to_string(),
            customer: self.customer.to_string(),
            asked: Some(asked_to_wire(&self.asked)),
            deal: number_of(DEALS, self.deal),
            tier: text_of(self.tier.as_ref()),
            lines: self.lines.iter().map(line_to_wire).collect(),
            state: number_of(STATES, self.state),
            contact: self.contact.clone(),
            answer: self.answer.clone(),
            order: self
                .order
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            made_on: self.made_on.to_string(),
            valid_until: self.valid_until.to_string(),
            needs_cover: self.needs_cover,
            sequence: self.sequence,
            created_at: self.created_at.timestamp_micros(),
        }
    }

    fn from_wire(wire: QuoteWire) -> Result<Self, Bad> {
        Ok(Self {
            id: QuoteId::from_slice(&wire.id).map_err(|_| Bad("id"))?,
            serial: serial(&wire.serial)?,
            customer: CustomerId::parse(&wire.customer).map_err(|_| Bad("customer"))?,
            asked: asked_from_wire(wire.asked.unwrap_or_default())?,
            deal: value_of(DEALS, wire.deal, "deal")?,
            tier: optional_text(&wire.tier, "tier", TierId::parse)?,
            lines: lines_from_wire(wire.lines)?,
            state: value_of(STATES, wire.state, "state")?,
            contact: wire.contact,
            answer: wire.answer,
            order: match wire.order.as_slice() {
                [] => None,
                bytes => Some(OrderId::from_slice(bytes).map_err(|_| Bad("order"))?),
            },
            made_on: date(&wire.made_on, "made_on")?,
            valid_until: date(&wire.valid_until, "valid_until")?,
            needs_cover: wire.needs_cover,
            sequence: wire.sequence,
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct OrderWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    quote: Vec<u8>,
    #[prost(string, tag = "3")]
    serial: String,
    #[prost(string, tag = "4")]
    customer: String,
    #[prost(uint32, tag = "5")]
    deal: u32,
    #[prost(string, tag = "6")]
    tier: String,
    #[prost(message, repeated, tag = "7")]
    lines: Vec<LineWire>,
    #[prost(string, tag = "8")]
    purchase_reference: String,
    #[prost(string, tag = "9")]
    placed_by: String,
    #[prost(string, tag = "10")]
    placed_on: String,
    #[prost(uint64, tag = "11")]
    sequence: u64,
    #[prost(int64, tag = "12")]
    created_at: i64,
}

impl Record for Order {
    type Wire = OrderWire;

    fn key(&self) -> Vec<u8> {
        keys::order(&self.id)
    }

    fn to_wire(&self) -> OrderWire {
        OrderWire {
            id: self.id.as_bytes().to_vec(),
            quote: self
                .quote
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            serial: self.serial.to_string(),
            customer: self.customer.to_string(),
            deal: number_of(DEALS, self.deal),
            tier: text_of(self.tier.as_ref()),
            lines: self.lines.iter().map(line_to_wire).collect(),
            purchase_reference: self.purchase_reference.clone(),
            placed_by: self.placed_by.clone(),
            placed_on: self.placed_on.to_string(),
            sequence: self.sequence,
            created_at: self.created_at.timestamp_micros(),
        }
    }

    fn from_wire(wire: OrderWire) -> Result<Self, Bad> {
        Ok(Self {
            id: OrderId::from_slice(&wire.id).map_err(|_| Bad("id"))?,
            quote: match wire.quote.as_slice() {
                [] => None,
                bytes => Some(QuoteId::from_slice(bytes).map_err(|_| Bad("quote"))?),
            },
            serial: serial(&wire.serial)?,
            customer: CustomerId::parse(&wire.customer).map_err(|_| Bad("customer"))?,
            deal: value_of(DEALS, wire.deal, "deal")?,
            tier: optional_text(&wire.tier, "tier", TierId::parse)?,
            lines: lines_from_wire(wire.lines)?,
            purchase_reference: wire.purchase_reference,
            placed_by: wire.placed_by,
            placed_on: date(&wire.placed_on, "placed_on")?,
            sequence: wire.sequence,
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}

fn serial(text: &str) -> Result<SerialNumber, Bad> {
    SerialNumber::parse(text).map_err(|_| Bad("serial"))
}

fn line_to_wire(line: &Line) -> LineWire {
    LineWire {
        serial: line.serial.to_string(),
        term: line.term.as_ref().map(TermWire::from),
        months: line.months,
        amount: line.amount.map(MoneyWire::from),
        how: line.how.clone(),
    }
}

fn lines_from_wire(lines: Vec<LineWire>) -> Result<Vec<Line>, Bad> {
    let line = |wire: LineWire| {
        Ok(Line {
            serial: serial(&wire.serial)?,
            term: wire.term.as_ref().map(TryInto::try_into).transpose()?,
            months: wire.months,
            amount: wire.amount.map(TryInto::try_into).transpose()?,
            how: wire.how,
        })
    };
    lines.into_iter().map(line).collect()
}

fn asked_to_wire(asked: &Asked) -> AskedWire {
    let plain = |what, count| AskedWire {
        what,
        count,
        ..AskedWire::default()
    };
    match asked {
        Asked::Terms { wanted, count } => AskedWire {
            wanted: wanted_to_wire(*wanted),
            ..plain(TERMS, *count)
        },
        Asked::Group { wanted, count } => AskedWire {
            wanted: wanted_to_wire(*wanted),
            ..plain(GROUP, *count)
        },
        Asked::Join => plain(JOIN, 0),
        Asked::Expand(to) => AskedWire {
            product: to.product.to_string(),
            edition: to.edition.to_string(),
            license_type: to.license_type.to_string(),
            modules: to.modules.iter().map(ModuleWire::from).collect(),
            ..plain(EXPAND, 0)
        },
    }
}

fn asked_from_wire(wire: AskedWire) -> Result<Asked, Bad> {
    Ok(match wire.what {
        TERMS => Asked::Terms {
            wanted: wanted_from_wire(wire.wanted)?,
            count: wire.count,
        },
        GROUP => Asked::Group {
            wanted: wanted_from_wire(wire.wanted)?,
            count: wire.count,
        },
        JOIN => Asked::Join,
        EXPAND => Asked::Expand(ExpandTo {
            product: ProductId::parse(&wire.product).map_err(|_| Bad("product"))?,
            edition: Edition::parse(&wire.edition).map_err(|_| Bad("edition"))?,
            license_type: LicenseType::parse(&wire.license_type)
                .map_err(|_| Bad("license_type"))?,
            modules: wire
                .modules
                .iter()
                .map(TryInto::try_into)
                .collect::<Result<_, _>>()?,
        }),
        _ => return Err(Bad("asked")),
    })
}

fn wanted_to_wire(wanted: Option<Deal>) -> u32 {
    wanted.map_or(0, |deal| number_of(DEALS, deal))
}

fn wanted_from_wire(number: u32) -> Result<Option<Deal>, Bad> {
    match number {
        0 => Ok(None),
        number => value_of(DEALS, number, "wanted").map(Some),
    }
}

const TERMS: u32 = 1;
const GROUP: u32 = 2;
const JOIN: u32 = 3;
const EXPAND: u32 = 4;

const DEALS: &[(Deal, u32)] = &[
    (Deal::First, 1),
    (Deal::Renewal, 2),
    (Deal::Reinstatement, 3),
    (Deal::Upgrade, 4),
    (Deal::CoTermination, 5),
    (Deal::Expansion, 6),
    (Deal::AutoExtension, 7),
];

/// An expired one is derived, never stored.
const STATES: &[(QuoteState, u32)] = &[
    (QuoteState::Pending, 1),
    (QuoteState::Quoted, 2),
    (QuoteState::Ordered, 3),
];
