//! Sorted pairs in a file: what snapshots and the runs that they are merged from are made of.
//!
//! A file is a sequence of frames (see [`frame`](super::frame)). The first byte of a payload tells its kind: a *block* of pairs, or
//! what the file's owner puts before and behind them. In a block each pair is the length of the key (u32, big-endian), the key, the
//! length of the value, the value; the length [`DELETED`] stands for a key that was deleted, which only runs hold. So the blocks of
//! a snapshot one after another are the very bytes that the state hash is made over.

use std::io;
use std::path::Path;

use sha2::{Digest, Sha256};

use super::engine::Pair;
use super::frame;
use super::fs::{Access, Fs, FsFile};

/// The kind of a frame with pairs.
pub(super) const BLOCK: u8 = b'B';

/// In place of a value's length: the key was deleted.
const DELETED: u32 = u32::MAX;

/// A block is closed once it has so many bytes.
const BLOCK_BYTES: usize = 64 << 10;

/// How much is written, and read, at once.
const CHUNK_BYTES: usize = 1 << 20;

/// A key with its value, or `None` if it was deleted.
pub(super) type Change = (Vec<u8>, Option<Vec<u8>>);

/// Writes a file of frames and hashes what it writes.
pub(super) struct Writer {
    file: Box<dyn FsFile>,
    at: u64,
    waiting: Vec<u8>,
    block: Vec<u8>,
    hash: Sha256,
}

impl Writer {
    /// A new file in place of any other of this name.
    pub(super) fn create(fs: &dyn Fs, path: &Path) -> io::Result<Self> {
        Ok(Self {
            file: fs.open(path, Access::Create)?,
            at: 0,
            waiting: Vec::new(),
            block: vec![BLOCK],
            hash: Sha256::new(),
        })
    }

    /// Adds a frame of another kind than pairs; the pairs before it are closed.
    pub(super) fn frame(&mut self, kind: u8, body: &[u8]) -> io::Result<()> {
        self.close_block()?;
        let mut payload = vec![kind];
        payload.extend_from_slice(body);
        self.put(&payload)
    }

    /// Adds a pair, or what deletes one; ascending by key.
    pub(super) fn pair(&mut self, key: &[u8], value: Option<&[u8]>) -> io::Result<()> {
        add(&mut self.block, key, value);
        match self.block.len() >= BLOCK_BYTES {
            true => self.close_block(),
            false => Ok(()),
        }
    }

    /// Ends the file with the SHA-256 of all before and makes it durable. The name is the caller's to make durable.
    pub(super) fn finish(mut self) -> io::Result<()> {
        self.close_block()?;
        self.flush()?;
        let digest = self.hash.finalize();
        self.file.write_at(&digest, self.at)?;
        self.file.sync()
    }

    fn close_block(&mut self) -> io::Result<()> {
        if self.block.len() <= 1 {
            return Ok(());
        }
        let block = std::mem::replace(&mut self.block, vec![BLOCK]);
        self.put(&block)
    }

    fn put(&mut self, payload: &[u8]) -> io::Result<()> {
        frame::encode(payload, &mut self.waiting);
        match self.waiting.len() >= CHUNK_BYTES {
            true => self.flush(),
            false => Ok(()),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.write_at(&self.waiting, self.at)?;
        self.hash.update(&self.waiting);
        self.at = self.at.saturating_add(self.waiting.len() as u64);
        self.waiting.clear();
        Ok(())
    }
}

/// Adds a pair in the form that blocks and the state hash have.
pub(super) fn add(to: &mut Vec<u8>, key: &[u8], value: Option<&[u8]>) {
    let length = |bytes: &[u8]| u32::try_from(bytes.len()).unwrap_or(DELETED).to_be_bytes();
    to.extend_from_slice(&length(key));
    to.extend_from_slice(key);
    match value {
        Some(value) => {
            to.extend_from_slice(&length(value));
            to.extend_from_slice(value);
        }
        None => to.extend_from_slice(&DELETED.to_be_bytes()),
    }
}

/// The length of the hash at the end.
pub(super) const DIGEST_BYTES: u64 = 32;

/// Reads the frames of such a file one after another.
pub(super) struct Reader {
    file: Box<dyn FsFile>,
    at: u64,
    end: u64,
    buffer: Vec<u8>,
    begin: usize,
}

impl Reader {
    /// Begins with the first frame and ends before the digest.
    pub(super) fn open(fs: &dyn Fs, path: &Path) -> io::Result<Self> {
        let file = fs.open(path, Access::Read)?;
        let end = file.len()?.saturating_sub(DIGEST_BYTES);
        Ok(Self {
            file,
            at: 0,
            end,
            buffer: Vec::new(),
            begin: 0,
        })
    }

    /// The payload of the next frame; `None` at the end.
    ///
    /// # Errors
    /// [`io::ErrorKind::InvalidData`] if no sound frame stands there.
    pub(super) fn next(&mut self) -> io::Result<Option<Vec<u8>>> {
        let head = self.peek(frame::HEADER_BYTES)?;
        if head.is_empty() {
            return Ok(None);
        }
        let unsound = || io::Error::from(io::ErrorKind::InvalidData);
        let (length, _) = frame::header(head).ok_or_else(unsound)?;
        let whole = frame::HEADER_BYTES.saturating_add(length);
        let bytes = self.peek(whole)?;
        let payload = frame::decode(bytes).ok_or_else(unsound)?.to_vec();
        self.begin = self.begin.saturating_add(whole);
        Ok(Some(payload))
    }

