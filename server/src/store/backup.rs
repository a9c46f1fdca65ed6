//! Backups: the ledger's segments and the newest snapshot in a directory that says what it holds.
//!
//! A backup is taken from the files alone, with a server on them or without, and needs no lock. The segment that is being written
//! to is taken up to its last whole entry, and is synced first, so that nothing is taken that the server could still lose. Taken
//! again, a backup gains what is new. `manifest.json` is written last: what it names is whole, and nothing else counts. What may
//! change stands under its name and its SHA-256, so that a run that is cut short has touched nothing that the older manifest names.
//!
//! ```text
//! BACKUP/manifest.json   ledger/*.seg   snapshots/*.snap   backup.lock
//!        checkpoints/*.note.SHA256   endorsements/*.SHA256   upkeep.toml.SHA256   keys.sealed.SHA256
//! ```

mod error;
mod manifest;

use std::collections::BTreeSet;
use std::fs::{self, File, OpenOptions, TryLockError};
use std::io::{self, Read, Write};
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use super::entry::Head;
use super::fs::RealFs;
use super::home;
use super::reading::LedgerFiles;
use super::snapshot::{self, Snapshot};

pub use self::error::BackupError;
pub use self::manifest::{FileSum, Manifest};

/// The newest format this release reads, and the one it writes.
const FORMAT: u32 = 1;

/// The name of the manifest in a backup.
const MANIFEST: &str = "manifest.json";

/// The name of a data directory's sealed keys in a manifest.
pub const SEALED_KEYS: &str = "keys.sealed";

/// The name of the configuration in a manifest.
pub(super) const CONFIG: &str = "upkeep.toml";

/// Locked by whoever writes to a backup.
const LOCK: &str = "backup.lock";

/// Why keys could not be sealed or unsealed: the store knows nothing of them.
pub type KeysFault = Box<dyn std::error::Error + Send + Sync>;

/// Seals the keys of the data directory, once the last entry of the backup is fixed.
pub type Seal<'a> = dyn FnMut() -> Result<Vec<u8>, KeysFault> + 'a;

/// So many snapshots are kept in a backup.
const SNAPSHOTS_KEPT: usize = 2;

/// How much is copied at once.
const CHUNK_BYTES: usize = 1 << 20;

/// How far the work has come, in bytes.
#[derive(Debug, Clone, Copy)]
pub struct Progress<'a> {
    /// The file that is worked on.
    pub file: &'a str,
    /// Bytes done.
    pub done: u64,
    /// Bytes in all.
    pub total: u64,
}

/// Told how far the work has come.
pub type Watch<'a> = dyn FnMut(Progress<'_>) + 'a;

/// What taking a backup came to.
#[derive(Debug, Clone)]
pub struct Taken {
    /// What it holds now.
    pub manifest: Manifest,
    /// How many bytes were copied this time.
    pub copied: u64,
}

