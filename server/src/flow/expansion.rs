//! Expanding a system: a larger edition, with credit for what was paid (V-07, V-08, N-15).

use upkeep::date::CivilDate;

use super::deal::{BY_A_PERSON, Decided};
use super::price_book::Size;
use super::{Deps, Outcome};
use crate::domain::catalogue::Product;
use crate::domain::license::License;
use crate::domain::maintenance::{self, Maintained, covered_on};
use crate::domain::money::Money;
use crate::domain::price_book::Item;
use crate::domain::programme::Programme;
use crate::domain::quote::{Deal, ExpandTo, Line};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::{Records, keys};

/// What an expansion of `license` costs on `today`. Where the price book has no price of the new system, or nobody knows what the old
/// one cost, a person quotes.
///
/// # Errors
/// INVALID_FIELD for a product that does not exist or a system that is the present one; REFER_TO_VENDOR for a product of another
/// programme; PRICE_UNKNOWN for a module without a price, CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub(crate) fn decide(
    deps: &Deps,
    reads: &mut impl Records,
    programme: &Programme,
    license: &License,
    to: &ExpandTo,
    today: CivilDate,
) -> Result<Decided, Outcome> {
    check_target(deps, reads, license, to)?;
    let size = Size {
        product: &to.product,
        edition: &to.edition,
        license_type: &to.license_type,
        seats: license.seats,
        modules: &to.modules,
    };
    let new_price = system_price(reads, &size, today)?;
    let initial = initial_price(reads, license)?;
    let maintained = if covered_on(&license.terms, today) {
        Maintained::Yes
    } else {
        Maintained::No
    };
    let (amount, how) = match (new_price, initial) {
        (Some(new_price), Some(initial)) => {
            let expansion = maintenance::expand(programme, initial, new_price, maintained)?;
            let how = format!(
                "{new_price} for the new system, less {}: {}",
                expansion.credit, expansion.how
            );
            (Some(expansion.due), how)
        }
        _ => (None, BY_A_PERSON.to_owned()),
    };
    Ok(Decided {
        deal: Deal::Expansion,
        lines: vec![Line {
            serial: license.serial.clone(),
            term: None,
            months: 0,
            amount,
            how,
        }],
    })
}

/// The license after an expansion. A system is worth what a new one would have cost on that day; where nobody knows that, what was
/// paid for it altogether.
///
/// # Errors
/// SEAT_IN_USE for another product while the old one is activated; AMOUNT_OUT_OF_RANGE.
pub(crate) fn apply(
    reads: &mut impl Records,
    license: &mut License,
    to: &ExpandTo,
    due: Option<Money>,
    today: CivilDate,
) -> Result<(), Outcome> {
    if to.product != license.product && license.usage.seats_taken > 0 {
        return Err(Refusal::new(Reason::SeatInUse)
            .detail("the license becomes one of another product")
            .with("seats_taken", license.usage.seats_taken)
            .into());
    }
    let size = Size {
        product: &to.product,
        edition: &to.edition,
        license_type: &to.license_type,
        seats: license.seats,
        modules: &to.modules,
    };
    license.paid = match (
        system_price(reads, &size, today)?,
        initial_price(reads, license)?,
        due,
    ) {
        (Some(new_price), _, _) => Some(new_price),
        (None, Some(paid), Some(due)) => Some(paid.plus(due).map_err(Refusal::from)?),
        (None, paid, due) => due.or(paid),
    };
    license.product = to.product.clone();
    license.edition = to.edition.clone();
    license.license_type = to.license_type.clone();
    license.modules = to.modules.clone();
    Ok(())
}

fn check_target(
    deps: &Deps,
    reads: &mut impl Records,
    license: &License,
    to: &ExpandTo,
) -> Result<(), Outcome> {
    let same = to.product == license.product
        && to.edition == license.edition
        && to.license_type == license.license_type
        && to.modules == license.modules;
    if same {
        let violation = Violation::new("expand_to", "is what the license is already");
        return Err(Refusal::invalid(vec![violation]).into());
    }
    let product: Option<Product> = reads.load(&keys::product(&to.product))?;
    let Some(product) = product else {
        let violation = Violation::new("expand_to.product_id", "no such product");
        return Err(Refusal::invalid(vec![violation]).into());
    };
    let own: Option<Product> = reads.load(&keys::product(&license.product))?;
    if own.is_some_and(|own| own.programme != product.programme) {
        return Err(Refusal::new(Reason::ReferToVendor)
            .detail("the product follows another maintenance programme")
            .with("serial", &license.serial)
            .into());
    }
    // Prices and rules of a programme that is gone can't be applied.
    deps.programme(license)?;
    Ok(())
}

/// What a new system costs on `day`: its list price and those of its modules; `None` when the book has neither.
fn system_price(
    reads: &mut impl Records,
    size: &Size<'_>,
    day: CivilDate,
) -> Result<Option<Money>, Outcome> {
    let mut sum = size.price(reads, &Item::License, day)?;
    for module in size.module_prices(reads, day)? {
        sum = Some(match sum {
            None => module,
            Some(sum) => sum.plus(module).map_err(Refusal::from)?,
        });
    }
    Ok(sum)
}

/// What was paid for the license, or its list price on the day of purchase.
fn initial_price(reads: &mut impl Records, license: &License) -> Result<Option<Money>, Outcome> {
    if license.paid.is_some() {
        return Ok(license.paid);
    }
    system_price(reads, &Size::of(license), license.purchased_on).or_else(|outcome| match outcome {
        // A module that was not priced then is for a person to price now.
        Outcome::Refused(refusal) if refusal.reason == Reason::PriceUnknown => Ok(None),
        other => Err(other),
    })
}