    /// True if the digest at the end is that of all before it. Reads the file once through, from its beginning.
    pub(super) fn is_whole(&mut self) -> io::Result<bool> {
        let mut hash = Sha256::new();
        let mut chunk = vec![0; CHUNK_BYTES];
        let mut at = 0;
        while at < self.end {
            let left = usize::try_from(self.end.saturating_sub(at)).unwrap_or(usize::MAX);
            let wanted = left.min(CHUNK_BYTES);
            let read = self
                .file
                .read_at(chunk.get_mut(..wanted).unwrap_or_default(), at)?;
            if read == 0 {
                return Ok(false);
            }
            hash.update(chunk.get(..read).unwrap_or_default());
            at = at.saturating_add(read as u64);
        }
        let mut digest = [0; DIGEST_BYTES as usize];
        let read = self.file.read_at(&mut digest, self.end)?;
        Ok(read == digest.len() && digest[..] == hash.finalize()[..])
    }

    fn peek(&mut self, wanted: usize) -> io::Result<&[u8]> {
        let held = self.buffer.len().saturating_sub(self.begin);
        if held < wanted && self.at < self.end {
            self.buffer.drain(..self.begin);
            self.begin = 0;
            let left = usize::try_from(self.end.saturating_sub(self.at)).unwrap_or(usize::MAX);
            let more = wanted.max(CHUNK_BYTES).min(left);
            let had = self.buffer.len();
            self.buffer.resize(had.saturating_add(more), 0);
            let into = self.buffer.get_mut(had..).unwrap_or_default();
            let read = self.file.read_at(into, self.at)?;
            self.buffer.truncate(had.saturating_add(read));
            self.at = self.at.saturating_add(read as u64);
        }
        let rest = self.buffer.get(self.begin..).unwrap_or_default();
        Ok(rest.get(..wanted).unwrap_or(rest))
    }
}

/// The changes of a block, without its kind; `None` if it is none.
pub(super) fn parse(mut block: &[u8]) -> Option<Vec<Change>> {
    let mut changes = Vec::new();
    while !block.is_empty() {
        let (key, rest) = part(block)?;
        let key = key?.to_vec();
        let (value, rest) = part(rest)?;
        changes.push((key, value.map(<[u8]>::to_vec)));
        block = rest;
    }
    Some(changes)
}

/// The pairs of a block in which nothing is deleted.
pub(super) fn parse_pairs(block: &[u8]) -> Option<Vec<Pair>> {
    let changes = parse(block)?;
    changes
        .into_iter()
        .map(|(key, value)| Some((key, value?)))
        .collect()
}

fn part(bytes: &[u8]) -> Option<(Option<&[u8]>, &[u8])> {
    let (length, rest) = bytes.split_first_chunk::<4>()?;
    match u32::from_be_bytes(*length) {
        DELETED => Some((None, rest)),
        length => {
            let (part, rest) = rest.split_at_checked(usize::try_from(length).ok()?)?;
            Some((Some(part), rest))
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use super::super::fs::RealFs;
    use super::*;

    #[test]
    fn frames_and_pairs_read_back_and_a_flipped_bit_is_seen() {
        let temp = tempfile::tempdir().unwrap();
        let path = temp.path().join("pairs");
        let mut writer = Writer::create(&RealFs, &path).unwrap();
        writer.frame(b'H', b"before").unwrap();
        let value = vec![7; 5000];
        for turn in 0..400_u32 {
            let value = (turn % 3 != 0).then_some(value.as_slice());
            writer.pair(&turn.to_be_bytes(), value).unwrap();
        }
        writer.frame(b'M', b"behind").unwrap();
        writer.finish().unwrap();

        let mut reader = Reader::open(&RealFs, &path).unwrap();
        assert!(reader.is_whole().unwrap());
        assert_eq!(reader.next().unwrap().unwrap(), b"Hbefore");
        let mut seen = 0_u32;
        loop {
            let payload = reader.next().unwrap().unwrap();
            let (kind, body) = payload.split_first().unwrap();
            if *kind != BLOCK {
                assert_eq!(payload, b"Mbehind");
                break;
            }
            for (key, found) in parse(body).unwrap() {
                assert_eq!(key, seen.to_be_bytes());
                assert_eq!(found, (!seen.is_multiple_of(3)).then(|| value.clone()));
                seen += 1;
            }
        }
        assert_eq!((seen, reader.next().unwrap()), (400, None));

        let sound = std::fs::read(&path).unwrap();
        for at in [0, 20, 70_000, sound.len() - 40, sound.len() - 1] {
            let mut bytes = sound.clone();
            bytes[at] ^= 1;
            std::fs::write(&path, &bytes).unwrap();
            assert!(!Reader::open(&RealFs, &path).unwrap().is_whole().unwrap());
        }
    }
}
