//! The name of a caller: exactly one URI in a client certificate, `spiffe://<trust domain>/<role>/<id>`.
//!
//! Trust in the certificate itself is established by the TLS handshake, against the client CA. Here only the name in it
//! is read, strictly.
//!
//! Source: SPIFFE X.509-SVID sections 2 and 4.

use std::fmt;

use upkeep::id::StaffId;
use x509_parser::prelude::{FromDer, GeneralName, X509Certificate};

/// What a caller may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// A reseller, who sees its own customers only.
    Partner,
    /// The vendor's support.
    Support,
    /// The vendor's administration.
    Admin,
}

impl Role {
    /// All roles.
    pub const ALL: [Self; 3] = [Self::Partner, Self::Support, Self::Admin];

    /// The word that stands for the role in a SPIFFE id.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Partner => "partner",
            Self::Support => "support",
            Self::Admin => "admin",
        }
    }

    /// The role that `word` stands for.
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|role| role.as_str() == word)
    }
}

impl fmt::Display for Role {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// The domain that all names of one server live in: 1 to 255 characters of `[a-z0-9._-]`, starting with a letter or digit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TrustDomain(String);

impl TrustDomain {
    /// Reads a trust domain.
    ///
    /// # Errors
    /// [`IdentityError::TrustDomain`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let lower = |b: u8| b.is_ascii_lowercase() || b.is_ascii_digit();
        let first_ok = text.bytes().next().is_some_and(lower);
        let all_ok = text
            .bytes()
            .all(|b| lower(b) || matches!(b, b'.' | b'_' | b'-'));
        if first_ok && all_ok && text.len() <= 255 {
            Ok(Self(text.to_owned()))
        } else {
            Err(IdentityError::TrustDomain)
        }
    }

