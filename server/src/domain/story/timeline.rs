//! What comes out of a story: events in the order of their days.

use std::collections::BTreeSet;
use std::fmt;

use upkeep::date::{CivilDate, Term};

use super::expect::Fact;
use crate::domain::vocabulary::vocabulary;

/// Everything that happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Timeline {
    /// What the story calls itself.
    pub title: String,
    /// The programme that it was played under.
    pub programme: String,
    /// Its revision.
    pub revision: u32,
    /// In the order of their days; on one day, what follows from the dates alone comes before the steps.
    pub events: Vec<Event>,
    /// How many expectations were compared.
    pub compared: usize,
}

/// What happened on a day.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// The day.
    pub on: CivilDate,
    /// The step that caused it, counted from 0 as in `step[0]`; `None` for what follows from the dates alone.
    pub step: Option<usize>,
    /// The license that it is about, by its name in the story; `None` for all of them.
    pub license: Option<String>,
    /// What it is.
    pub what: What,
    /// The same in words, without the day and the license.
    pub text: String,
    /// Its figures.
    pub facts: Vec<(Fact, String)>,
    /// What was bought, line by line.
    pub lines: Vec<Paid>,
    /// What the story expected otherwise.
    pub unmet: Vec<Unmet>,
}

/// A line of what was bought.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paid {
    /// For which license.
    pub license: String,
    /// The days that it covers.
    pub term: Term,
    /// `199.50 USD`, or `quote`.
    pub price: String,
    /// How that was computed.
    pub how: String,
}

/// An expectation that does not hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unmet {
    /// Of which fact.
    pub fact: Fact,
    /// What the story says.
    pub expected: String,
    /// What came out.
    pub got: String,
}

vocabulary! {
    /// What an event is.
    What {
        /// A license was bought.
        Bought = "bought",
        /// Maintenance was bought for a license that had none.
        Covered = "covered",
        /// It was renewed.
        Renewed = "renewed",
        /// It was bought again after a lapse.
        Reinstated = "reinstated",
        /// It is to end with its term.
        Cancelled = "cancelled",
        /// That was taken back.
        CancellationWithdrawn = "cancellation_withdrawn",
        /// It was ended for good.
        Terminated = "terminated",
        /// Somebody asked how it stands.
        Status = "status",
        /// A build runs.
        BuildRuns = "build_runs",
        /// A build may be downloaded.
        DownloadAllowed = "download_allowed",
        /// Support is given.
        SupportGiven = "support_given",
        /// An add-on runs.
        AddOnRuns = "add_on_runs",
        /// An update request was checked.
        UpdateChecked = "update_checked",
        /// The licenses on a dongle were brought to one end.
        GroupAligned = "group_aligned",
        /// They were renewed together.
        GroupRenewed = "group_renewed",
        /// A dongle took an unlock code.
        Unlocked = "unlocked",
        /// A system was expanded.
        Expanded = "expanded",
        /// The fees of the years ahead were asked for.
        FeesAhead = "fees_ahead",
        /// Time passed.
        TimePassed = "time_passed",
        /// A step was refused.
        Refused = "refused",
        /// A reminder is due.
        ReminderDue = "reminder_due",
        /// The window for renewal opens.
        RenewalOpens = "renewal_opens",
        /// The flag turns to Expiring Soon.
        ExpiringSoon = "expiring_soon",
        /// Maintenance goes on by itself.
        Extended = "extended",
        /// Cover has ended.
        CoverEnded = "cover_ended",
        /// A major release came out while there was no cover.
        MajorMissed = "major_missed",
    }
}

impl Timeline {
    /// How many expectations do not hold.
    pub fn unmet(&self) -> usize {
        self.events.iter().map(|event| event.unmet.len()).sum()
    }
}

/// Text for a terminal: a line for each event, those that follow from the dates alone behind a dot.
impl fmt::Display for Timeline {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.title)?;
        writeln!(f, "{}, revision {}\n", self.programme, self.revision)?;
        let name = |event: &Event| event.license.clone().unwrap_or_default();
        let names: BTreeSet<String> = self.events.iter().map(name).collect();
        // With one license there is nothing to tell apart.
        let wide = match names.len() {
            0 | 1 => 0,
            _ => names.iter().map(String::len).max().unwrap_or(0),
        };
        for event in &self.events {
            let mark = if event.step.is_some() { "" } else { "  . " };
            write!(f, "{mark}{}  ", event.on)?;
            if wide > 0 {
                write!(f, "{:<wide$}  ", name(event))?;
            }
            writeln!(f, "{}", event.text)?;
            if event.lines.len() > 1 {
                for line in &event.lines {
                    writeln!(f, "            {line}")?;
                }
            }
            for unmet in &event.unmet {
                let step = event.step.unwrap_or_default();
                writeln!(f, "  ! step[{step}]: {unmet}")?;
            }
        }
        let (unmet, compared) = (self.unmet(), self.compared);
        match unmet {
            0 => write!(f, "\nall {compared} expectations hold"),
            _ => write!(f, "\n{unmet} of {compared} expectations do not hold"),
        }
    }
}

impl fmt::Display for Paid {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (first, last) = (self.term.first(), self.term.last());
        write!(
            f,
            "{}: {first} to {last}, {} ({})",
            self.license, self.price, self.how
        )
    }
}

impl fmt::Display for Unmet {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "{}: expected {}, got {}",
            self.fact, self.expected, self.got
        )
    }
}
