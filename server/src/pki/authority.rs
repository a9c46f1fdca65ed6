//! The certificate authority of one server: it issues the server's own certificate and those of staff and partners.
//!
//! P-256 throughout. It keeps no list of what it issued: that is in the store, and a lost certificate is shut out by
//! [`super::withdrawn`]. It writes no files but through [`Issued::write`].

use std::fmt;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use chrono::{DateTime, Datelike, Utc};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa,
    Issuer, KeyPair, KeyUsagePurpose, SanType, SubjectPublicKeyInfo, string::Ia5String,
};
use sha2::{Digest, Sha256};
use x509_parser::pem::parse_x509_pem;
use zeroize::Zeroizing;

use crate::keys::file::{self, Access, KeyFileError};
use crate::pki::identity::{Identity, TrustDomain};
use crate::pki::request::RequestedKey;

/// A CA with its private key.
pub struct Authority {
    trust_domain: TrustDomain,
    certificate_pem: String,
    issuer: Issuer<'static, KeyPair>,
}

impl Authority {
    /// Makes a new CA for `trust_domain`, valid for ten years from the day of `now`.
    ///
    /// # Errors
    /// [`PkiError::Refused`].
    pub fn create(trust_domain: &TrustDomain, now: DateTime<Utc>) -> Result<Self, PkiError> {
        let key = KeyPair::generate()?;
        let mut params = params(&format!("Upkeep CA of {trust_domain}"), now, CA_DAYS)?;
        params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let certificate_pem = params.self_signed(&key)?.pem();
        Ok(Self {
            trust_domain: trust_domain.clone(),
            certificate_pem,
            issuer: Issuer::new(params, key),
        })
    }

    /// Opens a CA from its certificate and PKCS#8 key, both PEM.
    ///
    /// # Errors
    /// [`PkiError::Refused`] when either does not parse; [`PkiError::Mismatch`] when they do not belong together.
    pub fn open(
        trust_domain: &TrustDomain,
        certificate_pem: &str,
        key_pem: &str,
    ) -> Result<Self, PkiError> {
        let key = KeyPair::from_pem(key_pem)?;
        let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).map_err(|_| PkiError::NotX509)?;
        let certificate = pem.parse_x509().map_err(|_| PkiError::NotX509)?;
        if certificate.public_key().subject_public_key.data.as_ref() != key.public_key_raw() {
            return Err(PkiError::Mismatch);
        }
        if !certificate.is_ca() {
            return Err(PkiError::NotCa);
        }
        Ok(Self {
            trust_domain: trust_domain.clone(),
            certificate_pem: certificate_pem.to_owned(),
            issuer: Issuer::from_ca_cert_pem(certificate_pem, key)?,
        })
    }

    /// The domain of the names it gives.
    pub fn trust_domain(&self) -> &TrustDomain {
        &self.trust_domain
    }

    /// The CA's certificate, PEM: what clients pin.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The CA's private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> Zeroizing<String> {
        Zeroizing::new(self.issuer.key().serialize_pem())
    }

    /// Issues a certificate for the server under `names`: host names and IP addresses.
    ///
    /// # Errors
    /// [`PkiError::NoNames`], [`PkiError::Name`], [`PkiError::Refused`].
    pub fn issue_server(
        &self,
        names: &[String],
        now: DateTime<Utc>,
        days: u16,
    ) -> Result<Issued, PkiError> {
        let first = names.first().ok_or(PkiError::NoNames)?;
        let mut params = params(first, now, days)?;
        params.subject_alt_names = names
            .iter()
            .map(|name| server_name(name))
            .collect::<Result<_, _>>()?;
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ServerAuth];
        self.sign(params)
    }

    /// Issues a certificate for a caller: exactly one URI name, that of `identity`.
    ///
    /// # Errors
    /// [`PkiError::Refused`].
    pub fn issue_client(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
        days: u16,
    ) -> Result<Issued, PkiError> {
        self.sign(self.client_params(identity, now, days)?)
    }

    /// Issues a certificate for a caller who keeps the private key: PEM. Nothing of the request but its key stands in it.
    ///
    /// # Errors
    /// [`PkiError::Refused`].
    pub fn issue_for_key(
        &self,
        identity: &Identity,
        requested: &RequestedKey,
        now: DateTime<Utc>,
        days: u16,
    ) -> Result<String, PkiError> {
        let mut params = self.client_params(identity, now, days)?;
        // The library derives serial numbers from the key, and one key may have several certificates.
        let instant = now.timestamp_micros().to_be_bytes();
        let mut serial =
            Sha256::digest([&instant, requested.key().sec1_bytes().as_slice()].concat()).to_vec();
        serial.truncate(SERIAL_BYTES);
        if let Some(first) = serial.first_mut() {
            // Positive, and never with a leading zero (RFC 5280 section 4.1.2.2).
            *first = (*first & 0x3f) | 0x40;
        }
        params.serial_number = Some(serial.into());
        let key = SubjectPublicKeyInfo::from_der(&requested.key().to_spki_der())?;
        Ok(as_leaf(params).signed_by(&key, &self.issuer)?.pem())
    }

    fn client_params(
        &self,
        identity: &Identity,
        now: DateTime<Utc>,
        days: u16,
    ) -> Result<CertificateParams, PkiError> {
        let mut params = params(&identity.to_string(), now, days)?;
        let uri = identity.uri(&self.trust_domain);
        params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(uri)?)];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        Ok(params)
    }

    fn sign(&self, params: CertificateParams) -> Result<Issued, PkiError> {
        let key = KeyPair::generate()?;
        let certificate_pem = as_leaf(params).signed_by(&key, &self.issuer)?.pem();
        Ok(Issued {
            certificate_pem,
            key_pem: Zeroizing::new(key.serialize_pem()),
        })
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Authority")
            .field("trust_domain", &self.trust_domain)
            .finish_non_exhaustive()
    }
}

