//! What becomes of calls that are too many: how much is still done, how fast the rest is refused, and how soon it is over.
//!
//! The server is a process of its own with the limits that it has by default. A round is three windows in turn: the peak, with so
//! many calls in work as the server takes without refusing any; several times that rate, whatever becomes of the calls before; and,
//! at once after it, the peak again. Client and server share this machine, in all windows, so at several times the peak both have
//! less of it; the rate that was really offered stands in the table.

mod traffic;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, bail};
use serde_json::{Value, json};

use self::traffic::{PATIENCE, Tally, Traffic};
use crate::figures::{Spread, machine};
use crate::load::{Load, Owned};
use crate::server::Server;
use crate::{count, micros};

/// Measures goodput, refusals and recovery when more calls are offered than the server can take
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where the server's data goes; by default a temporary directory, which may be in memory: name a disk.
    #[arg(long)]
    data: Option<PathBuf>,
    /// Warm connections; each may carry 100 calls.
    #[arg(long, default_value_t = 32)]
    connections: usize,
    /// Calls in work at the peak.
    #[arg(long, default_value_t = 256)]
    in_flight: usize,
    /// How many times the peak is offered.
    #[arg(long, default_value_t = 5)]
    times: u32,
    /// Rounds.
    #[arg(long, default_value_t = 5)]
    rounds: usize,
    /// Seconds of one window; a challenge lasts for two minutes.
    #[arg(long, default_value_t = 10, value_parser = clap::value_parser!(u64).range(1..=20))]
    seconds: u64,
    /// 2 rounds with windows of 3 seconds: shows the shape.
    #[arg(long, conflicts_with_all = ["rounds", "seconds"])]
    quick: bool,
    /// Write the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// One round.
struct Round {
    peak: f64,
    goodput: f64,
    offered: f64,
    refused: usize,
    refused_p50_us: f64,
    refused_p99_us: f64,
    late: usize,
    /// Until the peak was reached again; none within the window.
    back: Option<Duration>,
    errors: usize,
}

pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (rounds, seconds) = match arguments.quick {
        true => (2, 3),
        false => (arguments.rounds.max(1), arguments.seconds),
    };
    let length = Duration::from_secs(seconds);
    let server = Server::start(arguments.server.as_deref(), arguments.data.as_deref(), &[])?;
    let load = Load::open(&server, arguments.connections).await?;
    let mut bench = Bench {
        licenses: load.create("OVER", LICENSES, SEATS).await?,
        load,
        in_flight: arguments.in_flight,
        times: arguments.times,
        length,
    };
    let mut guess = bench.warm_up().await?;
    let mut measured = Vec::new();
    for number in 1..=rounds {
        eprintln!("round {number} of {rounds}");
        let round = bench.round(&mut guess).await?;
        measured.push(round);
    }
    print!("{}", text(&measured, arguments.times));
    if let Some(path) = &arguments.json {
        let value = figures(&measured, arguments, length);
        std::fs::write(path, format!("{value:#}\n"))
            .with_context(|| format!("{} can't be written", path.display()))?;
    }
    match measured.iter().map(|round| round.errors).sum::<usize>() {
        0 => Ok(()),
        errors => bail!("{errors} calls failed otherwise than by a refusal"),
    }
}

/// What is the same in all rounds.
struct Bench {
    load: Load,
    licenses: Vec<Owned>,
    in_flight: usize,
    times: u32,
    length: Duration,
}

impl Bench {
    /// Answers how many calls a window has at most.
    async fn warm_up(&mut self) -> anyhow::Result<usize> {
        let traffic = self.ready(WARM_UP.max(self.in_flight * 2)).await?;
        let tally = traffic.closed(self.in_flight, self.length).await?;
        let windows = self.length.as_millis() / tally.took.as_millis().max(1);
        let in_window = usize::try_from(windows + 1)?.saturating_mul(tally.granted.len());
        Ok(in_window * 2)
    }

    async fn round(&mut self, guess: &mut usize) -> anyhow::Result<Round> {
        let traffic = self.ready(*guess + self.in_flight).await?;
        let peak = traffic.closed(self.in_flight, self.length).await?;
        let reached = peak.per_second();
        *guess = peak.granted.len() * 2;

        // For those that are granted in two windows, and those that are on their way.
        let traffic = self.ready(*guess * 3 + self.in_flight).await?;
        let rate = reached * f64::from(self.times);
        let (overload, rest) = traffic.open(rate, self.length).await?;
        let again = traffic.closed(self.in_flight, self.length).await?;
        let left = rest.end().await?;

        let failed = [&peak.failed, &overload.failed, &again.failed, &left];
        let failed = || failed.into_iter().flatten();
        if let Some(status) = failed().next() {
            eprintln!("a call failed: {status}");
        }
        let mut refused = overload.refused.clone();
        refused.sort_unstable();
        Ok(Round {
            peak: reached,
            goodput: overload.per_second(),
            offered: count(overload.sent) / overload.took.as_secs_f64(),
            refused: refused.len(),
            refused_p50_us: micros(of_hundred(&refused, 50)),
            refused_p99_us: micros(of_hundred(&refused, 99)),
            late: overload.late,
            back: back(&again, reached),
            errors: failed().count(),
        })
    }

