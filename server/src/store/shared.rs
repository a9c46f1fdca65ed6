//! What the callers, the writer and the keeper of an open store share: its engine, and whether it has stopped.

use std::iter;
use std::path::Path;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};

use super::engine::Engine;
use super::entry::{Entry, Head};
use super::epoch::{self, Epoch};
use super::error::StoreError;
use super::options::{Millis, Watcher};

/// What the callers and the writer share.
pub(super) struct Core {
    /// Taken out when the store is closed.
    pub(super) engine: RwLock<Option<Box<dyn Engine>>>,
    /// Why the store has stopped, once it has.
    pub(super) stopped: OnceLock<Arc<str>>,
    /// The head when the engine was taken out.
    pub(super) last: OnceLock<Head>,
    pub(super) clock: Millis,
    pub(super) watcher: Watcher,
}

impl Core {
    /// Reads from the engine, unless the store has stopped: what it holds then may lack what is on
    /// disk.
    pub(super) fn read<T>(
        &self,
        read: impl FnOnce(&dyn Engine) -> Result<T, StoreError>,
    ) -> Result<T, StoreError> {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        match engine.as_deref() {
            Some(engine) if self.stopped.get().is_none() => self.heed(read(engine)),
            _ => Err(self.stopped()),
        }
    }

    /// Hands on what the engine said. An index that cannot be read or written any more stops the store: a start repairs that from the
    /// ledger, going on does not.
    pub(super) fn heed<T>(&self, said: Result<T, StoreError>) -> Result<T, StoreError> {
        said.map_err(|fault| match fault {
            StoreError::Index { .. } => {
                self.fail(&fault);
                self.stopped()
            }
            fault => fault,
        })
    }

    pub(super) fn head(&self) -> Head {
        let engine = self.engine.read().unwrap_or_else(PoisonError::into_inner);
        match engine.as_deref() {
            Some(engine) => engine.head(),
            None => self.last.get().copied().unwrap_or(Head::EMPTY),
        }
    }

    /// The entries from `from` up to the head of now, read as they are asked for; [`StoreError::Stopped`] once the store has stopped.
    pub(super) fn walk(
        self: &Arc<Self>,
        from: u64,
    ) -> Result<impl Iterator<Item = Result<Entry, StoreError>> + use<>, StoreError> {
        let (last, mut walk) =
            self.read(|engine| Ok((engine.head().sequence(), engine.walk(from))))?;
        let core = Arc::clone(self);
        let read = move || core.read(|_| walk.next().transpose()).transpose();
        Ok(iter::from_fn(read).take_while(move |entry| {
            let is_later = entry.as_ref().is_ok_and(|entry| entry.sequence() > last);
            !is_later
        }))
    }

    /// Waits for running reads and takes the engine out.
    pub(super) fn take_engine(&self) -> Option<Box<dyn Engine>> {
        let engine = self
            .engine
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .take()?;
        self.last.get_or_init(|| engine.head());
        Some(engine)
    }

    /// Stops the store for a fault; the first one stays.
    pub(super) fn fail(&self, fault: &StoreError) {
        self.stopped.get_or_init(|| {
            tracing::error!(%fault, "the store stops");
            fault.to_string().into()
        });
    }

    /// Stops the store; the first cause stays.
    pub(super) fn stop(&self, cause: &str) {
        self.stopped.get_or_init(|| cause.into());
    }

    pub(super) fn stopped(&self) -> StoreError {
        let unknown = || Arc::from("the writer is gone");
        StoreError::Stopped(self.stopped.get().cloned().unwrap_or_else(unknown))
    }
}

/// The epoch that the store is in.
pub(super) fn epoch_of(core: &Core) -> Result<Epoch, StoreError> {
    match core.read(|engine| engine.get(epoch::KEY))? {
        None => Ok(Epoch::FIRST),
        Some(record) => Epoch::decode(&record).ok_or_else(|| {
            StoreError::damaged(
                Path::new("F/epoch"),
                "the record that says in which epoch the store is cannot be read",
            )
        }),
    }
}

/// Tells that the ledger was cut back: loudly until something else was written.
pub(super) fn announce(core: &Core) -> Result<(), StoreError> {
    let epoch = epoch_of(core)?;
    let (number, kept, known) = (epoch.number(), epoch.kept().sequence(), epoch.known());
    if !epoch.is_restored() {
        return Ok(());
    }
    if core.head().sequence() == kept + 1 {
        tracing::warn!(
            epoch = number,
            kept,
            known,
            "this store was restored from a backup: what was acknowledged after entry {kept} is not in it"
        );
    } else {
        tracing::info!(epoch = number, kept, "the store was restored in the past");
    }
    Ok(())
}
