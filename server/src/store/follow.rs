//! Following a ledger that another process writes: each look reads what was added since the last one, and nothing before it.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::entry::{Entry, Head};
use super::error::StoreError;
use super::fs::{Access, Fs};
use super::ledger;
use super::reading::LedgerFiles;
use super::segment::{self, Header, Reader, Step};

/// A place in the ledger of a data directory, from which it is read on.
pub struct Follower {
    fs: Arc<dyn Fs>,
    data: PathBuf,
    segment: PathBuf,
    /// The byte behind the last entry that was read.
    at: u64,
    head: Head,
}

impl Follower {
    /// * `segment` - the file that holds the entry at `head`, or that begins behind it.
    /// * `at` - the byte behind that entry.
    pub(super) fn new(
        fs: Arc<dyn Fs>,
        data: &Path,
        (segment, at): (PathBuf, u64),
        head: Head,
    ) -> Self {
        Self {
            fs,
            data: data.to_owned(),
            segment,
            at,
            head,
        }
    }

    /// The whole entries that were added since the last look, ascending, each checked against the one before. What is half-written comes
    /// with a later look.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with file and offset, [`StoreError::Io`]; the place stays where it was.
    pub fn look(&mut self) -> Result<Vec<Entry>, StoreError> {
        let before = (self.segment.clone(), self.at, self.head);
        let added = self.read_on();
        if added.is_err() {
            (self.segment, self.at, self.head) = before;
        }
        added
    }

    fn read_on(&mut self) -> Result<Vec<Entry>, StoreError> {
        let mut added = Vec::new();
        loop {
            let is_whole = self.read_segment(&mut added)?;
            if !is_whole {
                // Half-written, or damage: who looks at all of it can tell.
                LedgerFiles::open_over(&self.fs, &self.data)?;
                return Ok(added);
            }
            if !self.enter_next()? {
                return Ok(added);
            }
        }
    }

    /// Reads on to the end of the segment; false where it ends in bytes that are no whole entry.
    fn read_segment(&mut self, added: &mut Vec<Entry>) -> Result<bool, StoreError> {
        let path = &self.segment;
        let io = |error| StoreError::io("read", path, error);
        let file = self.fs.open(path, Access::Read).map_err(io)?;
        let length = file.len().map_err(io)?;
        if length < self.at {
            let why = format!("it ends before byte {}, where it ended before", self.at);
            return Err(StoreError::damaged(path, why));
        }
        let mut reader = Reader::new(file, self.at, length);
        loop {
            let at = reader.at();
            match reader.step().map_err(io)? {
                Step::Payload(payload) => {
                    let expected = (self.head.sequence() + 1, Some(self.head.hash()));
                    let entry = ledger::check(path, at, &payload, Some(expected))?;
                    self.head = entry.head();
                    self.at = reader.at();
                    added.push(entry);
                }
                Step::End => return Ok(true),
                Step::Bad(_) => return Ok(false),
            }
        }
    }

