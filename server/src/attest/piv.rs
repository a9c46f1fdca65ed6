//! Dongles with PIV attestation, in YubiKey's format: a pinned root, or intermediates below it, signed the dongle's certificate
//! (slot f9), whose key signed the certificate of the slot (steps 31 to 40).
//!
//! From f9 down these are signature checks on exact DER and no path validation: dongles are in the field whose f9 has no extensions
//! and whose root allows no intermediate. Intermediates, which dongles of firmware 5.7 and later have, are held to their constraints. A dongle cannot prove that a key is gone, so its license moves with it.
//! Source: Yubico, "PIV attestation" (developers.yubico.com/PIV/Introduction/PIV_attestation.html).

use chrono::{DateTime, Utc};
use upkeep::key::PublicKey;
use x509_cert::der::Decode;
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};

use super::appraise::AttestationResult;
use super::endorsement::{EndorsementClass, Endorsements};
use super::error::EvidenceError;
use super::path;
use super::roca;
use super::x509::{Certificate, Curve, Key, MAX_RSA_BITS};
use crate::signer;

/// How often a slot asks for its PIN.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum PinPolicy {
    /// Never: whoever holds the dongle uses the key.
    Never,
    /// Once a session.
    Once,
    /// For each signature.
    Always,
}

impl PinPolicy {
    /// From its number in the certificate, 1 to 5. Policies 4 and 5 are once and always with a fingerprint in place of the PIN.
    pub fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Never),
            2 | 4 => Some(Self::Once),
            3 | 5 => Some(Self::Always),
            _ => None,
        }
    }
}

/// How often a slot wants to be touched.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TouchPolicy {
    /// Never.
    Never,
    /// For each signature.
    Always,
    /// A touch counts for 15 seconds.
    Cached,
}

impl TouchPolicy {
    fn from_number(number: u8) -> Option<Self> {
        match number {
            1 => Some(Self::Never),
            2 => Some(Self::Always),
            3 => Some(Self::Cached),
            _ => None,
        }
    }
}

/// What a dongle has to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PivPolicy {
    /// The least firmware: major, minor, patch.
    pub min_firmware: [u8; 3],
    /// The least PIN policy.
    pub pin_policy_at_least: PinPolicy,
}

/// The key of a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum SlotKey {
    /// P-256: the only one that licenses are bound to.
    P256(PublicKey),
    /// P-384: the uncompressed point, 97 bytes.
    P384(Vec<u8>),
    /// RSA with the exponent 65537: the modulus, 2048 to 4096 bits.
    Rsa(Vec<u8>),
}

/// A slot whose key was made in a dongle that a pinned root vouches for. Made only by [`piv_attestation`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AttestedSlot {
    key: SlotKey,
    serial: Option<u64>,
    firmware: [u8; 3],
    pin_policy: PinPolicy,
    touch_policy: TouchPolicy,
}

impl AttestedSlot {
    /// The key.
    pub fn key(&self) -> &SlotKey {
        &self.key
    }

    /// The dongle's serial number, where the dongle tells it: older ones do not, and an owner may hide it.
    pub fn serial(&self) -> Option<u64> {
        self.serial
    }

    /// The dongle's firmware: major, minor, patch.
    pub fn firmware(&self) -> [u8; 3] {
        self.firmware
    }

    /// How often the PIN is asked for.
    pub fn pin_policy(&self) -> PinPolicy {
        self.pin_policy
    }

    /// How often a touch is asked for.
    pub fn touch_policy(&self) -> TouchPolicy {
        self.touch_policy
    }
}

/// A dongle that a license can be bound to: it tells its number, and its key answered. Made only by [`appraise_piv`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dongle {
    serial: u64,
    slot: AttestedSlot,
}

impl Dongle {
    /// The dongle's serial number; in decimal it is what stands on the dongle.
    pub fn serial(&self) -> u64 {
        self.serial
    }

    /// The slot.
    pub fn slot(&self) -> &AttestedSlot {
        &self.slot
    }
}

