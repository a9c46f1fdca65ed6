//! The verifier (RATS, RFC 9334): from evidence to a closed result. Pure: no clock, no store.
//!
//! A software device key shows nothing but possession: a signature over B, which binds the challenge and what the call states.
//! A TPM or a dongle shows more, and each check has its number in the checklist (`docs/attestation.md`): the comments, the
//! variants of [`EvidenceError`] and the tests carry it. Every function is total: sizes are checked before work is done, and no
//! bytes from outside make one panic. Chains of one session: [`appraise_tpm`], then [`make_credential`]; what comes later, such as a
//! heartbeat or a deactivation, is [`ak_public`] and [`nv_certify`] with the attestation key and the counter *of the enrollment*.

mod ak;
mod appraise;
mod certify;
mod counter;
mod credential;
mod ek;
mod endorsement;
mod error;
mod path;
mod piv;
mod roca;
mod statement;
#[cfg(test)]
mod tests;
mod x509;

use upkeep::key::{PublicKey, Thumbprint};
use upkeep::level::AssuranceLevel;

pub use ak::{AttestationKey, ak_public};
pub use appraise::{
    AttestationResult, Certification, Facts, TpmEvidence, TpmFacts, Warning, appraise_tpm,
};
pub use certify::{CertifiedKey, key_certify};
pub use counter::{CounterReading, Relation, clock_went_on, nv_certify};
pub use credential::{Credential, make_credential};
pub use ek::{EndorsedEk, TpmIdentity, claimed_ek_id, ek_chain};
pub use endorsement::{Anchor, DeniedFirmware, DenyList, EndorsementClass, Endorsements};
pub use error::EvidenceError;
pub use piv::{
    AttestedSlot, Dongle, PinPolicy, PivEvidence, PivPolicy, SlotKey, TouchPolicy, appraise_piv,
    piv_attestation,
};

use crate::signer;

/// What is known about a device key. Made only in this module.
#[derive(Clone, Debug)]
pub struct Appraised {
    key: PublicKey,
    thumbprint: Thumbprint,
    level: AssuranceLevel,
}

impl Appraised {
    /// Appraises possession of an enrolled key.
    ///
    /// Trust: `key` and `level` are those of the enrollment's record, which an [`AttestationResult`] made. The rest is as in
    /// [`appraise_software`].
    ///
    /// # Errors
    /// [`NotPossessed`].
    pub fn possessed(
        key: &PublicKey,
        level: AssuranceLevel,
        binding: &[u8; 32],
        signature: &[u8; 64],
    ) -> Result<Self, NotPossessed> {
        if !signer::verify_es256_digest(key.sec1_bytes(), binding, signature) {
            return Err(NotPossessed);
        }
        Ok(Self {
            key: key.clone(),
            thumbprint: key.thumbprint(),
            level,
        })
    }

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
    Appraised::possessed(key, AssuranceLevel::Software, binding, signature)
}