    /// Goes on to the segment that begins with the next entry; false where there is none yet.
    fn enter_next(&mut self) -> Result<bool, StoreError> {
        let next = self.head.sequence() + 1;
        let path = self.data.join("ledger").join(segment::file_name(next));
        let io = |error| StoreError::io("read", &path, error);
        if path == self.segment || !self.fs.exists(&path).map_err(io)? {
            return Ok(false);
        }
        let mut file = self.fs.open(&path, Access::Read).map_err(io)?;
        match Header::read(&mut *file, &path)? {
            // Its header is being written.
            None => Ok(false),
            Some(header) if header.first == next && header.previous == self.head.hash() => {
                self.segment = path;
                self.at = segment::HEADER_BYTES;
                Ok(true)
            }
            Some(_) => Err(StoreError::damaged(
                &path,
                format!("the hash chain is broken before entry {next}"),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicU64, Ordering};

    use super::super::fs::RealFs;
    use super::super::watched::{Watch, Watched};
    use super::super::{Options, Store, Writer};
    use super::*;

    /// Counts the bytes that are read.
    #[derive(Default)]
    struct Counting(AtomicU64);

    impl Watch for Counting {
        fn read(&self, _: &Path, bytes: usize) {
            self.0.fetch_add(bytes as u64, Ordering::Relaxed);
        }
    }

    fn store(dir: &Path, segment_bytes: u64) -> Store {
        let options = Options::new(dir).create(true).writer(Writer::Caller);
        Store::open(options.segment_bytes(segment_bytes).reserve_bytes(0)).unwrap()
    }

    async fn add(store: &Store, count: u8, bytes: usize) {
        for n in 0..count {
            let add = move |tx: &mut super::super::Tx<'_>| {
                tx.put(b"key".to_vec(), vec![n; bytes]);
                Ok::<_, StoreError>(())
            };
            store.transact("test", add).await.unwrap();
        }
    }

    fn sequences(entries: Vec<Entry>) -> Vec<u64> {
        entries.iter().map(Entry::sequence).collect()
    }

    #[tokio::test]
    async fn a_look_reads_what_was_added_and_nothing_before_it() {
        let dir = tempfile::tempdir().unwrap();
        // Room is written ahead by a quarter of a segment, so 64 KiB here.
        let store = store(dir.path(), 256 << 10);
        add(&store, 20, 10_000).await;
        let counting = Arc::new(Counting::default());
        let watched = Watched::new(Arc::new(RealFs), Arc::clone(&counting));
        let fs: Arc<dyn Fs> = Arc::new(watched);
        let ledger = LedgerFiles::open_over(&fs, dir.path()).unwrap();
        let mut follower = ledger.follow(dir.path()).unwrap();
        assert!(counting.0.swap(0, Ordering::Relaxed) > 200_000);
        assert_eq!(sequences(follower.look().unwrap()), Vec::<u64>::new());
        add(&store, 2, 100).await;
        assert_eq!(sequences(follower.look().unwrap()), [21, 22]);
        let read = counting.0.load(Ordering::Relaxed);
        assert!(read < 150_000, "{read} bytes for two small entries");
        store.close().unwrap();
    }

    #[tokio::test]
    async fn it_goes_on_into_the_next_segments_and_waits_for_what_is_half_written() {
        let dir = tempfile::tempdir().unwrap();
        let store = store(dir.path(), 1_000);
        let ledger = LedgerFiles::open(dir.path()).unwrap();
        let mut follower = ledger.follow(dir.path()).unwrap();
        add(&store, 7, 400).await;
        assert_eq!(sequences(follower.look().unwrap()), [1, 2, 3, 4, 5, 6, 7]);
        add(&store, 1, 400).await;
        store.close().unwrap();

        // The last entry as it looks while its last byte is on the way.
        let names = RealFs.list(&dir.path().join("ledger")).unwrap();
        let last = dir.path().join("ledger").join(names.last().unwrap());
        let whole = std::fs::read(&last).unwrap();
        let end = whole.iter().rposition(|byte| *byte != 0).unwrap();
        let mut half = whole.clone();
        half.truncate(end);
        std::fs::write(&last, &half).unwrap();
        assert_eq!(sequences(follower.look().unwrap()), Vec::<u64>::new());
        std::fs::write(&last, &whole).unwrap();
        assert_eq!(sequences(follower.look().unwrap()), [8]);
    }

    #[tokio::test]
    async fn another_ledger_in_its_place_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let first = store(dir.path(), 1 << 20);
        add(&first, 2, 100).await;
        first.close().unwrap();
        let mut follower = LedgerFiles::open(dir.path())
            .unwrap()
            .follow(dir.path())
            .unwrap();
        let other = tempfile::tempdir().unwrap();
        let second = store(other.path(), 1 << 20);
        add(&second, 2, 100).await;
        add(&second, 1, 50).await;
        second.close().unwrap();
        let name = segment::file_name(1);
        let from = other.path().join("ledger").join(&name);
        std::fs::copy(from, dir.path().join("ledger").join(&name)).unwrap();
        assert!(matches!(follower.look(), Err(StoreError::Damaged { .. })));
    }
}
