//! Makes a snapshot from an older one and the entries after it: a merge of sorted streams.
//!
//! The changes of the entries are gathered in memory, sorted; when they grow too large they are written to a *run* beside the
//! snapshots. In the end the old snapshot, the runs and what is in memory are merged, the newest change of a key winning. Memory is
//! bounded by a run, work by the size of what is read.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::path::{Path, PathBuf};

use super::engine::{Changes, Pair};
use super::entry::{Entry, Head};
use super::error::StoreError;
use super::fs::Fs;
use super::pairs::{self, BLOCK, Change, Reader, Writer};
use super::snapshot::Snapshot;
use super::tree::Frontier;

/// Bytes of keys and values in memory from which on they go to a run.
const RUN_BYTES: usize = 32 << 20;

/// A snapshot in the making.
pub(super) struct Merge<'a> {
    fs: &'a dyn Fs,
    dir: &'a Path,
    base: Option<&'a Snapshot>,
    frontier: Frontier,
    head: Head,
    changes: Changes,
    bytes: usize,
    run_bytes: usize,
    runs: Vec<PathBuf>,
}

impl<'a> Merge<'a> {
    /// Begins after the snapshot `base`, or before the first entry. The directory must exist.
    pub(super) fn new(fs: &'a dyn Fs, dir: &'a Path, base: Option<&'a Snapshot>) -> Self {
        Self {
            fs,
            dir,
            base,
            frontier: base.map_or_else(Frontier::default, |base| base.frontier().clone()),
            head: base.map_or(Head::EMPTY, Snapshot::head),
            changes: BTreeMap::new(),
            bytes: 0,
            run_bytes: RUN_BYTES,
            runs: Vec::new(),
        }
    }

    /// The last entry taken in.
    pub(super) fn head(&self) -> Head {
        self.head
    }

    /// Takes in the next entry.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if it does not follow the one before; [`StoreError::Io`].
    pub(super) fn push(&mut self, entry: &Entry) -> Result<(), StoreError> {
        let follows = entry.sequence() == self.head.sequence() + 1;
        if !follows || entry.previous() != self.head.hash() {
            return Err(StoreError::damaged(
                self.base.map_or(self.dir, Snapshot::path),
                format!(
                    "entry {} of the ledger does not follow its entry {}",
                    entry.sequence(),
                    self.head.sequence()
                ),
            ));
        }
        self.frontier.push(&entry.hash());
        self.head = entry.head();
        for change in entry.changes() {
            let value = change.value().map(<[u8]>::to_vec);
            self.bytes += change.key().len() + value.as_ref().map_or(0, Vec::len);
            self.changes.insert(change.key().to_vec(), value);
        }
        match self.bytes >= self.run_bytes {
            true => self.spill(),
            false => Ok(()),
        }
    }

    /// Merges everything into a snapshot after the last entry taken in.
    ///
    /// * `goes_on` - asked again and again; once it says no, `None` comes back.
    pub(super) fn finish(
        mut self,
        goes_on: &dyn Fn() -> bool,
    ) -> Result<Option<Snapshot>, StoreError> {
        let (fs, runs) = (self.fs, std::mem::take(&mut self.runs));
        let made = match self.merge(&runs, goes_on) {
            Err(_) if !goes_on() => Ok(None),
            made => made.map(Some),
        };
        for run in &runs {
            // What is left of them is removed by the next one who makes a snapshot.
            let _left = fs.remove_file(run);
        }
        made
    }

    fn merge(self, runs: &[PathBuf], goes_on: &dyn Fn() -> bool) -> Result<Snapshot, StoreError> {
        let mut sources: Vec<Box<dyn Iterator<Item = io::Result<Change>>>> = Vec::new();
        let read = |path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::io("read", &path, error)
        };
        if let Some(base) = self.base {
            let pairs = base.pairs(self.fs).map_err(read(base.path()))?;
            sources.push(Box::new(pairs.map(|pair| {
                let (key, value) = pair?;
                Ok((key, Some(value)))
            })));
        }
        for run in runs {
            let reader = Reader::open(self.fs, run).map_err(read(run))?;
            sources.push(Box::new(Run {
                reader,
                block: Vec::new().into_iter(),
            }));
        }
        sources.push(Box::new(self.changes.into_iter().map(Ok)));
        let merged = Merged::new(sources).map(|pair| match goes_on() {
            true => pair,
            false => Err(io::ErrorKind::Interrupted.into()),
        });
        Snapshot::write(self.fs, self.dir, self.frontier, self.head, merged)
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let path = self.dir.join(format!("{:06}.run", self.runs.len()));
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        let write = || -> io::Result<()> {
            let mut writer = Writer::create(self.fs, &path)?;
            for (key, value) in &changes {
                writer.pair(key, value.as_deref())?;
            }
            writer.finish()
        };
        write().map_err(|error| StoreError::io("write", &path, error))?;
        self.runs.push(path);
        Ok(())
    }
}

/// The changes of a run, ascending.
struct Run {
    reader: Reader,
    block: std::vec::IntoIter<Change>,
}

