//! The file: read by a thread of its own, into batches as large as a call takes.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::{self, JoinHandle};

use prost::Message;
use tokio::sync::mpsc;
use upkeep::rpc::v1::{ImportRow, LicenseRow};

use super::errors::BadRow;
use crate::cli::exit::{Exit, Failure};
use crate::license_file::{FileError, Format, Mapping, Numbered, Rows};

/// What was read.
pub(super) enum Item {
    /// The rows for one call, and what stands for each row of the file, in its order.
    Batch(Vec<Entry>, Vec<ImportRow>),
    /// The file can't be read on.
    Failed(Failure),
}

/// A row of the file.
pub(super) enum Entry {
    /// It is sent, and answered.
    Sent(Name),
    /// It is none.
    Bad(BadRow),
}

/// What a row is called in errors.
pub(super) struct Name {
    pub(super) line: u64,
    pub(super) external_id: String,
    pub(super) serial: String,
}

impl Name {
    pub(super) fn of(line: u64, row: &LicenseRow) -> Self {
        Self {
            line,
            external_id: row.external_id.clone(),
            serial: row.serial.clone(),
        }
    }
}

/// An open file.
pub(super) struct Source {
    rows: Rows<Counted>,
    length: Option<u64>,
    pub(super) control: Arc<Control>,
}

/// What the reading thread and the rest know of each other.
#[derive(Debug, Default)]
pub(super) struct Control {
    stopped: AtomicBool,
    bytes: AtomicU64,
}

impl Control {
    /// Nothing more is to be read.
    pub(super) fn stop(&self) {
        self.stopped.store(true, Ordering::Relaxed);
    }

    /// How much of the file was read.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}

/// The form of the file: what `given` says, or its name.
///
/// # Errors
/// Exit 2 when it is not known.
pub(super) fn format_of(path: &Path, given: Option<Format>) -> Result<Format, Failure> {
    let named = || Format::of_name(&path.display().to_string());
    given.or_else(named).ok_or_else(|| {
        Failure::new(
            Exit::Usage,
            format_args!(
                "the form of {} is not known from its name; give --format csv or --format jsonl",
                path.display()
            ),
        )
    })
}

impl Source {
    /// Opens the file and reads its header.
    ///
    /// # Errors
    /// Exit 2 when it can't be opened, exit 5 when its columns are not known.
    pub(super) fn open(path: &Path, format: Format, mapping: &Mapping) -> Result<Self, Failure> {
        let is_stdin = path == Path::new("-");
        let (file, length): (Box<dyn Read + Send>, _) = if is_stdin {
            (Box::new(io::stdin()), None)
        } else {
            let file = File::open(path).map_err(|e| unreadable(path, &e))?;
            let length = file.metadata().ok().map(|metadata| metadata.len());
            (Box::new(file), length)
        };
        let control = Arc::new(Control::default());
        let counted = Counted {
            file,
            control: Arc::clone(&control),
        };
        let rows = Rows::open(counted, format, mapping).map_err(|error| match error {
            FileError::Io(error) => unreadable(path, &error),
            FileError::Header(_) => {
                Failure::new(Exit::Refused, format_args!("{}, {error}", path.display()))
            }
        })?;
        Ok(Self {
            rows,
            length,
            control,
        })
    }

    /// Its length in bytes, where it has one.
    pub(super) fn length(&self) -> Option<u64> {
        self.length.filter(|length| *length > 0)
    }

    /// Reads on in a thread of its own.
    pub(super) fn read(self) -> (mpsc::Receiver<Item>, JoinHandle<()>) {
        let (items, received) = mpsc::channel(AHEAD);
        let reading = thread::spawn(move || read_all(self, &items));
        (received, reading)
    }
}

fn read_all(mut source: Source, items: &mpsc::Sender<Item>) {
    let mut batch = Batch::default();
    loop {
        if source.control.stopped.load(Ordering::Relaxed) {
            return;
        }
        let next = match source.rows.next_row() {
            Ok(next) => next,
            Err(error) => {
                let failure =
                    Failure::new(Exit::Fault, format_args!("the file can't be read: {error}"));
                let _gone = items.blocking_send(Item::Failed(failure));
                return;
            }
        };
        let Some(row) = next else {
            if !batch.entries.is_empty() {
                let _gone = items.blocking_send(batch.into_item());
            }
            return;
        };
        if !batch.entries.is_empty() && batch.is_full_for(&row) {
            let full = std::mem::take(&mut batch);
            if items.blocking_send(full.into_item()).is_err() {
                return;
            }
        }
        batch.push(row);
    }
}

/// Rows of one call.
#[derive(Default)]
struct Batch {
    entries: Vec<Entry>,
    rows: Vec<ImportRow>,
    bytes: usize,
}

impl Batch {
    fn is_full_for(&self, row: &Numbered) -> bool {
        let bytes = self.bytes.saturating_add(row.row.encoded_len());
        self.entries.len() >= MAX_ROWS || bytes > MAX_BYTES
    }

    fn push(&mut self, numbered: Numbered) {
        if !numbered.problems.is_empty() {
            self.entries.push(Entry::Bad(BadRow::unread(numbered)));
            return;
        }
        let Numbered { line, row, .. } = numbered;
        self.bytes = self
            .bytes
            .saturating_add(row.encoded_len())
            .saturating_add(16);
        self.entries.push(Entry::Sent(Name::of(line, &row)));
        self.rows.push(ImportRow {
            number: line,
            license: Some(row),
        });
    }

    fn into_item(self) -> Item {
        Item::Batch(self.entries, self.rows)
    }
}

/// A file that counts what was read of it.
struct Counted {
    file: Box<dyn Read + Send>,
    control: Arc<Control>,
}

impl Read for Counted {
    fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
        let read = self.file.read(into)?;
        let bytes = u64::try_from(read).unwrap_or(0);
        self.control.bytes.fetch_add(bytes, Ordering::Relaxed);
        Ok(read)
    }
}

/// A file that can't be opened.
pub(super) fn unreadable(path: &Path, error: &io::Error) -> Failure {
    Failure::new(
        Exit::Usage,
        format_args!("{} can't be read: {error}", path.display()),
    )
}

/// Batches that were read and wait.
const AHEAD: usize = 4;
/// As many as one call takes.
const MAX_ROWS: usize = 500;
/// Under what the staff's listener takes by default, with one row more.
const MAX_BYTES: usize = 180 * 1024;