    /// The domain of a server on one machine, for trying out: `upkeep.localhost`.
    pub fn local() -> Self {
        Self("upkeep.localhost".to_owned())
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for TrustDomain {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Who calls: a role and a name within it.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Identity {
    role: Role,
    id: String,
}

impl Identity {
    /// The identity `id` in `role`; `id` follows the rule of [`upkeep::id::PartnerId`] and [`StaffId`].
    ///
    /// # Errors
    /// [`IdentityError::Id`].
    pub fn new(role: Role, id: &str) -> Result<Self, IdentityError> {
        StaffId::parse(id)
            .map(|id| Self {
                role,
                id: id.into(),
            })
            .map_err(|_| IdentityError::Id)
    }

    /// Reads `partner/acme`, `support/eva`, `admin/root`: what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`IdentityError::Path`], [`IdentityError::Id`].
    pub fn parse(text: &str) -> Result<Self, IdentityError> {
        let (role, id) = text.split_once('/').ok_or(IdentityError::Path)?;
        Self::new(Role::parse(role).ok_or(IdentityError::Path)?, id)
    }

    /// The role.
    pub fn role(&self) -> Role {
        self.role
    }

    /// The name within the role.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The URI that a certificate carries for this identity.
    pub fn uri(&self, trust_domain: &TrustDomain) -> String {
        format!("spiffe://{trust_domain}/{self}")
    }

    /// Reads the one name from a client certificate (DER).
    ///
    /// Trust: the signature over the certificate is checked by the handshake, not here.
    /// Checks, in this order: it is X.509 and no CA, its key may sign, it has exactly one URI, the URI's trust domain is
    /// ours, its path is a role and a name. DNS names and addresses beside the URI are ignored, as SPIFFE has it.
    ///
    /// # Errors
    /// One [`IdentityError`] for each check.
    pub fn from_certificate(der: &[u8], trust_domain: &TrustDomain) -> Result<Self, IdentityError> {
        let (rest, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::NotX509)?;
        if !rest.is_empty() {
            return Err(IdentityError::NotX509);
        }
        if certificate.is_ca() {
            return Err(IdentityError::Authority);
        }
        let usage = certificate
            .key_usage()
            .map_err(|_| IdentityError::NotX509)?
            .ok_or(IdentityError::KeyUsage)?;
        if !usage.value.digital_signature() || usage.value.key_cert_sign() {
            return Err(IdentityError::KeyUsage);
        }
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::NotX509)?
            .map(|names| names.value.general_names.as_slice())
            .unwrap_or_default();
        let uris: Vec<&str> = names
            .iter()
            .filter_map(|name| match name {
                GeneralName::URI(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris.as_slice() {
            [uri] => Self::from_uri(uri, trust_domain),
            [] => Err(IdentityError::NoUri),
            many => Err(IdentityError::ManyUris(many.len())),
        }
    }

    fn from_uri(uri: &str, trust_domain: &TrustDomain) -> Result<Self, IdentityError> {
        let rest = uri.strip_prefix("spiffe://").ok_or(IdentityError::Path)?;
        let (domain, path) = rest.split_once('/').ok_or(IdentityError::Path)?;
        if domain != trust_domain.as_str() {
            return Err(IdentityError::WrongTrustDomain {
                ours: trust_domain.to_string(),
            });
        }
        Self::parse(path)
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.role, self.id)
    }
}

/// Why a certificate or a text names nobody.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum IdentityError {
    /// Not one X.509 certificate, or one with broken extensions.
    #[error("the client certificate is not valid X.509")]
    NotX509,
    /// A certificate that may sign others.
    #[error(
        "the client certificate is a certificate authority's; use one issued to a person or system"
    )]
    Authority,
    /// The key usage lacks digitalSignature, or has keyCertSign.
    #[error("the client certificate's key usage must have digitalSignature and not keyCertSign")]
    KeyUsage,
    /// No URI among the subject alternative names.
    #[error(
        "the client certificate has no URI name; it needs one: spiffe://<trust domain>/<role>/<id>"
    )]
    NoUri,
    /// More than one URI.
    #[error("the client certificate has {0} URI names; it must have exactly one")]
    ManyUris(usize),
    /// Issued for another server.
    #[error(
        "the client certificate's URI is not in the trust domain {ours:?}; was it issued for another server?"
    )]
    WrongTrustDomain {
        /// This server's trust domain.
        ours: String,
    },
    /// Not `spiffe://<trust domain>/<role>/<id>` with a known role.
    #[error(
        "the client certificate's URI must be spiffe://<trust domain>/<partner, support or admin>/<id>"
    )]
    Path,
    /// The last segment is no name.
    #[error(
        "an id must be 1 to 63 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
    )]
    Id,
    /// Not a trust domain.
    #[error(
        "a trust domain must be 1 to 255 characters of a-z, 0-9, '.', '_' and '-', starting with a letter or digit"
    )]
    TrustDomain,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_our_form_of_uri_names_somebody() {
        let domain = TrustDomain::parse("vendor.example").unwrap();
        let read = |uri: &str| Identity::from_uri(uri, &domain);
        let acme = Identity::new(Role::Partner, "acme").unwrap();
        assert_eq!(
            read("spiffe://vendor.example/partner/acme"),
            Ok(acme.clone())
        );
        assert_eq!(read(&acme.uri(&domain)), Ok(acme));
        for (uri, error) in [
            ("https://vendor.example/partner/acme", IdentityError::Path),
            ("spiffe://vendor.example", IdentityError::Path),
            ("spiffe://vendor.example/partner", IdentityError::Path),
            ("spiffe://vendor.example/root/acme", IdentityError::Path),
            ("spiffe://vendor.example/Admin/acme", IdentityError::Path),
            ("spiffe://vendor.example//acme", IdentityError::Path),
            ("spiffe://vendor.example/partner/", IdentityError::Id),
            ("spiffe://vendor.example/partner/acme/x", IdentityError::Id),
            ("spiffe://vendor.example/partner/acme?x", IdentityError::Id),
            ("spiffe://vendor.example/partner/%61", IdentityError::Id),
        ] {
            assert_eq!(read(uri), Err(error), "{uri}");
        }
        for uri in [
            "spiffe://vendor.example.org/admin/a",
            "spiffe://VENDOR.example/admin/a",
            "spiffe://x@vendor.example/admin/a",
            "spiffe://vendor.example:1/admin/a",
            "spiffe:///admin/a",
        ] {
            assert!(
                matches!(read(uri), Err(IdentityError::WrongTrustDomain { .. })),
                "{uri}"
            );
        }
    }

    #[test]
    fn trust_domains_are_lower_case_names() {
        for bad in ["", "A", "a/b", ".a", "a b", "a:1", &"a".repeat(256)] {
            assert_eq!(TrustDomain::parse(bad), Err(IdentityError::TrustDomain));
        }
    }

    #[test]
    fn noise_is_no_certificate() {
        let domain = TrustDomain::parse("vendor.example").unwrap();
        for noise in [&b""[..], b"\x30", &[0; 64], b"-----BEGIN CERTIFICATE-----"] {
            assert_eq!(
                Identity::from_certificate(noise, &domain),
                Err(IdentityError::NotX509)
            );
        }
    }
}
