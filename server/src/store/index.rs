//! The records in sled: one tree, with the head of the ledger it has applied under a key of its
//! own.
//!
//! sled's `flush` is not durable on Linux and a power cut can leave any mixture of its pages. So
//! nothing here is ever taken for durable: [`marker`](super::marker) says whether the directory may
//! be believed at all, and the ledger makes it anew. Changes are written one after another and the
//! head after them, so after a mere crash of the process everything up to the head is in it, and
//! maybe some that is newer, which a replay writes again.

use std::fs::File;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::mpsc::{self, Receiver};
use std::thread;
use std::time::Duration;

use sha2::{Digest, Sha256};

use super::engine::{Changes, Order, Pair};
use super::entry::Head;
use super::error::{StoreError, is_full};

/// Where the applied head stands: sequence (8 bytes, big-endian), hash (32 bytes).
const HEAD_KEY: &[u8] = &[0];

/// The first key that can be a record's.
const FIRST_KEY: &[u8] = &[1];

/// So many threads fill an empty index: two take two thirds of the time that one takes, a third gained nothing on two cores.
const LOADERS: usize = 2;

/// So many pairs go to one of them at a time, that they seldom meet in a page.
const LOADED_AT_ONCE: usize = 16 * 1024;

/// The current records.
pub(super) struct Index {
    db: sled::Db,
    dir: PathBuf,
}

/// Why an index did not open.
pub(super) enum OpenError {
    /// Another process holds it.
    Held,
    /// There is no space to recover it.
    Full,
    /// It is not readable any more.
    Broken(String),
}

impl Index {
    /// Opens the index, or makes an empty one.
    ///
    /// * `cache` - bytes of memory for pages; sled takes about twice as much.
    pub(super) fn open(dir: &Path, cache: u64) -> Result<Self, OpenError> {
        let config = sled::Config::new()
            .path(dir)
            .cache_capacity(cache)
            .mode(sled::Mode::HighThroughput)
            .flush_every_ms(Some(500));
        // A store closed a moment ago may still have a thread that holds the file.
        const ATTEMPTS: usize = 100;
        for _ in 0..ATTEMPTS {
            match catch_unwind(AssertUnwindSafe(|| config.open())) {
                Ok(Ok(db)) => {
                    return Ok(Self {
                        db,
                        dir: dir.to_owned(),
                    });
                }
                Ok(Err(sled::Error::Io(error))) if is_held(&error) => {
                    thread::sleep(Duration::from_millis(20));
                }
                Ok(Err(sled::Error::Io(error))) if is_full(&error) => {
                    return Err(OpenError::Full);
                }
                Ok(Err(error)) => return Err(OpenError::Broken(error.to_string())),
                Err(_) => return Err(OpenError::Broken("sled panicked while opening it".into())),
            }
        }
        Err(OpenError::Held)
    }

    /// The head that is applied; [`Head::EMPTY`] for an index that holds nothing.
    ///
    /// # Errors
    /// What is wrong with it, in words.
    pub(super) fn head(&self) -> Result<Head, String> {
        let stored = self.db.get(HEAD_KEY).map_err(|error| error.to_string())?;
        match stored {
            Some(bytes) => head_from(&bytes).ok_or_else(|| "its head is unreadable".into()),
            None => match self.db.iter().next() {
                None => Ok(Head::EMPTY),
                Some(Ok(_)) => Err("it holds records but no head".into()),
                Some(Err(error)) => Err(error.to_string()),
            },
        }
    }

