//! Proofs that one entry stands in a ledger, for somebody who has nothing but the log's public key.

use std::path::Path;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::note::{self, NoteError, VerifierKey};
use super::{AuditError, kept};
use crate::store::LedgerFiles;
use crate::store::tree::{Hash, Prover, root_of_proof};

/// An entry, its way up the Merkle tree, and the checkpoint that signs the tree's root.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proof {
    /// The entry's number, from 1.
    pub entry: u64,
    /// The entry as it stands in the ledger (protobuf, Base64); its SHA-256 is its hash.
    pub payload: String,
    /// The hashes beside the way up, from the leaf (RFC 6962 section 2.1.1, Base64).
    pub path: Vec<String>,
    /// The signed note.
    pub checkpoint: String,
}

/// Why a proof proves nothing.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ProofError {
    /// Its checkpoint is not the log's.
    #[error("its checkpoint does not hold: {0}")]
    Note(#[from] NoteError),
    /// A part is not Base64, or has another length.
    #[error("it is malformed: {0}")]
    Malformed(&'static str),
    /// The way up does not lead to the signed root.
    #[error("entry {entry} is not what the checkpoint of {size} entries was signed for")]
    NotIncluded {
        /// The entry.
        entry: u64,
        /// The size of the tree.
        size: u64,
    },
}

/// Proves an entry by the smallest checkpoint of the data directory that covers it.
///
/// # Errors
/// [`AuditError::NotCovered`] if there is none; what the ledger and the notes fail with.
pub fn prove(data: &Path, key: &VerifierKey, entry: u64) -> Result<Proof, AuditError> {
    let mut found = None;
    for file in kept(data)? {
        let text = std::fs::read_to_string(&file).map_err(AuditError::io("read", &file))?;
        let opened = note::open(&text, key);
        let checkpoint = opened.map_err(|source| AuditError::Note { file, source })?;
        if entry >= 1 && entry <= checkpoint.size {
            found = Some((text, checkpoint));
            break;
        }
    }
    let Some((checkpoint, signed)) = found else {
        return Err(AuditError::NotCovered(format!(
            "no checkpoint covers entry {entry}; make one with `upkeep-server audit checkpoint`"
        )));
    };
    let unknown = || AuditError::NotCovered(format!("the ledger does not hold entry {entry}"));
    let mut prover = Prover::new(entry - 1, signed.size).ok_or_else(unknown)?;
    let mut payload = None;
    for passed in LedgerFiles::open(data)?.entries(1) {
        let passed = passed?;
        if passed.sequence() > signed.size {
            break;
        }
        prover.push(&passed.hash());
        if passed.sequence() == entry {
            payload = Some(STANDARD.encode(passed.payload()));
        }
    }
    let path = prover.finish().ok_or_else(unknown)?;
    Ok(Proof {
        entry,
        payload: payload.ok_or_else(unknown)?,
        path: path.iter().map(|hash| STANDARD.encode(hash)).collect(),
        checkpoint,
    })
}

impl Proof {
    /// Checks the proof with nothing but the log's public key. Gives the payload of the entry and the size of the signed tree.
    ///
    /// # Errors
    /// [`ProofError`].
    pub fn check(&self, key: &VerifierKey) -> Result<(Vec<u8>, u64), ProofError> {
        let signed = note::open(&self.checkpoint, key)?;
        let payload = STANDARD.decode(&self.payload);
        let payload = payload.map_err(|_| ProofError::Malformed("the payload is no Base64"))?;
        let mut path: Vec<Hash> = Vec::new();
        for hash in &self.path {
            let hash = STANDARD.decode(hash).ok();
            let hash = hash.and_then(|hash| hash.try_into().ok());
            path.push(hash.ok_or(ProofError::Malformed(
                "the path holds something else than hashes",
            ))?);
        }
        let not_included = ProofError::NotIncluded {
            entry: self.entry,
            size: signed.size,
        };
        let Some(index) = self.entry.checked_sub(1) else {
            return Err(not_included);
        };
        let hash: Hash = Sha256::digest(&payload).into();
        match root_of_proof(&hash, index, signed.size, &path) {
            Some(root) if root == signed.root => Ok((payload, signed.size)),
            _ => Err(not_included),
        }
    }
}
