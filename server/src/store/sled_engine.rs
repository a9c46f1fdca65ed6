//! The embedded engine: the ledger is written first and synced, then the index in sled.
//!
//! A commit is one `fdatasync`. A start brings the index to the ledger's head, or makes it anew; it
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
use super::tx::{MAX_BYTES, MAX_KEYS};
use super::write_behind::WriteBehind;

/// A line is logged each time so many entries were replayed.
const PROGRESS_ENTRIES: u64 = 50_000;

/// Ledger and index in one data directory.
pub(super) struct SledEngine {
    fs: Arc<dyn Fs>,
    ledger: Ledger,
    index: WriteBehind,
    marker: Mutex<Marker>,
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
    ) -> Result<Self, StoreError> {
        let mut marker = Marker::read(&*fs, dir)?;
        // What was acknowledged is never taken for a torn tail, so that a refusal leaves the evidence where it is.
        let acknowledged = marker.witnessed().map_or(0, |head| head.sequence());
        let ledger_dir = dir.join("ledger");
        let (ledger, head) =
            Ledger::open(Arc::clone(&fs), &ledger_dir, segment_bytes, acknowledged)?;
        let opening = Opening {
            fs: &*fs,
            dir,
            cache,
            ledger: &ledger,
            head,
        };
        let index = match opening.existing(&mut marker)? {
            Some(index) => index,
            None => opening.anew(&mut marker)?,
        };
        index.sync()?;
        opening.remove_old()?;
        fs.sync_dir(dir)
            .map_err(|error| StoreError::io("sync", dir, error))?;
        Ok(Self {
            fs,
            ledger,
            index: WriteBehind::new(index, head)?,
            marker: Mutex::new(marker),
            head: Mutex::new(head),
        })
    }

    /// Walks the whole ledger into a scratch index and compares it with the real one.
    ///
    /// Returns the number of segments and the state hash.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] naming the place in the ledger, or the index.
    pub(super) fn verify(&self, dir: &Path, cache: u64) -> Result<(usize, [u8; 32]), StoreError> {
        let scratch = dir.join("index.check");
        let remove = || match self.fs.exists(&scratch) {
            Ok(true) => self.fs.remove_tree(&scratch),
            other => other.map(|_| ()),
        };
        let io = |error| StoreError::io("remove", &scratch, error);
        remove().map_err(io)?;
        let replayed = open_empty(dir, &scratch, cache)?;
        let head = self.head();
        replay(&self.ledger, &replayed, Head::EMPTY, head)?;
        let expected = replayed.state_hash()?;
        drop(replayed);
        remove().map_err(io)?;
        if self.index.state_hash()? == expected {
            return Ok((self.ledger.segments(), expected));
        }
        Err(StoreError::Damaged {
            file: dir.join("index"),
            why: "it differs from what a replay of the whole ledger gives".into(),
            what_to_do: "stop the server and remove the directory, the next start makes it anew"
                .into(),
        })
    }
}

impl Engine for SledEngine {
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.index.get(key)
    }

    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Vec<Pair>, StoreError> {
        self.index.scan(from, to, limit, order)
    }

    fn head(&self) -> Head {
        *self.head.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn commit(&self, batch: Batch, expected: &Head) -> Result<(), CommitError> {
        let mut head = self.head.lock().unwrap_or_else(PoisonError::into_inner);
        if *head != *expected {
            return Err(CommitError::Moved);
        }
        self.ledger
            .append(expected, &batch.entries)
            .map_err(CommitError::Unknown)?;
        self.index
            .add(batch.changes, batch.head)
            .map_err(CommitError::Unknown)?;
        *head = batch.head;
        Ok(())
    }

    fn entries(&self, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.ledger.walk_near(from).take(limit).collect()
    }

    fn state_hash(&self) -> Result<[u8; 32], StoreError> {
        self.index.state_hash()
    }

    fn close(self: Box<Self>) -> Result<(), StoreError> {
        let head = self.head();
        let Self {
            fs, index, marker, ..
        } = *self;
        index.close()?;
        marker
            .into_inner()
            .unwrap_or_else(PoisonError::into_inner)
            .set_clean(&*fs, &head)
    }
}

