//! `completions`: a script for the shell.

use std::io;

use clap_complete::Shell;

use crate::cli::exit::Failure;

/// Print a completion script for a shell
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server completions bash > ~/.local/share/bash-completion/completions/upkeep-server
  upkeep-server completions zsh > ~/.zfunc/_upkeep-server
  upkeep-server completions fish > ~/.config/fish/completions/upkeep-server.fish")]
pub(super) struct Args {
    /// The shell
    shell: Shell,
}

pub(super) fn run(args: &Args, command: &mut clap::Command) -> Result<(), Failure> {
    clap_complete::generate(
        args.shell,
        command,
        "upkeep-server",
        &mut io::stdout().lock(),
    );
    Ok(())
}
