//! What the store asks of an engine, and nothing more: ordered reads, and one atomic commit against
//! a known head.
//!
//! The committer above is the same for every engine. An engine for many servers locks or compares
//! the head inside its own transaction, so one chain of entries runs over all of them.

use std::collections::BTreeMap;

use super::entry::{Entry, Head, Sealed};
use super::error::StoreError;

/// A key and its value.
pub type Pair = (Vec<u8>, Vec<u8>);

/// Changes by key; `None` deletes. The last write of a key wins.
pub(super) type Changes = BTreeMap<Vec<u8>, Option<Vec<u8>>>;

/// The order of a scan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Order {
    /// Smallest key first.
    Ascending,
    /// Greatest key first.
    Descending,
}

/// One group commit: chained entries and what they come to.
pub(super) struct Batch {
    /// The entries, each following the one before; never empty.
    pub(super) entries: Vec<Sealed>,
    /// The changes of all entries together.
    pub(super) changes: Changes,
    /// The head after the last entry.
    pub(super) head: Head,
}

/// Why a commit was not confirmed.
pub(super) enum CommitError {
    /// The head is another one; nothing was written, and the transactions may run again.
    Moved,
    /// The batch may be durable or not; only a restart finds out.
    Unknown(StoreError),
}

/// The records and the ledger behind them. Reads see committed state only.
pub(super) trait Engine: Send + Sync + 'static {
    /// The value under a key.
    fn get(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError>;

    /// At most `limit` pairs with `from <= key < to`.
    fn scan(
        &self,
        from: &[u8],
        to: &[u8],
        limit: usize,
        order: Order,
    ) -> Result<Vec<Pair>, StoreError>;

    /// The last committed entry.
    fn head(&self) -> Head;

    /// Makes the whole batch durable, if the head is still `expected`; all of it or nothing.
    fn commit(&self, batch: Batch, expected: &Head) -> Result<(), CommitError>;

    /// The entries from `from` on that are durable by now, ascending, read as they are asked for.
    fn walk(&self, from: u64) -> Box<dyn Iterator<Item = Result<Entry, StoreError>> + Send>;

    /// About how many bytes the entries after `sequence` take, as they are kept.
    fn bytes_after(&self, sequence: u64) -> u64;

    /// A hash over all current records, see [`Store::state_hash`](super::Store::state_hash).
    fn state_hash(&self) -> Result<[u8; 32], StoreError>;

    /// Puts everything in order for a quick start. Not called after a failed commit.
    fn close(self: Box<Self>) -> Result<(), StoreError>;
}
