//! Whoever may write to the disk: reads a ledger, changes it, and gives everything its checksum and hash again.
//!
//! The formats are written down here a second time, by hand, so that the code under test cannot excuse itself.

use std::fs;
use std::path::Path;

use prost::Message;

use crate::place::files;
use crate::snapshots::{crc32, sha256};

/// The payload of an entry, as `entry.rs` has it.
#[derive(Clone, PartialEq, Message)]
pub(crate) struct Payload {
    #[prost(uint64, tag = "1")]
    pub(crate) sequence: u64,
    #[prost(uint64, tag = "2")]
    pub(crate) group: u64,
    #[prost(int64, tag = "3")]
    pub(crate) at_unix_ms: i64,
    #[prost(string, tag = "4")]
    pub(crate) name: String,
    #[prost(bytes = "vec", tag = "5")]
    pub(crate) previous: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "6")]
    pub(crate) event: Option<Vec<u8>>,
    #[prost(message, repeated, tag = "7")]
    pub(crate) changes: Vec<Change>,
}

#[derive(Clone, PartialEq, Message)]
pub(crate) struct Change {
    #[prost(bytes = "vec", tag = "1")]
    pub(crate) key: Vec<u8>,
    #[prost(bytes = "vec", optional, tag = "2")]
    pub(crate) value: Option<Vec<u8>>,
}

/// All entries of a ledger.
pub(crate) fn read(data: &Path) -> Vec<Payload> {
    let mut entries = Vec::new();
    for path in files(&data.join("ledger")) {
        let bytes = fs::read(path).unwrap();
        let mut at = 64;
        while bytes.get(at..at + 4) == Some(&[0xF5, b'U', b'P', b'K']) {
            let length = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            entries.push(Payload::decode(&bytes[at + 12..at + 12 + length]).unwrap());
            at += 12 + length;
        }
    }
    entries
}

/// Numbers and chains the entries anew.
pub(crate) fn chain(entries: &mut [Payload]) {
    let mut previous = [0; 32];
    for (at, entry) in entries.iter_mut().enumerate() {
        entry.sequence = at as u64 + 1;
        entry.group = entry.sequence;
        entry.previous = previous.to_vec();
        previous = sha256(&entry.encode_to_vec());
    }
}

/// Writes the entries as the ledger, in one segment with right checksums.
pub(crate) fn write(data: &Path, entries: &[Payload]) {
    let ledger = data.join("ledger");
    for path in files(&ledger) {
        fs::remove_file(path).unwrap();
    }
    let mut bytes = b"UPLEDGER".to_vec();
    bytes.extend_from_slice(&1_u32.to_le_bytes());
    bytes.extend_from_slice(&1_u64.to_le_bytes());
    bytes.extend_from_slice(&[0; 40]);
    let checksum = crc32(&bytes);
    bytes.extend_from_slice(&checksum.to_le_bytes());
    for entry in entries {
        let payload = entry.encode_to_vec();
        let length = u32::try_from(payload.len()).unwrap().to_le_bytes();
        let mut covered = length.to_vec();
        covered.extend_from_slice(&payload);
        bytes.extend_from_slice(&[0xF5, b'U', b'P', b'K']);
        bytes.extend_from_slice(&length);
        bytes.extend_from_slice(&crc32(&covered).to_le_bytes());
        bytes.extend_from_slice(&payload);
    }
    fs::write(ledger.join("00000000000000000001.seg"), bytes).unwrap();
}