    pub(super) fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        if key < FIRST_KEY {
            return Ok(None);
        }
        let value = self.db.get(key).map_err(|error| self.fault(&error))?;
        Ok(value.map(|value| value.to_vec()))
    }

    pub(super) fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Vec<Pair>, StoreError> {
        let from = from.max(FIRST_KEY);
        if from >= to {
            return Ok(Vec::new());
        }
        let range = self.db.range(from..to);
        let pair = |pair: sled::Result<(sled::IVec, sled::IVec)>| match pair {
            Ok((key, value)) => Ok((key.to_vec(), value.to_vec())),
            Err(error) => Err(self.fault(&error)),
        };
        match order {
            Order::Ascending => range.take(limit).map(pair).collect(),
            Order::Descending => range.rev().take(limit).map(pair).collect(),
        }
    }

    /// Writes changes, and last the head they lead to, into memory and at leisure to disk.
    ///
    /// One after another in the order of their keys: a batch of sled's has an order of its own, pins all memory that is freed
    /// meanwhile, and costs an eighth more. A crash keeps a first part of what was written, so the head never comes without them.
    pub(super) fn apply(&self, changes: &Changes, head: &Head) -> Result<(), StoreError> {
        let fault = |error| self.fault(&error);
        for (key, value) in changes {
            match value {
                Some(value) => self.db.insert(key, value.as_slice()).map_err(fault)?,
                None => self.db.remove(key).map_err(fault)?,
            };
        }
        let head = head_bytes(head);
        self.db.insert(HEAD_KEY, head).map_err(fault)?;
        Ok(())
    }

    pub(super) fn dir(&self) -> &Path {
        &self.dir
    }

    /// Fills an empty index with records that ascend, and last the head they belong to. Until then the index shows no head and is taken
    /// for torn.
    ///
    /// # Errors
    /// What the records fail with; [`StoreError::Index`].
    pub(super) fn load(
        &self,
        pairs: &mut dyn Iterator<Item = Result<Pair, StoreError>>,
        head: &Head,
    ) -> Result<(), StoreError> {
        thread::scope(|scope| {
            let mut loaders = Vec::new();
            for _ in 0..LOADERS {
                let (sender, chunks) = mpsc::sync_channel(1);
                let loader = thread::Builder::new().name("index loader".into());
                let loader = loader.spawn_scoped(scope, move || self.load_chunks(chunks));
                let loader = loader
                    .map_err(|error| StoreError::io("start a thread for", &self.dir, error))?;
                loaders.push((sender, loader));
            }
            for (sender, _) in loaders.iter().cycle() {
                let chunk: Vec<Pair> = pairs.take(LOADED_AT_ONCE).collect::<Result<_, _>>()?;
                // A loader that is gone says why below.
                if chunk.is_empty() || sender.send(chunk).is_err() {
                    break;
                }
            }
            loaders.into_iter().try_for_each(|(sender, loader)| {
                drop(sender);
                loader.join().unwrap_or_else(|_| Err(self.panicked()))
            })
        })?;
        let head = head_bytes(head);
        let written = self.db.insert(HEAD_KEY, head);
        written.map_err(|error| self.fault(&error)).map(drop)
    }

    fn load_chunks(&self, chunks: Receiver<Vec<Pair>>) -> Result<(), StoreError> {
        for (key, value) in chunks.into_iter().flatten() {
            let written = self.db.insert(key, value);
            written.map_err(|error| self.fault(&error))?;
        }
        Ok(())
    }

    /// SHA-256 over all records in ascending order, each as length (u32, big-endian) and bytes of
    /// key, then of value.
    pub(super) fn state_hash(&self) -> Result<[u8; 32], StoreError> {
        let mut hash = Sha256::new();
        for pair in self.db.range(FIRST_KEY..) {
            let (key, value) = pair.map_err(|error| self.fault(&error))?;
            for bytes in [key, value] {
                hash.update(u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes());
                hash.update(&bytes);
            }
        }
        Ok(hash.finalize().into())
    }

    /// Closes the index and makes all its files and directories durable.
    pub(super) fn close(self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.fault(&error))?;
        let Self { db, dir, .. } = self;
        drop(db);
        sync_tree(&dir).map_err(|error| StoreError::io("sync", &dir, error))
    }

    /// Makes the files and names of a running index durable: sled syncs neither `conf` nor
    /// directories.
    pub(super) fn sync(&self) -> Result<(), StoreError> {
        self.db.flush().map_err(|error| self.fault(&error))?;
        sync_tree(&self.dir).map_err(|error| StoreError::io("sync", &self.dir, error))
    }

    fn panicked(&self) -> StoreError {
        StoreError::Index {
            dir: self.dir.clone(),
            why: "sled panicked".into(),
        }
    }

    fn fault(&self, error: &sled::Error) -> StoreError {
        let why = match error {
            sled::Error::Io(error) if is_full(error) => "the disk is full, free some space".into(),
            error => error.to_string(),
        };
        StoreError::Index {
            dir: self.dir.clone(),
            why,
        }
    }
}

fn head_bytes(head: &Head) -> Vec<u8> {
    let mut bytes = head.sequence().to_be_bytes().to_vec();
    bytes.extend_from_slice(&head.hash());
    bytes
}

fn head_from(bytes: &[u8]) -> Option<Head> {
    let (sequence, hash) = bytes.split_first_chunk::<8>()?;
    Some(Head::new(
        u64::from_be_bytes(*sequence),
        hash.try_into().ok()?,
    ))
}

/// sled gives its lock error no kind of its own.
fn is_held(error: &io::Error) -> bool {
    error.to_string().contains("could not acquire lock")
}

/// Syncs every file and directory; one that sled removes meanwhile is passed over.
fn sync_tree(dir: &Path) -> io::Result<()> {
    for entry in std::fs::read_dir(dir)? {
        let entry = entry?;
        let synced = match entry.file_type() {
            Ok(kind) if kind.is_dir() => sync_tree(&entry.path()),
            Ok(_) => File::open(entry.path()).and_then(|file| file.sync_all()),
            Err(error) => Err(error),
        };
        match synced {
            Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    if cfg!(unix) {
        File::open(dir)?.sync_all()
    } else {
        Ok(())
    }
}
