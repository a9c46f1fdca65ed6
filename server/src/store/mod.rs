//! The store: a ledger that is the truth, sled as its index.
//!
//! # What it promises
//! * A transaction is acknowledged when its entry is in the ledger and synced, never before. A
//!   [`Committed`] value is the proof; nothing else makes one, and nothing signed leaves the server
//!   without it.
//! * Transactions run one after another on one writer thread. Each sees all before it; there are no
//!   conflicts.
//! * A transaction is kept whole or not at all, as one entry: its event and its changes.
//! * Reads see synced state only and do not wait for the writer's disk, nor for each other.
//! * After the first failed write or sync the store stops for good. The next start recovers from
//!   disk.
//! * A start refuses a ledger that is damaged or lacks entries the index has seen, and says which
//!   file.
//!
//! # How the index is kept
//! What the ledger's sync has made durable goes into a layer of memory that all reads look through,
//! and from there into sled by a thread of its own, within half a second or when there is much. The
//! index is never durable by itself: sled writes its pages back about twice a second and everything
//! is synced only after opening and at [`Store::close`]. After a clean close, or a crash of the
//! process alone, nothing up to its head is missing in it, and a start replays the rest. After a power cut it is not believed whatever it
//! says, and is made anew from the ledger (see `marker.rs`); nor is one that has failed. This costs a slower start after a
//! power cut, in proportion to the ledger, and buys that no torn page of the index is ever served.
//!
//! # What it does not do
//! It knows no license: keys, values and events are bytes. It signs nothing.
//!
//! # Snapshots
//! Now and then the records are written to `snapshots/` as they were after one entry (see
//! `snapshot.rs`): made from the ledger alone, so that an index can be made anew from the newest one
//! and the entries after it. The last two are kept.
//!
//! The layers, from above: [`Store`] and [`Tx`]; `committer` (group commit, knows no engine);
//! `engine` (what an engine must promise); `sled_engine` (`ledger`, `segment`, `frame`;
//! `write_behind`, `layers`, `index`; `marker`); `keeper` and `snapshots` (`merge`, `snapshot`, `pairs`);
//! [`Fs`].

pub mod backup;
mod committer;
mod engine;
mod entry;
mod epoch;
mod error;
mod follow;
mod frame;
mod fs;
mod home;
mod index;
mod keeper;
mod layers;
mod ledger;
mod likeness;
mod look;
mod marker;
mod merge;
mod options;
mod pairs;
mod reading;
pub mod restore;
mod segment;
mod shared;
mod sled_engine;
mod snapshot;
mod snapshots;
pub mod tree;
mod tx;
mod watched;
mod write_behind;

use std::path::Path;
use std::sync::mpsc::{self, Sender};
use std::sync::{Arc, Mutex, OnceLock, PoisonError, RwLock};
use std::thread::{self, JoinHandle};

use tokio::sync::{Semaphore, oneshot};
use tracing::Instrument;

pub use self::engine::Pair;
pub use self::entry::{Change, Entry, Head};
pub use self::epoch::Epoch;
pub use self::error::StoreError;
pub use self::follow::Follower;
pub use self::fs::{Access, Fs, FsFile, RealFs};
pub use self::home::FORMAT as FORMAT_VERSION;
pub use self::likeness::Likeness;
pub use self::look::{IndexState, Look, look};
pub use self::options::{Group, Options, Writer};
pub use self::reading::{Entries, LedgerFiles};
pub use self::snapshot::Snapshot;
pub use self::tx::{MAX_BYTES, MAX_KEY_BYTES, MAX_KEYS, MAX_VALUE_BYTES, Tx};
pub use self::watched::{Watch, Watched};

use self::committer::{Committer, Message, Pending};
use self::engine::{Engine, Order};
use self::home::Home;
use self::keeper::{Keeper, Maker};
use self::ledger::Ledger;
use self::shared::{Core, announce, epoch_of};
use self::sled_engine::SledEngine;
use self::snapshots::Snapshots;
use self::tree::Frontier;

/// How many transactions may be queued; more wait for a place.
const QUEUE_PLACES: usize = 4096;

/// An open store. Clones share it; it closes with [`close`](Self::close) or with its last clone.
#[derive(Clone)]
pub struct Store {
    inner: Arc<Inner>,
}

/// A value whose transaction is durable. Only [`Store::transact`] makes one, and it cannot be
/// copied.
#[derive(Debug)]
pub struct Committed<T>(T);

impl<T> Committed<T> {
    /// The value.
    pub fn get(&self) -> &T {
        &self.0
    }

    /// The value, giving up the proof that it is durable.
    pub fn into_inner(self) -> T {
        self.0
    }
}

