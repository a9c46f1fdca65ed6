//! The signed artefacts: what each says, claim by claim (DESIGN 5).
//!
//! Every claim is required and no other is read; the few that may be absent are `Option` and are left out of the text, never
//! `null`. Instants are seconds since 1970 in UTC, dates are civil dates of the vendor. A claims type says what a text claims;
//! [`crate::jws::Verified`] says that the text was signed.

use std::fmt;

use serde::{Deserialize, Serialize};

use crate::encoding;
use crate::jws::Claims;
use crate::key::Thumbprint;

mod activation;
mod deactivation;
#[cfg(feature = "rpc")]
mod hardware_proof;
mod key_list;
mod release;
mod unlock;
mod upgrade;

pub use activation::{ActivationCertificate, Counter};
pub use deactivation::{
    DeactivationProof, DeactivationReceipt, DeactivationTicket, ProofError, VerifiedProof,
    verify_proof,
};
#[cfg(feature = "rpc")]
pub use hardware_proof::{HardwareProof, HardwareProofError};
pub use key_list::{CertifiedKey, KeyList, KeyState, MAX_KEYS};
pub use release::ReleaseManifest;
pub use unlock::UnlockCode;
pub use upgrade::{BoundTo, UpgradeCode};

/// An artefact that can be shown to a person, as it stands above the armour in a file.
pub trait Readable: Claims {
    /// What a person wants to know, as pairs of a title and a value. It is for reading only: nothing is ever read from it.
    fn readable(&self) -> Vec<(&'static str, String)>;
}

/// The confirmation claim (RFC 7800): which device key the artefact is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Confirmation {
    /// The thumbprint of the device's public key (RFC 7638; RFC 9449 section 6.1).
    pub jkt: Thumbprint,
}

/// Who issued an artefact: 1 to 255 visible ASCII characters, such as `https://licenses.vendor.example`. It informs and gives no trust.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Issuer(String);

impl Issuer {
    /// Parses the text.
    ///
    /// # Errors
    /// [`ClaimError::Issuer`].
    pub fn parse(text: &str) -> Result<Self, ClaimError> {
        if visible(text, 255) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClaimError::Issuer)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// The identifier of an artefact that has no record of its own kind (`jti`): 1 to 64 visible ASCII characters.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct ArtefactId(String);

impl ArtefactId {
    /// Parses the text.
    ///
    /// # Errors
    /// [`ClaimError::Id`].
    pub fn parse(text: &str) -> Result<Self, ClaimError> {
        if visible(text, 64) {
            Ok(Self(text.to_owned()))
        } else {
            Err(ClaimError::Id)
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

/// What makes a deactivation ticket unique and fresh: 32 random bytes, written as 43 characters of base64url.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TicketNonce([u8; 32]);

impl TicketNonce {
    /// Wraps 32 random bytes.
    pub fn from_bytes(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// Parses 43 characters of canonical base64url.
    ///
    /// # Errors
    /// [`ClaimError::Nonce`].
    pub fn parse(text: &str) -> Result<Self, ClaimError> {
        encoding::array_from_base64url(text)
            .map(Self)
            .ok_or(ClaimError::Nonce)
    }

    /// The 32 bytes.
    pub fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The Name of a TPM's key or NV index: 34 bytes, `000b` and a SHA-256 (TPM 2.0 Part 1 section 16), written as 68 hexadecimal digits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct TpmName([u8; 34]);

impl TpmName {
    /// Reads the 34 bytes.
    ///
    /// # Errors
    /// [`ClaimError::TpmName`] for another length or hash.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, ClaimError> {
        let name: [u8; 34] = bytes.try_into().map_err(|_| ClaimError::TpmName)?;
        if name.starts_with(&TPM_ALG_SHA256) {
            Ok(Self(name))
        } else {
            Err(ClaimError::TpmName)
        }
    }

    /// The Name whose SHA-256 this is.
    pub fn from_digest(digest: [u8; 32]) -> Self {
        let mut name = [0; 34];
        for (byte, of) in name
            .iter_mut()
            .zip(TPM_ALG_SHA256.into_iter().chain(digest))
        {
            *byte = of;
        }
        Self(name)
    }

    /// Parses 68 lower-case hexadecimal digits.
    ///
    /// # Errors
    /// [`ClaimError::TpmName`].
    pub fn parse(text: &str) -> Result<Self, ClaimError> {
        let name: [u8; 34] = encoding::array_from_hex(text).ok_or(ClaimError::TpmName)?;
        Self::from_bytes(&name)
    }

    /// The 34 bytes.
    pub fn as_bytes(&self) -> &[u8; 34] {
        &self.0
    }
}

/// Why a value cannot stand in an artefact.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ClaimError {
    /// Not an issuer.
    #[error("an issuer is 1 to 255 visible ASCII characters")]
    Issuer,
    /// Not an identifier.
    #[error("an artefact's id is 1 to 64 visible ASCII characters")]
    Id,
    /// Not a nonce.
    #[error("a nonce is 43 characters of base64url")]
    Nonce,
    /// Not a TPM Name.
    #[error("a TPM name is 34 bytes that start with 000b, in lower-case hexadecimal")]
    TpmName,
    /// Both bindings of an upgrade code, or none.
    #[error(
        "an upgrade code is bound to a device key (cnf) or to a dongle_number, and to one of them only"
    )]
    Binding,
    /// No list of keys.
    #[error("a key list has a number from 1 and 1 to 24 different keys, each with its own window")]
    KeyList,
}

macro_rules! text_claim {
    ($name:ident, |$value:ident| $text:expr) => {
        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let $value = self;
                f.write_str(&$text)
            }
        }

        impl TryFrom<String> for $name {
            type Error = ClaimError;

            fn try_from(text: String) -> Result<Self, Self::Error> {
                Self::parse(&text)
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    };
}

text_claim!(Issuer, |issuer| issuer.0);
text_claim!(ArtefactId, |id| id.0);
text_claim!(TicketNonce, |nonce| encoding::base64url(&nonce.0));
text_claim!(TpmName, |name| encoding::hex(&name.0));

fn visible(text: &str, max: usize) -> bool {
    (1..=max).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_graphic())
}

/// A list of names for a person.
fn listed<T: fmt::Display>(items: &[T]) -> String {
    if items.is_empty() {
        return "none".to_owned();
    }
    let items: Vec<String> = items.iter().map(T::to_string).collect();
    items.join(", ")
}

/// An instant for a person: `YYYY-MM-DD HH:MM UTC`.
fn shown(seconds: u64) -> String {
    i64::try_from(seconds)
        .ok()
        .and_then(|seconds| chrono::DateTime::from_timestamp(seconds, 0))
        .map_or_else(
            || format!("{seconds} seconds after 1970"),
            |at| at.format("%Y-%m-%d %H:%M UTC").to_string(),
        )
}

/// A flag for a person.
fn yes_no(flag: bool) -> String {
    if flag { "yes" } else { "no" }.to_owned()
}

const TPM_ALG_SHA256: [u8; 2] = [0x00, 0x0b];
