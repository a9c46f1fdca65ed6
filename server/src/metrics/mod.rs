//! Counts and times for an operator's monitoring, in the OpenMetrics text format.
//!
//! Whatever happens often is counted where it happens, with atomics; whatever can be asked is asked when somebody scrapes
//! (`scrape`). Every label takes its values from a closed set: listeners, the methods of the API, gRPC codes, reasons of the
//! error catalogue, causes. Never a license, a partner, an address or anything else that a caller chooses.

mod calls;
mod disk;
mod process;
mod scrape;

use std::fmt;
use std::sync::Arc;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::encoding::text;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::Registry;

use crate::clock::Clock;
pub use crate::metrics::calls::ListenerMetrics;
use crate::metrics::calls::Listeners;
use crate::metrics::scrape::Asked;
pub use crate::metrics::scrape::Sources;
use crate::store::Group;

/// All that is counted. One for each server; clones of an [`Arc`] go to whoever counts.
pub struct Metrics {
    registry: Registry,
    listeners: Listeners,
    group_transactions: Histogram,
    commit_seconds: Histogram,
    sync_seconds: Histogram,
    written_bytes: Counter,
    mails: Family<Outcome, Counter>,
    passes: Family<PassLabels, Counter>,
    last_pass: Family<PassName, Gauge>,
    asked: Asked,
}

/// What runs beside the calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pass {
    /// Removal of what has lapsed.
    Sweep,
    /// Reminders and terms that are due.
    Due,
}

/// How one of them ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PassResult {
    /// It did what there was to do.
    Done,
    /// It failed and will run again.
    Failed,
}

/// What became of a mail.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum MailOutcome {
    /// The mail server took it.
    Sent,
    /// It was not needed any more.
    Void,
    /// It did not go out; the log and the outbox say whether it is tried again.
    Failed,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct Outcome {
    outcome: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassLabels {
    pass: &'static str,
    result: &'static str,
}

#[derive(Clone, Debug, Hash, PartialEq, Eq, EncodeLabelSet)]
struct PassName {
    pass: &'static str,
}

impl Metrics {
    /// Everything at zero.
    pub fn new() -> Arc<Self> {
        let mut registry = Registry::default();
        let build = Info::new(vec![("version", env!("CARGO_PKG_VERSION"))]);
        registry.register("upkeep_build", "The release that runs", build);
        let listeners = Listeners::register(&mut registry);

        // Up to the most that the committer takes into one group.
        let group_transactions = Histogram::new([
            1.0, 2.0, 4.0, 8.0, 16.0, 32.0, 64.0, 128.0, 256.0, 512.0, 1024.0,
        ]);
        registry.register(
            "upkeep_store_group_transactions",
            "Transactions that one group commit answered",
            group_transactions.clone(),
        );
        let commit_seconds = Histogram::new(DISK_SECONDS);
        registry.register(
            "upkeep_store_commit_seconds",
            "Time of one group commit: ledger and sync; the index is written behind",
            commit_seconds.clone(),
        );
        let sync_seconds = Histogram::new(DISK_SECONDS);
        registry.register(
            "upkeep_store_sync_seconds",
            "Time of one sync of the ledger to disk",
            sync_seconds.clone(),
        );
        let written_bytes = Counter::default();
        registry.register(
            "upkeep_store_written_bytes",
            "Bytes written to the ledger's files",
            written_bytes.clone(),
        );
        let mails = Family::default();
        registry.register(
            "upkeep_mails",
            "Attempts to deliver a mail, by what came of them",
            mails.clone(),
        );
        let passes = Family::default();
        registry.register(
            "upkeep_passes",
            "Runs of the sweep and of the due pass, by result",
            passes.clone(),
        );
        let last_pass = Family::default();
        registry.register(
            "upkeep_last_pass_timestamp_seconds",
            "When the pass last ended well, seconds since 1970",
            last_pass.clone(),
        );
        let asked = Asked::register(&mut registry);
        Arc::new(Self {
            registry,
            listeners,
            group_transactions,
            commit_seconds,
            sync_seconds,
            written_bytes,
            mails,
            passes,
            last_pass,
            asked,
        })
    }

    /// The part of a listener, by the word for it in log lines.
    pub fn listener(&self, name: &'static str) -> Arc<ListenerMetrics> {
        Arc::new(self.listeners.of(name))
    }

    /// Notes a group that the store committed.
    pub fn group_committed(&self, group: Group) {
        let transactions = u32::try_from(group.transactions).unwrap_or(u32::MAX);
        self.group_transactions.observe(f64::from(transactions));
        self.commit_seconds.observe(group.took.as_secs_f64());
    }

    /// Notes what became of a mail.
    pub fn mail(&self, outcome: MailOutcome) {
        let outcome = match outcome {
            MailOutcome::Sent => "sent",
            MailOutcome::Void => "void",
            MailOutcome::Failed => "failed",
        };
        self.mails.get_or_create(&Outcome { outcome }).inc();
    }

    /// Notes the end of a pass.
    pub fn pass(&self, pass: Pass, result: PassResult, clock: &dyn Clock) {
        let pass = match pass {
            Pass::Sweep => "sweep",
            Pass::Due => "due",
        };
        let result = match result {
            PassResult::Done => {
                let now = clock.now().timestamp();
                self.last_pass.get_or_create(&PassName { pass }).set(now);
                "done"
            }
            PassResult::Failed => "failed",
        };
        self.passes
            .get_or_create(&PassLabels { pass, result })
            .inc();
    }

    /// Asks the sources and gives everything as text.
    ///
    /// Blocks: it reads the sizes of files.
    ///
    /// # Errors
    /// [`fmt::Error`] when a value cannot be written, which is a defect.
    pub fn render(&self, sources: &Sources) -> Result<String, fmt::Error> {
        self.asked.ask(sources);
        let mut page = String::new();
        text::encode(&mut page, &self.registry)?;
        Ok(page)
    }
}

impl fmt::Debug for Metrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Metrics").finish_non_exhaustive()
    }
}

/// From a preallocated block on a fast disk to a disk in trouble.
const DISK_SECONDS: [f64; 12] = [
    0.000_1, 0.000_25, 0.000_5, 0.001, 0.002_5, 0.005, 0.01, 0.025, 0.1, 0.5, 2.5, 10.0,
];
