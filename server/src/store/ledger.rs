//! The ledger: the append-only, hash-chained record of every transaction, and the store's only
//! truth.
//!
//! An entry is acknowledged once [`Ledger::append`] has returned. Segments follow each other by
//! name and by the header's sequence and hash. Only the newest one is written to.
//!
//! A power cut may leave the last group half written, its later frames on disk and earlier ones
//! not. Each entry says which entry its group began with. So a bad frame is an unacknowledged tail,
//! and is cut off with a warning, if every sound frame behind it belongs to the same group. A bad
//! frame anywhere else is damage, and the store does not open. That acknowledged entries are
//! missing at the very end shows in what has seen them: the index and the snapshots after a crash of
//! the process, the mark of a clean close. After a power cut without a later snapshot nothing has, and
//! a last group that the disk lost although it was synced looks like one that never was.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError, RwLock};

use super::entry::{Entry, Head, Sealed};
use super::error::StoreError;
use super::frame;
use super::fs::{Access, Fs};
use super::segment::{self, Header, Reader, Segment, Step};

/// An entry's place is remembered each time so many entries have passed.
const WAYPOINT_ENTRIES: u64 = 256;

/// More than one group commit takes in the file.
const GROUP_BYTES: u64 = 4 << 20;

/// Who looks at the files.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    /// The one server they belong to: what was never acknowledged is removed.
    Server,
    /// A reader beside it: what is not whole is being written, and left alone.
    Reader,
}

/// The ledger in one directory. One writer; readers see only what is synced.
pub(super) struct Ledger {
    fs: Arc<dyn Fs>,
    dir: PathBuf,
    segment_bytes: u64,
    writer: Mutex<Segment>,
    extents: RwLock<Vec<Extent>>,
}

/// The synced part of one segment.
#[derive(Clone)]
pub(super) struct Extent {
    /// Shared: each walk takes the extents that are ahead of it.
    pub(super) path: Arc<Path>,
    pub(super) header: Header,
    pub(super) end: u64,
    waypoints: Waypoints,
}

/// Where every 256th entry of a segment begins, as far as somebody has passed them. Clones share it: whoever walks begins with the
/// segment or with one of these and adds those that it passes, so the next one need not begin with the segment again.
#[derive(Clone, Default)]
struct Waypoints(Arc<Mutex<Vec<(u64, u64)>>>);

impl Waypoints {
    fn pass(&self, sequence: u64, at: u64) {
        if !sequence.is_multiple_of(WAYPOINT_ENTRIES) {
            return;
        }
        let mut passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if passed.last().is_none_or(|(last, _)| *last < sequence) {
            passed.push((sequence, at));
        }
    }

    /// The last one that is not behind an entry: its sequence, and the byte it begins at.
    fn near(&self, sequence: u64) -> Option<(u64, u64)> {
        let passed = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let before = passed.partition_point(|(passed, _)| *passed <= sequence);
        passed.get(before.checked_sub(1)?).copied()
    }
}

impl Ledger {
    /// Creates an empty ledger. What an interrupted creation left behind is replaced.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] if entries stand there already, [`StoreError::Io`].
    pub(super) fn create(fs: &dyn Fs, dir: &Path) -> Result<(), StoreError> {
        let io = |action, path: &Path| {
            let path = path.to_owned();
            move |error| StoreError::io(action, &path, error)
        };
        fs.create_dir(dir).map_err(io("create", dir))?;
        for name in fs.list(dir).map_err(io("list", dir))? {
            let path = dir.join(&name);
            if segment::first_of(&name).is_some() && !frames_of(fs, &path, 0)?.is_empty() {
                return Err(StoreError::damaged(
                    &path,
                    "there is a ledger with entries here, but the file `meta` beside it is missing",
                ));
            }
            fs.remove_file(&path).map_err(io("remove", &path))?;
        }
        let first = Header {
            first: 1,
            previous: Head::EMPTY.hash(),
        };
        Segment::create(fs, dir, &first, 0)?;
        Ok(())
    }

