//! `verify`: checks everything in a data directory that no server is using, by the names of the invariants.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::Serialize;

use crate::audit;
use crate::cli::exit::{Exit, Failure};
use crate::cli::output::Form;
use crate::cli::place::Place;
use crate::cli::progress::{Progress, Unit};
use crate::clock::SystemClock;
use crate::flow::check::{self, Violation};
use crate::keys::log::verifier;
use crate::logging::{self, LogFormat};
use crate::random::SystemRandom;
use crate::serve::Server;
use crate::store::{self, LedgerFiles, Likeness, Options, StoreError};

/// Check a data directory that no server is using: the ledger, the index, and every record
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server verify --data /var/lib/upkeep
  upkeep-server verify --data /var/lib/upkeep --json

Checks the chain of the ledger, its checkpoints, that snapshots and index are what a replay gives, \
and the invariants of the records: seats, proofs, codes, terms, answers to retries. Changes nothing \
in the directory: works on a likeness of it in TMPDIR, which needs the space of the index and of a \
few snapshots there. Needs keys/. Exit code 0 when all holds, 4 when something does not: it is named.")]
pub(super) struct Args {
    #[command(flatten)]
    place: Place,

    #[command(flatten)]
    form: Form,
}

/// What was found.
#[derive(Debug, Serialize)]
struct Report {
    entries: u64,
    hash: String,
    state: String,
    root: String,
    epoch: u64,
    segments: usize,
    snapshots: usize,
    checkpoints: usize,
    /// By invariant: how many things were looked at, and how many break it.
    invariants: BTreeMap<String, Count>,
    violations: Vec<Broken>,
}

#[derive(Debug, Default, Serialize)]
struct Count {
    checked: u64,
    broken: u64,
}

#[derive(Debug, Serialize)]
struct Broken {
    invariant: String,
    at: String,
    what: String,
}

/// A machine that lets nobody look, for want of space in TMPDIR or of a right, says nothing about the data.
fn not_looked_at(fault: StoreError) -> Failure {
    match fault {
        StoreError::Io { .. } | StoreError::Full { .. } => Failure::new(Exit::Fault, fault),
        fault => fault.into(),
    }
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let config = args.place.own_config(&[])?;
    let settings = config.settings();
    let data = &settings.data_dir;
    logging::init(LogFormat::Text, "warn").map_err(|e| Failure::new(Exit::Fault, e))?;

    let total = LedgerFiles::open(data).map_or(0, |ledger| ledger.head().sequence());
    let mut progress = Progress::new("ledger", Unit::Entries);
    let cache = settings.store_cache_mib << 20;
    let likeness = Likeness::of(data).map_err(not_looked_at)?;
    let options = Options::new(likeness.dir()).cache_bytes(cache);
    let options = options.reserve_bytes(0);
    let verified = store::verify_with(options, &mut |entry| progress.at(entry.sequence(), total));
    let verified = verified.map_err(|fault| not_looked_at(likeness.fault(fault)))?;
    drop(progress);

    let mut invariants: BTreeMap<String, Count> = BTreeMap::new();
    let mut count = |name: &str, checked: u64, broken: usize| {
        let count = invariants.entry(name.to_owned()).or_default();
        count.checked += checked;
        count.broken += u64::try_from(broken).unwrap_or(u64::MAX);
    };
    let entries = verified.head().sequence();
    count("I3 I10 ledger", entries, 0);
    count(
        "I10 I16 index and snapshots",
        1 + verified.snapshots() as u64,
        0,
    );
    let mut violations = Vec::new();
    let (mut checkpoints, mut epoch) = (0, 1);
    if !audit::kept(data)?.is_empty() {
        let report = audit::verify(data, &verifier(data)?, &[], &mut |_| {})?;
        checkpoints = report.kept;
        let looked_at = report.kept.saturating_add(report.findings.len());
        count("I10 checkpoints", looked_at as u64, report.findings.len());
        violations.extend(report.findings.into_iter().map(|finding| Broken {
            invariant: "I10 checkpoints".into(),
            at: finding.at,
            what: finding.what,
        }));
    }

    let (clock, random) = (Arc::new(SystemClock), Arc::new(SystemRandom));
    let server = Server::open_to_check(settings, &likeness, clock, random)?;
    epoch = server.deps().store().epoch()?.number().max(epoch);
    let checked = check::check_records(server.deps());
    server.close()?;
    let checked = checked.map_err(|fault| Failure::new(Exit::Data, fault))?;
    for (name, looked_at) in &checked.counts {
        count(name, *looked_at, 0);
    }
    for Violation {
        invariant,
        at,
        what,
    } in checked.violations
    {
        count(invariant, 0, 1);
        violations.push(Broken {
            invariant: invariant.to_owned(),
            at,
            what,
        });
    }

    let hex = |hash: &[u8]| data_encoding::HEXLOWER.encode(hash);
    let report = Report {
        entries,
        hash: hex(&verified.head().hash()),
        state: hex(&verified.state()),
        root: hex(&verified.tree().root()),
        epoch,
        segments: verified.segments(),
        snapshots: verified.snapshots(),
        checkpoints,
        invariants,
        violations,
    };
    args.form.print(&report, || report.text())?;
    match report.violations.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Data,
            format_args!(
                "{count} records break an invariant; keep a copy of the directory, and restore a backup or report it"
            ),
        )),
    }
}

impl Report {
    fn text(&self) -> String {
        let mut text = format!(
            "{} entries in {} segments, {} snapshots, {} checkpoints, epoch {}\nhash  {}\nstate {}\nroot  {}\n",
            self.entries,
            self.segments,
            self.snapshots,
            self.checkpoints,
            self.epoch,
            self.hash,
            self.state,
            self.root
        );
        for (name, count) in &self.invariants {
            let verdict = match count.broken {
                0 => "holds".to_owned(),
                broken => format!("BROKEN {broken} times"),
            };
            text.push_str(&format!(
                "\n{name:<28} {:>10} checked  {verdict}",
                count.checked
            ));
        }
        for broken in &self.violations {
            text.push_str(&format!(
                "\nBROKEN: {}: {}: {}",
                broken.invariant, broken.at, broken.what
            ));
        }
        text
    }
}
