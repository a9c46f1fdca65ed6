//! What has to be done for a license on a day: terms to put on record and reminders to send (N-09, N-12, N-14).
//!
//! It is derived from the dates each time. What was done before is known from the terms on record and from the notices.

use upkeep::date::{CivilDate, Term};

use super::last_day;
use super::remind::{Reseller, days_before, reminders};
use crate::domain::license::License;
use crate::domain::machine::LicenseState;
use crate::domain::programme::{Audience, Programme};

/// What is due for one license.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Due {
    /// Terms that automatic extension has added and that are not on record.
    pub(crate) extension: Vec<Term>,
    /// Reminders to send, in the order of the programme's rules.
    pub(crate) notices: Vec<Notice>,
    /// Reminders whose day has come when there was nothing left to remind of, by their days before the end: marked, never sent.
    pub(crate) passed: Vec<u32>,
}

/// A reminder to send (T-11, S-18).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Notice {
    /// The rule that asks for it.
    pub(crate) days_before: u32,
    /// The day that the rule names; a day in the past is due at once.
    pub(crate) due_on: CivilDate,
    /// The end that it reminds of.
    pub(crate) last_day: CivilDate,
    /// Who gets it. Never the reseller where there is none.
    pub(crate) to: Audience,
    /// Whether the rule names the reseller, and there is none (T-10).
    pub(crate) is_fallback: bool,
}

/// What is due for `license`, which stands as of the day `today` (see [`License::at`]).
///
/// A reminder is due from its day on until the end that it speaks of: one for each rule and end. A reminder for an end that has
/// moved is never sent, and neither is one after the end. Where a license has no reseller, the vendor's office in the customer's
/// region takes over, or whomever the rule names (T-10).
pub(crate) fn decide(programme: &Programme, license: &License, today: CivilDate) -> Due {
    let mut due = Due::default();
    let Some(end) = last_day(&license.terms) else {
        return due;
    };
    let on_record = license.terms_on_record;
    due.extension = license.terms.get(on_record..).unwrap_or_default().to_vec();
    if license.state == LicenseState::Ordered {
        return due;
    }
    // Notices speak of the end on record: where it has moved, they count no more.
    let reminded: &[u32] = match due.extension.is_empty() {
        true => &license.contract.reminded,
        false => &[],
    };
    if today > end {
        let rules = programme.remind().iter().map(|rule| rule.days_before);
        due.passed = rules.filter(|days| !reminded.contains(days)).collect();
        return due;
    }
    let reseller = match license.partner {
        Some(_) => Reseller::Known,
        None => Reseller::None,
    };
    let reminders = reminders(programme, today, end, reseller);
    for (reminder, rule) in reminders.into_iter().zip(programme.remind()) {
        if reminder.send_on <= today && !reminded.contains(&rule.days_before) {
            due.notices.push(Notice {
                days_before: rule.days_before,
                due_on: days_before(end, rule.days_before).unwrap_or(today),
                last_day: end,
                to: reminder.to,
                is_fallback: reminder.to != rule.to,
            });
        }
    }
    due
}

impl Due {
    /// Whether nothing is due.
    pub(crate) fn is_empty(&self) -> bool {
        self.extension.is_empty() && self.notices.is_empty() && self.passed.is_empty()
    }

    /// Marks reminders, sent and passed, in the notices. The terms are on record by then.
    pub(crate) fn mark(&self, license: &mut License) {
        let sent = self.notices.iter().map(|notice| notice.days_before);
        let notices = &mut license.contract.reminded;
        notices.extend(sent.chain(self.passed.iter().copied()));
        notices.sort_unstable();
        notices.dedup();
    }
}
