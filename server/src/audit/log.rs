//! Signs checkpoints of a ledger and keeps them.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};

use super::note::{Checkpoint, VerifierKey};
use super::{AuditError, checkpoints_dir};
use crate::keys::file::{self, Access, KeyFileError};
use crate::keys::log::LogKey;
use crate::store::tree::Frontier;
use crate::store::{LedgerFiles, Store};

/// The log of a serving store: its tree, as far as it was walked, and the key.
#[derive(Debug)]
pub struct Log {
    data: PathBuf,
    key: LogKey,
    tree: Mutex<Option<Frontier>>,
}

impl Log {
    /// The log of a data directory. Nothing is read yet.
    pub fn new(data: &Path, key: LogKey) -> Self {
        Self {
            data: data.to_owned(),
            key,
            tree: Mutex::new(None),
        }
    }

    /// The key to check its checkpoints with.
    pub fn verifier(&self) -> &VerifierKey {
        self.key.verifier()
    }

    /// Signs and keeps the checkpoint of all durable entries. The first one after a start reads the ledger from the newest
    /// snapshot on, later ones only what was added. Blocks.
    ///
    /// # Errors
    /// [`AuditError`].
    pub fn checkpoint(&self, store: &Store) -> Result<String, AuditError> {
        let mut held = self.tree.lock().unwrap_or_else(PoisonError::into_inner);
        // Taken out: a walk that fails halfway is begun anew.
        let mut tree = match held.take() {
            Some(tree) => tree,
            None => store.tree()?,
        };
        for entry in store.walk(tree.size().saturating_add(1))? {
            tree.push(&entry?.hash());
        }
        let note = keep(&self.data, &self.key, &tree, store.epoch()?.number())?;
        *held = Some(tree);
        Ok(note)
    }
}

/// Signs and keeps the checkpoint of all entries of a ledger, from its files alone.
///
/// # Errors
/// [`AuditError`].
pub fn checkpoint(data: &Path, key: &LogKey) -> Result<String, AuditError> {
    let ledger = LedgerFiles::open(data)?;
    // A checkpoint of entries that a crash takes away would testify against an honest ledger.
    ledger.sync()?;
    let (tree, epoch) = ledger.tree(data)?;
    keep(data, key, &tree, epoch.number())
}

/// Signs a checkpoint and keeps it, unless one of this size is kept already.
fn keep(data: &Path, key: &LogKey, tree: &Frontier, epoch: u64) -> Result<String, AuditError> {
    let note = key.sign(&Checkpoint {
        origin: key.verifier().name().to_owned(),
        size: tree.size(),
        root: tree.root(),
        epoch,
    });
    let dir = checkpoints_dir(data);
    let path = dir.join(format!("{:020}.note", tree.size()));
    file::make_directory(&dir)?;
    file::sync_directory(data)?;
    match file::write_new(&path, note.as_bytes(), Access::Everyone) {
        Ok(()) | Err(KeyFileError::Exists { .. }) => Ok(note),
        Err(fault) => Err(fault.into()),
    }
}