impl<T, E> Committed<Result<T, E>> {
    /// A committed answer, or the committed refusal.
    ///
    /// # Errors
    /// The refusal, which no longer needs the proof.
    pub fn transpose(self) -> Result<Committed<T>, E> {
        self.0.map(Committed)
    }
}

/// What [`verify`] found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verified {
    head: Head,
    segments: usize,
    snapshots: usize,
    state: [u8; 32],
    tree: Frontier,
}

impl Verified {
    /// The last entry; all before it are chained to it without a gap.
    pub fn head(&self) -> Head {
        self.head
    }

    /// The number of ledger segments.
    pub fn segments(&self) -> usize {
        self.segments
    }

    /// The number of snapshots; each is what a replay of the ledger gives at its entry.
    pub fn snapshots(&self) -> usize {
        self.snapshots
    }

    /// The state hash of the records, see [`Store::state_hash`]; index and replay agree on it.
    pub fn state(&self) -> [u8; 32] {
        self.state
    }

    /// The Merkle tree of all entries.
    pub fn tree(&self) -> &Frontier {
        &self.tree
    }
}

/// How many entries stand in any stretch of a segment's bytes.
pub(crate) fn count_entries(bytes: &[u8]) -> usize {
    frame::search(bytes).filter_map(Entry::decode).count()
}

/// Checks a store that no server is using: walks the whole ledger and its hash chain, and compares
/// the snapshots and the index with what a replay of the ledger from its first entry gives.
///
/// It begins as a server's start does: an unacknowledged tail is cut off and an index that is
/// behind is brought up. The replay needs as much disk space as a few snapshots, in the directory
/// `index.check`.
///
/// # Errors
/// As [`Store::open`]; [`StoreError::Damaged`] with file and offset for damage in any segment, or
/// for an index that differs.
pub fn verify(options: Options) -> Result<Verified, StoreError> {
    verify_with(options, &mut |_| {})
}

/// As [`verify`], and shows each entry on the way.
///
/// # Errors
/// As [`verify`].
pub fn verify_with(
    options: Options,
    passed: &mut dyn FnMut(&Entry),
) -> Result<Verified, StoreError> {
    let (home, engine) = open_engine(&options)?;
    let checked = engine.verify(&options.dir, passed)?;
    let verified = Verified {
        head: engine.head(),
        segments: checked.segments,
        snapshots: checked.snapshots,
        state: checked.state,
        tree: checked.tree,
    };
    Box::new(engine).close()?;
    drop(home);
    Ok(verified)
}

impl Store {
    /// Opens the store in a data directory, and brings the index to the end of the ledger.
    ///
    /// Blocks for as long as the repair takes; its progress is logged.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::Newer`],
    /// [`StoreError::Damaged`], [`StoreError::Full`], [`StoreError::Io`]: nothing was served, and
    /// acknowledged entries are untouched.
    pub fn open(options: Options) -> Result<Self, StoreError> {
        let (home, engine) = open_engine(&options)?;
        let core = Arc::new(Core {
            engine: RwLock::new(Some(Box::new(engine))),
            stopped: OnceLock::new(),
            last: OnceLock::new(),
            clock: options.clock,
            watcher: options.watcher,
        });
        let maker = Arc::new(Maker {
            core: Arc::clone(&core),
            snapshots: Snapshots::of(Arc::clone(&options.fs), &options.dir),
            alone: Mutex::new(()),
        });
        announce(&core)?;
        let (queue, messages) = mpsc::channel();
        let committer = Committer::new(Arc::clone(&core), messages);
        let no_thread = |error| StoreError::io("start a thread for", &options.dir, error);
        let (writer, keeper, on_caller) = match options.writer {
            Writer::Caller => (None, None, Some(Mutex::new(committer))),
            Writer::Thread => {
                let thread = thread::Builder::new().name("store writer".into());
                let writer = thread.spawn(move || committer.run()).map_err(no_thread)?;
                let keeper = Keeper::start(Arc::clone(&maker), options.snapshot_bytes);
                (Some(writer), Some(keeper.map_err(no_thread)?), None)
            }
        };
        let inner = Inner {
            core,
            maker,
            places: Arc::new(Semaphore::new(QUEUE_PLACES)),
            queue,
            on_caller,
            running: Mutex::new(Some(Running {
                keeper,
                writer,
                home,
            })),
        };
        Ok(Self {
            inner: Arc::new(inner),
        })
    }

