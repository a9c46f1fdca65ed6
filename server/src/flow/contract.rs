//! How a contract stands, what can be bought today, and what the years ahead will cost (S-12, V-17). Reading only.

use chrono::{DateTime, Utc};
use upkeep::date::{CivilDate, Term};

use super::deal::{amount, check_kind, deal_of, majors, purchase};
use super::price_book::Size;
use super::{Deps, Outcome};
use crate::domain::license::{Carrier, License};
use crate::domain::machine::SmaState;
use crate::domain::maintenance::price::{self, Price};
use crate::domain::maintenance::purchase::Facts;
use crate::domain::maintenance::{
    self, Flag, cancel_by, ends_on, group, last_day, renewal_closes_on, renewal_opens_on, zone,
};
use crate::domain::money::Money;
use crate::domain::price_book::Item;
use crate::domain::programme::Programme;
use crate::domain::quote::Deal;
use crate::domain::refusal::{Reason, Refusal};

/// A contract as it stands on a day.
pub(crate) struct Contract<'p> {
    pub(crate) programme: &'p Programme,
    /// As it stands today, with terms that follow from automatic extension.
    pub(crate) license: License,
    pub(crate) state: Option<SmaState>,
    pub(crate) flag: Flag,
    pub(crate) last_day: Option<CivilDate>,
    /// The first instant that is no longer covered (N-02).
    pub(crate) cover_end: Option<DateTime<Utc>>,
    pub(crate) opens_on: Option<CivilDate>,
    pub(crate) closes_on: Option<CivilDate>,
    pub(crate) cancel_by: Option<CivilDate>,
    /// The day with which cover ends for good.
    pub(crate) ends_on: Option<CivilDate>,
    /// What can be bought today, or why nothing.
    pub(crate) purchase: Result<Deal, Refusal>,
}

impl Contract<'_> {
    /// Whether it goes on by itself at its end.
    pub(crate) fn extends(&self) -> bool {
        self.last_day.is_some() && self.ends_on.is_none()
    }
}

/// How the contract of `license` stands at `now`.
///
/// # Errors
/// Faults only; what can't be bought is part of the answer.
pub(crate) fn contract<'d>(
    deps: &'d Deps,
    license: License,
    now: DateTime<Utc>,
) -> Result<Contract<'d>, Outcome> {
    let license = deps.as_of(license, now)?;
    let programme = deps
        .programmes
        .get(&license.programme, license.programme_rev);
    let programme = programme.ok_or(Outcome::Failed(super::UNKNOWN_PROGRAMME))?;
    let today = deps.today(&license, now)?;
    let last = last_day(&license.terms);
    let mut store = &deps.store;
    let purchase = match purchase(&mut store, programme, &license, None, 1, today) {
        Ok(purchase) => Ok(deal_of(purchase.kind)),
        // An upgrade can be quoted in its place (P-14).
        Err(Outcome::Refused(refusal)) if refusal.reason == Reason::UpgradeRequired => {
            Ok(Deal::Upgrade)
        }
        Err(Outcome::Refused(refusal)) => Err(refusal),
        Err(failed) => return Err(failed),
    };
    Ok(Contract {
        programme,
        state: license.contract_state(),
        flag: maintenance::flag(programme, &license.terms, today),
        last_day: last,
        cover_end: last.map(|last| zone::first_uncovered(programme.time_zone(), last)),
        opens_on: last.and_then(|last| renewal_opens_on(programme, last)),
        closes_on: last.and_then(|last| renewal_closes_on(programme, last).ok()),
        cancel_by: cancel_by(programme, &license.terms),
        ends_on: ends_on(programme, &license.terms, license.contract.cancelled_on),
        purchase,
        license,
    })
}

/// One year of a fee schedule.
pub(crate) struct FeeYear {
    pub(crate) contract_year: u32,
    pub(crate) term: Term,
    /// None where a person quotes.
    pub(crate) amount: Option<Money>,
    pub(crate) how: String,
}

/// What the next `years` terms cost at today's prices (V-17): those after the last covered day, or from today on where cover has lapsed
/// or never was.
///
/// # Errors
/// As buying today, but for the window; PRICE_UNKNOWN, CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE; TOO_MANY_TERMS after the year 9999.
pub(crate) fn fee_schedule(
    deps: &Deps,
    license: &License,
    years: u32,
    now: DateTime<Utc>,
) -> Result<Vec<FeeYear>, Outcome> {
    let programme = deps.programme(license)?;
    check_kind(programme, license)?;
    let today = deps.today(license, now)?;
    let mut store = &deps.store;
    let majors = majors(&mut store, programme, &license.product)?;
    let facts = Facts {
        terms: &license.terms,
        on: today,
        terms_requested: 1,
        wanted: None,
        majors: &majors,
        purchased_on: Some(license.purchased_on),
    };
    let ahead = price::ahead(programme, &facts)?;
    let size = Size::of(license);
    let lines: Vec<(Term, Price, String)> = match &license.carrier {
        // Licenses that share an end date are priced by the year (N-07).
        Carrier::HardwareKey(_) if programme.group().is_some() => {
            let annual = size.price(&mut store, &Item::Sma, today)?;
            let terms = price::terms_ahead(programme, &ahead, years)?.into_iter();
            let priced = terms.map(|term| {
                let (price, how) = group::term_price(programme, annual, term)?;
                Ok((term, price, how))
            });
            priced.collect::<Result<_, Refusal>>()?
        }
        Carrier::HardwareKey(_) | Carrier::SoftwareKey => {
            let prices = size.prices(&mut store, programme, today)?;
            let lines = price::schedule(programme, &ahead, &prices, years)?.into_iter();
            lines
                .map(|line| (line.term, line.price, line.how))
                .collect()
        }
    };
    let counted = lines.into_iter().zip(ahead.first_year..=u32::MAX);
    Ok(counted
        .map(|((term, price, how), contract_year)| FeeYear {
            contract_year,
            term,
            amount: amount(price),
            how,
        })
        .collect())
}
