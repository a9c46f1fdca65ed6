//! How far an import is, on standard error: a bar on a terminal, now and then a line elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressStyle};

use super::Report;
use crate::cli::output;

/// Shows how far it is.
pub(super) enum Progress {
    Bar(ProgressBar),
    Lines {
        length: Option<u64>,
        /// The rows at which the next line is written.
        next: u64,
    },
}

impl Progress {
    /// * `length` - of the file in bytes, where it is known.
    pub(super) fn new(length: Option<u64>) -> Self {
        if !std::io::stderr().is_terminal() {
            return Self::Lines {
                length,
                next: LINE_ROWS,
            };
        }
        let (bar, template) = match length {
            Some(length) => (
                ProgressBar::new(length),
                "{bar:30} {percent:>3}%  {msg}  {eta} left",
            ),
            None => (ProgressBar::new_spinner(), "{spinner} {msg}  {elapsed}"),
        };
        let style = ProgressStyle::with_template(template);
        Self::Bar(match style {
            Ok(style) => bar.with_style(style),
            Err(_) => bar,
        })
    }

    /// Shows it.
    ///
    /// * `bytes` - read of the file so far.
    pub(super) fn show(&mut self, report: &Report, bytes: u64) {
        match self {
            Self::Bar(bar) => {
                bar.set_position(bytes);
                bar.set_message(counts(report));
            }
            Self::Lines { length, next } => {
                if report.rows < *next {
                    return;
                }
                *next = report.rows.saturating_add(LINE_ROWS);
                let part = length
                    .and_then(|length| bytes.saturating_mul(100).checked_div(length))
                    .map(|percent| format!("{percent} %, "));
                output::note(format_args!(
                    "{}{}",
                    part.unwrap_or_default(),
                    counts(report)
                ));
            }
        }
    }

    /// Does something that writes to standard error.
    pub(super) fn suspend<T>(&self, act: impl FnOnce() -> T) -> T {
        match self {
            Self::Bar(bar) => bar.suspend(act),
            Self::Lines { .. } => act(),
        }
    }

    /// Takes the bar away.
    pub(super) fn finish(&self) {
        if let Self::Bar(bar) = self {
            bar.finish_and_clear();
        }
    }
}

fn counts(report: &Report) -> String {
    format!(
        "{} rows: {} created, {} there already, {} failed",
        report.rows, report.created, report.unchanged, report.failed
    )
}

/// A line each so many rows.
const LINE_ROWS: u64 = 50_000;
