//! Makes a snapshot from an older one and the entries after it: a merge of sorted streams.
//!
//! The changes of the entries are gathered in memory, sorted; when they grow too large they are written to a *run* beside the
//! snapshots, and of so many runs of one size one larger run is made. In the end the old snapshot, the runs and what is in memory are
//! merged, the newest change of a key winning. Memory is bounded by a run in the making and a few buffers, work by the size of what is
//! read: a change is written again each time there are sixteen times as many.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};
use std::io;
use std::path::{Path, PathBuf};

use super::engine::Changes;
use super::entry::{Entry, Head};
use super::error::StoreError;
use super::fs::Fs;
use super::pairs::{self, BLOCK, Change, Reader, Writer};
use super::snapshot::Snapshot;
use super::tree::Frontier;

/// Bytes of keys and values in memory from which on they go to a run.
const RUN_BYTES: usize = 32 << 20;

/// So many runs of one size become one: each is an open file and a buffer while it is merged.
const RUNS_JOINED: usize = 16;

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
    /// The oldest and largest first.
    runs: Vec<PathBuf>,
    /// How often memory went to a run.
    spills: usize,
    goes_on: &'a dyn Fn() -> bool,
}

impl<'a> Merge<'a> {
    /// Begins after the snapshot `base`, or before the first entry. The directory must exist.
    ///
    /// * `goes_on` - asked again and again; once it says no, the merge fails.
    pub(super) fn new(
        fs: &'a dyn Fs,
        dir: &'a Path,
        base: Option<&'a Snapshot>,
        goes_on: &'a dyn Fn() -> bool,
    ) -> Self {
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
            spills: 0,
            goes_on,
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
    /// # Errors
    /// [`StoreError::Io`].
    pub(super) fn finish(mut self) -> Result<Snapshot, StoreError> {
        let (fs, runs) = (self.fs, std::mem::take(&mut self.runs));
        let made = self.merge(&runs);
        remove(fs, &runs);
        made
    }

    fn merge(self, runs: &[PathBuf]) -> Result<Snapshot, StoreError> {
        let mut sources: Vec<Source<'_>> = Vec::new();
        if let Some(base) = self.base {
            let read = |error| StoreError::io("read", base.path(), error);
            let pairs = base.pairs(self.fs).map_err(read)?;
            sources.push(Box::new(pairs.map(|pair| {
                let (key, value) = pair?;
                Ok((key, Some(value)))
            })));
        }
        sources.extend(open(self.fs, runs)?);
        sources.push(Box::new(self.changes.into_iter().map(Ok)));
        let merged = Merged::new(sources, self.goes_on);
        let pairs = merged.filter_map(|change| {
            let pair = change.map(|(key, value)| Some((key, value?)));
            pair.transpose()
        });
        Snapshot::write(self.fs, self.dir, self.frontier, self.head, pairs)
    }

    fn spill(&mut self) -> Result<(), StoreError> {
        let changes = std::mem::take(&mut self.changes);
        self.bytes = 0;
        self.spills += 1;
        self.write_run(0, changes.into_iter().map(Ok))?;
        // As one counts: each time a digit is full, its runs become one of the next.
        let (mut count, mut digit) = (self.spills, 0);
        while count.is_multiple_of(RUNS_JOINED) {
            (count, digit) = (count / RUNS_JOINED, digit + 1);
            self.join(digit)?;
        }
        Ok(())
    }

    /// Makes one run of the newest ones. What deletes stays: an older run or the base may hold what it deletes.
    fn join(&mut self, digit: u32) -> Result<(), StoreError> {
        let kept = self.runs.len().saturating_sub(RUNS_JOINED);
        let joined = self.runs.split_off(kept);
        let merged = Merged::new(open(self.fs, &joined)?, self.goes_on);
        self.write_run(digit, merged)?;
        remove(self.fs, &joined);
        Ok(())
    }

    fn write_run(
        &mut self,
        digit: u32,
        changes: impl Iterator<Item = io::Result<Change>>,
    ) -> Result<(), StoreError> {
        let path = self.dir.join(format!("{:06}-{digit}.run", self.spills));
        let write = || -> io::Result<()> {
            let mut writer = Writer::create(self.fs, &path)?;
            for change in changes {
                let (key, value) = change?;
                writer.pair(&key, value.as_deref())?;
            }
            writer.finish()
        };
        write().map_err(|error| StoreError::io("write", &path, error))?;
        self.runs.push(path);
        Ok(())
    }
}

/// Changes, ascending by key.
type Source<'a> = Box<dyn Iterator<Item = io::Result<Change>> + 'a>;

fn open<'a>(fs: &dyn Fs, runs: &[PathBuf]) -> Result<Vec<Source<'a>>, StoreError> {
    let open = |path: &PathBuf| -> Result<Source<'a>, StoreError> {
        let reader = Reader::open(fs, path).map_err(|error| StoreError::io("read", path, error))?;
        let block = Vec::new().into_iter();
        Ok(Box::new(Run { reader, block }))
    };
    runs.iter().map(open).collect()
}

