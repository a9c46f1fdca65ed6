//! The stored mail. It names records; addresses, codes and texts are never part of it.

use upkeep::date::CivilDate;
use upkeep::id::{CustomerId, MailId, OrderId, PartnerId, QuoteId, RegionId, UpgradeId};
use upkeep::serial::SerialNumber;

use super::wire::{Bad, from_micros, number_of, optional_text, value_of};
use super::{Record, keys};
use crate::domain::mail::{Mail, MailKind, MailState, Recipient, Template};
use crate::domain::programme::Audience;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MailWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(uint32, tag = "2")]
    kind: u32,
    #[prost(string, tag = "3")]
    serial: String,
    #[prost(string, tag = "4")]
    last_day: String,
    #[prost(uint32, tag = "5")]
    days_before: u32,
    /// The upgrade, order or quote.
    #[prost(bytes = "vec", tag = "6")]
    subject: Vec<u8>,
    #[prost(uint32, tag = "7")]
    code_number: u32,
    #[prost(uint32, tag = "8")]
    recipient: u32,
    /// The customer, partner or region; empty for a requester, whose request is the subject.
    #[prost(string, tag = "9")]
    recipient_id: String,
    #[prost(bytes = "vec", tag = "10")]
    requester: Vec<u8>,
    #[prost(uint32, tag = "11")]
    state: u32,
    #[prost(uint32, tag = "12")]
    attempts: u32,
    #[prost(int64, optional, tag = "13")]
    next_attempt_at: Option<i64>,
    #[prost(string, tag = "14")]
    last_error: String,
    #[prost(int64, tag = "15")]
    created_at: i64,
    #[prost(int64, optional, tag = "16")]
    settled_at: Option<i64>,
}

impl Record for Mail {
    type Wire = MailWire;

    fn key(&self) -> Vec<u8> {
        keys::mail(&self.id)
    }

    fn to_wire(&self) -> MailWire {
        let mut wire = MailWire {
            id: self.id.as_bytes().to_vec(),
            kind: number_of(KINDS, self.kind.template()),
            state: number_of(STATES, self.state),
            attempts: self.attempts,
            next_attempt_at: self.next_attempt_at.map(|at| at.timestamp_micros()),
            last_error: self.last_error.clone(),
            created_at: self.created_at.timestamp_micros(),
            settled_at: self.settled_at.map(|at| at.timestamp_micros()),
            ..MailWire::default()
        };
        if let Some(serial) = self.kind.serial() {
            wire.serial = serial.to_string();
        }
        match &self.kind {
            MailKind::Reminder {
                last_day,
                days_before,
                ..
            } => {
                wire.last_day = last_day.to_string();
                wire.days_before = *days_before;
            }
            MailKind::UpgradeCode {
                upgrade,
                code_number,
            } => {
                wire.subject = upgrade.as_bytes().to_vec();
                wire.code_number = *code_number;
            }
            MailKind::OrderConfirmation { order, .. } => wire.subject = order.as_bytes().to_vec(),
            MailKind::QuoteRequest { quote, .. } | MailKind::QuoteAnswer { quote, .. } => {
                wire.subject = quote.as_bytes().to_vec();
            }
        }
        match &self.to {
            Recipient::Customer(id) => (wire.recipient, wire.recipient_id) = (1, id.to_string()),
            Recipient::Partner(id) => (wire.recipient, wire.recipient_id) = (2, id.to_string()),
            Recipient::Vendor(region) => {
                wire.recipient = 3;
                wire.recipient_id = super::wire::text_of(region.as_ref());
            }
            Recipient::Requester(upgrade) => {
                (wire.recipient, wire.requester) = (4, upgrade.as_bytes().to_vec());
            }
        }
        wire
    }

    fn from_wire(wire: MailWire) -> Result<Self, Bad> {
        Ok(Self {
            id: MailId::from_slice(&wire.id).map_err(|_| Bad("id"))?,
            kind: kind_of(&wire)?,
            to: recipient_of(&wire)?,
            state: value_of(STATES, wire.state, "state")?,
            attempts: wire.attempts,
            next_attempt_at: instant(wire.next_attempt_at, "next_attempt_at")?,
            created_at: from_micros(wire.created_at, "created_at")?,
            settled_at: instant(wire.settled_at, "settled_at")?,
            last_error: wire.last_error,
        })
    }
}

fn kind_of(wire: &MailWire) -> Result<MailKind, Bad> {
    let serial = || SerialNumber::parse(&wire.serial).map_err(|_| Bad("serial"));
    let reminder = |to| {
        Ok(MailKind::Reminder {
            serial: serial()?,
            last_day: CivilDate::parse(&wire.last_day).map_err(|_| Bad("last_day"))?,
            days_before: wire.days_before,
            to,
        })
    };
    let subject = wire.subject.as_slice();
    let quote = || QuoteId::from_slice(subject).map_err(|_| Bad("subject"));
    match value_of(KINDS, wire.kind, "kind")? {
        Template::ReminderCustomer => reminder(Audience::Customer),
        Template::ReminderReseller => reminder(Audience::Reseller),
        Template::ReminderVendor => reminder(Audience::VendorRegion),
        Template::UpgradeCode => Ok(MailKind::UpgradeCode {
            upgrade: UpgradeId::from_slice(subject).map_err(|_| Bad("subject"))?,
            code_number: wire.code_number,
        }),
        Template::OrderConfirmation => Ok(MailKind::OrderConfirmation {
            order: OrderId::from_slice(subject).map_err(|_| Bad("subject"))?,
            serial: serial()?,
        }),
        Template::QuoteRequest => Ok(MailKind::QuoteRequest {
            quote: quote()?,
            serial: serial()?,
        }),
        Template::QuoteAnswer => Ok(MailKind::QuoteAnswer {
            quote: quote()?,
            serial: serial()?,
        }),
    }
}

fn recipient_of(wire: &MailWire) -> Result<Recipient, Bad> {
    const FIELD: &str = "recipient";
    let id = wire.recipient_id.as_str();
    Ok(match wire.recipient {
        1 => Recipient::Customer(CustomerId::parse(id).map_err(|_| Bad(FIELD))?),
        2 => Recipient::Partner(PartnerId::parse(id).map_err(|_| Bad(FIELD))?),
        3 => Recipient::Vendor(optional_text(id, FIELD, RegionId::parse)?),
        4 => Recipient::Requester(UpgradeId::from_slice(&wire.requester).map_err(|_| Bad(FIELD))?),
        _ => return Err(Bad(FIELD)),
    })
}

fn instant(
    micros: Option<i64>,
    field: &'static str,
) -> Result<Option<chrono::DateTime<chrono::Utc>>, Bad> {
    micros.map(|micros| from_micros(micros, field)).transpose()
}

const KINDS: &[(Template, u32)] = &[
    (Template::ReminderCustomer, 1),
    (Template::ReminderReseller, 2),
    (Template::ReminderVendor, 3),
    (Template::UpgradeCode, 4),
    (Template::OrderConfirmation, 5),
    (Template::QuoteRequest, 6),
    (Template::QuoteAnswer, 7),
];

const STATES: &[(MailState, u32)] = &[
    (MailState::Pending, 1),
    (MailState::Sent, 2),
    (MailState::Dead, 3),
    (MailState::Cancelled, 4),
];
