//! Certificates to order, written byte by byte, so that a test can break any rule of DER and of X.509.

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::key::SigningKey;
use x509_cert::der::Encode;
use x509_cert::der::asn1::ObjectIdentifier;

pub(super) const EK_USAGE: &str = "2.23.133.8.1";
pub(super) const BASIC_CONSTRAINTS: &str = "2.5.29.19";
pub(super) const KEY_USAGE: &str = "2.5.29.15";
pub(super) const EXTENDED_KEY_USAGE: &str = "2.5.29.37";
pub(super) const ALTERNATIVE_NAME: &str = "2.5.29.17";

/// When everything is valid.
pub(super) fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 0).unwrap()
}

pub(super) fn key(seed: u8) -> SigningKey {
    SigningKey::from_seed(&[seed; 32]).unwrap()
}

/// DER: tag, length, content.
pub(super) fn tlv(tag: u8, parts: &[&[u8]]) -> Vec<u8> {
    let content = parts.concat();
    let mut der = vec![tag];
    match content.len() {
        length @ 0..0x80 => der.push(length as u8),
        length @ 0x80..0x100 => der.extend([0x81, length as u8]),
        length => der.extend([0x82, (length >> 8) as u8, length as u8]),
    }
    der.extend(content);
    der
}

pub(super) fn oid(dotted: &str) -> Vec<u8> {
    ObjectIdentifier::new_unwrap(dotted).to_der().unwrap()
}

/// A name of one common name.
pub(super) fn name(common: &str) -> Vec<u8> {
    let attribute = tlv(0x30, &[&oid("2.5.4.3"), &tlv(0x0c, &[common.as_bytes()])]);
    tlv(0x30, &[&tlv(0x31, &[&attribute])])
}

/// An extension with its value in DER.
pub(super) fn extension(id: &str, critical: bool, value: &[u8]) -> (String, Vec<u8>) {
    let critical: &[u8] = if critical { &[1, 1, 0xff] } else { &[] };
    let der = tlv(0x30, &[&oid(id), critical, &tlv(0x04, &[value])]);
    (id.to_owned(), der)
}

pub(super) fn basic_constraints(ca: bool, path_length: Option<u8>) -> (String, Vec<u8>) {
    let ca: &[u8] = if ca { &[1, 1, 0xff] } else { &[] };
    let length = path_length.map_or(Vec::new(), |length| vec![2, 1, length]);
    extension(BASIC_CONSTRAINTS, true, &tlv(0x30, &[ca, &length]))
}

/// Key usage by its bits, the first (digitalSignature) as 0.
pub(super) fn key_usage(bits: &[u8]) -> (String, Vec<u8>) {
    let byte = bits.iter().fold(0_u8, |all, bit| all | 0x80 >> bit);
    let unused = u8::try_from(byte.trailing_zeros()).unwrap() % 8;
    extension(KEY_USAGE, true, &[3, 2, unused, byte])
}

pub(super) fn extended_key_usage(usages: &[&str]) -> (String, Vec<u8>) {
    let usages: Vec<u8> = usages.iter().flat_map(|usage| oid(usage)).collect();
    extension(EXTENDED_KEY_USAGE, false, &tlv(0x30, &[&usages]))
}

/// A directory name with these attributes of 2.23.133.2, each in a set of its own.
pub(super) fn tpm_names(attributes: &[(u8, &str)]) -> (String, Vec<u8>) {
    let sets: Vec<u8> = attributes
        .iter()
        .flat_map(|(last, text)| {
            let id = oid(&format!("2.23.133.2.{last}"));
            let attribute = tlv(0x30, &[&id, &tlv(0x0c, &[text.as_bytes()])]);
            tlv(0x31, &[&attribute])
        })
        .collect();
    let directory_name = tlv(0xa4, &[&tlv(0x30, &[&sets])]);
    extension(ALTERNATIVE_NAME, true, &tlv(0x30, &[&directory_name]))
}

/// A SubjectPublicKeyInfo: algorithm, parameters and the bits of the key.
pub(super) fn spki(algorithm: &str, parameters: &[u8], bits: &[u8]) -> Vec<u8> {
    let algorithm = tlv(0x30, &[&oid(algorithm), parameters]);
    tlv(0x30, &[&algorithm, &tlv(0x03, &[&[0], bits])])
}

/// An RSA key of this modulus and exponent.
pub(super) fn rsa_spki(modulus: &[u8], exponent: &[u8]) -> Vec<u8> {
    let modulus = tlv(0x02, &[&[0], modulus]);
    let key = tlv(0x30, &[&modulus, &tlv(0x02, &[exponent])]);
    spki("1.2.840.113549.1.1.1", &[5, 0], &key)
}

