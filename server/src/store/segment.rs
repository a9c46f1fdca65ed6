//! One file of the ledger: a header, then frames, then room that is not used yet.
//!
//! The room is zeros, written ahead: a file that does not grow syncs several times cheaper. So the
//! end of a segment is found by reading: the first place where only zeros follow. What stands there
//! instead after a power cut, and whether it may be cut off, is decided in
//! [`ledger`](super::ledger).
//!
//! Header, 64 bytes, little-endian: `UPLEDGER`, format (u32), sequence of the first entry (u64),
//! hash of the entry before it (32 bytes), zeros, CRC-32 of all before.

use std::io;
use std::path::{Path, PathBuf};

use super::error::StoreError;
use super::frame;
use super::fs::{Access, Fs, FsFile};

const MAGIC: &[u8; 8] = b"UPLEDGER";

/// The newest ledger format this release reads, and the one it writes.
const FORMAT: u32 = 1;

/// Bytes of the header; the first frame begins here.
pub(super) const HEADER_BYTES: u64 = 64;

/// How much is read at once while walking.
const READ_BYTES: usize = 256 * 1024;

/// What a segment continues.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Header {
    /// The sequence of its first entry.
    pub(super) first: u64,
    /// The hash of the entry before.
    pub(super) previous: [u8; 32],
}

impl Header {
    fn encode(&self) -> Vec<u8> {
        let mut bytes = MAGIC.to_vec();
        bytes.extend_from_slice(&FORMAT.to_le_bytes());
        bytes.extend_from_slice(&self.first.to_le_bytes());
        bytes.extend_from_slice(&self.previous);
        bytes.extend_from_slice(&[0; 8]);
        let checksum = crc32fast::hash(&bytes);
        bytes.extend_from_slice(&checksum.to_le_bytes());
        bytes
    }

    /// Reads the header of the segment in `file`; `None` if it is not whole and sound.
    ///
    /// # Errors
    /// [`StoreError::Newer`] if a later release wrote it, [`StoreError::Io`].
    pub(super) fn read(file: &mut dyn FsFile, path: &Path) -> Result<Option<Self>, StoreError> {
        let mut bytes = [0; 64];
        let length = file
            .read_at(&mut bytes, 0)
            .map_err(|error| StoreError::io("read", path, error))?;
        let Some((body, checksum)) = bytes.split_last_chunk::<4>() else {
            return Ok(None);
        };
        if length < bytes.len() || u32::from_le_bytes(*checksum) != crc32fast::hash(body) {
            return Ok(None);
        }
        let fields = || {
            let (format, rest) = body.strip_prefix(MAGIC)?.split_first_chunk::<4>()?;
            let (first, rest) = rest.split_first_chunk::<8>()?;
            let previous = *rest.first_chunk::<32>()?;
            let header = Self {
                first: u64::from_le_bytes(*first),
                previous,
            };
            Some((u32::from_le_bytes(*format), header))
        };
        match fields() {
            Some((found, _)) if found > FORMAT => Err(StoreError::Newer {
                file: path.to_owned(),
                found,
                known: FORMAT,
            }),
            fields => Ok(fields.map(|(_, header)| header)),
        }
    }
}

/// The file name of the segment whose first entry has this sequence.
pub(super) fn file_name(first: u64) -> String {
    format!("{first:020}.seg")
}

/// The sequence a segment's file name promises, or `None` if the name is not one of ours.
pub(super) fn first_of(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(".seg")?;
    let first = digits.parse().ok()?;
    (file_name(first) == name).then_some(first)
}

/// The segment that is written to. After an error it must not be used again.
pub(super) struct Segment {
    path: PathBuf,
    file: Box<dyn FsFile>,
    end: u64,
    length: u64,
    room: u64,
}

impl Segment {
    /// Creates the file with its header and makes file and name durable.
    ///
    /// * `room` - bytes to write ahead each time the file must grow.
    pub(super) fn create(
        fs: &dyn Fs,
        dir: &Path,
        header: &Header,
        room: u64,
    ) -> Result<Self, StoreError> {
        let path = dir.join(file_name(header.first));
        let create = || -> io::Result<Box<dyn FsFile>> {
            let mut file = fs.open(&path, Access::Create)?;
            file.write_at(&header.encode(), 0)?;
            file.sync()?;
            fs.sync_dir(dir)?;
            Ok(file)
        };
        let file = create().map_err(|error| StoreError::io("create", &path, error))?;
        Ok(Self {
            path,
            file,
            end: HEADER_BYTES,
            length: HEADER_BYTES,
            room,
        })
    }

