//! The program `upkeep-server`; all of it is in the library.

use std::process::ExitCode;

/// The index allocates on every write; this allocator takes a tenth off what an activation costs (docs/design.md).
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    upkeep_server::cli::main()
}
