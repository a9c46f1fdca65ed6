//! `programme`: list, explain, simulate.

mod explain;
mod list;
mod simulate;

use std::fs;

use upkeep::id::ProgrammeId;

use crate::cli::exit::{Exit, Failure};
use crate::domain::programme::{Programme, Programmes};

/// Understand programme files: a vendor's maintenance rules
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    List(list::Args),
    Explain(explain::Args),
    Simulate(simulate::Args),
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::List(args) => list::run(args),
        Command::Explain(args) => explain::run(args),
        Command::Simulate(args) => simulate::run(args),
    }
}

/// The programme of a file, or the built-in one of that id.
///
/// # Errors
/// Exit 3 with everything that is wrong with it.
fn read(name: &str) -> Result<Programme, Failure> {
    let wrong = |error: &dyn std::fmt::Display| Failure::new(Exit::Config, error);
    let text = match fs::read_to_string(name) {
        Ok(text) => text,
        Err(error) => {
            let built_in = Programmes::built_in().map_err(|errors| wrong(&errors))?;
            let id = ProgrammeId::parse(name).ok();
            return match id.and_then(|id| built_in.current(&id).cloned()) {
                Some(programme) => Ok(programme),
                None => Err(wrong(&format_args!(
                    "the programme file {name} cannot be read: {error}; name a file, or one of the programmes that `upkeep-server programme list` shows"
                ))),
            };
        }
    };
    Programme::parse(name, &text).map_err(|errors| wrong(&errors))
}
