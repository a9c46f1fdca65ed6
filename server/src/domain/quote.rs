//! Quotes: what was asked for, what it makes of each license, and what that costs (P-17, V-17).
//!
//! A quote is a promise of a price until a day. Whether it is still what the license needs is decided again when it is ordered.

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};
use upkeep::id::{CustomerId, Edition, LicenseType, OrderId, ProductId, QuoteId, TierId};
use upkeep::serial::SerialNumber;

use crate::domain::license::Module;
use crate::domain::money::{Money, MoneyError};
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What is bought.
    Deal {
        /// The first terms of a license that was never covered (V-09, V-10).
        First = "first",
        /// More terms, in time (N-05).
        Renewal = "renewal",
        /// Cover again after a lapse (S-20).
        Reinstatement = "reinstatement",
        /// An upgrade over a major release that was missed, and cover with it (P-14, A-11).
        Upgrade = "upgrade",
        /// The months that bring a hardware key's licenses to one end (P-06, P-07).
        CoTermination = "co_termination",
        /// A larger edition (V-07).
        Expansion = "expansion",
        /// A term that followed by itself (V-05).
        AutoExtension = "auto_extension",
    }
}

vocabulary! {
    /// The state of a quote.
    QuoteState {
        /// A person has to price it.
        Pending = "pending",
        /// Priced.
        Quoted = "quoted",
        /// Ordered.
        Ordered = "ordered",
        /// Its last day has passed. Derived on reading, never stored.
        Expired = "expired",
    }
}

/// What was asked for: from it a quote is decided again on the day of its order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Terms for one license.
    Terms {
        /// What the caller wants it to be; `None` lets the day decide.
        wanted: Option<Deal>,
        count: u32,
    },
    /// Terms for all licenses on one hardware key (P-04).
    Group {
        /// As above.
        wanted: Option<Deal>,
        count: u32,
    },
    /// One end date for all licenses on one hardware key (P-06).
    Join,
    /// A larger edition (V-07).
    Expand(ExpandTo),
}

/// What a license becomes by an expansion.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct ExpandTo {
    pub(crate) product: ProductId,
    pub(crate) edition: Edition,
    pub(crate) license_type: LicenseType,
    pub(crate) modules: Vec<Module>,
}

/// What one license gets, and what that costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Line {
    pub(crate) serial: SerialNumber,
    /// The days that it covers; none for an expansion.
    pub(crate) term: Option<Term>,
    /// The months that are paid for.
    pub(crate) months: u32,
    /// None until a person has priced it.
    pub(crate) amount: Option<Money>,
    /// How the amount was computed, for people.
    pub(crate) how: String,
}

/// One quote.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Quote {
    pub(crate) id: QuoteId,
    /// The license it was asked for.
    pub(crate) serial: SerialNumber,
    /// Its owner, under whose key the contact is sealed.
    pub(crate) customer: CustomerId,
    pub(crate) asked: Asked,
    pub(crate) deal: Deal,
    /// The type of contract that was asked for; `None` keeps that of each license.
    pub(crate) tier: Option<TierId>,
    pub(crate) lines: Vec<Line>,
    /// Pending, quoted or ordered.
    pub(crate) state: QuoteState,
    /// Whom to answer, sealed (P-17).
    pub(crate) contact: Vec<u8>,
    /// What the person who priced it wrote.
    pub(crate) answer: String,
    pub(crate) order: Option<OrderId>,
    /// The day it was made on: what starts "on the day of purchase" was computed for it.
    pub(crate) made_on: CivilDate,
    /// The last day on which it can be ordered.
    pub(crate) valid_until: CivilDate,
    /// Whether its amount counts on maintenance being in force: an expansion's credit (V-07). Without cover the order is another one.
    pub(crate) needs_cover: bool,
    /// Where in the ledger it was made: an order behind it may have changed the license.
    pub(crate) sequence: u64,
    pub(crate) created_at: DateTime<Utc>,
}

impl Quote {
    /// Its state on the day `today`.
    pub(crate) fn state_on(&self, today: CivilDate) -> QuoteState {
        match self.state {
            QuoteState::Pending | QuoteState::Quoted if today > self.valid_until => {
                QuoteState::Expired
            }
            state => state,
        }
    }

    /// The sum of all lines; `None` until each has an amount.
    ///
    /// # Errors
    /// [`MoneyError::Mismatch`], [`MoneyError::Overflow`].
    pub(crate) fn total(&self) -> Result<Option<Money>, MoneyError> {
        total(&self.lines)
    }

    /// The licenses that it is for, each once, in the order of its lines.
    pub(crate) fn serials(&self) -> Vec<SerialNumber> {
        serials(&self.serial, &self.lines)
    }

