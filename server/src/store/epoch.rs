//! The epoch of a store: how often its ledger was cut back to an older entry by a restore, and the last such cut.
//!
//! Entries after the cut take numbers again that others had, so whoever followed the ledger must learn of it. The record stands
//! under a key of its own and is written by the entry `restore`, the first one of the new epoch; a store without it is in its first.

use prost::Message;

use super::entry::{Entry, Head};

/// Where the record stands.
pub(super) const KEY: &[u8] = b"F/epoch";

/// The name of the entry that begins an epoch.
pub(super) const RESTORE: &str = "restore";

/// The form of the record that this release writes.
const FORMAT: u8 = 1;

/// One epoch.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Epoch {
    number: u64,
    kept: Head,
    known: u64,
    at_unix_ms: i64,
}

impl Epoch {
    /// The epoch of a store that was never restored.
    pub const FIRST: Self = Self {
        number: 1,
        kept: Head::EMPTY,
        known: 0,
        at_unix_ms: 0,
    };

    /// The epoch that a restore begins.
    ///
    /// * `newest` - the newest epoch that the backup knew of: its number is never taken again.
    /// * `kept` - the last entry that was kept.
    /// * `known` - the last entry that the backup knew of.
    pub(super) fn after(newest: u64, kept: Head, known: u64, at_unix_ms: i64) -> Self {
        Self {
            number: newest.saturating_add(1),
            kept,
            known,
            at_unix_ms,
        }
    }

    /// The epoch that an entry begins, if it is the entry of a restore.
    pub fn begun_by(entry: &Entry) -> Option<Self> {
        let record = entry.changes().iter().find(|change| change.key() == KEY);
        Self::decode(record?.value()?)
    }

    /// Its number, from 1.
    pub fn number(&self) -> u64 {
        self.number
    }

    /// True if a restore began it.
    pub fn is_restored(&self) -> bool {
        self.number > 1
    }

    /// The last entry of the epoch before that was kept.
    pub fn kept(&self) -> Head {
        self.kept
    }

    /// The last entry of the epoch before that the backup held; what the old server wrote after it is not known.
    pub fn known(&self) -> u64 {
        self.known
    }

    /// When the restore was made: milliseconds since 1970 UTC; 0 in the first epoch.
    pub fn at_unix_ms(&self) -> i64 {
        self.at_unix_ms
    }

    pub(super) fn encode(&self) -> Vec<u8> {
        let record = EpochV1 {
            number: self.number,
            kept: self.kept.sequence(),
            kept_hash: self.kept.hash().to_vec(),
            known: self.known,
            at_unix_ms: self.at_unix_ms,
        };
        let mut bytes = vec![FORMAT];
        bytes.extend_from_slice(&record.encode_to_vec());
        bytes
    }

    /// Reads a record; `None` if it is none of a form known here.
    pub(super) fn decode(bytes: &[u8]) -> Option<Self> {
        let record = EpochV1::decode(bytes.strip_prefix(&[FORMAT])?).ok()?;
        let hash = record.kept_hash.try_into().ok()?;
        (record.number > 0).then_some(Self {
            number: record.number,
            kept: Head::new(record.kept, hash),
            known: record.known,
            at_unix_ms: record.at_unix_ms,
        })
    }
}

/// The record. Fields may be added, never changed or reused.
#[derive(Clone, PartialEq, Message)]
struct EpochV1 {
    #[prost(uint64, tag = "1")]
    number: u64,
    #[prost(uint64, tag = "2")]
    kept: u64,
    #[prost(bytes = "vec", tag = "3")]
    kept_hash: Vec<u8>,
    #[prost(uint64, tag = "4")]
    known: u64,
    #[prost(int64, tag = "5")]
    at_unix_ms: i64,
}
