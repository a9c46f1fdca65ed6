//! Stored issuing keys and the newest key list that the root certified. No secret stands here.

use upkeep::key::PublicKey;

use super::wire::{Bad, from_micros};
use super::{Record, keys};
use crate::domain::issuing::IssuingKey;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct IssuingKeyWire {
    /// SEC1, uncompressed.
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(string, tag = "2")]
    place: String,
    #[prost(int64, tag = "3")]
    not_before: i64,
    #[prost(int64, optional, tag = "4")]
    signs_until: Option<i64>,
    #[prost(int64, optional, tag = "5")]
    verifies_until: Option<i64>,
    #[prost(int64, optional, tag = "6")]
    revoked_at: Option<i64>,
}

impl Record for IssuingKey {
    type Wire = IssuingKeyWire;

    fn key(&self) -> Vec<u8> {
        keys::issuing_key(&self.kid())
    }

    fn to_wire(&self) -> IssuingKeyWire {
        let micros = |at: Option<chrono::DateTime<chrono::Utc>>| at.map(|at| at.timestamp_micros());
        IssuingKeyWire {
            key: self.key.sec1_bytes().to_vec(),
            place: self.place.clone(),
            not_before: self.not_before.timestamp_micros(),
            signs_until: micros(self.signs_until),
            verifies_until: micros(self.verifies_until),
            revoked_at: micros(self.revoked_at),
        }
    }

    fn from_wire(wire: IssuingKeyWire) -> Result<Self, Bad> {
        let at = |micros: Option<i64>, field| micros.map(|at| from_micros(at, field)).transpose();
        Ok(Self {
            key: PublicKey::from_sec1(&wire.key).map_err(|_| Bad("key"))?,
            place: wire.place,
            not_before: from_micros(wire.not_before, "not_before")?,
            signs_until: at(wire.signs_until, "signs_until")?,
            verifies_until: at(wire.verifies_until, "verifies_until")?,
            revoked_at: at(wire.revoked_at, "revoked_at")?,
        })
    }
}

/// The newest certified list, with the root that certified it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertifiedList {
    pub(crate) root: PublicKey,
    pub(crate) sequence: u64,
    /// JWS.
    pub(crate) text: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct CertifiedListWire {
    #[prost(bytes = "vec", tag = "1")]
    root: Vec<u8>,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(string, tag = "3")]
    text: String,
}

impl Record for CertifiedList {
    type Wire = CertifiedListWire;

    fn key(&self) -> Vec<u8> {
        keys::certified_list()
    }

    fn to_wire(&self) -> CertifiedListWire {
        CertifiedListWire {
            root: self.root.sec1_bytes().to_vec(),
            sequence: self.sequence,
            text: self.text.clone(),
        }
    }

    fn from_wire(wire: CertifiedListWire) -> Result<Self, Bad> {
        Ok(Self {
            root: PublicKey::from_sec1(&wire.root).map_err(|_| Bad("root"))?,
            sequence: wire.sequence,
            text: wire.text,
        })
    }
}
