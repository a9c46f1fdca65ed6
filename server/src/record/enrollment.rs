//! The stored enrollment of a hardware key, and its raw evidence.

use upkeep::artefact::{Counter, TpmName};
use upkeep::id::{ActivationId, DeviceId, DongleNumber, ProductId};
use upkeep::key::PublicKey;
use upkeep::serial::SerialNumber;

use super::activation::LEVELS;
use super::wire::{Bad, array, from_micros, number_of, value_of};
use super::{Record, keys};
use crate::domain::enrollment::{
    Certified, Enrollment, Evidence, Hardware, PivShown, Shown, Subject, Tpm, TpmShown,
};
use crate::domain::license::VirtualEnvironment;

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EnrollmentWire {
    #[prost(bytes = "vec", tag = "1")]
    id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    key: Vec<u8>,
    #[prost(uint32, tag = "3")]
    level: u32,
    #[prost(string, tag = "4")]
    serial: String,
    #[prost(string, tag = "5")]
    product: String,
    #[prost(bool, tag = "6")]
    virtual_environment: bool,
    #[prost(string, tag = "7")]
    client_build: String,
    #[prost(int64, tag = "8")]
    enrolled_at: i64,
    #[prost(int64, tag = "9")]
    expires_at: i64,
    #[prost(bytes = "vec", tag = "10")]
    activation: Vec<u8>,
    #[prost(message, optional, tag = "11")]
    tpm: Option<TpmWire>,
    #[prost(string, tag = "12")]
    dongle: String,
}

#[derive(Clone, PartialEq, prost::Message)]
struct TpmWire {
    #[prost(bytes = "vec", tag = "1")]
    ek_id: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    ak_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "3")]
    ak_public: Vec<u8>,
    #[prost(bytes = "vec", tag = "4")]
    device_name: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    nv_public: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    counter_name: Vec<u8>,
    #[prost(uint64, tag = "7")]
    counter_value: u64,
    #[prost(uint64, tag = "8")]
    firmware: u64,
    #[prost(uint32, tag = "9")]
    manufacturer: u32,
    #[prost(string, repeated, tag = "10")]
    warnings: Vec<String>,
    #[prost(uint32, tag = "11")]
    era: u32,
}

impl Record for Enrollment {
    type Wire = EnrollmentWire;

    fn key(&self) -> Vec<u8> {
        keys::enrollment(&self.id)
    }

    fn to_wire(&self) -> EnrollmentWire {
        EnrollmentWire {
            id: self.id.as_bytes().to_vec(),
            key: self.key.sec1_bytes().to_vec(),
            level: number_of(LEVELS, self.level),
            serial: self.subject.serial.to_string(),
            product: self.subject.product.to_string(),
            virtual_environment: self.subject.vm == VirtualEnvironment::Yes,
            client_build: self.subject.client_build.clone(),
            enrolled_at: self.enrolled_at.timestamp_micros(),
            expires_at: self.expires_at.timestamp_micros(),
            activation: self
                .activation
                .map(|id| id.as_bytes().to_vec())
                .unwrap_or_default(),
            tpm: self.tpm().map(tpm_to_wire),
            dongle: self.dongle().map(ToString::to_string).unwrap_or_default(),
        }
    }

    fn from_wire(wire: EnrollmentWire) -> Result<Self, Bad> {
        let activation = match wire.activation.as_slice() {
            [] => None,
            id => Some(ActivationId::from_slice(id).map_err(|_| Bad("activation"))?),
        };
        let hardware = match wire.tpm {
            Some(tpm) => Hardware::Tpm(Box::new(tpm_from_wire(tpm)?)),
            None => Hardware::Dongle(DongleNumber::parse(&wire.dongle).map_err(|_| Bad("dongle"))?),
        };
        Ok(Self {
            id: DeviceId::from_slice(&wire.id).map_err(|_| Bad("id"))?,
            key: PublicKey::from_sec1(&wire.key).map_err(|_| Bad("key"))?,
            level: value_of(LEVELS, wire.level, "level")?,
            subject: Subject {
                serial: SerialNumber::parse(&wire.serial).map_err(|_| Bad("serial"))?,
                product: ProductId::parse(&wire.product).map_err(|_| Bad("product"))?,
                vm: match wire.virtual_environment {
                    true => VirtualEnvironment::Yes,
                    false => VirtualEnvironment::No,
                },
                client_build: wire.client_build,
            },
            hardware,
            enrolled_at: from_micros(wire.enrolled_at, "enrolled_at")?,
            expires_at: from_micros(wire.expires_at, "expires_at")?,
            activation,
        })
    }
}

