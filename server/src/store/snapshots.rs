//! The snapshots of a data directory: which there are, which is the newest sound one, and how another is made.
//!
//! The last two are kept, so that one that turns out damaged costs a longer replay and nothing else. A snapshot is never needed to
//! read the ledger: it is an abbreviation of it, and a witness that the ledger once reached its entry.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, Head};
use super::error::StoreError;
use super::fs::{Access, Fs};
use super::merge::Merge;
use super::snapshot::{self, Snapshot};

/// So many are kept.
const KEPT: usize = 2;

/// So much must stay free beside a snapshot in the making, for what else is written meanwhile.
const SPARE_BYTES: u64 = 64 << 20;

/// A line is logged each time so many entries were taken in.
const PROGRESS_ENTRIES: u64 = 100_000;

/// The directory `snapshots` in a data directory; it may not exist yet.
#[derive(Clone)]
pub(super) struct Snapshots {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
}

impl Snapshots {
    /// Those of a data directory.
    pub(super) fn of(fs: Arc<dyn Fs>, data: &Path) -> Self {
        Self {
            fs,
            dir: data.join("snapshots"),
        }
    }

    /// The files, the newest first, by their names alone.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn files(&self) -> Result<Vec<(u64, PathBuf)>, StoreError> {
        let mut files: Vec<_> = self
            .names()?
            .iter()
            .filter_map(|name| Some((snapshot::sequence_of(name)?, self.dir.join(name))))
            .collect();
        files.reverse();
        Ok(files)
    }

    /// The bytes of a file of them.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn size(&self, path: &Path) -> Result<u64, StoreError> {
        let file = self.fs.open(path, Access::Read);
        let size = file.and_then(|file| file.len());
        size.map_err(|error| StoreError::io("measure", path, error))
    }

    /// The newest entry that a snapshot was made after, as its beginning says: the ledger had reached it.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn witnessed(&self) -> Result<Option<Head>, StoreError> {
        for (_, path) in self.files()? {
            match snapshot::peek(&*self.fs, &path) {
                Ok(head) => return Ok(Some(head)),
                Err(fault) => {
                    tracing::error!(%fault, snapshot = %path.display(), "passing over a snapshot");
                }
            }
        }
        Ok(None)
    }

    /// The newest whole snapshot for which `fits` holds. One that is not whole is passed over with a line in the log.
    ///
    /// # Errors
    /// [`StoreError::Io`] if the directory cannot be listed; what `fits` fails with.
    pub(super) fn newest(
        &self,
        mut fits: impl FnMut(&Head) -> Result<bool, StoreError>,
    ) -> Result<Option<Snapshot>, StoreError> {
        for (_, path) in self.files()? {
            match Snapshot::open(&*self.fs, &path) {
                Ok(found) if fits(&found.head())? => return Ok(Some(found)),
                Ok(_) => {
                    tracing::error!(snapshot = %path.display(), "passing over a snapshot of another ledger");
                }
                Err(fault) => {
                    tracing::error!(%fault, snapshot = %path.display(), "passing over a snapshot");
                }
            }
        }
        Ok(None)
    }

    /// Makes the snapshot after the last of `entries`, which follow `base`, and removes those that are too old. `None` if there
    /// was no entry. It is not begun if the disk might not have the room for it; one that fails leaves nothing behind.
    ///
    /// * `grown` - about how many bytes the entries take.
    /// * `goes_on` - asked again and again; once it says no, nothing is made.
    ///
    /// # Errors
    /// What the entries fail with; [`StoreError::Damaged`] if they do not follow; [`StoreError::Io`].
    pub(super) fn make(
        &self,
        base: Option<&Snapshot>,
        grown: u64,
        entries: impl Iterator<Item = Result<Entry, StoreError>>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        self.fs
            .create_dir(&self.dir)
            .map_err(|error| StoreError::io("create", &self.dir, error))?;
        self.check_room(base, grown)?;
        let made = match self.merge(base, entries, goes_on) {
            Err(_) if !goes_on() => Ok(None),
            made => made,
        };
        let swept = self.sweep();
        let made = made?;
        swept.map(|()| made)
    }

    /// Refuses what might fill the disk: a snapshot can be made another time, the ledger cannot wait.
    fn check_room(&self, base: Option<&Snapshot>, grown: u64) -> Result<(), StoreError> {
        let size = base.map_or(Ok(0), |base| self.size(base.path()))?;
        // The new one holds no more than the old one and the entries, whose changes stand in runs beside it until it is whole.
        let needed = size
            .saturating_add(grown.saturating_mul(2))
            .saturating_add(SPARE_BYTES);
        let io = |error| StoreError::io("make a snapshot in", &self.dir, error);
        let free = self.fs.free(&self.dir).map_err(io)?;
        if free >= needed {
            return Ok(());
        }
        let why = format!("{free} bytes are free, and {needed} must be");
        Err(io(io::Error::new(io::ErrorKind::StorageFull, why)))
    }

    fn merge(
        &self,
        base: Option<&Snapshot>,
        entries: impl Iterator<Item = Result<Entry, StoreError>>,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        let mut merge = Merge::new(&*self.fs, &self.dir, base, goes_on);
        let from = merge.head();
        for entry in entries {
            if !goes_on() {
                return Ok(None);
            }
            merge.push(&entry?)?;
            let reached = merge.head().sequence();
            if reached.is_multiple_of(PROGRESS_ENTRIES) {
                tracing::info!(entry = reached, "making a snapshot");
            }
        }
        if merge.head() == from {
            return Ok(None);
        }
        merge.finish().map(Some)
    }

    /// Removes the parts of snapshots in the making. Nobody may be making one.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn remove_parts(&self) -> Result<(), StoreError> {
        let names = self.names()?.into_iter();
        let parts = names.filter(|name| name.ends_with(".run") || name.ends_with(".new"));
        self.remove(parts.map(|name| self.dir.join(name)))
    }

    /// Removes parts, and snapshots that newer ones have replaced.
    fn sweep(&self) -> Result<(), StoreError> {
        self.remove_parts()?;
        let old = self.files()?.into_iter().skip(KEPT);
        self.remove(old.map(|(_, path)| path))
    }

    fn remove(&self, paths: impl Iterator<Item = PathBuf>) -> Result<(), StoreError> {
        for path in paths {
            self.fs
                .remove_file(&path)
                .map_err(|error| StoreError::io("remove", &path, error))?;
        }
        Ok(())
    }

    /// The names in the directory, sorted; none where there is no directory.
    fn names(&self) -> Result<Vec<String>, StoreError> {
        match self.fs.list(&self.dir) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
            names => names.map_err(|error| StoreError::io("list", &self.dir, error)),
        }
    }
}
