//! A restore: a new data directory from a backup, up to any of its entries.
//!
//! It works in a directory beside the place it was told, and gives it its name when everything is there; nothing is ever
//! overwritten. The last step inside is an entry of its own, `restore`, that begins the next epoch: whoever followed the old ledger
//! learns from it where the new one went another way.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use super::backup::{self, BackupError, KeysFault, Manifest, Progress, Watch};
use super::entry::Head;
use super::epoch::{self, Epoch};
use super::error::StoreError;
use super::home;
use super::reading::LedgerFiles;
use super::segment;
use super::snapshot;
use super::{Options, Store, Tx};

/// How much of a backup to restore.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Until {
    /// All of it.
    End,
    /// Up to and with this entry.
    Entry(u64),
    /// Up to the entry before the first one later than this: milliseconds since 1970 UTC.
    Time(i64),
}

/// What a restore came to.
#[derive(Debug, Clone)]
pub struct Restored {
    /// The last entry taken from the backup.
    pub kept: Head,
    /// The last entry of the backup.
    pub known: u64,
    /// The epoch that began.
    pub epoch: Epoch,
    /// The entry that announces it, the last one now.
    pub head: Head,
}

/// Lays keys that were unsealed down in a directory.
pub type LayDown<'a> = Box<dyn FnOnce(&Path) -> Result<(), KeysFault> + 'a>;

/// Opens sealed keys, which writes nothing yet.
pub type Unseal<'a> = dyn FnMut(&[u8]) -> Result<LayDown<'a>, KeysFault> + 'a;

/// Restores a backup into `to`, which must not exist.
///
/// * `unseal` - opens the sealed keys, if they are wanted; they are laid down last, before the directory gets its name.
/// * `clock` - milliseconds since 1970 UTC.
/// * `event` - the event of the entry that announces it, opaque to the store; told the epoch.
///
/// # Errors
/// [`BackupError`]; `to` does not exist then.
pub async fn restore(
    from: &Path,
    to: &Path,
    until: Until,
    clock: impl Fn() -> i64 + Send + Sync + 'static,
    event: impl Fn(&Epoch) -> Vec<u8> + Send + 'static,
    unseal: Option<&mut Unseal<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Restored, BackupError> {
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { dir: to.to_owned() });
    }
    let manifest = Manifest::read(from)?;
    let ledger = LedgerFiles::of_backup(from, &manifest)?;
    let kept = reach(&ledger, &manifest, until)?;
    let parent = to.parent().filter(|dir| !dir.as_os_str().is_empty());
    let parent = parent.unwrap_or(Path::new("."));
    let beside = tempfile::Builder::new()
        .prefix(".restoring-")
        .permissions(fs::Permissions::from_mode(0o700))
        .tempdir_in(parent)
        .map_err(BackupError::io("create a directory in", parent))?;
    // First: a wrong passphrase is told before anything is copied.
    let keys = match unseal {
        Some(unseal) => {
            let sealed = backup::sealed_keys(from, &manifest)?;
            Some(unseal(&sealed).map_err(BackupError::Keys)?)
        }
        None => None,
    };
    unpack(from, &manifest, &ledger, kept, beside.path(), watch)?;

    let at = clock();
    let store = Store::open(Options::new(beside.path()).clock(clock))?;
    if store.head() != kept {
        let why = format!(
            "it does not lead to entry {} of the ledger",
            kept.sequence()
        );
        return Err(StoreError::damaged(from, why).into());
    }
    let newest = manifest.epoch.max(store.epoch()?.number());
    let begun = Epoch::after(newest, kept, manifest.sequence, at);
    let done = store.transact(epoch::RESTORE, move |tx: &mut Tx<'_>| {
        tx.put(epoch::KEY.to_vec(), begun.encode());
        tx.event(event(&begun));
        Ok::<_, StoreError>(())
    });
    done.await?;
    let head = store.head();
    store.close()?;

    // A directory that appeared meanwhile is not renamed over: only an empty one could be.
    if to.symlink_metadata().is_ok() {
        return Err(BackupError::Exists { dir: to.to_owned() });
    }
    // Last: a restore that is killed before leaves no key in a directory that nobody knows of.
    if let Some(lay_down) = keys {
        lay_down(beside.path()).map_err(BackupError::Keys)?;
    }
    fs::rename(beside.path(), to).map_err(BackupError::io("name", to))?;
    let _renamed = beside.keep();
    backup::sync_dir(parent)?;
    Ok(Restored {
        kept,
        known: manifest.sequence,
        epoch: begun,
        head,
    })
}