/// Takes a backup of the data directory `data` into `out`: a new directory, or a backup of the same ledger, which gains what is
/// new.
///
/// * `seal` - seals the keys, if they go with it. It is called when the last entry is fixed: the key of whatever is in the backup
///   was made before.
///
/// # Errors
/// [`BackupError`]; the backup that was there before is whole in any case.
pub fn create(
    data: &Path,
    out: &Path,
    seal: Option<&mut Seal<'_>>,
    watch: &mut Watch<'_>,
) -> Result<Taken, BackupError> {
    // Asked first, so that nothing is made where no backup can be taken.
    LedgerFiles::open(data)?;
    check_outside(data, out)?;
    held(out)?;
    make_durable_dir(out)?;
    let _lock = lock(out)?;
    // Looked at only now: another backup may have ended meanwhile, with entries that were written since.
    let ledger = LedgerFiles::open(data)?;
    let before = earlier(out, &ledger)?;
    let sealed_keys = match seal {
        Some(seal) => Some(seal().map_err(BackupError::Keys)?),
        None => None,
    };
    let known = |name: &str| {
        let sum = before.as_ref().and_then(|before| before.known(name));
        sum.filter(|sum| is_held(out, sum))
    };
    let snapshot = newest_snapshot(&ledger, data)?;
    let mut plan = Vec::new();
    let count = ledger.segments().count();
    for (at, (path, _, end)) in ledger.segments().enumerate() {
        if at + 1 == count {
            // What was read may still be in memory only.
            ledger.sync()?;
        }
        plan.push(Planned {
            name: format!("ledger/{}", name_of(path)),
            path: path.to_owned(),
            bytes: end,
            open: None,
        });
    }
    let snapshot = match snapshot {
        Some((snapshot, file)) => {
            let path = snapshot.path();
            let measured = file.metadata().map_err(BackupError::io("measure", path))?;
            plan.push(Planned {
                name: format!("snapshots/{}", name_of(path)),
                path: path.to_owned(),
                bytes: measured.len(),
                open: Some(file),
            });
            Some(snapshot)
        }
        None => None,
    };
    let mut changeable = Vec::new();
    for path in listed(&data.join("checkpoints"))? {
        // One that is being written has another name.
        if path.extension().is_some_and(|kind| kind == "note") {
            changeable.push((format!("checkpoints/{}", name_of(&path)), path));
        }
    }
    for path in listed(&data.join("endorsements"))? {
        changeable.push((format!("endorsements/{}", name_of(&path)), path));
    }
    let config = data.join(CONFIG);
    if config.is_file() {
        changeable.push((CONFIG.to_owned(), config));
    }

    let fresh = |one: &Planned| known(&one.name).is_none_or(|sum| sum.bytes != one.bytes);
    let new = plan.iter().filter(|one| fresh(one));
    let total = new.map(|one| one.bytes).sum();
    for dir in ["", "ledger", "snapshots", "checkpoints", "endorsements"] {
        make_dir(&out.join(dir))?;
    }
    let (mut files, mut copied) = (Vec::new(), 0);
    for one in plan {
        match known(&one.name) {
            Some(sum) if !fresh(&one) => files.push(sum.clone()),
            _ => {
                let Planned {
                    name,
                    path,
                    bytes,
                    open,
                } = one;
                let mut passed = |part| {
                    copied += part;
                    watch(Progress {
                        file: &name,
                        done: copied,
                        total,
                    });
                };
                let to = out.join(&name);
                let sha256 = match open {
                    Some(file) => copy_open(file, &path, &to, bytes, &mut passed)?,
                    None => copy(&path, &to, bytes, &mut passed)?,
                };
                files.push(FileSum {
                    name,
                    bytes,
                    sha256,
                    stored: None,
                });
            }
        }
    }
    let mut store = |name: String, bytes: &[u8]| -> Result<FileSum, BackupError> {
        let sum = FileSum::of_changeable(name, bytes);
        if known(&sum.name) != Some(&sum) {
            write_new(&out.join(sum.stored()), bytes)?;
            copied += sum.bytes;
        }
        Ok(sum)
    };
    for (name, path) in changeable {
        let bytes = fs::read(&path).map_err(BackupError::io("read", &path))?;
        files.push(store(name, &bytes)?);
    }
    let keys_sealed_at = match &sealed_keys {
        Some(sealed) => {
            files.push(store(SEALED_KEYS.to_owned(), sealed)?);
            Some(ledger.head().sequence())
        }
        None => {
            let held = known(SEALED_KEYS);
            files.extend(held.cloned());
            let before = held.and(before.as_ref());
            before.and_then(|before| before.keys_sealed_at)
        }
    };
    // Snapshots of earlier times serve a restore to an earlier entry.
    if let Some(before) = &before {
        let old = before.files.iter().filter(|sum| {
            sum.name.starts_with("snapshots/")
                && !files.iter().any(|file| file.name == sum.name)
                && is_held(out, sum)
        });
        files.extend(old.cloned().collect::<Vec<_>>());
    }
    drop_old_snapshots(&mut files);
    let newest = ledger
        .entries(ledger.head().sequence())
        .next()
        .transpose()?;
    let manifest = Manifest {
        format: FORMAT,
        store_format: home::FORMAT,
        sequence: ledger.head().sequence(),
        hash: hex(&ledger.head().hash()),
        epoch: ledger.grown(snapshot.as_ref())?.1.number(),
        newest_unix_ms: newest.map_or(0, |entry| entry.at_unix_ms()),
        keys_sealed_at,
        files,
    };
    for dir in ["ledger", "snapshots", "checkpoints", "endorsements", ""] {
        sync_dir(&out.join(dir))?;
    }
    let text = serde_json::to_vec_pretty(&manifest)
        .map_err(|error| BackupError::damaged(&out.join(MANIFEST), error.to_string()))?;
    write_new(&out.join(MANIFEST), &text)?;
    sync_dir(out)?;
    remove_unnamed(out, before.as_ref(), &manifest)?;
    Ok(Taken { manifest, copied })
}

