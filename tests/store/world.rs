//! A directory for a store, and short words for what the tests do with one.

use std::fmt;
use std::future::Future;
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::sync::mpsc::Sender;
use std::task::{Context, Waker};

use tempfile::TempDir;
use upkeep_server::store::{Committed, Options, Store, StoreError, Tx};

/// How a test's closure says no.
#[derive(Debug)]
pub(crate) enum Refused {
    /// The closure's own refusal.
    No,
    /// A fault of the store.
    Fault(StoreError),
}

impl From<StoreError> for Refused {
    fn from(fault: StoreError) -> Self {
        Self::Fault(fault)
    }
}

impl fmt::Display for Refused {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::No => out.write_str("refused"),
            Self::Fault(fault) => fault.fmt(out),
        }
    }
}

/// A data directory that lasts as long as the test.
pub(crate) struct Place {
    temp: TempDir,
}

impl Place {
    pub(crate) fn new() -> Self {
        Self {
            temp: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.temp.path().join("data")
    }

    pub(crate) fn options(&self) -> Options {
        options(&self.dir())
    }

    pub(crate) fn open(&self) -> Store {
        Store::open(self.options()).unwrap()
    }

    /// The ledger's segments, in order.
    pub(crate) fn segments(&self) -> Vec<PathBuf> {
        let entries = std::fs::read_dir(self.dir().join("ledger")).unwrap();
        let mut paths: Vec<_> = entries.map(|entry| entry.unwrap().path()).collect();
        paths.sort();
        paths
    }
}

/// Small sizes, so that every path is walked with few entries.
pub(crate) fn options(dir: &Path) -> Options {
    Options::new(dir)
        .create(true)
        .cache_bytes(4 << 20)
        .segment_bytes(4096)
        .reserve_bytes(64 * 1024)
        .clock(|| 1_700_000_000_000)
}

/// Runs a future on a runtime of its own.
pub(crate) fn run<F: Future>(future: F) -> F::Output {
    runtime().block_on(future)
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(4)
        .build()
        .unwrap()
}

/// Puts one pair and waits until it is durable.
pub(crate) async fn put(store: &Store, key: &str, value: &str) -> Result<(), StoreError> {
    let (key, value) = (key.as_bytes().to_vec(), value.as_bytes().to_vec());
    let done = store.transact("put", move |tx: &mut Tx<'_>| {
        tx.put(key.clone(), value.clone());
        Ok::<_, StoreError>(())
    });
    done.await.map(|_| ())
}

/// Everything in the store.
pub(crate) fn all(store: &Store) -> Vec<(String, String)> {
    strings(store.scan(b"", &[0xFF], usize::MAX).unwrap())
}

pub(crate) fn strings(pairs: Vec<(Vec<u8>, Vec<u8>)>) -> Vec<(String, String)> {
    let text = |bytes| String::from_utf8(bytes).unwrap();
    pairs
        .into_iter()
        .map(|(key, value)| (text(key), text(value)))
        .collect()
}

/// Queues a transaction without waiting for its answer: polls it once.
pub(crate) fn queue<F: Future>(future: F) -> Pin<Box<F>> {
    let mut future = Box::pin(future);
    assert!(
        future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()))
            .is_pending()
    );
    future
}

/// Holds the writer inside a transaction until the returned sender speaks or is dropped, so that
/// what is queued meanwhile becomes one group.
pub(crate) fn hold(
    store: &Store,
) -> (
    Sender<()>,
    impl Future<Output = Result<Committed<()>, StoreError>>,
) {
    let (release, released) = std::sync::mpsc::channel();
    let (enter, entered) = std::sync::mpsc::channel();
    let held = queue(store.transact("hold", move |_: &mut Tx<'_>| {
        let _ = enter.send(());
        let _ = released.recv();
        Ok::<_, StoreError>(())
    }));
    entered.recv().unwrap();
    (release, held)
}
