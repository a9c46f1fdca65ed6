//! Reminders before the end of cover (T-11, S-18, N-09), and the day on which something is due for a license.

use chrono::Days;
use upkeep::date::CivilDate;

use super::extend::following;
use super::last_day;
use crate::domain::license::License;
use crate::domain::machine::LicenseState;
use crate::domain::programme::{Audience, Programme};

/// The first day on which something is due for a license: a reminder that was not sent, or an extension.
///
/// Derived from the state, the terms on record and the notices alone, so it changes only when those do. A day in the past is due
/// at once. Nobody is reminded of a license that was ordered and not delivered.
pub(crate) fn next_due(programme: &Programme, license: &License) -> Option<CivilDate> {
    let on_record = license
        .terms
        .get(..license.terms_on_record)
        .unwrap_or_default();
    let end = last_day(on_record)?;
    let reminders = programme
        .remind()
        .iter()
        .filter(|_| license.state != LicenseState::Ordered)
        .filter(|rule| !license.contract.reminded.contains(&rule.days_before))
        .filter_map(|rule| days_before(end, rule.days_before));
    let cancelled_on = license.contract.cancelled_on;
    let extension = following(programme, on_record.len(), end, cancelled_on);
    reminders.chain(extension.map(|term| term.first())).min()
}

/// A mail that is due before the end of cover.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Reminder {
    /// The day from which on it is due.
    pub send_on: CivilDate,
    /// To whom it goes.
    pub to: Audience,
    /// The rule that it follows: its days before the end.
    pub days_before: u32,
}

/// Whether the customer has a usual reseller (T-10).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reseller {
    /// It has.
    Known,
    /// It has none, so the vendor's office in its region stands in.
    None,
}

/// The reminders for cover that ends on `last_day`, in the programme's order (T-11, S-18, N-09, vectors D47 to D49).
///
/// What would have been due before the cover was made is due at once. Cover that had ended before it was recorded is not reminded of.
///
/// * `created_on` - the day on which the cover up to that day was bought or recorded.
pub fn reminders(
    programme: &Programme,
    created_on: CivilDate,
    last_day: CivilDate,
    reseller: Reseller,
) -> Vec<Reminder> {
    if created_on > last_day {
        return Vec::new();
    }
    let rules = programme.remind().iter();
    rules
        .map(|rule| Reminder {
            // Before 1970 is before any cover was made.
            send_on: days_before(last_day, rule.days_before)
                .map_or(created_on, |due| due.max(created_on)),
            to: match (rule.to, reseller) {
                (Audience::Reseller, Reseller::None) => {
                    rule.fallback.unwrap_or(Audience::VendorRegion)
                }
                (to, _) => to,
            },
            days_before: rule.days_before,
        })
        .collect()
}

/// The day `days` days before `end`: plain, not clear, days (N-09). `None` before 1970.
pub(crate) fn days_before(end: CivilDate, days: u32) -> Option<CivilDate> {
    end.naive()
        .checked_sub_days(Days::new(days.into()))
        .and_then(|day| CivilDate::from_naive(day).ok())
}
