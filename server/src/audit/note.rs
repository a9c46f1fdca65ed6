//! Checkpoints as signed notes: what an outside witness keeps.
//!
//! Sources: c2sp.org/signed-note and c2sp.org/tlog-checkpoint. A note is lines of text, an empty line, and signature lines; the
//! text of a checkpoint is the origin, the size of the tree, its root, and here one extension line with the epoch. Ed25519 only.

use std::fmt;

use aws_lc_rs::signature::{ED25519, UnparsedPublicKey};
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use sha2::{Digest, Sha256};

use crate::store::tree::Hash;

/// The kind of a key and its signature: Ed25519.
const ED25519_KIND: u8 = 1;

/// What stands before a signature.
const SIGNATURE: &str = "\u{2014} ";

/// What stands before the epoch.
const EPOCH: &str = "epoch ";

/// Why a note is not taken.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum NoteError {
    /// It is no checkpoint.
    #[error("it is no checkpoint: {0}")]
    Malformed(&'static str),
    /// The log's key has not signed it, or the text was changed.
    #[error("it carries no signature of the key {0} that fits its text")]
    NotSigned(String),
    /// The text is no verifier key.
    #[error("it is no verifier key: it must read NAME+HASH+KEY, as `keys/log.pub` does")]
    Key,
}

/// What a checkpoint says about a ledger.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Checkpoint {
    /// The name of the log.
    pub origin: String,
    /// The number of entries.
    pub size: u64,
    /// The root of the Merkle tree over them (RFC 6962).
    pub root: Hash,
    /// The epoch of the store, from 1: how often it was restored.
    pub epoch: u64,
}

impl Checkpoint {
    /// The text that is signed.
    pub fn text(&self) -> String {
        let root = STANDARD.encode(self.root);
        format!(
            "{}\n{}\n{root}\n{EPOCH}{}\n",
            self.origin, self.size, self.epoch
        )
    }

    fn parse(text: &str) -> Result<Self, NoteError> {
        let mut lines = text.lines();
        let mut next = || lines.next().filter(|line| !line.is_empty());
        let origin = next().ok_or(NoteError::Malformed("it has no origin"))?;
        let size = next().and_then(decimal);
        let size = size.ok_or(NoteError::Malformed("its size is no number"))?;
        let root = next().and_then(|line| STANDARD.decode(line).ok());
        let root = root.and_then(|root| root.try_into().ok());
        let epoch = lines.find_map(|line| decimal(line.strip_prefix(EPOCH)?));
        Ok(Self {
            origin: origin.to_owned(),
            size,
            root: root.ok_or(NoteError::Malformed("its root is no hash"))?,
            epoch: epoch.unwrap_or(1),
        })
    }
}

/// A number without leading zeros.
fn decimal(text: &str) -> Option<u64> {
    let number = text.parse().ok()?;
    (u64::to_string(&number) == text).then_some(number)
}

/// The public half of a log's key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VerifierKey {
    name: String,
    id: [u8; 4],
    public: [u8; 32],
}

impl VerifierKey {
    /// The key of a log.
    ///
    /// * `name` - the log's origin: no spaces, no plus sign.
    pub fn new(name: &str, public: [u8; 32]) -> Self {
        let digest = Sha256::new()
            .chain_update(name)
            .chain_update([b'\n', ED25519_KIND])
            .chain_update(public)
            .finalize();
        let id = digest.first_chunk().copied().unwrap_or_default();
        Self {
            name: name.to_owned(),
            id,
            public,
        }
    }

    /// Reads `NAME+HASH+KEY`.
    ///
    /// # Errors
    /// [`NoteError::Key`].
    pub fn parse(text: &str) -> Result<Self, NoteError> {
        let read = || {
            let (name, rest) = text.trim().split_once('+')?;
            let (id, key) = rest.split_once('+')?;
            let key = STANDARD.decode(key).ok()?;
            let public = key.strip_prefix(&[ED25519_KIND])?.try_into().ok()?;
            let own = Self::new(name, public);
            let id = data_encoding::HEXLOWER.decode(id.as_bytes()).ok()?;
            let is_name = !name.is_empty() && !name.contains(char::is_whitespace);
            (is_name && id == own.id).then_some(own)
        };
        read().ok_or(NoteError::Key)
    }

    /// The name of the log.
    pub fn name(&self) -> &str {
        &self.name
    }
}

