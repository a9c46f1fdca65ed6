//! The embedded engine: a commit writes and syncs the ledger, one `fdatasync`, and leaves its changes to the layers over the index,
//! from where they go into sled later (see `write_behind.rs`).
//!
//! A start brings the index to the ledger's head, or makes it anew; it
//! refuses if the index has seen more than the ledger holds, for then acknowledged entries are
//! lost.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use super::engine::{Batch, Changes, CommitError, Engine, Order, Pair};
use super::entry::{Entry, Head};
use super::error::StoreError;
use super::fs::Fs;
use super::index::{Index, OpenError};
use super::ledger::Ledger;
use super::marker::Marker;
use super::merge::Merge;
use super::snapshot::Snapshot;
use super::snapshots::Snapshots;
use super::tree::Frontier;
use super::tx::MAX_BYTES;
use super::write_behind::WriteBehind;

/// A line is logged each time so many entries were replayed.
const PROGRESS_ENTRIES: u64 = 50_000;

/// A replay writes so many changes at once; an entry has 500 at most.
const REPLAYED_KEYS: usize = 32 * 1024;
const REPLAYED_BYTES: usize = 16 << 20;

/// A line is logged each time so many records were loaded.
const PROGRESS_RECORDS: u64 = 500_000;

/// Ledger and index in one data directory.
pub(super) struct SledEngine {
    fs: Arc<dyn Fs>,
    ledger: Ledger,
    index: WriteBehind,
    marker: Mutex<Marker>,
    /// Held during a commit, and so during a sync.
    committing: Mutex<()>,
    /// Never held for long: who asks for the head does not wait for the disk.
    head: Mutex<Head>,
}

