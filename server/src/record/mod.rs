//! Stored records: versioned protobuf under typed keys.
//!
//! Byte 0 of every value is the record format, the rest a message that only ever gains fields. Keys are laid out in [`keys`].
//! Flows read and write domain types through [`Records`]; nobody else touches bytes.

pub(crate) mod activation;
pub(crate) mod catalogue;
pub(crate) mod dongle;
pub(crate) mod enrollment;
pub mod event;
pub mod keys;
pub(crate) mod license;
pub(crate) mod mail;
pub(crate) mod once;
pub(crate) mod party;
pub(crate) mod price;
pub(crate) mod programme;
pub(crate) mod quote;
pub(crate) mod tpm;
pub(crate) mod upgrade;
mod wire;

use chrono::{DateTime, Utc};
use prost::Message;

use crate::store::{Pair, Store, StoreError, Tx};

/// A record that can't be read: written by a newer server, or damaged although every checksum held.
#[derive(Debug, thiserror::Error)]
#[error(
    "the record at key {key} can't be read ({why}); run `upkeep-server` of the version that wrote it, or restore a backup"
)]
pub struct Unreadable {
    key: String,
    why: String,
}

/// Why records could not be read or written.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum RecordError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A record is unreadable.
    #[error(transparent)]
    Unreadable(#[from] Unreadable),
}

/// A domain type that is stored under a key of its own.
pub(crate) trait Record: Sized {
    /// The stored message.
    type Wire: Message + Default;

    /// Where it stands.
    fn key(&self) -> Vec<u8>;
    /// Domain to message.
    fn to_wire(&self) -> Self::Wire;
    /// Message to domain.
    fn from_wire(wire: Self::Wire) -> Result<Self, wire::Bad>;
}

/// What records are read from: the durable state, or a transaction that sees its own writes.
pub(crate) trait Reads {
    /// One value.
    fn value(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;
    /// Up to `limit` pairs from `from` (inclusive) to `to` (exclusive), ascending.
    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError>;
    /// The last pair from `from` (inclusive) to `to` (exclusive).
    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError>;
}

impl Reads for &Store {
    fn value(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Store::get(self, key)
    }

    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Store::scan(self, from, to, limit)
    }

    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        Ok(Store::scan_back(self, from, to, 1)?.pop())
    }
}

impl Reads for Tx<'_> {
    fn value(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        Tx::get(self, key)
    }

    fn range(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        Tx::scan(self, from, to, limit)
    }

    fn last(&mut self, from: &[u8], to: &[u8]) -> Result<Option<Pair>, StoreError> {
        Ok(Tx::scan_back(self, from, to, 1)?.pop())
    }
}

/// Typed reading on top of [`Reads`].
pub(crate) trait Records: Reads {
    /// The record at `key`.
    fn load<R: Record>(&mut self, key: &[u8]) -> Result<Option<R>, RecordError> {
        match self.value(key)? {
            None => Ok(None),
            Some(value) => decode(key, &value).map(Some),
        }
    }

    /// Up to `limit` records of the key range, ascending, with their keys.
    fn load_range<R: Record>(
        &mut self,
        range: &keys::Range,
        limit: usize,
    ) -> Result<Vec<(Vec<u8>, R)>, RecordError> {
        self.range(&range.from, &range.to, limit)?
            .into_iter()
            .map(|(key, value)| decode(&key, &value).map(|record| (key, record)))
            .collect()
    }

    /// The last record of the key range.
    fn load_last<R: Record>(&mut self, range: &keys::Range) -> Result<Option<R>, RecordError> {
        match self.last(&range.from, &range.to)? {
            None => Ok(None),
            Some((key, value)) => decode(&key, &value).map(Some),
        }
    }
}

impl<T: Reads> Records for T {}

/// Stages a record in the transaction.
pub(crate) fn save<R: Record>(tx: &mut Tx<'_>, record: &R) {
    tx.put(record.key(), encode(&record.to_wire()));
}

/// The stored form of a message.
pub(crate) fn encode(message: &impl Message) -> Vec<u8> {
    let mut value = Vec::with_capacity(message.encoded_len().saturating_add(1));
    value.push(FORMAT);
    // The room is there.
    let encoded = message.encode(&mut value);
    debug_assert!(encoded.is_ok());
    value
}

/// Reads a stored value as the record of its key.
pub(crate) fn decode<R: Record>(key: &[u8], value: &[u8]) -> Result<R, RecordError> {
    let wire = decode_message(key, value)?;
    R::from_wire(wire).map_err(|bad| unreadable(key, bad.to_string()).into())
}

/// Reads a stored message that has no domain type.
pub(crate) fn decode_message<M: Message + Default>(
    key: &[u8],
    value: &[u8],
) -> Result<M, RecordError> {
    match value.split_first() {
        Some((&FORMAT, message)) => {
            M::decode(message).map_err(|error| unreadable(key, error.to_string()).into())
        }
        Some((format, _)) => Err(unreadable(
            key,
            format!("its format is {format}, this server knows {FORMAT}"),
        )
        .into()),
        None => Err(unreadable(key, "it is empty".to_owned()).into()),
    }
}

fn unreadable(key: &[u8], why: String) -> Unreadable {
    Unreadable {
        key: key.escape_ascii().to_string(),
        why,
    }
}

/// An instant that a record of this server keeps in microseconds; anything else reads as 1970.
pub(crate) fn wire_micros(micros: i64) -> DateTime<Utc> {
    DateTime::from_timestamp_micros(micros).unwrap_or_default()
}

/// The record format that this server writes.
const FORMAT: u8 = 1;
