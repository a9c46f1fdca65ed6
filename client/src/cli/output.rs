//! Standard output and standard error. A reader that has gone away is no error.

use std::fmt;
use std::io::{self, Write};

use serde::Serialize;

use crate::cli::exit::Failure;

/// The form of what a command says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Output {
    json: bool,
    quiet: bool,
}

impl Output {
    /// `json` is one JSON value instead of text; `quiet` drops text that nobody asked for.
    pub(super) fn new(json: bool, quiet: bool) -> Self {
        Self { json, quiet }
    }

    /// Says that something was done: as JSON, as text, or not at all when quiet.
    pub(super) fn done<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.quiet && !self.json {
            return Ok(());
        }
        self.answer(value, text)
    }

    /// Says what was asked for: as JSON or as text, quiet or not.
    pub(super) fn answer<T: Serialize>(
        self,
        value: &T,
        text: impl FnOnce() -> String,
    ) -> Result<(), Failure> {
        if self.json {
            json(value)
        } else {
            line(text().trim_end())
        }
    }

    /// Says something beside the result, to a person only.
    pub(super) fn note(self, text: impl fmt::Display) {
        if !self.quiet && !self.json {
            note(text);
        }
    }

    /// Whether programs read what is said.
    pub(super) fn is_json(self) -> bool {
        self.json
    }

    /// Says on standard error why the command failed, and what to do next.
    pub(super) fn error(self, failure: &Failure) {
        if self.json {
            note(failure.to_json());
            return;
        }
        note(format_args!("error: {failure}"));
        if let Some(next) = failure.next() {
            note(format_args!("next: {next}"));
        }
    }
}

/// Prints one JSON value, over several lines.
pub(super) fn json<T: Serialize>(value: &T) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| {
        Failure::fault(
            format_args!("the JSON could not be written: {error}"),
            "report it to the vendor",
        )
    })?;
    line(text)
}

/// Prints text as it is, with one line end.
///
/// # Errors
/// Exit 1 when it could not be written, such as to a full disk.
pub(super) fn line(text: impl fmt::Display) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    match writeln!(out, "{text}").and_then(|()| out.flush()) {
        // A reader that has gone away has seen enough.
        Err(error) if error.kind() != io::ErrorKind::BrokenPipe => Err(Failure::fault(
            format_args!("standard output can't be written: {error}"),
            "what was done is done and in the store: see `upkeep status`",
        )),
        _ => Ok(()),
    }
}

/// Says something on standard error.
pub(super) fn note(text: impl fmt::Display) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Titles and values in two columns.
pub(super) fn columns(rows: &[(&str, String)]) -> String {
    let width = rows.iter().map(|(title, _)| title.len()).max().unwrap_or(0);
    let mut text = String::new();
    for (title, value) in rows {
        text.push_str(&format!("{title:width$}  {value}\n"));
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_aligned() {
        let text = columns(&[("a", "1".to_owned()), ("long", "2".to_owned())]);
        assert_eq!(text, "a     1\nlong  2\n");
        assert_eq!(columns(&[]), "");
    }
}
