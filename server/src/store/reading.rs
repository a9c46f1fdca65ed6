//! The ledger read from its files alone, while a server writes to it or none does: for backups and audits.
//!
//! No lock is taken and nothing is changed. What the server has not finished writing is not seen: the files end for the reader
//! with the last whole entry. A whole entry is kept by every later start, so nothing is read here that could not be in the ledger;
//! whether it has been synced is another question, which a backup settles by syncing the file itself.

use std::collections::BTreeMap;
use std::fs::File;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use super::backup::Manifest;
use super::engine::Pair;
use super::entry::{Entry, Head};
use super::epoch::Epoch;
use super::error::StoreError;
use super::follow::Follower;
use super::fs::{Access, Fs, RealFs};
use super::ledger::{self, Extent, Owner, Walk};
use super::segment::{self, Reader, Step};
use super::snapshot::Snapshot;
use super::snapshots::Snapshots;
use super::tree::Frontier;

/// A writer's half-written group can look like damage for a moment; it is looked at so often before it is believed.
const LOOKS: usize = 5;

/// How long a writer is given to end its group.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(4);

/// The ledger of a data directory, or of a backup, as it was when it was looked at.
pub struct LedgerFiles {
    fs: Arc<dyn Fs>,
    extents: Vec<Extent>,
    head: Head,
}

impl LedgerFiles {
    /// Looks at the ledger in `dir/ledger`.
    ///
    /// # Errors
    /// [`StoreError::Missing`] if there is none, [`StoreError::Damaged`], [`StoreError::Newer`], [`StoreError::Io`].
    pub fn open(dir: &Path) -> Result<Self, StoreError> {
        Self::open_over(&(Arc::new(RealFs) as Arc<dyn Fs>), dir)
    }

    /// Looks at the ledger in a backup: at the segments that its manifest names, for an interrupted run may have left others.
    ///
    /// # Errors
    /// As [`open`](Self::open); [`StoreError::Io`] also if one of them is not there.
    pub(super) fn of_backup(dir: &Path, manifest: &Manifest) -> Result<Self, StoreError> {
        let fs = Arc::new(RealFs) as Arc<dyn Fs>;
        Self::look(&fs, &dir.join("ledger"), &manifest.segments())
    }

    pub(super) fn open_over(fs: &Arc<dyn Fs>, dir: &Path) -> Result<Self, StoreError> {
        let ledger = dir.join("ledger");
        let is_there = fs.exists(&ledger);
        if !is_there.map_err(|error| StoreError::io("look for", &ledger, error))? {
            return Err(StoreError::Missing {
                dir: dir.to_owned(),
            });
        }
        let mut looks = 0;
        loop {
            looks += 1;
            let names = ledger::names(&**fs, &ledger)?;
            match Self::look(fs, &ledger, &names) {
                Err(StoreError::Damaged { .. } | StoreError::Io { .. }) if looks < LOOKS => {
                    std::thread::sleep(LOOK_AGAIN_AFTER);
                }
                looked => return looked,
            }
        }
    }

    fn look(fs: &Arc<dyn Fs>, ledger: &Path, names: &[String]) -> Result<Self, StoreError> {
        let mut extents = ledger::survey(&**fs, ledger, names, Owner::Reader)?;
        let Some((last, sealed)) = extents.split_last_mut() else {
            return Err(StoreError::damaged(ledger, "it holds no ledger segment"));
        };
        if let Some(before) = sealed.last_mut() {
            leave_out_room(&**fs, before, last)?;
        }
        let head = ledger::find_end(&**fs, last, 0, Owner::Reader)?;
        Ok(Self {
            fs: Arc::clone(fs),
            extents,
            head,
        })
    }