    /// Opens the ledger: checks the names and headers of all segments and every entry of the last
    /// one.
    ///
    /// Cuts off an unacknowledged tail. Entries of earlier segments are checked when they are
    /// walked.
    ///
    /// * `acknowledged` - the ledger is known to have reached this entry; nothing up to it is cut.
    ///
    /// # Errors
    /// [`StoreError::Damaged`] with file and offset, [`StoreError::Newer`], [`StoreError::Io`].
    pub(super) fn open(
        fs: Arc<dyn Fs>,
        dir: &Path,
        segment_bytes: u64,
        acknowledged: u64,
    ) -> Result<(Self, Head), StoreError> {
        let mut extents = survey(&*fs, dir, &names(&*fs, dir)?, Owner::Server)?;
        let Some(last) = extents.last_mut() else {
            return Err(StoreError::damaged(dir, "it holds no ledger segment"));
        };
        let head = find_end(&*fs, last, acknowledged, Owner::Server)?;
        let room = room(segment_bytes);
        let writer = Segment::resume(&*fs, last.path.to_path_buf(), last.end, room, GROUP_BYTES)?;
        fs.sync_dir(dir)
            .map_err(|error| StoreError::io("sync", dir, error))?;
        let ledger = Self {
            fs,
            dir: dir.to_owned(),
            segment_bytes,
            writer: Mutex::new(writer),
            extents: RwLock::new(extents),
        };
        Ok((ledger, head))
    }

    /// Reads, as [`Self::open`] does, how far the ledger in `dir` goes, and when its last entry was written, in milliseconds
    /// since 1970 UTC; `None` for an empty one. Give it a file layer that changes nothing.
    ///
    /// # Errors
    /// As [`Self::open`].
    pub(super) fn look(fs: &dyn Fs, dir: &Path) -> Result<(Head, Option<i64>), StoreError> {
        let mut extents = survey(fs, dir, &names(fs, dir)?, Owner::Reader)?;
        let Some(last) = extents.last_mut() else {
            return Err(StoreError::damaged(dir, "it holds no ledger segment"));
        };
        let head = find_end(fs, last, 0, Owner::Reader)?;
        let near = last.waypoints.near(head.sequence());
        let from = near.map_or(segment::HEADER_BYTES, |(_, at)| at);
        let io = |error| StoreError::io("read", &last.path, error);
        let file = fs.open(&last.path, Access::Read).map_err(io)?;
        let mut reader = Reader::new(file, from, last.end);
        let mut written = None;
        while let Step::Payload(payload) = reader.step().map_err(io)? {
            written = Entry::decode(&payload).map(|entry| entry.at_unix_ms());
        }
        Ok((head, written))
    }

    /// Appends a group of entries that follow `before` and makes them durable with one sync.
    ///
    /// # Errors
    /// [`StoreError::Io`]: the entries may be on disk or not, and the ledger must not be used
    /// again.
    pub(super) fn append(&self, before: &Head, entries: &[Sealed]) -> Result<(), StoreError> {
        let mut writer = self.writer.lock().unwrap_or_else(PoisonError::into_inner);
        if writer.end() >= self.segment_bytes && writer.end() > segment::HEADER_BYTES {
            self.roll_over(&mut writer, before)?;
        }
        let mut at = writer.end();
        let framed = entries
            .iter()
            .map(|entry| frame::HEADER_BYTES + entry.payload().len());
        let mut frames = Vec::with_capacity(framed.sum());
        let mut places = Vec::with_capacity(entries.len());
        for entry in entries {
            places.push((
                entry.head().sequence(),
                at.saturating_add(frames.len() as u64),
            ));
            frame::encode(entry.payload(), &mut frames);
        }
        writer.append(&frames)?;
        at = writer.end();
        let mut extents = self.extents.write().unwrap_or_else(PoisonError::into_inner);
        if let Some(extent) = extents.last_mut() {
            places
                .into_iter()
                .for_each(|(sequence, place)| extent.waypoints.pass(sequence, place));
            extent.end = at;
        }
        Ok(())
    }