/// True if a file that the manifest names is there, as far as its length tells: a medium loses files, and `verify` reads them.
fn is_held(out: &Path, sum: &FileSum) -> bool {
    fs::metadata(out.join(sum.stored())).is_ok_and(|found| found.len() >= sum.bytes)
}

/// Removes what the manifest before named and this one does not, and what interrupted runs left.
fn remove_unnamed(
    out: &Path,
    before: Option<&Manifest>,
    manifest: &Manifest,
) -> Result<(), BackupError> {
    let named: BTreeSet<_> = manifest.files.iter().map(FileSum::stored).collect();
    let old = before.iter().flat_map(|before| &before.files);
    let mut unnamed: BTreeSet<_> = old.map(|sum| sum.stored().to_owned()).collect();
    for dir in ["", "ledger/", "snapshots/", "checkpoints/", "endorsements/"] {
        let names = listed(&out.join(dir))?.into_iter();
        let names = names.map(|path| format!("{dir}{}", name_of(&path)));
        unnamed.extend(names.filter(|name| may_be_left(name)));
    }
    for name in unnamed.iter().filter(|name| !named.contains(name.as_str())) {
        let path = out.join(name);
        match fs::remove_file(&path) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(BackupError::io("remove", &path)(error));
            }
            _ => {}
        }
    }
    Ok(())
}

/// True for a name that an interrupted run may have given.
fn may_be_left(name: &str) -> bool {
    let ends = [".new", ".seg", ".snap"];
    ends.iter().any(|end| name.ends_with(end)) || is_digest_name(name)
}

