//! The maintenance contracts of the programme that this one replaced (V-06, A-14): no longer sold, but those that exist go on.

use upkeep::date::CivilDate;

use crate::domain::programme::Programme;
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What is asked of an old contract.
    LegacyAction {
        /// To make a new one.
        Buy = "buy",
        /// To extend one by a term.
        Extend = "extend",
        /// To expand the system that it covers.
        Expand = "expand",
    }
}

/// Whether an old contract may still be bought, extended or expanded on the day `on` (V-06, vectors D75, D76 and D94).
///
/// * `signed_on` - when the customer's old contract was made; `None` when there is none.
///
/// # Errors
/// PROGRAMME_CLOSED after the last day of sale, NOT_FOUND without a contract.
pub fn legacy(
    programme: &Programme,
    action: LegacyAction,
    signed_on: Option<CivilDate>,
    on: CivilDate,
) -> Result<(), Refusal> {
    let rule = programme.legacy().ok_or(Reason::NotFound)?;
    // A contract is made by buying it, so both are asked the same.
    let made_on = match action {
        LegacyAction::Buy => on,
        LegacyAction::Extend | LegacyAction::Expand => signed_on
            .filter(|signed| *signed <= on)
            .ok_or(Reason::NotFound)?,
    };
    if made_on > rule.sold_until {
        return Err(Refusal::new(Reason::ProgrammeClosed).with("sold_until", rule.sold_until));
    }
    Ok(())
}
