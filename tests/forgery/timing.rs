//! G12: what a stranger learns from how long a refusal takes, and from its bytes: nothing.
//!
//! Two serials that differ only in what is on record are asked for in turn, as the dice fall, and the times are compared by Welch's t
//! after cropping (SECURITY F7: the slow ones are the machine's doing, and alike for both). A little work that is
//! planted on the way of one class must be found in the same way: else the test could see nothing.
//!
//! CI calls the server's routes in this process, and reads the time that the process spent computing: a leak is work that is done for one
//! and not for the other, and what else the machine does disturbs it little. The gate of SECURITY 5, over TLS and by the clock on the
//! wall, needs a machine that is idle:
//! `UPKEEP_G12_OVER=loopback UPKEEP_G12_CLOCK=wall UPKEEP_G12_SAMPLES=20_000 UPKEEP_G12_RUNS=3 UPKEEP_G12_PLANTED_NS=5_000
//! cargo test --release --workspace --test forgery g12`.

use std::ffi::OsString;
use std::path::Path;
use std::process::Command;
use std::sync::LazyLock;
use std::time::{Duration, Instant};

use rustix::time::{ClockId, clock_gettime};
use tonic::{Code, Status};

use crate::asking::{Asker, Pair, scene};
use crate::{Dice, size};

impl Asker {
    /// Asks about both, `samples` times each; gives the times in nanoseconds. Every answer is the same to the byte.
    async fn times(
        &mut self,
        pair: &Pair,
        samples: usize,
        planted: Duration,
        dice: &mut Dice,
    ) -> [Vec<f64>; 2] {
        let mut times = [Vec::new(), Vec::new()];
        let mut first = None;
        // The first calls fill caches and connections.
        for _ in 0..50 {
            self.ask(pair.method, &pair.one).await;
            self.ask(pair.method, &pair.other).await;
        }
        while times.iter().any(|of| of.len() < samples) {
            let class = dice.below(2);
            if times[class].len() == samples {
                continue;
            }
            let about = [&pair.one, &pair.other][class];
            let from = spent();
            if class == 1 {
                spin(planted);
            }
            let answer = self.ask(pair.method, about).await;
            times[class].push(spent() - from);
            let shown = shown(&answer);
            match &first {
                None => first = Some(shown),
                Some(first) => assert_eq!(*first, shown, "{:?}: {}", pair.method, pair.what),
            }
        }
        times
    }
}

/// Work that is done for one class alone.
fn spin(planted: Duration) {
    let from = Instant::now();
    while from.elapsed() < planted {
        std::hint::spin_loop();
    }
}

/// The clock that is read: of this process's work, or with `UPKEEP_G12_CLOCK=wall` the one on the wall. In nanoseconds.
fn spent() -> f64 {
    let clock = match &*CLOCK {
        Some(wall) if wall == "wall" => ClockId::Monotonic,
        _ => ClockId::ProcessCPUTime,
    };
    let now = clock_gettime(clock);
    now.tv_sec as f64 * 1e9 + now.tv_nsec as f64
}

static CLOCK: LazyLock<Option<OsString>> = LazyLock::new(|| std::env::var_os("UPKEEP_G12_CLOCK"));

/// All that a caller can see of a refusal, but the number of the call.
fn shown(status: &Status) -> (Code, String, Vec<u8>, Vec<String>) {
    let headers = status.metadata().clone().into_headers();
    let mut headers: Vec<String> = headers
        .iter()
        .filter(|(name, _)| !["date", "x-request-id"].contains(&name.as_str()))
        .map(|header| format!("{header:?}"))
        .collect();
    headers.sort();
    (
        status.code(),
        status.message().to_owned(),
        status.details().to_vec(),
        headers,
    )
}

/// Welch's t of the times below the percentile `crop` of both together.
fn welch(times: &[Vec<f64>; 2], crop: usize) -> f64 {
    let mut all: Vec<f64> = times.iter().flatten().copied().collect();
    all.sort_by(f64::total_cmp);
    let limit = all[all.len() * crop / 100];
    let [one, other] = times.each_ref().map(|times| {
        let kept: Vec<f64> = times
            .iter()
            .copied()
            .filter(|time| *time <= limit)
            .collect();
        let count = kept.len() as f64;
        let mean = kept.iter().sum::<f64>() / count;
        let variance = kept.iter().map(|time| (time - mean).powi(2)).sum::<f64>() / (count - 1.0);
        (mean, variance / count)
    });
    (one.0 - other.0) / (one.1 + other.1).sqrt()
}

/// The larger of both crops.
fn leak(times: &[Vec<f64>; 2]) -> f64 {
    let found = [75, 90].map(|crop| welch(times, crop).abs());
    found[0].max(found[1])
}

/// In a process of its own, so that no other test stands in its way, and with its data in memory: a disk is alike for both and far
/// noisier than what is looked for.
#[test]
fn g12_time_tells_nothing_of_a_serial() {
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["timing::alone", "--exact", "--nocapture"]);
    alone.env(ALONE, "1");
    if Path::new(MEMORY).is_dir() {
        alone.env("TMPDIR", MEMORY);
    }
    let output = alone.output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    for line in said.lines().filter(|line| line.starts_with("g12:")) {
        println!("{line}");
    }
    let errors = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}{errors}");
    assert!(said.contains("g12:"), "nothing was measured: {said}");
}

#[tokio::test]
async fn alone() {
    if std::env::var_os(ALONE).is_none() {
        return;
    }
    let samples = size("UPKEEP_G12_SAMPLES", 1_200);
    let runs = size("UPKEEP_G12_RUNS", 1);
    let planted = Duration::from_nanos(size("UPKEEP_G12_PLANTED_NS", 200_000) as u64);
    let (held, mut asker, pairs) = scene().await;
    let mut dice = Dice(12);
    let mut leaks = Vec::new();
    for pair in &pairs {
        let name = format!("{:?}: {}", pair.method, pair.what);
        let mut found = Vec::new();
        // A busy machine may look like a leak now and then; a leak looks like one every time.
        while found.len() < runs + SPARE {
            let t = leak(&asker.times(pair, samples, Duration::ZERO, &mut dice).await);
            found.push(t);
            if found.iter().filter(|t| **t < LIMIT).count() >= runs {
                break;
            }
        }
        // What is planted is plain: fewer samples show it, and a busy machine may hide it once.
        let mut t = 0.0;
        for _ in 0..=SPARE {
            if t < LIMIT {
                t = leak(&asker.times(pair, samples / 2, planted, &mut dice).await);
            }
        }
        println!("g12: {name}: t {found:.2?}; with {planted:?} planted {t:.1}");
        if found.iter().filter(|t| **t < LIMIT).count() < runs {
            leaks.push(format!("{name}: {found:.1?}"));
        }
        assert!(
            t > LIMIT,
            "{name}: {planted:?} were planted and not found: {t:.1}"
        );
    }
    assert!(leaks.is_empty(), "it takes longer:\n{}", leaks.join("\n"));
    held.end().await;
}

const ALONE: &str = "UPKEEP_G12_ALONE";
const MEMORY: &str = "/dev/shm";
/// Above this the difference is no accident: 1 in 150,000.
const LIMIT: f64 = 4.5;
/// How many runs may be the machine's fault.
const SPARE: usize = 4;
