//! How a store is opened.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use super::fs::{Fs, RealFs};
use super::watched::{Watch, Watched};
use crate::clock::{Clock, SystemClock};

/// Tells the time: milliseconds since 1970 UTC.
pub(super) type Millis = Arc<dyn Fn() -> i64 + Send + Sync>;

/// Is told of each group that was committed.
pub(super) type Watcher = Arc<dyn Fn(Group) + Send + Sync>;

/// A group of transactions that was committed together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Group {
    /// The transactions that were answered.
    pub transactions: usize,
    /// From the first byte written to durable in the ledger and visible to every read; the index is written later.
    pub took: Duration,
}

/// Where transactions run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Writer {
    /// On a thread of the store's own, which waits for work. Another makes snapshots.
    Thread,
    /// On the thread of whoever calls, one group at a time, and nowhere else, with no snapshot but those that are asked for: for a
    /// simulation, in which the same seed must give the same run. A closure must not hold the last clone of the store.
    Caller,
}

/// How to open a store; [`Options::new`] has what suits a server.
#[derive(Clone)]
pub struct Options {
    pub(super) dir: PathBuf,
    pub(super) create: bool,
    pub(super) cache_bytes: u64,
    pub(super) segment_bytes: u64,
    pub(super) reserve_bytes: usize,
    pub(super) snapshot_bytes: u64,
    pub(super) fs: Arc<dyn Fs>,
    pub(super) clock: Millis,
    pub(super) watcher: Watcher,
    pub(super) writer: Writer,
}

impl Options {
    /// The usual way to open the store in a data directory, which must exist already.
    pub fn new(dir: &Path) -> Self {
        Self {
            dir: dir.to_owned(),
            create: false,
            cache_bytes: 256 << 20,
            segment_bytes: 64 << 20,
            reserve_bytes: 8 << 20,
            snapshot_bytes: 64 << 20,
            fs: Arc::new(RealFs),
            clock: Arc::new(|| SystemClock.now().timestamp_millis()),
            watcher: Arc::new(|_| {}),
            writer: Writer::Thread,
        }
    }

    /// The directory, in place of the one that was named first: for a [`Likeness`](super::Likeness).
    #[must_use]
    pub fn dir(mut self, dir: &Path) -> Self {
        self.dir = dir.to_owned();
        self
    }

    /// Whether to create the directory and an empty store if there is none. Default: no.
    #[must_use]
    pub fn create(mut self, create: bool) -> Self {
        self.create = create;
        self
    }

    /// Memory for the pages of the index, in bytes; best as large as the records in daily use.
    /// Default: 256 MiB.
    #[must_use]
    pub fn cache_bytes(mut self, bytes: u64) -> Self {
        self.cache_bytes = bytes;
        self
    }

    /// The size in bytes from which on the ledger begins a new segment. Default: 64 MiB.
    #[must_use]
    pub fn segment_bytes(mut self, bytes: u64) -> Self {
        self.segment_bytes = bytes;
        self
    }

    /// Disk space kept aside in bytes, given up when a start finds the disk full. Default: 8 MiB.
    #[must_use]
    pub fn reserve_bytes(mut self, bytes: usize) -> Self {
        self.reserve_bytes = bytes;
        self
    }

    /// How many bytes the ledger grows before another snapshot is made in the background; with large snapshots it is half of one, if
    /// that is more. Default: 64 MiB.
    #[must_use]
    pub fn snapshot_bytes(mut self, bytes: u64) -> Self {
        self.snapshot_bytes = bytes;
        self
    }

    /// The file layer under the ledger. Default: [`RealFs`].
    #[must_use]
    pub fn fs(mut self, fs: Arc<dyn Fs>) -> Self {
        self.fs = fs;
        self
    }

    /// The clock that dates the entries, in milliseconds since 1970 UTC. Default: the system's.
    #[must_use]
    pub fn clock(mut self, clock: impl Fn() -> i64 + Send + Sync + 'static) -> Self {
        self.clock = Arc::new(clock);
        self
    }

    /// Lets `watch` see the calls of the file layer.
    #[must_use]
    pub fn watch(mut self, watch: Arc<impl Watch>) -> Self {
        self.fs = Arc::new(Watched::new(self.fs, watch));
        self
    }

    /// Is told of each group that was committed, on the writer's thread: it must be quick. Default: nobody.
    #[must_use]
    pub fn watcher(mut self, watcher: impl Fn(Group) + Send + Sync + 'static) -> Self {
        self.watcher = Arc::new(watcher);
        self
    }

    /// Where transactions run. Default: [`Writer::Thread`].
    #[must_use]
    pub fn writer(mut self, writer: Writer) -> Self {
        self.writer = writer;
        self
    }
}
