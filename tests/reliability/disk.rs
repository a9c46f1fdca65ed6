//! A simulated disk under the ledger: it knows of each file what is shown and what a power cut would leave.
//!
//! # What a power cut may leave
//! * Of what was written to a file since its last sync: nothing, all of it, the first writes with the next one torn at any
//!   byte, or any choice of its sectors (512 bytes) or pages (4,096), of which one may be half there. The new length holds or not,
//!   whatever became of the contents.
//! * Of the names that were made, changed or removed in a directory since its last sync: the first so many, as a journal keeps
//!   them, over all directories or in each by itself. What stands in a directory that is gone is gone.
//!
//! A sync of a file makes its contents and length durable but not its name; a sync of a directory makes its names durable but
//! not their contents.
//!
//! # What it does not know
//! sled does its own file calls and the lock file is the system's: both are in a real directory of the same name. What a power
//! cut does to sled's files is done to them afterwards, by [`damage`](crate::damage).

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use upkeep_server::store::{Access, Fs, FsFile, RealFs};

use crate::coin::Coin;

const SECTOR: usize = 512;
const PAGE: usize = 4096;

/// What the disk says it does and does not do: only to see that the rig is not blind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Lie {
    None,
    /// A sync of a file does nothing.
    Sync,
    /// A sync of a directory does nothing.
    Directory,
}

/// The disk; clones share it.
#[derive(Clone)]
pub(crate) struct Disk(Arc<Mutex<State>>);

struct State {
    coin: Coin,
    lie: Lie,
    /// How often the machine was started.
    runs: u64,
    calls: u64,
    stop_at: Option<u64>,
    dead: bool,
    next: u64,
    files: HashMap<u64, Contents>,
    /// The names as they are shown.
    names: BTreeMap<PathBuf, Node>,
    /// The names that a power cut would leave.
    durable: BTreeMap<PathBuf, Node>,
    /// The changes of names since: the directory, and what changed at once.
    pending: Vec<(PathBuf, Vec<Renamed>)>,
}

/// A name and what it stands for from then on; nothing, if it is gone.
type Renamed = (PathBuf, Option<Node>);

#[derive(Clone, Copy, PartialEq, Eq)]
enum Node {
    Directory,
    File(u64),
}

#[derive(Default)]
struct Contents {
    shown: Vec<u8>,
    durable: Vec<u8>,
    unsynced: Vec<Change>,
}

enum Change {
    Write(usize, Vec<u8>),
    Length(usize),
}

impl Change {
    fn apply(&self, bytes: &mut Vec<u8>) {
        match self {
            Self::Length(length) => bytes.resize(*length, 0),
            Self::Write(at, written) => {
                let end = at + written.len();
                if bytes.len() < end {
                    bytes.resize(end, 0);
                }
                bytes[*at..end].copy_from_slice(written);
            }
        }
    }

    /// The bytes that may differ.
    fn range(&self) -> std::ops::Range<usize> {
        match self {
            Self::Write(at, written) => *at..at + written.len(),
            Self::Length(length) => *length..*length,
        }
    }
}

/// What becomes of a call.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Verdict {
    Do,
    /// It has its effect, but the machine stops before it says so.
    DoAndStop,
    Stop,
}

impl Disk {
    pub(crate) fn new(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(State {
            coin: Coin::new(seed),
            lie: Lie::None,
            runs: 1,
            calls: 0,
            stop_at: None,
            dead: false,
            next: 0,
            files: HashMap::new(),
            names: BTreeMap::new(),
            durable: BTreeMap::new(),
            pending: Vec::new(),
        })))
    }

    /// From here on the disk lies like that.
    pub(crate) fn lie(&self, lie: Lie) {
        self.state().lie = lie;
    }

    /// True once the machine has stopped, by [`stop_in`](Self::stop_in) or [`kill`](Self::kill).
    pub(crate) fn has_stopped(&self) -> bool {
        self.state().dead
    }

    /// The machine stops in the `n`-th changing call from now on: no call has an effect after it.
    pub(crate) fn stop_in(&self, n: u64) {
        let mut state = self.state();
        state.stop_at = Some(state.calls + n);
    }

    /// The machine stops here.
    pub(crate) fn kill(&self) {
        self.state().dead = true;
    }

    /// The process has ended, not the machine: nothing is lost.
    pub(crate) fn end_process(&self) {
        let mut state = self.state();
        state.dead = false;
        state.stop_at = None;
    }

    /// Cuts the power and starts the machine again.
    pub(crate) fn cut(&self) {
        let mut state = self.state();
        state.runs += 1;
        state.dead = false;
        state.stop_at = None;
        state.forget_names();
        state.forget_contents();
    }

    /// What a file shows; none if it is not there.
    pub(crate) fn read(&self, path: &Path) -> Option<Vec<u8>> {
        let state = self.state();
        match state.names.get(path)? {
            Node::File(number) => Some(state.files.get(number)?.shown.clone()),
            Node::Directory => None,
        }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap()
    }
}

