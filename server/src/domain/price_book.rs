//! The price book: what things cost, from a day on (N-08). Prices are the vendor's data, not policy; programmes say how they are used.
//!
//! An entry holds until the next one for the same thing. "New product price" is the list price on the day of purchase of the same
//! product, edition and size (N-08): the license type is the size, and a price by seat is taken as often as there are seats.

use std::fmt;

use upkeep::date::CivilDate;
use upkeep::id::{AddOn, Edition, LicenseType, ModuleId, ProductId};

use crate::domain::money::{Money, MoneyError};
use crate::domain::vocabulary::vocabulary;

/// What a price is for.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Item {
    /// A new license (S-15, V-07).
    License,
    /// A year of maintenance, for licenses on one hardware key (N-07).
    Sma,
    /// A software module (V-12).
    Module(ModuleId),
    /// A purchased add-on (S-10).
    AddOn(AddOn),
    /// An upgrade over a major release (P-14).
    Upgrade,
}

impl Item {
    /// Reads `license`, `sma`, `upgrade`, `module:ID` or `addon:ID`.
    ///
    /// # Errors
    /// What it has to be.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let named = |id: &str| match id.is_empty() {
            true => Err("needs an id behind the colon"),
            false => Ok(()),
        };
        match text.split_once(':') {
            None if text == "license" => Ok(Self::License),
            None if text == "sma" => Ok(Self::Sma),
            None if text == "upgrade" => Ok(Self::Upgrade),
            Some(("module", id)) => {
                named(id)?;
                ModuleId::parse(id).map(Self::Module).map_err(|_| BAD_NAME)
            }
            Some(("addon", id)) => {
                named(id)?;
                AddOn::parse(id).map(Self::AddOn).map_err(|_| BAD_NAME)
            }
            _ => Err("must be license, sma, upgrade, module:ID or addon:ID"),
        }
    }
}

impl fmt::Display for Item {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::License => f.write_str("license"),
            Self::Sma => f.write_str("sma"),
            Self::Upgrade => f.write_str("upgrade"),
            Self::Module(id) => write!(f, "module:{id}"),
            Self::AddOn(id) => write!(f, "addon:{id}"),
        }
    }
}

vocabulary! {
    /// What a price is counted by.
    Per {
        /// Once for a license.
        License = "license",
        /// For each seat; of a module, for each one in use.
        Seat = "seat",
    }
}

/// One entry of the price book.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// The thing that it is for.
    pub(crate) thing: Thing,
    /// The first day on which it holds.
    pub(crate) valid_from: CivilDate,
    pub(crate) per: Per,
    pub(crate) amount: Money,
}

/// What an entry is for: an item of a product, for all licenses or for those of an edition or type.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Thing {
    pub(crate) product: ProductId,
    pub(crate) item: Item,
    pub(crate) edition: Option<Edition>,
    pub(crate) license_type: Option<LicenseType>,
}

impl Thing {
    /// Where the price of `item` is looked for, the most specific place first.
    pub(crate) fn places(
        product: &ProductId,
        item: &Item,
        edition: &Edition,
        license_type: &LicenseType,
    ) -> [Self; 4] {
        let place = |edition: Option<&Edition>, license_type: Option<&LicenseType>| Self {
            product: product.clone(),
            item: item.clone(),
            edition: edition.cloned(),
            license_type: license_type.cloned(),
        };
        [
            place(Some(edition), Some(license_type)),
            place(Some(edition), None),
            place(None, Some(license_type)),
            place(None, None),
        ]
    }
}

impl Entry {
    /// What it is for `count` seats or modules.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub(crate) fn times(&self, count: u32) -> Result<Money, MoneyError> {
        match self.per {
            Per::License => Ok(self.amount),
            Per::Seat => self.amount.times(count),
        }
    }
}

const BAD_NAME: &str = "the id must be 1 to 63 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_read_back() {
        for text in [
            "license",
            "sma",
            "upgrade",
            "module:analytics",
            "addon:mapi",
        ] {
            assert_eq!(Item::parse(text).unwrap().to_string(), text);
        }
        for bad in [
            "",
            "License",
            "module",
            "module:",
            "addon:A B",
            "license:x",
            "tax",
        ] {
            assert!(Item::parse(bad).is_err(), "{bad:?}");
        }
    }
}