impl SledEngine {
    /// Opens the ledger in `dir/ledger` and brings the index in `dir/index` to its head.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if the ledger is damaged or lacks what the index has seen,
    /// [`StoreError::Full`], [`StoreError::Io`].
    pub(super) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        cache: u64,
        segment_bytes: u64,
        snapshot_bytes: u64,
    ) -> Result<Self, StoreError> {
        let mut marker = Marker::read(&*fs, dir)?;
        // What is known to be acknowledged is never taken for a torn tail, so that a refusal leaves the evidence where it is. It is
        // known after a clean close, and up to the newest snapshot; what came after is told from a torn tail by its groups alone.
        let snapshots = Snapshots::of(Arc::clone(&fs), dir);
        let witnessed = [marker.witnessed(), snapshots.witnessed()?];
        let witnessed = witnessed.iter().flatten().map(Head::sequence);
        let acknowledged = witnessed.max().unwrap_or(0);
        let ledger_dir = dir.join("ledger");
        let (ledger, head) =
            Ledger::open(Arc::clone(&fs), &ledger_dir, segment_bytes, acknowledged)?;
        let opening = Opening {
            fs: &*fs,
            dir,
            cache,
            snapshot_bytes,
            snapshots,
            ledger: &ledger,
            head,
        };
        let index = match opening.existing(&mut marker)? {
            Some(index) => index,
            None => opening.anew(&mut marker)?,
        };
        index.sync()?;
        remove_leftovers(&*fs, dir)?;
        fs.sync_dir(dir)
            .map_err(|error| StoreError::io("sync", dir, error))?;
        Ok(Self {
            fs,
            ledger,
            index: WriteBehind::new(index, head)?,
            marker: Mutex::new(marker),
            committing: Mutex::new(()),
            head: Mutex::new(head),
        })
    }

    /// Walks the whole ledger, makes of it alone what the records must be at each snapshot and in the end, and compares.
    ///
    /// * `passed` - told each entry.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the place in the ledger, the snapshot, or the index.
    pub(super) fn verify(
        &self,
        dir: &Path,
        passed: &mut dyn FnMut(&Entry),
    ) -> Result<Checked, StoreError> {
        let scratch = dir.join(SCRATCH);
        let made = self.fs.create_dir(&scratch);
        made.map_err(|error| StoreError::io("create", &scratch, error))?;
        let checked = self.compare(dir, &scratch, passed);
        remove_leftovers(&*self.fs, dir)?;
        checked
    }

    /// Hands on what the index said. One that has failed is not believed again: opening it finds no bad page, for sled reads each when
    /// it is asked for.
    fn heed<T>(&self, said: Result<T, StoreError>) -> Result<T, StoreError> {
        if let Err(StoreError::Index { .. }) = said {
            let mut marker = self.marker.lock().unwrap_or_else(PoisonError::into_inner);
            marker.forget(&*self.fs);
        }
        said
    }

    fn compare(
        &self,
        dir: &Path,
        scratch: &Path,
        passed: &mut dyn FnMut(&Entry),
    ) -> Result<Checked, StoreError> {
        let head = self.head();
        let mut snapshots = Vec::new();
        for (_, path) in Snapshots::of(Arc::clone(&self.fs), dir).files()? {
            snapshots.push(Snapshot::open(&*self.fs, &path)?);
        }
        let count = snapshots.len();
        let mut entries = self.ledger.walk(1);
        let mut base: Option<Snapshot> = None;
        loop {
            let claimed = snapshots.pop();
            let to = claimed.as_ref().map_or(head, Snapshot::head);
            let mut merge = Merge::new(&*self.fs, scratch, base.as_ref(), &|| true);
            while merge.head().sequence() < to.sequence() {
                let Some(entry) = entries.next().transpose()? else {
                    break;
                };
                merge.push(&entry)?;
                passed(&entry);
            }
            let reached = merge.head();
            let computed = merge.finish()?;
            let state = computed.state();
            if let Some(claimed) = claimed {
                if reached != claimed.head() || !computed.is_same(&claimed) {
                    return Err(StoreError::Damaged {
                        file: claimed.path().to_owned(),
                        why: "it differs from what a replay of the ledger gives at its entry"
                            .into(),
                        what_to_do: "remove it, the server makes another from the ledger".into(),
                    });
                }
                base = Some(computed);
                continue;
            }
            let differs = match self.state_hash() {
                Ok(found) if found == state => None,
                Ok(_) => Some("it differs from what a replay of the whole ledger gives".into()),
                Err(StoreError::Index { why, .. }) => Some(why),
                Err(fault) => return Err(fault),
            };
            return match differs {
                None => Ok(Checked {
                    segments: self.ledger.segments(),
                    snapshots: count,
                    state,
                    tree: computed.frontier().clone(),
                }),
                Some(why) => Err(StoreError::Damaged {
                    file: dir.join("index"),
                    why,
                    what_to_do:
                        "stop the server and remove the directory, the next start makes it anew"
                            .into(),
                }),
            };
        }
    }
}

/// What [`SledEngine::verify`] found.
#[derive(Debug)]
pub(super) struct Checked {
    pub(super) segments: usize,
    pub(super) snapshots: usize,
    pub(super) state: [u8; 32],
    pub(super) tree: Frontier,
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.heed(self.index.get(key))
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Vec<Pair>, StoreError> {
        self.heed(self.index.scan(from, to, limit, order))
    }

    fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, batch: Batch, expected: &Head) -> Result<(), CommitError> {
        let _committing = self
            .committing
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        if self.head() != *expected {
            return Err(CommitError::Moved);
        }
        self.ledger
            .append(expected, &batch.entries)
            .map_err(CommitError::Unknown)?;
        self.heed(self.index.add(batch.changes, batch.head))
            .map_err(CommitError::Unknown)?;
        *self.head.lock().unwrap_or_else(PoisonError::into_inner) = batch.head;
        Ok(())
    }

    fn walk(&self, from: u64) -> Box<dyn Iterator<Item = Result<Entry, StoreError>> + Send> {
        Box::new(self.ledger.walk_near(from))
    }

    fn bytes_after(&self, sequence: u64) -> u64 {
        let last = self.head().sequence();
        self.ledger.bytes_after(sequence, last)
    }

    fn state_hash(&self) -> Result<[u8; 32], StoreError> {
        self.heed(self.index.state_hash())
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let head = self.head();
        let Self {
            fs, index, marker, ..
        } = *self;
        let mut marker = marker.into_inner().unwrap_or_else(PoisonError::into_inner);
        match index.close() {
            Ok(()) => marker.set_clean(&*fs, &head),
            Err(fault) => {
                marker.forget(&*fs);
                Err(fault)
            }
        }
    }
}

