//! What maintenance costs: percentages of the list price, and fees on the modules in use (N-08; S-15, S-20, V-10, V-12 to V-14, V-17).
//!
//! Each priced line is rounded half up once; a fee on modules is rounded once on the sum of their list prices.

use upkeep::date::{CivilDate, Term};

use super::last_day;
use super::purchase::{Bought, Facts, Kind, Purchase, chain, decide};
use crate::domain::money::{BasisPoints, Currency, Money};
use crate::domain::programme::{PriceRule, Programme};
use crate::domain::refusal::{Reason, Refusal};

/// The prices of one license on the day of purchase, as the price book has them (N-08).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Prices {
    /// The list price of a new license of the same product, edition and size.
    pub list: Option<Money>,
    /// The list price of each module in use, times how many of it are (V-12).
    pub modules: Vec<Money>,
}

/// A price, or the word of a person in its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Price {
    /// Computed.
    Amount(Money),
    /// A person at the vendor quotes.
    Quote,
}

/// One priced line: a term, what it costs, and how that was computed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// The days that are paid for.
    pub term: Term,
    /// What they cost.
    pub price: Price,
    /// How it was computed, for people: `50 % of the list price 399.00 USD`.
    pub how: String,
}

/// Prices each term of a purchase (N-08).
///
/// A renewal, and maintenance bought with the software, follow `renew`; what is bought after a lapse, or later than the software,
/// follows `lapse` (V-10, S-20).
///
/// # Errors
/// PRICE_UNKNOWN when the rule needs a list or module price that is not there, CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub fn price(
    programme: &Programme,
    purchase: &Purchase,
    prices: &Prices,
) -> Result<Vec<Line>, Refusal> {
    let (kind, bought) = (purchase.kind, purchase.bought);
    let years = purchase.first_year..=u32::MAX;
    let numbered = purchase.terms.iter().zip(years);
    numbered
        .map(|(term, year)| line(programme, *term, year, kind, bought, prices))
        .collect()
}

/// The sum of all lines; a quote as soon as one line is.
///
/// # Errors
/// CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub fn total(lines: &[Line]) -> Result<Price, Refusal> {
    sum(lines.iter().map(|line| line.price))
}

/// The sum of `prices`; a quote when one of them is, or when there is none.
pub(super) fn sum(prices: impl IntoIterator<Item = Price>) -> Result<Price, Refusal> {
    let mut total: Option<Money> = None;
    for price in prices {
        let Price::Amount(amount) = price else {
            return Ok(Price::Quote);
        };
        total = Some(match total {
            Some(sum) => sum.plus(amount)?,
            None => amount,
        });
    }
    Ok(total.map_or(Price::Quote, Price::Amount))
}

/// The yearly fee on the list prices of all modules (V-12 to V-14, vectors D33 to D35 and D100).
///
/// * `contract_year` - from 1; the last rate holds for all later years.
/// * `bought` - which list of rates (V-10); a programme without late rates has one list.
///
/// # Errors
/// PRICE_UNKNOWN when the programme has no rates, CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
pub fn module_fee(
    programme: &Programme,
    modules: &[Money],
    contract_year: u32,
    bought: Bought,
) -> Result<Money, Refusal> {
    let (base, rate) = module_rate(programme, modules, contract_year, bought)?;
    Ok(base.percent(rate)?)
}

/// What a fee schedule starts from.
#[derive(Clone, Copy, Debug)]
pub struct Ahead {
    /// The first day of the first year.
    pub first: CivilDate,
    /// Its contract year, from 1.
    pub first_year: u32,
    /// What buying the first year is; the years after it are renewals.
    pub kind: Kind,
    /// When the contract was or will be begun.
    pub bought: Bought,
}

/// Where the schedule of a license starts: with the term after the last covered day while that has not passed, otherwise with the
/// term that would be bought on the day of `facts`. No window is waited for: nothing is bought.
///
/// # Errors
/// As [`super::purchase::decide`], but for the window.
pub fn ahead(programme: &Programme, facts: &Facts<'_>) -> Result<Ahead, Refusal> {
    let on = match last_day(facts.terms) {
        // On the last covered day every window is open.
        Some(last) if last >= facts.on => last,
        _ => facts.on,
    };
    let next = decide(
        programme,
        &Facts {
            on,
            terms_requested: 1,
            wanted: None,
            ..*facts
        },
    )?;
    Ok(Ahead {
        first: next.terms.first().map_or(on, Term::first),
        first_year: next.first_year,
        kind: next.kind,
        bought: next.bought,
    })
}

/// The fees of the next `years` terms at today's prices: what the system will cost over its life (V-17).
///
/// # Errors
/// INVALID_TERM_COUNT for none, TOO_MANY_TERMS for more than 50 or an end after 9999-12-31; as [`price`].
pub fn schedule(
    programme: &Programme,
    ahead: &Ahead,
    prices: &Prices,
    years: u32,
) -> Result<Vec<Line>, Refusal> {
    let terms = terms_ahead(programme, ahead, years)?;
    let mut kind = ahead.kind;
    let mut lines = Vec::new();
    for (term, year) in terms.into_iter().zip(ahead.first_year..=u32::MAX) {
        lines.push(line(programme, term, year, kind, ahead.bought, prices)?);
        kind = Kind::Renewal;
    }
    Ok(lines)
}

