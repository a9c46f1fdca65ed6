//! How many quotes a license may have open: each one that a person has to price sends a mail to the vendor's desk (P-17).

use upkeep::date::CivilDate;

use super::{Fault, Outcome};
use crate::domain::machine::Role;
use crate::domain::quote::{Quote, QuoteState};
use crate::domain::refusal::{Reason, Refusal};
use crate::record::{Records, keys};
use crate::store::Tx;

/// Refuses `quote` where its license has one that waits for a person already, or too many that can still be ordered. The vendor's
/// own staff is not limited.
///
/// # Errors
/// ALREADY_EXISTS, with `quote_id` for the one that waits and `most` for too many.
pub(super) fn check(
    tx: &mut Tx<'_>,
    quote: &Quote,
    role: Role,
    today: CivilDate,
) -> Result<(), Outcome> {
    match role {
        Role::EndUser | Role::Partner => {}
        Role::Support | Role::Admin | Role::System => return Ok(()),
    }
    let range = keys::license_quotes(&quote.serial);
    let mut open = 0_usize;
    for (key, _) in tx.scan_back(&range.from, &range.to, MOST_OPEN)? {
        let at = keys::quote_of_index(keys::tail(&key, &range)).ok_or(NOT_THERE)?;
        let known: Quote = tx.load(&at)?.ok_or(NOT_THERE)?;
        match known.state_on(today) {
            QuoteState::Pending if quote.state == QuoteState::Pending => {
                return Err(Refusal::new(Reason::AlreadyExists)
                    .detail("a quote of this license waits for the vendor's answer")
                    .with("quote_id", known.id)
                    .with("valid_until", known.valid_until)
                    .into());
            }
            QuoteState::Pending | QuoteState::Quoted => open = open.saturating_add(1),
            QuoteState::Ordered | QuoteState::Expired => {}
        }
    }
    if open >= MOST_OPEN {
        return Err(Refusal::new(Reason::AlreadyExists)
            .detail("so many quotes of this license can still be ordered; order one of them")
            .with("most", MOST_OPEN)
            .into());
    }
    Ok(())
}

/// Quotes of a license that can be ordered, or answered and ordered, at one time; also how many are looked through.
const MOST_OPEN: usize = 20;
const NOT_THERE: Fault = Fault::Inconsistent("a license's index names a quote that is not there");
