//! Says whether the index on disk may be believed: a small file, `index.state`, beside the index.
//!
//! The index is never synced while it is written. After a crash of the process alone the system
//! still has all of its pages; after a power cut any of them may be missing, and the head the index
//! shows may claim more than is in it. The two are told apart by the name of the machine's run. So
//! `open <run> <index>` is written, synced, before the index is written to, and
//! `clean <sequence> <hash>` after it was closed and everything synced. An index is believed if it
//! is clean and has that head, or open in this same run; else it is made anew from the ledger.
//!
//! `<index>` is the device, and inode and time of birth of the directory `index` and of `db` in it, the file with the pages: one that
//! was copied while it was open is a mixture of pages too, and a copy is another one. A file system gives the inode of a directory that
//! was removed to the next, so a copy that is put back in its place is told by its birth alone. sled keeps `db` for good.
//!
//! `clean` is also a witness that the ledger once reached that entry. The file is removed once the index has failed: it says `open` then.

use std::fs::{Metadata, metadata};
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::time::UNIX_EPOCH;

use super::entry::Head;
use super::error::StoreError;
use super::fs::{self, Fs};
use super::look::IndexState;

/// The file and what it says.
pub(super) struct Marker {
    path: PathBuf,
    state: State,
}

enum State {
    /// No marker, or not one of ours: believe nothing.
    Unknown,
    Clean(Head),
    /// What [`Marker::opened`] was.
    Open(String),
}

impl Marker {
    pub(super) fn read(fs: &dyn Fs, dir: &Path) -> Result<Self, StoreError> {
        let path = dir.join("index.state");
        let bytes =
            fs::read_small(fs, &path).map_err(|error| StoreError::io("read", &path, error))?;
        let state = bytes.as_deref().and_then(parse).unwrap_or(State::Unknown);
        Ok(Self { path, state })
    }

    /// The entry the ledger had reached when the index was last closed.
    pub(super) fn witnessed(&self) -> Option<Head> {
        match self.state {
            State::Clean(head) => Some(head),
            State::Open(_) | State::Unknown => None,
        }
    }

    /// What a start would make of it.
    pub(super) fn index_state(&self, fs: &dyn Fs) -> IndexState {
        match &self.state {
            State::Unknown => IndexState::Unknown,
            State::Clean(head) => IndexState::Closed(head.sequence()),
            State::Open(then) if self.opened(fs).as_ref() == Some(then) => IndexState::Open,
            State::Open(_) => IndexState::LeftOpen,
        }
    }

    /// True if an index that shows `head` may be believed.
    pub(super) fn vouches_for(&self, fs: &dyn Fs, head: &Head) -> bool {
        match &self.state {
            State::Unknown => false,
            State::Clean(clean) => clean == head,
            State::Open(then) => self.opened(fs).as_ref() == Some(then),
        }
    }

    /// Records, durably, that the index, which is there, is about to be written to.
    pub(super) fn set_open(&mut self, fs: &dyn Fs) -> Result<(), StoreError> {
        // Without a name for it the index is believed only after a clean close.
        let opened = self.opened(fs).unwrap_or_default();
        self.write(fs, &format!("open {opened}\n"))
    }

    /// Records that the index is closed and synced.
    pub(super) fn set_clean(&mut self, fs: &dyn Fs, head: &Head) -> Result<(), StoreError> {
        let hash = data_encoding::HEXLOWER.encode(&head.hash());
        self.write(fs, &format!("clean {} {hash}\n", head.sequence()))
    }

    /// No more vouches for the index, which is open and has failed, as far as the disk takes it: it has no room for another line, maybe.
    pub(super) fn forget(&mut self, fs: &dyn Fs) {
        self.state = State::Unknown;
        let removed = match fs.remove_file(&self.path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error),
            Ok(()) => self.path.parent().map_or(Ok(()), |dir| fs.sync_dir(dir)),
        };
        if let Err(error) = removed {
            tracing::error!(%error, file = %self.path.display(), "remove this file before the next start: its index has failed");
        }
    }

    /// What an index that is open now is known by: the machine's run, and which directory and file it is. `None` where that cannot be
    /// told, also for want of a time of birth.
    fn opened(&self, fs: &dyn Fs) -> Option<String> {
        let run = fs.boot_id()?;
        let index = self.path.with_file_name("index");
        // sled's own files are not seen by the file layer.
        let (dir, db) = (metadata(&index).ok()?, metadata(index.join("db")).ok()?);
        let (dir_born, db_born) = (born(&dir)?, born(&db)?);
        let (device, dir, db) = (dir.dev(), dir.ino(), db.ino());
        Some(format!("{run} {device} {dir} {dir_born} {db} {db_born}"))
    }

    fn write(&mut self, fs: &dyn Fs, line: &str) -> Result<(), StoreError> {
        let written = fs::replace_small(fs, &self.path, line.as_bytes());
        written.map_err(|error| StoreError::io("write", &self.path, error))?;
        self.state = parse(line.as_bytes()).unwrap_or(State::Unknown);
        Ok(())
    }
}

/// When a file was made, in nanoseconds since 1970 UTC.
fn born(file: &Metadata) -> Option<u128> {
    let age = file.created().ok()?.duration_since(UNIX_EPOCH);
    age.ok().map(|age| age.as_nanos())
}

fn parse(bytes: &[u8]) -> Option<State> {
    let line = std::str::from_utf8(bytes).ok()?.strip_suffix('\n')?;
    if let Some(opened) = line.strip_prefix("open ") {
        return Some(State::Open(opened.to_owned()));
    }
    let (sequence, hash) = line.strip_prefix("clean ")?.split_once(' ')?;
    let hash = data_encoding::HEXLOWER.decode(hash.as_bytes()).ok()?;
    Some(State::Clean(Head::new(
        sequence.parse().ok()?,
        hash.try_into().ok()?,
    )))
}
