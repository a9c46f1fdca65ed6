//! Standard output and standard error. A reader that has gone away is no error.

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
        if self.json {
            json(value)
        } else {
            line(text());
            Ok(())
        }
    }

    /// Whether programs read the output.
    pub(super) fn is_json(self) -> bool {
        self.json
    }
}

/// Prints one JSON value, over several lines.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    line(pretty(value)?);
    Ok(())
}

/// The JSON text of `value`.
pub(super) fn pretty<T: Serialize>(value: &T) -> Result<String, Failure> {
    serde_json::to_string_pretty(value)
        .map_err(|e| Failure::new(Exit::Fault, format_args!("JSON could not be written: {e}")))
}

/// Prints a line, or several.
pub(super) fn line(text: impl fmt::Display) {
    let mut out = io::stdout().lock();
    // A reader that has gone away has seen enough.
    let _ = writeln!(out, "{text}").and_then(|()| out.flush());
}

/// Says on standard error why the command failed.
pub(super) fn error(failure: &Failure) {
    note(format_args!("error: {failure}"));
}

/// Says something on standard error.
pub(super) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}
