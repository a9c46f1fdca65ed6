//! `import`: licenses of another system, streamed from a file.
//!
//! Three things run side by side, with a few batches between them: reading the file, the server, and noting what became of each row.
//! Nothing is kept of a run: what was imported is known to the server by its external id, so a run that was interrupted is simply
//! started again.

mod errors;
mod progress;
mod source;

use std::collections::VecDeque;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use serde::Serialize;
use tokio::sync::mpsc;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;
use upkeep::rpc::v1::{ImportLicensesRequest, ImportLicensesResponse, ImportOutcome, ImportResult};

use crate::cli::admin::{Admin, Reach};
use crate::cli::exit::{Exit, Failure};
use crate::cli::import::errors::{BadRow, Errors};
use crate::cli::import::progress::Progress;
use crate::cli::import::source::{Entry, Item, Name, Source};
use crate::cli::output::{self, Form};
use crate::cli::serve::block_on;
use crate::license_file::{Format, Mapping, TEMPLATE};
use crate::logging::{self, LogFormat};

/// Import licenses from a CSV file or JSON lines
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server import --mapping-template > mapping.toml
  upkeep-server import licenses.csv --mapping mapping.toml --dry-run --data /var/lib/upkeep
  upkeep-server import licenses.csv --mapping mapping.toml --data /var/lib/upkeep \\
      --errors errors.csv
  upkeep-server import licenses.jsonl --data /var/lib/upkeep

Each row is a license; its fields are those of LicenseRow in the API. In CSV the first line names \
the columns: fields, or with --mapping those of your system. In JSON lines each line is an object.

A row is imported once: it is known by its external_id, or without one by its serial. Run it again \
after an interruption, or after correcting rows: what was imported is left as it is. A row whose \
id was imported with other content is an error, never a change.

Each row is decided by the rules for new licenses, and for itself. Customers and partners are \
matched by id or external id, and created where a name is given. Products have to be there. Seats \
are free at first: an activation is bound to a device key, so devices activate again.

Exit code 5 when rows failed; the others were imported.")]
pub(super) struct Args {
    /// The file, or - for standard input
    #[arg(required_unless_present = "mapping_template")]
    file: Option<PathBuf>,

    /// The form of the file, where its name does not end in .csv, .tsv, .txt, .jsonl or .ndjson
    #[arg(long, value_enum)]
    format: Option<Format>,

    /// For CSV: a TOML file that says which column is which field
    #[arg(long, value_name = "FILE")]
    mapping: Option<PathBuf>,

    /// Print a mapping to start from, and do nothing else
    #[arg(long)]
    mapping_template: bool,

    /// Only check, against what is stored
    #[arg(long)]
    dry_run: bool,

    /// Write rows that fail into a new file, by line and field: CSV, or JSON lines for .jsonl
    #[arg(long, value_name = "FILE")]
    errors: Option<PathBuf>,

    /// Send no more when so many rows have failed; up to 2000 that are under way are still answered,
    /// and count. 0 goes on to the end
    #[arg(long, value_name = "N", default_value_t = 1000)]
    max_errors: u64,

    #[command(flatten)]
    reach: Reach,
    #[command(flatten)]
    form: Form,
}

/// What an import did, or would do.
#[derive(Debug, Default, Serialize)]
struct Report {
    rows: u64,
    created: u64,
    unchanged: u64,
    failed: u64,
    dry_run: bool,
    /// Whether it stopped before the end of the file.
    stopped: bool,
    seconds: f64,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let _ = logging::init(LogFormat::Text, "warn");
    let file = match &args.file {
        Some(file) if !args.mapping_template => file,
        _ => {
            output::line(TEMPLATE.trim_end());
            return Ok(());
        }
    };
    block_on(import(args, file))
}

async fn import(args: &Args, file: &Path) -> Result<(), Failure> {
    // What the file and the mapping alone tell needs no server.
    let format = source::format_of(file, args.format)?;
    if args.mapping.is_some() && format != Format::Csv {
        let why = "--mapping is for CSV; the keys of JSON lines are the names of the fields";
        return Err(Failure::new(Exit::Usage, why));
    }
    let mapping = mapping(args)?;
    let source = Source::open(file, format, &mapping)?;
    let errors = Errors::create(args.errors.as_deref())?;
    let mut admin = args.reach.admin().await?;
    let mut run = Run {
        progress: Progress::new(source.length()),
        errors,
        report: Report {
            dry_run: args.dry_run,
            ..Report::default()
        },
        max_errors: args.max_errors,
        started: Instant::now(),
    };
    let done = run.through(&mut admin, source).await;
    run.progress.finish();
    admin.close()?;
    let listed = run.errors.finish()?;
    run.report.seconds = run.started.elapsed().as_secs_f64();
    let report = run.report;
    if let Err(failure) = done {
        let so_far = format!(
            "{failure}; {} rows were answered before, run the same command again to go on",
            report.rows
        );
        return Err(Failure::new(failure.exit(), so_far));
    }
    args.form.print(&report, || summary(&report))?;
    if report.failed == 0 {
        return Ok(());
    }
    let stopped = if report.stopped {
        ", and the rest was not read (--max-errors)"
    } else {
        ""
    };
    Err(Failure::new(
        Exit::Refused,
        format_args!(
            "{} of {} rows failed{stopped}{listed}; correct them and run it again: rows that were imported are left as they are",
            report.failed, report.rows
        ),
    ))
}

