//! A certificate signing request (PKCS #10, RFC 2986), of which only the key counts.
//!
//! Whoever asks keeps the private key. Names and extensions in the request say nothing: the certificate names whom the server knows.

use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1, UnparsedPublicKey};
use upkeep::key::PublicKey;
use x509_cert::der::Decode;
use x509_cert::request::CertReq;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::parse_x509_pem;
use x509_parser::prelude::FromDer;

/// A key whose owner has shown possession of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RequestedKey(PublicKey);

/// Why a request is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RequestError {
    /// More than [`MAX_LEN`] bytes.
    #[error("a certificate request has at most 8 KiB")]
    TooLong,
    /// Not one request.
    #[error("this is no certificate request in PEM (BEGIN CERTIFICATE REQUEST); {MAKE_ONE}")]
    NotRequest,
    /// RSA, another curve, or something else.
    #[error("the key in the certificate request is not P-256; {MAKE_ONE}")]
    NotP256,
    /// Signed by another key, or by an algorithm other than ECDSA with SHA-256.
    #[error(
        "the certificate request is not signed by its own key with ECDSA and SHA-256, so nobody has shown that they hold it; {MAKE_ONE}"
    )]
    Signature,
}

impl RequestedKey {
    /// Reads a request (PEM).
    ///
    /// Trust: the request is untrusted. Checks, in this order: length, form, a P-256 key, the key's own signature over the request.
    ///
    /// # Errors
    /// One [`RequestError`] for each check.
    pub fn read(pem: &[u8]) -> Result<Self, RequestError> {
        if pem.len() > MAX_LEN {
            return Err(RequestError::TooLong);
        }
        let (_, block) = parse_x509_pem(pem).map_err(|_| RequestError::NotRequest)?;
        if !["CERTIFICATE REQUEST", "NEW CERTIFICATE REQUEST"].contains(&block.label.as_str()) {
            return Err(RequestError::NotRequest);
        }
        let (rest, request) = X509CertificationRequest::from_der(&block.contents)
            .map_err(|_| RequestError::NotRequest)?;
        // As DER has it, to the last bit: one request has one text. The reader above is more lenient.
        let is_der = rest.is_empty() && CertReq::from_der(&block.contents).is_ok();
        if !is_der || request.signature_value.unused_bits != 0 {
            return Err(RequestError::NotRequest);
        }
        let asked = &request.certification_request_info;
        let key =
            PublicKey::from_spki_der(asked.subject_pki.raw).map_err(|_| RequestError::NotP256)?;
        if request.signature_algorithm.algorithm != ECDSA_WITH_SHA256 {
            return Err(RequestError::Signature);
        }
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_ASN1, key.sec1_bytes())
            .verify(asked.raw, &request.signature_value.data)
            .map_err(|_| RequestError::Signature)?;
        Ok(Self(key))
    }

    /// The key.
    pub fn key(&self) -> &PublicKey {
        &self.0
    }
}

const ECDSA_WITH_SHA256: x509_parser::der_parser::oid::Oid<'static> =
    x509_parser::oid_registry::OID_SIG_ECDSA_WITH_SHA256;
/// The most bytes of a request: a P-256 one has some hundreds.
pub const MAX_LEN: usize = 8 * 1024;
const MAKE_ONE: &str = "make one with `openssl req -new -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout my.key -out my.csr -subj /`";

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384};

    use super::*;

    fn request(key: &KeyPair) -> String {
        let params = CertificateParams::new(vec!["admin.vendor.example".to_owned()]).unwrap();
        params.serialize_request(key).unwrap().pem().unwrap()
    }

    #[test]
    fn the_key_is_read_and_its_names_are_not() {
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let read = RequestedKey::read(request(&key).as_bytes()).unwrap();
        assert_eq!(read.key().sec1_bytes().as_slice(), key.public_key_raw());
    }

    #[test]
    fn what_is_no_proof_of_a_p256_key_is_refused() {
        let p384 = KeyPair::generate_for(&PKCS_ECDSA_P384_SHA384).unwrap();
        assert_eq!(
            RequestedKey::read(request(&p384).as_bytes()),
            Err(RequestError::NotP256)
        );
        assert_eq!(
            RequestedKey::read(&vec![b'A'; MAX_LEN + 1]),
            Err(RequestError::TooLong)
        );
        let key = KeyPair::generate_for(&PKCS_ECDSA_P256_SHA256).unwrap();
        let good = request(&key);
        for bad in [
            String::new(),
            good.replace("CERTIFICATE REQUEST", "CERTIFICATE"),
            good.replacen("MII", "MIJ", 1),
        ] {
            assert_eq!(
                RequestedKey::read(bad.as_bytes()),
                Err(RequestError::NotRequest),
                "{bad}"
            );
        }
        // Every changed byte of the contents is found, in the names as well as in the signature.
        let (_, block) = parse_x509_pem(good.as_bytes()).unwrap();
        for at in 0..block.contents.len() {
            let mut changed = block.contents.clone();
            changed[at] ^= 1;
            let pem = format!(
                "-----BEGIN CERTIFICATE REQUEST-----\n{}\n-----END CERTIFICATE REQUEST-----\n",
                data_encoding::BASE64.encode(&changed)
            );
            assert!(RequestedKey::read(pem.as_bytes()).is_err(), "byte {at}");
        }
    }
}
