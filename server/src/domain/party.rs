//! Customers and partners.

use chrono::{DateTime, Utc};
use upkeep::id::{CustomerId, PartnerId, RegionId};

use crate::domain::external::ExternalId;

/// A customer. Name and e-mail address are sealed under a key of the customer's own, kept outside the ledger: deleting that
/// key erases them from every copy (DESIGN 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub(crate) id: CustomerId,
    pub(crate) display_name: Vec<u8>,
    pub(crate) email: Vec<u8>,
    pub(crate) partner: Option<PartnerId>,
    pub(crate) contact: Contact,
    /// Its id in the system that it was imported from, if it has one.
    pub(crate) external: Option<ExternalId>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A partner (reseller). Its e-mail address is sealed as a customer's is; its name is public.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    pub(crate) id: PartnerId,
    pub(crate) display_name: String,
    pub(crate) email: Vec<u8>,
    pub(crate) contact: Contact,
    /// Its id in the system that it was imported from, if it has one.
    pub(crate) external: Option<ExternalId>,
    pub(crate) created_at: DateTime<Utc>,
}

/// How to write to a party.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Contact {
    /// A BCP 47 tag; empty where nobody said.
    pub(crate) language: String,
    /// The vendor's region that looks after it (T-20).
    pub(crate) region: Option<RegionId>,
}

/// Checks a language tag in the form of BCP 47: subtags of 1 to 8 letters or digits, the first one letters, 35 characters at most.
///
/// # Errors
/// What the rule is.
pub(crate) fn check_language(tag: &str) -> Result<(), &'static str> {
    let mut subtags = tag.split('-');
    let primary = subtags.next().unwrap_or_default();
    let good = tag.len() <= 35
        && (2..=8).contains(&primary.len())
        && primary.bytes().all(|b| b.is_ascii_alphabetic())
        && subtags.all(|one| {
            (1..=8).contains(&one.len()) && one.bytes().all(|b| b.is_ascii_alphanumeric())
        });
    if good {
        Ok(())
    } else {
        Err("must be a language tag such as en, de or pt-BR (BCP 47)")
    }
}
