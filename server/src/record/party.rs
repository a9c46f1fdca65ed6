//! Stored customers and partners.

use upkeep::id::{CustomerId, PartnerId, RegionId};

use super::wire::{Bad, from_micros, optional_text, text_of};
use super::{Record, keys};
use crate::domain::external::ExternalId;
use crate::domain::party::{Contact, Customer, Partner};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CustomerWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(bytes = "vec", tag = "2")]
    display_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    email: Vec<u8>,
    #[prost(string, tag = "4")]
    partner: String,
    #[prost(int64, tag = "5")]
    created_at: i64,
    #[prost(string, tag = "6")]
    language: String,
    #[prost(string, tag = "7")]
    region: String,
    #[prost(string, tag = "8")]
    external: String,
}

impl Record for Customer {
    type Wire = CustomerWire;

    fn key(&self) -> Vec<u8> {
        keys::customer(&self.id)
    }

    fn to_wire(&self) -> CustomerWire {
        CustomerWire {
            id: self.id.to_string(),
            display_name: self.display_name.clone(),
            email: self.email.clone(),
            partner: text_of(self.partner.as_ref()),
            created_at: self.created_at.timestamp_micros(),
            language: self.contact.language.clone(),
            region: text_of(self.contact.region.as_ref()),
            external: text_of(self.external.as_ref()),
        }
    }

    fn from_wire(wire: CustomerWire) -> Result<Self, Bad> {
        Ok(Self {
            id: CustomerId::parse(&wire.id).map_err(|_| Bad("id"))?,
            display_name: wire.display_name,
            email: wire.email,
            partner: optional_text(&wire.partner, "partner", PartnerId::parse)?,
            contact: contact_of(wire.language, &wire.region)?,
            external: optional_text(&wire.external, "external", ExternalId::parse)?,
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct PartnerWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    display_name: String,
    #[prost(int64, tag = "3")]
    created_at: i64,
    #[prost(bytes = "vec", tag = "4")]
    email: Vec<u8>,
    #[prost(string, tag = "5")]
    language: String,
    #[prost(string, tag = "6")]
    region: String,
    #[prost(string, tag = "7")]
    external: String,
}

impl Record for Partner {
    type Wire = PartnerWire;

    fn key(&self) -> Vec<u8> {
        keys::partner(&self.id)
    }

    fn to_wire(&self) -> PartnerWire {
        PartnerWire {
            id: self.id.to_string(),
            display_name: self.display_name.clone(),
            created_at: self.created_at.timestamp_micros(),
            email: self.email.clone(),
            language: self.contact.language.clone(),
            region: text_of(self.contact.region.as_ref()),
            external: text_of(self.external.as_ref()),
        }
    }

    fn from_wire(wire: PartnerWire) -> Result<Self, Bad> {
        Ok(Self {
            id: PartnerId::parse(&wire.id).map_err(|_| Bad("id"))?,
            display_name: wire.display_name,
            email: wire.email,
            contact: contact_of(wire.language, &wire.region)?,
            external: optional_text(&wire.external, "external", ExternalId::parse)?,
            created_at: from_micros(wire.created_at, "created_at")?,
        })
    }
}

fn contact_of(language: String, region: &str) -> Result<Contact, Bad> {
    Ok(Contact {
        language,
        region: optional_text(region, "region", RegionId::parse)?,
    })
}
