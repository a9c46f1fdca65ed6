//! Customers and partners.

use chrono::{DateTime, Utc};
use upkeep::id::{CustomerId, PartnerId};

/// A customer. Name and e-mail address are sealed under a key of the customer's own, kept outside the ledger: deleting that
/// key erases them from every copy (DESIGN 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Customer {
    pub(crate) id: CustomerId,
    pub(crate) display_name: Vec<u8>,
    pub(crate) email: Vec<u8>,
    pub(crate) partner: Option<PartnerId>,
    pub(crate) created_at: DateTime<Utc>,
}

/// A partner (reseller).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Partner {
    pub(crate) id: PartnerId,
    pub(crate) display_name: String,
    pub(crate) created_at: DateTime<Utc>,
}
