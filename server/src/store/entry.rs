//! What one committed transaction leaves behind: a chained entry, the same for every engine.
//!
//! The hash of an entry is SHA-256 over its encoded payload, and the payload holds the hash of the
//! entry before: a copy can be checked with nothing but `sha256sum`. Bytes are kept as they were
//! hashed and never encoded again.

use prost::Message;
use prost::encoding::{WireType, encode_key, encode_varint, encoded_len_varint};
use sha2::{Digest, Sha256};

use super::engine::Changes;

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
pub(super) struct Draft<'a> {
    pub(super) at_unix_ms: i64,
    pub(super) name: &'static str,
    pub(super) event: Option<&'a [u8]>,
    pub(super) changes: &'a Changes,
}

/// A chained entry as it goes into the ledger: bytes, and the position they lead to.
pub(super) struct Sealed {
    head: Head,
    payload: Vec<u8>,
}

impl Sealed {
    /// Makes the entry that follows `before`.
    ///
    /// * `group` - the number of the first entry in its group commit.
    pub(super) fn new(before: &Head, group: u64, draft: &Draft<'_>) -> Self {
        let sequence = before.sequence + 1;
        let payload = encode(sequence, group, &before.hash, draft);
        let hash = Sha256::digest(&payload).into();
        Self {
            head: Head { sequence, hash },
            payload,
        }
    }

    /// The position after this entry.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// The bytes that were hashed.
    pub(super) fn payload(&self) -> &[u8] {
        &self.payload
    }
}

/// Encodes a payload as [`PayloadV1`] does, from what is only borrowed: a transaction's values are copied once.
fn encode(sequence: u64, group: u64, previous: &[u8; 32], draft: &Draft<'_>) -> Vec<u8> {
    let changes = || draft.changes.iter();
    let length = changes().map(|change| CHANGE_OVERHEAD + change_len(change));
    let event = draft.event.map_or(0, <[u8]>::len);
    let mut out = Vec::with_capacity(length.sum::<usize>() + event + PAYLOAD_OVERHEAD);
    let number = |tag: u32, number: u64, out: &mut Vec<u8>| {
        // Zero is what a missing number means.
        if number != 0 {
            encode_key(tag, WireType::Varint, out);
            encode_varint(number, out);
        }
    };
    number(1, sequence, &mut out);
    number(2, group, &mut out);
    number(3, draft.at_unix_ms.cast_unsigned(), &mut out);
    if !draft.name.is_empty() {
        bytes(4, draft.name.as_bytes(), &mut out);
    }
    bytes(5, previous, &mut out);
    if let Some(event) = draft.event {
        bytes(6, event, &mut out);
    }
    for change in changes() {
        let (key, value) = change;
        encode_key(7, WireType::LengthDelimited, &mut out);
        encode_varint(change_len(change) as u64, &mut out);
        if !key.is_empty() {
            bytes(1, key, &mut out);
        }
        if let Some(value) = value {
            bytes(2, value, &mut out);
        }
    }
    out
}

fn bytes(tag: u32, bytes: &[u8], out: &mut Vec<u8>) {
    encode_key(tag, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}

/// The encoded length of one change.
fn change_len((key, value): (&Vec<u8>, &Option<Vec<u8>>)) -> usize {
    let field = |bytes: &Vec<u8>| 1 + encoded_len_varint(bytes.len() as u64) + bytes.len();
    let key = if key.is_empty() { 0 } else { field(key) };
    key + value.as_ref().map_or(0, field)
}

/// Tag and length of a change in its payload, at most.
const CHANGE_OVERHEAD: usize = 6;
/// What a payload has beside event and changes: numbers, name and hash.
const PAYLOAD_OVERHEAD: usize = 128;

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

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn what_is_sealed_is_what_the_message_says(
            sequence in 0..3_u64,
            group in any::<u64>(),
            at_unix_ms in any::<i64>(),
            previous in any::<[u8; 32]>(),
            event in proptest::option::of(proptest::collection::vec(any::<u8>(), 0..200)),
            changes in proptest::collection::btree_map(
                proptest::collection::vec(any::<u8>(), 0..200),
                proptest::option::of(proptest::collection::vec(any::<u8>(), 0..300)),
                0..5,
            ),
        ) {
            let before = Head::new(sequence, previous);
            let draft = Draft { at_unix_ms, name: "Activate", event: event.as_deref(), changes: &changes };
            let sealed = Sealed::new(&before, group, &draft);
            let message = PayloadV1 {
                sequence: sequence + 1,
                group,
                at_unix_ms,
                name: "Activate".to_owned(),
                previous: previous.to_vec(),
                event: event.clone(),
                changes: changes.iter().map(|(key, value)| ChangeV1 { key: key.clone(), value: value.clone() }).collect(),
            };
            prop_assert_eq!(sealed.payload(), message.encode_to_vec());
            let read = Entry::decode(sealed.payload());
            prop_assert_eq!(read.map(|entry| entry.head()), Some(sealed.head()));
        }
    }
}
