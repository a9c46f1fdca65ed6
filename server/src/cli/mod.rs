//! The command line `upkeep-server`: one file per command, each from its arguments to an exit code.
//!
//! Data goes to standard output, with `--json` as one JSON value; what went wrong, then as one line of JSON, and all logs go to
//! standard error. Commands decide nothing about licenses: those that change records call AdminService, over the network or inside
//! this process.

mod admin;
mod audit;
mod backup;
mod client_certificates;
mod completions;
mod config;
mod connect;
mod dev;
mod doctor;
mod endorsement;
mod exit;
mod export;
mod files;
mod health;
mod import;
mod init;
mod keys;
mod mail;
mod output;
mod partner;
mod place;
mod prices;
mod programme;
mod progress;
mod release;
mod reminders;
mod serve;
mod signals;
mod staff;
mod verify;

use std::ffi::OsString;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::cli::exit::{Exit, Failure};

/// Runs the program with the process's own arguments.
pub fn main() -> ExitCode {
    run(std::env::args_os())
}

/// All commands and flags, for whoever documents or checks them.
pub fn command() -> clap::Command {
    Cli::command()
}

/// Whether a price file is good in every row.
pub(crate) fn is_price_file(bytes: &[u8]) -> bool {
    prices::is_good(bytes)
}

/// Runs the program with `arguments`, the program's name first.
fn run(arguments: impl IntoIterator<Item = OsString>) -> ExitCode {
    let arguments: Vec<OsString> = arguments.into_iter().collect();
    let json = arguments.iter().any(|argument| argument == "--json");
    let cli = match Cli::try_parse_from(arguments) {
        Ok(cli) => cli,
        Err(error) => return not_understood(&error, json),
    };
    match cli.command.run() {
        Ok(()) => Exit::Ok.into(),
        Err(failure) => {
            output::error(&failure, json);
            failure.exit().into()
        }
    }
}

/// Shows what clap has to say: help and version, or what is wrong with the command line.
fn not_understood(error: &clap::Error, json: bool) -> ExitCode {
    if !error.use_stderr() {
        // A closed terminal changes nothing.
        let _ = error.print();
        return Exit::Ok.into();
    }
    if json {
        let text = error.render().to_string();
        let what = text.split("\n\nUsage:").next().unwrap_or(&text);
        let what = what.strip_prefix("error: ").unwrap_or(what).trim();
        output::error(&Failure::new(Exit::Usage, what), true);
    } else {
        let _ = error.print();
    }
    Exit::Usage.into()
}

/// The license server of Upkeep: activations, maintenance, deactivation against proof, upgrade codes.
#[derive(Parser)]
#[command(
    name = "upkeep-server",
    version,
    max_term_width = 100,
    after_help = AFTER_HELP
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Init(init::Args),
    Serve(serve::Args),
    Dev(dev::Args),
    #[command(subcommand)]
    Config(config::Command),
    #[command(subcommand)]
    Programme(programme::Command),
    #[command(subcommand)]
    Endorsement(endorsement::Command),
    #[command(subcommand)]
    Partner(partner::Command),
    #[command(subcommand)]
    Staff(staff::Command),
    #[command(subcommand)]
    Keys(keys::Command),
    #[command(subcommand)]
    Mail(mail::Command),
    #[command(subcommand)]
    Prices(prices::Command),
    Import(import::Args),
    Export(export::Args),
    Health(health::Args),
    Doctor(doctor::Args),
    #[command(subcommand)]
    Reminders(reminders::Command),
    #[command(subcommand)]
    Release(release::Command),
    #[command(subcommand)]
    Backup(backup::Command),
    Restore(backup::RestoreArgs),
    #[command(subcommand)]
    Audit(audit::Command),
    Verify(verify::Args),
    Completions(completions::Args),
}

impl Command {
    fn run(self) -> Result<(), Failure> {
        match self {
            Self::Init(args) => init::run(&args),
            Self::Serve(args) => serve::run(&args),
            Self::Dev(args) => dev::run(&args),
            Self::Config(command) => config::run(&command),
            Self::Programme(command) => programme::run(&command),
            Self::Endorsement(command) => endorsement::run(&command),
            Self::Partner(command) => partner::run(&command),
            Self::Staff(command) => staff::run(&command),
            Self::Keys(command) => keys::run(&command),
            Self::Mail(command) => mail::run(&command),
            Self::Prices(command) => prices::run(&command),
            Self::Import(args) => import::run(&args),
            Self::Export(args) => export::run(&args),
            Self::Health(args) => health::run(&args),
            Self::Doctor(args) => doctor::run(&args),
            Self::Reminders(command) => reminders::run(&command),
            Self::Release(command) => release::run(&command),
            Self::Backup(command) => backup::run(&command),
            Self::Restore(args) => backup::run_restore(&args),
            Self::Audit(command) => audit::run(&command),
            Self::Verify(args) => verify::run(&args),
            Self::Completions(args) => completions::run(&args, &mut command()),
        }
    }
}

const AFTER_HELP: &str = "\
Try it out:
  upkeep-server dev                      a server with sample licenses, gone when it stops

A server to keep:
  upkeep-server init --data /var/lib/upkeep --name licenses.vendor.example
  upkeep-server serve --data /var/lib/upkeep

Exit codes:
  0  done
  1  a fault: the operating system or this program failed
  2  the command line is wrong
  3  the configuration is wrong
  4  the data directory is missing, in use, damaged, or of a newer format
  5  refused by the server's rules, or the server can't be reached or is not serving
  6  an address to listen on is taken or not this machine's
  7  the store stopped while serving, after a failed write; start again, it recovers

With --json a failure is one line on standard error, such as
  {\"error\":{\"code\":\"DATA\",\"exit\":4,\"message\":\"...\"}}";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_command_line_is_sound() {
        command().debug_assert();
    }
}
