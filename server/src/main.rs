//! The program `upkeep-server`; all of it is in the library.

use std::process::ExitCode;

fn main() -> ExitCode {
    upkeep_server::cli::main()
}
