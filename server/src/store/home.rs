//! The data directory itself: who may use it, which format it has, and the reserve for a full disk.

use std::fs::{File, OpenOptions, TryLockError};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use super::error::{StoreError, is_full};
use super::fs::{self, Access, Fs};

/// The format of the data directory that this release reads and writes.
pub const FORMAT: u32 = 1;

const LOCK_ATTEMPTS: u32 = 10;
const BETWEEN_ATTEMPTS: Duration = Duration::from_millis(20);

/// What stands before the number in `meta`.
const META: &str = "upkeep store, format ";

/// A data directory that is held by this process alone.
pub(super) struct Home {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    established: bool,
    /// Held until this is dropped.
    _lock: File,
}

impl Home {
    /// True if a store was created in the directory.
    pub(super) fn is_store(fs: &dyn Fs, dir: &Path) -> Result<bool, StoreError> {
        let meta = dir.join("meta");
        fs.exists(&meta)
            .map_err(|error| StoreError::io("look for", &meta, error))
    }

    /// Takes the directory for this process; makes it first if `create` is set.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::Newer`],
    /// [`StoreError::Damaged`], [`StoreError::Io`].
    pub(super) fn take(fs: Arc<dyn Fs>, dir: &Path, create: bool) -> Result<Self, StoreError> {
        if !create {
            check_store(&*fs, dir)?;
        } else if !Self::is_store(&*fs, dir)? {
            fs.create_dir(dir)
                .map_err(|error| StoreError::io("create", dir, error))?;
        }
        let lock = lock(dir)?;
        // Asked again: another process may have created the store meanwhile.
        let established = Self::is_store(&*fs, dir)?;
        let home = Self {
            fs,
            dir: dir.to_owned(),
            established,
            _lock: lock,
        };
        if established {
            check_format(&*home.fs, dir)?;
        }
        Ok(home)
    }

    /// True if the store was there when the directory was taken.
    pub(super) fn is_established(&self) -> bool {
        self.established
    }

    /// Records, as the last step of a creation, that the store is there.
    pub(super) fn establish(&self) -> Result<(), StoreError> {
        write_meta(&*self.fs, &self.dir)?;
        match self
            .dir
            .parent()
            .filter(|parent| !parent.as_os_str().is_empty())
        {
            Some(parent) => self
                .fs
                .sync_dir(parent)
                .map_err(|error| StoreError::io("sync", parent, error)),
            None => Ok(()),
        }
    }

    /// Keeps a reserve of so many bytes, or gives it up if the disk is full: the index cannot be
    /// opened without space.
    ///
    /// With a reserve in place an eighth of it is probed; once it is spent, a start needs that much
    /// free.
    ///
    /// # Errors
    /// [`StoreError::Full`] if the disk is full and there is no reserve left to give.
    pub(super) fn mind_space(&self, bytes: usize) -> Result<(), StoreError> {
        let reserve = self.dir.join("reserve");
        let probe = self.dir.join("probe");
        // One that was half written when the server was killed is none.
        let held = match self.fs.open(&reserve, Access::Read) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
            file => file
                .and_then(|file| file.len())
                .map(|length| length >= bytes as u64),
        };
        let held = held.map_err(|error| StoreError::io("look for", &reserve, error))?;
        let target = if held {
            (&probe, bytes / 8)
        } else {
            (&reserve, bytes)
        };
        match self.fill(target.0, target.1) {
            Ok(()) if held => self.remove(&probe),
            Ok(()) => Ok(()),
            Err(error) if is_full(&error) && held => {
                self.remove(&probe)?;
                self.remove(&reserve)?;
                tracing::error!(
                    dir = %self.dir.display(),
                    "the disk is full; the reserve was given up to start once more: free space now"
                );
                Ok(())
            }
            Err(error) if is_full(&error) => {
                self.remove(&reserve)?;
                self.probe(&probe, bytes)
            }
            Err(error) => Err(StoreError::io("write", target.0, error)),
        }
    }

    fn probe(&self, probe: &Path, bytes: usize) -> Result<(), StoreError> {
        let filled = self.fill(probe, bytes / 8);
        self.remove(probe)?;
        match filled {
            Ok(()) => {
                tracing::error!(dir = %self.dir.display(), "the disk is nearly full: free space now");
                Ok(())
            }
            Err(error) if is_full(&error) => Err(StoreError::Full {
                dir: self.dir.clone(),
                needed: bytes as u64,
            }),
            Err(error) => Err(StoreError::io("write", probe, error)),
        }
    }

    fn fill(&self, path: &Path, bytes: usize) -> io::Result<()> {
        let mut file = self.fs.open(path, Access::Create)?;
        // Zeros could be stored as a hole on some file systems.
        file.write_at(&vec![0xA5; bytes], 0)?;
        file.sync()
    }

    fn remove(&self, path: &Path) -> Result<(), StoreError> {
        match self.fs.remove_file(path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(StoreError::io("remove", path, error))
            }
            _ => Ok(()),
        }
    }
}

