//! Buying maintenance for one license: what kind of purchase it is, and which terms it makes (N-04, N-05, N-11; S-14 to S-23, P-12 to P-14).
//!
//! It decides dates only; [`super::price`] says what they cost. Nothing here is stored: the same facts give the same purchase, so a
//! quote is computed again when it is ordered.

use upkeep::date::{CivilDate, DateError, Term};

use super::{MAX_TERMS, last_day, overlap, renewal_closes_on, renewal_opens_on};
use crate::domain::programme::Programme;
use crate::domain::programme::policy::{LapseMode, MajorRelease};
use crate::domain::refusal::{Reason, Refusal};
use crate::domain::vocabulary::vocabulary;

vocabulary! {
    /// What buying maintenance on a day is (N-05).
    Kind {
        /// The license was never covered.
        New = "new",
        /// It is covered, or in grace: cover goes on.
        Renewal = "renewal",
        /// It has lapsed.
        Reinstatement = "reinstatement",
    }
}

vocabulary! {
    /// When a contract was begun, which decides its rates (V-09, V-10).
    Bought {
        /// On the day the software was bought.
        WithSoftware = "with_software",
        /// Later, or again after a lapse.
        Later = "later",
    }
}

/// What a purchase is decided from.
#[derive(Clone, Copy, Debug)]
pub struct Facts<'a> {
    /// Every term bought so far, as it stands on the day of purchase.
    pub terms: &'a [Term],
    /// The day of purchase, in the programme's calendar (N-01).
    pub on: CivilDate,
    /// How many terms are asked for.
    pub terms_requested: u32,
    /// What the customer asked for; `None` lets the day decide.
    pub wanted: Option<Kind>,
    /// The days of the product's major releases, in any order (P-14).
    pub majors: &'a [CivilDate],
    /// The day on which the license itself was bought; `None` counts maintenance as bought with it (V-10).
    pub purchased_on: Option<CivilDate>,
}

/// A purchase that may be made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Purchase {
    /// What it is.
    pub kind: Kind,
    /// The bought terms, one after another, each counted from its own first day (N-04). Never empty.
    pub terms: Vec<Term>,
    /// The contract year of the first of them, from 1 (V-14).
    pub first_year: u32,
    /// When the contract that they belong to was begun (V-10).
    pub bought: Bought,
}

/// Decides what buying maintenance for one license is, and which terms it makes.
///
/// Checks in this order: the number of terms, whether the programme is sold, the kind that was asked for, the window, the mode of a
/// lapse, major releases in the gap, the calendar.
///
/// # Errors
/// INVALID_TERM_COUNT, TOO_MANY_TERMS (N-11), PROGRAMME_CLOSED (V-06), what [`kind_on`] says of the kind, RENEWAL_TOO_EARLY with `opens_on` (S-14), REFER_TO_VENDOR (T-12), UPGRADE_REQUIRED (P-14).
pub fn decide(programme: &Programme, facts: &Facts<'_>) -> Result<Purchase, Refusal> {
    check_count(programme, facts.terms_requested)?;
    let standing = standing(programme, facts.terms, facts.on);
    check_open(programme, standing, facts.on)?;
    kind_on(programme, last_day(facts.terms), facts.on, facts.wanted)?;
    let terms = match standing {
        Standing::NeverCovered => chain(programme, facts.on, facts.terms_requested)?,
        Standing::Renewable(last) => {
            check_window(programme, last, facts.on)?;
            chain(programme, day_after(last)?, facts.terms_requested)?
        }
        Standing::Lapsed(last) => {
            check_lapse(programme, last, facts.on, facts.majors)?;
            chain_after_lapse(programme, last, facts.on, facts.terms_requested)?
        }
    };
    check_held(facts.terms, terms.len())?;
    Ok(contract(facts, standing, terms))
}

/// How a license stands on the day of a purchase (N-05).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Standing {
    /// No term was ever bought.
    NeverCovered,
    /// This last covered day, or the grace after it, has not passed.
    Renewable(CivilDate),
    /// This last covered day and its grace have passed.
    Lapsed(CivilDate),
}

/// How a license with `terms` stands on `on`.
pub(super) fn standing(programme: &Programme, terms: &[Term], on: CivilDate) -> Standing {
    last_day(terms).map_or(Standing::NeverCovered, |last| since(programme, last, on))
}

/// How cover up to `last` stands on `on`. A grace that would end after 9999 has not passed.
pub(super) fn since(programme: &Programme, last: CivilDate, on: CivilDate) -> Standing {
    if renewal_closes_on(programme, last).is_ok_and(|closes| on > closes) {
        Standing::Lapsed(last)
    } else {
        Standing::Renewable(last)
    }
}