/// What is known while the index is opened.
struct Opening<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    cache: u64,
    snapshot_bytes: u64,
    snapshots: Snapshots,
    ledger: &'a Ledger,
    head: Head,
}

impl Opening<'_> {
    /// Opens the index that is there and replays what it lacks; `None` if it cannot be believed.
    fn existing(&self, marker: &mut Marker) -> Result<Option<Index>, StoreError> {
        let dir = self.index_dir();
        if let Some(witnessed) = marker.witnessed() {
            self.check_not_ahead(&witnessed)?;
        }
        if let Some(witnessed) = self.snapshots.witnessed()? {
            self.check_not_ahead(&witnessed)?;
        }
        if !self
            .fs
            .exists(&dir)
            .map_err(|error| StoreError::io("look for", &dir, error))?
        {
            return Ok(None);
        }
        let index = match Index::open(&dir, self.cache) {
            Ok(index) => index,
            Err(OpenError::Broken(why)) => {
                tracing::warn!(index = %dir.display(), why, "the index cannot be opened");
                return Ok(None);
            }
            Err(error) => return Err(refusal(self.dir, error)),
        };
        let applied = match index.head() {
            Ok(applied) => applied,
            Err(why) => {
                tracing::warn!(index = %dir.display(), why, "the index is torn");
                return Ok(None);
            }
        };
        self.check_not_ahead(&applied)?;
        if !marker.vouches_for(self.fs, &applied) {
            tracing::warn!(
                index = %dir.display(),
                "the index was not closed before the machine stopped, was copied, or has failed; it may be torn"
            );
            return Ok(None);
        }
        marker.set_open(self.fs)?;
        match replay(self.ledger, &index, applied, self.head) {
            Ok(()) => Ok(Some(index)),
            Err(StoreError::Index { why, .. }) => {
                tracing::warn!(index = %dir.display(), why, "the index failed while it was brought up");
                Ok(None)
            }
            Err(fault) => Err(fault),
        }
    }

    /// Sets the index aside and makes a new one from the whole ledger.
    fn anew(&self, marker: &mut Marker) -> Result<Index, StoreError> {
        let dir = self.index_dir();
        if self
            .fs
            .exists(&dir)
            .map_err(|error| StoreError::io("look for", &dir, error))?
        {
            let renamed = self.fs.rename(&dir, &self.dir.join(SET_ASIDE));
            renamed.map_err(|error| StoreError::io("set aside", &dir, error))?;
            self.fs
                .sync_dir(self.dir)
                .map_err(|error| StoreError::io("sync", self.dir, error))?;
        }
        if self.head.sequence() > 0 {
            tracing::info!(entries = self.head.sequence(), "making the index anew");
        }
        let snapshot = self.snapshots.newest(|head| {
            let known = head.sequence() <= self.head.sequence();
            Ok(known && self.hash_at(head.sequence())? == Some(head.hash()))
        })?;
        let snapshot = self.brought_up(snapshot)?;
        let index = open_empty(self.dir, &dir, self.cache)?;
        // Only now, with nothing in it, may the marker vouch for what will be there.
        marker.set_open(self.fs)?;
        let reached = match &snapshot {
            Some(snapshot) => self.load(snapshot, &index)?,
            None => Head::EMPTY,
        };
        replay(self.ledger, &index, reached, self.head)?;
        Ok(index)
    }

    /// Another snapshot, if the entries after the one there are many: sled takes sorted records several times faster than it
    /// replays.
    fn brought_up(&self, snapshot: Option<Snapshot>) -> Result<Option<Snapshot>, StoreError> {
        let reached = snapshot.as_ref().map_or(0, |found| found.head().sequence());
        let last = self.head.sequence();
        let grown = self.ledger.bytes_after(reached, last);
        if grown < self.snapshot_bytes {
            return Ok(snapshot);
        }
        let entries = self.ledger.walk(reached + 1);
        let made = self
            .snapshots
            .make(snapshot.as_ref(), grown, entries, &|| true);
        match made {
            Ok(Some(made)) => Ok(Some(made)),
            Err(fault @ StoreError::Damaged { .. }) => Err(fault),
            Err(fault) => {
                tracing::warn!(%fault, "no snapshot could be made; replaying the ledger instead");
                Ok(snapshot)
            }
            Ok(None) => Ok(snapshot),
        }
    }

    /// Fills an empty index from a snapshot.
    fn load(&self, snapshot: &Snapshot, index: &Index) -> Result<Head, StoreError> {
        tracing::info!(
            entry = snapshot.head().sequence(),
            records = snapshot.count(),
            "loading a snapshot"
        );
        let fault = |error| StoreError::io("read", snapshot.path(), error);
        let mut loaded = 0_u64;
        let mut pairs = snapshot.pairs(self.fs).map_err(fault)?.map(|pair| {
            loaded += 1;
            if loaded.is_multiple_of(PROGRESS_RECORDS) {
                tracing::info!(record = loaded, of = snapshot.count(), "loading a snapshot");
            }
            pair.map_err(fault)
        });
        index.load(&mut pairs, &snapshot.head())?;
        Ok(snapshot.head())
    }

    /// Refuses if the ledger does not hold the entry that was seen in it.
    fn check_not_ahead(&self, seen: &Head) -> Result<(), StoreError> {
        let ledger = self.dir.join("ledger");
        let (sequence, last) = (seen.sequence(), self.head.sequence());
        let why = if sequence > last {
            format!(
                "it ends with entry {last}, but entry {sequence} was acknowledged: the index or a snapshot holds it"
            )
        } else if sequence == 0 || self.hash_at(sequence)? == Some(seen.hash()) {
            return Ok(());
        } else {
            format!("its entry {sequence} is not the one that the index or a snapshot holds")
        };
        Err(StoreError::Damaged {
            file: ledger,
            why,
            what_to_do: format!(
                "restore the ledger from a backup that reaches entry {sequence}; only to accept \
                 the loss, move `index`, `index.state` and `snapshots` away and start again"
            ),
        })
    }

    fn hash_at(&self, sequence: u64) -> Result<Option<[u8; 32]>, StoreError> {
        if sequence == self.head.sequence() {
            return Ok(Some(self.head.hash()));
        }
        let entry = self.ledger.walk_near(sequence).next().transpose()?;
        Ok(entry.map(|entry| entry.hash()))
    }

    fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }
}

