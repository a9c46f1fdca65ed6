//! A snapshot: all records as they were after one entry, sorted, in one file that proves itself whole.
//!
//! `snapshots/<entry>.snap` holds frames (see [`pairs`](super::pairs)): a head `H` with the format and the entry, blocks of pairs,
//! and a manifest `M`; behind them stands the SHA-256 of all bytes before. It appears under its name only when it is whole and
//! durable. It is made from the ledger and an older snapshot alone (see [`merge`](super::merge)), never from the index, so that a
//! fault of the index cannot get into it.

use std::io;
use std::path::{Path, PathBuf};

use prost::Message;
use sha2::{Digest, Sha256};

use super::engine::Pair;
use super::entry::Head;
use super::epoch::{self, Epoch};
use super::error::StoreError;
use super::fs::Fs;
use super::pairs::{self, BLOCK, Reader, Writer};
use super::tree::Frontier;

/// The newest format this release reads, and the one it writes.
const FORMAT: u32 = 1;

const HEAD: u8 = b'H';
const MANIFEST: u8 = b'M';

/// The file name of the snapshot after an entry.
pub(super) fn file_name(sequence: u64) -> String {
    format!("{sequence:020}.snap")
}

/// The entry a snapshot's file name promises, or `None` if the name is not one of ours.
pub(super) fn sequence_of(name: &str) -> Option<u64> {
    let sequence = name.strip_suffix(".snap")?.parse().ok()?;
    (file_name(sequence) == name).then_some(sequence)
}

/// A snapshot that was checked whole.
#[derive(Debug, Clone)]
pub struct Snapshot {
    path: PathBuf,
    head: Head,
    state: [u8; 32],
    count: u64,
    frontier: Frontier,
    epoch: Epoch,
}

impl Snapshot {
    /// The file.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The entry after which the records were like this.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The state hash of the records, see [`Store::state_hash`](super::Store::state_hash).
    pub fn state(&self) -> [u8; 32] {
        self.state
    }

    /// The number of records.
    pub fn count(&self) -> u64 {
        self.count
    }

    /// The Merkle tree of the entries up to here.
    pub fn frontier(&self) -> &Frontier {
        &self.frontier
    }

    /// The epoch of the store at that entry.
    pub fn epoch(&self) -> &Epoch {
        &self.epoch
    }

    /// True if both hold the same records after the same entries.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        let of = |one: &Self| (one.head, one.state, one.count, one.epoch);
        of(self) == of(other) && self.frontier == other.frontier
    }

    /// Writes the records of `pairs`, which ascend, and gives the file its name once it is durable.
    pub(super) fn write(
        fs: &dyn Fs,
        dir: &Path,
        frontier: Frontier,
        head: Head,
        pairs: impl Iterator<Item = io::Result<Pair>>,
    ) -> Result<Self, StoreError> {
        let path = dir.join(file_name(head.sequence()));
        let fresh = path.with_extension("new");
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::io(action, &path, error)
        };
        let mut state = Sha256::new();
        let (mut count, mut epoch, mut body) = (0_u64, Epoch::FIRST, Vec::new());
        let write = || -> io::Result<()> {
            let mut writer = Writer::create(fs, &fresh)?;
            let begin = HeadV1 {
                format: FORMAT,
                sequence: head.sequence(),
                hash: head.hash().to_vec(),
            };
            writer.frame(HEAD, &begin.encode_to_vec())?;
            for pair in pairs {
                let (key, value) = pair?;
                body.clear();
                pairs::add(&mut body, &key, Some(&value));
                state.update(&body);
                writer.pair(&key, Some(&value))?;
                count += 1;
                if key == epoch::KEY {
                    epoch = Epoch::decode(&value).unwrap_or(Epoch::FIRST);
                }
            }
            let manifest = ManifestV1 {
                state: state.clone().finalize().to_vec(),
                count,
                tree_size: frontier.size(),
                tree_roots: frontier.roots().iter().map(|root| root.to_vec()).collect(),
                epoch: epoch.encode(),
            };
            writer.frame(MANIFEST, &manifest.encode_to_vec())?;
            writer.finish()
        };
        write().map_err(io("write", &fresh))?;
        fs.rename(&fresh, &path).map_err(io("name", &path))?;
        fs.sync_dir(dir).map_err(io("sync", dir))?;
        Ok(Self {
            path,
            head,
            state: state.finalize().into(),
            count,
            frontier,
            epoch,
        })
    }

    /// Reads a snapshot through, for its SHA-256 and again for what it holds, and checks it whole.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] and [`StoreError::Newer`], which a start passes over; [`StoreError::Io`].
    pub(super) fn open(fs: &dyn Fs, path: &Path) -> Result<Self, StoreError> {
        let damaged = |why: &str| StoreError::Damaged {
            file: path.to_owned(),
            why: why.to_owned(),
            what_to_do: "remove it: the server makes another from the ledger".into(),
        };
        let io = |error: io::Error| match error.kind() {
            io::ErrorKind::InvalidData => damaged("a frame in it is not sound"),
            _ => StoreError::io("read", path, error),
        };
        let mut reader = Reader::open(fs, path).map_err(io)?;
        if !reader.is_whole().map_err(io)? {
            return Err(damaged("the SHA-256 at its end is not that of the rest"));
        }
        let head = read_head(&mut reader, path).map_err(io)??;
        let unfit = || damaged("it does not say what it holds");
        let (mut last, mut state) = (Vec::new(), Sha256::new());
        while let Some(payload) = reader.next().map_err(io)? {
            if let Some(block) = payload.strip_prefix(&[BLOCK]) {
                state.update(block);
            }
            last = payload;
        }
        let manifest = last.strip_prefix(&[MANIFEST]).ok_or_else(unfit)?;
        let manifest = ManifestV1::decode(manifest).map_err(|_| unfit())?;
        let roots = manifest.tree_roots.iter();
        let roots: Option<Vec<_>> = roots.map(|root| root.as_slice().try_into().ok()).collect();
        let frontier = roots.and_then(|roots| Frontier::from_parts(manifest.tree_size, roots));
        let frontier = frontier.filter(|tree| tree.size() == head.sequence());
        let state: [u8; 32] = state.finalize().into();
        if manifest.state != state {
            return Err(damaged(
                "its records do not have the state hash that it names",
            ));
        }
        Ok(Self {
            path: path.to_owned(),
            head,
            state,
            count: manifest.count,
            frontier: frontier.ok_or_else(unfit)?,
            epoch: Epoch::decode(&manifest.epoch).ok_or_else(unfit)?,
        })
    }

    /// The records, ascending.
    pub(super) fn pairs(&self, fs: &dyn Fs) -> io::Result<Pairs> {
        Ok(Pairs {
            reader: Reader::open(fs, &self.path)?,
            block: Vec::new().into_iter(),
        })
    }
}

