//! Maintenance: what a license's terms cover, and where the next ones go (N-02, N-04 to N-06, N-09, N-11).
//!
//! Terms are what was bought; everything here is read from them and a day. Terms of a terminated contract are left out by the
//! caller (DOMAIN 7).

use chrono::Days;
use upkeep::date::{CivilDate, DateError, Term};

use crate::domain::programme::{Programme, Soon};
use crate::domain::vocabulary::vocabulary;

pub use self::cover::{NewLicense, VmProduct, cover_of_new};
pub(crate) use self::due::{Due, Notice, decide};
pub use self::expand::{Expansion, Maintained, expand};
pub use self::extend::extended;
pub(crate) use self::extend::{cancel_by, ends_on, extends};
pub use self::given::{GivenError, given};
pub use self::legacy::{LegacyAction, legacy};
pub(crate) use self::purchase::check_room;
pub use self::purchase::next_terms;
pub use self::remind::{Reminder, Reseller, reminders};
pub(crate) use self::remind::{days_before, next_due};

pub mod access;
pub mod cancel;
mod cover;
mod due;
mod expand;
mod extend;
mod given;
pub mod group;
mod legacy;
pub mod price;
pub mod purchase;
mod remind;
pub mod unlock;
pub mod zone;

vocabulary! {
    /// The flag that a customer sees (S-12).
    Flag {
        /// Covered.
        Protected = "Protected",
        /// Covered, and the end is near.
        ExpiringSoon = "Expiring Soon",
        /// Not covered.
        Expired = "Expired",
    }
}

/// The latest last day ever bought; `None` without terms (N-06).
pub fn last_day(terms: &[Term]) -> Option<CivilDate> {
    terms.iter().map(Term::last).max()
}

/// Whether some term covers `day`, both ends included (N-02).
pub fn covered_on(terms: &[Term], day: CivilDate) -> bool {
    terms.iter().any(|term| term.covers(day))
}

/// The last day up to which cover runs from `day` without a gap; `None` when `day` is not covered.
pub fn covered_until(terms: &[Term], day: CivilDate) -> Option<CivilDate> {
    let mut until = None;
    let mut next = Some(day);
    while let Some(day) = next {
        let reached = terms
            .iter()
            .filter(|term| term.covers(day))
            .map(Term::last)
            .max();
        if reached.is_some() {
            until = reached;
        }
        next = reached.and_then(|last| last.next().ok());
    }
    until
}

/// Whether a build made on `build_date` runs: it was made on or before the latest last day (N-06, P-03, A-02).
///
/// Gaps do not count: covering a license again later also opens the builds made in between.
pub fn covers_build(terms: &[Term], build_date: CivilDate) -> bool {
    last_day(terms).is_some_and(|last| build_date <= last)
}

/// The flag on the day `today` (S-12, A-06, vectors D38 to D40).
///
/// `Days(75)` turns on the 75th day before the end, as the reminder of T-11 does; a window of 60 clear days opens on the 61st
/// (N-09).
pub fn flag(programme: &Programme, terms: &[Term], today: CivilDate) -> Flag {
    let Some(until) = covered_until(terms, today) else {
        return Flag::Expired;
    };
    if soon_days(programme).is_some_and(|days| is_within(today, until, days)) {
        Flag::ExpiringSoon
    } else {
        Flag::Protected
    }
}

/// The first day on which cover up to `last_day` is shown as Expiring Soon (S-12); `None` for never, or when it lies before 1970.
pub fn soon_from(programme: &Programme, last_day: CivilDate) -> Option<CivilDate> {
    days_before(last_day, soon_days(programme)?)
}

/// How many days before the last covered day Expiring Soon begins.
fn soon_days(programme: &Programme) -> Option<u32> {
    match programme.soon() {
        Soon::Never => None,
        Soon::Days(days) => Some(days),
        Soon::RenewWindow(clear_days) => Some(clear_days.saturating_add(1)),
    }
}

/// The colour in which a flag is shown; `None` for Expired, which is shown with its date alone (S-12).
pub fn colour(programme: &Programme, flag: Flag) -> Option<&str> {
    let status = programme.status();
    match flag {
        Flag::Protected => Some(&status.protected),
        Flag::ExpiringSoon => Some(&status.expiring),
        Flag::Expired => None,
    }
}

/// The first day on which the next renewal can be bought; `None` for any time: the programme has no window, or it opened before
/// 1970 (S-14, N-09).
pub fn renewal_opens_on(programme: &Programme, last_day: CivilDate) -> Option<CivilDate> {
    programme
        .opens_clear_days()
        .and_then(|days| opening_day(last_day, days))
}

/// The last day on which buying is still a renewal: the last covered day, and the grace after it (N-05).
///
/// # Errors
/// [`DateError::Range`] when it would lie after 9999-12-31.
pub fn renewal_closes_on(
    programme: &Programme,
    last_day: CivilDate,
) -> Result<CivilDate, DateError> {
    last_day.plus_days(programme.grace_days())
}

fn overlap(one: &Term, other: &Term) -> bool {
    one.first() <= other.last() && other.first() <= one.last()
}

/// The day with `clear_days` whole days between it and `last` (N-09, A-01).
fn opening_day(last: CivilDate, clear_days: u32) -> Option<CivilDate> {
    let days = Days::new(u64::from(clear_days).saturating_add(1));
    last.naive()
        .checked_sub_days(days)
        .and_then(|day| CivilDate::from_naive(day).ok())
}

/// Whether `last` is at most `days` days after `today`.
fn is_within(today: CivilDate, last: CivilDate, days: u32) -> bool {
    // A day after 9999 lies after every last day.
    today.plus_days(days).map_or(true, |day| day >= last)
}

/// The most terms that one license holds: each call reads all of them, and its record has to stay small.
const MAX_TERMS: usize = 500;