/// Where the index stands that a new one replaces.
const SET_ASIDE: &str = "index.old";
/// Where [`SledEngine::verify`] replays the ledger.
const SCRATCH: &str = "index.check";

/// Removes what a rebuild or a check had begun when it was killed.
pub(super) fn remove_leftovers(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    for name in [SET_ASIDE, SCRATCH] {
        let path = dir.join(name);
        let removed = match fs.exists(&path) {
            Ok(true) => fs.remove_tree(&path),
            other => other.map(|_| ()),
        };
        removed.map_err(|error| StoreError::io("remove", &path, error))?;
    }
    Ok(())
}

/// Opens an index where nothing stands yet.
fn open_empty(home: &Path, dir: &Path, cache: u64) -> Result<Index, StoreError> {
    Index::open(dir, cache).map_err(|error| match error {
        OpenError::Broken(why) => StoreError::Index {
            dir: dir.to_owned(),
            why,
        },
        error => refusal(home, error),
    })
}

fn refusal(home: &Path, error: OpenError) -> StoreError {
    match error {
        OpenError::Held => StoreError::Locked {
            dir: home.to_owned(),
        },
        OpenError::Full => StoreError::Full {
            dir: home.to_owned(),
            needed: MAX_BYTES as u64,
        },
        OpenError::Broken(why) => StoreError::Index {
            dir: home.join("index"),
            why,
        },
    }
}

