//! Records of a CSV file, none longer than a row may be in memory: RFC 4180, with any line end.

use std::io::{self, ErrorKind, Read};

use csv_core::ReadRecordResult;

use super::{BYTE_ORDER_MARK, MAX_ROW_BYTES};

/// Splits a file into records.
pub struct Records<R> {
    source: R,
    reader: csv_core::Reader,
    input: Box<[u8]>,
    begin: usize,
    end: usize,
    started: bool,
    text: Box<[u8]>,
    ends: Box<[usize]>,
}

/// The cells of one record.
#[derive(Clone, Copy, Debug)]
pub enum Cells<'a> {
    /// All of them.
    Whole {
        /// Their texts, one behind the other.
        text: &'a [u8],
        /// Where each ends.
        ends: &'a [usize],
    },
    /// The record is longer than a row may be, or has more cells, and was passed over.
    TooLong,
}

impl<'a> Cells<'a> {
    /// How many there are.
    pub fn count(&self) -> usize {
        match self {
            Self::Whole { ends, .. } => ends.len(),
            Self::TooLong => 0,
        }
    }

    /// One of them, from 0.
    pub fn get(&self, index: usize) -> Option<&'a [u8]> {
        let Self::Whole { text, ends } = self else {
            return None;
        };
        let end = *ends.get(index)?;
        let begin = match index.checked_sub(1) {
            None => 0,
            Some(before) => *ends.get(before)?,
        };
        text.get(begin..end)
    }
}

impl<R: Read> Records<R> {
    /// Begins with the first record of `source`.
    pub fn new(source: R, delimiter: u8, quote: u8) -> Self {
        let reader = csv_core::ReaderBuilder::new()
            .delimiter(delimiter)
            .quote(quote)
            .build();
        Self {
            source,
            reader,
            input: vec![0; CHUNK].into_boxed_slice(),
            begin: 0,
            end: 0,
            started: false,
            text: vec![0; MAX_ROW_BYTES].into_boxed_slice(),
            ends: vec![0; MAX_CELLS].into_boxed_slice(),
        }
    }

    /// The next record and the line on which it begins, from 1; none at the end.
    ///
    /// # Errors
    /// When reading fails.
    pub fn next_record(&mut self) -> io::Result<Option<(u64, Cells<'_>)>> {
        if !self.started {
            self.start()?;
        }
        self.skip_line_ends()?;
        let line = self.reader.line();
        let (mut text, mut ends, mut too_long) = (0_usize, 0_usize, false);
        loop {
            if self.begin == self.end {
                self.begin = 0;
                self.end = read_some(&mut self.source, &mut self.input)?;
            }
            let input = self.input.get(self.begin..self.end).unwrap_or_default();
            let text_left = self.text.get_mut(text..).unwrap_or_default();
            let ends_left = self.ends.get_mut(ends..).unwrap_or_default();
            let (result, read, written, ended) =
                self.reader.read_record(input, text_left, ends_left);
            self.begin = self.begin.saturating_add(read);
            text = text.saturating_add(written);
            ends = ends.saturating_add(ended);
            match result {
                ReadRecordResult::InputEmpty => {}
                ReadRecordResult::OutputFull | ReadRecordResult::OutputEndsFull => {
                    // What came so far is given up; the record is read to its end.
                    too_long = true;
                    (text, ends) = (0, 0);
                }
                ReadRecordResult::Record if too_long => return Ok(Some((line, Cells::TooLong))),
                ReadRecordResult::Record => {
                    let cells = Cells::Whole {
                        text: self.text.get(..text).unwrap_or_default(),
                        ends: self.ends.get(..ends).unwrap_or_default(),
                    };
                    return Ok(Some((line, cells)));
                }
                ReadRecordResult::End => {
                    return Ok(too_long.then_some((line, Cells::TooLong)));
                }
            }
        }
    }

    /// Passes over the rest of the line end before and over empty lines: the parser counts them only with the record that follows.
    fn skip_line_ends(&mut self) -> io::Result<()> {
        loop {
            if self.begin == self.end {
                self.begin = 0;
                self.end = read_some(&mut self.source, &mut self.input)?;
            }
            match self.input.get(self.begin..self.end).and_then(<[u8]>::first) {
                Some(b'\n') => self.reader.set_line(self.reader.line().saturating_add(1)),
                Some(b'\r') => {}
                _ => return Ok(()),
            }
            self.begin = self.begin.saturating_add(1);
        }
    }

    /// Fills the first bytes, and leaves a byte order mark out.
    fn start(&mut self) -> io::Result<()> {
        self.started = true;
        while self.end < BYTE_ORDER_MARK.len() {
            let free = self.input.get_mut(self.end..).unwrap_or_default();
            match read_some(&mut self.source, free)? {
                0 => break,
                read => self.end = self.end.saturating_add(read),
            }
        }
        let first = self.input.get(..self.end).unwrap_or_default();
        if first.starts_with(BYTE_ORDER_MARK) {
            self.begin = BYTE_ORDER_MARK.len();
        }
        Ok(())
    }
}

fn read_some(source: &mut impl Read, into: &mut [u8]) -> io::Result<usize> {
    loop {
        match source.read(into) {
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            other => return other,
        }
    }
}

const CHUNK: usize = 64 * 1024;
/// More columns than any system exports.
const MAX_CELLS: usize = 1024;
