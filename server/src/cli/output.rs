//! Standard output and standard error. Who reads it and goes away has seen enough, which is no error and changes no verdict.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};

/// The form of data on standard output.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::Args)]
pub(super) struct Form {
    /// Print one JSON value instead of text for people
    #[arg(long)]
    json: bool,
}

impl Form {
    /// Prints `value` as JSON, or `text`.
    pub(super) fn print<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json { json(value) } else { line(text()) }
    }

    /// Whether programs read the output.
    pub(super) fn is_json(self) -> bool {
        self.json
    }
}

/// Prints one JSON value, over several lines.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    line(pretty(value)?)
}

/// The JSON text of `value`.
pub(super) fn pretty<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(Exit::Fault, format_args!("JSON could not be written: {e}")))
}

/// Prints a line, or several.
///
/// # Errors
/// Exit 1 when it could not be written: what stands in a file is not whole.
pub(super) fn line(text: impl fmt::Display) -> Result<(), Failure> {
    next_line(text).map(|_reader| ())
}

/// Whether anybody reads what is printed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Reader {
    Reads,
    Gone,
}

/// As [`line`], for a command that has many and stops when nobody reads any more.
///
/// # Errors
/// As [`line`].
pub(super) fn next_line(text: impl fmt::Display) -> Result<Reader, Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        Ok(()) => Ok(Reader::Reads),
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(Reader::Gone),
        Err(error) => Err(Failure::new(
            Exit::Fault,
            format_args!(
                "standard output cannot be written: {error}; what was written is not whole"
            ),
        )),
    }
}

/// Says on standard error why the command failed.
pub(super) fn error(failure: &Failure, json: bool) {
    match json {
        true => note(failure.to_json()),
        false => note(format_args!("error: {failure}")),
    }
}

/// Says something on standard error.
pub(super) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
