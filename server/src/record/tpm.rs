//! What is stored of a TPM: its clock, whether it is frozen, and the largest value of each of its counters.

use upkeep::id::DeviceId;

use super::enrollment::name;
use super::wire::{Bad, array, from_micros};
use super::{Record, keys};
use crate::domain::tpm::{Clock, KnownCounter, KnownTpm};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KnownTpmWire {
    #[prost(bytes = "vec", tag = "1")]
    ek_id: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    clock: Option<ClockWire>,
    #[prost(string, optional, tag = "3")]
    frozen: Option<String>,
    #[prost(uint32, tag = "4")]
    era: u32,
    #[prost(uint32, tag = "5")]
    dead_before: u32,
    #[prost(uint64, tag = "6")]
    largest: u64,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ClockWire {
    #[prost(uint32, tag = "1")]
    reset_count: u32,
    #[prost(uint64, tag = "2")]
    millis: u64,
    #[prost(int64, tag = "3")]
    seen_at: i64,
}

impl Record for KnownTpm {
    type Wire = KnownTpmWire;

    fn key(&self) -> Vec<u8> {
        keys::tpm(&self.ek_id)
    }

    fn to_wire(&self) -> KnownTpmWire {
        KnownTpmWire {
            ek_id: self.ek_id.to_vec(),
            clock: self.clock.map(clock_to_wire),
            frozen: self.frozen.clone(),
            era: self.era,
            dead_before: self.dead_before,
            largest: self.largest,
        }
    }

    fn from_wire(wire: KnownTpmWire) -> Result<Self, Bad> {
        Ok(Self {
            ek_id: array(&wire.ek_id, "ek_id")?,
            clock: wire.clock.map(clock_from_wire).transpose()?,
            frozen: wire.frozen,
            era: wire.era,
            dead_before: wire.dead_before,
            largest: wire.largest,
        })
    }
}

fn clock_to_wire(clock: Clock) -> ClockWire {
    ClockWire {
        reset_count: clock.reset_count,
        millis: clock.millis,
        seen_at: clock.seen_at.timestamp_micros(),
    }
}

fn clock_from_wire(wire: ClockWire) -> Result<Clock, Bad> {
    Ok(Clock {
        reset_count: wire.reset_count,
        millis: wire.millis,
        seen_at: from_micros(wire.seen_at, "clock.seen_at")?,
    })
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct KnownCounterWire {
    #[prost(bytes = "vec", tag = "1")]
    ek_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    name: Vec<u8>,
    #[prost(uint64, tag = "3")]
    value: u64,
    #[prost(int64, tag = "4")]
    seen_at: i64,
    #[prost(bytes = "vec", repeated, tag = "5")]
    unused: Vec<Vec<u8>>,
    #[prost(message, optional, tag = "6")]
    clock: Option<ClockWire>,
    #[prost(uint32, tag = "7")]
    era: u32,
    #[prost(bool, tag = "8")]
    activated: bool,
}

impl Record for KnownCounter {
    type Wire = KnownCounterWire;

    fn key(&self) -> Vec<u8> {
        keys::counter(&self.ek_id, &self.name)
    }

    fn to_wire(&self) -> KnownCounterWire {
        KnownCounterWire {
            ek_id: self.ek_id.to_vec(),
            name: self.name.as_bytes().to_vec(),
            value: self.value,
            seen_at: self.seen_at.timestamp_micros(),
            unused: self
                .unused
                .iter()
                .map(|id| id.as_bytes().to_vec())
                .collect(),
            clock: self.clock.map(clock_to_wire),
            era: self.era,
            activated: self.activated,
        }
    }

    fn from_wire(wire: KnownCounterWire) -> Result<Self, Bad> {
        let unused = wire.unused.iter().map(|id| DeviceId::from_slice(id));
        let unused = unused
            .collect::<Result<_, _>>()
            .map_err(|_| Bad("unused"))?;
        Ok(Self {
            ek_id: array(&wire.ek_id, "ek_id")?,
            name: name(&wire.name, "name")?,
            value: wire.value,
            seen_at: from_micros(wire.seen_at, "seen_at")?,
            clock: wire.clock.map(clock_from_wire).transpose()?,
            era: wire.era,
            activated: wire.activated,
            unused,
        })
    }
}