fn tpm_to_wire(tpm: &Tpm) -> TpmWire {
    TpmWire {
        ek_id: tpm.ek_id.to_vec(),
        ak_name: tpm.ak_name.as_bytes().to_vec(),
        ak_public: tpm.ak_public.clone(),
        device_name: tpm.device_name.as_bytes().to_vec(),
        nv_public: tpm.nv_public.clone(),
        counter_name: tpm.counter.name.as_bytes().to_vec(),
        counter_value: tpm.counter.value,
        firmware: tpm.firmware,
        manufacturer: tpm.manufacturer,
        warnings: tpm.warnings.clone(),
        era: tpm.era,
    }
}

fn tpm_from_wire(wire: TpmWire) -> Result<Tpm, Bad> {
    Ok(Tpm {
        ek_id: array(&wire.ek_id, "ek_id")?,
        ak_name: name(&wire.ak_name, "ak_name")?,
        ak_public: wire.ak_public,
        device_name: name(&wire.device_name, "device_name")?,
        nv_public: wire.nv_public,
        counter: Counter {
            name: name(&wire.counter_name, "counter_name")?,
            value: wire.counter_value,
        },
        firmware: wire.firmware,
        manufacturer: wire.manufacturer,
        warnings: wire.warnings,
        era: wire.era,
    })
}

/// A TPM Name.
pub(super) fn name(bytes: &[u8], field: &'static str) -> Result<TpmName, Bad> {
    TpmName::from_bytes(bytes).map_err(|_| Bad(field))
}

#[derive(Clone, PartialEq, prost::Message)]
pub(crate) struct EvidenceWire {
    #[prost(bytes = "vec", tag = "1")]
    device: Vec<u8>,
    #[prost(bytes = "vec", tag = "2")]
    challenge: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "3")]
    ek_certificates: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "4")]
    ak_public: Vec<u8>,
    #[prost(bytes = "vec", tag = "5")]
    device_public: Vec<u8>,
    #[prost(bytes = "vec", tag = "6")]
    nv_public: Vec<u8>,
    #[prost(bytes = "vec", tag = "7")]
    key_attest: Vec<u8>,
    #[prost(bytes = "vec", tag = "8")]
    key_signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "9")]
    counter_attest: Vec<u8>,
    #[prost(bytes = "vec", tag = "10")]
    counter_signature: Vec<u8>,
    #[prost(bytes = "vec", tag = "11")]
    slot_certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "12")]
    attestation_certificate: Vec<u8>,
    #[prost(bytes = "vec", tag = "13")]
    slot_signature: Vec<u8>,
    #[prost(bytes = "vec", repeated, tag = "14")]
    intermediate_certificates: Vec<Vec<u8>>,
}

impl Record for Evidence {
    type Wire = EvidenceWire;

    fn key(&self) -> Vec<u8> {
        keys::evidence(&self.device)
    }

    fn to_wire(&self) -> EvidenceWire {
        let mut wire = EvidenceWire {
            device: self.device.as_bytes().to_vec(),
            challenge: self.challenge.clone(),
            ..EvidenceWire::default()
        };
        match &self.shown {
            Shown::Tpm(tpm) => {
                wire.ek_certificates.clone_from(&tpm.ek_certificates);
                wire.ak_public.clone_from(&tpm.ak_public);
                wire.device_public.clone_from(&tpm.device_public);
                wire.nv_public.clone_from(&tpm.nv_public);
                wire.key_attest.clone_from(&tpm.key.attest);
                wire.key_signature.clone_from(&tpm.key.signature);
                wire.counter_attest.clone_from(&tpm.counter.attest);
                wire.counter_signature.clone_from(&tpm.counter.signature);
            }
            Shown::Piv(piv) => {
                wire.slot_certificate.clone_from(&piv.slot_certificate);
                wire.attestation_certificate
                    .clone_from(&piv.attestation_certificate);
                wire.intermediate_certificates
                    .clone_from(&piv.intermediate_certificates);
                wire.slot_signature = piv.signature.to_vec();
            }
        }
        wire
    }

    fn from_wire(wire: EvidenceWire) -> Result<Self, Bad> {
        let shown = if wire.slot_certificate.is_empty() {
            Shown::Tpm(TpmShown {
                ek_certificates: wire.ek_certificates,
                ak_public: wire.ak_public,
                device_public: wire.device_public,
                nv_public: wire.nv_public,
                key: Certified {
                    attest: wire.key_attest,
                    signature: wire.key_signature,
                },
                counter: Certified {
                    attest: wire.counter_attest,
                    signature: wire.counter_signature,
                },
            })
        } else {
            Shown::Piv(PivShown {
                slot_certificate: wire.slot_certificate,
                attestation_certificate: wire.attestation_certificate,
                intermediate_certificates: wire.intermediate_certificates,
                signature: array(&wire.slot_signature, "slot_signature")?,
            })
        };
        Ok(Self {
            device: DeviceId::from_slice(&wire.device).map_err(|_| Bad("device"))?,
            challenge: wire.challenge,
            shown,
        })
    }
}
