//! The price book: imported, listed, and asked what something costs on a day (N-08).

use std::sync::Arc;

use upkeep::date::CivilDate;
use upkeep::id::{Edition, LicenseType, ProductId};

use super::once::Principal;
use super::{Call, Deps, Outcome};
use crate::domain::catalogue::Product;
use crate::domain::license::{License, Module};
use crate::domain::maintenance::price::Prices;
use crate::domain::money::{Money, MoneyError};
use crate::domain::price_book::{Entry, Item, Thing};
use crate::domain::programme::{PriceRule, Programme};
use crate::domain::refusal::{Reason, Refusal, Violation};
use crate::record::{Record, Records, keys, save};

/// Whether an import is carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Write {
    /// It is.
    Yes,
    /// It is only looked at: what is wrong is part of the answer.
    No,
}

/// Whether an import may change amounts that are in the book and do not hold yet.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    /// It may.
    Allowed,
    /// It may only add.
    Refused,
}

/// What an import did or would do.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct Report {
    pub(crate) added: u32,
    pub(crate) replaced: u32,
    pub(crate) unchanged: u32,
    pub(crate) problems: Vec<Problem>,
    pub(crate) warnings: Vec<Problem>,
}

/// Something about one entry of an import.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Problem {
    /// Its place, from 0.
    pub(crate) index: usize,
    pub(crate) field: &'static str,
    pub(crate) description: String,
    reason: Reason,
}

/// What is kept for retries.
#[derive(Clone, PartialEq, prost::Message)]
struct Kept {
    #[prost(uint32, tag = "1")]
    added: u32,
    #[prost(uint32, tag = "2")]
    replaced: u32,
    #[prost(uint32, tag = "3")]
    unchanged: u32,
}

/// The path of ImportPrices: all entries or none. What is there already with the same amount changes nothing.
///
/// An amount that is in the book is changed with [`Change::Allowed`] only, and only while the day from which it holds has not
/// passed: quotes and orders were made with it. A new price is another entry with a later day.
///
/// # Errors
/// INVALID_FIELD with everything that is wrong, CURRENCY_MISMATCH when that is currencies only; a dry run reports them instead.
pub(crate) async fn import(
    deps: &Arc<Deps>,
    call: Call,
    entries: Vec<Entry>,
    (write, change): (Write, Change),
    body: &[u8],
) -> Result<Report, Outcome> {
    let mut store = &deps.store;
    let report = judge(deps, &mut store, &call, &entries, change)?;
    if write == Write::No {
        return Ok(report);
    }
    let warnings = report.warnings;
    let (inner, principal, again) = (Arc::clone(deps), Principal::of(&call), call.clone());
    let committed = deps
        .once(call, principal, body, move |tx, note| {
            note.subject = format!("{} prices", entries.len());
            let report = judge(&inner, tx, &again, &entries, change)?;
            if !report.problems.is_empty() {
                return Err(refused(&report.problems).into());
            }
            for entry in &entries {
                save(tx, entry);
            }
            Ok(Kept {
                added: report.added,
                replaced: report.replaced,
                unchanged: report.unchanged,
            })
        })
        .await?;
    let kept = committed.into_inner();
    Ok(Report {
        added: kept.added,
        replaced: kept.replaced,
        unchanged: kept.unchanged,
        problems: Vec::new(),
        warnings,
    })
}

fn refused(problems: &[Problem]) -> Refusal {
    let violations = problems
        .iter()
        .map(|problem| {
            let field = format!("prices[{}].{}", problem.index, problem.field);
            Violation::new(field, problem.description.clone())
        })
        .collect();
    let only_currencies = problems
        .iter()
        .all(|problem| problem.reason == Reason::CurrencyMismatch);
    Refusal {
        reason: if only_currencies {
            Reason::CurrencyMismatch
        } else {
            Reason::InvalidField
        },
        ..Refusal::invalid(violations)
    }
}

/// Looks at every entry: what is wrong, what is new.
fn judge(
    deps: &Deps,
    reads: &mut impl Records,
    call: &Call,
    entries: &[Entry],
    change: Change,
) -> Result<Report, Outcome> {
    let mut report = Report::default();
    for (index, entry) in entries.iter().enumerate() {
        let mut wrong = |field, description: String, reason| {
            report.problems.push(Problem {
                index,
                field,
                description,
                reason,
            });
        };
        let product: Option<Product> = reads.load(&keys::product(&entry.thing.product))?;
        let programme = product.and_then(|product| deps.programmes.current(&product.programme));
        let Some(programme) = programme else {
            let text = "no such product; create it first".to_owned();
            wrong("product_id", text, Reason::InvalidField);
            continue;
        };
        if let Some(own) = programme.currency()
            && own != entry.amount.currency()
        {
            let text = format!("must be in {own}, the currency of the product's programme");
            wrong("amount", text, Reason::CurrencyMismatch);
            continue;
        }
        let repeated = entries
            .iter()
            .take(index)
            .any(|other| other.key() == entry.key());
        if repeated {
            let text = "there is another price for the same thing and day in this import";
            wrong("valid_from_date", text.to_owned(), Reason::InvalidField);
            continue;
        }
        match reads.load::<Entry>(&entry.key())? {
            None => report.added = report.added.saturating_add(1),
            Some(known) if known == *entry => {
                report.unchanged = report.unchanged.saturating_add(1);
            }
            Some(known) => {
                let today = programme.today(call.now).map_err(|_| CLOCK)?;
                if change == Change::Refused {
                    let text = format!(
                        "the book has {} from that day on, which only `replace` changes; or give a later day",
                        known.amount
                    );
                    wrong("amount", text, Reason::InvalidField);
                } else if entry.valid_from <= today {
                    let text = format!(
                        "{} has held since that day, and quotes were made with it; give a later day",
                        known.amount
                    );
                    wrong("amount", text, Reason::InvalidField);
                } else {
                    report.replaced = report.replaced.saturating_add(1);
                }
            }
        }
        if let Some(description) = not_dearer(programme, entry) {
            report.warnings.push(Problem {
                index,
                field: "amount",
                description,
                reason: Reason::InvalidField,
            });
        }
    }
    Ok(report)
}

