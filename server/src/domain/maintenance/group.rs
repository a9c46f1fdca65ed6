//! Licenses on one dongle: they share one last day, so what is bought for one brings the others up to it (P-04 to P-07, N-07, A-10).
//!
//! Generic over what names a license. Each line is one license's purchase: a term up to exactly the common last day.

use std::fmt::Display;

use upkeep::date::{CivilDate, Term};

use super::price::{Price, in_currency, sum};
use super::purchase::{
    Standing, chain, chain_after_lapse, check_count, check_open, check_window, day_after,
    missed_major, since,
};
use crate::domain::money::Money;
use crate::domain::programme::Programme;
use crate::domain::programme::policy::{GroupBilling, LapseMode};
use crate::domain::refusal::{Reason, Refusal};

/// One license on the dongle.
#[derive(Clone, Debug)]
pub struct Member<'a, L> {
    /// Its name, such as its serial number.
    pub license: L,
    /// Its latest covered day; `None` when it never was covered.
    pub last_day: Option<CivilDate>,
    /// The price of twelve months of its maintenance; `None` leaves its line to a person.
    pub annual: Option<Money>,
    /// The days of its product's major releases (P-14).
    pub majors: &'a [CivilDate],
}

/// What one license buys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupLine<L> {
    /// Which license.
    pub license: L,
    /// From its first day that is not paid for yet up to the common last day.
    pub term: Term,
    /// What is billed.
    pub length: Length,
    /// What it costs.
    pub price: Price,
    /// How that was computed, for people.
    pub how: String,
}

/// How long a line is, in the programme's way of billing (N-07).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Length {
    /// Whole months: the smallest number that reaches the common last day, or those of the terms that were asked for.
    Months(u32),
    /// Full terms of twelve months, then days of one more.
    Days {
        /// The full terms.
        terms: u32,
        /// The days after them.
        days: u32,
        /// How many days the twelve months have that those days are part of: 365 or 366.
        of: u32,
    },
}

/// A purchase for the licenses of a dongle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupPurchase<L> {
    /// The common last day; `None` when nothing on the dongle is covered, was or will be.
    pub last_day: Option<CivilDate>,
    /// The terms that were asked for, on which the common last day rests; none when a license was added.
    pub terms: Vec<Term>,
    /// In the order of the members; those that reach the day already have none.
    pub lines: Vec<GroupLine<L>>,
    /// What all lines cost; nothing at all when there is none.
    pub total: Option<Price>,
}

/// The purchases that follow when the license `new`, bought on `on`, joins the dongle (P-06, P-07, vectors D50 to D52 and D97).
///
/// The common last day is the latest of all, the new license's own included months among them.
///
/// * `new` - its `last_day` is the end of the maintenance that came with it ([`super::cover_of_new`]).
///
/// # Errors
/// REFER_TO_VENDOR for lapsed licenses of a programme that leaves them to a person, UPGRADE_REQUIRED with every lapsed license that
/// missed a major release (P-14), `new` among them; CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub fn add<L: Clone + Display>(
    programme: &Programme,
    existing: &[Member<'_, L>],
    new: &Member<'_, L>,
    on: CivilDate,
) -> Result<GroupPurchase<L>, Refusal> {
    let all = || existing.iter().chain([new]);
    let Some(target) = all().filter_map(|member| member.last_day).max() else {
        return Ok(GroupPurchase {
            last_day: None,
            terms: Vec::new(),
            lines: Vec::new(),
            total: None,
        });
    };
    // The one that joins may be an old license too, and joining is no way around its lapse.
    check_lapsed(programme, all().filter(|m| m.last_day < Some(target)), on)?;
    let mut lines = Vec::new();
    for member in all() {
        lines.extend(catch_up(programme, member, on, target)?);
    }
    finish(target, Vec::new(), lines)
}