    /// Takes up a segment again whose entries end at byte `end`; cuts off what follows.
    ///
    /// After a failed sync the system may show bytes that are not on disk. So the last ones are
    /// written once more.
    ///
    /// * `again` - how many bytes before `end` may never have been synced.
    pub(super) fn resume(
        fs: &dyn Fs,
        path: PathBuf,
        end: u64,
        room: u64,
        again: u64,
    ) -> Result<Self, StoreError> {
        let resume = || -> io::Result<Box<dyn FsFile>> {
            let mut file = fs.open(&path, Access::Write)?;
            if file.len()? != end {
                file.set_len(end)?;
            }
            let mut at = end.saturating_sub(again);
            let mut bytes = vec![0; READ_BYTES];
            while at < end {
                let read = file.read_at(&mut bytes, at)?;
                let rest = bytes.get(..read).unwrap_or_default();
                if rest.is_empty() {
                    return Err(io::ErrorKind::UnexpectedEof.into());
                }
                file.write_at(rest, at)?;
                at = at.saturating_add(rest.len() as u64);
            }
            file.sync()?;
            Ok(file)
        };
        let file = resume().map_err(|error| StoreError::io("repair the end of", &path, error))?;
        Ok(Self {
            path,
            file,
            end,
            length: end,
            room,
        })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The byte behind the last entry.
    pub(super) fn end(&self) -> u64 {
        self.end
    }

    /// Writes whole frames behind the last one and makes them durable with one sync.
    pub(super) fn append(&mut self, frames: &[u8]) -> Result<(), StoreError> {
        let end = self.end.saturating_add(frames.len() as u64);
        let mut append = || -> io::Result<()> {
            self.file.write_at(frames, self.end)?;
            if end > self.length {
                let zeros = usize::try_from(self.room).unwrap_or(0);
                self.file.write_at(&vec![0; zeros], end)?;
                self.length = end.saturating_add(self.room);
            }
            self.file.sync()
        };
        append().map_err(|error| StoreError::io("write", &self.path, error))?;
        self.end = end;
        Ok(())
    }

    /// Gives the unused room back; nothing will be written here any more.
    pub(super) fn seal(mut self) -> Result<(), StoreError> {
        let sealed = self.file.set_len(self.end).and_then(|()| self.file.sync());
        sealed.map_err(|error| StoreError::io("seal", &self.path, error))
    }
}

/// What stands at one place of a segment.
pub(super) enum Step {
    /// A sound frame's payload; the reader stands behind it.
    Payload(Vec<u8>),
    /// Nothing more up to the end that was given.
    End,
    /// Bytes that are no sound frame; the reader stays before them.
    Bad(&'static str),
}

/// Reads the frames of a segment one after another.
pub(super) struct Reader {
    file: Box<dyn FsFile>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    buffer_at: u64,
}

impl Reader {
    /// Begins at byte `at` and sees nothing from byte `end` on.
    pub(super) fn new(file: Box<dyn FsFile>, at: u64, end: u64) -> Self {
        Self {
            file,
            at,
            end,
            buffer: Vec::new(),
            buffer_at: at,
        }
    }

    /// The byte the next step begins with.
    pub(super) fn at(&self) -> u64 {
        self.at
    }

    /// Reads the next frame.
    pub(super) fn step(&mut self) -> io::Result<Step> {
        let head = self.peek(frame::HEADER_BYTES)?;
        if head.is_empty() {
            return Ok(Step::End);
        }
        if head.iter().all(|byte| *byte == 0) {
            return self.step_over_room();
        }
        let Some((length, _)) = frame::header(head) else {
            return Ok(Step::Bad("no frame begins here"));
        };
        let whole = frame::HEADER_BYTES.saturating_add(length);
        let bytes = self.peek(whole)?;
        if bytes.len() < whole {
            return Ok(Step::Bad("the frame is cut off"));
        }
        let Some(payload) = frame::decode(bytes).map(<[u8]>::to_vec) else {
            return Ok(Step::Bad("the checksum of the frame is wrong"));
        };
        self.at = self.at.saturating_add(whole as u64);
        Ok(Step::Payload(payload))
    }

    /// Everything from here to the end.
    pub(super) fn rest(&mut self) -> io::Result<Vec<u8>> {
        let length = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        Ok(self.peek(length)?.to_vec())
    }

    /// Unused room is zeros to the end; a zero followed by something else is a frame that was not
    /// written whole.
    fn step_over_room(&mut self) -> io::Result<Step> {
        let begin = self.at;
        while self.at < self.end {
            let zeros = self.peek(READ_BYTES)?;
            let length = zeros.len() as u64;
            if zeros.iter().any(|byte| *byte != 0) {
                self.at = begin;
                return Ok(Step::Bad("a frame is missing its beginning"));
            }
            if length == 0 {
                break;
            }
            self.at = self.at.saturating_add(length);
        }
        self.at = begin;
        Ok(Step::End)
    }

    /// The next `wanted` bytes, or fewer if the end comes first.
    fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
        let wanted = wanted.min(left);
        let skip = usize::try_from(self.at.saturating_sub(self.buffer_at)).unwrap_or(usize::MAX);
        let held = self.at >= self.buffer_at
            && skip
                .checked_add(wanted)
                .is_some_and(|to| to <= self.buffer.len());
        if !held {
            self.buffer.resize(wanted.max(READ_BYTES.min(left)), 0);
            let read = self.file.read_at(&mut self.buffer, self.at)?;
            self.buffer.truncate(read);
            self.buffer_at = self.at;
        }
        let skip = usize::try_from(self.at.saturating_sub(self.buffer_at)).unwrap_or(usize::MAX);
        let bytes = self.buffer.get(skip..).unwrap_or_default();
        Ok(bytes.get(..wanted).unwrap_or(bytes))
    }
}