impl Iterator for Run {
    type Item = io::Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            if let Some(change) = self.block.next() {
                return Some(Ok(change));
            }
            let payload = match self.reader.next() {
                Ok(payload) => payload?,
                Err(error) => return Some(Err(error)),
            };
            let changes = payload.strip_prefix(&[BLOCK]).and_then(pairs::parse);
            match changes {
                Some(changes) => self.block = changes.into_iter(),
                None => return Some(Err(io::ErrorKind::InvalidData.into())),
            }
        }
    }
}

/// A change and the source it is from: the smallest key first, of one key the newest source first.
type Ranked = Reverse<(Vec<u8>, Reverse<usize>, Option<Vec<u8>>)>;

/// The records that sorted sources come to, the last source being the newest.
struct Merged<'a> {
    sources: Vec<Box<dyn Iterator<Item = io::Result<Change>> + 'a>>,
    next: BinaryHeap<Ranked>,
    begun: bool,
}

impl<'a> Merged<'a> {
    fn new(sources: Vec<Box<dyn Iterator<Item = io::Result<Change>> + 'a>>) -> Self {
        Self {
            sources,
            next: BinaryHeap::new(),
            begun: false,
        }
    }

    fn pull(&mut self, source: usize) -> io::Result<()> {
        if let Some(change) = self.sources.get_mut(source).and_then(Iterator::next) {
            let (key, value) = change?;
            self.next.push(Reverse((key, Reverse(source), value)));
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<Option<Pair>> {
        if !self.begun {
            self.begun = true;
            for source in 0..self.sources.len() {
                self.pull(source)?;
            }
        }
        while let Some(Reverse((key, Reverse(source), value))) = self.next.pop() {
            self.pull(source)?;
            while let Some(Reverse((same, Reverse(older), _))) = self.next.peek() {
                if *same != key {
                    break;
                }
                let older = *older;
                self.next.pop();
                self.pull(older)?;
            }
            if let Some(value) = value {
                return Ok(Some((key, value)));
            }
        }
        Ok(None)
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<Pair>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use super::super::entry::{Draft, Sealed};
    use super::super::fs::RealFs;
    use super::*;

    /// Three changes in each entry over few keys, every fourth a deletion.
    fn entries(count: u64) -> Vec<Entry> {
        let mut head = Head::EMPTY;
        (1..=count)
            .map(|turn| {
                let changes = (0..3).map(|part| {
                    let key = format!("k{:03}", (turn * 7 + part * 31) % 97).into_bytes();
                    let value = format!("{turn} {part}").into_bytes();
                    (key, ((turn + part) % 4 != 0).then_some(value))
                });
                let draft = Draft {
                    at_unix_ms: 0,
                    name: "put",
                    event: None,
                    changes: &Changes::from_iter(changes),
                };
                let sealed = Sealed::new(&head, turn, &draft);
                head = sealed.head();
                Entry::decode(sealed.payload()).unwrap()
            })
            .collect()
    }

    fn replayed(entries: &[Entry]) -> Vec<Pair> {
        let mut all = BTreeMap::new();
        for change in entries.iter().flat_map(Entry::changes) {
            match change.value() {
                Some(value) => all.insert(change.key().to_vec(), value.to_vec()),
                None => all.remove(change.key()),
            };
        }
        all.into_iter().collect()
    }

    #[test]
    fn a_snapshot_is_the_replay_of_the_entries_whatever_it_is_made_from() {
        let temp = tempfile::tempdir().unwrap();
        let entries = entries(300);
        let make = |base: Option<&Snapshot>, to: usize, run_bytes| {
            let mut merge = Merge::new(&RealFs, temp.path(), base);
            merge.run_bytes = run_bytes;
            let from = merge.head().sequence() as usize;
            for entry in &entries[from..to] {
                merge.push(entry).unwrap();
            }
            merge.finish(&|| true).unwrap().unwrap()
        };
        let whole = make(None, 300, RUN_BYTES);
        let mut stepwise: Option<Snapshot> = None;
        for to in [1, 50, 51, 200, 300] {
            // So few bytes that every few entries make a run.
            let next = make(stepwise.as_ref(), to, 100);
            let pairs: Vec<_> = next.pairs(&RealFs).unwrap().map(Result::unwrap).collect();
            assert_eq!(pairs, replayed(&entries[..to]), "up to entry {to}");
            assert_eq!(next.count(), pairs.len() as u64);
            let read = Snapshot::open(&RealFs, next.path()).unwrap();
            assert_eq!(read.head(), entries[to - 1].head());
            assert_eq!(read.state(), next.state());
            assert_eq!(read.frontier(), next.frontier());
            stepwise = Some(next);
        }
        let stepwise = stepwise.unwrap();
        assert_eq!(stepwise.state(), whole.state());
        assert_eq!(stepwise.frontier(), whole.frontier());
        let left: Vec<_> = RealFs.list(temp.path()).unwrap();
        assert!(left.iter().all(|name| name.ends_with(".snap")), "{left:?}");
    }

    #[test]
    fn an_entry_that_does_not_follow_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let entries = entries(3);
        let mut merge = Merge::new(&RealFs, temp.path(), None);
        merge.push(&entries[0]).unwrap();
        assert!(matches!(
            merge.push(&entries[2]),
            Err(StoreError::Damaged { .. })
        ));
    }
}