/// N-11: at least one term, and no more than 50 or what the programme allows.
pub(super) fn check_count(programme: &Programme, count: u32) -> Result<(), Refusal> {
    let most = programme.max_terms_per_order().min(MAX_ORDER);
    match count {
        0 => Err(Reason::InvalidTermCount.into()),
        count if count > most => Err(Refusal::new(Reason::TooManyTerms).with("most", most)),
        _ => Ok(()),
    }
}

/// A license record stays small: it holds a bounded number of terms.
pub(super) fn check_held(held: &[Term], added: usize) -> Result<(), Refusal> {
    if held.len().saturating_add(added) > MAX_TERMS {
        return Err(Refusal::new(Reason::TooManyTerms)
            .detail(format!("a license holds at most {MAX_TERMS} terms")));
    }
    Ok(())
}

/// Whether one more term fits.
///
/// # Errors
/// TOO_MANY_TERMS.
pub(crate) fn check_room(held: &[Term]) -> Result<(), Refusal> {
    check_held(held, 1)
}

/// V-06: a closed programme begins no contract; contracts that exist go on.
pub(super) fn check_open(
    programme: &Programme,
    standing: Standing,
    on: CivilDate,
) -> Result<(), Refusal> {
    match programme.sold_until() {
        Some(until) if standing == Standing::NeverCovered && on > until => {
            Err(Refusal::new(Reason::ProgrammeClosed).with("sold_until", until))
        }
        _ => Ok(()),
    }
}

/// What buying maintenance after cover up to `last` is on the day `on` (N-05).
///
/// * `last` - `None` for what never was covered.
/// * `wanted` - what was asked for, which must be that.
///
/// # Errors
/// ORDER_FIRST, REINSTATEMENT_REQUIRED with `last_day` and `closed_on`, COVER_STILL_ACTIVE with `last_day`.
pub(crate) fn kind_on(
    programme: &Programme,
    last: Option<CivilDate>,
    on: CivilDate,
    wanted: Option<Kind>,
) -> Result<Kind, Refusal> {
    let standing = last.map_or(Standing::NeverCovered, |last| since(programme, last, on));
    match (wanted, standing) {
        (Some(Kind::Renewal | Kind::Reinstatement), Standing::NeverCovered) => {
            Err(Reason::OrderFirst.into())
        }
        (Some(Kind::Reinstatement | Kind::New), Standing::Renewable(last)) => {
            Err(Refusal::new(Reason::CoverStillActive).with("last_day", last))
        }
        (Some(Kind::Renewal | Kind::New), Standing::Lapsed(last)) => {
            let refusal = Refusal::new(Reason::ReinstatementRequired).with("last_day", last);
            Err(match renewal_closes_on(programme, last) {
                Ok(closes) => refusal.with("closed_on", closes),
                Err(_) => refusal,
            })
        }
        (_, Standing::NeverCovered) => Ok(Kind::New),
        (_, Standing::Renewable(_)) => Ok(Kind::Renewal),
        (_, Standing::Lapsed(_)) => Ok(Kind::Reinstatement),
    }
}

/// S-14, N-09: a renewal waits for its window.
pub(super) fn check_window(
    programme: &Programme,
    last: CivilDate,
    on: CivilDate,
) -> Result<(), Refusal> {
    match renewal_opens_on(programme, last) {
        Some(opens) if on < opens => {
            Err(Refusal::new(Reason::RenewalTooEarly).with("opens_on", opens))
        }
        _ => Ok(()),
    }
}

/// Whether a lapse may be bought out of at all: T-12, then P-14.
fn check_lapse(
    programme: &Programme,
    last: CivilDate,
    on: CivilDate,
    majors: &[CivilDate],
) -> Result<(), Refusal> {
    if programme.lapse().mode == LapseMode::Refer {
        return Err(Refusal::new(Reason::ReferToVendor)
            .detail(format!("maintenance ended on {last}"))
            .with("last_day", last));
    }
    match missed_major(programme, last, on, majors) {
        Some(major) => Err(Refusal::new(Reason::UpgradeRequired)
            .detail(format!("a major release came out on {major}"))
            .with("released_on", major)),
        None => Ok(()),
    }
}

/// The first major release that came out in the gap, where the programme asks (P-14). The last covered day and the day of purchase
/// are covered, so a release on one of them was not missed.
pub(super) fn missed_major(
    programme: &Programme,
    last: CivilDate,
    on: CivilDate,
    majors: &[CivilDate],
) -> Option<CivilDate> {
    if programme.lapse().major_release == MajorRelease::Ignore {
        return None;
    }
    let missed = majors.iter().filter(|day| last < **day && **day < on);
    missed.min().copied()
}