/// Renews a whole dongle (P-04, P-12, vectors D53, D54 and D92).
///
/// The terms go on from the common last day, and every license is brought up to their end. Checks in this order: the number of
/// terms, the licenses that are missing, whether the programme is sold, the window, lapses.
///
/// * `group_last_day` - the day in the dongle; the latest day of a member counts when that is later.
///
/// # Errors
/// INVALID_TERM_COUNT, TOO_MANY_TERMS, NOT_FOUND for a selected license that is not on the dongle, COTERM_INCOMPLETE with all that
/// are missing, PROGRAMME_CLOSED (V-06), RENEWAL_TOO_EARLY with `opens_on`, then as [`add`].
pub fn renew<L: Clone + Display + PartialEq>(
    programme: &Programme,
    existing: &[Member<'_, L>],
    selected: &[L],
    group_last_day: Option<CivilDate>,
    terms_requested: u32,
    on: CivilDate,
) -> Result<GroupPurchase<L>, Refusal> {
    check_count(programme, terms_requested)?;
    let chosen = choose(programme, existing, selected)?;
    let held = existing.iter().filter_map(|member| member.last_day);
    let end = held.chain(group_last_day).max();
    let lapsed = || check_lapsed(programme, chosen.iter().copied(), on);
    let standing = end.map_or(Standing::NeverCovered, |last| since(programme, last, on));
    check_open(programme, standing, on)?;
    let terms = match standing {
        Standing::NeverCovered => chain(programme, on, terms_requested)?,
        Standing::Renewable(last) => {
            check_window(programme, last, on)?;
            // Some may have lapsed long before the others.
            lapsed()?;
            chain(programme, day_after(last)?, terms_requested)?
        }
        Standing::Lapsed(last) => {
            lapsed()?;
            chain_after_lapse(programme, last, on, terms_requested)?
        }
    };
    let (Some(first), Some(target)) =
        (terms.first().map(Term::first), terms.last().map(Term::last))
    else {
        return Err(Reason::InvalidTermCount.into());
    };
    let mut lines = Vec::new();
    for member in chosen {
        if member.last_day == end {
            let count = u32::try_from(terms.len()).unwrap_or(u32::MAX);
            let length = whole_terms(programme, first, target, count)?;
            lines.push(line(programme, member, first, target, length)?);
        } else {
            lines.extend(catch_up(programme, member, on, target)?);
        }
    }
    finish(target, terms, lines)
}

/// The selected members, in the order of the dongle (P-04).
fn choose<'m, 'a, L: Clone + Display + PartialEq>(
    programme: &Programme,
    existing: &'m [Member<'a, L>],
    selected: &[L],
) -> Result<Vec<&'m Member<'a, L>>, Refusal> {
    let unknown = selected
        .iter()
        .find(|label| existing.iter().all(|member| member.license != **label));
    if let Some(unknown) = unknown {
        return Err(Refusal::new(Reason::NotFound)
            .detail(format!("{unknown} is not on this dongle"))
            .with("license", unknown));
    }
    let (chosen, missing): (Vec<_>, Vec<_>) = existing
        .iter()
        .partition(|member| selected.contains(&member.license));
    let all = programme.group().is_none_or(|group| group.renew_all);
    if (all || chosen.is_empty()) && !missing.is_empty() {
        return Err(Refusal::new(Reason::CotermIncomplete)
            .with("missing", listed(missing.iter().map(|m| &m.license))));
    }
    Ok(chosen)
}

/// T-12 and P-14 for the members that have lapsed by `on`; a license that never was covered has no gap.
fn check_lapsed<'m, 'a: 'm, L: Display + 'm>(
    programme: &Programme,
    members: impl Iterator<Item = &'m Member<'a, L>> + Clone,
    on: CivilDate,
) -> Result<(), Refusal> {
    let lapsed = members.filter_map(|member| {
        let standing = since(programme, member.last_day?, on);
        match standing {
            Standing::Lapsed(last) => Some((member, last)),
            Standing::Renewable(_) | Standing::NeverCovered => None,
        }
    });
    if programme.lapse().mode == LapseMode::Refer && lapsed.clone().next().is_some() {
        let licenses = listed(lapsed.map(|(member, _)| &member.license));
        return Err(Refusal::new(Reason::ReferToVendor)
            .detail(format!("maintenance has lapsed for {licenses}"))
            .with("licenses", licenses));
    }
    let missed: Vec<_> = lapsed
        .filter(|(member, last)| missed_major(programme, *last, on, member.majors).is_some())
        .map(|(member, _)| &member.license)
        .collect();
    if missed.is_empty() {
        return Ok(());
    }
    Err(Refusal::new(Reason::UpgradeRequired).with("licenses", listed(missed)))
}

/// What `member` buys to reach `target`: from the day after its last, but never from before `on` (N-07).
fn catch_up<L: Clone>(
    programme: &Programme,
    member: &Member<'_, L>,
    on: CivilDate,
    target: CivilDate,
) -> Result<Option<GroupLine<L>>, Refusal> {
    if member.last_day.is_some_and(|last| last >= target) {
        return Ok(None);
    }
    let first = match member.last_day {
        Some(last) => day_after(last)?.max(on),
        None => on,
    };
    // A dongle whose date has passed, and a license that brings no cover: there is nothing to reach.
    if first > target {
        return Ok(None);
    }
    let length = match billing(programme) {
        GroupBilling::WholeMonthsUp => Length::Months(months_up(first, target)),
        GroupBilling::Days => terms_and_days(first, target)?,
    };
    line(programme, member, first, target, length).map(Some)
}

/// The length of the terms that were asked for: they end on `target` by themselves (N-04).
fn whole_terms(
    programme: &Programme,
    first: CivilDate,
    target: CivilDate,
    count: u32,
) -> Result<Length, Refusal> {
    match billing(programme) {
        GroupBilling::Days if programme.term_months() == YEAR => Ok(Length::Days {
            terms: count,
            days: 0,
            of: days_of_year(target),
        }),
        GroupBilling::Days => terms_and_days(first, target),
        GroupBilling::WholeMonthsUp => Ok(Length::Months(
            count.saturating_mul(programme.term_months()),
        )),
    }
}

