//! Orders: what was bought, on record for good.

use chrono::{DateTime, Utc};
use upkeep::date::CivilDate;
use upkeep::id::{CustomerId, OrderId, QuoteId, TierId};
use upkeep::serial::SerialNumber;

use crate::domain::money::{Money, MoneyError};
use crate::domain::quote::{self, Deal, Line};

/// One order. It never changes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Order {
    pub(crate) id: OrderId,
    /// The quote that it was placed on; none where maintenance was bought with the software (V-09).
    pub(crate) quote: Option<QuoteId>,
    /// The license that it was placed for.
    pub(crate) serial: SerialNumber,
    pub(crate) customer: CustomerId,
    pub(crate) deal: Deal,
    pub(crate) tier: Option<TierId>,
    /// Terms as they were added, amounts as they were quoted.
    pub(crate) lines: Vec<Line>,
    /// The buyer's own reference.
    pub(crate) purchase_reference: String,
    /// Who placed it, such as `partner/acme`.
    pub(crate) placed_by: String,
    /// The day of purchase, in the programme's calendar (N-01).
    pub(crate) placed_on: CivilDate,
    /// Where it stands in the ledger.
    pub(crate) sequence: u64,
    pub(crate) created_at: DateTime<Utc>,
}

impl Order {
    /// The sum of all lines.
    ///
    /// # Errors
    /// [`MoneyError::Mismatch`], [`MoneyError::Overflow`].
    pub(crate) fn total(&self) -> Result<Option<Money>, MoneyError> {
        quote::total(&self.lines)
    }

    /// The licenses that it is for, each once.
    pub(crate) fn serials(&self) -> Vec<SerialNumber> {
        quote::serials(&self.serial, &self.lines)
    }
}
