//! Stored products and releases.

use upkeep::id::{ProductId, ProgrammeId};
use upkeep::key::PublicKey;
use upkeep::version::Version;

use super::wire::{Bad, date, from_micros};
use super::{Record, keys};
use crate::domain::catalogue::{Product, Release};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ProductWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    display_name: String,
    #[prost(string, tag = "3")]
    programme: String,
    #[prost(bytes = "vec", tag = "4")]
    build_key: Vec<u8>,
    #[prost(int64, tag = "5")]
    pub(crate) created_at: i64,
}

impl Record for Product {
    type Wire = ProductWire;

    fn key(&self) -> Vec<u8> {
        keys::product(&self.id)
    }

    fn to_wire(&self) -> ProductWire {
        ProductWire {
            id: self.id.to_string(),
            display_name: self.display_name.clone(),
            programme: self.programme.to_string(),
            build_key: self
                .build_key
                .as_ref()
                .map(|key| key.sec1_bytes().to_vec())
                .unwrap_or_default(),
            created_at: self.created_at.timestamp_micros(),
        }
    }

    fn from_wire(wire: ProductWire) -> Result<Self, Bad> {
        Ok(Self {
            id: ProductId::parse(&wire.id).map_err(|_| Bad("id"))?,
            display_name: wire.display_name,
            programme: ProgrammeId::parse(&wire.programme).map_err(|_| Bad("programme"))?,
            build_key: match wire.build_key.as_slice() {
                [] => None,
                bytes => Some(PublicKey::from_sec1(bytes).map_err(|_| Bad("build_key"))?),
            },
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ReleaseWire {
    #[prost(string, tag = "1")]
    product: String,
    #[prost(string, tag = "2")]
    version: String,
    #[prost(string, tag = "3")]
    build_date: String,
    #[prost(int64, tag = "4")]
    pub(crate) created_at: i64,
}

impl Record for Release {
    type Wire = ReleaseWire;

    fn key(&self) -> Vec<u8> {
        keys::release(&self.product, &self.version)
    }

    fn to_wire(&self) -> ReleaseWire {
        ReleaseWire {
            product: self.product.to_string(),
            version: self.version.to_string(),
            build_date: self.build_date.to_string(),
            created_at: self.created_at.timestamp_micros(),
        }
    }

    fn from_wire(wire: ReleaseWire) -> Result<Self, Bad> {
        Ok(Self {
            product: ProductId::parse(&wire.product).map_err(|_| Bad("product"))?,
            version: Version::parse(&wire.version).map_err(|_| Bad("version"))?,
            build_date: date(&wire.build_date, "build_date")?,
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}
