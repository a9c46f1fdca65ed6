//! Endorsement keys: from a certificate that the client sent to a key that a pinned authority vouches for (steps 1 to 6).
//!
//! Paths are built here, because what is asked of an endorsement key is not what is asked of a web server: the end is a pinned
//! *key* of any kind of certificate, the leaf's extended key usage is one that its authorities do not repeat, and its names
//! stand in a directory name. Revocation lists are not fetched: the deny list is the operator's.
//! Source: RFC 5280 section 6; TCG EK Credential Profile for TPM 2.0.

use chrono::{DateTime, Utc};
use x509_cert::der::asn1::ObjectIdentifier;
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Tag, Tagged};
use x509_cert::ext::pkix::name::GeneralName;
use x509_cert::ext::pkix::{
    BasicConstraints, CertificatePolicies, ExtendedKeyUsage, KeyUsage, SubjectAltName,
};
use x509_cert::name::Name;

use super::endorsement::{EndorsementClass, Endorsements};
use super::error::EvidenceError;
use super::path;
use super::roca;
use super::x509::{Certificate, Curve, Key, MAX_RSA_BITS, NotExact};

/// An endorsement key that a pinned authority vouches for. Made only by [`ek_chain`].
///
/// That whoever sent its certificate also has the key is not known yet: credential activation shows it.
#[derive(Clone, Debug)]
pub struct EndorsedEk {
    id: [u8; 32],
    class: EndorsementClass,
    key: EkKey,
    identity: TpmIdentity,
}

impl EndorsedEk {
    /// SHA-256 of the SubjectPublicKeyInfo, 32 bytes: which TPM this is, whatever certificate says so.
    pub fn ek_id(&self) -> [u8; 32] {
        self.id
    }

    /// The class of the anchor that ended the chain.
    pub fn class(&self) -> EndorsementClass {
        self.class
    }

    /// What the certificate says about the TPM.
    pub fn identity(&self) -> &TpmIdentity {
        &self.identity
    }

    pub(super) fn key(&self) -> &EkKey {
        &self.key
    }
}

/// An endorsement key by its kind. The kind decides the template, and with it hash and cipher of a credential (step 6).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum EkKey {
    /// RSA: the modulus, big-endian, 2048 to 4096 bits. The exponent is 65537.
    Rsa(Vec<u8>),
    /// P-256: the uncompressed point, 65 bytes.
    P256(Vec<u8>),
    /// P-384: the uncompressed point, 97 bytes.
    P384(Vec<u8>),
}

/// What an endorsement certificate says about its TPM, as its maker wrote it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TpmIdentity {
    manufacturer: u32,
    model: String,
    version: String,
}

impl TpmIdentity {
    /// The manufacturer: the number of its id in the TCG Vendor ID Registry, often four letters of ASCII. libtpms has 0x1014.
    pub fn manufacturer(&self) -> u32 {
        self.manufacturer
    }

    /// The model, 1 to 64 bytes, free text.
    pub fn model(&self) -> &str {
        &self.model
    }