impl fmt::Display for VerifierKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut key = vec![ED25519_KIND];
        key.extend_from_slice(&self.public);
        let id = data_encoding::HEXLOWER.encode(&self.id);
        write!(f, "{}+{id}+{}", self.name, STANDARD.encode(key))
    }
}

/// The note of a checkpoint with the log's signature.
///
/// * `signature` - over [`Checkpoint::text`].
pub fn note(checkpoint: &Checkpoint, key: &VerifierKey, signature: &[u8; 64]) -> String {
    let mut signed = key.id.to_vec();
    signed.extend_from_slice(signature);
    let (text, signed) = (checkpoint.text(), STANDARD.encode(signed));
    format!("{text}\n{SIGNATURE}{} {signed}\n", key.name)
}

/// Reads a note and checks that the log has signed it; what other witnesses added is passed over.
///
/// # Errors
/// [`NoteError::Malformed`], [`NoteError::NotSigned`].
pub fn open(note: &str, key: &VerifierKey) -> Result<Checkpoint, NoteError> {
    let (text, signatures) = note
        .rsplit_once("\n\n")
        .ok_or(NoteError::Malformed("it has no signatures"))?;
    let text = format!("{text}\n");
    let own = signatures.lines().filter_map(|line| {
        let (name, signed) = line.strip_prefix(SIGNATURE)?.split_once(' ')?;
        let signed = STANDARD.decode(signed).ok()?;
        let signature = signed.strip_prefix(&key.id)?.to_vec();
        (name == key.name).then_some(signature)
    });
    let public = UnparsedPublicKey::new(&ED25519, key.public);
    let mut own = own.filter(|signature| public.verify(text.as_bytes(), signature).is_ok());
    match own.next() {
        Some(_) => {
            let checkpoint = Checkpoint::parse(&text)?;
            match checkpoint.origin == key.name {
                true => Ok(checkpoint),
                false => Err(NoteError::Malformed("its origin is not the key's name")),
            }
        }
        None => Err(NoteError::NotSigned(key.name.clone())),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use aws_lc_rs::signature::{Ed25519KeyPair, KeyPair};

    use super::*;

    /// The verifier key, and a note, of the example in golang.org/x/mod/sumdb/note.
    #[test]
    fn a_key_that_others_made_reads_and_writes_the_same() {
        let text = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW";
        let key = VerifierKey::parse(text).unwrap();
        assert_eq!(key.to_string(), text);
        let other = text.replace("c74f20a3", "c74f20a4");
        assert_eq!(VerifierKey::parse(&other), Err(NoteError::Key));
        let note = "If you think cryptography is the answer to your problem,\n\
             then you don't know what your problem is.\n\n\
             \u{2014} PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n";
        // The signature holds, and the text is no checkpoint.
        assert!(matches!(open(note, &key), Err(NoteError::Malformed(_))));
        let changed = note.replace("answer", "Answer");
        assert!(matches!(open(&changed, &key), Err(NoteError::NotSigned(_))));
    }

    #[test]
    fn a_note_opens_with_its_key_alone_and_every_change_is_seen() {
        let pair = Ed25519KeyPair::from_seed_unchecked(&[7; 32]).unwrap();
        let public: [u8; 32] = pair.public_key().as_ref().try_into().unwrap();
        let key = VerifierKey::new("vendor.example/ledger", public);
        let checkpoint = Checkpoint {
            origin: key.name().to_owned(),
            size: 42,
            root: [9; 32],
            epoch: 2,
        };
        let signature = pair.sign(checkpoint.text().as_bytes());
        let note = note(&checkpoint, &key, signature.as_ref().try_into().unwrap());
        assert_eq!(open(&note, &key).unwrap(), checkpoint);
        let witnessed = format!("{note}\u{2014} witness.example AAAAAAAA\n");
        assert_eq!(open(&witnessed, &key).unwrap(), checkpoint);
        for (at, _) in note.char_indices() {
            let (before, rest) = note.split_at(at);
            let mut rest = rest.chars();
            let swapped = if rest.next() == Some('x') { 'y' } else { 'x' };
            let changed = format!("{before}{swapped}{}", rest.as_str());
            // The last character of Base64 has bits that say nothing.
            assert!(
                open(&changed, &key).is_err() || at + 4 > note.len(),
                "{changed}"
            );
        }
        let other = VerifierKey::new("vendor.example/ledger", [1; 32]);
        assert!(open(&note, &other).is_err());
    }
}
