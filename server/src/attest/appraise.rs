//! The appraisal of a TPM's evidence, the whole checklist in order, and the closed result.

use chrono::{DateTime, Utc};
use upkeep::artefact::TpmName;
use upkeep::key::PublicKey;
use upkeep::level::AssuranceLevel;
use upkeep::tpm::ClockInfo;

use super::ak::ak_public;
use super::certify::key_certify;
use super::counter::{Relation, nv_certify};
use super::ek::{EndorsedEk, ek_chain};
use super::endorsement::{EndorsementClass, Endorsements};
use super::error::EvidenceError;
use super::piv::Dongle;

/// What a TPM shows at enrollment, as it came in. Nothing of it is trusted.
#[derive(Clone, Copy, Debug)]
pub struct TpmEvidence<'a> {
    /// The endorsement certificate first, then what leads to an anchor, DER.
    pub ek_certificates: &'a [Vec<u8>],
    /// The attestation key, TPMT_PUBLIC.
    pub ak_public: &'a [u8],
    /// The device key, TPMT_PUBLIC.
    pub device_public: &'a [u8],
    /// The counter, TPMS_NV_PUBLIC.
    pub nv_public: &'a [u8],
    /// TPM2_Certify of the device key.
    pub key_certification: Certification<'a>,
    /// TPM2_NV_Certify of the counter.
    pub counter_certification: Certification<'a>,
}

/// A statement of a TPM.
#[derive(Clone, Copy, Debug)]
pub struct Certification<'a> {
    /// TPMS_ATTEST.
    pub attest: &'a [u8],
    /// TPMT_SIGNATURE.
    pub signature: &'a [u8],
}

/// The verifier's result (RATS, RFC 9334 section 8.4): what evidence proved, and all that may enter a decision.
///
/// For a TPM it is true only once credential activation has shown that endorsement key and attestation key live in one TPM.
#[derive(Clone, Debug)]
pub struct AttestationResult {
    class: EndorsementClass,
    device_key: PublicKey,
    facts: Facts,
    warnings: Vec<Warning>,
}

/// What is known about the hardware.
#[derive(Clone, Debug)]
pub enum Facts {
    /// A TPM.
    Tpm(Box<TpmFacts>),
    /// A dongle.
    Dongle(Dongle),
}

/// What is known about a TPM and its keys.
#[derive(Clone, Debug)]
pub struct TpmFacts {
    /// The endorsement key, for [`super::make_credential`], with what its certificate says about the TPM.
    pub ek: EndorsedEk,
    /// The Name of the attestation key.
    pub ak_name: TpmName,
    /// The Name of the device key.
    pub device_name: TpmName,
    /// The Name of the counter.
    pub nv_name: TpmName,
    /// What the counter stands at, and the value that the device key is bound to: they are one.
    pub counter: u64,
    /// The TPM's clock, with the counts of resets and restarts.
    pub clock: ClockInfo,
    /// The TPM's firmware version, 64 bits.
    pub firmware: u64,
}

/// What is odd about evidence and refuses nothing.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Warning {
    /// The TPM lost its power without a shutdown, so its clock may be behind itself.
    ClockNotSafe,
}

impl Warning {
    /// The text for log and record.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::ClockNotSafe => "clock_not_safe",
        }
    }
}

impl AttestationResult {
    pub(super) fn of_dongle(device_key: PublicKey, dongle: Dongle) -> Self {
        Self {
            class: EndorsementClass::Dongle,
            device_key,
            facts: Facts::Dongle(dongle),
            warnings: Vec::new(),
        }
    }

    /// The level of assurance: that of the class.
    pub fn level(&self) -> AssuranceLevel {
        self.class.level()
    }

    /// The class of the anchor that vouches for the hardware.
    pub fn endorsement_class(&self) -> EndorsementClass {
        self.class
    }

    /// The device key.
    pub fn device_key(&self) -> &PublicKey {
        &self.device_key
    }

    /// What is known about the hardware.
    pub fn facts(&self) -> &Facts {
        &self.facts
    }

    /// What is odd.
    pub fn warnings(&self) -> &[Warning] {
        &self.warnings
    }
}

/// Appraises a TPM's evidence.
///
/// * `qualifying_data` - the 32 bytes of B for this call, computed here from the parsed request, never taken from the caller.
/// * `at` - when the endorsement has to be valid.
///
/// # Errors
/// Any [`EvidenceError`] of steps 1 to 22, the first in the order of the code.
pub fn appraise_tpm(
    evidence: &TpmEvidence<'_>,
    endorsements: &Endorsements,
    qualifying_data: &[u8; 32],
    at: DateTime<Utc>,
) -> Result<AttestationResult, EvidenceError> {
    // 1 to 6
    let (leaf, intermediates) = evidence
        .ek_certificates
        .split_first()
        .ok_or(EvidenceError::NotPinned)?;
    let ek = ek_chain(leaf, intermediates, endorsements, at)?;
    // 7 to 9
    let ak = ak_public(evidence.ak_public)?;
    // 10 to 14 and 19 to 22 for the counter, which comes first because the key is measured by it. At enrollment any value will
    // do: whether it went on since the last time is for who knows what it was.
    let counter = evidence.counter_certification;
    let reading = nv_certify(
        &ak,
        evidence.nv_public,
        counter.attest,
        counter.signature,
        qualifying_data,
        Relation::AtLeast(0),
    )?;
    // 10 to 18 for the key. 23: the policy's operand is the value of this very evidence; a key bound to the next value would
    // wake up by its own deactivation.
    let certification = evidence.key_certification;
    let device = key_certify(
        &ak,
        evidence.device_public,
        evidence.nv_public,
        certification.attest,
        certification.signature,
        qualifying_data,
        reading.value(),
    )?;
    // 5 for the firmware, which only a signed statement tells.
    let manufacturer = ek.identity().manufacturer();
    if endorsements
        .deny()
        .denies_firmware(manufacturer, reading.firmware())
    {
        return Err(EvidenceError::FirmwareDenied);
    }
    // 24: recorded; a power cut is no offence.
    let warnings = if reading.clock().safe {
        Vec::new()
    } else {
        vec![Warning::ClockNotSafe]
    };
    Ok(AttestationResult {
        class: ek.class(),
        device_key: device.key().clone(),
        facts: Facts::Tpm(Box::new(TpmFacts {
            ek,
            ak_name: ak.name(),
            device_name: device.name(),
            nv_name: reading.nv_name(),
            counter: reading.value(),
            clock: reading.clock(),
            firmware: reading.firmware(),
        })),
        warnings,
    })
}
