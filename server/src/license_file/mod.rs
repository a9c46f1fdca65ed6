//! License files: what `import` reads and `export` writes, as rows of the API and back.
//!
//! CSV, whose columns are named after the fields or mapped to them, and JSON lines. Files come from other systems and may hold
//! anything: reading is total, takes a bounded amount of memory whatever a line looks like, and what is wrong with a row is said by
//! line and field without repeating its values. Whether a license may be made is not known here.

mod csv;
mod field;
mod json;
mod lines;
mod mapping;
mod records;
mod write;

use std::fmt;
use std::io::{self, Read};

use upkeep::rpc::v1::LicenseRow;

pub use self::csv::CsvRows;
pub use self::field::Field;
pub use self::json::{JsonRows, parse_line};
pub use self::lines::{Line, Lines};
pub use self::mapping::{Mapping, MappingError, TEMPLATE};
pub use self::records::{Cells, Records};
pub use self::write::{csv_header, csv_line, json_line};

/// The most bytes of one row: as many as a record of the store has.
pub const MAX_ROW_BYTES: usize = 65_536;

/// The form of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum Format {
    /// Comma-separated values, RFC 4180, with a header.
    Csv,
    /// One JSON object a line.
    Jsonl,
}

impl Format {
    /// What a file's name says.
    pub fn of_name(name: &str) -> Option<Self> {
        let (_, extension) = name.rsplit_once('.')?;
        match extension.to_ascii_lowercase().as_str() {
            "csv" | "tsv" | "txt" => Some(Self::Csv),
            "jsonl" | "ndjson" => Some(Self::Jsonl),
            _ => None,
        }
    }
}

/// A row as it was read.
#[derive(Clone, PartialEq)]
pub struct Numbered {
    /// The line on which it begins, from 1.
    pub line: u64,
    /// What could be read of it.
    pub row: LicenseRow,
    /// What is wrong with it; a row with problems is not to be used.
    pub problems: Vec<Problem>,
}

/// Something that is wrong with a row.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// The field, or the column; `row` for the row as a whole.
    pub field: String,
    /// What it has to be. The value is not repeated.
    pub description: String,
}

impl Problem {
    fn new(field: &str, description: impl Into<String>) -> Self {
        Self {
            field: field.to_owned(),
            description: description.into(),
        }
    }

    /// Of the row as a whole.
    fn of_row(description: impl Into<String>) -> Self {
        Self::new("row", description)
    }
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.field, self.description)
    }
}

/// A whole row that is wrong.
fn unusable(line: u64, problem: Problem) -> Numbered {
    Numbered {
        line,
        row: LicenseRow::default(),
        problems: vec![problem],
    }
}

/// Why a file can't be read at all.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum FileError {
    /// Reading failed.
    #[error("the file can't be read: {0}")]
    Io(#[from] io::Error),
    /// The first line of a CSV file does not name what it has to.
    #[error("line 1: {0}")]
    Header(String),
}

/// The rows of a file, one after another.
pub enum Rows<R> {
    /// Of CSV.
    Csv(Box<CsvRows<R>>),
    /// Of JSON lines.
    Json(JsonRows<R>),
}

impl<R: Read> Rows<R> {
    /// Begins to read.
    ///
    /// * `mapping` - for CSV; without one the columns have the names of fields.
    ///
    /// # Errors
    /// [`FileError`].
    pub fn open(source: R, format: Format, mapping: &Mapping) -> Result<Self, FileError> {
        Ok(match format {
            Format::Csv => Self::Csv(Box::new(CsvRows::open(source, mapping)?)),
            Format::Jsonl => Self::Json(JsonRows::new(source)),
        })
    }

    /// The next row; none at the end.
    ///
    /// # Errors
    /// [`io::Error`] when reading fails.
    pub fn next_row(&mut self) -> io::Result<Option<Numbered>> {
        match self {
            Self::Csv(rows) => rows.next_row(),
            Self::Json(rows) => rows.next_row(),
        }
    }
}

/// A file that begins with it is UTF-8 (and often came from a spreadsheet); it belongs to no row.
const BYTE_ORDER_MARK: &[u8] = b"\xEF\xBB\xBF";
pub(crate) const TOO_LONG: &str = "has more than 65536 bytes; is a quote or a line end missing?";
