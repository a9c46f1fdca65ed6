//! `programme simulate`: plays a dated story under a programme.

use std::collections::BTreeMap;
use std::fs;

use serde::Serialize;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Form;
use crate::domain::story::{Event, Paid, Story, Timeline, Unmet, built_in, built_in_names};

/// Play a dated story under a programme file, and compare what it expects
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server programme simulate smartertools-ms --story smartertools
  upkeep-server programme simulate vendor.toml --story renewal.toml
  upkeep-server programme simulate vendor.toml --story renewal.toml --json

A story is a TOML file:
  title   = \"Bought, and renewed too early\"
  license = { product = \"mail\" }
  price   = [{ from = 2018-01-01, list = \"399.00 USD\" }]
  step    = [
    { on = 2018-09-01, action = \"buy\", expect = { last_day = 2019-08-31 } },
    { on = 2019-06-30, action = \"renew\", expect = \"RENEWAL_TOO_EARLY\" },
    { on = 2019-07-01, action = \"renew\", expect = { price = \"199.50 USD\" } },
  ]

Lines behind a dot are what follows from the dates alone: reminders, the renewal window, the end of \
cover, automatic extension. Nothing is stored and no server is asked.

Exit code 3 when something is wrong with a file, with every mistake; 5 when an expectation does not \
hold, or a step is refused that does not expect it.")]
pub(in crate::cli) struct Args {
    /// A programme file, or the id of a programme that comes with the server
    #[arg(value_name = "FILE")]
    file: String,

    /// A story file, or the name of a story that comes with the server: perkinelmer, seetec,
    /// seetec-maintenance, smartertools, teklynx
    #[arg(long, value_name = "STORY")]
    story: String,

    #[command(flatten)]
    form: Form,
}

#[derive(Debug, Serialize)]
struct Shown<'e> {
    on: String,
    step: Option<usize>,
    derived: bool,
    license: Option<&'e str>,
    event: &'static str,
    text: &'e str,
    facts: BTreeMap<&'static str, &'e str>,
    lines: Vec<ShownLine<'e>>,
    unmet: Vec<ShownUnmet<'e>>,
}

#[derive(Debug, Serialize)]
struct ShownLine<'e> {
    license: &'e str,
    first_day: String,
    last_day: String,
    price: &'e str,
    how: &'e str,
}

#[derive(Debug, Serialize)]
struct ShownUnmet<'e> {
    fact: &'static str,
    expected: &'e str,
    got: &'e str,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let programme = super::read(&args.file)?;
    let timeline = read(&args.story)?.run(&programme);
    let shown: Vec<Shown<'_>> = timeline.events.iter().map(shown).collect();
    args.form.print(&shown, || timeline.to_string())?;
    held(&timeline)
}

/// # Errors
/// Exit 5 when an expectation does not hold.
fn held(timeline: &Timeline) -> Result<(), Failure> {
    match timeline.unmet() {
        0 => Ok(()),
        unmet => Err(Failure::new(
            Exit::Refused,
            format_args!(
                "{unmet} of {} expectations of the story do not hold; each is shown below its step",
                timeline.compared
            ),
        )),
    }
}

/// The story of a file, or the built-in one of that name.
///
/// # Errors
/// Exit 3 with everything that is wrong with it.
fn read(name: &str) -> Result<Story, Failure> {
    let parse =
        |text: &str| Story::parse(name, text).map_err(|errors| Failure::new(Exit::Config, errors));
    match (fs::read_to_string(name), built_in(name)) {
        (Ok(text), _) => parse(&text),
        (Err(_), Some(text)) => parse(text),
        (Err(error), None) => {
            let names: Vec<&str> = built_in_names().map(|(name, _)| name).collect();
            Err(Failure::new(
                Exit::Config,
                format_args!(
                    "the story {name} cannot be read: {error}; name a file, or one of {}",
                    names.join(", ")
                ),
            ))
        }
    }
}

fn shown(event: &Event) -> Shown<'_> {
    Shown {
        on: event.on.to_string(),
        step: event.step,
        derived: event.step.is_none(),
        license: event.license.as_deref(),
        event: event.what.as_str(),
        text: &event.text,
        facts: event
            .facts
            .iter()
            .map(|(fact, value)| (fact.as_str(), value.as_str()))
            .collect(),
        lines: event.lines.iter().map(line).collect(),
        unmet: event.unmet.iter().map(unmet).collect(),
    }
}

fn line(line: &Paid) -> ShownLine<'_> {
    ShownLine {
        license: &line.license,
        first_day: line.term.first().to_string(),
        last_day: line.term.last().to_string(),
        price: &line.price,
        how: &line.how,
    }
}

fn unmet(unmet: &Unmet) -> ShownUnmet<'_> {
    ShownUnmet {
        fact: unmet.fact.as_str(),
        expected: &unmet.expected,
        got: &unmet.got,
    }
}
