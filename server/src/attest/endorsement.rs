//! Endorsements: the pinned keys that vouch for hardware, what each is worth, and what is no longer believed.
//!
//! Pure types. Where the files lie and which of them a production server takes is decided by its configuration.

use std::collections::HashSet;
use std::ops::RangeInclusive;

use chrono::{DateTime, Utc};
use upkeep::level::AssuranceLevel;

use super::error::EvidenceError;
use super::x509::Certificate;

/// What a pinned authority vouches for. The operator gives it; nothing in the evidence has a say.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum EndorsementClass {
    /// TPMs that their owner can copy: swtpm, hypervisors on the premises.
    Software,
    /// Virtual TPMs of a cloud provider.
    CloudVtpm,
    /// TPM 2.0 chips, discrete or in the processor.
    Chip,
    /// PIV dongles with attestation.
    Dongle,
}

impl EndorsementClass {
    /// The level of assurance of what it vouches for.
    pub fn level(self) -> AssuranceLevel {
        match self {
            Self::Software => AssuranceLevel::Software,
            Self::CloudVtpm => AssuranceLevel::CloudVtpm,
            Self::Chip => AssuranceLevel::Hardware,
            Self::Dongle => AssuranceLevel::Dongle,
        }
    }

    /// Its name in files and logs.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Software => "software",
            Self::CloudVtpm => "cloud_vtpm",
            Self::Chip => "chip",
            Self::Dongle => "dongle",
        }
    }

    /// Reads back what [`Self::as_str`] gave.
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Software, Self::CloudVtpm, Self::Chip, Self::Dongle]
            .into_iter()
            .find(|one| one.as_str() == word)
    }
}

/// A pinned authority: a root, or an intermediate that is trusted by itself.
///
/// What is pinned is the *key*: a certificate with the same name and another key is nothing to it.
#[derive(Clone, Debug)]
pub struct Anchor {
    certificate: Certificate,
    class: EndorsementClass,
}

impl Anchor {
    /// Reads a certificate in exact DER, at most 4 KiB. Its own signature is not checked: whoever pins it vouches for it.
    ///
    /// # Errors
    /// [`EvidenceError::CertificateForm`].
    pub fn from_der(der: &[u8], class: EndorsementClass) -> Result<Self, EvidenceError> {
        let certificate = Certificate::parse(der).map_err(|_| EvidenceError::CertificateForm)?;
        Ok(Self {
            certificate: certificate.pinned(),
            class,
        })
    }

    /// What it vouches for.
    pub fn class(&self) -> EndorsementClass {
        self.class
    }

    /// The subject's distinguished name (RFC 4514), for people: names are not unique.
    pub fn name(&self) -> String {
        self.certificate.subject().to_string()
    }

    /// SHA-256 of the SubjectPublicKeyInfo, 32 bytes: what is pinned, and what [`DenyList::authorities`] holds.
    pub fn key_id(&self) -> [u8; 32] {
        self.certificate.key_id()
    }

    /// Whether it can end a chain at `at`: valid, and an authority for what its class says.
    ///
    /// # Errors
    /// [`EvidenceError`] of step 2.
    pub fn check(&self, at: DateTime<Utc>) -> Result<(), EvidenceError> {
        match self.class {
            EndorsementClass::Dongle if self.certificate.is_valid_at(at) => Ok(()),
            EndorsementClass::Dongle => Err(EvidenceError::Validity),
            _ => super::ek::authority(&self.certificate, 0, at),
        }
    }

    pub(super) fn certificate(&self) -> &Certificate {
        &self.certificate
    }
}

/// Firmware of one TPM manufacturer that is not believed any more.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DeniedFirmware {
    /// The manufacturer's id as a number: `id:49465800` (IFX) is 0x49465800.
    pub manufacturer: u32,
    /// The versions, as TPMS_ATTEST carries them: 64 bits, the major version in the upper half.
    pub versions: RangeInclusive<u64>,
}

/// What is no longer believed although an anchor vouches for it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct DenyList {
    /// Endorsement keys, by SHA-256 of the SubjectPublicKeyInfo.
    pub endorsement_keys: HashSet<[u8; 32]>,
    /// Authorities, pinned or not, by SHA-256 of the SubjectPublicKeyInfo.
    pub authorities: HashSet<[u8; 32]>,
    /// TPM firmware.
    pub firmware: Vec<DeniedFirmware>,
    /// The least firmware of a dongle: major, minor, patch.
    pub least_dongle_firmware: Option<[u8; 3]>,
}

impl DenyList {
    pub(super) fn denies_firmware(&self, manufacturer: u32, firmware: u64) -> bool {
        self.firmware.iter().any(|denied| {
            denied.manufacturer == manufacturer && denied.versions.contains(&firmware)
        })
    }
}

/// The anchors and the deny list: all that evidence is measured by.
#[derive(Clone, Debug, Default)]
pub struct Endorsements {
    anchors: Vec<Anchor>,
    deny: DenyList,
    no_software_chips: bool,
}

impl Endorsements {
    /// Takes the anchors in any order. Where one key is pinned twice, the weaker class counts.
    pub fn new(mut anchors: Vec<Anchor>, deny: DenyList) -> Self {
        // The first anchor that fits ends a chain.
        anchors.sort_by_key(Anchor::class);
        Self {
            anchors,
            deny,
            no_software_chips: false,
        }
    }

    /// The same, but a TPM whose certificate names libtpms as its maker is never a chip: it counts as `software`, whoever vouches
    /// for it. For servers in production.
    pub fn without_software_chips(mut self) -> Self {
        self.no_software_chips = true;
        self
    }

    /// The class of a TPM of `manufacturer` whose chain ended at an anchor of `class`.
    pub(super) fn class_of(&self, class: EndorsementClass, manufacturer: u32) -> EndorsementClass {
        match class {
            EndorsementClass::Chip if self.no_software_chips && manufacturer == LIBTPMS => {
                EndorsementClass::Software
            }
            class => class,
        }
    }

    /// Whether the deny list names this TPM: its endorsement key, or firmware of its maker. Two look-ups, so it is asked at each use
    /// of an enrolled key as well.
    ///
    /// * `ek_id` - SHA-256 of the SubjectPublicKeyInfo.   * `firmware` - as TPMS_ATTEST carries it.
    pub fn denies(&self, ek_id: &[u8; 32], manufacturer: u32, firmware: u64) -> bool {
        self.deny.endorsement_keys.contains(ek_id)
            || self.deny.denies_firmware(manufacturer, firmware)
    }

    /// The anchors.
    pub fn anchors(&self) -> &[Anchor] {
        &self.anchors
    }

    /// The deny list.
    pub fn deny(&self) -> &DenyList {
        &self.deny
    }
}

/// The manufacturer in certificates of swtpm (IBM's number; not ASCII).
const LIBTPMS: u32 = 0x0000_1014;