/// What is known while the index is opened.
struct Opening<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    cache: u64,
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
                "the index was not closed before the machine stopped, it may be torn"
            );
            return Ok(None);
        }
        marker.set_open(self.fs)?;
        replay(self.ledger, &index, applied, self.head)?;
        Ok(Some(index))
    }

    /// Sets the index aside and makes a new one from the whole ledger.
    fn anew(&self, marker: &mut Marker) -> Result<Index, StoreError> {
        let dir = self.index_dir();
        self.remove_old()?;
        let old = self.old_dir();
        if self
            .fs
            .exists(&dir)
            .map_err(|error| StoreError::io("look for", &dir, error))?
        {
            let renamed = self.fs.rename(&dir, &old);
            renamed.map_err(|error| StoreError::io("set aside", &dir, error))?;
            self.fs
                .sync_dir(self.dir)
                .map_err(|error| StoreError::io("sync", self.dir, error))?;
        }
        // Only now, with nothing in its place, may the marker vouch for what will be there.
        marker.set_open(self.fs)?;
        if self.head.sequence() > 0 {
            tracing::info!(
                entries = self.head.sequence(),
                "making the index from the ledger"
            );
        }
        let index = open_empty(self.dir, &dir, self.cache)?;
        replay(self.ledger, &index, Head::EMPTY, self.head)?;
        Ok(index)
    }

    /// Refuses if the ledger does not hold the entry that was seen in it.
    fn check_not_ahead(&self, seen: &Head) -> Result<(), StoreError> {
        let ledger = self.dir.join("ledger");
        let (sequence, last) = (seen.sequence(), self.head.sequence());
        let why = if sequence > last {
            format!(
                "it ends with entry {last}, but entry {sequence} was acknowledged and is in the index"
            )
        } else if sequence == 0 || self.hash_at(sequence)? == Some(seen.hash()) {
            return Ok(());
        } else {
            format!("its entry {sequence} is not the one the index has applied")
        };
        Err(StoreError::Damaged {
            file: ledger,
            why,
            what_to_do: format!(
                "restore the ledger from a backup that reaches entry {sequence}; only to accept \
                 the loss, move `index` and `index.state` away and start again"
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

    fn remove_old(&self) -> Result<(), StoreError> {
        let old = self.old_dir();
        let removed = match self.fs.exists(&old) {
            Ok(true) => self.fs.remove_tree(&old),
            other => other.map(|_| ()),
        };
        removed.map_err(|error| StoreError::io("remove", &old, error))
    }

    fn index_dir(&self) -> PathBuf {
        self.dir.join("index")
    }

    fn old_dir(&self) -> PathBuf {
        self.dir.join("index.old")
    }
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

/// Applies the entries after `applied` up to `head`, in batches no larger than a group commit's.
fn replay(ledger: &Ledger, index: &Index, applied: Head, head: Head) -> Result<(), StoreError> {
    let mut changes: Changes = BTreeMap::new();
    let mut bytes = 0;
    let mut reached = applied;
    for entry in ledger.walk(applied.sequence() + 1) {
        let entry = entry?;
        if entry.sequence() > head.sequence() {
            break;
        }
        if changes.len() + entry.changes().len() > MAX_KEYS || bytes > MAX_BYTES {
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
        SledEngine::open(Arc::new(RealFs), dir, CACHE, 4096).unwrap()
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
        assert!(engine.verify(dir, CACHE).is_ok());
        let stray = Changes::from([(b"stray".to_vec(), Some(vec![1]))]);
        engine.index.add(stray, head).unwrap();
        engine.index.state_hash().unwrap();
        engine
    }

    #[test]
    fn verify_finds_an_index_that_differs_under_a_sound_head() {
        let temp = tempfile::tempdir().unwrap();
        let engine = torn(temp.path());
        match engine.verify(temp.path(), CACHE) {
            Err(StoreError::Damaged { file, .. }) => assert_eq!(file, temp.path().join("index")),
            other => panic!("{other:?}"),
        }
    }

    #[test]
    fn an_index_is_believed_only_if_closed_or_of_this_run_of_the_machine() {
        let run = RealFs.boot_id().unwrap();
        let temp = tempfile::tempdir().unwrap();
        let engine = torn(temp.path());
        let (head, state) = (engine.head(), temp.path().join("index.state"));
        assert_eq!(
            std::fs::read_to_string(&state).unwrap(),
            format!("open {run}\n")
        );
        Box::new(engine).close().unwrap();
        let clean = std::fs::read_to_string(&state).unwrap();
        assert!(clean.starts_with("clean 1 "), "{clean}");
        for (marker, believed) in [
            (clean.clone(), true),
            (format!("open {run}\n"), true),
            ("open another run\n".into(), false),
        ] {
            std::fs::write(&state, &marker).unwrap();
            let engine = open(temp.path());
            assert_eq!(engine.head(), head);
            let now = std::fs::read_to_string(&state).unwrap();
            assert_eq!(
                now,
                format!("open {run}\n"),
                "marked before it is written to"
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
