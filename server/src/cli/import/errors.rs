//! Rows that failed: into a file for whoever corrects them, or the first of them on standard error.

use std::fs::File;
use std::io::{BufWriter, Write};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;
use upkeep::rpc::v1::ImportOutcome;

use super::source::Name;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output;
use crate::domain::refusal::Reason;
use crate::license_file::{Numbered, Problem};

/// A row that failed.
pub(super) struct BadRow {
    name: Name,
    reason: String,
    /// Why, where no field is to blame.
    message: String,
    next: &'static str,
    problems: Vec<(String, String)>,
}

impl BadRow {
    /// One that could not be read.
    pub(super) fn unread(row: Numbered) -> Self {
        Self {
            name: Name::of(row.line, &row.row),
            reason: Reason::InvalidField.as_str().to_owned(),
            message: String::new(),
            next: "Correct the row, or the mapping, and import it again.",
            problems: row
                .problems
                .into_iter()
                .map(|Problem { field, description }| (field, description))
                .collect(),
        }
    }

    /// One that the server refused.
    pub(super) fn refused(name: Name, outcome: ImportOutcome) -> Self {
        let reason = Reason::parse(&outcome.reason);
        let next = match reason {
            None | Some(Reason::InvalidField | Reason::MissingField) => {
                "Correct the row and import it again."
            }
            Some(reason) => reason.next_step(),
        };
        Self {
            name,
            reason: outcome.reason,
            message: outcome.message.replace(next, "").trim_end().to_owned(),
            next,
            problems: outcome
                .problems
                .into_iter()
                .map(|problem| (problem.field, problem.description))
                .collect(),
        }
    }

    fn lines(&self) -> impl Iterator<Item = Line<'_>> {
        let whole = self.problems.is_empty().then_some(("", &*self.message));
        let problems = self
            .problems
            .iter()
            .map(|(field, what)| (&**field, &**what));
        whole.into_iter().chain(problems).map(|(field, what)| Line {
            line: self.name.line,
            external_id: &self.name.external_id,
            serial: &self.name.serial,
            field,
            reason: &self.reason,
            what,
            next: self.next,
        })
    }
}

/// One thing that is wrong.
#[derive(Serialize)]
struct Line<'a> {
    line: u64,
    external_id: &'a str,
    serial: &'a str,
    field: &'a str,
    reason: &'a str,
    what: &'a str,
    next: &'a str,
}

/// Where failed rows go.
pub(super) enum Errors {
    Csv(Box<csv::Writer<File>>, PathBuf),
    Json(BufWriter<File>, PathBuf),
    /// To standard error, as long as few were.
    Shown(usize),
}

impl Errors {
    /// Begins a file, which is made anew; or none.
    ///
    /// # Errors
    /// Exit 2 when it is there already or can't be made.
    pub(super) fn create(path: Option<&Path>) -> Result<Self, Failure> {
        let Some(path) = path else {
            return Ok(Self::Shown(0));
        };
        // Rows name customers' licenses.
        let file = File::options()
            .write(true)
            .create_new(true)
            .mode(0o600)
            .open(path)
            .map_err(|error| {
                Failure::new(
                    Exit::Usage,
                    format_args!("{} can't be made: {error}; name a new file", path.display()),
                )
            })?;
        let is_json = path
            .extension()
            .is_some_and(|extension| extension == "jsonl" || extension == "ndjson");
        Ok(if is_json {
            Self::Json(BufWriter::new(file), path.to_owned())
        } else {
            Self::Csv(Box::new(csv::Writer::from_writer(file)), path.to_owned())
        })
    }

    /// Writes what is wrong with a row.
    ///
    /// # Errors
    /// Exit 1 when the file can't be written.
    pub(super) fn write(&mut self, bad: &BadRow) -> Result<(), Failure> {
        for line in bad.lines() {
            match self {
                Self::Csv(writer, path) => writer
                    .serialize(&line)
                    .map_err(|error| unwritten(path, error))?,
                Self::Json(writer, path) => serde_json::to_writer(&mut *writer, &line)
                    .map_err(std::io::Error::from)
                    .and_then(|()| writer.write_all(b"\n"))
                    .map_err(|error| unwritten(path, error))?,
                Self::Shown(shown) => {
                    *shown += 1;
                    if *shown <= MAX_SHOWN {
                        let field = match line.field {
                            "" => String::new(),
                            field => format!("{field}: "),
                        };
                        output::note(format_args!("line {}: {field}{}", line.line, line.what));
                    } else if *shown == MAX_SHOWN + 1 {
                        output::note("more are not shown; --errors FILE writes all of them");
                    }
                }
            }
        }
        Ok(())
    }

    /// Writes the rest; gives the words that say where they are.
    ///
    /// # Errors
    /// Exit 1 when the file can't be written.
    pub(super) fn finish(self) -> Result<String, Failure> {
        let (written, path) = match self {
            Self::Csv(mut writer, path) => (writer.flush(), path),
            Self::Json(mut writer, path) => (writer.flush(), path),
            Self::Shown(_) => return Ok(String::new()),
        };
        written.map_err(|error| unwritten(&path, error))?;
        Ok(format!(", see {}", path.display()))
    }
}

fn unwritten(path: &Path, error: impl std::fmt::Display) -> Failure {
    Failure::new(
        Exit::Fault,
        format_args!("{} can't be written: {error}", path.display()),
    )
}

/// More help nobody on a terminal.
const MAX_SHOWN: usize = 20;