fn remove(fs: &dyn Fs, runs: &[PathBuf]) {
    for run in runs {
        // What is left of them is removed by who makes the snapshot, when it is made or given up.
        let _left = fs.remove_file(run);
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

/// The changes that sorted sources come to, the last source being the newest.
struct Merged<'a> {
    sources: Vec<Source<'a>>,
    next: BinaryHeap<Ranked>,
    begun: bool,
    goes_on: &'a dyn Fn() -> bool,
}

impl<'a> Merged<'a> {
    fn new(sources: Vec<Source<'a>>, goes_on: &'a dyn Fn() -> bool) -> Self {
        Self {
            sources,
            next: BinaryHeap::new(),
            begun: false,
            goes_on,
        }
    }

    fn pull(&mut self, source: usize) -> io::Result<()> {
        if let Some(change) = self.sources.get_mut(source).and_then(Iterator::next) {
            let (key, value) = change?;
            self.next.push(Reverse((key, Reverse(source), value)));
        }
        Ok(())
    }

    fn advance(&mut self) -> io::Result<Option<Change>> {
        if !(self.goes_on)() {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if !self.begun {
            self.begun = true;
            for source in 0..self.sources.len() {
                self.pull(source)?;
            }
        }
        let Some(Reverse((key, Reverse(source), value))) = self.next.pop() else {
            return Ok(None);
        };
        self.pull(source)?;
        while let Some(Reverse((same, Reverse(older), _))) = self.next.peek() {
            if *same != key {
                break;
            }
            let older = *older;
            self.next.pop();
            self.pull(older)?;
        }
        Ok(Some((key, value)))
    }
}

impl Iterator for Merged<'_> {
    type Item = io::Result<Change>;

    fn next(&mut self) -> Option<Self::Item> {
        self.advance().transpose()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use std::cell::Cell;

    use super::super::engine::Pair;
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
            let mut merge = Merge::new(&RealFs, temp.path(), base, &|| true);
            merge.run_bytes = run_bytes;
            let from = merge.head().sequence() as usize;
            for entry in &entries[from..to] {
                merge.push(entry).unwrap();
            }
            merge.finish().unwrap()
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
    fn many_runs_become_few() {
        let temp = tempfile::tempdir().unwrap();
        let entries = entries(300);
        let whole = {
            let mut merge = Merge::new(&RealFs, temp.path(), None, &|| true);
            entries.iter().for_each(|entry| merge.push(entry).unwrap());
            merge.finish().unwrap()
        };
        let mut merge = Merge::new(&RealFs, temp.path(), None, &|| true);
        // A run for each entry.
        merge.run_bytes = 1;
        for (spills, entry) in (1..).zip(&entries) {
            merge.push(entry).unwrap();
            let digits = [spills % 16, spills / 16 % 16, spills / 256];
            assert_eq!(merge.runs.len(), digits.iter().sum::<usize>());
            assert_eq!(
                RealFs.list(temp.path()).unwrap().len(),
                merge.runs.len() + 1
            );
        }
        assert_eq!(merge.finish().unwrap().state(), whole.state());
    }

    #[test]
    fn runs_are_given_up_while_they_are_joined() {
        let temp = tempfile::tempdir().unwrap();
        let left = Cell::new(20_u32);
        let goes_on = || left.replace(left.get().saturating_sub(1)) > 0;
        let mut merge = Merge::new(&RealFs, temp.path(), None, &goes_on);
        merge.run_bytes = 1;
        let entries = entries(20);
        let pushed = entries.iter().map(|entry| merge.push(entry));
        assert_eq!(pushed.take_while(Result::is_ok).count(), RUNS_JOINED - 1);
    }

    #[test]
    fn an_entry_that_does_not_follow_is_refused() {
        let temp = tempfile::tempdir().unwrap();
        let entries = entries(3);
        let mut merge = Merge::new(&RealFs, temp.path(), None, &|| true);
        merge.push(&entries[0]).unwrap();
        assert!(matches!(
            merge.push(&entries[2]),
            Err(StoreError::Damaged { .. })
        ));
    }
}
