//! Lines of a file, none longer than a row may be in memory.

use std::io::{self, ErrorKind, Read};

use super::{BYTE_ORDER_MARK, MAX_ROW_BYTES};

/// Splits a file into lines.
pub struct Lines<R> {
    source: R,
    buffer: Vec<u8>,
    begin: usize,
    number: u64,
    ended: bool,
}

/// A line without its end.
#[derive(Debug, PartialEq, Eq)]
pub enum Line<'a> {
    /// All of it.
    Whole(&'a [u8]),
    /// It is longer than a row may be, and was passed over.
    TooLong,
}

impl<R: Read> Lines<R> {
    /// Begins with the first line of `source`.
    pub fn new(source: R) -> Self {
        Self {
            source,
            buffer: Vec::new(),
            begin: 0,
            number: 0,
            ended: false,
        }
    }

    /// The next line and its number, from 1. The last one may lack its end. A carriage return before the end belongs to the end.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_line(&mut self) -> io::Result<Option<(u64, Line<'_>)>> {
        let mut searched = self.begin;
        let mut too_long = false;
        loop {
            let rest = self.buffer.get(searched..).unwrap_or_default();
            if let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
                let (begin, end) = (self.begin, searched.saturating_add(at));
                self.begin = end.saturating_add(1);
                return Ok(Some(self.line(begin, end, too_long)));
            }
            if self.buffer.len().saturating_sub(self.begin) > MAX_LINE_BYTES {
                too_long = true;
                self.buffer.clear();
                self.begin = 0;
            }
            searched = self.buffer.len();
            if !self.fill(&mut searched)? {
                let (begin, end) = (self.begin, self.buffer.len());
                self.begin = end;
                if begin == end && !too_long {
                    return Ok(None);
                }
                return Ok(Some(self.line(begin, end, too_long)));
            }
        }
    }

    fn line(&mut self, begin: usize, end: usize, too_long: bool) -> (u64, Line<'_>) {
        self.number = self.number.saturating_add(1);
        let line = self.buffer.get(begin..end).unwrap_or_default();
        let line = line.strip_suffix(b"\r").unwrap_or(line);
        let line = match self.number {
            1 => line.strip_prefix(BYTE_ORDER_MARK).unwrap_or(line),
            _ => line,
        };
        if too_long || line.len() > MAX_ROW_BYTES {
            (self.number, Line::TooLong)
        } else {
            (self.number, Line::Whole(line))
        }
    }

    /// Reads more behind what is not yet used. False at the end.
    fn fill(&mut self, searched: &mut usize) -> io::Result<bool> {
        if self.ended {
            return Ok(false);
        }
        self.buffer.drain(..self.begin);
        *searched = searched.saturating_sub(self.begin);
        self.begin = 0;
        let used = self.buffer.len();
        self.buffer.resize(used.saturating_add(CHUNK), 0);
        let free = self.buffer.get_mut(used..).unwrap_or_default();
        let read = loop {
            match self.source.read(free) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                other => break other,
            }
        };
        let read = read.inspect_err(|_| self.buffer.truncate(used))?;
        self.buffer.truncate(used.saturating_add(read));
        self.ended = read == 0;
        Ok(!self.ended)
    }
}

const CHUNK: usize = 64 * 1024;
/// With a byte order mark and a carriage return.
const MAX_LINE_BYTES: usize = MAX_ROW_BYTES + 4;
