//! The program `upkeep`: the command line of an installed product's license.

mod cli;

use std::process::ExitCode;

fn main() -> ExitCode {
    cli::main()
}
