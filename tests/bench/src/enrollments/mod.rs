//! What the enrollment of a hardware key costs the server, and which step takes what.
//!
//! Two measurements in one run. *Steps*: each function of the verifier by itself, on evidence that real TPM code (swtpm) made once
//! and that is kept in `tests/vectors/tpm`, with the qualifying data it was recorded with (P-256 endorsement keys are of the chips below);
//! CPU time of this thread. *Calls*: the
//! server as a process of its own, over TLS, with a real store; since every enrollment answers a fresh challenge, recorded evidence
//! is refused there, so chips that are played in software sign live. Their work is done outside the measured windows; the server's
//! CPU time is taken. Beside both stands the floor: an empty call (grpc.health.v1) over the same connections.

mod live;
mod recorded;

use std::path::PathBuf;

use anyhow::Context;
use serde_json::json;

use self::live::Calls;
use self::recorded::Step;
use crate::middle;
use crate::sorted;

/// Measures enrollments of hardware keys: the verifier's steps on recorded evidence, the calls with chips that sign live
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The server's binary; by default the one built beside this program.
    #[arg(long)]
    server: Option<PathBuf>,
    /// Where the server's data goes; by default a temporary directory, which may be in memory: name a disk.
    #[arg(long)]
    data: Option<PathBuf>,
    /// The recorded evidence.
    #[arg(long, default_value = concat!(env!("CARGO_MANIFEST_DIR"), "/../vectors/tpm"))]
    vectors: PathBuf,
    /// Warm connections.
    #[arg(long, default_value_t = 8)]
    connections: usize,
    /// Calls in flight at any time, over all connections.
    #[arg(long, default_value_t = 64)]
    in_flight: usize,
    /// Rounds.
    #[arg(long, default_value_t = 7)]
    rounds: usize,
    /// Enrollments in a round; a server holds 512 that are begun from one network.
    #[arg(long, default_value_t = 500, value_parser = clap::value_parser!(u16).range(1..=512))]
    enrollments: u16,
    /// 2 rounds of 100: shows the shape in seconds.
    #[arg(long, conflicts_with_all = ["rounds", "enrollments"])]
    quick: bool,
    /// Write the figures to this file as JSON, too.
    #[arg(long, value_name = "FILE")]
    json: Option<PathBuf>,
}

/// Runs both measurements and prints them beside each other.
pub(crate) async fn run(arguments: &Arguments) -> anyhow::Result<()> {
    let (rounds, enrollments) = if arguments.quick {
        (2, 100)
    } else {
        (arguments.rounds.max(1), usize::from(arguments.enrollments))
    };
    let mut calls = Calls::prepare(
        arguments.server.as_deref(),
        arguments.data.as_deref(),
        arguments.connections,
        arguments.in_flight,
    )
    .await
    .context("the load could not be prepared")?;
    calls.round(enrollments.min(100)).await?;
    let played = calls.endorsement()?;
    let (mut steps, mut windows) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        steps.push(recorded::measure(&arguments.vectors, &played)?);
        windows.push(calls.round(enrollments).await?);
    }
    let figures = Figures::of(&steps, &windows);
    println!("{}", figures.text(rounds, enrollments));
    if let Some(path) = &arguments.json {
        let value = figures.json(rounds, enrollments);
        std::fs::write(path, format!("{value:#}\n")).with_context(|| path.display().to_string())?;
    }
    Ok(())
}

/// Medians over the rounds, in microseconds.
struct Figures {
    steps: Vec<(Step, f64)>,
    floor_us: f64,
    challenge_us: f64,
    begin_us: f64,
    complete_us: f64,
    per_second: f64,
}

impl Figures {
    fn of(steps: &[Vec<(Step, f64)>], windows: &[live::Round]) -> Self {
        let median = |of: fn(&live::Round) -> f64| middle(&sorted(windows.iter().map(of)));
        let names = steps.first().into_iter().flatten().map(|(step, _)| *step);
        Self {
            steps: names
                .map(|step| {
                    let all = steps.iter().flatten().filter(|(one, _)| *one == step);
                    (step, middle(&sorted(all.map(|(_, us)| *us))))
                })
                .collect(),
            floor_us: median(|round| round.floor_us),
            challenge_us: median(|round| round.challenge_us),
            begin_us: median(|round| round.begin_us),
            complete_us: median(|round| round.complete_us),
            per_second: median(|round| round.per_second),
        }
    }

    /// The server's CPU time for one enrollment: its three calls.
    fn enrollment_us(&self) -> f64 {
        self.challenge_us + self.begin_us + self.complete_us
    }

    /// What of it the verifier's steps take.
    fn verifier_us(&self) -> f64 {
        let of_enrollment = self.steps.iter().filter(|(step, _)| step.of_enrollment);
        of_enrollment.map(|(_, us)| us).sum()
    }

    /// What of it three empty calls take.
    fn rpc_us(&self) -> f64 {
        3.0 * self.floor_us
    }

    /// The rest: challenge, parsing, records, transaction, ledger.
    fn rest_us(&self) -> f64 {
        self.enrollment_us() - self.verifier_us() - self.rpc_us()
    }

    fn text(&self, rounds: usize, enrollments: usize) -> String {
        let whole = self.enrollment_us();
        let mut lines = vec![
            format!("medians of {rounds} rounds of {enrollments} enrollments; microseconds of CPU"),
            String::new(),
            "the verifier's steps, on evidence that is kept  us   share".to_owned(),
        ];
        for (step, us) in &self.steps {
            let share = match step.of_enrollment {
                true => format!("{:5.1} %", 100.0 * us / whole),
                false => "   -".to_owned(),
            };
            lines.push(format!("  {:40} {us:8.0} {share}", step.name));
        }
        lines.push(String::new());
        lines.push("the server, with chips that sign live           us   share".to_owned());
        for (name, us) in [
            ("CreateChallenge", self.challenge_us),
            ("BeginEnrollment", self.begin_us),
            ("CompleteEnrollment", self.complete_us),
            ("all three", whole),
            ("  of it the verifier's steps", self.verifier_us()),
            ("  of it RPC: three times the empty call", self.rpc_us()),
            ("  the rest: records, transaction, parsing", self.rest_us()),
            ("an empty call", self.floor_us),
        ] {
            lines.push(format!("  {name:40} {us:8.0} {:5.1} %", 100.0 * us / whole));
        }
        lines.push(String::new());
        lines.push(format!(
            "{:.0} enrollments a second, durable, warm TLS, no errors",
            self.per_second
        ));
        lines.join("\n")
    }

    fn json(&self, rounds: usize, enrollments: usize) -> serde_json::Value {
        let steps: Vec<_> = self
            .steps
            .iter()
            .map(|(step, us)| json!({ "step": step.name, "us": us, "of_enrollment": step.of_enrollment }))
            .collect();
        json!({
            "rounds": rounds,
            "enrollments": enrollments,
            "steps": steps,
            "empty_call_us": self.floor_us,
            "create_challenge_us": self.challenge_us,
            "begin_enrollment_us": self.begin_us,
            "complete_enrollment_us": self.complete_us,
            "enrollment_us": self.enrollment_us(),
            "verifier_us": self.verifier_us(),
            "rpc_us": self.rpc_us(),
            "rest_us": self.rest_us(),
            "enrollments_per_second": self.per_second,
            "errors": 0,
        })
    }
}
