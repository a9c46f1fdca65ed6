//! What a hardware key was last sent (P-08).

use upkeep::date::CivilDate;
use upkeep::id::DongleNumber;

use super::wire::{Bad, date};
use super::{Record, keys};

/// The last unlock code of a hardware key. A code with the same date is the same code; one with a later date has the next counter.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Unlocked {
    pub(crate) dongle: DongleNumber,
    pub(crate) counter: u64,
    pub(crate) last_day: CivilDate,
    /// What is signed for it, as it was committed.
    pub(crate) signing_input: String,
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UnlockedWire {
    #[prost(string, tag = "1")]
    dongle: String,
    #[prost(uint64, tag = "2")]
    counter: u64,
    #[prost(string, tag = "3")]
    last_day: String,
    #[prost(string, tag = "4")]
    signing_input: String,
}

impl Record for Unlocked {
    type Wire = UnlockedWire;

    fn key(&self) -> Vec<u8> {
        keys::dongle(&self.dongle)
    }

    fn to_wire(&self) -> UnlockedWire {
        UnlockedWire {
            dongle: self.dongle.to_string(),
            counter: self.counter,
            last_day: self.last_day.to_string(),
            signing_input: self.signing_input.clone(),
        }
    }

    fn from_wire(wire: UnlockedWire) -> Result<Self, Bad> {
        Ok(Self {
            dongle: DongleNumber::parse(&wire.dongle).map_err(|_| Bad("dongle"))?,
            counter: wire.counter,
            last_day: date(&wire.last_day, "last_day")?,
            signing_input: wire.signing_input,
        })
    }
}