/// The last entry to keep.
fn reach(ledger: &LedgerFiles, manifest: &Manifest, until: Until) -> Result<Head, BackupError> {
    let last = manifest.sequence;
    let out_of_reach = |asked: String| BackupError::OutOfReach { asked, last };
    let sequence = match until {
        Until::End => last,
        Until::Entry(sequence) if sequence > last => {
            return Err(out_of_reach(format!("entry {sequence}")));
        }
        Until::Entry(sequence) => sequence,
        Until::Time(time) => {
            let mut sequence = 0;
            for entry in ledger.entries(1) {
                let entry = entry?;
                if entry.at_unix_ms() > time || entry.sequence() > last {
                    break;
                }
                sequence = entry.sequence();
            }
            sequence
        }
    };
    if sequence == 0 && last > 0 && matches!(until, Until::Time(_)) {
        return Err(BackupError::BeforeAll);
    }
    let head = ledger.head_at(sequence)?;
    head.ok_or_else(|| out_of_reach(format!("entry {sequence}")))
}

/// Copies what belongs to the ledger up to `kept` into a new data directory.
fn unpack(
    from: &Path,
    manifest: &Manifest,
    ledger: &LedgerFiles,
    kept: Head,
    to: &Path,
    watch: &mut Watch<'_>,
) -> Result<(), BackupError> {
    let mut plan: Vec<(PathBuf, String, u64)> = Vec::new();
    let segments: Vec<_> = ledger
        .segments()
        .take_while(|(_, first, _)| *first <= kept.sequence().max(1))
        .collect();
    let last = segments.len().saturating_sub(1);
    for (at, (path, first, end)) in segments.into_iter().enumerate() {
        let end = match at == last {
            true if kept.sequence() < first => segment::HEADER_BYTES,
            true => ledger.end_of(kept.sequence())?,
            false => end,
        };
        plan.push((
            path.to_owned(),
            format!("ledger/{}", segment::file_name(first)),
            end,
        ));
    }
    for sum in &manifest.files {
        let number = |name: &str| match name.split_once('/') {
            Some(("snapshots", name)) => snapshot::sequence_of(name),
            Some(("checkpoints", name)) => name.strip_suffix(".note")?.parse().ok(),
            Some(("endorsements", _)) => Some(0),
            Some(_) => None,
            None => (name == backup::CONFIG).then_some(0),
        };
        let belongs = number(&sum.name).is_some_and(|number| number <= kept.sequence());
        if belongs {
            plan.push((from.join(sum.stored()), sum.name.clone(), sum.bytes));
        }
    }
    let total = plan.iter().map(|(_, _, bytes)| bytes).sum();
    for dir in ["ledger", "snapshots", "checkpoints", "endorsements"] {
        backup::make_dir(&to.join(dir))?;
    }
    let mut done = 0;
    for (path, name, bytes) in plan {
        let sum = backup::copy(&path, &to.join(&name), bytes, &mut |part| {
            done += part;
            watch(Progress {
                file: &name,
                done,
                total,
            });
        })?;
        let promised = manifest.files.iter().find(|sum| sum.name == name);
        if promised.is_some_and(|promised| promised.bytes == bytes && promised.sha256 != sum) {
            return Err(BackupError::Damaged {
                file: path,
                why: "its SHA-256 is another".into(),
            });
        }
    }
    for dir in ["ledger", "snapshots", "checkpoints", "endorsements"] {
        backup::sync_dir(&to.join(dir))?;
    }
    home::establish(to)?;
    Ok(())
}
