//! What one committed transaction leaves behind: a chained entry, the same for every engine.
//!
//! The hash of an entry is SHA-256 over its encoded payload, and the payload holds the hash of the
//! entry before: a copy can be checked with nothing but `sha256sum`. Bytes are kept as they were
//! hashed and never encoded again.

use prost::Message;
use sha2::{Digest, Sha256};

/// The hash that stands before the first entry.
const GENESIS: [u8; 32] = [0; 32];

/// A position in the ledger: everything up to and including this entry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Head {
    sequence: u64,
    hash: [u8; 32],
}

impl Head {
    /// The position before the first entry.
    pub(super) const EMPTY: Self = Self {
        sequence: 0,
        hash: GENESIS,
    };

    pub(super) fn new(sequence: u64, hash: [u8; 32]) -> Self {
        Self { sequence, hash }
    }

    /// The number of the last entry; entries are numbered from 1 without gaps, 0 means that there
    /// is none.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// The hash of the last entry (32 bytes, SHA-256); zeros before the first entry.
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }
}

/// One change of the current records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    key: Vec<u8>,
    value: Option<Vec<u8>>,
}

impl Change {
    /// The key, never empty.
    pub fn key(&self) -> &[u8] {
        &self.key
    }

    /// The value put under the key, or `None` if the key was deleted.
    pub fn value(&self) -> Option<&[u8]> {
        self.value.as_deref()
    }
}

/// One committed transaction as the ledger holds it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    sequence: u64,
    group: u64,
    at_unix_ms: i64,
    name: String,
    event: Option<Vec<u8>>,
    changes: Vec<Change>,
    previous: [u8; 32],
    hash: [u8; 32],
    payload: Vec<u8>,
}

impl Entry {
    /// The number of the entry, from 1 without gaps.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    /// When the transaction ran, by the server's clock: milliseconds since 1970 UTC. Not strictly
    /// rising.
    pub fn at_unix_ms(&self) -> i64 {
        self.at_unix_ms
    }

    /// The name the transaction was called by.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The event the transaction recorded, opaque to the store.
    pub fn event(&self) -> Option<&[u8]> {
        self.event.as_deref()
    }

    /// The changes, ascending by key, one for each key.
    pub fn changes(&self) -> &[Change] {
        &self.changes
    }

    /// The hash of the entry before (32 bytes, SHA-256).
    pub fn previous(&self) -> [u8; 32] {
        self.previous
    }

    /// The hash of this entry: SHA-256 over [`payload`](Self::payload).
    pub fn hash(&self) -> [u8; 32] {
        self.hash
    }

    /// The bytes that were hashed, as they stand in the ledger (protobuf).
    pub fn payload(&self) -> &[u8] {
        &self.payload
    }

    /// The position after this entry.
    pub fn head(&self) -> Head {
        Head {
            sequence: self.sequence,
            hash: self.hash,
        }
    }

    /// Reads an entry from its payload, wherever that came from; `None` if it is none. Nothing is checked but its form.
    pub fn read(payload: &[u8]) -> Option<Self> {
        Self::decode(payload)
    }

    /// The number of the first entry that was synced together with this one.
    pub(super) fn group(&self) -> u64 {
        self.group
    }

    /// Makes the entry that follows `before`.
    ///
    /// * `group` - the number of the first entry in its group commit.
    pub(super) fn seal(before: &Head, group: u64, draft: Draft) -> Self {
        let payload = PayloadV1 {
            sequence: before.sequence + 1,
            group,
            at_unix_ms: draft.at_unix_ms,
            name: draft.name.to_owned(),
            previous: before.hash.to_vec(),
            event: draft.event,
            changes: draft
                .changes
                .into_iter()
                .map(|(key, value)| ChangeV1 { key, value })
                .collect(),
        };
        let bytes = payload.encode_to_vec();
        Self::assemble(payload, before.hash, bytes)
    }

    /// Reads an entry back from the bytes that were hashed; `None` if they are none.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let payload = PayloadV1::decode(bytes).ok()?;
        let previous = payload.previous.as_slice().try_into().ok()?;
        Some(Self::assemble(payload, previous, bytes.to_vec()))
    }

    fn assemble(payload: PayloadV1, previous: [u8; 32], bytes: Vec<u8>) -> Self {
        let changes = payload.changes.into_iter();
        Self {
            sequence: payload.sequence,
            group: payload.group,
            at_unix_ms: payload.at_unix_ms,
            name: payload.name,
            event: payload.event,
            changes: changes
                .map(|change| Change {
                    key: change.key,
                    value: change.value,
                })
                .collect(),
            previous,
            hash: Sha256::digest(&bytes).into(),
            payload: bytes,
        }
    }
}

/// What a transaction adds to the ledger, before it has a place there.
pub(super) struct Draft {
    pub(super) at_unix_ms: i64,
    pub(super) name: &'static str,
    pub(super) event: Option<Vec<u8>>,
    pub(super) changes: Vec<(Vec<u8>, Option<Vec<u8>>)>,
}

/// The payload of an entry in ledger format 1. Fields may be added, never changed or reused.
#[derive(Clone, PartialEq, Message)]
struct PayloadV1 {
    #[prost(uint64, tag = "1")]
    sequence: u64,
    #[prost(uint64, tag = "2")]
    group: u64,
    #[prost(int64, tag = "3")]
    at_unix_ms: i64,
    #[prost(string, tag = "4")]
    name: String,
    #[prost(bytes = "vec", tag = "5")]
    previous: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "6")]
    event: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "7")]
    changes: Vec<ChangeV1>,
}

/// One change; without a value the key is deleted.
#[derive(Clone, PartialEq, Message)]
struct ChangeV1 {
    #[prost(bytes = "vec", tag = "1")]
    key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    value: Option<Vec<u8>>,
}