    /// The firmware version, 1 to 64 bytes, such as `id:00010002`.
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The id that a certificate claims for its endorsement key (see [`EndorsedEk::ek_id`]), for the log of a refusal. It proves
/// nothing.
pub fn claimed_ek_id(leaf: &[u8]) -> Option<[u8; 32]> {
    Certificate::parse(leaf).ok().map(|leaf| leaf.key_id())
}

/// Appraises an endorsement certificate: steps 1 to 5, and the kind of key that step 6 needs.
///
/// * `leaf` - DER, at most 4 KiB, untrusted.   * `intermediates` - DER, at most 8, untrusted, in any order; those of no use
///   are ignored, but each must be a certificate.   * `at` - when the path has to be valid.
///
/// What the leaf says by itself comes before the path, whose signatures are what costs.
///
/// # Errors
/// Any [`EvidenceError`] of steps 1 to 5 but `FirmwareDenied`.
pub fn ek_chain(
    leaf: &[u8],
    intermediates: &[Vec<u8>],
    endorsements: &Endorsements,
    at: DateTime<Utc>,
) -> Result<EndorsedEk, EvidenceError> {
    if intermediates.len() > MAX_INTERMEDIATES {
        return Err(EvidenceError::CertificateCount);
    }
    let leaf = Certificate::parse(leaf)?;
    let intermediates = intermediates
        .iter()
        .map(|der| Certificate::parse(der))
        .collect::<Result<Vec<_>, _>>()?;
    // 2 for the leaf, 3, 4 and 5.
    sound(&leaf, LEAF_EXTENSIONS, at)?;
    purpose(&leaf)?;
    let key = key(&leaf)?;
    let identity = identity(&leaf)?;
    if endorsements
        .deny()
        .endorsement_keys
        .contains(&leaf.key_id())
    {
        return Err(EvidenceError::EkDenied);
    }
    if matches!(&key, EkKey::Rsa(modulus) if roca::has_weak_primes(modulus)) {
        return Err(EvidenceError::WeakPrimes);
    }
    // 1 and 2: a path to a pinned key, sound in every certificate.
    let class = pinned_class(&leaf, &intermediates, endorsements, at)?;
    // 6: the key of the certificate is the only one that a credential is made for.
    Ok(EndorsedEk {
        id: leaf.key_id(),
        class: endorsements.class_of(class, identity.manufacturer),
        key,
        identity,
    })
}

/// Steps 1, 2 and 5: the class of what vouches for the leaf.
///
/// A key that is pinned somewhere on the path caps the class, also when its own certificate has ended and the path went on over
/// another one: what was pinned as weak does not become strong by time.
fn pinned_class(
    leaf: &Certificate,
    intermediates: &[Certificate],
    endorsements: &Endorsements,
    at: DateTime<Utc>,
) -> Result<EndorsementClass, EvidenceError> {
    let anchors: Vec<_> = endorsements
        .anchors()
        .iter()
        .filter(|anchor| anchor.class() != EndorsementClass::Dongle)
        .collect();
    let path = path::to_anchor(leaf, intermediates, &anchors, |issuer, below| {
        authority(issuer, below, at)
    });
    let path = path.map_err(|unfit| unfit.unwrap_or(EvidenceError::NotPinned))?;
    let keys: Vec<_> = std::iter::once(path.anchor.key_id())
        .chain(path.intermediates.iter().map(|one| one.key_id()))
        .collect();
    let deny = endorsements.deny();
    if keys.iter().any(|id| deny.authorities.contains(id)) {
        return Err(EvidenceError::AuthorityDenied);
    }
    let classes = anchors
        .iter()
        .filter(|anchor| keys.contains(&anchor.key_id()))
        .map(|anchor| anchor.class());
    Ok(classes.min().unwrap_or(path.anchor.class()))
}

/// Step 2 for an issuer, pinned or not: valid, a CA for endorsement keys, and above no more intermediates than it allows.
pub(super) fn authority(
    issuer: &Certificate,
    below: u8,
    at: DateTime<Utc>,
) -> Result<(), EvidenceError> {
    sound(issuer, AUTHORITY_EXTENSIONS, at)?;
    let authority = issuer.authority().ok_or(EvidenceError::Authority)?;
    if authority.path_length.is_some_and(|most| below > most) {
        return Err(EvidenceError::PathLength);
    }
    // Most authorities have no extended key usage; one that has one is held to it.
    match issuer.extension::<ExtendedKeyUsage>()? {
        Some(usage) if !usage.0.iter().any(|oid| [EK, ANY_USAGE].contains(oid)) => {
            Err(EvidenceError::Authority)
        }
        _ => Ok(()),
    }
}

/// Step 2 for any certificate.
fn sound(
    certificate: &Certificate,
    known: &[ObjectIdentifier],
    at: DateTime<Utc>,
) -> Result<(), EvidenceError> {
    if certificate.has_unknown_critical(known) {
        return Err(EvidenceError::CriticalExtension);
    }
    if !certificate.is_valid_at(at) {
        return Err(EvidenceError::Validity);
    }
    Ok(())
}

/// Step 3: the leaf is for an endorsement key, and for nothing that another protocol would take it for.
fn purpose(leaf: &Certificate) -> Result<(), EvidenceError> {
    let usages = leaf
        .extension::<ExtendedKeyUsage>()?
        .ok_or(EvidenceError::EkPurpose)?
        .0;
    if !usages.contains(&EK) || usages.iter().any(|oid| OTHER_USAGES.contains(oid)) {
        return Err(EvidenceError::EkPurpose);
    }
    if leaf.extension::<BasicConstraints>()?.is_some_and(|b| b.ca) {
        return Err(EvidenceError::EkIsAuthority);
    }
    let usage = leaf
        .extension::<KeyUsage>()?
        .ok_or(EvidenceError::EkKeyUsage)?;
    let decrypts = match leaf.key() {
        Some(Key::Rsa(_)) => usage.key_encipherment(),
        _ => usage.key_agreement(),
    };
    if decrypts && !usage.key_cert_sign() {
        Ok(())
    } else {
        Err(EvidenceError::EkKeyUsage)
    }
}

/// Step 4: the key.
fn key(leaf: &Certificate) -> Result<EkKey, EvidenceError> {
    match leaf.key() {
        Some(Key::Rsa(key))
            if (2048..=MAX_RSA_BITS).contains(&key.bits()) && key.exponent == [1, 0, 1] =>
        {
            Ok(EkKey::Rsa(key.modulus))
        }
        Some(Key::Ec { curve, point }) => match curve {
            Curve::P256 => Ok(EkKey::P256(point)),
            Curve::P384 => Ok(EkKey::P384(point)),
            Curve::P521 => Err(EvidenceError::EkKey),
        },
        _ => Err(EvidenceError::EkKey),
    }
}

/// Step 4: manufacturer, model and version, each once, in directory names among the alternative names.
fn identity(leaf: &Certificate) -> Result<TpmIdentity, EvidenceError> {
    let names = leaf
        .extension::<SubjectAltName>()?
        .ok_or(EvidenceError::EkIdentity)?;
    let attributes: Vec<_> = names
        .0
        .iter()
        .filter_map(|name| match name {
            GeneralName::DirectoryName(name) => Some(name),
            _ => None,
        })
        .flat_map(Name::iter)
        .collect();
    let text = |oid| {
        let mut found = attributes.iter().filter(|one| one.oid == oid);
        let (Some(one), None) = (found.next(), found.next()) else {
            return Err(EvidenceError::EkIdentity);
        };
        let text = std::str::from_utf8(one.value.value()).ok();
        let is_text = TEXT_TAGS.contains(&one.value.tag());
        text.filter(|text| is_text && (1..=64).contains(&text.len()))
            .filter(|text| !text.chars().any(char::is_control))
            .ok_or(EvidenceError::EkIdentity)
    };
    // `id:` and the number in hexadecimal; its bytes need not be letters.
    let manufacturer = text(MANUFACTURER)?
        .strip_prefix("id:")
        .filter(|digits| digits.len() == 8 && !digits.starts_with('+'))
        .and_then(|digits| u32::from_str_radix(digits, 16).ok())
        .ok_or(EvidenceError::EkIdentity)?;
    Ok(TpmIdentity {
        manufacturer,
        model: text(MODEL)?.to_owned(),
        version: text(VERSION)?.to_owned(),
    })
}

impl From<NotExact> for EvidenceError {
    fn from(_: NotExact) -> Self {
        Self::CertificateForm
    }
}

/// No maker's path is longer.
const MAX_INTERMEDIATES: usize = 8;

const LEAF_EXTENSIONS: &[ObjectIdentifier] = &[
    BasicConstraints::OID,
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    SubjectAltName::OID,
    CertificatePolicies::OID,
];

const AUTHORITY_EXTENSIONS: &[ObjectIdentifier] = &[
    BasicConstraints::OID,
    KeyUsage::OID,
    ExtendedKeyUsage::OID,
    CertificatePolicies::OID,
];

/// tcg-kp-EKCertificate.
const EK: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.8.1");
const ANY_USAGE: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.5.29.37.0");

/// What the key of no endorsement certificate is for: tcg-kp-PlatformAttributeCertificate, tcg-kp-AIKCertificate, anything at all,
/// serverAuth, clientAuth and codeSigning. A usage that nobody knows does no harm.
const OTHER_USAGES: [ObjectIdentifier; 6] = [
    ObjectIdentifier::new_unwrap("2.23.133.8.2"),
    ObjectIdentifier::new_unwrap("2.23.133.8.3"),
    ANY_USAGE,
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.1"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.2"),
    ObjectIdentifier::new_unwrap("1.3.6.1.5.5.7.3.3"),
];

const MANUFACTURER: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.1");
const MODEL: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.2");
const VERSION: ObjectIdentifier = ObjectIdentifier::new_unwrap("2.23.133.2.3");

const TEXT_TAGS: [Tag; 3] = [Tag::Utf8String, Tag::PrintableString, Tag::Ia5String];