/// What a dongle shows.
#[derive(Clone, Copy, Debug)]
pub struct PivEvidence<'a> {
    /// The certificate of the slot, DER.
    pub slot_certificate: &'a [u8],
    /// The certificate of slot f9, DER.
    pub attestation_certificate: &'a [u8],
    /// What leads from f9 to a pinned root, DER, in any order.
    pub intermediate_certificates: &'a [Vec<u8>],
    /// By the slot's key over the question: r||s.
    pub signature: &'a [u8],
}

/// Appraises a dongle: its attestation, and that it answers `question` now.
///
/// * `question` - the 32 bytes of B for this call, computed here from the parsed request, never taken from the caller.
///
/// # Errors
/// As [`piv_attestation`]; [`EvidenceError::PivExtension`] for a dongle without a serial number; [`EvidenceError::PivKey`] for a
/// key that is not P-256; [`EvidenceError::PivSignature`].
pub fn appraise_piv(
    evidence: &PivEvidence<'_>,
    endorsements: &Endorsements,
    question: &[u8; 32],
    at: DateTime<Utc>,
    policy: PivPolicy,
) -> Result<AttestationResult, EvidenceError> {
    let slot = piv_attestation(
        evidence.slot_certificate,
        evidence.attestation_certificate,
        evidence.intermediate_certificates,
        endorsements,
        at,
        policy,
    )?;
    // 35 and 38: a license is bound to the dongle's number and to a P-256 key.
    let serial = slot.serial.ok_or(EvidenceError::PivExtension)?;
    let SlotKey::P256(key) = slot.key.clone() else {
        return Err(EvidenceError::PivKey);
    };
    // 39
    let signature = evidence.signature.try_into();
    let signature: &[u8; 64] = signature.map_err(|_| EvidenceError::PivSignature)?;
    if !signer::verify_es256_digest(key.sec1_bytes(), question, signature) {
        return Err(EvidenceError::PivSignature);
    }
    Ok(AttestationResult::of_dongle(key, Dongle { serial, slot }))
}

/// Appraises the attestation of a slot. It has no nonce: that the dongle is here now takes a signature besides.
///
/// * `slot` and `f9` - DER, at most 4 KiB each, untrusted.   * `intermediates` - DER, at most 3, untrusted, in any order.
/// * `at` - when all certificates have to be valid.
///
/// # Errors
/// Any [`EvidenceError`] of steps 31 to 40 but `PivSignature`.
pub fn piv_attestation(
    slot: &[u8],
    f9: &[u8],
    intermediates: &[Vec<u8>],
    endorsements: &Endorsements,
    at: DateTime<Utc>,
    policy: PivPolicy,
) -> Result<AttestedSlot, EvidenceError> {
    // 31
    let slot = parse(slot)?;
    let f9 = parse(f9)?;
    if intermediates.len() > MAX_INTERMEDIATES {
        return Err(EvidenceError::PivForm);
    }
    let intermediates = intermediates
        .iter()
        .map(|der| parse(der))
        .collect::<Result<Vec<_>, _>>()?;
    // 32
    let anchors: Vec<_> = endorsements
        .anchors()
        .iter()
        .filter(|anchor| anchor.class() == EndorsementClass::Dongle)
        .collect();
    let path = path::to_anchor(&f9, &intermediates, &anchors, may_issue)
        .map_err(|unfit| unfit.unwrap_or(EvidenceError::PivNotPinned))?;
    let is_below_root = path.intermediates.is_empty();
    let mut authorities = path.intermediates;
    authorities.extend([path.anchor.certificate(), &f9]);
    // 33: an f9 that says that it is no authority is none; many say nothing, which is borne right below a root.
    let constraints: Option<BasicConstraints> =
        f9.extension().map_err(|_| EvidenceError::PivForm)?;
    let is_authority = constraints.map_or(is_below_root, |constraints| constraints.ca);
    if !is_authority || !slot.is_signed_by(&f9) {
        return Err(EvidenceError::PivSlot);
    }
    // 34
    let mut all = authorities.iter().copied().chain([&slot]);
    if !all.all(|one| one.is_valid_at(at)) {
        return Err(EvidenceError::PivValidity);
    }
    // 35
    let firmware = octets(&slot, &FIRMWARE)?;
    let serial = match slot.extension_bytes(&SERIAL) {
        Some(der) => Some(serial(der).ok_or(EvidenceError::PivExtension)?),
        None => None,
    };
    let [pin, touch] = octets(&slot, &POLICIES)?;
    let pin_policy = PinPolicy::from_number(pin).ok_or(EvidenceError::PivExtension)?;
    let touch_policy = TouchPolicy::from_number(touch).ok_or(EvidenceError::PivExtension)?;
    if slot.extension_bytes(&FORM_FACTOR).is_some() {
        let [_] = octets(&slot, &FORM_FACTOR)?;
    }
    // 36
    let deny = endorsements.deny();
    let floor = deny.least_dongle_firmware.unwrap_or_default();
    if firmware < policy.min_firmware.max(floor) {
        return Err(EvidenceError::PivFirmware);
    }
    // 37
    if pin_policy < policy.pin_policy_at_least {
        return Err(EvidenceError::PivPinPolicy);
    }
    // 38
    let key = slot.key().and_then(slot_key).ok_or(EvidenceError::PivKey)?;
    // 40
    let mut keys = authorities.iter().map(|one| one.key_id());
    if keys.any(|id| deny.authorities.contains(&id)) {
        return Err(EvidenceError::PivDenied);
    }
    Ok(AttestedSlot {
        key,
        serial,
        firmware,
        pin_policy,
        touch_policy,
    })
}

