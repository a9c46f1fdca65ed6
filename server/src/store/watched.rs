//! A file layer over another one, whose calls are watched: to time them, and in tests to count them, to let them wait or fail.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::fs::{Access, Fs, FsFile};

/// What is told of the calls that pass. By default nothing is done about them.
pub trait Watch: Send + Sync + 'static {
    /// So many bytes of a file were read.
    fn read(&self, _file: &Path, _bytes: usize) {}

    /// So many bytes of a file were written.
    fn wrote(&self, _file: &Path, _bytes: usize) {}

    /// A file or a directory is to be made durable: `sync` does it.
    ///
    /// # Errors
    /// Those of `sync`, or in its place.
    fn sync(&self, _path: &Path, sync: &mut dyn FnMut() -> io::Result<()>) -> io::Result<()> {
        sync()
    }
}

/// A file layer whose calls are watched.
pub struct Watched {
    under: Arc<dyn Fs>,
    watch: Arc<dyn Watch>,
}

impl Watched {
    /// Lets `watch` see what passes to `under`.
    pub fn new(under: Arc<dyn Fs>, watch: Arc<impl Watch>) -> Self {
        Self { under, watch }
    }
}

impl Fs for Watched {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.under.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.watch.sync(dir, &mut || self.under.sync_dir(dir))
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.under.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.under.exists(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        Ok(Box::new(WatchedFile {
            under: self.under.open(path, access)?,
            path: path.to_owned(),
            watch: Arc::clone(&self.watch),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.under.rename(from, to)
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        self.under.remove_file(path)
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.under.remove_tree(path)
    }

    fn boot_id(&self) -> Option<String> {
        self.under.boot_id()
    }

    fn free(&self, dir: &Path) -> io::Result<u64> {
        self.under.free(dir)
    }
}

struct WatchedFile {
    under: Box<dyn FsFile>,
    path: PathBuf,
    watch: Arc<dyn Watch>,
}

impl FsFile for WatchedFile {
    fn read_at(&mut self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let bytes = self.under.read_at(into, offset)?;
        self.watch.read(&self.path, bytes);
        Ok(bytes)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.under.write_at(bytes, offset)?;
        self.watch.wrote(&self.path, bytes.len());
        Ok(())
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.under.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        let under = &mut self.under;
        self.watch.sync(&self.path, &mut || under.sync())
    }

    fn len(&self) -> io::Result<u64> {
        self.under.len()
    }
}
