//! One key file: read it only when nobody else can, write it once and whole.
//!
//! The caller knows what stands in the file; here are only bytes, permissions and durability.

use std::fs::{self, File, Permissions};
use std::io::{self, Read, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use zeroize::Zeroizing;

/// Why a key file cannot be read or made. Every message names the file and what to do.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum KeyFileError {
    /// The file is not there.
    #[error(
        "{} is missing; restore it from your copy of the keys, or make a new data directory with `upkeep-server init`", .path.display()
    )]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// Somebody other than the owner may read or write the file.
    #[error("{} may be used by other users (mode {mode:04o}); run `chmod 600 {}`", .path.display(), .path.display())]
    Loose {
        /// The file.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
    /// The file is there already; nothing overwrites a key.
    #[error(
        "{} exists and keys are never overwritten; move it away first if you are sure that nothing needs it", .path.display()
    )]
    Exists {
        /// The file or directory.
        path: PathBuf,
    },
    /// The contents are not what belongs there.
    #[error("{} holds no usable key: {reason}; restore it from your copy of the keys", .path.display())]
    Malformed {
        /// The file.
        path: PathBuf,
        /// What is wrong with it; never a part of the contents.
        reason: String,
    },
    /// The operating system refused.
    #[error("{} cannot be {attempt}: {source}; check the path, its owner and the free space", .path.display())]
    Io {
        /// The file or directory.
        path: PathBuf,
        /// "read" or "written".
        attempt: &'static str,
        /// What the operating system said.
        source: io::Error,
    },
}

impl KeyFileError {
    /// The contents of `path` are wrong, for `reason`.
    pub fn malformed(path: &Path, reason: impl ToString) -> Self {
        Self::Malformed {
            path: path.to_owned(),
            reason: reason.to_string(),
        }
    }
}

/// Who may read a new file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Access {
    /// Mode 0600: private keys and secrets.
    Owner,
    /// Mode 0644: certificates.
    Everyone,
}

/// Reads a secret file of at most 64 KiB; the permissions are those of the opened file, not of its name.
///
/// # Errors
/// [`KeyFileError::Missing`], [`KeyFileError::Loose`], [`KeyFileError::Malformed`] when too long, [`KeyFileError::Io`].
pub fn read_secret(path: &Path) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    let file = open(path)?;
    let metadata = file.metadata().map_err(|e| unreadable(path, e))?;
    let mode = metadata.permissions().mode() & 0o7777;
    if mode & 0o077 != 0 {
        return Err(KeyFileError::Loose {
            path: path.to_owned(),
            mode,
        });
    }
    read(path, &file)
}

/// Reads a public file, such as a certificate, of at most 64 KiB.
///
/// # Errors
/// As [`read_secret`], without [`KeyFileError::Loose`].
pub fn read_public(path: &Path) -> Result<Vec<u8>, KeyFileError> {
    let file = open(path)?;
    read(path, &file).map(|bytes| bytes.to_vec())
}

/// Writes a new file so that it is there with all its bytes, durably, or not at all.
///
/// # Errors
/// [`KeyFileError::Exists`] and nothing is touched; [`KeyFileError::Io`].
pub fn write_new(path: &Path, bytes: &[u8], access: Access) -> Result<(), KeyFileError> {
    beside(path, bytes, access)?
        .persist_noclobber(path)
        .map_err(|e| match e.error.kind() {
            io::ErrorKind::AlreadyExists => KeyFileError::Exists {
                path: path.to_owned(),
            },
            _ => unwritable(path, e.error),
        })?;
    sync_directory(directory_of(path))
}

/// Writes a file in the place of one that may be there, whole and durably: for what can be issued again, never for a key that is needed.
///
/// # Errors
/// [`KeyFileError::Io`]; what was there stays.
pub(crate) fn replace(path: &Path, bytes: &[u8], access: Access) -> Result<(), KeyFileError> {
    beside(path, bytes, access)?
        .persist(path)
        .map_err(|e| unwritable(path, e.error))?;
    sync_directory(directory_of(path))
}

/// A synced file beside `path`, to be renamed.
fn beside(
    path: &Path,
    bytes: &[u8],
    access: Access,
) -> Result<tempfile::NamedTempFile, KeyFileError> {
    let mut file = new_file(directory_of(path), access).map_err(|e| unwritable(path, e))?;
    file.write_all(bytes)
        .and_then(|()| file.as_file().sync_all())
        .map_err(|e| unwritable(path, e))?;
    Ok(file)
}

fn directory_of(path: &Path) -> &Path {
    match path.parent() {
        Some(directory) if !directory.as_os_str().is_empty() => directory,
        _ => Path::new("."),
    }
}

