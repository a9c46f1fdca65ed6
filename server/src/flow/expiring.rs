//! Listing what expires: licenses by their last day, from the dated indexes alone.

use upkeep::date::CivilDate;
use upkeep::id::PartnerId;

use super::read::{self, Page, Paged};
use super::{Caller, Deps, Fault, Outcome};
use crate::domain::license::License;
use crate::domain::machine::Role;
use crate::domain::maintenance::{self, Flag};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::{Records, keys};

/// A license that expires, as it stands now.
pub(crate) struct Expiring {
    pub(crate) license: License,
    pub(crate) flag: Flag,
    pub(crate) last_day: CivilDate,
    /// Whether it goes on by itself at that end (V-05).
    pub(crate) extends: bool,
}

/// The licenses whose last day lies in `from..=to`, by day and serial. A partner sees its own customers' only; staff see all, or
/// those of `partner`.
///
/// The indexes follow the terms on record. A license that has just extended itself stands at its former end until the due pass
/// has put the new term on record, a minute later at most: its true last day decides whether it is listed, and is what is told. So
/// a page may hold fewer than were asked for, and still have a next one.
///
/// # Errors
/// ROLE_NOT_ALLOWED for customers; NOT_YOUR_CUSTOMER for a partner that asks for another's; INVALID_FIELD for days in the wrong
/// order or more than three years apart, and for a foreign page token.
pub(crate) fn list(
    deps: &Deps,
    caller: &Caller,
    (from, to): (CivilDate, CivilDate),
    partner: Option<PartnerId>,
    page: &Page,
) -> Result<Paged<Expiring>, Outcome> {
    let partner = visible(caller, partner)?;
    check_days(from, to)?;
    let range = match &partner {
        None => keys::expiring_between(from, to),
        Some(partner) => keys::partner_expiring_between(partner, from, to),
    };
    let (found, next) = read::index_page(deps, "expiring", &range, page)?;
    let now = deps.clock.now();
    let mut store = &deps.store;
    let mut listed = Vec::with_capacity(found.len());
    for key in found {
        let serial = keys::dated_serial(&key).ok_or(MALFORMED)?;
        let stored: Option<License> = store.load(&keys::license(&serial))?;
        // Gone or moved since the page was read.
        let Some(stored) = stored else { continue };
        let today = deps.today(&stored, now)?;
        let programme = deps.programme(&stored)?;
        let license = stored.at(programme, today);
        let Some(last_day) = maintenance::last_day(&license.terms) else {
            continue;
        };
        if last_day < from || last_day > to {
            continue;
        }
        listed.push(Expiring {
            flag: maintenance::flag(programme, &license.terms, today),
            extends: maintenance::extends(programme, &license),
            last_day,
            license,
        });
    }
    Ok((listed, next))
}

/// Who may ask at all.
///
/// # Errors
/// ROLE_NOT_ALLOWED for customers.
pub(crate) fn check_role(caller: &Caller) -> Result<(), Refusal> {
    match caller.role {
        Role::Partner | Role::Support | Role::Admin | Role::System => Ok(()),
        Role::EndUser => Err(Refusal::new(Reason::RoleNotAllowed).with("role", caller.role)),
    }
}

/// Whose licenses are listed; none for everybody's.
fn visible(caller: &Caller, asked: Option<PartnerId>) -> Result<Option<PartnerId>, Outcome> {
    check_role(caller)?;
    match caller.role {
        Role::Support | Role::Admin | Role::System | Role::EndUser => Ok(asked),
        Role::Partner => {
            let own = caller
                .id
                .as_deref()
                .and_then(|id| PartnerId::parse(id).ok());
            let own = own.ok_or(Reason::NotYourCustomer)?;
            match asked {
                Some(other) if other != own => Err(Reason::NotYourCustomer.into()),
                _ => Ok(Some(own)),
            }
        }
    }
}

fn check_days(from: CivilDate, to: CivilDate) -> Result<(), Refusal> {
    let what = if from > to {
        "is before from_date"
    } else if from.plus_days(MOST_DAYS).is_ok_and(|last| to > last) {
        "is more than 3 years after from_date; ask for less at a time"
    } else {
        return Ok(());
    };
    Err(Refusal::invalid(vec![Violation::new("to_date", what)]))
}

/// Three years, one of them a leap year.
const MOST_DAYS: u32 = 3 * 365 + 1;
const MALFORMED: Fault = Fault::Inconsistent("an index key has no serial");
