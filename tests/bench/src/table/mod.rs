//! The table of README.
//!
//! The server is a process of its own with a real store on a real disk. Rounds alternate: first the floor, then the load, so that
//! what else the machine does hits both. The *floor* of a call is the work that no server can do without: one ES256 verification and
//! one signature by the fastest library (this thread's CPU time), and an empty call of the same kind (grpc.health.v1, the server's CPU
//! time) over the same listener and as many connections, with as many in flight. A cold activation makes two calls on its connection,
//! a challenge and the activation, and its floor is a connection with two empty calls. The *server* figure is the process's CPU time
//! from the first call until it is at rest again, divided by the calls it answered: work that it puts off is counted. Requests are made
//! and signed outside the windows. One refusal or failure ends the run.

mod floor;
mod import;
mod offline;
mod stored;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;

use crate::figures::{Beside, Figures, Round, Single, Spread};
use crate::load::{Load, Owned, Seated};
use crate::profile::Profile;
use crate::server::Server;
use crate::{count, cpu, micros};

/// How the table is measured.
#[derive(Debug, clap::Args)]
#[group(id = "table")]
pub(crate) struct Arguments {
    /// The server's binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// The client's binary; by default the one built beside this program.
    #[arg(long)]
    client: Option<PathBuf>,
    /// Where the server's data goes; by default a temporary directory, which may be in memory: name a disk.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Rounds of floor and load.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Licenses in the large store.
    #[arg(long, default_value_t = 1_000_000)]
    stored: u32,
    /// Fewer and shorter rounds, 20000 licenses: shows the shape in a minute.
    #[arg(long)]
    quick: bool,
    /// Only calls of this name, such as `activate_warm_512`, and nothing else.
    #[arg(long, value_name = "NAME")]
    only: Option<String>,
    /// Write the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
    /// Let `perf` write to this file where the server's time goes while the loads of `--only` run; read it with `perf report`.
    #[arg(long, value_name = "FILE", requires = "only")]
    profile: Option<PathBuf>,
}

/// What is the same in all windows.
pub(super) struct Bench {
    pub(super) server: Server,
    pub(super) load: Arc<Load>,
    pub(super) many: Vec<Owned>,
    pub(super) seated: Vec<Seated>,
    quick: bool,
    rounds: usize,
    profile: Option<Profile>,
}

/// Calls that are measured beside their floor.
struct Calls {
    name: &'static str,
    title: &'static str,
    goal: Option<f64>,
    kind: Kind,
    in_flight: usize,
    /// In a round.
    count: usize,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Warm,
    Cold,
    Verify,
}

const CALLS: [Calls; 6] = [
    Calls {
        name: "activate_warm_512",
        title: "Activate, warm, 512 in flight",
        goal: Some(0.80),
        kind: Kind::Warm,
        in_flight: 512,
        count: 6_000,
    },
    Calls {
        name: "activate_warm_128",
        title: "Activate, warm, 128 in flight",
        goal: None,
        kind: Kind::Warm,
        in_flight: 128,
        count: 4_000,
    },
    Calls {
        name: "activate_warm_16",
        title: "Activate, warm, 16 in flight",
        goal: None,
        kind: Kind::Warm,
        in_flight: 16,
        count: 2_000,
    },
    Calls {
        name: "activate_warm_1",
        title: "Activate, warm, 1 in flight",
        goal: None,
        kind: Kind::Warm,
        in_flight: 1,
        count: 400,
    },
    Calls {
        name: "activate_cold",
        title: "Activate, a new TLS connection each (2 calls), 64 in flight",
        goal: Some(0.75),
        kind: Kind::Cold,
        in_flight: 64,
        count: 1_500,
    },
    Calls {
        name: "verify_warm_512",
        title: "VerifyActivation, warm, 512 in flight",
        goal: Some(0.85),
        kind: Kind::Verify,
        in_flight: 512,
        count: 6_000,
    },
];

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (quick, only) = (arguments.quick, arguments.only.as_deref());
    let server = Server::start(arguments.server.as_deref(), arguments.data.as_deref(), &[])?;
    let load = Arc::new(Load::open(&server, CONNECTIONS).await?);
    let many = load
        .create("MANY", if quick { 1_000 } else { 10_000 }, 1_000)
        .await
        .context("the licenses could not be made")?;
    let mut bench = Bench {
        server,
        load,
        many,
        seated: Vec::new(),
        quick,
        rounds: if quick { 2 } else { arguments.rounds.max(1) },
        profile: None,
    };
    // The first requests warm connections, caches and the store; they are not counted. Their seats are those that VerifyActivation asks
    // about: so many that none is asked for more often than the server answers without writing.
    let signed = bench
        .load
        .sign(&mut bench.many, if quick { 1_000 } else { 4_000 })
        .await?;
    bench.seated = bench.load.activate(signed, 128).await?.0;
    // What all this put off is no part of the first floor.
    cpu::rest(bench.server.pid(), LOOKS).await?;

    if let Some(path) = &arguments.profile {
        bench.profile = Some(Profile::start(bench.server.pid(), path)?);
    }
    let (mut beside, mut single) = (Vec::new(), Vec::new());
    for calls in &CALLS {
        if only.is_none_or(|only| only == calls.name) {
            beside.push(bench.measure(calls).await?);
        }
    }
    if let Some(profile) = bench.profile.take() {
        profile.end()?;
    }
    if only.is_none() {
        single.push(floor::sync(arguments.data.as_deref())?);
        single.extend(bench.hot().await?);
        let stored = if quick { 20_000 } else { arguments.stored };
        single.extend(stored::measure(arguments, &mut bench, stored).await?);
        let rows = if quick { 20_000 } else { 200_000 };
        single.extend(import::measure(arguments, rows)?);
        single.extend(offline::measure(arguments)?);
    }
    let figures = Figures::new(quick, &beside, &single);
    println!("{}", figures.markdown());
    match &arguments.json {
        Some(path) => figures.write(path),
        None => Ok(()),
    }
}

