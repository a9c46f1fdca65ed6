//! What calls cost the server, beside their floor, in one run on one machine.
//!
//! Without a subcommand it measures the table of README: Activate and VerifyActivation beside the floor, few and many licenses, what
//! a million of them need, and the offline check (see [`table`]). `contracts` measures what the number of maintenance contracts costs,
//! `enrollments` what hardware keys cost, `overload` what becomes of calls that are too many, `readme` prints the table of a finished run.

#[allow(
    dead_code,
    clippy::unwrap_used,
    reason = "shared with the tests, which cheat with it"
)]
#[path = "../../e2e/chip.rs"]
mod chip;
mod contracts;
mod cpu;
mod enrollments;
mod figures;
mod licenses;
mod load;
mod overload;
mod profile;
mod server;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use clap::Parser;
use mimalloc::MiMalloc;

/// As the server has it, where the server is inside this process.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures what calls cost the server beside their floor, and prints the table of README.
#[derive(Debug, Parser)]
#[command(after_help = "\
Examples:
  cargo run --release -p upkeep-bench -- --quick
  cargo run --release -p upkeep-bench -- --data /a/real/disk --json figures.json
  cargo run --release -p upkeep-bench -- readme figures.json

Build what is measured beside it: cargo build --release -p upkeep-bench -p upkeep-server -p upkeep-client")]
struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    #[command(flatten)]
    table: table::Arguments,
}

/// What else there is.
#[derive(Debug, clap::Subcommand)]
enum Other {
    Contracts(contracts::Arguments),
    Enrollments(enrollments::Arguments),
    /// Prints the table of a finished run, in Markdown
    Readme {
        /// What `--json` wrote
        figures: PathBuf,
    },
    Licenses(licenses::Arguments),
    Overload(overload::Arguments),
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Other::Contracts(arguments)) = &arguments.other {
        return contracts::run(arguments);
    }
    if let Some(Other::Readme { figures }) = &arguments.other {
        let figures = figures::Figures::read(figures)?;
        println!("{}", figures.markdown());
        return Ok(());
    }
    if let Some(Other::Licenses(arguments)) = &arguments.other {
        return licenses::write(arguments);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    if let Some(Other::Enrollments(arguments)) = &arguments.other {
        return runtime.block_on(enrollments::run(arguments));
    }
    if let Some(Other::Overload(arguments)) = &arguments.other {
        return runtime.block_on(overload::run(arguments));
    }
    runtime.block_on(table::run(&arguments.table))
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

/// The median: of an even number the mean of both in the middle.
fn middle(sorted: &[f64]) -> f64 {
    let at = |place: usize| sorted.get(place).copied().unwrap_or_default();
    let half = sorted.len() / 2;
    if sorted.len().is_multiple_of(2) {
        f64::midpoint(at(half.saturating_sub(1)), at(half))
    } else {
        at(half)
    }
}

fn micros(time: Duration) -> f64 {
    time.as_secs_f64() * 1e6
}

fn count(n: usize) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

fn float(n: u64) -> f64 {
    u32::try_from(n).map_or(f64::INFINITY, f64::from)
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_median_of_an_even_number_lies_between_both_in_the_middle() {
        for (values, median) in [
            (&[][..], 0.0),
            (&[1.0], 1.0),
            (&[1.0, 3.0], 2.0),
            (&[1.0, 2.0, 9.0], 2.0),
            (&[1.0, 2.0, 4.0, 9.0], 3.0),
        ] {
            let found: f64 = super::middle(values);
            assert!((found - median).abs() < 1e-9, "{values:?}: {found}");
        }
    }
}