    /// Walks the entries from `from` on, each checked against the one before.
    ///
    /// The walk begins with the segment that holds `from`, so that the chain is checked from its
    /// header on.
    pub(super) fn walk(&self, from: u64) -> Walk {
        self.walk_from(from, |_| None)
    }

    /// As [`walk`](Self::walk), but begins near `from`; the entries passed over on the way are not
    /// checked.
    pub(super) fn walk_near(&self, from: u64) -> Walk {
        self.walk_from(from, |extent| extent.waypoints.near(from))
    }

    /// About how many bytes the entries after `sequence` take: within a segment all count as equally long.
    ///
    /// * `last` - the last entry.
    pub(super) fn bytes_after(&self, sequence: u64, last: u64) -> u64 {
        let extents = self.extents.read().unwrap_or_else(PoisonError::into_inner);
        let firsts = extents.iter().map(|extent| extent.header.first);
        let ends = firsts.skip(1).chain([last.saturating_add(1)]);
        let after = extents.iter().zip(ends).map(|(extent, next)| {
            let entries = next.saturating_sub(extent.header.first);
            let later = next.saturating_sub(extent.header.first.max(sequence.saturating_add(1)));
            let share = u128::from(extent.end) * u128::from(later) / u128::from(entries.max(1));
            u64::try_from(share).unwrap_or(u64::MAX)
        });
        after.fold(0, u64::saturating_add)
    }

    /// The number of segments.
    pub(super) fn segments(&self) -> usize {
        self.extents
            .read()
            .unwrap_or_else(PoisonError::into_inner)
            .len()
    }

    fn walk_from(&self, from: u64, near: impl Fn(&Extent) -> Option<(u64, u64)>) -> Walk {
        let extents = self.extents.read().unwrap_or_else(PoisonError::into_inner);
        let at = extents
            .partition_point(|extent| extent.header.first <= from)
            .max(1)
            - 1;
        let ahead = extents.get(at..).unwrap_or_default();
        let begin = ahead.first().and_then(near);
        let mut ahead = ahead.to_vec();
        drop(extents);
        ahead.reverse();
        Walk {
            begin,
            ..Walk::over(Arc::clone(&self.fs), ahead, from)
        }
    }

    fn roll_over(&self, writer: &mut Segment, before: &Head) -> Result<(), StoreError> {
        let header = Header {
            first: before.sequence() + 1,
            previous: before.hash(),
        };
        let fresh = Segment::create(&*self.fs, &self.dir, &header, room(self.segment_bytes))?;
        let extent = Extent {
            path: fresh.path().into(),
            header,
            end: fresh.end(),
            waypoints: Waypoints::default(),
        };
        std::mem::replace(writer, fresh).seal()?;
        self.extents
            .write()
            .unwrap_or_else(PoisonError::into_inner)
            .push(extent);
        Ok(())
    }
}

/// An iterator over chained entries; ends after the first error.
pub(super) struct Walk {
    fs: Arc<dyn Fs>,
    /// The segments not yet begun, the next one last.
    ahead: Vec<Extent>,
    /// Where to begin in the first segment.
    begin: Option<(u64, u64)>,
    from: u64,
    open: Option<(Extent, Reader)>,
    /// What the next entry must be: its sequence, and the hash before it if known.
    next: Option<(u64, Option<[u8; 32]>)>,
}

impl Iterator for Walk {
    type Item = Result<Entry, StoreError>;

    fn next(&mut self) -> Option<Self::Item> {
        loop {
            match self.advance() {
                Ok(Some(entry)) if entry.sequence() < self.from => {}
                Ok(entry) => return entry.map(Ok),
                Err(error) => {
                    self.ahead.clear();
                    self.open = None;
                    return Some(Err(error));
                }
            }
        }
    }
}

impl Walk {
    /// Walks the entries from `from` on.
    ///
    /// * `ahead` - the segments, the first one last.
    pub(super) fn over(fs: Arc<dyn Fs>, ahead: Vec<Extent>, from: u64) -> Self {
        Self {
            fs,
            ahead,
            begin: None,
            from,
            open: None,
            next: None,
        }
    }