impl Bench {
    async fn measure(&mut self, calls: &Calls) -> anyhow::Result<Beside> {
        let mut rounds = Vec::new();
        for number in 1..=self.rounds {
            let round = self.round(calls).await.with_context(|| calls.title)?;
            eprintln!(
                "{} {number}/{}: floor {:.0} us, server {:.0} us, ratio {:.2}, {:.0}/s",
                calls.name,
                self.rounds,
                round.floor_us,
                round.server_us,
                round.floor_us / round.server_us,
                round.per_second,
            );
            rounds.push(round);
        }
        Ok(Beside {
            name: calls.name.to_owned(),
            title: calls.title.to_owned(),
            goal: calls.goal,
            rounds,
        })
    }

    async fn round(&mut self, calls: &Calls) -> anyhow::Result<Round> {
        let wanted = if self.quick {
            calls.count / 4
        } else {
            calls.count
        };
        let (pid, in_flight) = (self.server.pid(), calls.in_flight);
        let load = Arc::clone(&self.load);
        let crypto_us = floor::crypto()?;
        // Without the rest: what the server does when it does nothing is no floor.
        let idle = cpu::of_process(pid)?;
        match calls.kind {
            Kind::Cold => load.empty_cold(wanted, in_flight).await?,
            Kind::Warm | Kind::Verify => load.empty(wanted, in_flight).await?,
        }
        let empty = cpu::of_process(pid)?.saturating_sub(idle);
        let (per_second, used) = match calls.kind {
            Kind::Warm => {
                let signed = load.sign(&mut self.many, wanted).await?;
                let window = load.activate(signed, in_flight);
                let ((_, per_second), used) = self.window(window).await?;
                (per_second, used)
            }
            Kind::Cold => {
                let mut many = std::mem::take(&mut self.many);
                let window = load.activate_cold(&mut many, wanted, in_flight);
                let measured = self.window(window).await;
                self.many = many;
                measured?
            }
            Kind::Verify => {
                let signed = load.sign_verifications(&self.seated, wanted).await?;
                self.window(load.verify(signed, in_flight)).await?
            }
        };
        Ok(Round {
            floor_us: crypto_us + micros(empty) / count(wanted),
            server_us: micros(used) / count(wanted),
            per_second,
        })
    }

    /// What `work` gives, and the server's CPU time for it.
    async fn window<T>(
        &mut self,
        work: impl Future<Output = anyhow::Result<T>>,
    ) -> anyhow::Result<(T, Duration)> {
        if let Some(profile) = &mut self.profile {
            profile.look(true)?;
        }
        let measured = cpu::until_rest(self.server.pid(), work).await;
        if let Some(profile) = &mut self.profile {
            profile.look(false)?;
        }
        measured
    }

    /// All seats of one license with 10,000, beside one seat of each of 10,000 licenses: windows in turn.
    async fn hot(&mut self) -> anyhow::Result<[Single; 2]> {
        let seats = if self.quick { 1_000 } else { 10_000 };
        let (mut rates, mut costs) = (Vec::new(), Vec::new());
        let pid = self.server.pid();
        for number in 0..self.rounds {
            let name = format!("HOT{number}");
            let mut hot = self.load.create(&name, 1, seats).await?;
            let mut measured = Vec::new();
            for licenses in [&mut self.many, &mut hot] {
                let signed = self.load.sign(licenses, seats as usize).await?;
                let window = self.load.activate(signed, 512);
                let ((_, per_second), used) = cpu::until_rest(pid, window).await?;
                measured.push((per_second, micros(used)));
            }
            if let [(many_rate, many_cost), (hot_rate, hot_cost)] = *measured.as_slice() {
                rates.push(hot_rate / many_rate);
                costs.push(many_cost / hot_cost);
            }
        }
        Ok([
            Single {
                name: "hot_rate",
                title: "rate on one license of 10,000 seats / over 10,000 licenses".into(),
                value: Spread::of(rates.into_iter()),
                unit: "",
                goal: Some(">= 0.9"),
            },
            Single {
                name: "hot_cpu",
                title: "the same as server CPU: many / one".into(),
                value: Spread::of(costs.into_iter()),
                unit: "",
                goal: None,
            },
        ])
    }
}

const CONNECTIONS: usize = 8;
/// At a server that may be at work for several minutes.
const LOOKS: usize = 600;