    /// True if the directory holds a store.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub fn exists(dir: &Path) -> Result<bool, StoreError> {
        Home::is_store(&RealFs, dir)
    }

    /// Refuses a directory that holds none.
    ///
    /// # Errors
    /// [`StoreError::Missing`]; [`StoreError::Damaged`] if there was one; [`StoreError::Io`].
    pub fn check_exists(dir: &Path) -> Result<(), StoreError> {
        home::check_store(&RealFs, dir)
    }

    /// The durable value under a key.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], also where the index cannot be read.
    pub fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        self.inner.core.read(|engine| engine.get(key))
    }

    /// At most `limit` durable pairs with `from <= key < to`, ascending.
    ///
    /// One call sees one state; the next page may see a later one. Go on with the last key followed
    /// by a zero byte.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], also where the index cannot be read.
    pub fn scan(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.inner
            .core
            .read(|engine| engine.scan(from, to, limit, Order::Ascending))
    }

    /// At most `limit` durable pairs with `from <= key < to`, descending. Go on with the last key
    /// as the new `to`.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], also where the index cannot be read.
    pub fn scan_back(&self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.inner
            .core
            .read(|engine| engine.scan(from, to, limit, Order::Descending))
    }

    /// Runs a closure as one transaction and returns once what it wrote, or what it may have read,
    /// is durable.
    ///
    /// * `name` - stands in the ledger entry, for auditors; lower case, short.
    /// * `closure` - reads, decides and stages everything. It must be pure but for the `Tx`: it may
    ///   run again, and runs even if the caller has gone.
    ///
    /// `Ok` keeps what is staged as one entry; nothing staged leaves no entry. `Err` keeps nothing
    /// and touches no other transaction; the answer waits for the group all the same.
    ///
    /// # Errors
    /// The closure's own; [`StoreError::TooLarge`], [`StoreError::ReservedKey`] and
    /// [`StoreError::Panicked`] with nothing kept; [`StoreError::Stopped`], after which only a
    /// restart tells what was kept.
    pub async fn transact<T, E, F>(&self, name: &'static str, closure: F) -> Result<Committed<T>, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let span = tracing::debug_span!("transaction", transaction = name);
        self.inner.transact(name, closure).instrument(span).await
    }

    /// At most `limit` entries of the ledger from sequence `from` on, ascending; each is checked
    /// against the one before.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], [`StoreError::Damaged`] with file and offset, [`StoreError::Io`].
    pub fn entries(&self, from: u64, limit: usize) -> Result<Vec<Entry>, StoreError> {
        self.walk(from)?.take(limit).collect()
    }

    /// The entries from sequence `from` up to the head of now, as [`entries`](Self::entries) but read as they are asked for: whoever
    /// wants many holds one at a time, and goes on where it was.
    ///
    /// # Errors
    /// [`StoreError::Stopped`]; in place of an entry those of [`entries`](Self::entries).
    pub fn walk(
        &self,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<Entry, StoreError>> + use<>, StoreError> {
        self.inner.core.walk(from)
    }

    /// Transactions that wait for the writer or are in its group; those without a place are not counted.
    pub fn queued(&self) -> usize {
        QUEUE_PLACES.saturating_sub(self.inner.places.available_permits())
    }

    /// Whether it has stopped: after a failed write, or because it was closed.
    pub fn is_stopped(&self) -> bool {
        self.inner.core.stopped.get().is_some()
    }

    /// The last entry known to be durable; once the store has stopped, the last before.
    pub fn head(&self) -> Head {
        self.inner.core.head()
    }

    /// The state hash: SHA-256 over all records in ascending order of their keys, each as length
    /// (u32, big-endian) and bytes of the key, then of the value. Two stores with the same entries
    /// have the same.
    ///
    /// Reads everything; exact only while nothing is written.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], also where the index cannot be read.
    pub fn state_hash(&self) -> Result<[u8; 32], StoreError> {
        self.inner.core.read(|engine| engine.state_hash())
    }

    /// Makes a snapshot after the last durable entry, as the store does by itself now and then;
    /// `None` if that one is there already. Blocks; the store goes on meanwhile.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], [`StoreError::Damaged`] for the ledger, [`StoreError::Io`].
    pub fn snapshot(&self) -> Result<Option<Snapshot>, StoreError> {
        self.inner.maker.make(&|| true, &|| {})
    }

    /// The Merkle tree of the entries up to the newest snapshot, from which on it can be grown; an
    /// empty one without a snapshot. Reads that snapshot through.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], [`StoreError::Damaged`] for the ledger, [`StoreError::Io`].
    pub fn tree(&self) -> Result<Frontier, StoreError> {
        let newest = self.inner.maker.newest()?;
        Ok(newest.map_or_else(Frontier::default, |found| found.frontier().clone()))
    }

    /// The epoch: whether the ledger was cut back by a restore, and where.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], also where the index cannot be read; [`StoreError::Damaged`] if the record is
    /// unreadable.
    pub fn epoch(&self) -> Result<Epoch, StoreError> {
        epoch_of(&self.inner.core)
    }

    /// Commits what is queued, closes the index so that the next start is quick, and releases the
    /// directory.
    ///
    /// Blocks. All clones are closed with this one: their calls answer [`StoreError::Stopped`].
    /// Closing again does nothing.
    ///
    /// # Errors
    /// [`StoreError::Stopped`] if the store had stopped before; [`StoreError::Io`],
    /// [`StoreError::Index`] if the index did not close well. Nothing acknowledged is lost in
    /// either case.
    pub fn close(self) -> Result<(), StoreError> {
        self.inner.close()
    }
}

