//! Why a backup could not be taken, read or restored.

use std::io;
use std::path::{Path, PathBuf};

use super::{FORMAT, KeysFault, MANIFEST};
use crate::store::StoreError;

/// Why a backup could not be taken, read or restored.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum BackupError {
    /// The store that is backed up or restored.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// There is no backup.
    #[error("there is no backup in {}: it has no {MANIFEST}; name the directory that `backup create --out` was given", .dir.display())]
    Missing {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory holds something else.
    #[error("{} is not empty and holds no backup; nothing is overwritten: name a new directory", .dir.display())]
    Foreign {
        /// The directory.
        dir: PathBuf,
    },
    /// The directory is the data directory, or in it.
    #[error(
        "{} is in the data directory and would be lost with it: name a directory elsewhere, best on another disk",
        .dir.display()
    )]
    Inside {
        /// The directory.
        dir: PathBuf,
    },
    /// The backup is of another ledger, or of one that was cut back since.
    #[error(
        "the backup in {} holds entry {sequence} of another ledger, or of this one before it was restored; keep it, and take this one into a new directory",
        .dir.display()
    )]
    OtherLedger {
        /// The backup.
        dir: PathBuf,
        /// Its last entry.
        sequence: u64,
    },
    /// A file of the backup is not what was put there.
    #[error("{} is damaged: {why}; use another backup, and keep this one for whoever looks into it", .file.display())]
    Damaged {
        /// The file.
        file: PathBuf,
        /// What was found.
        why: String,
    },
    /// A later release made the backup.
    #[error("{} has format {found}, this release reads up to {known}: use the release that made it, or a later one", .file.display(), known = FORMAT)]
    Newer {
        /// The manifest.
        file: PathBuf,
        /// The format found.
        found: u32,
    },
    /// The place to restore to exists.
    #[error("{} exists, and a restore never overwrites: name a directory that does not", .dir.display())]
    Exists {
        /// The directory.
        dir: PathBuf,
    },
    /// The backup does not reach so far, or begins later.
    #[error("the backup ends with entry {last}: it cannot be restored to {asked}")]
    OutOfReach {
        /// What was asked for.
        asked: String,
        /// The last entry it holds.
        last: u64,
    },
    /// The backup holds nothing so old.
    #[error(
        "the backup begins later: nothing would be left; look for the entry with `upkeep-server audit tail`, or for the year in --at"
    )]
    BeforeAll,
    /// Somebody else writes to the backup.
    #[error("another `backup create` writes to {}; wait until it is done, or name another directory", .dir.display())]
    Busy {
        /// The backup.
        dir: PathBuf,
    },
    /// The backup holds no keys.
    #[error("the backup in {} holds no sealed keys; restore it without --with-keys, and put your copy of keys/ into it", .dir.display())]
    NoKeys {
        /// The backup.
        dir: PathBuf,
    },
    /// The keys could not be sealed or unsealed.
    #[error(transparent)]
    Keys(KeysFault),
    /// The operating system refused a call.
    #[error("cannot {action} {}: {source}", .file.display())]
    Io {
        /// The call, as a verb.
        action: &'static str,
        /// The file or directory.
        file: PathBuf,
        /// The system's answer.
        source: io::Error,
    },
}

impl BackupError {
    pub(in crate::store) fn io(
        action: &'static str,
        file: &Path,
    ) -> impl FnOnce(io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }

    pub(super) fn damaged(file: &Path, why: impl Into<String>) -> Self {
        Self::Damaged {
            file: file.to_owned(),
            why: why.into(),
        }
    }
}
