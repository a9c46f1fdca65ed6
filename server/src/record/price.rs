//! A stored price.

use upkeep::id::{Edition, LicenseType, ProductId};

use super::wire::{Bad, MoneyWire, date, number_of, optional_text, text_of, value_of};
use super::{Record, keys};
use crate::domain::price_book::{Entry, Item, Per, Thing};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PriceWire {
    #[prost(string, tag = "1")]
    product: String,
    #[prost(string, tag = "2")]
    item: String,
    #[prost(string, tag = "3")]
    edition: String,
    #[prost(string, tag = "4")]
    license_type: String,
    #[prost(string, tag = "5")]
    valid_from: String,
    #[prost(uint32, tag = "6")]
    per: u32,
    #[prost(message, optional, tag = "7")]
    amount: Option<MoneyWire>,
}

impl Record for Entry {
    type Wire = PriceWire;

    fn key(&self) -> Vec<u8> {
        keys::price(&self.thing, self.valid_from)
    }

    fn to_wire(&self) -> PriceWire {
        PriceWire {
            product: self.thing.product.to_string(),
            item: self.thing.item.to_string(),
            edition: text_of(self.thing.edition.as_ref()),
            license_type: text_of(self.thing.license_type.as_ref()),
            valid_from: self.valid_from.to_string(),
            per: number_of(PERS, self.per),
            amount: Some(self.amount.into()),
        }
    }

    fn from_wire(wire: PriceWire) -> Result<Self, Bad> {
        Ok(Self {
            thing: Thing {
                product: ProductId::parse(&wire.product).map_err(|_| Bad("product"))?,
                item: Item::parse(&wire.item).map_err(|_| Bad("item"))?,
                edition: optional_text(&wire.edition, "edition", Edition::parse)?,
                license_type: optional_text(
                    &wire.license_type,
                    "license_type",
                    LicenseType::parse,
                )?,
            },
            valid_from: date(&wire.valid_from, "valid_from")?,
            per: value_of(PERS, wire.per, "per")?,
            amount: wire.amount.ok_or(Bad("amount"))?.try_into()?,
        })
    }
}

const PERS: &[(Per, u32)] = &[(Per::License, 1), (Per::Seat, 2)];