/// The terms of a fee schedule.
///
/// # Errors
/// INVALID_TERM_COUNT for none, TOO_MANY_TERMS for more than 50 or an end after 9999-12-31.
pub fn terms_ahead(programme: &Programme, ahead: &Ahead, years: u32) -> Result<Vec<Term>, Refusal> {
    match years {
        0 => Err(Reason::InvalidTermCount.into()),
        1..=MAX_YEARS => chain(programme, ahead.first, years),
        _ => Err(Refusal::new(Reason::TooManyTerms).with("most", MAX_YEARS)),
    }
}

/// Refuses an amount that is not in the programme's currency (N-08).
///
/// # Errors
/// CURRENCY_MISMATCH.
pub(super) fn in_currency(programme: &Programme, amount: Money) -> Result<Money, Refusal> {
    match programme.currency() {
        Some(own) if own != amount.currency() => Err(mismatch(own, amount.currency())),
        _ => Ok(amount),
    }
}

fn mismatch(own: Currency, other: Currency) -> Refusal {
    Refusal::new(Reason::CurrencyMismatch)
        .with("currency", own)
        .with("found", other)
}

fn line(
    programme: &Programme,
    term: Term,
    year: u32,
    kind: Kind,
    bought: Bought,
    prices: &Prices,
) -> Result<Line, Refusal> {
    let (price, how) = match rule(programme, kind, bought) {
        PriceRule::Quote => (Price::Quote, "a person at the vendor quotes".to_owned()),
        PriceRule::PartOfList(part) => of_list(programme, prices, part)?,
        PriceRule::Modules => {
            let rates = rates_of(programme, kind, bought);
            of_modules(programme, prices, year, rates)?
        }
        PriceRule::ModulesLate => of_modules(programme, prices, year, Bought::Later)?,
    };
    Ok(Line { term, price, how })
}

/// V-10, S-20: late is priced like a lapse.
fn rule(programme: &Programme, kind: Kind, bought: Bought) -> PriceRule {
    match (kind, bought) {
        (Kind::Renewal, _) | (Kind::New, Bought::WithSoftware) => programme.renew().price,
        (Kind::Reinstatement, _) | (Kind::New, Bought::Later) => programme.lapse().price,
    }
}

/// The rates of `modules`: a contract that was begun at late rates goes on with them (V-10, V-14).
fn rates_of(programme: &Programme, kind: Kind, bought: Bought) -> Bought {
    let begun_late = programme.lapse().price == PriceRule::ModulesLate;
    match (kind, bought) {
        (Kind::Renewal, Bought::Later) if begun_late => Bought::Later,
        _ => Bought::WithSoftware,
    }
}

fn of_list(
    programme: &Programme,
    prices: &Prices,
    part: BasisPoints,
) -> Result<(Price, String), Refusal> {
    let list = prices
        .list
        .ok_or_else(|| Refusal::new(Reason::PriceUnknown).with("price", "list"))?;
    let list = in_currency(programme, list)?;
    let amount = list.percent(part)?;
    Ok((
        Price::Amount(amount),
        format!("{part} of the list price {list}"),
    ))
}

fn of_modules(
    programme: &Programme,
    prices: &Prices,
    year: u32,
    bought: Bought,
) -> Result<(Price, String), Refusal> {
    if prices.modules.is_empty() {
        return Err(Refusal::new(Reason::PriceUnknown).with("price", "modules"));
    }
    let (base, rate) = module_rate(programme, &prices.modules, year, bought)?;
    let late = match bought {
        Bought::WithSoftware => "",
        Bought::Later => ", bought later than the software",
    };
    let how = format!("{rate} of the list price of all modules {base}, contract year {year}{late}");
    Ok((Price::Amount(base.percent(rate)?), how))
}

/// The sum of the list prices, and the rate of the year.
fn module_rate(
    programme: &Programme,
    modules: &[Money],
    contract_year: u32,
    bought: Bought,
) -> Result<(Money, BasisPoints), Refusal> {
    let unknown = || Refusal::new(Reason::PriceUnknown).with("price", "rates");
    let rates = programme.rates().ok_or_else(unknown)?;
    let by_year = match bought {
        Bought::Later if !rates.late_by_year.is_empty() => &rates.late_by_year,
        Bought::Later | Bought::WithSoftware => &rates.by_year,
    };
    let index = usize::try_from(contract_year.saturating_sub(1)).unwrap_or(usize::MAX);
    let rate = by_year.get(index).or(by_year.last()).ok_or_else(unknown)?;
    let currency = programme
        .currency()
        .or_else(|| modules.first().map(|module| module.currency()))
        .ok_or_else(unknown)?;
    let base = Money::sum(currency, modules.iter().copied())?;
    Ok((base, *rate))
}

/// As many terms as one order may ever have (N-11).
const MAX_YEARS: u32 = 50;
