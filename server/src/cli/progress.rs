//! How far long work has come, on standard error: a bar on a terminal, plain lines elsewhere.

use std::io::IsTerminal;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

use crate::cli::output;

/// A line at each tenth, where nobody watches a bar.
const LINES: u64 = 10;

/// Work whose size is known from the start or soon after.
pub(super) struct Progress {
    what: &'static str,
    bar: Option<ProgressBar>,
    told: u64,
}

impl Progress {
    /// Work of bytes or of entries, called `what`.
    pub(super) fn new(what: &'static str, unit: Unit) -> Self {
        let bar = std::io::stderr().is_terminal().then(|| {
            let bar = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
            if let Ok(style) = ProgressStyle::with_template(unit.template()) {
                bar.set_style(style);
            }
            bar.set_prefix(what);
            bar
        });
        Self { what, bar, told: 0 }
    }

    /// So much is done.
    pub(super) fn at(&mut self, done: u64, total: u64) {
        if let Some(bar) = &self.bar {
            bar.set_length(total);
            bar.set_position(done);
            return;
        }
        let tenth = done.saturating_mul(LINES).checked_div(total).unwrap_or(0);
        if tenth > self.told {
            self.told = tenth;
            output::note(format_args!("{}: {} %", self.what, tenth * 100 / LINES));
        }
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}

/// What is counted.
#[derive(Clone, Copy)]
pub(super) enum Unit {
    Bytes,
    Entries,
}

impl Unit {
    fn template(self) -> &'static str {
        match self {
            Self::Bytes => "{prefix} [{bar:40}] {bytes}/{total_bytes} {eta}",
            Self::Entries => "{prefix} [{bar:40}] {pos}/{len} {eta}",
        }
    }
}