/// S-24: a reinstatement is dearer than a renewal, or nobody renews in time.
fn not_dearer(programme: &Programme, entry: &Entry) -> Option<String> {
    let (PriceRule::PartOfList(renewal), PriceRule::PartOfList(reinstatement)) =
        (programme.renew().price, programme.lapse().price)
    else {
        return None;
    };
    if entry.thing.item != Item::License {
        return None;
    }
    let renewal = entry.amount.percent(renewal).ok()?;
    let reinstatement = entry.amount.percent(reinstatement).ok()?;
    (reinstatement.minor() <= renewal.minor()).then(|| {
        format!("a reinstatement would cost {reinstatement}, no more than a renewal ({renewal})")
    })
}

/// What a license is priced by.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Size<'a> {
    pub(crate) product: &'a ProductId,
    pub(crate) edition: &'a Edition,
    pub(crate) license_type: &'a LicenseType,
    pub(crate) seats: u32,
    pub(crate) modules: &'a [Module],
}

impl<'a> Size<'a> {
    /// The size of `license`.
    pub(crate) fn of(license: &'a License) -> Self {
        Self {
            product: &license.product,
            edition: &license.edition,
            license_type: &license.license_type,
            seats: license.seats,
            modules: &license.modules,
        }
    }

    /// The price of `item` on `day`, if the book has one: the newest entry of the most specific place that has any (N-08). At most
    /// four look-ups, however large the book is.
    ///
    /// # Errors
    /// AMOUNT_OUT_OF_RANGE; store faults.
    pub(crate) fn price(
        &self,
        reads: &mut impl Records,
        item: &Item,
        day: CivilDate,
    ) -> Result<Option<Money>, Outcome> {
        let count = match item {
            Item::Module(id) => self.count_of(id),
            _ => self.seats,
        };
        for thing in Thing::places(self.product, item, self.edition, self.license_type) {
            let range = keys::prices_until(&thing, day);
            if let Some(entry) = reads.load_last::<Entry>(&range)? {
                let amount = entry.times(count).map_err(refusal)?;
                return Ok(Some(amount));
            }
        }
        Ok(None)
    }

    /// The prices that `programme` computes maintenance from: the list price, and those of all modules where it asks for them.
    ///
    /// # Errors
    /// PRICE_UNKNOWN for a module without a price; as [`Self::price`].
    pub(crate) fn prices(
        &self,
        reads: &mut impl Records,
        programme: &Programme,
        day: CivilDate,
    ) -> Result<Prices, Outcome> {
        let by_modules = |rule| matches!(rule, PriceRule::Modules | PriceRule::ModulesLate);
        let modules = if by_modules(programme.renew().price) || by_modules(programme.lapse().price)
        {
            self.module_prices(reads, day)?
        } else {
            Vec::new()
        };
        Ok(Prices {
            list: self.price(reads, &Item::License, day)?,
            modules,
        })
    }

    /// The price of each module, times how many of it are in use (V-12).
    ///
    /// # Errors
    /// PRICE_UNKNOWN with `module`; as [`Self::price`].
    pub(crate) fn module_prices(
        &self,
        reads: &mut impl Records,
        day: CivilDate,
    ) -> Result<Vec<Money>, Outcome> {
        let mut found = Vec::with_capacity(self.modules.len());
        for module in self.modules {
            let price = self.price(reads, &Item::Module(module.id.clone()), day)?;
            found.push(price.ok_or_else(|| {
                Refusal::new(Reason::PriceUnknown)
                    .with("module", &module.id)
                    .with("date", day)
            })?);
        }
        Ok(found)
    }

    fn count_of(&self, id: &upkeep::id::ModuleId) -> u32 {
        self.modules
            .iter()
            .find(|module| module.id == *id)
            .map_or(1, |module| module.count)
    }
}

fn refusal(error: MoneyError) -> Refusal {
    error.into()
}

const CLOCK: super::Fault =
    super::Fault::Inconsistent("the clock is outside the years 1970 to 9999");