/// Writes new files into one directory, as [`write_new`] does each, but with one sync for all of them. A file that is there already
/// stays as it is.
///
/// # Errors
/// [`KeyFileError::Io`]; some of them may be there then, whole.
pub(crate) fn write_new_all(
    directory: &Path,
    files: &[(&Path, &[u8])],
    access: Access,
) -> Result<(), KeyFileError> {
    let mut written = Vec::with_capacity(files.len());
    for (path, bytes) in files {
        let mut file = new_file(directory, access).map_err(|e| unwritable(path, e))?;
        file.write_all(bytes).map_err(|e| unwritable(path, e))?;
        // Closed here: there may be more of them than open files are allowed.
        written.push((*path, file.into_temp_path()));
    }
    if written.is_empty() {
        return Ok(());
    }
    sync_contents(directory, &written).map_err(|e| unwritable(directory, e))?;
    for (path, file) in written {
        match file.persist_noclobber(path) {
            Err(e) if e.error.kind() != io::ErrorKind::AlreadyExists => {
                return Err(unwritable(path, e.error));
            }
            _ => {}
        }
    }
    sync_directory(directory)
}

/// One sync of the file system for many files; where there is none, one for each.
#[cfg(target_os = "linux")]
fn sync_contents(directory: &Path, _files: &[(&Path, tempfile::TempPath)]) -> io::Result<()> {
    Ok(rustix::fs::syncfs(File::open(directory)?)?)
}

#[cfg(not(target_os = "linux"))]
fn sync_contents(_directory: &Path, files: &[(&Path, tempfile::TempPath)]) -> io::Result<()> {
    files
        .iter()
        .try_for_each(|(_, file)| File::open(file)?.sync_all())
}

fn new_file(directory: &Path, access: Access) -> io::Result<tempfile::NamedTempFile> {
    let mode = match access {
        Access::Owner => 0o600,
        Access::Everyone => 0o644,
    };
    tempfile::Builder::new()
        .prefix(".new-")
        .permissions(Permissions::from_mode(mode))
        .tempfile_in(directory)
}

/// Makes `directory` for its owner alone; it may be there already.
///
/// # Errors
/// [`KeyFileError::Io`].
pub(crate) fn make_directory(directory: &Path) -> Result<(), KeyFileError> {
    if directory.is_dir() {
        return Ok(());
    }
    fs::create_dir_all(directory)
        .and_then(|()| fs::set_permissions(directory, Permissions::from_mode(0o700)))
        .map_err(|e| unwritable(directory, e))
}

/// Makes the names inside `directory` durable.
///
/// # Errors
/// [`KeyFileError::Io`].
pub(crate) fn sync_directory(directory: &Path) -> Result<(), KeyFileError> {
    let directory = if directory.as_os_str().is_empty() {
        Path::new(".")
    } else {
        directory
    };
    File::open(directory)
        .and_then(|opened| opened.sync_all())
        .map_err(|e| unwritable(directory, e))
}

/// The operating system did not let us write.
pub(super) fn unwritable(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        attempt: "written",
        source,
    }
}

fn unreadable(path: &Path, source: io::Error) -> KeyFileError {
    KeyFileError::Io {
        path: path.to_owned(),
        attempt: "read",
        source,
    }
}

fn open(path: &Path) -> Result<File, KeyFileError> {
    File::open(path).map_err(|e| match e.kind() {
        io::ErrorKind::NotFound => KeyFileError::Missing {
            path: path.to_owned(),
        },
        _ => unreadable(path, e),
    })
}

fn read(path: &Path, file: &File) -> Result<Zeroizing<Vec<u8>>, KeyFileError> {
    // Reserved at once: a vector that grows leaves copies of the secret behind.
    let mut bytes = Zeroizing::new(Vec::with_capacity(MAX_BYTES));
    file.take(READ_LIMIT)
        .read_to_end(&mut bytes)
        .map_err(|e| unreadable(path, e))?;
    if bytes.len() >= MAX_BYTES {
        return Err(KeyFileError::malformed(path, "it is longer than 64 KiB"));
    }
    Ok(bytes)
}

const MAX_BYTES: usize = 64 * 1024;
const READ_LIMIT: u64 = 64 * 1024;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_is_written_once_for_its_owner_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pepper");
        write_new(&path, b"first", Access::Owner).unwrap();
        assert!(matches!(
            write_new(&path, b"second", Access::Owner),
            Err(KeyFileError::Exists { .. })
        ));
        assert_eq!(read_secret(&path).unwrap().as_slice(), b"first");
        let mode = fs::metadata(&path).unwrap().permissions().mode();
        assert_eq!(mode & 0o7777, 0o600);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "no remains");
    }

    #[test]
    fn loose_and_missing_files_are_refused_with_the_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("pepper");
        let missing = read_secret(&path).unwrap_err().to_string();
        assert!(missing.contains("pepper is missing") && missing.contains("upkeep-server init"));
        for mode in [0o640, 0o604, 0o660] {
            fs::write(&path, b"x").unwrap();
            fs::set_permissions(&path, Permissions::from_mode(mode)).unwrap();
            let loose = read_secret(&path).unwrap_err().to_string();
            assert!(
                loose.contains("chmod 600") && loose.contains("pepper"),
                "{loose}"
            );
        }
    }

    #[test]
    fn an_endless_file_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("tls.crt");
        fs::write(&path, vec![0; MAX_BYTES]).unwrap();
        assert!(matches!(
            read_public(&path),
            Err(KeyFileError::Malformed { .. })
        ));
    }
}
