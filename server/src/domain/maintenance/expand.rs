//! Expanding a system: what was paid for the first one is credited (V-07, V-08, V-18, N-15).

use super::price::in_currency;
use crate::domain::money::Money;
use crate::domain::programme::Programme;
use crate::domain::refusal::Refusal;
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// Whether maintenance is in force on the day of the expansion.
    Maintained {
        /// It is.
        Yes = "yes",
        /// It is not.
        No = "no",
    }
}

/// What an expansion costs.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Expansion {
    /// What is credited for the initial installation; never more than the new price.
    pub credit: Money,
    /// What is left to pay; nothing is ever refunded.
    pub due: Money,
    /// How the credit was computed, for people.
    pub how: String,
}

/// The credit for the initial installation, and what is left of the new price (N-15, vectors D36 and D37). Maintenance fees are
/// not part of either.
///
/// # Errors
/// CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub fn expand(
    programme: &Programme,
    initial_paid: Money,
    new_price: Money,
    maintained: Maintained,
) -> Result<Expansion, Refusal> {
    let initial = in_currency(programme, initial_paid)?;
    let new_price = in_currency(programme, new_price)?;
    // Also finds two currencies where the programme has none.
    new_price.less(initial)?;
    let nothing = Money::zero(new_price.currency());
    let (credit, how) = match programme.expand() {
        None => (nothing, "the programme credits nothing".to_owned()),
        Some(rule) if rule.requires_active_sma && maintained == Maintained::No => {
            (nothing, "maintenance is not in force today".to_owned())
        }
        Some(rule) => {
            let part = initial.percent(rule.credit)?;
            let capped = if part.minor() > new_price.minor() {
                new_price
            } else {
                part
            };
            let how = format!(
                "{} of the {initial} paid, at most the new price",
                rule.credit
            );
            (capped, how)
        }
    };
    Ok(Expansion {
        credit,
        due: new_price.less(credit)?,
        how,
    })
}