/// Applies the entries after `applied` up to `head`, many at once: sorted, and a record that changes often only once.
fn replay(ledger: &Ledger, index: &Index, applied: Head, head: Head) -> Result<(), StoreError> {
    let mut changes: Changes = BTreeMap::new();
    let mut bytes = 0;
    let mut reached = applied;
    for entry in ledger.walk(applied.sequence() + 1) {
        let entry = entry?;
        if entry.sequence() > head.sequence() {
            break;
        }
        if changes.len() >= REPLAYED_KEYS || bytes >= REPLAYED_BYTES {
            index.apply(&changes, &reached)?;
            changes.clear();
            bytes = 0;
        }
        for change in entry.changes() {
            bytes += change.key().len() + change.value().map_or(0, <[u8]>::len);
            changes.insert(change.key().to_vec(), change.value().map(<[u8]>::to_vec));
        }
        reached = entry.head();
        if reached.sequence().is_multiple_of(PROGRESS_ENTRIES) {
            tracing::info!(
                entry = reached.sequence(),
                of = head.sequence(),
                "replaying the ledger"
            );
        }
    }
    if reached != applied {
        index.apply(&changes, &reached)?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test may stop where it likes"
)]
mod tests {
    use super::super::entry::{Draft, Sealed};
    use super::super::fs::RealFs;
    use super::*;

    const CACHE: u64 = 4 << 20;

    fn open(dir: &Path) -> SledEngine {
        SledEngine::open(Arc::new(RealFs), dir, CACHE, 4096, 64 << 20).unwrap()
    }

    /// An engine with one entry that puts `k`, and under the same head a record the ledger knows nothing of.
    fn torn(dir: &Path) -> SledEngine {
        Ledger::create(&RealFs, &dir.join("ledger")).unwrap();
        let engine = open(dir);
        let batch = || {
            let changes = Changes::from([(b"k".to_vec(), Some(b"v".to_vec()))]);
            let draft = Draft {
                at_unix_ms: 0,
                name: "put",
                event: None,
                changes: &changes,
            };
            let entry = Sealed::new(&Head::EMPTY, 1, &draft);
            let head = entry.head();
            Batch {
                entries: vec![entry],
                changes,
                head,
            }
        };
        let head = batch().head;
        assert!(engine.commit(batch(), &Head::EMPTY).is_ok());
        assert!(matches!(
            engine.commit(batch(), &Head::EMPTY),
            Err(CommitError::Moved)
        ));
        assert!(engine.verify(dir, &mut |_| {}).is_ok());
        let stray = Changes::from([(b"stray".to_vec(), Some(vec![1]))]);
        engine.index.add(stray, head).unwrap();
        engine.index.state_hash().unwrap();
        engine
    }

