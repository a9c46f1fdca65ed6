//! A directory with a store in it, and short words for what the tests do with one.

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::path::{Path, PathBuf};

use tempfile::TempDir;
use upkeep_server::store::{Entry, Options, Store, StoreError, Tx};

/// A data directory that lasts as long as the test.
pub(crate) struct Place {
    temp: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            temp: TempDir::new().unwrap(),
        }
    }

    pub(crate) fn root(&self) -> &Path {
        self.temp.path()
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir().join(name)
    }

    /// Opens the store, creating it the first time.
    pub(crate) fn open(&self) -> Result<Store, StoreError> {
        Store::open(options(&self.dir()))
    }

    /// A store with so many entries, open.
    pub(crate) fn with_entries(&self, from: u64, to: u64) -> Store {
        let store = self.open().unwrap();
        run(fill(&store, from, to));
        store
    }

    /// Takes the index away, so that the next start makes it anew.
    pub(crate) fn forget_index(&self) {
        fs::remove_dir_all(self.path("index")).unwrap();
        fs::remove_file(self.path("index.state")).unwrap();
    }

    /// The snapshots, oldest first.
    pub(crate) fn snapshots(&self) -> Vec<PathBuf> {
        files(&self.path("snapshots"))
    }

    /// The ledger's segments, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        files(&self.path("ledger"))
    }
}

/// The files of a directory, sorted.
pub(crate) fn files(dir: &Path) -> Vec<PathBuf> {
    let Ok(entries) = fs::read_dir(dir) else {
        return Vec::new();
    };
    let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
    paths.sort();
    paths
}

/// Small sizes, so that many segments come of few entries.
pub(crate) fn options(dir: &Path) -> Options {
    Options::new(dir)
        .create(true)
        .cache_bytes(4 << 20)
        .segment_bytes(4096)
        .reserve_bytes(64 * 1024)
        .clock(|| 1_700_000_000_000)
}

/// Writes the entries `from..=to`: each puts three keys of a hundred and deletes one.
pub(crate) async fn fill(store: &Store, from: u64, to: u64) {
    for number in from..=to {
        let done = store.transact("fill", move |tx: &mut Tx<'_>| {
            for part in 0..3_u64 {
                let key = format!("k{:02}", (number * 13 + part * 37) % 100);
                tx.put(key.into_bytes(), format!("{number} {part}").into_bytes());
            }
            tx.delete(format!("k{:02}", (number * 7) % 100).into_bytes());
            Ok::<_, StoreError>(())
        });
        done.await.unwrap();
    }
}

/// The records that a replay of entries gives.
pub(crate) fn replayed(entries: &[Entry]) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let mut all = BTreeMap::new();
    for change in entries.iter().flat_map(Entry::changes) {
        match change.value() {
            Some(value) => all.insert(change.key().to_vec(), value.to_vec()),
            None => all.remove(change.key()),
        };
    }
    all
}

/// All records of an open store.
pub(crate) fn all(store: &Store) -> BTreeMap<Vec<u8>, Vec<u8>> {
    let pairs = store.scan(b"", &[0xFF], usize::MAX).unwrap();
    pairs.into_iter().collect()
}

/// Copies a directory and what is in it.
pub(crate) fn copy_tree(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        match entry.file_type().unwrap().is_dir() {
            true => copy_tree(&entry.path(), &target),
            false => drop(fs::copy(entry.path(), target).unwrap()),
        }
    }
}

/// Runs a future on a runtime of its own.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build();
    runtime.unwrap().block_on(future)
}
