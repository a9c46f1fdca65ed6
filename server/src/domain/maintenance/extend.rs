//! Automatic extension: a contract goes on by itself unless it was cancelled in time (V-05, N-14).

use upkeep::date::{CivilDate, Term};

use super::{MAX_TERMS, last_day};
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
    let (Some(rule), Some(mut end)) = (programme.auto_extend(), last_day(terms)) else {
        return added;
    };
    let held = terms.len();
    while today > end
        && !cancelled_on.is_some_and(|day| is_in_time(day, end, rule.notice_days))
        && held.saturating_add(added.len()) < MAX_TERMS
    {
        // After 9999-12-31 there is nothing to extend to.
        let next = end
            .next()
            .and_then(|first| Term::of_months(first, rule.months));
        let Ok(term) = next else { break };
        end = term.last();
        added.push(term);
    }
    added
}

/// Whether a cancellation received on `day` stops the extension at the end `end` (N-14).
pub(super) fn is_in_time(day: CivilDate, end: CivilDate, notice_days: u32) -> bool {
    day.plus_days(notice_days)
        .is_ok_and(|with_notice| with_notice <= end)
}