    #[test]
    fn verify_finds_an_index_that_differs_under_a_sound_head() {
        let temp = tempfile::tempdir().unwrap();
        let engine = torn(temp.path());
        match engine.verify(temp.path(), &mut |_| {}) {
            Err(StoreError::Damaged { file, .. }) => assert_eq!(file, temp.path().join("index")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_index_that_was_copied_while_it_was_open_is_not_believed() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, copy) = (temp.path().join("data"), temp.path().join("copy"));
        std::fs::create_dir(&dir).unwrap();
        // As a kill leaves it, and with all of its pages in files.
        drop(torn(&dir));
        copy_all(&dir, &copy);
        assert_eq!(open(&copy).get(b"stray").unwrap(), None);
        assert!(open(&dir).get(b"stray").unwrap().is_some());
    }

    fn copy_all(from: &Path, to: &Path) {
        let copied = std::process::Command::new("cp")
            .arg("-a")
            .args([from, to])
            .status();
        assert!(copied.unwrap().success());
    }

    /// The directory of the copy has the inode of the one that was removed, as likely as not.
    #[test]
    fn nor_is_a_copy_that_was_put_back_in_its_place() {
        let temp = tempfile::tempdir().unwrap();
        let (dir, copy) = (temp.path().join("data"), temp.path().join("copy"));
        for part in ["", "index", "index/db"] {
            std::fs::create_dir(&dir).unwrap();
            drop(torn(&dir));
            copy_all(&dir, &copy);
            let (original, copied) = (dir.join(part), copy.join(part));
            match original.is_dir() {
                true => std::fs::remove_dir_all(&original).unwrap(),
                false => std::fs::remove_file(&original).unwrap(),
            }
            copy_all(&copied, &original);
            assert_eq!(open(&dir).get(b"stray").unwrap(), None, "{part:?}");
            for dir in [&dir, &copy] {
                std::fs::remove_dir_all(dir).unwrap();
            }
        }
    }

    /// The machine's run, the device, and inode and birth of the directory and of the file.
    #[test]
    fn each_part_of_the_name_of_an_open_index_counts() {
        for part in 0..6 {
            let temp = tempfile::tempdir().unwrap();
            drop(torn(temp.path()));
            let state = temp.path().join("index.state");
            let opened = std::fs::read_to_string(&state).unwrap();
            let mut words: Vec<_> = opened.trim_end().split(' ').collect();
            assert_eq!(words.len(), 1 + 6, "{opened}");
            words[1 + part] = "1";
            std::fs::write(&state, words.join(" ") + "\n").unwrap();
            assert_eq!(open(temp.path()).get(b"stray").unwrap(), None, "{words:?}");
        }
    }

    #[test]
    fn an_index_is_believed_only_if_closed_or_of_this_run_of_the_machine() {
        let run = RealFs.boot_id().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let engine = torn(temp.path());
        let (head, state) = (engine.head(), temp.path().join("index.state"));
        let opened = std::fs::read_to_string(&state).unwrap();
        assert!(opened.starts_with(&format!("open {run} ")), "{opened}");
        Box::new(engine).close().unwrap();
        let clean = std::fs::read_to_string(&state).unwrap();
        assert!(clean.starts_with("clean 1 "), "{clean}");
        for (marker, believed) in [
            (clean.clone(), true),
            (opened.clone(), true),
            // Last, for what is made anew is another one.
            (opened.replacen(&run, "another-run", 1), false),
        ] {
            std::fs::write(&state, &marker).unwrap();
            let engine = open(temp.path());
            assert_eq!(engine.head(), head);
            let now = std::fs::read_to_string(&state).unwrap();
            assert_eq!(
                now == opened,
                believed,
                "marked before it is written to: {now}"
            );
            assert_eq!(
                engine.get(b"stray").unwrap().is_some(),
                believed,
                "{marker}"
            );
            assert_eq!(engine.get(b"k").unwrap(), Some(b"v".to_vec()));
        }
        let another = format!("clean 0 {}\n", "0".repeat(64));
        for marker in [
            "",
            "garbage",
            "open \n",
            &format!("open {run}\n"),
            &another,
            "clean 1 00\n",
            clean.trim_end(),
        ] {
            let engine = open(temp.path());
            engine
                .index
                .add(Changes::from([(b"stray".to_vec(), Some(vec![1]))]), head)
                .unwrap();
            engine.index.state_hash().unwrap();
            drop(engine);
            std::fs::write(&state, marker).unwrap();
            assert_eq!(open(temp.path()).get(b"stray").unwrap(), None, "{marker}");
        }
    }
}
