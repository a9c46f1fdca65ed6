//! X.509 certificates, read strictly: what chains of endorsement keys and of dongles have in common.
//!
//! A certificate is exact DER or it is refused: what is read here, encoded again, has to give the very bytes that came in, so
//! that every reader sees the same certificate. It decides nothing about trust: paths are built in `ek` and `piv`.
//! Source: RFC 5280; X.690 section 11.

use aws_lc_rs::agreement::{self, ECDH_P256, ECDH_P384, ECDH_P521, ParsedPublicKey};
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_ASN1, ECDSA_P256_SHA384_ASN1, ECDSA_P256_SHA512_ASN1, ECDSA_P384_SHA256_ASN1,
    ECDSA_P384_SHA384_ASN1, ECDSA_P384_SHA512_ASN1, ECDSA_P521_SHA256_ASN1, ECDSA_P521_SHA384_ASN1,
    ECDSA_P521_SHA512_ASN1, RSA_PKCS1_2048_8192_SHA256, RSA_PKCS1_2048_8192_SHA384,
    RSA_PKCS1_2048_8192_SHA512, RSA_PSS_2048_8192_SHA256, RSA_PSS_2048_8192_SHA384,
    RSA_PSS_2048_8192_SHA512, UnparsedPublicKey, VerificationAlgorithm,
};
use chrono::{DateTime, Utc};
use sha2::{Digest, Sha256};
use x509_cert::certificate::{CertificateInner, Raw, Version};
use x509_cert::der::asn1::{ObjectIdentifier, UintRef};
use x509_cert::der::oid::AssociatedOid;
use x509_cert::der::{Decode, Encode, Reader, SliceReader};
use x509_cert::ext::Extension;
use x509_cert::ext::pkix::{BasicConstraints, KeyUsage};
use x509_cert::name::Name;
use x509_cert::spki::AlgorithmIdentifierOwned;

/// The largest certificate that is read, in bytes.
pub(super) const MAX_CERTIFICATE: usize = 4096;

/// The largest RSA key that signs or decrypts here, in bits: what more costs is the sender's to choose.
pub(super) const MAX_RSA_BITS: usize = 4096;

/// The bytes are no certificate: too long, not exact DER, or an extension that occurs twice.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct NotExact;

/// A certificate in exact DER. Nothing about it is trusted.
#[derive(Clone, Debug)]
pub(super) struct Certificate {
    inner: CertificateInner<Raw>,
    tbs: Vec<u8>,
    spki: Vec<u8>,
    pinned: bool,
}

impl Certificate {
    /// Reads DER of at most [`MAX_CERTIFICATE`] bytes.
    ///
    /// # Errors
    /// [`NotExact`].
    pub(super) fn parse(der: &[u8]) -> Result<Self, NotExact> {
        if der.len() > MAX_CERTIFICATE {
            return Err(NotExact);
        }
        let inner: CertificateInner<Raw> = exact(der)?;
        let tbs_certificate = inner.tbs_certificate();
        let tbs = tbs_certificate.to_der().map_err(|_| NotExact)?;
        let spki = tbs_certificate.subject_public_key_info().to_der();
        let extensions = tbs_certificate.extensions().map_or(&[][..], Vec::as_slice);
        let twice = extensions.iter().enumerate().any(|(n, one)| {
            let mut before = extensions.iter().take(n);
            before.any(|other| other.extn_id == one.extn_id)
        });
        let version = tbs_certificate.version();
        // Both copies of the algorithm are one (RFC 5280 section 4.1.1.2); only version 3 has extensions, never an empty list.
        let sound = tbs_certificate.signature() == inner.signature_algorithm()
            && !twice
            && tbs_certificate
                .extensions()
                .is_none_or(|list| version == Version::V3 && !list.is_empty());
        if !sound {
            return Err(NotExact);
        }
        Ok(Self {
            tbs,
            spki: spki.map_err(|_| NotExact)?,
            inner,
            pinned: false,
        })
    }

    /// The same, vouched for by whoever pinned these very bytes.
    pub(super) fn pinned(self) -> Self {
        Self {
            pinned: true,
            ..self
        }
    }

