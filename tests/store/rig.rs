//! A file layer that fails on request, and a disk that forgets what was not synced.
//!
//! Changing calls are numbered from 1. The chosen one fails, in one of several ways. [`Rig::cut_power`] then takes back,
//! by sectors and by the toss of a seeded coin, what was never made durable. As on Linux, a failed sync marks the data
//! as written: the system goes on showing it, and a later sync that succeeds does not bring it to the disk.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use upkeep_server::store::{Access, Fs, FsFile, RealFs};

const SECTOR: u64 = 512;

/// How the chosen call fails.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Flavour {
    /// It has no effect; a write leaves its first half.
    NotPersisted,
    /// It has its effect and reports an error all the same.
    Persisted,
    /// It has no effect, nor has any call after it: the disk, or the machine, is gone.
    DeadFromHere,
    /// The disk is full from here on: writes fail, the rest succeeds.
    FullFromHere,
}

/// The file layer; clones share it.
#[derive(Clone)]
pub(crate) struct Rig(Arc<Mutex<Disk>>);

struct Disk {
    calls: u64,
    fail_at: u64,
    flavour: Flavour,
    hit: bool,
    dead: bool,
    full: bool,
    /// What it says is free, which a write does not ask for.
    free: u64,
    runs: u32,
    coin: u64,
    files: HashMap<PathBuf, Unsynced>,
    names: Vec<(PathBuf, Undo)>,
}

/// What a file would lose.
#[derive(Default)]
struct Unsynced {
    length: Option<u64>,
    sectors: BTreeMap<u64, Sector>,
}

struct Sector {
    durable: Vec<u8>,
    forgotten: bool,
}

enum Undo {
    Create(PathBuf),
    Rename(PathBuf, PathBuf, Option<Vec<u8>>),
    Remove(PathBuf, Vec<u8>),
}

/// What a numbered call does.
#[derive(PartialEq, Eq)]
enum Verdict {
    Do,
    DoAndFail,
    Fail,
    Full,
}

impl Rig {
    /// Fails call number `fail_at`; 0 fails none.
    pub(crate) fn new(fail_at: u64, flavour: Flavour, coin: u64) -> Self {
        Self(Arc::new(Mutex::new(Disk {
            calls: 0,
            fail_at,
            flavour,
            hit: false,
            dead: false,
            full: false,
            free: u64::MAX,
            runs: 0,
            coin: coin.wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1,
            files: HashMap::new(),
            names: Vec::new(),
        })))
    }

    /// True if the chosen call was reached.
    pub(crate) fn was_hit(&self) -> bool {
        self.disk().hit
    }

    /// The number of changing calls so far.
    pub(crate) fn calls(&self) -> u64 {
        self.disk().calls
    }

    /// From here on no call has an effect.
    pub(crate) fn kill(&self) {
        self.disk().dead = true;
    }

    /// No call fails any more.
    pub(crate) fn heal(&self) {
        let mut disk = self.disk();
        disk.fail_at = 0;
        disk.dead = false;
        disk.full = false;
    }

    /// From here on every write finds the disk full.
    pub(crate) fn fill(&self) {
        self.disk().full = true;
    }

    /// From here on it says that so many bytes are free.
    pub(crate) fn leave(&self, bytes: u64) {
        self.disk().free = bytes;
    }

    /// Stops the machine and starts it again: what was not durable may be gone.
    pub(crate) fn cut_power(&self) {
        let mut disk = self.disk();
        disk.runs += 1;
        let files = std::mem::take(&mut disk.files);
        for (path, unsynced) in files {
            disk.forget(&path, unsynced);
        }
        // A journaled file system keeps the first of its changes to names and loses the rest.
        let names = std::mem::take(&mut disk.names);
        let kept = disk.toss() as usize % (names.len() + 1);
        for (_, undo) in names.into_iter().skip(kept).rev() {
            undo.run();
        }
    }

    fn disk(&self) -> MutexGuard<'_, Disk> {
        self.0.lock().unwrap()
    }
}

impl Disk {
    fn verdict(&mut self, writes: bool) -> Verdict {
        self.calls += 1;
        let now = self.calls == self.fail_at;
        self.hit |= now;
        self.dead |= now && self.flavour == Flavour::DeadFromHere;
        self.full |= now && self.flavour == Flavour::FullFromHere;
        match self.flavour {
            _ if self.dead => Verdict::Fail,
            _ if self.full && writes => Verdict::Full,
            Flavour::NotPersisted if now => Verdict::Fail,
            Flavour::Persisted if now => Verdict::DoAndFail,
            _ => Verdict::Do,
        }
    }

    fn toss(&mut self) -> u64 {
        self.coin ^= self.coin << 13;
        self.coin ^= self.coin >> 7;
        self.coin ^= self.coin << 17;
        self.coin
    }

    /// Remembers what is durable where `bytes` will be written.
    fn before_write(&mut self, path: &Path, offset: u64, length: u64) {
        let bytes = std::fs::read(path).unwrap();
        let unsynced = self.files.entry(path.to_owned()).or_default();
        unsynced.length.get_or_insert(bytes.len() as u64);
        for at in offset / SECTOR..(offset + length).div_ceil(SECTOR) {
            let range = (at * SECTOR) as usize..((at + 1) * SECTOR) as usize;
            let durable = || range.map(|i| bytes.get(i).copied().unwrap_or(0)).collect();
            let sector = unsynced.sectors.entry(at);
            let sector = sector.or_insert_with(|| Sector {
                durable: durable(),
                forgotten: false,
            });
            sector.forgotten = false;
        }
    }

