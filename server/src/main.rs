//! The program `upkeep-server`; all of it is in the library.

use std::process::ExitCode;

/// The index allocates much and often; this allocator makes that cheaper (docs/design.md has the figures).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    upkeep_server::cli::main()
}
