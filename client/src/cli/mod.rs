//! The command line `upkeep`: one file per command, each from its arguments to an exit code.
//!
//! Nothing about licenses is decided here: the library `upkeep_client` does, and the commands show what it said. Results go to
//! standard output, with `--json` as one JSON value; errors and questions go to standard error.

mod activate;
mod check;
mod completions;
mod context;
mod deactivate;
mod doctor;
mod enroll;
mod exit;
mod facts;
mod file;
mod inspect;
mod key_list;
mod keys;
mod output;
mod reason;
mod refresh;
mod request;
mod secret;
mod status;
mod upgrade;
mod value;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::context::Global;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Output;

/// Runs the program with the process's own arguments.
pub(crate) fn main() -> ExitCode {
    run(&std::env::args_os().collect::<Vec<_>>())
}

/// Runs the program with `arguments`, the program's name first.
fn run(arguments: &[OsString]) -> ExitCode {
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, arguments),
    };
    let output = cli.global.output();
    let ended = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| {
            Failure::fault(
                format_args!("the system gives this program no resources: {error}"),
                "close other programs and run the same command again",
            )
        })
        .and_then(|runtime| runtime.block_on(cli.command.run(&cli.global)));
    match ended {
        Ok(exit) => exit.into(),
        Err(failure) => {
            output.error(&failure);
            failure.exit().into()
        }
    }
}

/// Shows what clap has to say: help and version, or what is wrong with the command line.
fn not_understood(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    if error.use_stderr() && arguments.iter().any(|argument| argument == "--json") {
        let text = error.render().to_string();
        let what = text.split("\n\nUsage:").next().unwrap_or(&text);
        let what = what.strip_prefix("error: ").unwrap_or(what).trim();
        let failure = Failure::usage(what, "see `--help` of the command");
        Output::new(true, false).error(&failure);
        return failure.exit().into();
    }
    // A closed terminal changes nothing.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Ok.into()
    }
}

/// The license of an installed product: activate it, check it offline, move it, upgrade it.
#[derive(Debug, Parser)]
#[command(
    name = "upkeep",
    version,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(flatten)]
    global: Global,

    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    Enroll(enroll::Args),
    Activate(activate::Args),
    Check(check::Args),
    Status(status::Args),
    Refresh(refresh::Args),
    Deactivate(deactivate::Args),
    #[command(subcommand)]
    Upgrade(upgrade::Command),
    #[command(subcommand)]
    Keys(key_list::Command),
    Inspect(inspect::Args),
    Doctor(doctor::Args),
    #[command(subcommand)]
    Request(request::Command),
    Completions(completions::Args),
}

impl Command {
    async fn run(&self, global: &Global) -> Result<Exit, Failure> {
        match self {
            Self::Enroll(args) => enroll::run(args, global).await,
            Self::Activate(args) => activate::run(args, global).await,
            Self::Check(args) => check::run(args, global),
            Self::Status(args) => status::run(args, global).await,
            Self::Refresh(args) => refresh::run(args, global).await,
            Self::Deactivate(args) => deactivate::run(args, global).await,
            Self::Upgrade(command) => upgrade::run(command, global).await,
            Self::Keys(command) => key_list::run(command, global),
            Self::Inspect(args) => inspect::run(args, global),
            Self::Doctor(args) => doctor::run(args, global).await,
            Self::Request(command) => request::run(command, global).await,
            Self::Completions(args) => completions::run(args, &mut Cli::command()),
        }
    }
}

const AFTER_HELP: &str = "\
The life of a license, line by line:
  upkeep enroll --server https://licenses.vendor.example:7443 --ca vendor-ca.pem
  upkeep activate LS-1000 --product label-studio --version 10.0
  upkeep check --version 10.0 --build-date 2026-06-01
  upkeep status
  upkeep deactivate

Every command that stops half-way goes on where it stopped when it is run again; no seat is taken or returned twice. \
`upkeep COMMAND --help` has examples.

Exit codes:
  0  done
  1  a fault of this program, the system or the server
  2  the command line, or a value or file named on it, is wrong
  3  the server refused; the error names its reason
  4  the server can't be reached, or did not answer in time
  5  not enrolled, not activated, or an earlier step is unfinished
  6  the check failed: this build may not run here
  7  the license store is damaged, locked or open to others
  8  the server did not prove its identity (TLS)
  9  a signed text or file does not verify";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        Cli::command().debug_assert();
    }

    #[test]
    fn the_help_lists_every_exit_code() {
        for code in 0..=9 {
            assert!(AFTER_HELP.contains(&format!("\n  {code}  ")), "{code}");
        }
    }
}