impl State {
    fn verdict(&mut self) -> Verdict {
        if self.dead {
            return Verdict::Stop;
        }
        self.calls += 1;
        if self.stop_at.is_some_and(|at| self.calls >= at) {
            self.dead = true;
            return if self.coin.one_in(2) {
                Verdict::DoAndStop
            } else {
                Verdict::Stop
            };
        }
        Verdict::Do
    }

    /// Runs one numbered change; what happens when the machine stops in it is for the coin to say.
    fn change(&mut self, act: impl FnOnce(&mut Self)) -> io::Result<()> {
        let verdict = self.verdict();
        if verdict != Verdict::Stop {
            act(self);
        }
        match verdict {
            Verdict::Do => Ok(()),
            _ => Err(io::Error::other("the machine has stopped")),
        }
    }

    fn rename_entries(&mut self, dir: PathBuf, changes: Vec<(PathBuf, Option<Node>)>) {
        apply(&mut self.names, &changes);
        self.pending.push((dir, changes));
    }

    fn forget_names(&mut self) {
        let pending = std::mem::take(&mut self.pending);
        let by_directory = self.coin.one_in(2);
        let kept = self.coin.below(pending.len() + 1);
        let mut left: HashMap<PathBuf, usize> = HashMap::new();
        for (dir, _) in &pending {
            *left.entry(dir.clone()).or_default() += 1;
        }
        let mut dirs: Vec<_> = left.keys().cloned().collect();
        dirs.sort();
        for dir in dirs {
            let here = self.coin.below(left[&dir] + 1);
            left.insert(dir, here);
        }
        for (number, (dir, changes)) in pending.into_iter().enumerate() {
            let survives = if by_directory {
                let left = left.entry(dir).or_default();
                let survives = *left > 0;
                *left = left.saturating_sub(1);
                survives
            } else {
                number < kept
            };
            if survives {
                apply(&mut self.durable, &changes);
            }
        }
        // What stands in a directory that is gone is gone. Parents sort before their children.
        let known: BTreeSet<PathBuf> = self.names.keys().cloned().collect();
        let mut names = BTreeMap::new();
        for (path, node) in &self.durable {
            let parent = path.parent().unwrap_or(Path::new(""));
            if !known.contains(parent) || names.contains_key(parent) {
                names.insert(path.clone(), *node);
            }
        }
        self.durable = names.clone();
        self.names = names;
    }

    fn forget_contents(&mut self) {
        let mut numbers: Vec<u64> = self.files.keys().copied().collect();
        numbers.sort_unstable();
        for number in numbers {
            let Some(mut file) = self.files.remove(&number) else {
                continue;
            };
            if self.names.values().any(|node| *node == Node::File(number)) {
                file.durable = survive(&mut self.coin, &file);
                file.unsynced.clear();
                file.shown = file.durable.clone();
                self.files.insert(number, file);
            }
        }
    }
}

fn apply(names: &mut BTreeMap<PathBuf, Node>, changes: &[(PathBuf, Option<Node>)]) {
    for (path, node) in changes {
        match node {
            Some(node) => names.insert(path.clone(), *node),
            None => names.remove(path),
        };
    }
}

/// What a power cut leaves of a file.
fn survive(coin: &mut Coin, file: &Contents) -> Vec<u8> {
    let mut bytes = file.durable.clone();
    if file.unsynced.is_empty() {
        return bytes;
    }
    match coin.below(6) {
        0 => {}
        1 => file
            .unsynced
            .iter()
            .for_each(|change| change.apply(&mut bytes)),
        2 => {
            let whole = coin.below(file.unsynced.len());
            for change in &file.unsynced[..whole] {
                change.apply(&mut bytes);
            }
            if let Change::Write(at, written) = &file.unsynced[whole] {
                let torn = coin.below(written.len() + 1);
                Change::Write(*at, written[..torn].to_vec()).apply(&mut bytes);
            }
        }
        way => survive_in_blocks(coin, file, if way == 3 { PAGE } else { SECTOR }, &mut bytes),
    }
    bytes
}

/// Each block of what was written is there or not, in no order.
fn survive_in_blocks(coin: &mut Coin, file: &Contents, block: usize, bytes: &mut Vec<u8>) {
    let new = &file.shown;
    let length = if coin.one_in(2) {
        new.len()
    } else {
        file.durable.len()
    };
    bytes.resize(length, 0);
    let touched: BTreeSet<usize> = file
        .unsynced
        .iter()
        .map(Change::range)
        .flat_map(|range| range.start / block..range.end.div_ceil(block))
        .collect();
    for at in touched {
        let part = match coin.below(5) {
            0 | 1 => 0,
            2 | 3 => block,
            _ => coin.below(block),
        };
        let from = at * block;
        let to = (from + part).min(length).min(new.len());
        if from < to {
            bytes[from..to].copy_from_slice(&new[from..to]);
        }
    }
}

/// True for what sled keeps: the index and what it is moved to.
fn is_index(path: &Path) -> bool {
    path.components().any(|part| {
        let part = part.as_os_str().to_string_lossy();
        part.starts_with("index") && !part.ends_with(".state") && !part.ends_with(".new")
    })
}

fn parent(path: &Path) -> PathBuf {
    path.parent().unwrap_or(Path::new("")).to_owned()
}