/// `count` terms one after another from `first`.
pub(super) fn chain(
    programme: &Programme,
    first: CivilDate,
    count: u32,
) -> Result<Vec<Term>, Refusal> {
    Ok(Term::chain(first, programme.term_months(), count).map_err(|_| BEYOND_THE_CALENDAR)?)
}

/// The terms of a purchase after cover to `last` has lapsed (N-05).
///
/// Back-dated, the gap is paid for: as many terms as reach the day of purchase, and at least as many as were asked for.
pub(super) fn chain_after_lapse(
    programme: &Programme,
    last: CivilDate,
    on: CivilDate,
    count: u32,
) -> Result<Vec<Term>, Refusal> {
    if programme.lapse().mode != LapseMode::Backdate {
        return chain(programme, on, count);
    }
    let mut terms = chain(programme, day_after(last)?, count)?;
    while let Some(end) = last_day(&terms).filter(|end| *end < on) {
        if terms.len() >= usize::try_from(MAX_ORDER).unwrap_or(usize::MAX) {
            return Err(Refusal::new(Reason::TooManyTerms).detail(format!(
                "more than {MAX_ORDER} terms lie between {last} and {on}"
            )));
        }
        terms.extend(chain(programme, day_after(end)?, 1)?);
    }
    Ok(terms)
}

/// The day after cover ends; there is none after 9999-12-31.
pub(super) fn day_after(last: CivilDate) -> Result<CivilDate, Refusal> {
    Ok(last.next().map_err(|_: DateError| BEYOND_THE_CALENDAR)?)
}

/// Which contract the new terms belong to: the unbroken chain that they go on, or one of their own (V-10, V-14).
fn contract(facts: &Facts<'_>, standing: Standing, terms: Vec<Term>) -> Purchase {
    let begun_on = |first: Option<CivilDate>| match (facts.purchased_on, first) {
        (Some(bought), Some(first)) if first > bought => Bought::Later,
        _ => Bought::WithSoftware,
    };
    let (kind, first_year, bought) = match standing {
        Standing::NeverCovered => (Kind::New, 1, begun_on(terms.first().map(Term::first))),
        Standing::Renewable(_) => {
            let (held, first) = last_chain(facts.terms);
            let year = u32::try_from(held).unwrap_or(u32::MAX).saturating_add(1);
            (Kind::Renewal, year, begun_on(first))
        }
        Standing::Lapsed(_) => (Kind::Reinstatement, 1, Bought::Later),
    };
    Purchase {
        kind,
        terms,
        first_year,
        bought,
    }
}

/// The number of terms in the last unbroken chain, and its first day.
fn last_chain(terms: &[Term]) -> (usize, Option<CivilDate>) {
    let mut sorted = terms.to_vec();
    sorted.sort_unstable();
    let mut first: Option<CivilDate> = None;
    let mut count = 0_usize;
    for term in sorted.iter().rev() {
        let joins = first.is_none_or(|first| term.last().next().is_ok_and(|next| next >= first));
        if !joins {
            break;
        }
        first = Some(term.first());
        count = count.saturating_add(1);
    }
    (count, first)
}

/// The next `count` terms for a license with `terms`, as an administrator records them on the day `today` (N-04, N-05, N-11).
///
/// They start on `first` where the caller names it. Otherwise on the day after the last covered day while that day, or its
/// grace, has not passed; after a lapse, and for a license never covered, on `today`. Whether the renewal window has opened is
/// not asked here: an administrator records what was sold.
///
/// # Errors
/// [`Reason::InvalidTermCount`] for none, [`Reason::TooManyTerms`] for more than 50, more than the programme allows, more than a
/// license may hold, or an end after 9999-12-31, [`Reason::CoverStillActive`] when they would overlap what was bought.
pub fn next_terms(
    programme: &Programme,
    terms: &[Term],
    today: CivilDate,
    count: u32,
    first: Option<CivilDate>,
) -> Result<Vec<Term>, Refusal> {
    check_count(programme, count)?;
    check_held(terms, usize::try_from(count).unwrap_or(usize::MAX))?;
    let start = match (first, standing(programme, terms, today)) {
        (Some(first), _) => first,
        (None, Standing::Renewable(last)) => day_after(last)?,
        (None, Standing::NeverCovered | Standing::Lapsed(_)) => today,
    };
    let next = chain(programme, start, count)?;
    if next
        .iter()
        .any(|new| terms.iter().any(|old| overlap(old, new)))
    {
        return Err(Reason::CoverStillActive.into());
    }
    Ok(next)
}

/// N-11: never more in one order, whatever the programme says.
const MAX_ORDER: u32 = 50;
/// N-11: the calendar ends with 9999.
const BEYOND_THE_CALENDAR: Reason = Reason::TooManyTerms;