    /// Whether somebody pinned these very bytes.
    pub(super) fn is_pinned(&self) -> bool {
        self.pinned
    }

    /// Whom the certificate is about.
    pub(super) fn subject(&self) -> &Name {
        self.inner.tbs_certificate().subject()
    }

    /// Who says that it issued the certificate.
    pub(super) fn issuer(&self) -> &Name {
        self.inner.tbs_certificate().issuer()
    }

    /// SHA-256 of the SubjectPublicKeyInfo, 32 bytes: the name of the key.
    pub(super) fn key_id(&self) -> [u8; 32] {
        Sha256::digest(&self.spki).into()
    }

    /// The public key, where it is of a kind that is known here.
    pub(super) fn key(&self) -> Option<Key> {
        let spki = self.inner.tbs_certificate().subject_public_key_info();
        let bits = spki.subject_public_key.as_bytes()?;
        if spki.algorithm.oid == RSA_ENCRYPTION {
            let null = spki.algorithm.parameters.as_ref()?.to_der().ok()? == NULL;
            return null.then(|| RsaKey::parse(bits)).flatten().map(Key::Rsa);
        }
        // Some makers mark a key that only decrypts so (RFC 4055 section 4.1); the parameters say how, which the TPM knows.
        if spki.algorithm.oid == RSA_OAEP {
            return RsaKey::parse(bits).map(Key::Rsa);
        }
        if spki.algorithm.oid != EC_PUBLIC_KEY || bits.first() != Some(&4) {
            return None;
        }
        let curve = spki.algorithm.parameters.as_ref()?.decode_as().ok()?;
        let (_, curve, library) = CURVES.iter().find(|(oid, _, _)| *oid == curve)?;
        let point = agreement::UnparsedPublicKey::new(library, bits);
        ParsedPublicKey::try_from(point).ok()?;
        Some(Key::Ec {
            curve: *curve,
            point: bits.to_vec(),
        })
    }

    /// Whether `at` lies within the validity, both ends included.
    pub(super) fn is_valid_at(&self, at: DateTime<Utc>) -> bool {
        let validity = self.inner.tbs_certificate().validity();
        u64::try_from(at.timestamp()).is_ok_and(|at| {
            validity.not_before.to_unix_duration().as_secs() <= at
                && at <= validity.not_after.to_unix_duration().as_secs()
        })
    }

    /// The extension `T` in exact DER, where there is one.
    ///
    /// # Errors
    /// [`NotExact`].
    pub(super) fn extension<T>(&self) -> Result<Option<T>, NotExact>
    where
        T: AssociatedOid + for<'a> Decode<'a> + Encode,
    {
        self.extension_bytes(&T::OID).map(exact).transpose()
    }

    /// What the extension `oid` holds, where there is one.
    pub(super) fn extension_bytes(&self, oid: &ObjectIdentifier) -> Option<&[u8]> {
        let mut extensions = self.extensions();
        extensions
            .find(|extension| extension.extn_id == *oid)
            .map(|extension| extension.extn_value.as_bytes())
    }

    /// Whether an extension that is not in `known` is critical (RFC 5280 section 4.2: then the certificate has to be refused).
    pub(super) fn has_unknown_critical(&self, known: &[ObjectIdentifier]) -> bool {
        self.extensions()
            .any(|extension| extension.critical && !known.contains(&extension.extn_id))
    }

    /// What the key may issue, if it may: it is a CA by its basic constraints, and its key usage has keyCertSign. A pinned
    /// certificate may be silent about usage (RFC 5280 section 6.1.4 (n) looks only where there is one).
    pub(super) fn authority(&self) -> Option<Authority> {
        let constraints: BasicConstraints = self.extension().ok()??;
        let signs = match self.key_usage().ok()? {
            Some(usage) => usage.key_cert_sign(),
            None => self.pinned,
        };
        (constraints.ca && signs).then_some(Authority {
            path_length: constraints.path_len_constraint,
        })
    }