    fn advance(&mut self) -> Result<Option<Entry>, StoreError> {
        loop {
            let Some((extent, reader)) = &mut self.open else {
                let Some(extent) = self.ahead.pop() else {
                    return Ok(None);
                };
                self.enter(extent)?;
                continue;
            };
            let (path, at) = (&extent.path, reader.at());
            match reader
                .step()
                .map_err(|error| StoreError::io("read", path, error))?
            {
                Step::End => self.open = None,
                Step::Bad(why) => {
                    return Err(StoreError::damaged(path, format!("at byte {at}: {why}")));
                }
                Step::Payload(payload) => {
                    let entry = check(path, at, &payload, self.next)?;
                    extent.waypoints.pass(entry.sequence(), at);
                    self.next = Some((entry.sequence() + 1, Some(entry.hash())));
                    return Ok(Some(entry));
                }
            }
        }
    }

    /// Goes on with the next segment, which must continue where the last one ended.
    fn enter(&mut self, extent: Extent) -> Result<(), StoreError> {
        let Header { first, previous } = extent.header;
        if let Some((sequence, hash)) = self.next {
            if sequence != first {
                return Err(StoreError::damaged(
                    &extent.path,
                    format!(
                        "it begins with entry {first}, but the segment before ends before entry {sequence}"
                    ),
                ));
            }
            if hash.is_some_and(|hash| hash != previous) {
                return Err(StoreError::damaged(
                    &extent.path,
                    format!("the hash chain is broken before entry {first}"),
                ));
            }
        }
        let (next, at) = match self.begin.take() {
            Some((sequence, at)) => ((sequence, None), at),
            None => ((first, Some(previous)), segment::HEADER_BYTES),
        };
        let file = self.fs.open(&extent.path, Access::Read);
        let file = file.map_err(|error| StoreError::io("open", &extent.path, error))?;
        let reader = Reader::new(file, at, extent.end);
        self.next = Some(next);
        self.open = Some((extent, reader));
        Ok(())
    }
}

/// The unused bytes to write ahead in a segment.
fn room(segment_bytes: u64) -> u64 {
    const ROOM_BYTES: u64 = 1 << 20;
    ROOM_BYTES.min(segment_bytes / 4)
}

/// The names of the files in the directory of a ledger, sorted.
pub(super) fn names(fs: &dyn Fs, dir: &Path) -> Result<Vec<String>, StoreError> {
    let names = fs.list(dir);
    names.map_err(|error| StoreError::io("list", dir, error))
}

/// Reads the headers of the segments, in order.
///
/// * `names` - names in the directory, sorted; those that are no segment's are passed over.
pub(super) fn survey(
    fs: &dyn Fs,
    dir: &Path,
    names: &[String],
    owner: Owner,
) -> Result<Vec<Extent>, StoreError> {
    let named: Vec<_> = names
        .iter()
        .filter_map(|name| Some((segment::first_of(name)?, dir.join(name))))
        .collect();
    let mut extents = Vec::with_capacity(named.len());
    let last = named.len().saturating_sub(1);
    for (at, (first, path)) in named.into_iter().enumerate() {
        let file = fs.open(&path, Access::Read);
        let mut file = file.map_err(|error| StoreError::io("open", &path, error))?;
        let end = file
            .len()
            .map_err(|error| StoreError::io("measure", &path, error))?;
        match Header::read(&mut *file, &path)? {
            Some(header) if header.first == first => {
                extents.push(Extent {
                    path: path.into(),
                    header,
                    end,
                    waypoints: Waypoints::default(),
                });
            }
            Some(header) => {
                return Err(StoreError::damaged(
                    &path,
                    format!("its header says that it begins with entry {}", header.first),
                ));
            }
            None if at == last && at > 0 && owner == Owner::Reader => {}
            None if at == last && at > 0 && frames_of(fs, &path, 0)?.is_empty() => {
                tracing::warn!(segment = %path.display(), "removing a segment that was never begun");
                fs.remove_file(&path)
                    .map_err(|error| StoreError::io("remove", &path, error))?;
            }
            None => {
                return Err(StoreError::damaged(
                    &path,
                    "at byte 0: the header is not sound",
                ));
            }
        }
    }
    match extents.first() {
        Some(extent) if extent.header.first != 1 => Err(StoreError::damaged(
            dir,
            format!(
                "the segment with entry 1 is missing, the first is {}",
                extent.path.display()
            ),
        )),
        _ => Ok(extents),
    }
}

