//! Stored programme revisions.

use upkeep::id::ProgrammeId;

use super::wire::Bad;
use super::{Record, keys};
use crate::domain::programme::Kept;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KeptWire {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(uint32, tag = "2")]
    revision: u32,
    #[prost(string, tag = "3")]
    text: String,
}

impl Record for Kept {
    type Wire = KeptWire;

    fn key(&self) -> Vec<u8> {
        keys::programme(&self.id, self.revision)
    }

    fn to_wire(&self) -> KeptWire {
        KeptWire {
            id: self.id.to_string(),
            revision: self.revision,
            text: self.text.clone(),
        }
    }

    fn from_wire(wire: KeptWire) -> Result<Self, Bad> {
        Ok(Self {
            id: ProgrammeId::parse(&wire.id).map_err(|_| Bad("id"))?,
            revision: wire.revision,
            text: wire.text,
        })
    }
}