    /// The key usage, where there is one. In a pinned certificate zero bits at its end, which DER leaves away (X.690 section
    /// 11.2.2), are borne: the roots of a large maker of chips have them, they mean nothing, and nobody can change them.
    ///
    /// # Errors
    /// [`NotExact`].
    pub(super) fn key_usage(&self) -> Result<Option<KeyUsage>, NotExact> {
        if !self.pinned {
            return self.extension();
        }
        self.extension_bytes(&KeyUsage::OID)
            .map(|bytes| KeyUsage::from_der(bytes).map_err(|_| NotExact))
            .transpose()
    }

    /// Whether the key of `issuer` signed this certificate. Names and constraints are the caller's to check.
    pub(super) fn is_signed_by(&self, issuer: &Self) -> bool {
        let spki = issuer.inner.tbs_certificate().subject_public_key_info();
        let (Some(key), Some(bits), Some(signature)) = (
            issuer.key(),
            spki.subject_public_key.as_bytes(),
            self.inner.signature().as_bytes(),
        ) else {
            return false;
        };
        algorithm(&key, self.inner.signature_algorithm()).is_some_and(|algorithm| {
            UnparsedPublicKey::new(algorithm, bits)
                .verify(&self.tbs, signature)
                .is_ok()
        })
    }

    fn extensions(&self) -> impl Iterator<Item = &Extension> {
        let extensions = self.inner.tbs_certificate().extensions();
        extensions.into_iter().flatten()
    }
}

/// What an authority may issue.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Authority {
    /// How many intermediates may stand below it, where it says so.
    pub(super) path_length: Option<u8>,
}

/// The public key of a certificate.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Key {
    /// RSA of any size.
    Rsa(RsaKey),
    /// An uncompressed point, `04 || x || y`, that is on its curve.
    Ec {
        /// The curve.
        curve: Curve,
        /// As long as the curve says: 65, 97 or 133 bytes.
        point: Vec<u8>,
    },
}

/// A curve of SEC 2.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Curve {
    /// secp256r1.
    P256,
    /// secp384r1.
    P384,
    /// secp521r1: authorities only.
    P521,
}

/// An RSA public key (RFC 8017 appendix A.1.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct RsaKey {
    /// Big-endian, without leading zeros.
    pub(super) modulus: Vec<u8>,
    /// Big-endian, without leading zeros.
    pub(super) exponent: Vec<u8>,
}

impl RsaKey {
    /// The size of the modulus in bits.
    pub(super) fn bits(&self) -> usize {
        let zeros = self.modulus.first().map_or(0, |byte| byte.leading_zeros());
        (self.modulus.len() * 8).saturating_sub(zeros as usize)
    }

    fn parse(der: &[u8]) -> Option<Self> {
        let mut reader = SliceReader::new(der).ok()?;
        let key = reader.sequence(|reader| {
            let modulus = UintRef::decode(reader)?.as_bytes().to_vec();
            let exponent = UintRef::decode(reader)?.as_bytes().to_vec();
            Ok::<_, x509_cert::der::Error>(Self { modulus, exponent })
        });
        let key = key.ok()?;
        reader.finish().ok()?;
        Some(key)
    }
}

/// Decodes all of `der`, and sees that encoding gives the same bytes.
pub(super) fn exact<T: for<'a> Decode<'a> + Encode>(der: &[u8]) -> Result<T, NotExact> {
    let value = T::from_der(der).map_err(|_| NotExact)?;
    match value.to_der() {
        Ok(again) if again == der => Ok(value),
        _ => Err(NotExact),
    }
}

