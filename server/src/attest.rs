//! The verifier (RATS, RFC 9334): from evidence to a closed result. Pure: no clock, no store.
//!
//! A software device key shows nothing but possession: a signature over B, which binds the challenge and what the call states.

use upkeep::key::{PublicKey, Thumbprint};
use upkeep::level::AssuranceLevel;

use crate::signer;

/// What is known about a device key. Made only in this module.
#[derive(Clone, Debug)]
pub struct Appraised {
    key: PublicKey,
    thumbprint: Thumbprint,
    level: AssuranceLevel,
}

impl Appraised {
    /// The device key.
    pub fn key(&self) -> &PublicKey {
        &self.key
    }

    /// Its RFC 7638 thumbprint.
    pub fn thumbprint(&self) -> Thumbprint {
        self.thumbprint
    }

    /// How well it is known to stay on its device.
    pub fn level(&self) -> AssuranceLevel {
        self.level
    }
}

/// The device did not prove possession of its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the signature is not the device key's over this call")]
pub struct NotPossessed;

/// Appraises possession of a software key.
///
/// * `binding` - the 32 bytes of B for this call, computed here from the parsed request, never taken from the caller.
/// * `signature` - r||s, 64 bytes, untrusted; high s is accepted.
///
/// # Errors
/// [`NotPossessed`].
pub fn appraise_software(
    key: &PublicKey,
    binding: &[u8; 32],
    signature: &[u8; 64],
) -> Result<Appraised, NotPossessed> {
    if !signer::verify_es256_digest(key.sec1_bytes(), binding, signature) {
        return Err(NotPossessed);
    }
    Ok(Appraised {
        key: key.clone(),
        thumbprint: key.thumbprint(),
        level: AssuranceLevel::Software,
    })
}