/// A modulus of so many bits that is no power of 65537 modulo small primes.
pub(super) fn modulus(bits: usize) -> Vec<u8> {
    let mut modulus = vec![0xc5; bits / 8];
    *modulus.last_mut().unwrap() = 0x01;
    modulus
}

/// What signs a certificate: the algorithm in DER, and a signature over a message.
pub(super) struct Signer<'a> {
    pub(super) algorithm: Vec<u8>,
    pub(super) sign: &'a dyn Fn(&[u8]) -> Vec<u8>,
}

/// A certificate that is to be.
#[derive(Clone)]
pub(super) struct Draft {
    pub(super) subject: Vec<u8>,
    pub(super) issuer: Vec<u8>,
    pub(super) not_before: DateTime<Utc>,
    pub(super) not_after: DateTime<Utc>,
    pub(super) spki: Vec<u8>,
    pub(super) extensions: Vec<(String, Vec<u8>)>,
    /// The version in DER; nothing for version 1.
    pub(super) version: Vec<u8>,
    /// The algorithm inside, where it is not the one outside.
    pub(super) inner_algorithm: Option<Vec<u8>>,
}

impl Draft {
    pub(super) fn new(subject: &str, issuer: &str, spki: Vec<u8>) -> Self {
        Self {
            subject: name(subject),
            issuer: name(issuer),
            not_before: now() - TimeDelta::days(1),
            not_after: now() + TimeDelta::days(1),
            spki,
            extensions: Vec::new(),
            version: vec![0xa0, 3, 2, 1, 2],
            inner_algorithm: None,
        }
    }

    /// A CA.
    pub(super) fn authority(subject: &str, issuer: &str, key: &SigningKey) -> Self {
        Self::new(subject, issuer, key.public_key().to_spki_der())
            .with(basic_constraints(true, None))
            .with(key_usage(&[5, 6]))
    }

    /// An endorsement certificate of a P-256 key.
    pub(super) fn ek(issuer: &str, key: &SigningKey) -> Self {
        Self::new("an EK", issuer, key.public_key().to_spki_der())
            .with(basic_constraints(false, None))
            .with(key_usage(&[4]))
            .with(extended_key_usage(&[EK_USAGE]))
            .with(tpm_names(&TPM))
    }

    /// Adds an extension, in the place of the one with the same id, if there is one.
    pub(super) fn with(mut self, extension: (String, Vec<u8>)) -> Self {
        match self.extensions.iter_mut().find(|one| one.0 == extension.0) {
            Some(one) => *one = extension,
            None => self.extensions.push(extension),
        }
        self
    }

    pub(super) fn without(mut self, id: &str) -> Self {
        self.extensions.retain(|one| one.0 != id);
        self
    }

    pub(super) fn sign(&self, signer: &Signer<'_>) -> Vec<u8> {
        let time =
            |at: DateTime<Utc>| tlv(0x18, &[at.format("%Y%m%d%H%M%SZ").to_string().as_bytes()]);
        let extensions: Vec<u8> = self
            .extensions
            .iter()
            .flat_map(|(_, der)| der.clone())
            .collect();
        let extensions = if extensions.is_empty() {
            Vec::new()
        } else {
            tlv(0xa3, &[&tlv(0x30, &[&extensions])])
        };
        let algorithm = &signer.algorithm;
        let tbs = tlv(
            0x30,
            &[
                &self.version,
                &[2, 1, 1],
                self.inner_algorithm.as_ref().unwrap_or(algorithm),
                &self.issuer,
                &tlv(0x30, &[&time(self.not_before), &time(self.not_after)]),
                &self.subject,
                &self.spki,
                &extensions,
            ],
        );
        let signature = tlv(0x03, &[&[0], &(signer.sign)(&tbs)]);
        tlv(0x30, &[&tbs, algorithm, &signature])
    }

    /// Signed by a P-256 key with SHA-256.
    pub(super) fn by(&self, key: &SigningKey) -> Vec<u8> {
        self.sign(&Signer {
            algorithm: tlv(0x30, &[&oid("1.2.840.10045.4.3.2")]),
            sign: &|message| {
                let signature = p256::ecdsa::Signature::from_slice(&key.sign(message)).unwrap();
                signature.to_der().as_bytes().to_vec()
            },
        })
    }
}

pub(super) const TPM: [(u8, &str); 3] = [(1, "id:00001014"), (2, "model"), (3, "id:00010002")];
