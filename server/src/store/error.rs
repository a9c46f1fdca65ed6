//! What can go wrong in the store, in words an operator can act on.
//!
//! Every message says what happened, to which file, and what to do next. Refusals of the domain are
//! not here: a closure given to [`Store::transact`](super::Store::transact) has its own error type.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// A fault of the store. Cloneable, so that one cause can be told to everybody who waits.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// The directory holds no store.
    #[error("there is no store in {}: run `upkeep-server init` to create one", dir.display())]
    Missing {
        /// The data directory asked for.
        dir: PathBuf,
    },

    /// Another server, or another `Store` of this process, holds the data directory.
    #[error(
        "{} is in use by another server: one data directory serves one process; stop the other one first",
        dir.display()
    )]
    Locked {
        /// The data directory.
        dir: PathBuf,
    },

    /// A file does not hold what was written to it.
    #[error("{} is damaged: {why}; {what_to_do}", file.display())]
    Damaged {
        /// The file, or the directory if a file is missing from it.
        file: PathBuf,
        /// What was found, with the byte offset where there is one.
        why: String,
        /// The next step for the operator.
        what_to_do: String,
    },

    /// The store was written by a newer release.
    #[error(
        "{} has format {found}, this release reads up to {known}: start it with the release that wrote it, or a later one",
        file.display()
    )]
    Newer {
        /// The file that says so.
        file: PathBuf,
        /// The format found.
        found: u32,
        /// The newest format this release reads.
        known: u32,
    },

    /// No space is left, and the reserve is already spent.
    #[error(
        "the disk under {} is full and its reserve is spent: free at least {needed} bytes and start again; nothing acknowledged is lost",
        dir.display()
    )]
    Full {
        /// The data directory.
        dir: PathBuf,
        /// Bytes a start needs.
        needed: u64,
    },

    /// A transaction is larger than the store takes; nothing of it was kept.
    #[error("{what} is too large: {size}, and the limit is {limit}; split it or store less")]
    TooLarge {
        /// What was measured, with its unit.
        what: &'static str,
        /// The size found.
        size: usize,
        /// The size allowed.
        limit: usize,
    },

    /// A key is empty or begins with a zero byte, the store's own room; nothing of the transaction
    /// was kept.
    #[error(
        "a key must not be empty nor begin with a zero byte; this is a fault of the server, report it"
    )]
    ReservedKey,

    /// The operating system refused a call.
    #[error("cannot {action} {}: {source}", file.display())]
    Io {
        /// The call, as a verb.
        action: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The system's answer.
        source: Arc<io::Error>,
    },

    /// The index engine failed while running.
    #[error("the index in {} failed: {why}; restart the server, it repairs the index from the ledger", dir.display())]
    Index {
        /// The index directory.
        dir: PathBuf,
        /// The engine's own words.
        why: String,
    },

    /// The closure of a transaction panicked; nothing of it was kept and the store goes on.
    #[error(
        "the transaction `{name}` panicked and nothing of it was kept; this is a fault of the server, report it"
    )]
    Panicked {
        /// The transaction's name.
        name: &'static str,
    },

    /// The store answers no more: it was closed, or a write failed.
    ///
    /// After a failed write it is not known here whether the transaction is on disk; the next start
    /// finds out.
    #[error("the store has stopped: {0}; restart the server, it recovers from disk")]
    Stopped(Arc<str>),
}

impl StoreError {
    /// Wraps the answer of a system call on `file`.
    pub(super) fn io(action: &'static str, file: &Path, source: io::Error) -> Self {
        Self::Io {
            action,
            file: file.to_owned(),
            source: Arc::new(source),
        }
    }

    /// Names a damaged file with the usual advice.
    pub(super) fn damaged(file: &Path, why: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            why: why.into(),
            what_to_do:
                "do not edit it: restore the ledger from a backup, and keep the damaged copy".into(),
        }
    }
}

/// True if the system says that no space, or no quota, is left.
pub(super) fn is_full(error: &io::Error) -> bool {
    matches!(
        error.kind(),
        io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded
    )
}
