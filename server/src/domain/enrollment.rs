//! Enrollment: a device key whose evidence was verified, and that waits for its one activation.
//!
//! It does not verify evidence (the verifier does) and knows no session: what is here was proven already.

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::artefact::{Counter, TpmName};
use upkeep::id::{ActivationId, DeviceId, DongleNumber, ProductId};
use upkeep::key::PublicKey;
use upkeep::level::AssuranceLevel;
use upkeep::serial::SerialNumber;
use upkeep::tpm::{NvPublic, template};

use crate::domain::license::VirtualEnvironment;
use crate::domain::refusal::{Reason, Refusal};

/// A verified device key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Enrollment {
    pub(crate) id: DeviceId,
    pub(crate) key: PublicKey,
    pub(crate) level: AssuranceLevel,
    pub(crate) subject: Subject,
    pub(crate) hardware: Hardware,
    pub(crate) enrolled_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
    /// What it was used for; then it no longer lapses.
    pub(crate) activation: Option<ActivationId>,
}

/// What the device is enrolled for. All of it stands under the evidence's signature.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Subject {
    pub(crate) serial: SerialNumber,
    pub(crate) product: ProductId,
    pub(crate) vm: VirtualEnvironment,
    pub(crate) client_build: String,
}

/// What a call wants an enrolled device for: serial, product, and what it declares of a virtual machine.
pub(crate) type Wanted<'a> = (&'a SerialNumber, &'a ProductId, VirtualEnvironment);

/// Where the key is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Hardware {
    /// In a TPM 2.0.
    Tpm(Box<Tpm>),
    /// In a dongle, by its serial number.
    Dongle(DongleNumber),
}

/// The TPM of a device key, as far as later statements are judged by it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tpm {
    /// SHA-256 of the endorsement key's SubjectPublicKeyInfo: names the chip.
    pub(crate) ek_id: [u8; 32],
    pub(crate) ak_name: TpmName,
    /// TPMT_PUBLIC of the attestation key.
    pub(crate) ak_public: Vec<u8>,
    pub(crate) device_name: TpmName,
    /// TPMS_NV_PUBLIC of the counter.
    pub(crate) nv_public: Vec<u8>,
    /// The counter's Name, and the value at which the key works.
    pub(crate) counter: Counter,
    /// TPM_PT_FIRMWARE_VERSION.
    pub(crate) firmware: u64,
    /// The maker's number in the TCG Vendor ID Registry.
    pub(crate) manufacturer: u32,
    /// The TPM's era when it was enrolled.
    pub(crate) era: u32,
    /// What was remarkable when it was enrolled.
    pub(crate) warnings: Vec<String>,
}

impl Tpm {
    /// Whether the counter is one that licenses share.
    pub(crate) fn shares_counter(&self) -> bool {
        NvPublic::parse(&self.nv_public).is_ok_and(|counter| template::is_shared(counter.index))
    }
}

impl Enrollment {
    /// Whether it may be activated for what is wanted now.
    ///
    /// * `held` - the live activation of this device on the license: asking again is no second use.
    ///
    /// # Errors
    /// ENROLLMENT_INVALID, and why.
    pub(crate) fn check_use(
        &self,
        (serial, product, vm): Wanted<'_>,
        held: Option<&ActivationId>,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let invalid = |why: &str| Err(Refusal::new(Reason::EnrollmentInvalid).detail(why));
        match &self.activation {
            Some(used) if Some(used) != held => {
                return invalid("Its activation has ended, and so has the device key");
            }
            None if now >= self.expires_at => return invalid("It was not used in time"),
            Some(_) | None => {}
        }
        let own = &self.subject;
        if own.serial != *serial {
            return invalid("It was for another serial number");
        }
        if own.product != *product {
            return invalid("It was for another product");
        }
        if own.vm != vm {
            return invalid("It declared another virtual environment");
        }
        Ok(())
    }

    /// The TPM, where it is one.
    pub(crate) fn tpm(&self) -> Option<&Tpm> {
        match &self.hardware {
            Hardware::Tpm(tpm) => Some(tpm.as_ref()),
            Hardware::Dongle(_) => None,
        }
    }

    /// The dongle, where it is one.
    pub(crate) fn dongle(&self) -> Option<&DongleNumber> {
        match &self.hardware {
            Hardware::Dongle(number) => Some(number),
            Hardware::Tpm(_) => None,
        }
    }
}

/// The raw evidence of an enrollment, kept to be verified again: when a CA or a chip falls, and in disputes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Evidence {
    pub(crate) device: DeviceId,
    pub(crate) challenge: Vec<u8>,
    pub(crate) shown: Shown,
}

/// Evidence as it came. Trust: none; the verifier establishes it each time.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Shown {
    /// Of a TPM 2.0.
    Tpm(TpmShown),
    /// Of a dongle.
    Piv(PivShown),
}

/// What a TPM shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmShown {
    /// The endorsement key's certificate first, DER.
    pub(crate) ek_certificates: Vec<Vec<u8>>,
    /// TPMT_PUBLIC.
    pub(crate) ak_public: Vec<u8>,
    /// TPMT_PUBLIC.
    pub(crate) device_public: Vec<u8>,
    /// TPMS_NV_PUBLIC.
    pub(crate) nv_public: Vec<u8>,
    pub(crate) key: Certified,
    pub(crate) counter: Certified,
}

/// A statement that a TPM signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Certified {
    /// TPMS_ATTEST.
    pub(crate) attest: Vec<u8>,
    /// TPMT_SIGNATURE.
    pub(crate) signature: Vec<u8>,
}

/// What a dongle shows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PivShown {
    /// DER.
    pub(crate) slot_certificate: Vec<u8>,
    /// DER.
    pub(crate) attestation_certificate: Vec<u8>,
    /// From the attestation certificate to a root, DER.
    pub(crate) intermediate_certificates: Vec<Vec<u8>>,
    /// By the slot's key over the binding `enroll`.
    pub(crate) signature: [u8; 64],
}

/// An enrollment that is not activated lapses after this.
pub(crate) const UNUSED_FOR: TimeDelta = TimeDelta::hours(24);