/// Step 32 for an issuer above f9. A pinned root right above it is taken as it is. Everything else is held to its constraints, and
/// there f9 counts as the authority that it is: else a slot's key, which signs whatever its holder likes, would pass for an f9.
fn may_issue(issuer: &Certificate, below: u8) -> Result<(), EvidenceError> {
    if issuer.is_pinned() && below == 0 {
        return Ok(());
    }
    issuer
        .authority()
        .filter(|authority| authority.path_length.is_none_or(|most| below < most))
        .map(drop)
        .ok_or(EvidenceError::PivNotPinned)
}

fn parse(der: &[u8]) -> Result<Certificate, EvidenceError> {
    let certificate = Certificate::parse(der).map_err(|_| EvidenceError::PivForm)?;
    if certificate.has_unknown_critical(KNOWN) {
        return Err(EvidenceError::PivForm);
    }
    Ok(certificate)
}

/// An extension that is so many bytes, without any DER of its own.
fn octets<const N: usize>(
    slot: &Certificate,
    oid: &ObjectIdentifier,
) -> Result<[u8; N], EvidenceError> {
    slot.extension_bytes(oid)
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or(EvidenceError::PivExtension)
}

/// A DER INTEGER that is not negative.
fn serial(der: &[u8]) -> Option<u64> {
    let number = UintRef::from_der(der).ok()?;
    let bytes = number.as_bytes();
    let all = || {
        bytes
            .iter()
            .fold(0, |all, byte| all << 8 | u64::from(*byte))
    };
    (bytes.len() <= 8).then(all)
}

fn slot_key(key: Key) -> Option<SlotKey> {
    match key {
        Key::Ec { curve, point } => match curve {
            Curve::P256 => PublicKey::from_sec1(&point).ok().map(SlotKey::P256),
            Curve::P384 => Some(SlotKey::P384(point)),
            Curve::P521 => None,
        },
        Key::Rsa(key) => {
            let sound = (2048..=MAX_RSA_BITS).contains(&key.bits())
                && key.exponent == [1, 0, 1]
                && !roca::has_weak_primes(&key.modulus);
            sound.then_some(SlotKey::Rsa(key.modulus))
        }
    }
}

/// The maker has two.
const MAX_INTERMEDIATES: usize = 3;

const FIRMWARE: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.3");
const SERIAL: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.7");
const POLICIES: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.8");
const FORM_FACTOR: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.3.6.1.4.1.41482.3.9");

const KNOWN: &[ObjectIdentifier] = &[
    BasicConstraints::OID,
    KeyUsage::OID,
    FIRMWARE,
    SERIAL,
    POLICIES,
    FORM_FACTOR,
];