/// What all clones share.
struct Inner {
    core: Arc<Core>,
    maker: Arc<Maker>,
    places: Arc<Semaphore>,
    queue: Sender<Message>,
    /// In place of the writer's thread, see [`Writer::Caller`].
    on_caller: Option<Mutex<Committer>>,
    running: Mutex<Option<Running>>,
}

struct Running {
    keeper: Option<Keeper>,
    writer: Option<JoinHandle<()>>,
    home: Home,
}

impl Inner {
    async fn transact<T, E, F>(&self, name: &'static str, closure: F) -> Result<Committed<T>, E>
    where
        F: FnMut(&mut Tx<'_>) -> Result<T, E> + Send + 'static,
        T: Send + 'static,
        E: From<StoreError> + Send + 'static,
    {
        let Ok(place) = Arc::clone(&self.places).acquire_owned().await else {
            return Err(self.core.stopped().into());
        };
        let (reply, answer) = oneshot::channel();
        let job = Box::new(Pending::new(name, closure, reply, place));
        if self.queue.send(Message::Run(job)).is_err() {
            return Err(self.core.stopped().into());
        }
        if self.on_caller.is_some() {
            // Others may queue meanwhile, so that groups come about as they do on the writer's thread.
            tokio::task::yield_now().await;
            self.run_on_caller();
        }
        match answer.await {
            Ok(answer) => answer.map(Committed),
            Err(_) => Err(self.core.stopped().into()),
        }
    }

    /// Without a writer's thread, commits what is queued.
    fn run_on_caller(&self) {
        if let Some(committer) = &self.on_caller {
            let mut committer = committer.lock().unwrap_or_else(PoisonError::into_inner);
            committer.run_queued();
        }
    }

    fn close(&self) -> Result<(), StoreError> {
        let running = self
            .running
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
            .take();
        let Some(running) = running else {
            return Ok(());
        };
        self.places.close();
        let _ended = self.queue.send(Message::End);
        self.run_on_caller();
        let here = thread::current().id();
        let writer = running.writer.as_ref();
        if writer.is_none_or(|writer| writer.thread().id() != here) {
            return running.end(&self.core);
        }
        // A closure held the last clone: the writer cannot wait for itself.
        let core = Arc::clone(&self.core);
        let ending = thread::Builder::new().name("store closer".into());
        match ending.spawn(move || log_fault(running.end(&core))) {
            Ok(_detached) => Ok(()),
            Err(_) => Err(self.core.stopped()),
        }
    }
}

impl Running {
    /// Waits for the writer and closes the engine; the directory is released last.
    fn end(self, core: &Core) -> Result<(), StoreError> {
        if let Some(keeper) = self.keeper {
            keeper.stop();
        }
        if self.writer.is_some_and(|writer| writer.join().is_err()) {
            core.stop("the writer panicked");
        }
        let failed = core.stopped.get().map(|_| core.stopped());
        core.stop("it was closed");
        let Some(engine) = core.take_engine() else {
            return Ok(());
        };
        let closed = match failed {
            None => engine.close(),
            Some(fault) => {
                drop(engine);
                Err(fault)
            }
        };
        drop(self.home);
        closed
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        log_fault(self.close());
    }
}

fn log_fault(closed: Result<(), StoreError>) {
    if let Err(fault) = closed {
        tracing::error!(%fault, "the store did not close well");
    }
}

/// Takes the directory, creates the store if asked to, and opens the engine.
fn open_engine(options: &Options) -> Result<(Home, SledEngine), StoreError> {
    let Options { dir, fs, .. } = options;
    let home = Home::take(Arc::clone(fs), dir, options.create)?;
    // What a killed server had begun to make may be what fills the disk.
    Snapshots::of(Arc::clone(fs), dir).remove_parts()?;
    sled_engine::remove_leftovers(&**fs, dir)?;
    home.mind_space(options.reserve_bytes)?;
    if !home.is_established() {
        Ledger::create(&**fs, &dir.join("ledger"))?;
        home.establish()?;
    }
    let engine = SledEngine::open(
        Arc::clone(fs),
        dir,
        options.cache_bytes,
        options.segment_bytes,
        options.snapshot_bytes,
    )?;
    Ok((home, engine))
}
