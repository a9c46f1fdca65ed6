//! Small conversions between stored scalars and domain types.

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};

use crate::domain::money::{Currency, Money};

/// A stored field that no version of this server writes.
#[derive(Debug, thiserror::Error)]
#[error("field {0} holds no value this server knows")]
pub(crate) struct Bad(pub(crate) &'static str);

/// Microseconds since 1970 (UTC).
pub(crate) fn from_micros(micros: i64, field: &'static str) -> Result<DateTime<Utc>, Bad> {
    DateTime::from_timestamp_micros(micros).ok_or(Bad(field))
}

pub(crate) fn date(text: &str, field: &'static str) -> Result<CivilDate, Bad> {
    CivilDate::parse(text).map_err(|_| Bad(field))
}

pub(crate) fn optional_text<T, E>(
    text: &str,
    field: &'static str,
    parse: impl FnOnce(&str) -> Result<T, E>,
) -> Result<Option<T>, Bad> {
    if text.is_empty() {
        Ok(None)
    } else {
        parse(text).map(Some).map_err(|_| Bad(field))
    }
}

/// The way back of [`optional_text`].
pub(crate) fn text_of(value: Option<&impl ToString>) -> String {
    value.map(ToString::to_string).unwrap_or_default()
}

pub(crate) fn array<const N: usize>(bytes: &[u8], field: &'static str) -> Result<[u8; N], Bad> {
    bytes.try_into().map_err(|_| Bad(field))
}

/// A table between an enum and its stored number.
pub(crate) fn number_of<T: Copy + PartialEq>(table: &[(T, u32)], value: T) -> u32 {
    table
        .iter()
        .find(|(known, _)| *known == value)
        .map_or(0, |(_, number)| *number)
}

/// The way back; 0 is never written.
pub(crate) fn value_of<T: Copy>(
    table: &[(T, u32)],
    number: u32,
    field: &'static str,
) -> Result<T, Bad> {
    table
        .iter()
        .find(|(_, known)| *known == number)
        .map(|(value, _)| *value)
        .ok_or(Bad(field))
}

/// A maintenance term.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct TermWire {
    #[prost(string, tag = "1")]
    pub(crate) first: String,
    #[prost(string, tag = "2")]
    pub(crate) last: String,
}

impl From<&Term> for TermWire {
    fn from(term: &Term) -> Self {
        Self {
            first: term.first().to_string(),
            last: term.last().to_string(),
        }
    }
}

impl TryFrom<&TermWire> for Term {
    type Error = Bad;

    fn try_from(wire: &TermWire) -> Result<Self, Bad> {
        Term::new(
            date(&wire.first, "term.first")?,
            date(&wire.last, "term.last")?,
        )
        .map_err(|_| Bad("term"))
    }
}

/// An amount of money.
#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct MoneyWire {
    #[prost(int64, tag = "1")]
    minor: i64,
    #[prost(string, tag = "2")]
    currency: String,
}

impl From<Money> for MoneyWire {
    fn from(money: Money) -> Self {
        Self {
            minor: money.minor(),
            currency: money.currency().code().to_owned(),
        }
    }
}

impl TryFrom<MoneyWire> for Money {
    type Error = Bad;

    fn try_from(wire: MoneyWire) -> Result<Self, Bad> {
        let currency = Currency::parse(&wire.currency).map_err(|_| Bad("currency"))?;
        Money::new(wire.minor, currency).map_err(|_| Bad("money"))
    }
}
