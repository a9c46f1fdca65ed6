//! `completions`: a script for the shell.

use clap_complete::Shell;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep completions bash > ~/.local/share/bash-completion/completions/upkeep
  upkeep completions zsh > ~/.zfunc/_upkeep
  upkeep completions fish > ~/.config/fish/completions/upkeep.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command) -> Result<Exit, Failure> {
    // Made whole first: the generator does not survive a reader that has gone away.
    let mut script = Vec::new();
    clap_complete::generate(args.shell, command, "upkeep", &mut script);
    output::line(String::from_utf8_lossy(&script).trim_end())?;
    Ok(Exit::Ok)
}
