//! The stored activation with its return.

use upkeep::artefact::Counter;
use upkeep::id::{ActivationId, DeviceId};
use upkeep::key::Thumbprint;
use upkeep::level::{AssuranceLevel, ProofGrade};
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::enrollment::name;
use super::wire::{Bad, array, from_micros, number_of, value_of};
use super::{Record, keys};
use crate::domain::activation::{Activation, Deactivation, Enrolled, Return, TpmSeat};
use crate::domain::license::VirtualEnvironment;
use crate::domain::machine::{ActivationState, DeactivationState};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct ActivationWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    serial: String,
    #[prost(uint32, tag = "3")]
    generation: u32,
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(bytes = "vec", tag = "5")]
    device: Vec<u8>,
    #[prost(uint32, tag = "6")]
    level: u32,
    #[prost(string, tag = "7")]
    version: String,
    #[prost(bool, tag = "8")]
    virtual_environment: bool,
    #[prost(int64, tag = "9")]
    created_at: i64,
    #[prost(string, tag = "10")]
    certificate: String,
    #[prost(message, optional, tag = "11")]
    deactivation: Option<DeactivationWire>,
    #[prost(string, tag = "30")]
    vm_contradiction: String,
    #[prost(int64, optional, tag = "31")]
    lease_end: Option<i64>,
    #[prost(message, optional, tag = "12")]
    enrolled: Option<EnrolledWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct EnrolledWire {
    #[prost(bytes = "vec", tag = "1")]
    device: Vec<u8>,
    #[prost(message, optional, tag = "2")]
    tpm: Option<TpmSeatWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TpmSeatWire {
    #[prost(bytes = "vec", tag = "1")]
    ek_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    ak_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    counter_name: Vec<u8>,
    #[prost(uint64, tag = "4")]
    counter_value: u64,
    #[prost(uint32, tag = "5")]
    era: u32,
}

#[derive(Clone, PartialEq, prost::Message)]
struct DeactivationWire {
    #[prost(uint32, tag = "1")]
    state: u32,
    #[prost(bytes = "vec", tag = "2")]
    nonce: Vec<u8>,
    #[prost(string, tag = "3")]
    ticket: String,
    #[prost(int64, tag = "4")]
    ticket_expires_at: i64,
    #[prost(message, optional, tag = "5")]
    outcome: Option<ReturnWire>,
}

#[derive(Clone, PartialEq, prost::Message)]
struct ReturnWire {
    #[prost(uint32, tag = "1")]
    grade: u32,
    #[prost(int64, tag = "2")]
    recorded_at: i64,
    #[prost(uint32, tag = "3")]
    epoch: u32,
    #[prost(string, tag = "4")]
    receipt: String,
    #[prost(string, optional, tag = "5")]
    reason: Option<String>,
}

impl Record for Activation {
    type Wire = ActivationWire;

    fn key(&self) -> Vec<u8> {
        keys::activation(&self.id)
    }

    fn to_wire(&self) -> ActivationWire {
        ActivationWire {
            id: self.id.as_bytes().to_vec(),
            serial: self.serial.to_string(),
            generation: self.generation,
            state: number_of(STATES, self.state),
            device: self.device.as_bytes().to_vec(),
            level: number_of(LEVELS, self.level),
            version: self.version.to_string(),
            virtual_environment: self.vm == VirtualEnvironment::Yes,
            vm_contradiction: self.vm_contradiction.clone().unwrap_or_default(),
            created_at: self.created_at.timestamp_micros(),
            lease_end: self.lease_end.map(|at| at.timestamp_micros()),
            certificate: self.certificate.clone(),
            deactivation: self
                .deactivation
                .as_ref()
                .map(|deactivation| DeactivationWire {
                    state: number_of(DEACTIVATION_STATES, deactivation.state),
                    nonce: deactivation.nonce.to_vec(),
                    ticket: deactivation.ticket.clone(),
                    ticket_expires_at: deactivation.ticket_expires_at.timestamp_micros(),
                    outcome: deactivation.outcome.as_ref().map(|end| ReturnWire {
                        grade: number_of(GRADES, end.grade),
                        recorded_at: end.recorded_at.timestamp_micros(),
                        epoch: end.epoch,
                        receipt: end.receipt.clone(),
                        reason: end.reason.clone(),
                    }),
                }),
            enrolled: self.enrolled.as_ref().map(|enrolled| EnrolledWire {
                device: enrolled.device.as_bytes().to_vec(),
                tpm: enrolled.tpm.map(|tpm| TpmSeatWire {
                    ek_id: tpm.ek_id.to_vec(),
                    ak_name: tpm.ak_name.as_bytes().to_vec(),
                    counter_name: tpm.counter.name.as_bytes().to_vec(),
                    counter_value: tpm.counter.value,
                    era: tpm.era,
                }),
            }),
        }
    }

    fn from_wire(wire: ActivationWire) -> Result<Self, Bad> {
        Ok(Self {
            id: ActivationId::from_slice(&wire.id).map_err(|_| Bad("id"))?,
            serial: SerialNumber::parse(&wire.serial).map_err(|_| Bad("serial"))?,
            generation: wire.generation,
            state: value_of(STATES, wire.state, "state")?,
            device: Thumbprint::from_bytes(array(&wire.device, "device")?),
            level: value_of(LEVELS, wire.level, "level")?,
            version: Version::parse(&wire.version).map_err(|_| Bad("version"))?,
            vm: if wire.virtual_environment {
                VirtualEnvironment::Yes
            } else {
                VirtualEnvironment::No
            },
            vm_contradiction: (!wire.vm_contradiction.is_empty()).then_some(wire.vm_contradiction),
            created_at: from_micros(wire.created_at, "created_at")?,
            lease_end: wire
                .lease_end
                .map(|at| from_micros(at, "lease_end"))
                .transpose()?,
            certificate: wire.certificate,
            deactivation: wire.deactivation.map(deactivation_from_wire).transpose()?,
            enrolled: wire.enrolled.map(enrolled_from_wire).transpose()?,
        })
    }
}

fn enrolled_from_wire(wire: EnrolledWire) -> Result<Enrolled, Bad> {
    let tpm = wire.tpm.map(|tpm| {
        Ok(TpmSeat {
            ek_id: array(&tpm.ek_id, "ek_id")?,
            ak_name: name(&tpm.ak_name, "ak_name")?,
            counter: Counter {
                name: name(&tpm.counter_name, "counter_name")?,
                value: tpm.counter_value,
            },
            era: tpm.era,
        })
    });
    Ok(Enrolled {
        device: DeviceId::from_slice(&wire.device).map_err(|_| Bad("enrolled.device"))?,
        tpm: tpm.transpose()?,
    })
}

fn deactivation_from_wire(wire: DeactivationWire) -> Result<Deactivation, Bad> {
    Ok(Deactivation {
        state: value_of(DEACTIVATION_STATES, wire.state, "deactivation.state")?,
        nonce: array(&wire.nonce, "nonce")?,
        ticket: wire.ticket,
        ticket_expires_at: from_micros(wire.ticket_expires_at, "ticket_expires_at")?,
        outcome: wire
            .outcome
            .map(|end| {
                Ok(Return {
                    grade: value_of(GRADES, end.grade, "grade")?,
                    recorded_at: from_micros(end.recorded_at, "recorded_at")?,
                    epoch: end.epoch,
                    receipt: end.receipt,
                    reason: end.reason,
                })
            })
            .transpose()?,
    })
}

const STATES: &[(ActivationState, u32)] = &[
    (ActivationState::Challenged, 1),
    (ActivationState::Active, 2),
    (ActivationState::Releasing, 3),
    (ActivationState::Abandoned, 4),
    (ActivationState::Deactivated, 5),
    (ActivationState::Lost, 6),
    (ActivationState::Revoked, 7),
];

const DEACTIVATION_STATES: &[(DeactivationState, u32)] = &[
    (DeactivationState::TicketIssued, 1),
    (DeactivationState::Recorded, 2),
    (DeactivationState::Expired, 3),
    (DeactivationState::Waived, 4),
    (DeactivationState::Consumed, 5),
];

pub(super) const LEVELS: &[(AssuranceLevel, u32)] = &[
    (AssuranceLevel::Software, 1),
    (AssuranceLevel::Dongle, 2),
    (AssuranceLevel::CloudVtpm, 3),
    (AssuranceLevel::Hardware, 4),
];

const GRADES: &[(ProofGrade, u32)] = &[
    (ProofGrade::Waived, 1),
    (ProofGrade::Software, 2),
    (ProofGrade::Dongle, 3),
    (ProofGrade::CloudVtpm, 4),
    (ProofGrade::Hardware, 5),
];