fn mapping(args: &Args) -> Result<Mapping, Failure> {
    let Some(path) = &args.mapping else {
        return Ok(Mapping::default());
    };
    let text = std::fs::read_to_string(path).map_err(|e| source::unreadable(path, &e))?;
    Mapping::parse(&text)
        .map_err(|e| Failure::new(Exit::Config, format_args!("{}: {e}", path.display())))
}

fn summary(report: &Report) -> String {
    let would = if report.dry_run { "would be " } else { "" };
    format!(
        "{} {would}created, {} there already, {} failed",
        report.created, report.unchanged, report.failed
    )
}

/// One run at work.
struct Run {
    progress: Progress,
    errors: Errors,
    report: Report,
    max_errors: u64,
    started: Instant,
}

impl Run {
    /// Sends the whole file and notes every answer.
    async fn through(&mut self, admin: &mut Admin, source: Source) -> Result<(), Failure> {
        let control = Arc::clone(&source.control);
        let (mut items, reading) = source.read();
        let (requests, stream) = mpsc::channel(IN_FLIGHT);
        let calling = admin.client.import_licenses(ReceiverStream::new(stream));
        let mut answers: Streaming<ImportLicensesResponse> = match calling.await {
            Ok(answers) => answers.into_inner(),
            Err(status) => return Err(admin.refused(&status)),
        };
        let mut waiting: VecDeque<Vec<Entry>> = VecDeque::new();
        let mut requests = Some(requests);
        loop {
            // As many as the server takes are under way before an answer is waited for.
            while waiting.len() < IN_FLIGHT
                && let Some(sender) = &requests
            {
                match items.recv().await {
                    None => requests = None,
                    Some(Item::Batch(entries, rows)) => {
                        let request = ImportLicensesRequest {
                            dry_run: self.report.dry_run,
                            rows,
                        };
                        // Should the stream have ended, its answers say why.
                        if !request.rows.is_empty() && sender.send(request).await.is_err() {
                            requests = None;
                        }
                        waiting.push_back(entries);
                    }
                    Some(Item::Failed(failure)) => return Err(failure),
                }
            }
            let Some(entries) = waiting.pop_front() else {
                break;
            };
            self.settle(admin, &mut answers, entries).await?;
            self.progress.show(&self.report, control.bytes_read());
            if self.is_over() && requests.take().is_some() {
                self.report.stopped = true;
                control.stop();
            }
        }
        drop(items);
        let read = reading.join();
        read.map_err(|_| Failure::new(Exit::Fault, "reading the file panicked"))
    }

    /// Notes what became of the rows of one batch.
    async fn settle(
        &mut self,
        admin: &Admin,
        answers: &mut Streaming<ImportLicensesResponse>,
        entries: Vec<Entry>,
    ) -> Result<(), Failure> {
        let is_sent = |entry: &Entry| matches!(entry, Entry::Sent(_));
        let sent = entries.iter().filter(|entry| is_sent(entry)).count();
        let mut outcomes = Vec::new();
        if sent > 0 {
            outcomes = match answers.message().await {
                Ok(Some(answer)) => answer.outcomes,
                Ok(None) => Vec::new(),
                Err(status) => return Err(admin.refused(&status)),
            };
            if outcomes.len() != sent {
                let why = "the server stopped answering in the middle of the import";
                return Err(Failure::new(Exit::Refused, why));
            }
        }
        let mut outcomes = outcomes.into_iter();
        for entry in entries {
            match entry {
                Entry::Bad(bad) => self.fail(&bad)?,
                Entry::Sent(name) => self.note(name, outcomes.next().unwrap_or_default())?,
            }
        }
        Ok(())
    }

    fn note(&mut self, name: Name, outcome: ImportOutcome) -> Result<(), Failure> {
        match outcome.result() {
            ImportResult::Created => self.report.created += 1,
            ImportResult::Unchanged => self.report.unchanged += 1,
            ImportResult::Refused | ImportResult::Unspecified => {
                return self.fail(&BadRow::refused(name, outcome));
            }
        }
        self.report.rows += 1;
        Ok(())
    }

    fn fail(&mut self, bad: &BadRow) -> Result<(), Failure> {
        self.report.rows += 1;
        self.report.failed += 1;
        let errors = &mut self.errors;
        self.progress.suspend(|| errors.write(bad))
    }

    fn is_over(&self) -> bool {
        self.max_errors > 0 && self.report.failed >= self.max_errors
    }
}

/// Batches that are under way.
const IN_FLIGHT: usize = 4;