    async fn ready(&mut self, requests: usize) -> anyhow::Result<Traffic> {
        let signed = self.load.sign(&mut self.licenses, requests).await?;
        let requests = signed.into_iter().map(|signed| signed.into_request());
        Ok(Traffic::new(self.load.channels(), requests.collect()))
    }
}

/// The time within which so many of a hundred came; `sorted` is.
fn of_hundred(sorted: &[Duration], share: usize) -> Duration {
    let place = sorted.len().saturating_sub(1) * share / 100;
    sorted.get(place).copied().unwrap_or_default()
}

/// The end of the first step in which at least nine tenths of the peak were granted.
fn back(again: &Tally, peak: f64) -> Option<Duration> {
    let mut end = STEP;
    while end <= again.took {
        let step = end.saturating_sub(STEP)..end;
        let granted = again.granted.iter().filter(|at| step.contains(*at)).count();
        if count(granted) >= 0.9 * peak * STEP.as_secs_f64() {
            return Some(end);
        }
        end += STEP;
    }
    None
}

/// What each figure is, for people and for programs, and of which rounds.
type Figure = (&'static str, &'static str, fn(&Round) -> Option<f64>);

const FIGURES: [Figure; 9] = [
    ("peak_per_second", "peak, granted a second", |round| {
        Some(round.peak)
    }),
    (
        "offered_per_second",
        "overload: offered a second",
        |round| Some(round.offered),
    ),
    (
        "goodput_per_second",
        "overload: granted a second",
        |round| Some(round.goodput),
    ),
    ("goodput_of_peak", "goodput / peak", |round| {
        Some(round.goodput / round.peak)
    }),
    ("refused", "refused calls of a window", |round| {
        Some(count(round.refused))
    }),
    ("refused_p50_us", "refusals, p50, us", |round| {
        Some(round.refused_p50_us)
    }),
    ("refused_p99_us", "refusals, p99, us", |round| {
        Some(round.refused_p99_us)
    }),
    ("late", "whose callers had left", |round| {
        Some(count(round.late))
    }),
    ("back_seconds", "until the peak is back, s", |round| {
        round.back.map(|back| back.as_secs_f64())
    }),
];

fn spread(rounds: &[Round], of: fn(&Round) -> Option<f64>) -> Option<Spread> {
    let all: Option<Vec<f64>> = rounds.iter().map(of).collect();
    all.map(|all| Spread::of(all.into_iter()))
}

fn text(rounds: &[Round], times: u32) -> String {
    let mut lines = vec![format!(
        "{:<30} {:>10} {:>10} {:>10}",
        format!("{times} times the peak, {} rounds", rounds.len()),
        "median",
        "min",
        "max"
    )];
    for (_, title, of) in FIGURES {
        lines.push(match spread(rounds, of) {
            Some(Spread { median, min, max }) => {
                format!("{title:<30} {median:>10.2} {min:>10.2} {max:>10.2}")
            }
            None => format!("{title:<30} not within the window in each round"),
        });
    }
    let errors: usize = rounds.iter().map(|round| round.errors).sum();
    lines.push(format!("{:<30} {errors:>10}", "errors that are no refusal"));
    lines.join("\n") + "\n"
}

fn figures(rounds: &[Round], arguments: &Arguments, length: Duration) -> Value {
    let of = |(name, _, of): &Figure| {
        let spread = spread(rounds, *of).map(Spread::json);
        ((*name).to_owned(), spread.unwrap_or(Value::Null))
    };
    json!({
        "quick": arguments.quick,
        "machine": machine(),
        "times": arguments.times,
        "rounds": rounds.len(),
        "window_seconds": length.as_secs(),
        "in_flight_at_peak": arguments.in_flight,
        "connections": arguments.connections,
        "callers_leave_after_seconds": PATIENCE.as_secs(),
        "figures": FIGURES.iter().map(of).collect::<serde_json::Map<_, _>>(),
        "errors": rounds.iter().map(|round| round.errors).sum::<usize>(),
    })
}

const LICENSES: usize = 512;
const SEATS: u32 = 100_000;
const WARM_UP: usize = 1_000;
/// What the time until the peak is back is measured in: several group commits.
const STEP: Duration = Duration::from_millis(500);
