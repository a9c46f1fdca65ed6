//! The vendor's books in a story: dated prices, and the releases of its products.

use upkeep::date::CivilDate;
use upkeep::id::{Edition, ModuleId, ProductId};
use upkeep::version::Version;

use super::Bought;
use crate::domain::catalogue;
use crate::domain::maintenance::price::Prices;
use crate::domain::money::Money;
use crate::domain::programme::Programme;
use crate::domain::refusal::{Reason, Refusal};

/// Prices and releases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Books {
    pub(super) prices: Vec<Entry>,
    pub(super) releases: Vec<Release>,
}

/// Prices that hold from a day on, until a later entry names the same one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) from: CivilDate,
    /// `None` for every product.
    pub(super) product: Option<ProductId>,
    /// `None` for every edition.
    pub(super) edition: Option<Edition>,
    /// Of a new license.
    pub(super) list: Option<Money>,
    /// Of twelve months of maintenance on a dongle (N-07).
    pub(super) annual: Option<Money>,
    pub(super) modules: Vec<(ModuleId, Money)>,
}

/// A release (N-06).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Release {
    pub(super) version: Version,
    pub(super) build_date: CivilDate,
    /// `None` for every product.
    pub(super) product: Option<ProductId>,
}

impl Books {
    /// What prices of `license` the rules of `programme` need on the day `on`.
    ///
    /// # Errors
    /// PRICE_UNKNOWN for a module in use without a price, where fees are on modules; AMOUNT_OUT_OF_RANGE.
    pub(super) fn prices(
        &self,
        programme: &Programme,
        license: &Bought,
        on: CivilDate,
    ) -> Result<Prices, Refusal> {
        Ok(Prices {
            list: self.find(license, on, |entry| entry.list),
            modules: match programme.rates() {
                None => Vec::new(),
                Some(_) => self.modules(license, on)?,
            },
        })
    }

    /// What twelve months of maintenance cost on a dongle.
    pub(super) fn annual(&self, license: &Bought, on: CivilDate) -> Option<Money> {
        self.find(license, on, |entry| entry.annual)
    }

    /// What the whole system costs when it is bought new: its list price and those of its modules; `None` when there is neither.
    ///
    /// # Errors
    /// PRICE_UNKNOWN for a module without a price, CURRENCY_MISMATCH, AMOUNT_OUT_OF_RANGE.
    pub(super) fn system(&self, license: &Bought, on: CivilDate) -> Result<Option<Money>, Refusal> {
        let list = self.find(license, on, |entry| entry.list);
        let mut parts = list.into_iter().chain(self.modules(license, on)?);
        let Some(first) = parts.next() else {
            return Ok(None);
        };
        Ok(Some(parts.try_fold(first, Money::plus)?))
    }

    fn modules(&self, license: &Bought, on: CivilDate) -> Result<Vec<Money>, Refusal> {
        let price = |(module, count): &(ModuleId, u32)| {
            let of = |entry: &Entry| {
                let price = entry.modules.iter().find(|(id, _)| id == module);
                price.map(|(_, price)| *price)
            };
            match self.find(license, on, of) {
                Some(price) => Ok(price.times(*count)?),
                None => Err(Refusal::new(Reason::PriceUnknown).with("price", module)),
            }
        };
        license.modules.iter().map(price).collect()
    }

    /// The price that holds on the day: that of the edition before that of the product before that of all, and of these the latest.
    fn find(
        &self,
        license: &Bought,
        on: CivilDate,
        price: impl Fn(&Entry) -> Option<Money>,
    ) -> Option<Money> {
        self.prices
            .iter()
            .filter(|entry| entry.from <= on)
            .filter(|entry| {
                entry
                    .product
                    .as_ref()
                    .is_none_or(|id| *id == license.product)
            })
            .filter(|entry| {
                entry
                    .edition
                    .as_ref()
                    .is_none_or(|id| *id == license.edition)
            })
            .filter_map(|entry| {
                let place = (entry.edition.is_some(), entry.product.is_some(), entry.from);
                price(entry).map(|price| (place, price))
            })
            .max_by_key(|(place, _)| *place)
            .map(|(_, price)| price)
    }

    /// The releases of `product`.
    fn releases_of(&self, product: &ProductId) -> impl Iterator<Item = &Release> {
        self.releases
            .iter()
            .filter(move |release| release.product.as_ref().is_none_or(|id| id == product))
    }

    /// The first release of each major version, with its day (P-14, A-18).
    pub(super) fn majors(&self, product: &ProductId) -> Vec<(&Version, CivilDate)> {
        let releases = self.releases_of(product);
        catalogue::first_of_majors(releases.map(|one| (&one.version, one.build_date)))
    }

    /// The release of `product` that is called `version`.
    pub(super) fn release(&self, product: &ProductId, version: &Version) -> Option<&Release> {
        self.releases_of(product)
            .find(|release| release.version == *version)
    }

    /// The newest version of `product` on the day `on`.
    pub(super) fn newest(&self, product: &ProductId, on: CivilDate) -> Option<&Version> {
        self.releases_of(product)
            .filter(|release| release.build_date <= on)
            .max_by_key(|release| (release.build_date, release.version.numbers()))
            .map(|release| &release.version)
    }
}
