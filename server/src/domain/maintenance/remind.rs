//! Reminders before the end of cover (T-11, S-18, N-09), and the day on which something is due for a license.

use chrono::Days;
use upkeep::date::CivilDate;

use super::extend::following;
use super::last_day;
use crate::domain::license::License;
use crate::domain::machine::LicenseState;
use crate::domain::programme::Programme;

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

/// The day `days` days before `end`: plain, not clear, days (N-09). `None` before 1970.
pub(crate) fn days_before(end: CivilDate, days: u32) -> Option<CivilDate> {
    end.naive()
        .checked_sub_days(Days::new(days.into()))
        .and_then(|day| CivilDate::from_naive(day).ok())
}