    /// Syncs the last segment: what was read of it may have been in memory only, and is lost by no crash from now on.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn sync(&self) -> Result<(), StoreError> {
        let Some(last) = self.extents.last() else {
            return Ok(());
        };
        let synced = File::open(&last.path).and_then(|file| file.sync_data());
        synced.map_err(|error| StoreError::io("sync", &last.path, error))
    }

    /// The last whole entry.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The entries from `from` on, each checked against the one before.
    pub fn entries(&self, from: u64) -> Entries {
        let at = self.extents.partition_point(|one| one.header.first <= from);
        let ahead = self.extents.get(at.saturating_sub(1)..).unwrap_or_default();
        let ahead = ahead.iter().rev().cloned().collect();
        Entries(Walk::over(Arc::clone(&self.fs), ahead, from))
    }

    /// Goes on from the last entry, to read what is added.
    ///
    /// * `data` - the data directory that this was opened in.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for a ledger without a segment.
    pub fn follow(&self, data: &Path) -> Result<Follower, StoreError> {
        let Some(last) = self.extents.last() else {
            return Err(StoreError::damaged(data, "it holds no ledger segment"));
        };
        let place = (last.path.to_path_buf(), last.end);
        Ok(Follower::new(Arc::clone(&self.fs), data, place, self.head))
    }

    /// The position after an entry; `None` if there is no such entry.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn head_at(&self, sequence: u64) -> Result<Option<Head>, StoreError> {
        match sequence {
            0 => Ok(Some(Head::EMPTY)),
            later if later > self.head.sequence() => Ok(None),
            _ => {
                let entry = self.entries(sequence).next().transpose()?;
                Ok(entry.map(|entry| entry.head()))
            }
        }
    }

    /// The newest snapshot of this ledger in a data directory.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] for the ledger, [`StoreError::Io`].
    pub(super) fn snapshot(&self, data: &Path) -> Result<Option<Snapshot>, StoreError> {
        let snapshots = Snapshots::of(Arc::clone(&self.fs), data);
        snapshots.newest(|head| Ok(self.head_at(head.sequence())?.as_ref() == Some(head)))
    }

    /// The Merkle tree of all entries and the epoch of the last one, with the help of the newest snapshot in a data directory.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub fn tree(&self, data: &Path) -> Result<(Frontier, Epoch), StoreError> {
        let snapshot = self.snapshot(data)?;
        self.grown(snapshot.as_ref())
    }

    /// As [`tree`](Self::tree), from a snapshot that is known already.
    pub(super) fn grown(
        &self,
        snapshot: Option<&Snapshot>,
    ) -> Result<(Frontier, Epoch), StoreError> {
        let (mut tree, mut epoch) = match snapshot {
            Some(found) => (found.frontier().clone(), *found.epoch()),
            None => (Frontier::default(), Epoch::FIRST),
        };
        for entry in self.entries(tree.size().saturating_add(1)) {
            let entry = entry?;
            tree.push(&entry.hash());
            epoch = Epoch::begun_by(&entry).unwrap_or(epoch);
        }
        Ok((tree, epoch))
    }

    /// The records with `from <= key < to`, ascending, as they are after the last whole entry: from the newest snapshot in a data directory,
    /// and what came after it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub(crate) fn records(
        &self,
        data: &Path,
        from: &[u8],
        to: &[u8],
    ) -> Result<Vec<Pair>, StoreError> {
        let mut found = BTreeMap::new();
        let mut reached = 0;
        if let Some(snapshot) = self.snapshot(data)? {
            let io = |error| StoreError::io("read", snapshot.path(), error);
            reached = snapshot.head().sequence();
            for pair in snapshot.pairs(&*self.fs).map_err(io)? {
                let (key, value) = pair.map_err(io)?;
                if key.as_slice() >= to {
                    break;
                }
                if key.as_slice() >= from {
                    found.insert(key, value);
                }
            }
        }
        for entry in self.entries(reached.saturating_add(1)) {
            for change in entry?.changes() {
                let key = change.key();
                if key < from || key >= to {
                    continue;
                }
                match change.value() {
                    Some(value) => found.insert(key.to_vec(), value.to_vec()),
                    None => found.remove(key),
                };
            }
        }
        Ok(found.into_iter().collect())
    }

    /// The segments: file, first entry, and the byte behind the last whole entry.
    pub(super) fn segments(&self) -> impl Iterator<Item = (&Path, u64, u64)> {
        let extents = self.extents.iter();
        extents.map(|one| (&*one.path, one.header.first, one.end))
    }

    /// The byte behind an entry, in the segment that holds it.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it is not there, [`StoreError::Io`].
    pub(super) fn end_of(&self, sequence: u64) -> Result<u64, StoreError> {
        let at = self
            .extents
            .partition_point(|one| one.header.first <= sequence);
        let Some(extent) = self.extents.get(at.saturating_sub(1)) else {
            return Ok(segment::HEADER_BYTES);
        };
        let io = |error| StoreError::io("read", &extent.path, error);
        let file = self.fs.open(&extent.path, Access::Read).map_err(io)?;
        let mut reader = Reader::new(file, segment::HEADER_BYTES, extent.end);
        let mut next = extent.header.first;
        while next <= sequence {
            match reader.step().map_err(io)? {
                Step::Payload(_) => next += 1,
                Step::End | Step::Bad(_) => {
                    let why = format!("it does not hold entry {sequence}");
                    return Err(StoreError::damaged(&extent.path, why));
                }
            }
        }
        Ok(reader.at())
    }
}

/// Sets the end of the segment before the last one behind its last entry. While the server rolls over it may have unused room yet,
/// which is given back at any moment.
fn leave_out_room(fs: &dyn Fs, before: &mut Extent, last: &Extent) -> Result<(), StoreError> {
    let io = |error| StoreError::io("read", &before.path, error);
    let file = fs.open(&before.path, Access::Read).map_err(io)?;
    let mut end = Reader::new(file, before.end.saturating_sub(1), before.end);
    // Room is zeros, or is gone since it was measured. An entry may end so, too: then the walk finds the same end.
    if matches!(end.rest().map_err(io)?.as_slice(), [byte] if *byte != 0) {
        return Ok(());
    }
    let mut walked = before.clone();
    let head = ledger::find_end(fs, &mut walked, 0, Owner::Reader)?;
    // One that does not lead up to the next is damaged, and shown as it is.
    if head == Head::new(last.header.first.saturating_sub(1), last.header.previous) {
        before.end = walked.end;
    }
    Ok(())
}

/// An iterator over chained entries; ends after the first error.
pub struct Entries(Walk);

impl Iterator for Entries {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.next()
    }
}
