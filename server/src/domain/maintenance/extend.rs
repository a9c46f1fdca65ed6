//! Automatic extension: a contract goes on by itself unless it was cancelled in time (V-05, N-14).

use upkeep::date::{CivilDate, Term};

use super::remind::days_before;
use super::{MAX_TERMS, last_day};
use crate::domain::license::License;
use crate::domain::programme::Programme;

/// The terms that `terms` have grown by until the day `today`, none of which is on record (N-12).
///
/// At the day after the last covered day a term is added, unless a cancellation was received on or before that last day less the
/// days of notice; a later one counts for the next end. So a contract that nobody cancelled never lapses.
///
/// * `cancelled_on` - the day on which a cancellation was received.
pub fn extended(
    programme: &Programme,
    terms: &[Term],
    cancelled_on: Option<CivilDate>,
    today: CivilDate,
) -> Vec<Term> {
    let mut added = Vec::new();
    let Some(mut end) = last_day(terms) else {
        return added;
    };
    loop {
        let held = terms.len().saturating_add(added.len());
        match following(programme, held, end, cancelled_on) {
            Some(term) if term.first() <= today => {
                end = term.last();
                added.push(term);
            }
            _ => return added,
        }
    }
}

/// Whether a license goes on by itself at its present end (V-05).
pub(crate) fn extends(programme: &Programme, license: &License) -> bool {
    let end = last_day(&license.terms);
    let cancelled_on = license.contract.cancelled_on;
    end.is_some_and(|end| following(programme, license.terms.len(), end, cancelled_on).is_some())
}

/// The term that follows the last day `end` by itself. `None` where nothing extends, when a cancellation came in time, for a
/// license that holds as many terms as it may, and after 9999-12-31.
///
/// * `held` - how many terms the license holds.
pub(super) fn following(
    programme: &Programme,
    held: usize,
    end: CivilDate,
    cancelled_on: Option<CivilDate>,
) -> Option<Term> {
    let rule = programme.auto_extend()?;
    if held >= MAX_TERMS || cancelled_on.is_some_and(|day| is_in_time(day, end, rule.notice_days)) {
        return None;
    }
    Term::of_months(end.next().ok()?, rule.months).ok()
}

/// The last day on which a cancellation stops the extension at the end of `terms` (N-14); `None` where nothing extends.
pub(crate) fn cancel_by(programme: &Programme, terms: &[Term]) -> Option<CivilDate> {
    let rule = programme.auto_extend()?;
    days_before(last_day(terms)?, rule.notice_days)
}

/// The day with which cover ends for good; `None` while it goes on by itself, or where there is none.
///
/// * `terms` - as they stand today. A cancellation that came after the notice lets one more term follow (N-14).
pub(crate) fn ends_on(
    programme: &Programme,
    terms: &[Term],
    cancelled_on: Option<CivilDate>,
) -> Option<CivilDate> {
    let end = last_day(terms)?;
    let (Some(rule), Some(cancelled_on)) = (programme.auto_extend(), cancelled_on) else {
        return programme.auto_extend().is_none().then_some(end);
    };
    if is_in_time(cancelled_on, end, rule.notice_days) {
        return Some(end);
    }
    let first = end.next().ok()?;
    let term = Term::of_months(first, rule.months).ok()?;
    // Terms are longer than a notice has days, or the cancellation counts for the end after that one: a few steps at most.
    let mut further = terms.to_vec();
    further.push(term);
    if is_in_time(cancelled_on, term.last(), rule.notice_days) || further.len() >= MAX_TERMS {
        return Some(term.last());
    }
    ends_on(programme, &further, Some(cancelled_on))
}

/// Whether a cancellation received on `day` stops the extension at the end `end` (N-14).
fn is_in_time(day: CivilDate, end: CivilDate, notice_days: u32) -> bool {
    day.plus_days(notice_days)
        .is_ok_and(|with_notice| with_notice <= end)
}