/// True for a name that [`FileSum::of_changeable`] gives.
fn is_digest_name(name: &str) -> bool {
    name.rsplit_once('.').is_some_and(|(_, sum)| {
        sum.len() == 64 && sum.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

/// Takes a backup for this process alone, as long as the file is open.
fn lock(out: &Path) -> Result<File, BackupError> {
    let path = out.join(LOCK);
    let file = private(&path).map_err(BackupError::io("create", &path))?;
    match home::take_lock(&file) {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => Err(BackupError::Busy {
            dir: out.to_owned(),
        }),
        Err(TryLockError::Error(error)) => Err(BackupError::io("lock", &path)(error)),
    }
}

/// What [`verify`] found.
#[derive(Debug, Clone)]
pub struct Checked {
    /// What the backup holds.
    pub manifest: Manifest,
    /// The number of entries, each chained to the one before.
    pub entries: u64,
    /// The number of snapshots.
    pub snapshots: usize,
}

/// The sealed keys of a backup, checked against their sum.
///
/// # Errors
/// [`BackupError::NoKeys`], [`BackupError::Damaged`], [`BackupError::Io`].
pub(super) fn sealed_keys(backup: &Path, manifest: &Manifest) -> Result<Vec<u8>, BackupError> {
    let sum = manifest.known(SEALED_KEYS).ok_or(BackupError::NoKeys {
        dir: backup.to_owned(),
    })?;
    let path = backup.join(sum.stored());
    let bytes = fs::read(&path).map_err(BackupError::io("read", &path))?;
    match hex(&Sha256::digest(&bytes)) == sum.sha256 {
        true => Ok(bytes),
        false => Err(BackupError::damaged(&path, "its SHA-256 is another")),
    }
}

/// Checks a backup: every file against its sum, every entry against the one before, and every snapshot.
///
/// # Errors
/// [`BackupError::Damaged`] and [`BackupError::Store`] name the file.
pub fn verify(backup: &Path, watch: &mut Watch<'_>) -> Result<Checked, BackupError> {
    let manifest = Manifest::read(backup)?;
    let (mut done, total) = (0, manifest.bytes());
    for sum in &manifest.files {
        let path = backup.join(sum.stored());
        let mut file = File::open(&path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => BackupError::damaged(&path, "it is not there"),
            _ => BackupError::io("open", &path)(error),
        })?;
        let found = transfer(&mut file, None, sum.bytes, &mut |part| {
            done += part;
            watch(Progress {
                file: &sum.name,
                done,
                total,
            });
        });
        match found {
            Ok(found) if found == sum.sha256 => {}
            Ok(_) => return Err(BackupError::damaged(&path, "its SHA-256 is another")),
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => {
                return Err(BackupError::damaged(&path, "it is shorter than it was"));
            }
            Err(error) => return Err(BackupError::io("read", &path)(error)),
        }
    }
    let ledger = LedgerFiles::of_backup(backup, &manifest)?;
    let mut reached = Head::EMPTY;
    for entry in ledger.entries(1) {
        let entry = entry?;
        if entry.sequence() > manifest.sequence {
            break;
        }
        reached = entry.head();
    }
    if Some(reached) != manifest.head() {
        let why = format!(
            "it promises entry {} and another one stands there",
            manifest.sequence
        );
        return Err(BackupError::damaged(&backup.join(MANIFEST), why));
    }
    let mut snapshots = 0;
    for sum in &manifest.files {
        let Some(name) = sum.name.strip_prefix("snapshots/") else {
            continue;
        };
        let path = backup.join(&sum.name);
        let found = Snapshot::open(&RealFs, &path)?;
        if snapshot::sequence_of(name) != Some(found.head().sequence())
            || ledger.head_at(found.head().sequence())? != Some(found.head())
        {
            return Err(BackupError::damaged(&path, "it is of another ledger"));
        }
        snapshots += 1;
    }
    Ok(Checked {
        entries: manifest.sequence,
        manifest,
        snapshots,
    })
}

/// The manifest of the backup in `out`, if one is there.
fn held(out: &Path) -> Result<Option<Manifest>, BackupError> {
    match Manifest::read(out) {
        Err(BackupError::Missing { dir }) => {
            let is_free = match fs::read_dir(out) {
                Ok(mut names) => names.all(|name| name.is_ok_and(|name| name.file_name() == LOCK)),
                Err(error) => error.kind() == io::ErrorKind::NotFound,
            };
            match is_free || is_begun(out) {
                true => Ok(None),
                false => Err(BackupError::Foreign { dir }),
            }
        }
        read => read.map(Some),
    }
}

/// As [`held`]; the ledger must go on from it.
fn earlier(out: &Path, ledger: &LedgerFiles) -> Result<Option<Manifest>, BackupError> {
    let Some(before) = held(out)? else {
        return Ok(None);
    };
    match ledger.head_at(before.sequence)? {
        Some(head) if Some(head) == before.head() => Ok(Some(before)),
        _ => Err(BackupError::OtherLedger {
            dir: out.to_owned(),
            sequence: before.sequence,
        }),
    }
}

/// True for what an interrupted first backup leaves: no manifest, but what else one begins with, and nothing that only a data directory
/// has. That may have lost its `meta`.
fn is_begun(out: &Path) -> bool {
    let has = |name: &str| out.join(name).symlink_metadata().is_ok();
    let of_data = ["meta", "lock", "index", "index.state", "keys"];
    has(LOCK) && out.join("ledger").is_dir() && !of_data.into_iter().any(has)
}

/// Refuses a backup in the data directory that it is of.
fn check_outside(data: &Path, out: &Path) -> Result<(), BackupError> {
    let data = fs::canonicalize(data).map_err(BackupError::io("resolve", data))?;
    // What is not there yet is in the first of those above it that is.
    let found = out
        .ancestors()
        .find_map(|above| match above.as_os_str().is_empty() {
            true => fs::canonicalize(".").ok(),
            false => fs::canonicalize(above).ok(),
        });
    match found.is_some_and(|found| found.starts_with(&data)) {
        true => Err(BackupError::Inside {
            dir: out.to_owned(),
        }),
        false => Ok(()),
    }
}

/// Takes all but the newest snapshots out of the list.
fn drop_old_snapshots(files: &mut Vec<FileSum>) {
    let mut names: Vec<_> = files
        .iter()
        .map(|file| file.name.clone())
        .filter(|name| name.starts_with("snapshots/"))
        .collect();
    names.sort();
    names.truncate(names.len().saturating_sub(SNAPSHOTS_KEPT));
    files.retain(|file| !names.contains(&file.name));
}

fn name_of(path: &Path) -> String {
    path.file_name()
        .map(|name| name.to_string_lossy().into_owned())
        .unwrap_or_default()
}

/// A file that is to be copied, up to so many bytes.
struct Planned {
    name: String,
    path: PathBuf,
    bytes: u64,
    /// Where the server may remove its name before its turn comes.
    open: Option<File>,
}

/// The newest snapshot of the ledger, and its file: that stays, though the server may remove the name at any moment.
fn newest_snapshot(
    ledger: &LedgerFiles,
    data: &Path,
) -> Result<Option<(Snapshot, File)>, BackupError> {
    while let Some(found) = ledger.snapshot(data)? {
        match File::open(found.path()) {
            Ok(file) => return Ok(Some((found, file))),
            // Newer ones have taken its place while it was checked.
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(BackupError::io("open", found.path())(error)),
        }
    }
    Ok(None)
}

/// The files of a directory, sorted; none if it is not there.
pub(super) fn listed(dir: &Path) -> Result<Vec<PathBuf>, BackupError> {
    let entries = match fs::read_dir(dir) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(BackupError::io("list", dir))?,
    };
    let mut paths = Vec::new();
    for entry in entries {
        let path = entry.map_err(BackupError::io("list", dir))?.path();
        if path.is_file() {
            paths.push(path);
        }
    }
    paths.sort();
    Ok(paths)
}

/// Copies the first `bytes` of a file beside its place, durably, and gives it its name. Returns the SHA-256, hex.
pub(super) fn copy(
    from: &Path,
    to: &Path,
    bytes: u64,
    passed: &mut dyn FnMut(u64),
) -> Result<String, BackupError> {
    let source = File::open(from).map_err(BackupError::io("open", from))?;
    copy_open(source, from, to, bytes, passed)
}

/// As [`copy`], of a file that is open.
fn copy_open(
    mut source: File,
    from: &Path,
    to: &Path,
    bytes: u64,
    passed: &mut dyn FnMut(u64),
) -> Result<String, BackupError> {
    let fresh = to.with_extension("new");
    let mut write = |source: &mut File| -> io::Result<String> {
        let mut file = private(&fresh)?;
        let sum = transfer(source, Some(&mut file), bytes, passed)?;
        file.sync_all()?;
        fs::rename(&fresh, to)?;
        Ok(sum)
    };
    write(&mut source).map_err(BackupError::io("copy", from))
}

fn transfer(
    from: &mut File,
    mut to: Option<&mut File>,
    bytes: u64,
    passed: &mut dyn FnMut(u64),
) -> io::Result<String> {
    let mut hash = Sha256::new();
    let mut chunk = vec![0; CHUNK_BYTES];
    let mut left = bytes;
    while left > 0 {
        let wanted = usize::try_from(left).unwrap_or(usize::MAX).min(CHUNK_BYTES);
        let part = chunk.get_mut(..wanted).unwrap_or_default();
        from.read_exact(part)?;
        hash.update(&*part);
        if let Some(to) = &mut to {
            to.write_all(part)?;
        }
        left = left.saturating_sub(part.len() as u64);
        passed(part.len() as u64);
    }
    Ok(hex(&hash.finalize()))
}

fn write_new(path: &Path, bytes: &[u8]) -> Result<(), BackupError> {
    let fresh = path.with_extension("new");
    let write = || -> io::Result<()> {
        let mut file = private(&fresh)?;
        file.write_all(bytes)?;
        file.sync_all()?;
        fs::rename(&fresh, path)
    };
    write().map_err(BackupError::io("write", path))
}

/// A new file for its owner alone, in place of what an interrupted copy left.
fn private(path: &Path) -> io::Result<File> {
    let mut options = OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options.open(path)
}

/// Makes a directory for its owner alone; it may be there.
pub(super) fn make_dir(dir: &Path) -> Result<(), BackupError> {
    let made = fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(dir);
    made.map_err(BackupError::io("create", dir))
}

/// As [`make_dir`], and makes its name durable, with those of the directories above that were not there.
fn make_durable_dir(dir: &Path) -> Result<(), BackupError> {
    if dir.is_dir() {
        return Ok(());
    }
    let above = match dir.parent() {
        Some(above) if !above.as_os_str().is_empty() => above,
        _ => Path::new("."),
    };
    make_durable_dir(above)?;
    make_dir(dir)?;
    sync_dir(above)
}

/// Makes the names in a directory durable.
pub(super) fn sync_dir(dir: &Path) -> Result<(), BackupError> {
    let synced = File::open(dir).and_then(|dir| dir.sync_all());
    synced.map_err(BackupError::io("sync", dir))
}

fn hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(bytes)
}