/// Checks all entries of the last segment and sets its end behind the last sound one.
pub(super) fn find_end(
    fs: &dyn Fs,
    last: &mut Extent,
    acknowledged: u64,
    owner: Owner,
) -> Result<Head, StoreError> {
    let path = last.path.clone();
    let file = fs.open(&path, Access::Read);
    let file = file.map_err(|error| StoreError::io("open", &path, error))?;
    let mut reader = Reader::new(file, segment::HEADER_BYTES, last.end);
    let mut head = Head::new(last.header.first.saturating_sub(1), last.header.previous);
    loop {
        let at = reader.at();
        match reader
            .step()
            .map_err(|error| StoreError::io("read", &path, error))?
        {
            Step::Payload(payload) => {
                let expected = (head.sequence() + 1, Some(head.hash()));
                let entry = check(&path, at, &payload, Some(expected))?;
                last.waypoints.pass(entry.sequence(), at);
                head = entry.head();
            }
            Step::End => {
                last.end = at;
                return Ok(head);
            }
            Step::Bad(why) => {
                let rest = reader
                    .rest()
                    .map_err(|error| StoreError::io("read", &path, error))?;
                let next = head.sequence() + 1;
                let mut behind = frame::search(&rest).filter_map(Entry::decode);
                if let Some(entry) = behind.find(|entry| entry.group() > next) {
                    return Err(StoreError::damaged(
                        &path,
                        format!(
                            "at byte {at}: {why}, but entry {} stands behind it",
                            entry.sequence()
                        ),
                    ));
                }
                if head.sequence() < acknowledged {
                    return Err(StoreError::Damaged {
                        why: format!(
                            "it ends with entry {}, but entry {acknowledged} was acknowledged: {}, at byte {at}: {why}",
                            head.sequence(),
                            path.display(),
                        ),
                        file: path.parent().unwrap_or(&path).to_owned(),
                        what_to_do: format!(
                            "restore the ledger from a backup that reaches entry {acknowledged}; only to accept \
                             the loss, move `index`, `index.state` and `snapshots` away and start again"
                        ),
                    });
                }
                if owner == Owner::Server {
                    tracing::warn!(
                        segment = %path.display(), at, why, last_entry = head.sequence(),
                        "cutting off a tail that was never acknowledged"
                    );
                }
                last.end = at;
                return Ok(head);
            }
        }
    }
}

/// Decodes a payload and checks that it is the entry expected here.
pub(super) fn check(
    path: &Path,
    at: u64,
    payload: &[u8],
    expected: Option<(u64, Option<[u8; 32]>)>,
) -> Result<Entry, StoreError> {
    let damaged = |why: String| StoreError::damaged(path, format!("at byte {at}: {why}"));
    let entry = Entry::decode(payload).ok_or_else(|| damaged("the frame holds no entry".into()))?;
    let Some((sequence, previous)) = expected else {
        return Ok(entry);
    };
    if entry.sequence() != sequence {
        return Err(damaged(format!(
            "entry {sequence} is expected and entry {} stands there",
            entry.sequence()
        )));
    }
    if previous.is_some_and(|previous| previous != entry.previous()) {
        return Err(damaged(format!(
            "the hash chain is broken before entry {sequence}"
        )));
    }
    Ok(entry)
}

/// All entries that stand whole anywhere in a file from byte `at` on, in sound order or not.
fn frames_of(fs: &dyn Fs, path: &Path, at: u64) -> Result<Vec<Entry>, StoreError> {
    let read = || {
        let file = fs.open(path, Access::Read)?;
        let end = file.len()?;
        Reader::new(file, at, end).rest()
    };
    let bytes = read().map_err(|error| StoreError::io("read", path, error))?;
    Ok(frame::search(&bytes).filter_map(Entry::decode).collect())
}
