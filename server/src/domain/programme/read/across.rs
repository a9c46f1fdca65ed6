//! What two sections say together: a price that needs rates, rates that need a currency, windows that fit into a term.

use upkeep::date::{CivilDate, Term};

use super::super::PriceRule;
use super::super::policy::*;
use super::super::section::Problems;
use crate::domain::money::Currency;

/// The sections that depend on each other.
pub(super) struct Facts<'a> {
    pub(super) currency: Option<Currency>,
    pub(super) cover: &'a Cover,
    pub(super) renew: &'a Renew,
    pub(super) lapse: &'a Lapse,
    pub(super) auto: Option<&'a AutoExtend>,
    pub(super) rates: Option<&'a Rates>,
    pub(super) expand: Option<&'a Expand>,
    pub(super) update: &'a Update,
    pub(super) tiers: &'a [Tier],
    pub(super) support: &'a [Support],
}

/// Names what does not fit together.
pub(super) fn check(facts: &Facts<'_>, problems: &mut Problems<'_>) {
    check_rates(facts, problems);
    check_months(facts, problems);
    check_currency(facts, problems);
    check_window(facts, problems);
    check_tiers(facts, problems);
}

/// A price by modules needs the rates of its kind (V-10, V-13).
fn check_rates(facts: &Facts<'_>, problems: &mut Problems<'_>) {
    let late = facts
        .rates
        .is_some_and(|rates| !rates.late_by_year.is_empty());
    for (key, price) in [
        ("renew.price", facts.renew.price),
        ("lapse.price", facts.lapse.price),
    ] {
        match price {
            PriceRule::Modules if facts.rates.is_none() => {
                problems.add(key, "is modules, so price.rate_bp_by_year is required");
            }
            PriceRule::ModulesLate if !late => {
                let problem = "is modules_late, so price.late_rate_bp_by_year is required";
                problems.add(key, problem);
            }
            _ => {}
        }
    }
}

/// A rate on modules is a fee for a year (V-12), and a price is one for a term: a longer or shorter one would cost the same.
fn check_months(facts: &Facts<'_>, problems: &mut Problems<'_>) {
    let term = facts.cover.term_months;
    let yearly = |price| matches!(price, PriceRule::Modules | PriceRule::ModulesLate);
    if term != YEAR && (yearly(facts.renew.price) || yearly(facts.lapse.price)) {
        let problem = format!(
            "must be 12, because a price by modules is a fee for a year, and a term of {term} months would cost the same"
        );
        problems.add("cover.term_months", problem);
    }
    if let Some(auto) = facts.auto
        && facts.renew.price != PriceRule::Quote
        && auto.months != term
    {
        let problem = format!(
            "must be cover.term_months ({term}), because renew says what a term costs, and an extension by {} months would cost the \
             same",
            auto.months
        );
        problems.add("auto.months", problem);
    }
}

/// An amount that is computed needs its currency (N-08).
fn check_currency(facts: &Facts<'_>, problems: &mut Problems<'_>) {
    // One that is there and wrong is named already.
    if facts.currency.is_some() || problems.name("programme.currency") {
        return;
    }
    let computed = |price| price != PriceRule::Quote;
    let money = [
        ("renew", computed(facts.renew.price)),
        ("lapse", computed(facts.lapse.price)),
        ("price", facts.rates.is_some()),
        ("expand", facts.expand.is_some()),
        ("update.price_minor", facts.update.price_minor > 0),
    ];
    let users: Vec<&str> = money
        .iter()
        .filter(|(_, uses)| *uses)
        .map(|(key, _)| *key)
        .collect();
    if !users.is_empty() {
        let problem = format!(
            "is required, because money is computed by: {}",
            users.join(", ")
        );
        problems.add("programme.currency", problem);
    }
}

/// The window of one term must have closed before that of the next opens, or a day would belong to two renewals (N-05, N-09).
fn check_window(facts: &Facts<'_>, problems: &mut Problems<'_>) {
    let Some(clear_days) = facts.renew.opens_clear_days else {
        return;
    };
    let days = clear_days
        .saturating_add(1)
        .saturating_add(facts.renew.grace_days);
    if let Some(shortest) = shortest_term(facts.cover.term_months)
        && days >= shortest
    {
        let problem = format!(
            "with renew.grace_days makes a window that overlaps the one of the term before: {days} days from its opening to the \
             end of the grace, and a term can be as short as {shortest}"
        );
        problems.add("renew.opens_clear_days", problem);
    }
}

/// The days of the shortest term of so many months; `None` for terms that are longer than any window.
///
/// A term from the first of a month in years without a leap day is as short as any of its months can be (N-03).
pub(in super::super) fn shortest_term(months: u32) -> Option<u32> {
    if months > 24 {
        return None;
    }
    let lengths = (1..=12).filter_map(|month| {
        let first = CivilDate::from_naive(chrono::NaiveDate::from_ymd_opt(2021, month, 1)?).ok()?;
        let after = Term::of_months(first, months).ok()?.last().next().ok()?;
        let days = after
            .naive()
            .signed_duration_since(first.naive())
            .num_days();
        u32::try_from(days).ok()
    });
    lengths.min()
}

/// A tier that no contract can have would be support for nobody (T-07).
fn check_tiers(facts: &Facts<'_>, problems: &mut Problems<'_>) {
    for rule in facts.support {
        for id in &rule.tiers {
            if !facts.tiers.iter().any(|tier| &tier.id == id) {
                problems.add(
                    "support.tiers",
                    format!("names {id}, which is no tier here"),
                );
            }
        }
    }
}

const YEAR: u32 = 12;
