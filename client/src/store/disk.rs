//! The file layer under the license store: one private directory, a lock, and files that are replaced whole or not at all.
//!
//! A replacement is: write a temporary file, sync it, rename it over the old one, sync the directory. Whenever the machine stops,
//! the old or the new content stands there, so reading needs no lock. It knows nothing about what the files say; [`crate::store`] does.

#[cfg(test)]
use std::cell::Cell;
use std::fs::{self, DirBuilder, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use zeroize::Zeroizing;

use super::StoreError;
use crate::random;

/// A directory of the store; where it was opened for writing, the lock lasts as long as this value.
#[derive(Debug)]
pub(crate) struct Disk {
    dir: PathBuf,
    _lock: Option<File>,
    #[cfg(test)]
    fuse: Cell<Option<u32>>,
    #[cfg(test)]
    stopped: Cell<bool>,
}

impl Disk {
    /// Opens the directory, makes it first where it is missing, and takes the lock.
    ///
    /// # Errors
    /// [`StoreError`]: as [`Disk::open`], and [`StoreError::Io`] when it can't be made.
    pub(crate) fn create(dir: &Path) -> Result<Self, StoreError> {
        let missing: Vec<&Path> = dir.ancestors().take_while(|dir| !dir.exists()).collect();
        let made = DirBuilder::new().recursive(true).mode(DIR_MODE).create(dir);
        made.map_err(|error| StoreError::io(dir, &error))?;
        let disk = Self::open(dir)?;
        // The last to be made may come from an earlier call that was killed before it synced.
        for made in [dir].into_iter().chain(missing) {
            match made.parent() {
                Some(parent) if parent.as_os_str().is_empty() => sync_dir(Path::new("."))?,
                Some(parent) => sync_dir(parent)?,
                None => {}
            }
        }
        Ok(disk)
    }

    /// Opens an existing directory and takes the lock. Temporary files that a crash left behind are removed.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Loose`], [`StoreError::Locked`], [`StoreError::Io`].
    pub(crate) fn open(dir: &Path) -> Result<Self, StoreError> {
        check_private(dir, fs::Metadata::is_dir)?;
        let path = dir.join(LOCK);
        match check_private(&path, fs::Metadata::is_file) {
            Ok(()) | Err(StoreError::Missing { .. }) => {}
            Err(error) => return Err(error),
        }
        let lock = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .mode(FILE_MODE)
            .open(&path)
            .map_err(|error| StoreError::io(&path, &error))?;
        take(&lock).map_err(|error| match error {
            TryLockError::WouldBlock => StoreError::Locked {
                dir: dir.to_owned(),
            },
            TryLockError::Error(error) => StoreError::io(&path, &error),
        })?;
        let disk = Self::new(dir, Some(lock));
        disk.remove_leftovers()?;
        Ok(disk)
    }

    /// Looks into an existing directory without a lock, changing nothing.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Loose`], [`StoreError::Damaged`], [`StoreError::Io`].
    pub(crate) fn look(dir: &Path) -> Result<Self, StoreError> {
        check_private(dir, fs::Metadata::is_dir)?;
        Ok(Self::new(dir, None))
    }

    fn new(dir: &Path, lock: Option<File>) -> Self {
        Self {
            dir: dir.to_owned(),
            _lock: lock,
            #[cfg(test)]
            fuse: Cell::new(None),
            #[cfg(test)]
            stopped: Cell::new(false),
        }
    }

    /// The directory.
    pub(crate) fn dir(&self) -> &Path {
        &self.dir
    }

    /// The path of a file in it, for messages.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The text of a file, at most 1 MiB, or `None` where there is none.
    ///
    /// # Errors
    /// [`StoreError::Loose`] when others may read or write it, [`StoreError::Damaged`] when it is no text, [`StoreError::Io`].
    pub(crate) fn read(&self, name: &str) -> Result<Option<Zeroizing<String>>, StoreError> {
        let path = self.path(name);
        match check_private(&path, fs::Metadata::is_file) {
            Ok(()) => {}
            Err(StoreError::Missing { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
        let file = File::open(&path).map_err(|error| StoreError::io(&path, &error))?;
        let mut text = Zeroizing::new(String::new());
        match file.take(MAX_LEN).read_to_string(&mut text) {
            Ok(_) => Ok(Some(text)),
            Err(error) if error.kind() == io::ErrorKind::InvalidData => {
                Err(StoreError::damaged(path, "it is not UTF-8 text"))
            }
            Err(error) => Err(StoreError::io(&path, &error)),
        }
    }

    /// Replaces a file: when this returns the new content is durable; when it fails the old or the new one stands there.
    ///
    /// # Errors
    /// [`StoreError::Io`].
    pub(crate) fn replace(&self, name: &str, text: &str) -> Result<(), StoreError> {
        let path = self.path(name);
        // Of its own, because a clock mark is written without the lock: another process's file is not for us to take away or to rename.
        let unique = random::bytes::<8>()
            .map_err(|error| StoreError::io(&path, &io::Error::other(error.to_string())))?;
        let temporary = self.path(&format!(
            "{TEMPORARY}{name}-{:016x}",
            u64::from_be_bytes(unique)
        ));
        self.replace_at(&path, &temporary, text)
            .map_err(|error| StoreError::io(&path, &error))?;
        self.step().map_err(|error| StoreError::io(&path, &error))?;
        sync_dir(&self.dir)
    }

    fn replace_at(&self, path: &Path, temporary: &Path, text: &str) -> io::Result<()> {
        self.step()?;
        let mut file = OpenOptions::new()
            .write(true)
            .create_new(true)
            .mode(FILE_MODE)
            .open(temporary)?;
        let (first, second) = text.as_bytes().split_at(text.len() / 2);
        self.step()?;
        file.write_all(first)?;
        self.step()?;
        file.write_all(second)?;
        self.step()?;
        file.sync_all()?;
        self.step()?;
        fs::rename(temporary, path)
    }

    fn remove_leftovers(&self) -> Result<(), StoreError> {
        let failed = |error: io::Error| StoreError::io(&self.dir, &error);
        for entry in fs::read_dir(&self.dir).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            if entry.file_name().to_string_lossy().starts_with(TEMPORARY) {
                fs::remove_file(entry.path()).map_err(failed)?;
            }
        }
        Ok(())
    }

    /// One file operation is about to happen; in tests the machine may stop here.
    #[cfg(not(test))]
    #[allow(
        clippy::unused_self,
        clippy::unnecessary_wraps,
        reason = "tests count operations here"
    )]
    fn step(&self) -> io::Result<()> {
        Ok(())
    }

    #[cfg(test)]
    fn step(&self) -> io::Result<()> {
        match self.fuse.get() {
            None => Ok(()),
            Some(0) => {
                self.stopped.set(true);
                Err(io::Error::other("the machine stopped here"))
            }
            Some(left) => {
                self.fuse.set(Some(left - 1));
                Ok(())
            }
        }
    }

    /// Lets `operations` more file operations happen and stops every later one, as a machine that lost its power does.
    #[cfg(test)]
    pub(crate) fn stop_after(&self, operations: u32) {
        self.fuse.set(Some(operations));
    }

    /// Whether an operation was stopped.
    #[cfg(test)]
    pub(crate) fn has_stopped(&self) -> bool {
        self.stopped.get()
    }
}

/// Takes the lock. A child that another thread of this process is starting shares every lock until it runs its program, so a lock that
/// was just given up may seem taken for a moment.
fn take(lock: &File) -> Result<(), TryLockError> {
    for _ in 0..TRIES {
        match lock.try_lock() {
            Err(TryLockError::WouldBlock) => thread::sleep(PAUSE),
            taken => return taken,
        }
    }
    lock.try_lock()
}

fn sync_dir(dir: &Path) -> Result<(), StoreError> {
    File::open(dir)
        .and_then(|dir| dir.sync_all())
        .map_err(|error| StoreError::io(dir, &error))
}

/// Refuses what others may use, and symbolic links.
fn check_private(path: &Path, kind: fn(&fs::Metadata) -> bool) -> Result<(), StoreError> {
    let found = fs::symlink_metadata(path).map_err(|error| {
        if error.kind() == io::ErrorKind::NotFound {
            StoreError::Missing {
                path: path.to_owned(),
            }
        } else {
            StoreError::io(path, &error)
        }
    })?;
    if !kind(&found) {
        return Err(StoreError::damaged(
            path,
            "it is a symbolic link or of another kind",
        ));
    }
    let mode = found.mode() & 0o777;
    if mode & 0o077 != 0 {
        return Err(StoreError::Loose {
            path: path.to_owned(),
            mode,
        });
    }
    Ok(())
}

const LOCK: &str = "lock";
const TEMPORARY: &str = ".new-";
const DIR_MODE: u32 = 0o700;
const FILE_MODE: u32 = 0o600;
const TRIES: u32 = 10;
const PAUSE: Duration = Duration::from_millis(5);
const MAX_LEN: u64 = 1024 * 1024;
