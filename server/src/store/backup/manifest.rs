//! What a backup says of itself: `manifest.json`.

use std::fs;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{BackupError, FORMAT, Head, MANIFEST, hex};

/// What a backup holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Manifest {
    pub(super) format: u32,
    pub(super) store_format: u32,
    /// The last entry.
    pub sequence: u64,
    /// Its hash (SHA-256, hex).
    pub hash: String,
    /// The epoch of the store.
    pub epoch: u64,
    /// When the last entry was written: milliseconds since 1970 UTC.
    pub newest_unix_ms: i64,
    /// The last entry when the keys were sealed; `None` where there are none. Keys that are younger are not in the backup.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub keys_sealed_at: Option<u64>,
    /// The files, by name within the backup.
    pub files: Vec<FileSum>,
}

/// One file of a backup.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSum {
    /// Its name within the backup.
    pub name: String,
    /// So many bytes of it count.
    pub bytes: u64,
    /// Their SHA-256 (hex).
    pub sha256: String,
    /// The name of the file that holds them, if it is another one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub stored: Option<String>,
}

impl FileSum {
    /// Of a file that may change: it stands under its name and its SHA-256.
    pub(super) fn of_changeable(name: String, bytes: &[u8]) -> Self {
        let sha256 = hex(&Sha256::digest(bytes));
        Self {
            bytes: bytes.len() as u64,
            stored: Some(format!("{name}.{sha256}")),
            sha256,
            name,
        }
    }

    /// The name of the file that holds it, within the backup.
    pub fn stored(&self) -> &str {
        self.stored.as_deref().unwrap_or(&self.name)
    }
}

impl Manifest {
    /// Reads the manifest of a backup.
    ///
    /// # Errors
    /// [`BackupError::Missing`], [`BackupError::Newer`], [`BackupError::Damaged`], [`BackupError::Io`].
    pub fn read(backup: &Path) -> Result<Self, BackupError> {
        let path = backup.join(MANIFEST);
        let text = fs::read(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BackupError::Missing {
                dir: backup.to_owned(),
            },
            _ => BackupError::io("read", &path)(error),
        })?;
        let manifest: Self = serde_json::from_slice(&text)
            .map_err(|error| BackupError::damaged(&path, error.to_string()))?;
        let found = manifest.format.max(manifest.store_format);
        if found > FORMAT {
            return Err(BackupError::Newer { file: path, found });
        }
        // A name is joined to directories: it must stay inside them.
        let is_inside = |name: &str| {
            let parts: Vec<_> = name.split('/').collect();
            parts.len() <= 2
                && parts
                    .iter()
                    .all(|part| !part.is_empty() && *part != "." && *part != "..")
        };
        let inside = |file: &FileSum| is_inside(&file.name) && is_inside(file.stored());
        match manifest.files.iter().all(inside) && manifest.head().is_some() {
            true => Ok(manifest),
            false => Err(BackupError::damaged(&path, "it names files outside of it")),
        }
    }

    /// The last entry; `None` if the hash is none.
    pub fn head(&self) -> Option<Head> {
        let hash = data_encoding::HEXLOWER.decode(self.hash.as_bytes()).ok()?;
        Some(Head::new(self.sequence, hash.try_into().ok()?))
    }

    /// The names of the ledger's segments in their directory, in order.
    pub(in crate::store) fn segments(&self) -> Vec<String> {
        let names = self.files.iter().map(|file| &file.name);
        let segments = names.filter_map(|name| name.strip_prefix("ledger/"));
        let mut segments: Vec<_> = segments.map(str::to_owned).collect();
        segments.sort();
        segments
    }

    /// The bytes of all files.
    pub fn bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }

    /// The sum of a file by its name.
    pub fn known(&self, name: &str) -> Option<&FileSum> {
        self.files.iter().find(|file| file.name == name)
    }
}
