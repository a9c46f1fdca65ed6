//! `doctor`: looks at a server's configuration, data directory and machine, and says what to do about what it finds.
//!
//! It reads and never writes, and binds no address, so it works beside a running server. What a start would refuse is a problem; what
//! will hurt later is a warning; what is worth knowing is a note.

mod data;
mod machine;
mod ports;
mod set_up;

use std::fmt;

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Form;
use crate::cli::place::Place;
use crate::clock::SystemClock;

/// Look for what is wrong with a server, its data and its machine, and say what to do
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server doctor --data /var/lib/upkeep
  upkeep-server doctor --data /var/lib/upkeep --json | jq '.findings[] | select(.level != \"ok\")'

Reads and changes nothing; run it as the server's user, while the server runs or while it does not. \
Each finding is ok, a note, a warning (it will hurt later) or a problem (a start is refused, or \
something is lost already), and says what to do. Exit code 0 without problems, otherwise that of \
the gravest kind: 4 data directory or keys, 3 configuration, 6 address, 1 machine.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    form: Form,
}

/// How grave a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Level {
    Ok,
    Note,
    Warning,
    Problem,
}

impl fmt::Display for Level {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Ok => "ok",
            Self::Note => "note",
            Self::Warning => "WARNING",
            Self::Problem => "PROBLEM",
        })
    }
}

/// One thing that was looked at. The names of checks are an interface to scripts.
#[derive(Clone, Debug, Serialize)]
struct Finding {
    check: &'static str,
    level: Level,
    found: String,
    /// Empty where there is nothing to do.
    #[serde(rename = "do")]
    remedy: String,
    #[serde(skip)]
    exit: Exit,
}

/// The findings of one area, whose problems have one exit code.
struct Findings {
    exit: Exit,
    all: Vec<Finding>,
}

impl Findings {
    fn new(exit: Exit) -> Self {
        Self {
            exit,
            all: Vec::new(),
        }
    }

    fn ok(&mut self, check: &'static str, found: impl ToString) {
        self.add(check, Level::Ok, found, "");
    }

    fn add(
        &mut self,
        check: &'static str,
        level: Level,
        found: impl ToString,
        remedy: impl ToString,
    ) {
        self.all.push(Finding {
            check,
            level,
            found: found.to_string(),
            remedy: remedy.to_string(),
            exit: self.exit,
        });
    }
}

/// What is printed with `--json`.
#[derive(Debug, Serialize)]
struct Report<'a> {
    problems: usize,
    warnings: usize,
    findings: &'a [Finding],
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.place.config(&[])?;
    let settings = config.settings();
    let look = data::look(settings);
    let held = look.as_ref().is_ok_and(|look| look.holder.is_some());

    let mut findings = Vec::new();
    findings.extend(data::findings(settings, &look, &SystemClock));
    findings.extend(set_up::keys(settings, &SystemClock));
    findings.extend(set_up::configuration(settings));
    findings.extend(ports::findings(settings, held));
    findings.extend(machine::resources(settings, &look, &SystemClock));

    let count = |level| findings.iter().filter(|one| one.level == level).count();
    let report = Report {
        problems: count(Level::Problem),
        warnings: count(Level::Warning),
        findings: &findings,
    };
    args.form.print(&report, || text(&report))?;
    let gravest = findings.iter().find(|one| one.level == Level::Problem);
    match gravest {
        None => Ok(()),
        Some(problem) => Err(Failure::new(
            problem.exit,
            format_args!("{} problems; the first: {}", report.problems, problem.found),
        )),
    }
}

fn text(report: &Report<'_>) -> String {
    let mut lines: Vec<String> = report.findings.iter().map(line).collect();
    lines.push(format!(
        "{} problems, {} warnings",
        report.problems, report.warnings
    ));
    lines.join("\n")
}

fn line(finding: &Finding) -> String {
    let Finding {
        check,
        level,
        found,
        remedy,
        ..
    } = finding;
    match remedy.is_empty() {
        true => format!("{level:<8} {check:<13} {found}"),
        false => format!("{level:<8} {check:<13} {found}\n{:22} -> {remedy}", ""),
    }
}