/// A fresh certificate and its private key.
pub struct Issued {
    certificate_pem: String,
    key_pem: Zeroizing<String>,
}

impl Issued {
    /// The certificate, PEM.
    pub fn certificate_pem(&self) -> &str {
        &self.certificate_pem
    }

    /// The private key, PKCS#8 PEM.
    pub fn key_pem(&self) -> &str {
        &self.key_pem
    }

    /// Writes `<name>.key` (0600) and `<name>.crt` into `directory`, which exists; nothing is overwritten.
    /// Answers the two paths: certificate, key.
    ///
    /// # Errors
    /// [`KeyFileError::Exists`], [`KeyFileError::Io`].
    pub fn write(&self, directory: &Path, name: &str) -> Result<(PathBuf, PathBuf), KeyFileError> {
        let certificate = directory.join(format!("{name}.crt"));
        let key = directory.join(format!("{name}.key"));
        if certificate.exists() {
            // Or a new key would come to lie beside an old certificate.
            return Err(KeyFileError::Exists { path: certificate });
        }
        file::write_new(&key, self.key_pem.as_bytes(), Access::Owner)?;
        file::write_new(
            &certificate,
            self.certificate_pem.as_bytes(),
            Access::Everyone,
        )?;
        Ok((certificate, key))
    }
}

impl fmt::Debug for Issued {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Issued").finish_non_exhaustive()
    }
}

/// The instant after which a certificate (PEM) is no longer accepted.
///
/// # Errors
/// [`PkiError::NotX509`].
pub fn expires_at(certificate_pem: &str) -> Result<DateTime<Utc>, PkiError> {
    let (_, pem) = parse_x509_pem(certificate_pem.as_bytes()).map_err(|_| PkiError::NotX509)?;
    let certificate = pem.parse_x509().map_err(|_| PkiError::NotX509)?;
    DateTime::from_timestamp(certificate.validity().not_after.timestamp(), 0)
        .ok_or(PkiError::NotX509)
}

/// Why a certificate was not issued, or a CA not opened.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PkiError {
    /// The certificate does not parse.
    #[error("the certificate is not valid X.509 in PEM")]
    NotX509,
    /// The certificate is not a CA's.
    #[error("the certificate is not a certificate authority's")]
    NotCa,
    /// Certificate and key are not a pair.
    #[error("the certificate was made for another key")]
    Mismatch,
    /// The server has no name.
    #[error("a server certificate needs at least one name; set `tls.names`")]
    NoNames,
    /// A name that no certificate can carry.
    #[error("{0:?} is neither a host name nor an IP address; correct it in `tls.names`")]
    Name(String),
    /// The instant lies outside what a certificate can say.
    #[error("the clock stands at {0}, which no certificate can carry; set the clock")]
    Clock(DateTime<Utc>),
    /// The library refused.
    #[error("the certificate was not made: {0}")]
    Refused(#[from] rcgen::Error),
}

/// What server and client certificates share.
fn as_leaf(mut params: CertificateParams) -> CertificateParams {
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.use_authority_key_identifier_extension = true;
    params
}

/// What all our certificates share: a common name for people, and whole days of validity from the day of `now`.
fn params(name: &str, now: DateTime<Utc>, days: u16) -> Result<CertificateParams, PkiError> {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.distinguished_name.push(DnType::CommonName, name);
    let since_epoch = u64::try_from(now.timestamp()).map_err(|_| PkiError::Clock(now))?;
    if now.year() > LAST_YEAR {
        return Err(PkiError::Clock(now));
    }
    // From the start of the day, so that a client whose clock is a little behind accepts it too.
    let midnight = since_epoch - since_epoch % DAY_SECS;
    let epoch = rcgen::date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(midnight);
    params.not_after = params.not_before + Duration::from_secs(u64::from(days) * DAY_SECS);
    Ok(params)
}

