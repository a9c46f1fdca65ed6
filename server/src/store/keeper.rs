//! Makes snapshots of a serving store in the background.
//!
//! It reads durable entries only, one after another as any reader does, and rests now and then: the writer never waits for it. A
//! snapshot that fails is a line in the log and another try later; nothing depends on it but the length of a start.

use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread::{self, JoinHandle};
use std::time::Duration;

use super::Core;
use super::entry::Head;
use super::error::StoreError;
use super::snapshot::Snapshot;
use super::snapshots::Snapshots;

/// How often it looks whether the ledger has grown enough.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// After a failure it looks away so many times.
const LOOKS_AWAY: u32 = 60;

/// After so many bytes of entries it rests.
const UNRESTED_BYTES: usize = 256 << 10;

/// How long it rests.
const REST: Duration = Duration::from_millis(2);

/// Makes snapshots of an open store, one at a time.
pub(super) struct Maker {
    pub(super) core: Arc<Core>,
    pub(super) snapshots: Snapshots,
    /// Held while one is made.
    pub(super) alone: Mutex<()>,
}

impl Maker {
    /// Makes the snapshot after the last durable entry; `None` if that is there already, or `goes_on` said no.
    ///
    /// * `rest` - what to do now and then.
    pub(super) fn make(
        &self,
        goes_on: &dyn Fn() -> bool,
        rest: &dyn Fn(),
    ) -> Result<Option<Snapshot>, StoreError> {
        let _alone = self.alone.lock().unwrap_or_else(PoisonError::into_inner);
        let base = self.newest()?;
        let from = base.as_ref().map_or(0, |base| base.head().sequence());
        let grown = self.core.read(|engine| Ok(engine.bytes_after(from)))?;
        let mut unrested = 0_usize;
        let entries = self.core.walk(from + 1)?.inspect(|entry| {
            unrested += entry.as_ref().map_or(0, |entry| entry.payload().len());
            if unrested >= UNRESTED_BYTES {
                unrested = 0;
                rest();
            }
        });
        let made = self
            .snapshots
            .make(base.as_ref(), grown, entries, goes_on)?;
        if let Some(made) = &made {
            tracing::info!(
                entry = made.head().sequence(),
                records = made.count(),
                "made a snapshot"
            );
        }
        Ok(made)
    }

    /// The newest whole snapshot of this ledger.
    pub(super) fn newest(&self) -> Result<Option<Snapshot>, StoreError> {
        self.snapshots.newest(|head| self.holds(head))
    }

    fn holds(&self, head: &Head) -> Result<bool, StoreError> {
        let found = self.core.walk(head.sequence())?.next().transpose()?;
        Ok(found.is_some_and(|entry| entry.head() == *head))
    }

    /// Whether the ledger has grown so much since the last one that another pays.
    fn is_due(&self, least: u64) -> Result<bool, StoreError> {
        let newest = self.snapshots.files()?.into_iter().next();
        let (sequence, size) = match &newest {
            None => (0, 0),
            Some((sequence, path)) => (*sequence, self.snapshots.size(path)?),
        };
        let grown = self.core.read(|engine| Ok(engine.bytes_after(sequence)))?;
        Ok(grown >= least.max(size / 2))
    }
}

/// The thread.
pub(super) struct Keeper {
    stop: Arc<Stop>,
    thread: JoinHandle<()>,
}

#[derive(Default)]
struct Stop {
    asked: Mutex<bool>,
    changed: Condvar,
}

impl Stop {
    /// Waits; true once it was asked to stop.
    fn wait(&self, time: Duration) -> bool {
        let asked = self.asked.lock().unwrap_or_else(PoisonError::into_inner);
        let waited = self
            .changed
            .wait_timeout_while(asked, time, |asked| !*asked);
        *waited.unwrap_or_else(PoisonError::into_inner).0
    }

    fn is_asked(&self) -> bool {
        *self.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Keeper {
    /// Starts it.
    ///
    /// * `least` - bytes the ledger must have grown.
    ///
    /// # Errors
    /// What the operating system says.
    pub(super) fn start(maker: Arc<Maker>, least: u64) -> std::io::Result<Self> {
        let stop = Arc::new(Stop::default());
        let told = Arc::clone(&stop);
        let thread = thread::Builder::new().name("store keeper".into());
        let thread = thread.spawn(move || keep(&maker, &told, least))?;
        Ok(Self { stop, thread })
    }

    /// Stops it; a snapshot in the making is given up.
    pub(super) fn stop(self) {
        *self
            .stop
            .asked
            .lock()
            .unwrap_or_else(PoisonError::into_inner) = true;
        self.stop.changed.notify_all();
        if self.thread.join().is_err() {
            tracing::error!("the thread that makes snapshots had panicked");
        }
    }
}

fn keep(maker: &Maker, stop: &Stop, least: u64) {
    let mut looks_away = 0;
    while !stop.wait(LOOK_EVERY) {
        if looks_away > 0 {
            looks_away -= 1;
            continue;
        }
        let rest = || {
            stop.wait(REST);
        };
        let done = match maker.is_due(least) {
            Ok(true) => maker.make(&|| !stop.is_asked(), &rest).map(|_| ()),
            Ok(false) => Ok(()),
            Err(fault) => Err(fault),
        };
        match done {
            Ok(()) => {}
            Err(StoreError::Stopped(_)) => return,
            Err(fault) => {
                tracing::error!(%fault, "no snapshot could be made; the next try is in five minutes");
                looks_away = LOOKS_AWAY;
            }
        }
    }
}
