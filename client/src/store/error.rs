//! Why the license store can't be used, and what a person does about it.

use std::ffi::OsStr;
use std::fmt;
use std::io;
use std::path::{Path, PathBuf};

use super::{DEVICE_KEY, ENROLLMENT, STATE};

/// The license store can't be read or written as it is.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StoreError {
    /// No directory is configured and none can be guessed.
    #[error(
        "no place for the license store is known: UPKEEP_HOME, XDG_STATE_HOME and HOME are all unset"
    )]
    NoHome,
    /// The directory or one of its files is not there.
    #[error("{} does not exist", path.display())]
    Missing {
        /// What is missing.
        path: PathBuf,
    },
    /// Another process has the store open.
    #[error("the license store {} is in use by another process", dir.display())]
    Locked {
        /// The store's directory.
        dir: PathBuf,
    },
    /// Others than the owner may read or write it.
    #[error("{} is open to other users (mode {mode:03o})", path.display())]
    Loose {
        /// The directory or file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// A file says something that this program never writes.
    #[error("{} is damaged: {why}", path.display())]
    Damaged {
        /// The file.
        path: PathBuf,
        /// What is wrong with it.
        why: String,
    },
    /// A newer version of this program wrote the file.
    #[error("{} was written by a newer version (format {format})", path.display())]
    Newer {
        /// The file.
        path: PathBuf,
        /// The format it states.
        format: u32,
    },
    /// The file system failed.
    #[error("{}: {why}", path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// What the system said.
        why: String,
    },
    /// The store was opened for reading.
    #[error("the license store {} was opened for reading only", dir.display())]
    ReadOnly {
        /// The store's directory.
        dir: PathBuf,
    },
    /// An earlier write failed, so what stands on disk is not known.
    #[error("the license store {} was not usable any more after a failed write", dir.display())]
    Unknown {
        /// The store's directory.
        dir: PathBuf,
    },
}

impl StoreError {
    /// What to do next, in one sentence.
    pub fn next_step(&self) -> String {
        match self {
            Self::NoHome => "name a directory with --store or in UPKEEP_HOME".to_owned(),
            Self::Missing { path } => after_loss(path),
            Self::Locked { .. } => "wait until the other `upkeep` has finished".to_owned(),
            Self::Loose { path, .. } => format!(
                "run `chmod go-rwx {}`, and think about who may have read it",
                path.display()
            ),
            Self::Damaged { path, .. } => after_loss(path),
            Self::Newer { .. } => "use the newer version of this program".to_owned(),
            Self::Io { .. } => {
                "see to the file system (space, permissions), then run the same command again"
                    .to_owned()
            }
            Self::ReadOnly { .. } => "open it with `LicenseStore::open`".to_owned(),
            Self::Unknown { .. } => {
                "open the store again: it holds the old or the new state".to_owned()
            }
        }
    }

    /// A [`StoreError::Io`].
    pub(crate) fn io(path: &Path, error: &io::Error) -> Self {
        Self::Io {
            path: path.to_owned(),
            why: error.to_string(),
        }
    }

    /// A [`StoreError::Damaged`].
    pub(crate) fn damaged(path: impl Into<PathBuf>, why: impl fmt::Display) -> Self {
        Self::Damaged {
            path: path.into(),
            why: why.to_string(),
        }
    }
}

/// What to do when this file of the store is of no use any more.
fn after_loss(path: &Path) -> String {
    let shown = path.display();
    match path.file_name().and_then(OsStr::to_str) {
        Some(DEVICE_KEY) => format!(
            "restore {shown} from a backup; without it this is another device: move the store away, have the vendor's support declare this machine lost, then enroll and activate again"
        ),
        Some(ENROLLMENT) => {
            "run `upkeep enroll` again with the same server and CA: device key and license stay"
                .to_owned()
        }
        Some(STATE) => format!(
            "restore {shown} from a backup, or move it away and activate again: the same device gets its own seat again"
        ),
        _ => format!("see what {shown} is, or name another directory with --store"),
    }
}
