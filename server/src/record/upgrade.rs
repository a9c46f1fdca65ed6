//! The stored update request.

use upkeep::id::{LicenseType, UpgradeId};
use upkeep::key::Thumbprint;
use upkeep::serial::SerialNumber;
use upkeep::version::Version;

use super::wire::{Bad, array, date, from_micros, number_of, optional_text, value_of};
use super::{Record, keys};
use crate::domain::license::VirtualEnvironment;
use crate::domain::machine::UpgradeState;
use crate::domain::upgrade::{Upgrade, Wish};

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct UpgradeWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(string, tag = "2")]
    serial: String,
    #[prost(uint32, tag = "3")]
    generation: u32,
    #[prost(uint32, tag = "4")]
    state: u32,
    #[prost(bytes = "vec", tag = "5")]
    email: Vec<u8>,
    #[prost(bool, tag = "6")]
    virtual_environment: bool,
    #[prost(string, tag = "7")]
    license_type: String,
    #[prost(string, tag = "8")]
    wanted_version: String,
    #[prost(bytes = "vec", tag = "9")]
    device: Vec<u8>,
    #[prost(string, tag = "10")]
    target: String,
    #[prost(string, tag = "11")]
    target_build_date: String,
    #[prost(int64, tag = "12")]
    created_at: i64,
    #[prost(int64, tag = "13")]
    expires_at: i64,
    #[prost(uint32, tag = "14")]
    code_number: u32,
    #[prost(string, optional, tag = "15")]
    file: Option<String>,
}

impl Record for Upgrade {
    type Wire = UpgradeWire;

    fn key(&self) -> Vec<u8> {
        keys::upgrade(&self.id)
    }

    fn to_wire(&self) -> UpgradeWire {
        UpgradeWire {
            id: self.id.as_bytes().to_vec(),
            serial: self.serial.to_string(),
            generation: self.generation,
            state: number_of(STATES, self.state),
            email: self.wish.email.clone(),
            virtual_environment: self.wish.vm == VirtualEnvironment::Yes,
            license_type: self.wish.license_type.to_string(),
            wanted_version: self
                .wish
                .target
                .as_ref()
                .map(ToString::to_string)
                .unwrap_or_default(),
            device: self
                .wish
                .device
                .map(|device| device.as_bytes().to_vec())
                .unwrap_or_default(),
            target: self.target.to_string(),
            target_build_date: self.target_build_date.to_string(),
            created_at: self.created_at.timestamp_micros(),
            expires_at: self.expires_at.timestamp_micros(),
            code_number: self.code_number,
            file: self.file.clone(),
        }
    }

    fn from_wire(wire: UpgradeWire) -> Result<Self, Bad> {
        Ok(Self {
            id: UpgradeId::from_slice(&wire.id).map_err(|_| Bad("id"))?,
            serial: SerialNumber::parse(&wire.serial).map_err(|_| Bad("serial"))?,
            generation: wire.generation,
            state: value_of(STATES, wire.state, "state")?,
            wish: Wish {
                email: wire.email,
                vm: if wire.virtual_environment {
                    VirtualEnvironment::Yes
                } else {
                    VirtualEnvironment::No
                },
                license_type: LicenseType::parse(&wire.license_type)
                    .map_err(|_| Bad("license_type"))?,
                target: optional_text(&wire.wanted_version, "wanted_version", Version::parse)?,
                device: match wire.device.as_slice() {
                    [] => None,
                    bytes => Some(Thumbprint::from_bytes(array(bytes, "device")?)),
                },
            },
            target: Version::parse(&wire.target).map_err(|_| Bad("target"))?,
            target_build_date: date(&wire.target_build_date, "target_build_date")?,
            created_at: from_micros(wire.created_at, "created_at")?,
            expires_at: from_micros(wire.expires_at, "expires_at")?,
            code_number: wire.code_number,
            file: wire.file,
        })
    }
}

const STATES: &[(UpgradeState, u32)] = &[
    (UpgradeState::Submitted, 1),
    (UpgradeState::Referred, 2),
    (UpgradeState::AwaitingDeactivation, 3),
    (UpgradeState::Approved, 4),
    (UpgradeState::Rejected, 5),
    (UpgradeState::CodeIssued, 6),
    (UpgradeState::Redeemed, 7),
    (UpgradeState::Withdrawn, 8),
    (UpgradeState::Expired, 9),
];
