//! Three benchmarks. `contracts` measures what the number of maintenance contracts costs, `enrollments` what hardware keys cost, see
//! their own pages; the rest of this one is about Activate.
//!
//! What Activate costs the server, beside the floor: the cryptography it can't do without, in the same run on the same machine.
//!
//! The server is a process of its own with a real store on a real disk. Rounds alternate: first the floor (one ES256 verification
//! and one signature, by the fastest library, in this thread's CPU time), then a window of load (the server's CPU time divided by
//! the activations it answered), so that what else the machine does hits both. The ratio floor / server is what is claimed; the
//! absolute numbers belong to this machine.
//!
//! The requests of a window are made and signed before it; each takes its challenge from the server, so that the challenges'
//! cost is outside the window and their check inside.

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
mod licenses;
mod load;
mod server;

use std::path::PathBuf;
use std::time::{Duration, Instant};

use anyhow::Context;
use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{
    ECDSA_P256_SHA256_FIXED, ECDSA_P256_SHA256_FIXED_SIGNING, EcdsaKeyPair, KeyPair,
    UnparsedPublicKey,
};
use clap::Parser;
use mimalloc::MiMalloc;

use crate::load::Load;
use crate::server::Server;

/// As the server has it, where the server is inside this process.
#[global_allocator]
static ALLOCATOR: MiMalloc = MiMalloc;

/// Measures Activate beside its floor and prints the ratio.
#[derive(Debug, Parser)]
#[command(after_help = "Build with --release: cargo run --release --package upkeep-bench")]
struct Arguments {
    #[command(subcommand)]
    other: Option<Other>,
    /// The server's binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where the server's data goes; by default a temporary directory, which may be in memory: name a disk.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Warm connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Calls in flight at any time, over all connections.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// Rounds of floor and load.
    #[arg(long, default_value_t = 9)]
    rounds: usize,
    /// Activations in a round.
    #[arg(long, default_value_t = 4_000)]
    activations: usize,
    /// Print one JSON value.
    #[arg(long)]
    json: bool,
}

/// What else is measured.
#[derive(Debug, clap::Subcommand)]
enum Other {
    Contracts(contracts::Arguments),
    Enrollments(enrollments::Arguments),
    Licenses(licenses::Arguments),
}

/// One round.
struct Round {
    floor_us: f64,
    server_us: f64,
    per_second: f64,
}

fn main() -> anyhow::Result<()> {
    let arguments = Arguments::parse();
    if let Some(Other::Contracts(arguments)) = &arguments.other {
        return contracts::run(arguments);
    }
    if let Some(Other::Licenses(arguments)) = &arguments.other {
        return licenses::run(arguments);
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(1)
        .enable_all()
        .build()?;
    if let Some(Other::Enrollments(arguments)) = &arguments.other {
        return runtime.block_on(enrollments::run(arguments));
    }
    runtime.block_on(run(&arguments))
}

async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let server = Server::start(arguments.server.as_deref(), arguments.data.as_deref(), &[])?;
    let mut load = Load::prepare(&server, arguments.connections)
        .await
        .context("the load could not be prepared")?;
    // The first requests warm connections, caches and the store; they are not counted.
    load.window(arguments.activations / 4, arguments.in_flight)
        .await?;
    let mut rounds = Vec::new();
    for number in 1..=arguments.rounds {
        let floor_us = floor()?;
        load.sign(arguments.activations).await?;
        let (cpu, began) = (cpu::of_process(server.pid())?, Instant::now());
        let answered = load.run_signed(arguments.in_flight).await?;
        let elapsed = began.elapsed().as_secs_f64();
        let used = cpu::of_process(server.pid())?.saturating_sub(cpu);
        let round = Round {
            floor_us,
            server_us: micros(used) / count(answered),
            per_second: count(answered) / elapsed,
        };
        if !arguments.json {
            println!(
                "round {number}: floor {:.0} us, server {:.0} us CPU per activation, {:.0}/s, ratio {:.2}",
                round.floor_us,
                round.server_us,
                round.per_second,
                round.floor_us / round.server_us
            );
        }
        rounds.push(round);
    }
    report(arguments, &rounds);
    Ok(())
}

/// CPU time of one verification and one signature, in microseconds, over 0.4 s.
fn floor() -> anyhow::Result<f64> {
    let random = SystemRandom::new();
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, &random)?;
    let key = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_FIXED_SIGNING, pkcs8.as_ref())?;
    let public =
        UnparsedPublicKey::new(&ECDSA_P256_SHA256_FIXED, key.public_key().as_ref().to_vec());
    let message = [7_u8; 700];
    let signed = key.sign(&random, &message)?;
    let (cpu, until) = (
        cpu::of_this_thread()?,
        Instant::now() + Duration::from_millis(400),
    );
    let mut done = 0_usize;
    while Instant::now() < until {
        for _ in 0..16 {
            public.verify(&message, signed.as_ref())?;
            key.sign(&random, &message)?;
        }
        done += 16;
    }
    Ok(micros(cpu::of_this_thread()?.saturating_sub(cpu)) / count(done))
}

fn report(arguments: &Arguments, rounds: &[Round]) {
    let ratio = sorted(rounds.iter().map(|round| round.floor_us / round.server_us));
    let (median, low, high) = (
        middle(&ratio),
        ratio.first().copied(),
        ratio.last().copied(),
    );
    let server_us = middle(&sorted(rounds.iter().map(|round| round.server_us)));
    let floor_us = middle(&sorted(rounds.iter().map(|round| round.floor_us)));
    let per_second = middle(&sorted(rounds.iter().map(|round| round.per_second)));
    if arguments.json {
        let value = serde_json::json!({
            "call": "Activate",
            "connections": arguments.connections,
            "in_flight": arguments.in_flight,
            "rounds": rounds.len(),
            "floor_us": floor_us,
            "server_us": server_us,
            "per_second": per_second,
            "ratio": { "median": median, "min": low, "max": high },
            "errors": 0,
        });
        println!("{value:#}");
    } else {
        println!(
            "\nActivate, durable, warm TLS, {} in flight: ratio {median:.2} ({:.2} to {:.2}) of the floor; \
             {server_us:.0} us of server CPU against {floor_us:.0} us, {per_second:.0}/s, no errors",
            arguments.in_flight,
            low.unwrap_or_default(),
            high.unwrap_or_default(),
        );
    }
}

fn sorted(values: impl Iterator<Item = f64>) -> Vec<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values
}

fn middle(sorted: &[f64]) -> f64 {
    sorted.get(sorted.len() / 2).copied().unwrap_or_default()
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
