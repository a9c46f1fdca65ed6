//! The ledger's file layer, timed: what its syncs take and what is written. It changes nothing and is over any other layer.

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::time::Instant;

use crate::metrics::Metrics;
use crate::store::{Access, Fs, FsFile};

/// A file layer whose ledger files are timed.
pub struct TimedFs {
    under: Arc<dyn Fs>,
    metrics: Arc<Metrics>,
}

impl TimedFs {
    /// Times what `under` does.
    pub fn new(under: Arc<dyn Fs>, metrics: Arc<Metrics>) -> Self {
        Self { under, metrics }
    }
}

impl Fs for TimedFs {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.under.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.under.sync_dir(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.under.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        self.under.exists(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        let file = self.under.open(path, access)?;
        let of_ledger = path.parent().is_some_and(|dir| dir.ends_with("ledger"));
        if !of_ledger || access == Access::Read {
            return Ok(file);
        }
        let metrics = Arc::clone(&self.metrics);
        Ok(Box::new(TimedFile { file, metrics }))
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
}

struct TimedFile {
    file: Box<dyn FsFile>,
    metrics: Arc<Metrics>,
}

impl FsFile for TimedFile {
    fn read_at(&mut self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)?;
        self.metrics.wrote(bytes.len());
        Ok(())
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        let started = Instant::now();
        self.file.sync()?;
        self.metrics.synced(started.elapsed());
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
