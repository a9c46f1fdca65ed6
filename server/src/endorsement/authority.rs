//! One endorsement CA: its certificate, and what its lister says about it.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use chrono::{DateTime, Utc};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use x509_parser::certificate::X509Certificate;
use x509_parser::pem::Pem;
use x509_parser::prelude::FromDer;
use x509_parser::time::ASN1Time;

use crate::attest::{Anchor, EndorsementClass};
use crate::endorsement::EndorsementError;
use crate::endorsement::manifest::Entry;

/// An endorsement CA that counts.
#[derive(Clone, Debug)]
pub struct Authority {
    anchor: Anchor,
    der: Vec<u8>,
    entry: Entry,
    origin: Origin,
    test: bool,
    not_before: Option<DateTime<Utc>>,
    not_after: Option<DateTime<Utc>>,
}

/// Who listed a CA.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Origin {
    /// It is built into the server.
    BuiltIn,
    /// The operator.
    Own,
}

impl Origin {
    /// Its word in lists.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::BuiltIn => "built in",
            Self::Own => "own",
        }
    }
}

impl Authority {
    /// Takes a certificate as `entry` describes it.
    ///
    /// # Errors
    /// [`EndorsementError`]: no source, another hash, no certificate in exact DER, or no CA.
    pub(super) fn new(
        entry: &Entry,
        bytes: &[u8],
        origin: Origin,
    ) -> Result<Self, EndorsementError> {
        let wrong = |why: &dyn std::fmt::Display| EndorsementError::new(&entry.file, why);
        if entry.source.trim().is_empty() {
            return Err(wrong(
                &"has no source: say where the certificate was obtained",
            ));
        }
        let der = certificate_der(bytes).map_err(|why| wrong(&why))?;
        let sha256 = HEXLOWER.encode(&Sha256::digest(&der));
        if sha256 != entry.sha256 {
            return Err(wrong(&format_args!(
                "its SHA-256 is {sha256}, not {}: the file is another one than was listed",
                entry.sha256
            )));
        }
        let anchor = Anchor::from_der(&der, entry.class()?).map_err(|e| wrong(&e))?;
        let (_, certificate) =
            X509Certificate::from_der(&der).map_err(|_| wrong(&"is no X.509 certificate"))?;
        let signs = certificate.key_usage().ok().flatten();
        if !certificate.is_ca() || !signs.is_some_and(|usage| usage.value.key_cert_sign()) {
            return Err(wrong(&"is no CA certificate: it may not sign others"));
        }
        let names = format!("{} {}", certificate.subject(), certificate.issuer());
        let validity = certificate.validity();
        Ok(Self {
            test: entry.test || is_test_name(&names),
            not_before: instant(validity.not_before),
            not_after: instant(validity.not_after),
            anchor,
            entry: entry.clone(),
            origin,
            der,
        })
    }

    /// The name for people.
    pub fn name(&self) -> &str {
        &self.entry.name
    }

    /// The file's name.
    pub fn file(&self) -> &str {
        &self.entry.file
    }

    /// What it vouches for.
    pub fn class(&self) -> EndorsementClass {
        self.anchor.class()
    }

    /// Where the certificate was obtained.
    pub fn source(&self) -> &str {
        &self.entry.source
    }

    /// What else there is to say; often empty.
    pub fn note(&self) -> &str {
        &self.entry.note
    }

    /// SHA-256 of the DER, 64 characters of hex.
    pub fn sha256(&self) -> &str {
        &self.entry.sha256
    }

    /// SHA-256 of the SubjectPublicKeyInfo, 32 bytes: what a deny list names.
    pub fn key_id(&self) -> [u8; 32] {
        self.anchor.key_id()
    }

    /// Who listed it.
    pub fn origin(&self) -> Origin {
        self.origin
    }

    /// Whether it is a test CA, by its mark or by its name.
    pub fn is_test(&self) -> bool {
        self.test
    }

    /// The first instant at which it vouches.
    pub fn not_before(&self) -> Option<DateTime<Utc>> {
        self.not_before
    }

    /// The last instant at which it vouches.
    pub fn not_after(&self) -> Option<DateTime<Utc>> {
        self.not_after
    }

    /// The certificate for the verifier.
    pub fn anchor(&self) -> &Anchor {
        &self.anchor
    }

    /// The certificate, PEM.
    pub(super) fn pem(&self) -> String {
        let body = STANDARD.encode(&self.der);
        let lines: Vec<&str> = body
            .as_bytes()
            .chunks(64)
            .filter_map(|line| std::str::from_utf8(line).ok())
            .collect();
        format!(
            "-----BEGIN CERTIFICATE-----\n{}\n-----END CERTIFICATE-----\n",
            lines.join("\n")
        )
    }
}

/// The one certificate in `bytes`: PEM, with any text around it, or DER.
///
/// # Errors
/// What is wrong: nothing that looks like one, or more than one.
pub fn certificate_der(bytes: &[u8]) -> Result<Vec<u8>, &'static str> {
    if bytes.first() == Some(&0x30) {
        return Ok(bytes.to_vec());
    }
    let found: Result<Vec<Pem>, _> = Pem::iter_from_buffer(bytes).collect();
    let mut found = found.map_err(|_| "is neither PEM nor DER")?;
    found.retain(|pem| pem.label == "CERTIFICATE");
    match found.as_slice() {
        [one] => Ok(one.contents.clone()),
        [] => Err("is neither PEM nor DER"),
        _ => Err("has more than one certificate: add each from a file of its own"),
    }
}

/// Whether names are those of a CA that exists for tests or belongs to a software TPM.
fn is_test_name(names: &str) -> bool {
    let names = names.to_ascii_lowercase();
    let mut words = names.split(|c: char| !c.is_ascii_alphanumeric());
    names.contains("swtpm") || names.contains("libtpms") || words.any(|word| word == "test")
}

fn instant(time: ASN1Time) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.timestamp(), 0)
}
