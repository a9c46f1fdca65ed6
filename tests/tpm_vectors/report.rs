//! Running a whole set, and saying what came of it.

use std::collections::HashSet;
use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::time::{Duration, Instant};

use crate::case::{Case, Verdict};
use crate::manifest::{Entry, Level, Manifest};

/// What came of a set.
#[derive(Default)]
pub(crate) struct Report {
    count: usize,
    accepted: usize,
    /// Cases with another verdict than expected, in words.
    deviations: Vec<(Level, String)>,
    /// What could not be run, took too long or panicked.
    broken: Vec<String>,
}

impl Report {
    /// A set that can't be run at all.
    pub(crate) fn broken(why: String) -> Self {
        Self {
            broken: vec![why],
            ..Self::default()
        }
    }

    /// How many cases were run.
    pub(crate) fn count(&self) -> usize {
        self.count
    }

    /// How many had another verdict than expected.
    pub(crate) fn deviations(&self) -> usize {
        self.deviations.len()
    }

    /// Whether the set was not passed.
    pub(crate) fn fails(&self) -> bool {
        !self.broken.is_empty() || self.of(Level::Must) > 0
    }

    /// # Panics
    /// When the set was not passed.
    pub(crate) fn assert(&self) {
        assert!(!self.fails(), "{self}");
    }

    fn of(&self, level: Level) -> usize {
        let wrong = self.deviations.iter();
        wrong.filter(|(found, _)| *found == level).count()
    }

    fn add(&mut self, entry: &Entry, verdict: &Verdict) {
        self.count += 1;
        self.accepted += usize::from(verdict.is_ok());
        let found = match verdict {
            Ok(()) => "accepted".to_owned(),
            Err(why) => format!("rejected ({why})"),
        };
        if verdict.is_ok() != entry.accept {
            let line = format!(
                "{} [{:?}] was {found}: {}",
                entry.id, entry.level, entry.reason
            );
            self.deviations.push((entry.level, line));
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (count, accepted) = (self.count, self.accepted);
        write!(
            f,
            "{count} cases, {accepted} accepted, {} rejected; ",
            count - accepted
        )?;
        let [must, should, optional] =
            [Level::Must, Level::Should, Level::Optional].map(|level| self.of(level));
        write!(
            f,
            "wrong: {must} must, {should} should, {optional} optional; "
        )?;
        write!(f, "{} could not be run", self.broken.len())?;
        let wrong = self.deviations.iter().map(|(_, line)| line);
        for line in wrong.chain(&self.broken) {
            write!(f, "\n    {line}")?;
        }
        Ok(())
    }
}

/// Runs every case; one that panics does not end the run.
pub(crate) fn run(folder: &Path, manifest: Manifest) -> Report {
    let mut report = Report::default();
    let mut ids = HashSet::new();
    for entry in manifest.entries {
        let entry = match entry {
            Ok(entry) => entry,
            Err(why) => {
                report.broken.push(why);
                continue;
            }
        };
        if !ids.insert(entry.id.clone()) {
            report
                .broken
                .push(format!("{}: the id occurs twice", entry.id));
        }
        let began = Instant::now();
        match catch_unwind(AssertUnwindSafe(|| Case::load(folder, &entry)?.run())) {
            Ok(Ok(verdict)) => report.add(&entry, &verdict),
            Ok(Err(why)) => report.broken.push(format!("{}: {why}", entry.id)),
            Err(_) => report.broken.push(format!("{}: it panicked", entry.id)),
        }
        if began.elapsed() > PATIENCE {
            let took = began.elapsed().as_secs();
            report
                .broken
                .push(format!("{}: it took {took} s", entry.id));
        }
    }
    report
}

/// A case takes a millisecond; a debug build on a busy machine gets all the time it may want.
const PATIENCE: Duration = Duration::from_secs(10);
