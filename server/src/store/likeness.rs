//! A likeness of a store in another place, for whoever wants to open it and must change nothing: opening repairs, and the index engine
//! writes whenever it is open.
//!
//! What nobody writes to any more, the sealed segments of the ledger and the snapshots, is linked; the rest is copied. The space of the
//! index is needed for it, and what a check makes comes on top.

use std::fs::{self, File, TryLockError};
use std::io;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use tempfile::TempDir;

use super::error::StoreError;
use super::fs::RealFs;
use super::home;
use super::look::IndexState;
use super::marker::Marker;
use super::segment;

/// A likeness; it is gone when this is dropped. As long as it is there, no server takes the store that it was made of, if that has a file `lock`:
/// whoever made one without (a copy, a backup put back by hand) must not start a server on it meanwhile.
pub struct Likeness {
    of: PathBuf,
    made: TempDir,
    _lock: Option<File>,
}

impl Likeness {
    /// Makes a likeness of the store in `data`, which no server may be using, in the system's directory for temporary files.
    ///
    /// # Errors
    /// [`StoreError::Missing`], [`StoreError::Locked`], [`StoreError::Io`].
    pub fn of(data: &Path) -> Result<Self, StoreError> {
        home::check_store(&RealFs, data)?;
        let lock = lock(data)?;
        let io = |error| StoreError::io("resolve", data, error);
        let whole = fs::canonicalize(data).map_err(io)?;
        let temporary = std::env::temp_dir();
        let made = tempfile::Builder::new().prefix("upkeep-check-").tempdir();
        let made = made.map_err(|error| StoreError::io("write to", &temporary, error))?;
        for name in ["meta", "index.state"] {
            copy_if_there(&whole.join(name), &made.path().join(name))?;
        }
        copy_tree(&whole.join("index"), &made.path().join("index"))?;
        // A copy of an index that was left open is not believed, but nobody wrote to this one meanwhile.
        if Marker::read(&RealFs, &whole)?.index_state(&RealFs) == IndexState::Open {
            Marker::read(&RealFs, made.path())?.set_open(&RealFs)?;
        }
        let ledger = names(&whole.join("ledger"))?;
        let segments = ledger
            .iter()
            .filter(|name| segment::first_of(name).is_some());
        // A start may write to the last one; and where that was never begun, it is removed, and the one before is the last.
        let sealed = segments.clone().count().saturating_sub(2);
        lay(
            &whole.join("ledger"),
            &made.path().join("ledger"),
            segments,
            sealed,
        )?;
        let snapshots = names(&whole.join("snapshots"))?;
        lay(
            &whole.join("snapshots"),
            &made.path().join("snapshots"),
            snapshots.iter(),
            snapshots.len(),
        )?;
        Ok(Self {
            of: data.to_owned(),
            made,
            _lock: lock,
        })
    }

    /// Where it is.
    pub fn dir(&self) -> &Path {
        self.made.path()
    }

    /// A fault of the likeness as one of the store that it was made of: the same files, by their own names.
    #[must_use]
    pub fn fault(&self, fault: StoreError) -> StoreError {
        let path = |path: PathBuf| match path.strip_prefix(self.dir()) {
            Ok(inside) => self.of.join(inside),
            Err(_) => path,
        };
        let (here, there) = (self.dir().display(), self.of.display());
        let text = |text: String| text.replace(&here.to_string(), &there.to_string());
        match fault {
            StoreError::Missing { dir } => StoreError::Missing { dir: path(dir) },
            StoreError::Locked { dir } => StoreError::Locked { dir: path(dir) },
            StoreError::Damaged {
                file,
                why,
                what_to_do,
            } => StoreError::Damaged {
                file: path(file),
                why: text(why),
                what_to_do: text(what_to_do),
            },
            StoreError::Newer { file, found, known } => StoreError::Newer {
                file: path(file),
                found,
                known,
            },
            StoreError::Index { dir, why } => StoreError::Index {
                dir: path(dir),
                why: text(why),
            },
            // It is this place that has no room, or cannot be written to.
            fault => fault,
        }
    }
}

/// Keeps servers away, without a trace: a lock file that is not there is not made, for nobody holds it.
fn lock(data: &Path) -> Result<Option<File>, StoreError> {
    let path = data.join("lock");
    let file = match File::open(&path) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        opened => opened.map_err(|error| StoreError::io("open", &path, error))?,
    };
    match home::take_lock(&file) {
        Ok(()) => Ok(Some(file)),
        Err(TryLockError::WouldBlock) => Err(StoreError::Locked {
            dir: data.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(StoreError::io("lock", &path, error)),
    }
}

/// The names in a directory, sorted; none where there is no directory.
fn names(dir: &Path) -> Result<Vec<String>, StoreError> {
    use super::fs::Fs;

    match RealFs.list(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(Vec::new()),
        listed => listed.map_err(|error| StoreError::io("list", dir, error)),
    }
}

/// Lays files of one directory into another, the first `linked` of them as links.
fn lay<'a>(
    from: &Path,
    to: &Path,
    names: impl Iterator<Item = &'a String>,
    linked: usize,
) -> Result<(), StoreError> {
    fs::create_dir(to).map_err(|error| StoreError::io("create", to, error))?;
    for (at, name) in names.enumerate() {
        let (from, to) = (from.join(name), to.join(name));
        match at < linked {
            true => symlink(&from, &to).map_err(|error| StoreError::io("link", &to, error))?,
            false => copy(&from, &to)?,
        }
    }
    Ok(())
}