fn billing(programme: &Programme) -> GroupBilling {
    programme
        .group()
        .map_or(GroupBilling::WholeMonthsUp, |group| group.billing)
}

/// The smallest number of whole months from `first` that reaches `target` (N-03, N-07).
///
/// * `target` - on or after `first`.
pub fn months_up(first: CivilDate, target: CivilDate) -> u32 {
    use chrono::Datelike;
    let (from, to) = (first.naive(), target.naive());
    let years = u32::try_from(to.year().saturating_sub(from.year())).unwrap_or(0);
    let whole = years
        .saturating_mul(YEAR)
        .saturating_add(to.month())
        .saturating_sub(from.month());
    // The calendar's months are at most one too many or one too few.
    let reaches =
        |months| Term::of_months(first, months).map_or(true, |term| term.last() >= target);
    let mut months = whole.saturating_sub(1).max(1);
    while !reaches(months) {
        months = months.saturating_add(1);
    }
    months
}

/// Full terms of twelve months from `first`, chained, and the days that are left to `target` (N-07).
fn terms_and_days(first: CivilDate, target: CivilDate) -> Result<Length, Refusal> {
    let (mut terms, mut start) = (0_u32, first);
    while let Some(year) = Term::of_months(start, YEAR)
        .ok()
        .filter(|year| year.last() <= target)
    {
        terms = terms.saturating_add(1);
        if year.last() == target {
            let of = days_of_year(start);
            return Ok(Length::Days { terms, days: 0, of });
        }
        start = day_after(year.last())?;
    }
    Ok(Length::Days {
        terms,
        days: days_between(start, target),
        of: days_of_year(start),
    })
}

/// The days from `first` to `last`, both counted.
fn days_between(first: CivilDate, last: CivilDate) -> u32 {
    let days = last.naive().signed_duration_since(first.naive()).num_days();
    u32::try_from(days.saturating_add(1)).unwrap_or(0)
}

/// The days of the twelve months from `first`, which may end after 9999.
fn days_of_year(first: CivilDate) -> u32 {
    if let Ok(year) = Term::of_months(first, YEAR) {
        return days_between(year.first(), year.last());
    }
    let from = first.naive();
    let days = from
        .checked_add_months(chrono::Months::new(YEAR))
        .map_or(365, |to| to.signed_duration_since(from).num_days());
    u32::try_from(days).unwrap_or(365)
}

fn line<L: Clone>(
    programme: &Programme,
    member: &Member<'_, L>,
    first: CivilDate,
    target: CivilDate,
    length: Length,
) -> Result<GroupLine<L>, Refusal> {
    let term = Term::new(first, target).map_err(|_| Reason::TooManyTerms)?;
    let (price, how) = priced(programme, member.annual, length)?;
    Ok(GroupLine {
        license: member.license.clone(),
        term,
        length,
        price,
        how,
    })
}

/// What one term of a license on a dongle costs, and how that is computed (N-07).
///
/// * `annual` - the price of twelve months; `None` leaves it to a person.
///
/// # Errors
/// CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub fn term_price(
    programme: &Programme,
    annual: Option<Money>,
    term: Term,
) -> Result<(Price, String), Refusal> {
    let length = whole_terms(programme, term.first(), term.last(), 1)?;
    priced(programme, annual, length)
}

/// N-07: the annual price by twelfths, or full terms and the days' share of one more; rounded once.
fn priced(
    programme: &Programme,
    annual: Option<Money>,
    length: Length,
) -> Result<(Price, String), Refusal> {
    let Some(annual) = annual else {
        return Ok((Price::Quote, "a person at the vendor quotes".to_owned()));
    };
    let annual = in_currency(programme, annual)?;
    let (amount, how) = match length {
        Length::Months(months) => (
            annual.share(months, YEAR)?,
            format!("{months} of 12 months at {annual} a year"),
        ),
        Length::Days { terms, days, of } => {
            let parts = terms.saturating_mul(of).saturating_add(days);
            let how = match (terms, days) {
                (terms, 0) => format!("{terms} years at {annual}"),
                (0, days) => format!("{days} of {of} days at {annual} a year"),
                (terms, days) => {
                    format!("{terms} years and {days} of {of} days at {annual} a year")
                }
            };
            (annual.share(parts, of)?, how)
        }
    };
    Ok((Price::Amount(amount), how))
}

fn finish<L>(
    target: CivilDate,
    terms: Vec<Term>,
    lines: Vec<GroupLine<L>>,
) -> Result<GroupPurchase<L>, Refusal> {
    let total = if lines.is_empty() {
        None
    } else {
        Some(sum(lines.iter().map(|line| line.price))?)
    };
    Ok(GroupPurchase {
        last_day: Some(target),
        terms,
        lines,
        total,
    })
}

/// Names, with a comma between them.
fn listed<L: Display>(labels: impl IntoIterator<Item = L>) -> String {
    let labels: Vec<String> = labels.into_iter().map(|label| label.to_string()).collect();
    labels.join(",")
}

/// Prices are for twelve months, whatever the length of a term.
const YEAR: u32 = 12;