fn server_name(name: &str) -> Result<SanType, PkiError> {
    if let Ok(address) = name.parse::<IpAddr>() {
        return Ok(SanType::IpAddress(address));
    }
    if !is_host_name(name) {
        return Err(PkiError::Name(name.to_owned()));
    }
    Ok(SanType::DnsName(Ia5String::try_from(name)?))
}

/// Whether `name` is a host name (RFC 1123): labels of letters, digits and inner hyphens, 253 characters at most.
pub fn is_host_name(name: &str) -> bool {
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label
                .bytes()
                .all(|b| b.is_ascii_alphanumeric() || b == b'-')
            && !label.starts_with('-')
            && !label.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// As many as RFC 5280 lets a serial number have, less what keeps it positive.
const SERIAL_BYTES: usize = 16;
const CA_DAYS: u16 = 3_653;
const DAY_SECS: u64 = 86_400;
/// X.509 ends with the year 9999, and an `u16` of days is 179 years.
const LAST_YEAR: i32 = 9_800;

#[cfg(test)]
mod tests {
    use chrono::TimeZone;
    use x509_parser::prelude::{FromDer, X509Certificate};

    use super::*;
    use crate::pki::identity::Role;

    fn now() -> DateTime<Utc> {
        Utc.with_ymd_and_hms(2026, 3, 1, 12, 30, 0).unwrap()
    }

    fn domain() -> TrustDomain {
        TrustDomain::parse("vendor.example").unwrap()
    }

    fn der(pem: &str) -> Vec<u8> {
        parse_x509_pem(pem.as_bytes()).unwrap().1.contents
    }

    #[test]
    fn a_client_certificate_has_the_profile_of_an_svid() {
        let authority = Authority::create(&domain(), now()).unwrap();
        let acme = Identity::new(Role::Partner, "acme").unwrap();
        let issued = authority.issue_client(&acme, now(), 365).unwrap();
        let der = der(issued.certificate_pem());
        assert_eq!(Identity::from_certificate(&der, &domain()), Ok(acme));

        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let usage = leaf.key_usage().unwrap().unwrap();
        assert!(
            usage.critical && usage.value.flags == 1,
            "digitalSignature alone"
        );
        let extended = leaf.extended_key_usage().unwrap().unwrap().value;
        assert!(extended.client_auth && !extended.server_auth && !extended.any);
        assert!(!leaf.basic_constraints().unwrap().unwrap().value.ca);
        assert_eq!(
            expires_at(issued.certificate_pem()).unwrap(),
            Utc.with_ymd_and_hms(2027, 3, 1, 0, 0, 0).unwrap()
        );
    }

    #[test]
    fn the_authority_survives_its_files_and_names_nobody() {
        let made = Authority::create(&domain(), now()).unwrap();
        let pem = made.certificate_pem().to_owned();
        let opened = Authority::open(&domain(), &pem, &made.key_pem()).unwrap();
        assert_eq!(opened.certificate_pem(), pem);
        let admin = Identity::new(Role::Admin, "first").unwrap();
        opened.issue_client(&admin, now(), 1).unwrap();

        let other = Authority::create(&domain(), now()).unwrap();
        assert!(matches!(
            Authority::open(&domain(), &pem, &other.key_pem()),
            Err(PkiError::Mismatch)
        ));
        assert_eq!(
            Identity::from_certificate(&der(&pem), &domain()),
            Err(crate::pki::IdentityError::Authority)
        );
    }

    #[test]
    fn a_server_certificate_carries_names_and_addresses() {
        let authority = Authority::create(&domain(), now()).unwrap();
        let names = ["licenses.vendor.example", "127.0.0.1", "::1"].map(str::to_owned);
        let issued = authority.issue_server(&names, now(), 730).unwrap();
        let der = der(issued.certificate_pem());
        let (_, leaf) = X509Certificate::from_der(&der).unwrap();
        let names = leaf.subject_alternative_name().unwrap().unwrap().value;
        assert_eq!(names.general_names.len(), 3);
        assert!(
            leaf.extended_key_usage()
                .unwrap()
                .unwrap()
                .value
                .server_auth
        );
        assert_eq!(
            Identity::from_certificate(&der, &domain()),
            Err(crate::pki::IdentityError::NoUri)
        );
    }

    #[test]
    fn bad_server_names_are_refused() {
        let authority = Authority::create(&domain(), now()).unwrap();
        assert!(matches!(
            authority.issue_server(&[], now(), 1),
            Err(PkiError::NoNames)
        ));
        for bad in ["", "a b", "*.vendor.example", "-a", "a..b", "http://a", "ü"] {
            assert!(
                matches!(
                    authority.issue_server(&[bad.to_owned()], now(), 1),
                    Err(PkiError::Name(_))
                ),
                "{bad:?}"
            );
        }
    }
}
