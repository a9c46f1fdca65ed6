//! Taking a seat back: the server's ticket, the device's proof, and the receipt that the customer keeps or returns to the reseller.
//!
//! These are the proofs of software keys. A TPM's proof is no JWS (a restricted key signs none); it is read elsewhere.

use serde::{Deserialize, Serialize};

use super::{ArtefactId, Confirmation, Issuer, Readable, TicketNonce, shown};
use crate::id::ActivationId;
use crate::jws::{self, Claims, JwsError, Typ, Verified};
use crate::key::{PublicKey, Thumbprint, VerifyFn};
use crate::level::ProofGrade;
use crate::serial::SerialNumber;

/// The server's invitation to deactivate: the device answers it with a proof. Its nonce is its identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeactivationTicket {
    /// Who issued it.
    pub iss: Issuer,
    /// What the proof must repeat.
    pub nonce: TicketNonce,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// When it ends, in seconds since 1970.
    pub exp: u64,
    /// The license.
    #[serde(rename = "sub")]
    pub serial: SerialNumber,
    /// The activation to end.
    pub activation_id: ActivationId,
    /// The device key that must answer.
    pub cnf: Confirmation,
}

/// A device's declaration that it has stopped: signed by its software key over the whole ticket, so that it stands alone.
/// It has one effect for one activation, however often it is shown; therefore the activation is its identifier.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeactivationProof {
    /// The device's clock, in seconds since 1970. It informs; nothing is decided by it.
    pub iat: u64,
    /// The license.
    #[serde(rename = "sub")]
    pub serial: SerialNumber,
    /// The activation that ended.
    pub activation_id: ActivationId,
    /// The ticket's nonce.
    pub nonce: TicketNonce,
    /// The ticket's whole text.
    pub ticket: String,
    /// The device key, which is also the `kid`.
    pub cnf: Confirmation,
}

/// The server's word that an activation has ended, and on what evidence. Signed by the server.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DeactivationReceipt {
    /// Who issued it.
    pub iss: Issuer,
    /// The receipt.
    pub jti: ArtefactId,
    /// When it was issued, in seconds since 1970.
    pub iat: u64,
    /// The license.
    #[serde(rename = "sub")]
    pub serial: SerialNumber,
    /// The activation that ended.
    pub activation_id: ActivationId,
    /// The license's generation.
    pub generation: u32,
    /// The evidence.
    pub grade: ProofGrade,
    /// The device key that the activation was bound to.
    pub cnf: Confirmation,
}

/// A proof and its ticket, both verified and about the same activation; only [`verify_proof`] makes one.
#[derive(Debug, PartialEq, Eq)]
pub struct VerifiedProof {
    proof: Verified<DeactivationProof>,
    ticket: Verified<DeactivationTicket>,
}

impl VerifiedProof {
    /// What the device declared.
    pub fn proof(&self) -> &DeactivationProof {
        self.proof.claims()
    }

    /// What the server had asked. Whether it has ended is for the caller, who has a clock.
    pub fn ticket(&self) -> &DeactivationTicket {
        self.ticket.claims()
    }
}

/// Verifies a software proof of deactivation with the ticket inside.
///
/// Trust: `text` is untrusted; `find_device_key` gives the device keys on record; `find_server_key` gives the server's own keys,
/// present and past. That the activation named is bound to this device key is for the caller, who has its record. Checks, in this order, one error each: the proof, its key against `cnf`, the ticket, that both agree.
///
/// # Errors
/// [`ProofError`] names the check that failed.
pub fn verify_proof(
    text: &str,
    find_device_key: impl FnOnce(&Thumbprint) -> Option<PublicKey>,
    find_server_key: impl FnOnce(&Thumbprint) -> Option<PublicKey>,
    verify: VerifyFn,
) -> Result<VerifiedProof, ProofError> {
    let proof = jws::verify::<DeactivationProof>(text, find_device_key, verify)
        .map_err(ProofError::Proof)?;
    let said = proof.claims();
    if said.cnf.jkt != proof.kid() {
        return Err(ProofError::Device);
    }
    let ticket = jws::verify::<DeactivationTicket>(&said.ticket, find_server_key, verify)
        .map_err(ProofError::Ticket)?;
    let asked = ticket.claims();
    if said.cnf != asked.cnf {
        return Err(ProofError::Device);
    }
    if said.activation_id != asked.activation_id || said.serial != asked.serial {
        return Err(ProofError::Activation);
    }
    if said.nonce != asked.nonce {
        return Err(ProofError::Nonce);
    }
    Ok(VerifiedProof { proof, ticket })
}

/// Why a text proves no deactivation.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// The proof itself is not the device's.
    #[error("the proof is not signed by the activated device: {0}")]
    Proof(JwsError),
    /// The ticket inside is not the server's.
    #[error("the ticket inside the proof is not this server's: {0}")]
    Ticket(JwsError),
    /// Proof, ticket and signing key name different devices.
    #[error("the proof and its ticket are for different devices")]
    Device,
    /// Proof and ticket name different activations or licenses.
    #[error("the proof and its ticket are for different activations")]
    Activation,
    /// The proof does not repeat the ticket's nonce.
    #[error("the proof does not repeat its ticket's nonce")]
    Nonce,
}

impl Claims for DeactivationTicket {
    const TYP: Typ = Typ::Ticket;
}

impl Claims for DeactivationProof {
    const TYP: Typ = Typ::Proof;
}

impl Claims for DeactivationReceipt {
    const TYP: Typ = Typ::Receipt;
}

impl Readable for DeactivationTicket {
    fn readable(&self) -> Vec<(&'static str, String)> {
        vec![
            ("License serial number", self.serial.to_string()),
            ("Activation", self.activation_id.to_string()),
            ("Issued", shown(self.iat)),
            ("Use it before", shown(self.exp)),
        ]
    }
}

impl Readable for DeactivationProof {
    fn readable(&self) -> Vec<(&'static str, String)> {
        vec![
            ("License serial number", self.serial.to_string()),
            ("Activation", self.activation_id.to_string()),
            ("Deactivated, by the device's clock", shown(self.iat)),
        ]
    }
}

impl Readable for DeactivationReceipt {
    fn readable(&self) -> Vec<(&'static str, String)> {
        vec![
            ("License serial number", self.serial.to_string()),
            ("Activation", self.activation_id.to_string()),
            ("Proof of deactivation", self.grade.to_string()),
            ("Recorded", shown(self.iat)),
            ("Receipt", self.jti.to_string()),
        ]
    }
}