fn not_found(path: &Path) -> io::Error {
    io::Error::new(io::ErrorKind::NotFound, path.display().to_string())
}

impl Fs for Disk {
    fn create_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        if state.names.contains_key(dir) {
            return Ok(());
        }
        // The lock file and the index stand in the real one.
        RealFs.create_dir(dir)?;
        state.change(|state| {
            state.rename_entries(parent(dir), vec![(dir.to_owned(), Some(Node::Directory))]);
        })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state();
        state.change(|state| {
            if state.lie == Lie::Directory {
                return;
            }
            let pending = std::mem::take(&mut state.pending);
            for (changed, changes) in pending {
                if changed == dir {
                    apply(&mut state.durable, &changes);
                } else {
                    state.pending.push((changed, changes));
                }
            }
        })
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state();
        let here = state.names.keys().filter(|path| path.parent() == Some(dir));
        let names = here.filter_map(|path| Some(path.file_name()?.to_str()?.to_owned()));
        Ok(names.collect())
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        let known = self.state().names.contains_key(path);
        Ok(known || is_index(path) && RealFs.exists(path)?)
    }

    fn open(&self, path: &Path, access: Access) -> io::Result<Box<dyn FsFile>> {
        let mut state = self.state();
        let found = match state.names.get(path) {
            Some(Node::File(number)) => Some(*number),
            _ => None,
        };
        let number = match (access, found) {
            (Access::Read | Access::Write, None) => return Err(not_found(path)),
            (Access::Read | Access::Write, Some(number)) => number,
            (Access::Create, Some(number)) => {
                state.change(|state| state.write(number, Change::Length(0)))?;
                number
            }
            (Access::Create, None) => {
                state.next += 1;
                let number = state.next;
                state.change(|state| {
                    state.files.insert(number, Contents::default());
                    let made = vec![(path.to_owned(), Some(Node::File(number)))];
                    state.rename_entries(parent(path), made);
                })?;
                number
            }
        };
        Ok(Box::new(Handle {
            disk: self.clone(),
            number,
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state();
        if is_index(from) && !state.names.contains_key(from) {
            return RealFs.rename(from, to);
        }
        let node = *state.names.get(from).ok_or_else(|| not_found(from))?;
        let mut changes = vec![(from.to_owned(), None), (to.to_owned(), Some(node))];
        for (path, node) in &state.names {
            if let Ok(rest) = path.strip_prefix(from)
                && path != from
            {
                changes.push((path.clone(), None));
                changes.push((to.join(rest), Some(*node)));
            }
        }
        state.change(|state| state.rename_entries(parent(to), changes))
    }

    fn remove_file(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state();
        if !state.names.contains_key(path) {
            return Err(not_found(path));
        }
        state.change(|state| state.rename_entries(parent(path), vec![(path.to_owned(), None)]))
    }

    fn remove_tree(&self, path: &Path) -> io::Result<()> {
        if is_index(path) && RealFs.exists(path)? {
            RealFs.remove_tree(path)?;
        }
        let mut state = self.state();
        let inside = state.names.keys().filter(|name| name.starts_with(path));
        let gone: Vec<_> = inside.map(|name| (name.clone(), None)).collect();
        if gone.is_empty() {
            return Ok(());
        }
        state.change(|state| state.rename_entries(parent(path), gone))
    }

    fn boot_id(&self) -> Option<String> {
        Some(format!("run {}", self.state().runs))
    }

    fn free(&self, _: &Path) -> io::Result<u64> {
        Ok(u64::MAX)
    }
}

impl State {
    fn write(&mut self, number: u64, change: Change) {
        let file = self.files.entry(number).or_default();
        change.apply(&mut file.shown);
        file.unsynced.push(change);
    }
}

/// An open file. It outlives its name, as on Unix.
struct Handle {
    disk: Disk,
    number: u64,
}

impl FsFile for Handle {
    fn read_at(&mut self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let state = self.disk.state();
        let bytes = state
            .files
            .get(&self.number)
            .map_or(&[][..], |file| &file.shown);
        let rest = bytes.get(offset as usize..).unwrap_or_default();
        let length = rest.len().min(into.len());
        into[..length].copy_from_slice(&rest[..length]);
        Ok(length)
    }

    fn write_at(&mut self, bytes: &[u8], offset: u64) -> io::Result<()> {
        let written = Change::Write(offset as usize, bytes.to_vec());
        let mut state = self.disk.state();
        state.change(|state| state.write(self.number, written))
    }

    fn set_len(&mut self, length: u64) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(|state| state.write(self.number, Change::Length(length as usize)))
    }

    fn sync(&mut self) -> io::Result<()> {
        let mut state = self.disk.state();
        state.change(|state| {
            if state.lie == Lie::Sync {
                return;
            }
            if let Some(file) = state.files.get_mut(&self.number) {
                for change in std::mem::take(&mut file.unsynced) {
                    change.apply(&mut file.durable);
                }
            }
        })
    }

    fn len(&self) -> io::Result<u64> {
        let state = self.disk.state();
        let file = state.files.get(&self.number);
        Ok(file.map_or(0, |file| file.shown.len() as u64))
    }
}
