//! A running transaction: reads through three layers, writes into its own.
//!
//! Below is the engine's committed state, over it what the transactions before it in the same group
//! did, over that its own writes. Transactions of a group run one after another, so there are no
//! conflicts and nothing to retry.

use super::engine::{Changes, Engine, Order, Pair};
use super::error::StoreError;
use super::layers;
use super::shared::Core;

/// The longest value in bytes; larger ones go to files the index engine never syncs.
pub const MAX_VALUE_BYTES: usize = 64 * 1024;

/// The longest key in bytes.
pub const MAX_KEY_BYTES: usize = 1024;

/// The most keys one transaction may change.
pub const MAX_KEYS: usize = 500;

/// The most bytes (keys, values and event) of one transaction, and of one group of them.
pub const MAX_BYTES: usize = 1 << 20;

/// One transaction while its closure runs. It sees everything before it and its own writes.
pub struct Tx<'a> {
    engine: &'a dyn Engine,
    core: &'a Core,
    group: &'a Changes,
    sequence: u64,
    staged: Staged,
    /// What an attempt put in place of what, while one runs.
    undo: Option<Vec<Undo>>,
}

/// A key that was staged, and what was staged under it before.
type Undo = (Vec<u8>, Option<Option<Vec<u8>>>);

/// What a transaction wants to write.
#[derive(Default)]
pub(super) struct Staged {
    pub(super) changes: Changes,
    pub(super) event: Option<Vec<u8>>,
    pub(super) fault: Option<StoreError>,
}

impl<'a> Tx<'a> {
    /// * `core` - stopped where the engine cannot be read.
    pub(super) fn new(
        engine: &'a dyn Engine,
        core: &'a Core,
        group: &'a Changes,
        sequence: u64,
    ) -> Self {
        Self {
            engine,
            core,
            group,
            sequence,
            staged: Staged::default(),
            undo: None,
        }
    }

    /// The value under a key.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], if the index cannot be read; hand it on.
    pub fn get(&mut self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match layers::get(&[&self.staged.changes, self.group], key) {
            Some(value) => Ok(value.map(<[u8]>::to_vec)),
            None => self.core.heed(self.engine.get(key)),
        }
    }

    /// At most `limit` pairs with `from <= key < to`, ascending.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], if the index cannot be read; hand it on.
    pub fn scan(&mut self, from: &[u8], to: &[u8], limit: usize) -> Result<Vec<Pair>, StoreError> {
        self.merge(from, to, limit, Order::Ascending)
    }

    /// At most `limit` pairs with `from <= key < to`, descending.
    ///
    /// # Errors
    /// [`StoreError::Stopped`], if the index cannot be read; hand it on.
    pub fn scan_back(
        &mut self,
        from: &[u8],
        to: &[u8],
        limit: usize,
    ) -> Result<Vec<Pair>, StoreError> {
        self.merge(from, to, limit, Order::Descending)
    }

    /// Puts a value under a key, in place of the one there.
    ///
    /// * `key` - 1 to [`MAX_KEY_BYTES`] bytes, the first not zero.
    /// * `value` - at most [`MAX_VALUE_BYTES`] bytes.
    ///
    /// A key or value outside these limits makes the whole transaction fail when its closure has
    /// returned.
    pub fn put(&mut self, key: Vec<u8>, value: Vec<u8>) {
        self.stage(key, Some(value));
    }

    /// Deletes a key; one that does not exist is no error.
    pub fn delete(&mut self, key: Vec<u8>) {
        self.stage(key, None);
    }

    /// Sets the event of this transaction's entry, in place of one set before. Opaque to the store.
    pub fn event(&mut self, bytes: Vec<u8>) {
        self.staged.event = Some(bytes);
    }

    /// Drops everything staged so far: writes, event, and the fault of a write that was too large.
    pub fn discard(&mut self) {
        self.staged = Staged::default();
    }

    /// Runs a part of the closure. If it fails, the writes that it staged are dropped, and those before it stay.
    ///
    /// # Errors
    /// The part's own.
    pub fn attempt<T, E>(&mut self, part: impl FnOnce(&mut Self) -> Result<T, E>) -> Result<T, E> {
        let outer = self.undo.replace(Vec::new());
        let fault = self.staged.fault.clone();
        let done = part(self);
        let inner = std::mem::replace(&mut self.undo, outer).unwrap_or_default();
        if done.is_ok() {
            if let Some(outer) = &mut self.undo {
                outer.extend(inner);
            }
            return done;
        }
        for (key, before) in inner.into_iter().rev() {
            match before {
                Some(before) => self.staged.changes.insert(key, before),
                None => self.staged.changes.remove(&key),
            };
        }
        self.staged.fault = fault;
        done
    }

    /// How many keys are staged.
    pub fn staged_keys(&self) -> usize {
        self.staged.changes.len()
    }

    /// The number this transaction's entry will have in the ledger, if it leaves one.
    pub fn sequence(&self) -> u64 {
        self.sequence
    }

    pub(super) fn into_staged(self) -> Staged {
        self.staged
    }

    fn stage(&mut self, key: Vec<u8>, value: Option<Vec<u8>>) {
        let size = value.as_ref().map_or(0, Vec::len);
        let fault = if key.first().is_none_or(|byte| *byte == 0) {
            Some(StoreError::ReservedKey)
        } else {
            too_large("a key in bytes", key.len(), MAX_KEY_BYTES)
                .or_else(|| too_large("a value in bytes", size, MAX_VALUE_BYTES))
        };
        match fault {
            None => match &mut self.undo {
                Some(undo) => {
                    let before = self.staged.changes.insert(key.clone(), value);
                    undo.push((key, before));
                }
                None => {
                    self.staged.changes.insert(key, value);
                }
            },
            fault => self.staged.fault = self.staged.fault.take().or(fault),
        }
    }

    fn merge(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Vec<Pair>, StoreError> {
        let over = [&self.staged.changes, self.group];
        layers::scan(&over, (from, to), limit, order, |(from, to), limit| {
            self.core.heed(self.engine.scan(from, to, limit, order))
        })
    }
}

impl Staged {
    /// True if nothing is to be written.
    pub(super) fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.event.is_none()
    }

    /// The bytes of keys, values and event.
    pub(super) fn bytes(&self) -> usize {
        let pair = |(key, value): (&Vec<u8>, &Option<Vec<u8>>)| {
            key.len() + value.as_ref().map_or(0, Vec::len)
        };
        let event = self.event.as_ref().map_or(0, Vec::len);
        event + self.changes.iter().map(pair).sum::<usize>()
    }

    /// What forbids to keep this, if anything.
    pub(super) fn fault(&self) -> Option<StoreError> {
        let keys = || {
            too_large(
                "the number of keys of a transaction",
                self.changes.len(),
                MAX_KEYS,
            )
        };
        let bytes = || too_large("a transaction in bytes", self.bytes(), MAX_BYTES);
        self.fault.clone().or_else(keys).or_else(bytes)
    }
}

fn too_large(what: &'static str, size: usize, limit: usize) -> Option<StoreError> {
    (size > limit).then_some(StoreError::TooLarge { what, size, limit })
}