/// The entry that a snapshot says it was made after; the rest of the file is not looked at.
///
/// # Errors
/// As [`Snapshot::open`].
pub(super) fn peek(fs: &dyn Fs, path: &Path) -> Result<Head, StoreError> {
    let read = || read_head(&mut Reader::open(fs, path)?, path);
    match read() {
        Ok(head) => head,
        Err(error) if error.kind() == io::ErrorKind::InvalidData => {
            Err(StoreError::damaged(path, "its beginning is not sound"))
        }
        Err(error) => Err(StoreError::io("read", path, error)),
    }
}

fn read_head(reader: &mut Reader, path: &Path) -> io::Result<Result<Head, StoreError>> {
    let unsound = || io::Error::from(io::ErrorKind::InvalidData);
    let payload = reader.next()?.ok_or_else(unsound)?;
    let head = payload.strip_prefix(&[HEAD]).ok_or_else(unsound)?;
    let head = HeadV1::decode(head).map_err(|_| unsound())?;
    if head.format > FORMAT {
        return Ok(Err(StoreError::Newer {
            file: path.to_owned(),
            found: head.format,
            known: FORMAT,
        }));
    }
    let hash = head.hash.as_slice().try_into().map_err(|_| unsound())?;
    let name = path.file_name().and_then(|name| name.to_str());
    match name.and_then(sequence_of) {
        Some(sequence) if sequence == head.sequence => Ok(Ok(Head::new(head.sequence, hash))),
        _ => Err(unsound()),
    }
}

/// An iterator over the records of a snapshot.
pub(super) struct Pairs {
    reader: Reader,
    block: std::vec::IntoIter<Pair>,
}

impl Pairs {
    fn refill(&mut self) -> io::Result<bool> {
        while let Some(payload) = self.reader.next()? {
            let Some(block) = payload.strip_prefix(&[BLOCK]) else {
                continue;
            };
            let pairs = pairs::parse_pairs(block);
            let pairs = pairs.ok_or_else(|| io::Error::from(io::ErrorKind::InvalidData))?;
            self.block = pairs.into_iter();
            return Ok(true);
        }
        Ok(false)
    }
}

impl Iterator for Pairs {
    type Item = io::Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(pair) = self.block.next() {
                return Some(Ok(pair));
            }
            match self.refill() {
                Ok(true) => {}
                Ok(false) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    }
}

/// The beginning of a snapshot.
#[derive(Clone, PartialEq, Message)]
struct HeadV1 {
    #[prost(uint32, tag = "1")]
    format: u32,
    #[prost(uint64, tag = "2")]
    sequence: u64,
    #[prost(bytes = "vec", tag = "3")]
    hash: Vec<u8>,
}

/// The end of a snapshot. Fields may be added, never changed or reused.
#[derive(Clone, PartialEq, Message)]
struct ManifestV1 {
    #[prost(bytes = "vec", tag = "1")]
    state: Vec<u8>,
    #[prost(uint64, tag = "2")]
    count: u64,
    #[prost(uint64, tag = "3")]
    tree_size: u64,
    #[prost(bytes = "vec", repeated, tag = "4")]
    tree_roots: Vec<Vec<u8>>,
    #[prost(bytes = "vec", tag = "5")]
    epoch: Vec<u8>,
}