fn copy_tree(from: &Path, to: &Path) -> Result<(), StoreError> {
    if !from.is_dir() {
        return copy_if_there(from, to);
    }
    fs::create_dir(to).map_err(|error| StoreError::io("create", to, error))?;
    for name in names(from)? {
        copy_tree(&from.join(&name), &to.join(&name))?;
    }
    Ok(())
}

fn copy_if_there(from: &Path, to: &Path) -> Result<(), StoreError> {
    match from.exists() {
        true => copy(from, to),
        false => Ok(()),
    }
}

fn copy(from: &Path, to: &Path) -> Result<(), StoreError> {
    let copied = fs::copy(from, to).map(drop);
    copied.map_err(|error| StoreError::io("copy", from, error))
}

#[cfg(test)]
mod tests {
    use super::super::{Options, Store, Writer, verify};
    use super::*;

    fn options(dir: &Path) -> Options {
        let options = Options::new(dir).writer(Writer::Caller);
        options.segment_bytes(1_000).reserve_bytes(0)
    }

    /// A store of several segments and with a snapshot.
    async fn store(dir: &Path) -> Store {
        let store = Store::open(options(dir).create(true)).unwrap();
        for n in 0..9_u8 {
            let add = move |tx: &mut super::super::Tx<'_>| {
                tx.put(vec![b'k', n], vec![n; 400]);
                Ok::<_, StoreError>(())
            };
            store.transact("test", add).await.unwrap();
        }
        store.snapshot().unwrap();
        store
    }

    #[tokio::test]
    async fn it_is_a_store_of_its_own_and_holds_the_first_one_meanwhile() {
        let dir = tempfile::tempdir().unwrap();
        let open = store(dir.path()).await;
        assert!(matches!(
            Likeness::of(dir.path()),
            Err(StoreError::Locked { .. })
        ));
        let state = open.state_hash().unwrap();
        open.close().unwrap();

        let likeness = Likeness::of(dir.path()).unwrap();
        let links = |name: &str| {
            let found = fs::read_dir(likeness.dir().join(name)).unwrap();
            let links = found.filter(|entry| {
                let path = entry.as_ref().unwrap().path();
                path.symlink_metadata().unwrap().is_symlink()
            });
            links.count()
        };
        // Two entries fill a segment, so there are five.
        assert_eq!((links("ledger"), links("snapshots")), (3, 1));
        assert!(matches!(
            Store::open(options(dir.path())),
            Err(StoreError::Locked { .. })
        ));
        let verified = verify(options(likeness.dir())).unwrap();
        assert_eq!((verified.state(), verified.snapshots()), (state, 1));
        // What is written there is not written here.
        let other = Store::open(options(likeness.dir())).unwrap();
        let delete = |tx: &mut super::super::Tx<'_>| {
            tx.delete(b"k\x01".to_vec());
            Ok::<_, StoreError>(())
        };
        other.transact("test", delete).await.unwrap();
        other.close().unwrap();
        let gone = likeness.dir().to_owned();
        drop(likeness);
        assert!(!gone.exists());
        let again = Store::open(options(dir.path())).unwrap();
        assert_eq!(again.state_hash().unwrap(), state);
        again.close().unwrap();
    }

    #[tokio::test]
    async fn the_index_of_a_killed_server_is_looked_at_and_not_made_anew() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path()).await.close().unwrap();
        let mut marker = Marker::read(&RealFs, dir.path()).unwrap();
        marker.set_open(&RealFs).unwrap();
        let likeness = Likeness::of(dir.path()).unwrap();
        let marker = Marker::read(&RealFs, likeness.dir()).unwrap();
        assert_eq!(marker.index_state(&RealFs), IndexState::Open);
        // One that a start would not believe is not believed here either.
        fs::write(dir.path().join("index.state"), "open another run\n").unwrap();
        drop(likeness);
        let likeness = Likeness::of(dir.path()).unwrap();
        let marker = Marker::read(&RealFs, likeness.dir()).unwrap();
        assert_eq!(marker.index_state(&RealFs), IndexState::LeftOpen);
    }

    #[tokio::test]
    async fn damage_has_the_name_of_the_file_that_it_is_in() {
        let dir = tempfile::tempdir().unwrap();
        store(dir.path()).await.close().unwrap();
        let segment = dir.path().join("ledger").join(segment::file_name(1));
        let mut bytes = fs::read(&segment).unwrap();
        bytes[100] ^= 1;
        fs::write(&segment, bytes).unwrap();
        let likeness = Likeness::of(dir.path()).unwrap();
        let fault = verify(options(likeness.dir())).unwrap_err();
        let text = likeness.fault(fault).to_string();
        assert!(text.contains(segment.to_str().unwrap()), "{text}");
        let elsewhere = likeness.dir().to_str().unwrap();
        assert!(!text.contains(elsewhere), "{text}");
    }
}