/// Refuses a format that is not ours.
///
/// # Errors
/// [`StoreError::Newer`], [`StoreError::Damaged`], [`StoreError::Io`].
pub(super) fn check_format(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    let meta = dir.join("meta");
    let bytes = fs::read_small(fs, &meta);
    let bytes = bytes.map_err(|error| StoreError::io("read", &meta, error))?;
    let text = bytes
        .and_then(|bytes| String::from_utf8(bytes).ok())
        .unwrap_or_default();
    let number = text
        .strip_prefix(META)
        .and_then(|rest| rest.strip_suffix('\n'));
    match number.and_then(|number| number.parse::<u32>().ok()) {
        Some(FORMAT) => Ok(()),
        Some(found) if found > FORMAT => Err(StoreError::Newer {
            file: meta,
            found,
            known: FORMAT,
        }),
        _ => Err(StoreError::Damaged {
            why: "it does not say which format the store has".into(),
            what_to_do: format!("restore it from a backup, it is one line: `{META}{FORMAT}`"),
            file: meta,
        }),
    }
}

/// Refuses a directory that has no `meta`. One in which a ledger lies has lost it.
///
/// # Errors
/// [`StoreError::Missing`], [`StoreError::Damaged`], [`StoreError::Io`].
pub(super) fn check_store(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    if Home::is_store(fs, dir)? {
        return Ok(());
    }
    let ledger = fs.list(&dir.join("ledger")).unwrap_or_default();
    if ledger.is_empty() {
        return Err(StoreError::Missing {
            dir: dir.to_owned(),
        });
    }
    Err(StoreError::Damaged {
        file: dir.join("meta"),
        why: "it is not there, although a ledger is".into(),
        what_to_do: format!(
            "put it back, it is one line: `{META}{FORMAT}`; only after an `upkeep-server init` that was interrupted, run that again"
        ),
    })
}

/// Says in a directory that holds a whole ledger that a store is there.
pub(super) fn establish(dir: &Path) -> Result<(), StoreError> {
    write_meta(&fs::RealFs, dir)
}

fn write_meta(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
    let meta = dir.join("meta");
    let line = format!("{META}{FORMAT}\n");
    let written = fs::replace_small(fs, &meta, line.as_bytes());
    written.map_err(|error| StoreError::io("write", &meta, error))
}

/// Locks a file for this process alone, as long as it is open.
///
/// A child of this process has its locks, too, from the moment of its fork until it is another program, so what is held is tried
/// again for a fifth of a second.
///
/// # Errors
/// [`TryLockError::WouldBlock`] when another process has it.
pub(super) fn take_lock(file: &File) -> Result<(), TryLockError> {
    for _ in 0..LOCK_ATTEMPTS {
        match file.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(BETWEEN_ATTEMPTS),
            locked => return locked,
        }
    }
    file.try_lock()
}

fn lock(dir: &Path) -> Result<File, StoreError> {
    let path = dir.join("lock");
    let file = OpenOptions::new()
        .create(true)
        .truncate(false)
        .write(true)
        .open(&path);
    let file = file.map_err(|error| StoreError::io("open", &path, error))?;
    match take_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            dir: dir.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
    }
}