    /// Whether `lines`, decided on the day `today`, are what was quoted. Terms that start on the day of purchase, whichever that is,
    /// may have moved on with it; the licenses, their number and the months that are paid for may not have.
    pub(crate) fn still_is(&self, deal: Deal, lines: &[Line], today: CivilDate) -> bool {
        if self.deal != deal || self.lines.len() != lines.len() {
            return false;
        }
        let mut moving: Option<&SerialNumber> = None;
        for (quoted, now) in self.lines.iter().zip(lines) {
            if quoted.serial != now.serial || quoted.months != now.months {
                return false;
            }
            match (quoted.term, now.term) {
                (quoted, now) if quoted == now => {}
                (Some(old), Some(new)) => {
                    let starts = old.first() == self.made_on && new.first() == today;
                    // The terms behind a moved one follow it.
                    let follows = moving == Some(&quoted.serial);
                    // A common end is a fixed one (N-07).
                    let fixed = deal == Deal::CoTermination && old.last() != new.last();
                    if fixed || !(starts || follows) {
                        return false;
                    }
                    moving = Some(&quoted.serial);
                }
                _ => return false,
            }
        }
        true
    }
}

/// The sum of all lines; `None` while one has no amount.
///
/// # Errors
/// [`MoneyError::Mismatch`], [`MoneyError::Overflow`].
pub(crate) fn total(lines: &[Line]) -> Result<Option<Money>, MoneyError> {
    let mut sum: Option<Money> = None;
    for line in lines {
        let Some(amount) = line.amount else {
            return Ok(None);
        };
        sum = Some(match sum {
            None => amount,
            Some(sum) => sum.plus(amount)?,
        });
    }
    Ok(sum)
}

/// The licenses of `lines`, each once, `main` first.
pub(crate) fn serials(main: &SerialNumber, lines: &[Line]) -> Vec<SerialNumber> {
    let mut found = vec![main.clone()];
    for line in lines {
        if !found.contains(&line.serial) {
            found.push(line.serial.clone());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;
    use uuid::Uuid;

    use super::*;

    fn day(text: &str) -> CivilDate {
        CivilDate::parse(text).unwrap()
    }

    fn lines(first: &str, count: u32) -> Vec<Line> {
        let terms = Term::chain(day(first), 12, count).unwrap();
        let line = |term| Line {
            serial: SerialNumber::parse("A-0001").unwrap(),
            term: Some(term),
            months: 12,
            amount: None,
            how: String::new(),
        };
        terms.into_iter().map(line).collect()
    }

    fn quote(deal: Deal, lines: Vec<Line>, made_on: &str) -> Quote {
        Quote {
            id: QuoteId::from_uuid(Uuid::nil()),
            serial: SerialNumber::parse("A-0001").unwrap(),
            customer: CustomerId::parse("baker").unwrap(),
            asked: Asked::Terms {
                wanted: None,
                count: 2,
            },
            deal,
            tier: None,
            lines,
            state: QuoteState::Pending,
            contact: Vec::new(),
            answer: String::new(),
            order: None,
            made_on: day(made_on),
            valid_until: day("2026-03-31"),
            needs_cover: false,
            sequence: 1,
            created_at: DateTime::UNIX_EPOCH,
        }
    }

    #[test]
    fn what_starts_with_the_purchase_may_start_later() {
        let quote = quote(Deal::Reinstatement, lines("2026-03-01", 2), "2026-03-01");
        let later = lines("2026-03-09", 2);
        assert!(quote.still_is(Deal::Reinstatement, &later, day("2026-03-09")));
        // The same terms on another day are other terms; so are fewer of them, and another deal.
        assert!(!quote.still_is(Deal::Reinstatement, &later, day("2026-03-10")));
        assert!(!quote.still_is(
            Deal::Reinstatement,
            &lines("2026-03-09", 1),
            day("2026-03-09")
        ));
        assert!(!quote.still_is(Deal::Renewal, &later, day("2026-03-09")));
    }

    #[test]
    fn a_renewal_has_fixed_days() {
        let quote = quote(Deal::Renewal, lines("2026-09-01", 1), "2026-03-01");
        assert!(quote.still_is(Deal::Renewal, &lines("2026-09-01", 1), day("2026-03-20")));
        assert!(!quote.still_is(Deal::Renewal, &lines("2027-09-01", 1), day("2026-03-20")));
    }

    #[test]
    fn a_quote_runs_out_unless_it_was_ordered() {
        let mut quote = quote(Deal::Renewal, lines("2026-09-01", 1), "2026-03-01");
        assert_eq!(quote.state_on(day("2026-03-31")), QuoteState::Pending);
        assert_eq!(quote.state_on(day("2026-04-01")), QuoteState::Expired);
        quote.state = QuoteState::Ordered;
        assert_eq!(quote.state_on(day("2026-04-01")), QuoteState::Ordered);
    }
}