/// The library's name for a signature algorithm, as far as a key of this kind makes such signatures. SHA-1 is not among them.
pub(super) fn algorithm(
    key: &Key,
    identifier: &AlgorithmIdentifierOwned,
) -> Option<&'static dyn VerificationAlgorithm> {
    let parameters = match &identifier.parameters {
        Some(parameters) => Some(parameters.to_der().ok()?),
        None => None,
    };
    if matches!(key, Key::Rsa(key) if key.bits() > MAX_RSA_BITS) {
        return None;
    }
    let found: &'static dyn VerificationAlgorithm = match (key, identifier.oid) {
        (Key::Ec { curve, .. }, oid) if parameters.is_none() => match (curve, oid) {
            (Curve::P256, ECDSA_SHA256) => &ECDSA_P256_SHA256_ASN1,
            (Curve::P256, ECDSA_SHA384) => &ECDSA_P256_SHA384_ASN1,
            (Curve::P256, ECDSA_SHA512) => &ECDSA_P256_SHA512_ASN1,
            (Curve::P384, ECDSA_SHA256) => &ECDSA_P384_SHA256_ASN1,
            (Curve::P384, ECDSA_SHA384) => &ECDSA_P384_SHA384_ASN1,
            (Curve::P384, ECDSA_SHA512) => &ECDSA_P384_SHA512_ASN1,
            (Curve::P521, ECDSA_SHA256) => &ECDSA_P521_SHA256_ASN1,
            (Curve::P521, ECDSA_SHA384) => &ECDSA_P521_SHA384_ASN1,
            (Curve::P521, ECDSA_SHA512) => &ECDSA_P521_SHA512_ASN1,
            _ => return None,
        },
        (Key::Rsa(_), RSA_PSS) => match parameters? {
            pss if pss == pss_parameters(1, 32) => &RSA_PSS_2048_8192_SHA256,
            pss if pss == pss_parameters(2, 48) => &RSA_PSS_2048_8192_SHA384,
            pss if pss == pss_parameters(3, 64) => &RSA_PSS_2048_8192_SHA512,
            _ => return None,
        },
        (Key::Rsa(_), oid) if parameters.as_deref() == Some(&NULL) => match oid {
            RSA_SHA256 => &RSA_PKCS1_2048_8192_SHA256,
            RSA_SHA384 => &RSA_PKCS1_2048_8192_SHA384,
            RSA_SHA512 => &RSA_PKCS1_2048_8192_SHA512,
            _ => return None,
        },
        _ => return None,
    };
    Some(found)
}

/// RSASSA-PSS-params (RFC 4055 section 3.1) whose hash, mask hash and salt length are those of one SHA-2.
///
/// * `hash` - the last arc of the hash's OID under 2.16.840.1.101.3.4.2.   * `salt` - bytes.
fn pss_parameters(hash: u8, salt: u8) -> [u8; 54] {
    let mut parameters = [
        0x30, 0x34, 0xa0, 0x0f, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04,
        0x02, 0, 0x05, 0x00, 0xa1, 0x1c, 0x30, 0x1a, 0x06, 0x09, 0x2a, 0x86, 0x48, 0x86, 0xf7,
        0x0d, 0x01, 0x01, 0x08, 0x30, 0x0d, 0x06, 0x09, 0x60, 0x86, 0x48, 0x01, 0x65, 0x03, 0x04,
        0x02, 0, 0x05, 0x00, 0xa2, 0x03, 0x02, 0x01, 0,
    ];
    let [.., at_salt] = &mut parameters;
    *at_salt = salt;
    for at in [16, 46] {
        if let Some(byte) = parameters.get_mut(at) {
            *byte = hash;
        }
    }
    parameters
}

const NULL: [u8; 2] = [5, 0];
const RSA_ENCRYPTION: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.1");
const RSA_OAEP: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.7");
const RSA_PSS: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.10");
const RSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.11");
const RSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.12");
const RSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.113549.1.1.13");
const EC_PUBLIC_KEY: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.2.1");
const ECDSA_SHA256: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.2");
const ECDSA_SHA384: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.3");
const ECDSA_SHA512: ObjectIdentifier = ObjectIdentifier::new_unwrap("1.2.840.10045.4.3.4");

/// Each curve by its OID, with the library's name for it.
const CURVES: [(ObjectIdentifier, Curve, &agreement::Algorithm); 3] = [
    (
        ObjectIdentifier::new_unwrap("1.2.840.10045.3.1.7"),
        Curve::P256,
        &ECDH_P256,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.34"),
        Curve::P384,
        &ECDH_P384,
    ),
    (
        ObjectIdentifier::new_unwrap("1.3.132.0.35"),
        Curve::P521,
        &ECDH_P521,
    ),
];
