//! A disk whose syncs wait at a gate: what is committed while it is shut is answered when the test opens it, and not before.

use std::io;
use std::path::Path;
use std::sync::{Arc, Condvar, Mutex};

use upkeep_server::store::{Access, Fs, FsFile};

/// The gate of one disk.
#[derive(Clone, Default)]
pub(crate) struct Gate(Arc<(Mutex<bool>, Condvar)>);

impl Gate {
    /// Shuts it for as long as the answer lives, so that no test ends with a store that waits for ever.
    pub(crate) fn shut(&self) -> Shut {
        *self.0.0.lock().unwrap() = true;
        Shut(self.clone())
    }

    /// The file layer `under`, behind this gate.
    pub(crate) fn before(&self, under: Arc<dyn Fs>) -> Gated {
        let gate = self.clone();
        Gated { under, gate }
    }

    fn pass(&self) {
        let (is_shut, opened) = &*self.0;
        drop(
            opened
                .wait_while(is_shut.lock().unwrap(), |is_shut| *is_shut)
                .unwrap(),
        );
    }
}

/// Dropped, it opens the gate.
pub(crate) struct Shut(Gate);

impl Drop for Shut {
    fn drop(&mut self) {
        let (is_shut, opened) = &*self.0.0;
        *is_shut.lock().unwrap() = false;
        opened.notify_all();
    }
}

/// A file layer behind a gate.
pub(crate) struct Gated {
    under: Arc<dyn Fs>,
    gate: Gate,
}

impl Fs for Gated {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.under.create_dir(dir)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.gate.pass();
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
        let gate = self.gate.clone();
        Ok(Box::new(GatedFile { file, gate }))
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

struct GatedFile {
    file: Box<dyn FsFile>,
    gate: Gate,
}

impl FsFile for GatedFile {
    fn read_at(&mut self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_at(bytes, offset)
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        self.file.set_len(length)
    }

    fn sync(&mut self) -> io::Result<()> {
        self.gate.pass();
        self.file.sync()
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
