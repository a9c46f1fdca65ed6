//! Prices in `renew` and `lapse`, and `price` and `expand`: every amount is computed from a list price and basis points (N-08).

use super::super::PriceRule;
use super::super::policy::{Expand, Rates};
use super::super::section::{Problems, Section};
use super::WHOLE;
use crate::domain::money::BasisPoints;

/// The price in `renew` or `lapse`: a word, or a part of the list price; without either a person quotes.
pub(super) fn rule(section: &mut Section<'_>, problems: &mut Problems<'_>) -> PriceRule {
    let word = section.word(problems, "price", WORDS);
    let part = section.share(problems, "price_bp_of_list", WHOLE);
    if word.is_some() && part.is_some() {
        let problem = format!("stands beside {}: one of the two", section.key("price"));
        problems.add(&section.key("price_bp_of_list"), problem);
    }
    part.map(PriceRule::PartOfList)
        .or(word)
        .unwrap_or(PriceRule::Quote)
}

/// V-10, V-13, V-14: rates fall from year to year, and a contract bought late costs more in its first.
pub(super) fn rates(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Rates> {
    if section.is_present() {
        section.require(problems, &["rate_bp_by_year"]);
    }
    // The only basis there is; the key says it for people.
    section.word(problems, "basis", &[("modules", ())]);
    let rates = section.shares(problems, "rate_bp_by_year", WHOLE);
    let late = section.shares(problems, "late_rate_bp_by_year", MOST_LATE);
    for (name, list) in [("rate_bp_by_year", &rates), ("late_rate_bp_by_year", &late)] {
        if list.as_deref().is_some_and(rises) {
            let problem = "must not rise from one year to the next (V-14)";
            problems.add(&section.key(name), problem);
        }
    }
    let firsts = (rates.as_deref(), late.as_deref());
    if let (Some([first, ..]), Some([late_first, ..])) = firsts
        && late_first <= first
    {
        let problem = "must start above rate_bp_by_year: bought later is more expensive (V-10)";
        problems.add(&section.key("late_rate_bp_by_year"), problem);
    }
    section.close(problems);
    Some(Rates {
        by_year: rates?,
        late_by_year: late.unwrap_or_default(),
    })
}

/// V-07, N-15.
pub(super) fn expand(mut section: Section<'_>, problems: &mut Problems<'_>) -> Option<Expand> {
    if section.is_present() {
        section.require(problems, &["credit_bp_of_initial"]);
    }
    let credit = section.share(problems, "credit_bp_of_initial", WHOLE);
    let requires_active_sma = section
        .flag(problems, "requires_active_sma")
        .unwrap_or(true);
    section.close(problems);
    Some(Expand {
        credit: credit?,
        requires_active_sma,
    })
}

fn rises(rates: &[BasisPoints]) -> bool {
    rates.windows(2).any(|pair| match pair {
        [earlier, later] => later > earlier,
        _ => false,
    })
}

const WORDS: &[(&str, PriceRule)] = &[
    ("quote", PriceRule::Quote),
    ("modules", PriceRule::Modules),
    ("modules_late", PriceRule::ModulesLate),
];

/// Ten times the list price: more is a typing error. A late rate may make up for several years.
const MOST_LATE: u32 = 100_000;