    fn forget(&mut self, path: &Path, unsynced: Unsynced) {
        let Ok(mut bytes) = std::fs::read(path) else {
            return;
        };
        for (at, sector) in unsynced.sectors {
            if sector.forgotten || self.toss() & 8 == 0 {
                let from = ((at * SECTOR) as usize).min(bytes.len());
                let to = (from + SECTOR as usize).min(bytes.len());
                bytes[from..to].copy_from_slice(&sector.durable[..to - from]);
            }
        }
        if let Some(length) = unsynced.length
            && self.toss() & 8 == 0
        {
            bytes.resize(length as usize, 0);
        }
        std::fs::write(path, bytes).unwrap();
    }
}

impl Undo {
    fn run(self) {
        match self {
            Self::Create(path) => drop(std::fs::remove_file(path)),
            Self::Remove(path, bytes) => std::fs::write(path, bytes).unwrap(),
            Self::Rename(from, to, replaced) => {
                if from.is_dir() {
                    std::fs::remove_dir_all(&from).unwrap();
                }
                drop(std::fs::rename(&to, &from));
                if let Some(bytes) = replaced {
                    std::fs::write(&to, bytes).unwrap();
                }
            }
        }
    }
}

fn broken() -> io::Error {
    io::Error::other("injected fault")
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap().to_owned()
}

impl Rig {
    /// Runs one numbered change of a name.
    fn name<T>(
        &self,
        dir: PathBuf,
        undo: Option<Undo>,
        act: impl FnOnce() -> io::Result<T>,
    ) -> io::Result<T> {
        let mut disk = self.disk();
        let verdict = disk.verdict(false);
        if verdict == Verdict::Fail {
            return Err(broken());
        }
        let done = act()?;
        disk.names.extend(undo.map(|undo| (dir, undo)));
        if verdict == Verdict::Do {
            Ok(done)
        } else {
            Err(broken())
        }
    }
}

impl Fs for Rig {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        self.name(parent(dir), None, || RealFs.create_dir(dir))
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut disk = self.disk();
        let verdict = disk.verdict(false);
        if verdict == Verdict::Fail {
            return Err(broken());
        }
        disk.names.retain(|(changed, _)| changed != dir);
        if verdict == Verdict::Do {
            Ok(())
        } else {
            Err(broken())
        }
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        RealFs.list(dir)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        RealFs.exists(path)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        let file = match access {
            Access::Read | Access::Write => RealFs.open(path, access)?,
            Access::Create => {
                let fresh = !path.exists();
                let undo = fresh.then(|| Undo::Create(path.to_owned()));
                if !fresh {
                    let length = std::fs::metadata(path)?.len();
                    self.disk().before_write(path, 0, length);
                }
                self.name(parent(path), undo, || RealFs.open(path, access))?
            }
        };
        Ok(Box::new(RigFile {
            rig: self.clone(),
            path: path.to_owned(),
            file,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let replaced = std::fs::read(to).ok();
        let undo = Undo::Rename(from.to_owned(), to.to_owned(), replaced);
        self.name(parent(to), Some(undo), || RealFs.rename(from, to))?;
        let mut disk = self.disk();
        disk.files.remove(to);
        if let Some(unsynced) = disk.files.remove(from) {
            disk.files.insert(to.to_owned(), unsynced);
        }
        Ok(())
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let undo = std::fs::read(path)
            .ok()
            .map(|bytes| Undo::Remove(path.to_owned(), bytes));
        self.name(parent(path), undo, || RealFs.remove_file(path))?;
        self.disk().files.remove(path);
        Ok(())
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        self.name(parent(path), None, || RealFs.remove_tree(path))
    }

    fn boot_id(&self) -> Option<String> {
        Some(format!("run {}", self.disk().runs))
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(self.disk().free)
    }
}

struct RigFile {
    rig: Rig,
    path: PathBuf,
    file: Box<dyn FsFile>,
}

impl FsFile for RigFile {
    fn read_at(&mut self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        self.file.read_at(into, offset)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let mut disk = self.rig.disk();
        match disk.verdict(true) {
            Verdict::Fail if disk.dead => Err(broken()),
            Verdict::Full => Err(io::ErrorKind::StorageFull.into()),
            Verdict::Fail => {
                disk.before_write(&self.path, offset, bytes.len() as u64);
                self.file.write_at(&bytes[..bytes.len() / 2], offset)?;
                Err(broken())
            }
            verdict => {
                disk.before_write(&self.path, offset, bytes.len() as u64);
                self.file.write_at(bytes, offset)?;
                if verdict == Verdict::Do {
                    Ok(())
                } else {
                    Err(broken())
                }
            }
        }
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut disk = self.rig.disk();
        let verdict = disk.verdict(false);
        if verdict == Verdict::Fail {
            return Err(broken());
        }
        let now = self.file.len()?;
        disk.before_write(&self.path, length.min(now), now.abs_diff(length));
        self.file.set_len(length)?;
        if verdict == Verdict::Do {
            Ok(())
        } else {
            Err(broken())
        }
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut disk = self.rig.disk();
        let verdict = disk.verdict(false);
        let unsynced = disk.files.entry(self.path.clone()).or_default();
        if verdict == Verdict::Fail {
            unsynced
                .sectors
                .values_mut()
                .for_each(|sector| sector.forgotten = true);
            return Err(broken());
        }
        unsynced.length = None;
        unsynced.sectors.retain(|_, sector| sector.forgotten);
        if verdict == Verdict::Do {
            Ok(())
        } else {
            Err(broken())
        }
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}
