//! `audit`: checks the ledger, shows and exports what is in it, and proves single entries. Reads the files; no server is asked.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime};

use chrono::{DateTime, SecondsFormat};
use serde::Serialize;

use crate::audit::note::{self, VerifierKey};
use crate::audit::proof::Proof;
use crate::audit::{self, AuditError, log, proof};
use crate::cli::exit::{Exit, Failure};
use crate::cli::files;
use crate::cli::output::{self, Form, Reader};
use crate::cli::place::{self, Place};
use crate::cli::progress::{Progress, Unit};
use crate::keys::log::{LogKey, read_verifier, verifier};
use crate::random::SystemRandom;
use crate::record::decode_message;
use crate::record::event::Event;
use crate::store::{Entry, LedgerFiles, StoreError};

/// Check the ledger, read it, and prove what stands in it
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Verify(VerifyArgs),
    Tail(TailArgs),
    Export(ExportArgs),
    Prove(ProveArgs),
    CheckProof(CheckProofArgs),
    Checkpoint(CheckpointArgs),
}

/// Check the whole ledger: its chain, the checkpoints kept beside it, and those that a witness kept
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server audit verify --data /var/lib/upkeep
  upkeep-server audit verify --data /var/lib/upkeep --log-key log.pub \\
      --witness june.note --witness july.note

Works while the server runs, and while it does not. Without a witness, whoever can write to the \
disk and use its keys could cut the ledger short or write it anew and leave no trace; a checkpoint \
that was kept elsewhere finds both. Take --log-key from where you keep the witness's notes. \
Exit code 0 when nothing was found, 4 when something was.")]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    place: Place,

    /// A checkpoint that was kept elsewhere; may be repeated
    #[arg(long = "witness", value_name = "NOTE-FILE")]
    witnesses: Vec<PathBuf>,

    /// The log's public key, where it is not the data directory's keys/log.pub
    #[arg(long, value_name = "FILE")]
    log_key: Option<PathBuf>,

    #[command(flatten)]
    form: Form,
}

/// Show the last entries: when, who, what, how it ended
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server audit tail --data /var/lib/upkeep
  upkeep-server audit tail -n 100 --data /var/lib/upkeep
  upkeep-server audit tail -f --data /var/lib/upkeep --json | jq .action

With --json each entry is one line, as in `audit export`.")]
pub(super) struct TailArgs {
    #[command(flatten)]
    place: Place,

    /// How many
    #[arg(short = 'n', long, value_name = "COUNT", default_value_t = 20)]
    lines: u64,

    /// Go on with what is added, until interrupted
    #[arg(short, long)]
    follow: bool,

    #[command(flatten)]
    form: Form,
}

/// Print entries as JSON lines
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server audit export --data /var/lib/upkeep > audit.jsonl
  upkeep-server audit export --data /var/lib/upkeep --from 120000 --to 130000

One JSON object a line: entry, time, transaction, actor, action, outcome, serial, subject, reason, \
request_id, hash. No secret and no personal data is in the ledger's events.")]
pub(super) struct ExportArgs {
    #[command(flatten)]
    place: Place,

    /// The first entry, at most the one after the newest
    #[arg(long, value_name = "N", default_value_t = 1)]
    from: u64,

    /// The last entry; without it the newest
    #[arg(long, value_name = "N")]
    to: Option<u64>,
}

/// Prove that an entry stands in the ledger: a JSON file for somebody who has only the log's public key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server audit prove 4711 --data /var/lib/upkeep > entry-4711.json
  upkeep-server audit check-proof entry-4711.json --log-key log.pub

The proof holds the entry, the hashes beside its way up the Merkle tree (RFC 6962), and a signed \
checkpoint (C2SP tlog-checkpoint) of that tree.")]
pub(super) struct ProveArgs {
    /// The entry, from 1
    #[arg(value_name = "ENTRY", value_parser = clap::value_parser!(u64).range(1..))]
    entry: u64,

    #[command(flatten)]
    place: Place,
}

/// Check a proof with nothing but the file and the log's public key
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server audit check-proof entry-4711.json --log-key log.pub

Exit code 0 when it holds, 5 when it does not.")]
pub(super) struct CheckProofArgs {
    /// The file that `audit prove` printed
    #[arg(value_name = "FILE")]
    proof: PathBuf,

    /// The log's public key, as the server has it in keys/log.pub
    #[arg(long, value_name = "FILE")]
    log_key: PathBuf,

    #[command(flatten)]
    form: Form,
}

/// Sign a checkpoint of all entries, keep it, and print it for a witness
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server audit checkpoint --data /var/lib/upkeep > 2027-03-01.note

Works while the server runs, and while it does not. The server signs one by itself each \
store.checkpoint_minutes and when it stops, under DIR/checkpoints. Keep some of them, and \
DIR/keys/log.pub, where nobody who works on the server can change them.")]
pub(super) struct CheckpointArgs {
    #[command(flatten)]
    place: Place,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Verify(args) => verify(args),
        Command::Tail(args) => tail(args),
        Command::Export(args) => export(args),
        Command::Prove(args) => prove(args),
        Command::CheckProof(args) => check_proof(args),
        Command::Checkpoint(args) => checkpoint(args),
    }
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let data = data_of(&args.place)?;
    let key = key_of(&data, args.log_key.as_deref())?;
    for witness in &args.witnesses {
        files::read(witness)?;
    }
    let total = LedgerFiles::open(&data).map_or(0, |ledger| ledger.head().sequence());
    let mut progress = Progress::new("audit", Unit::Entries);
    let report = audit::verify(&data, &key, &args.witnesses, &mut |entry| {
        progress.at(entry.sequence(), total);
    })?;
    drop(progress);
    args.form.print(&report, || {
        let mut text = format!(
            "{} entries, each chained to the one before; epoch {}\nhash {}\nroot {}\n\
             checkpoints that fit: {} kept here, {} of witnesses",
            report.entries, report.epoch, report.hash, report.root, report.kept, report.witnessed
        );
        match report.witnessed_size {
            0 => text.push_str("\nno witness: a ledger that was cut short or written anew would look like this one"),
            size => text.push_str(&format!("\na witness vouches for the first {size} entries")),
        }
        for finding in &report.findings {
            text.push_str(&format!("\nFOUND: {}: {}", finding.at, finding.what));
        }
        text
    })?;
    match report.findings.len() {
        0 => Ok(()),
        count => Err(Failure::new(
            Exit::Data,
            format_args!(
                "the ledger is not as it was: {count} findings; keep a copy of all files before anything else"
            ),
        )),
    }
}

/// An entry as people and programs read it.
#[derive(Debug, Serialize)]
struct Line {
    entry: u64,
    time: String,
    transaction: String,
    actor: String,
    action: String,
    outcome: String,
    serial: String,
    subject: String,
    reason: String,
    request_id: String,
    hash: String,
}

impl Line {
    fn of(entry: &Entry) -> Self {
        // What another release wrote, or no event at all, leaves the fields empty; the entry itself still counts.
        let key = entry.sequence().to_be_bytes();
        let event = entry
            .event()
            .and_then(|event| decode_message::<Event>(&key, event).ok())
            .unwrap_or_default();
        let time = DateTime::from_timestamp_millis(entry.at_unix_ms()).unwrap_or_default();
        Self {
            entry: entry.sequence(),
            time: time.to_rfc3339_opts(SecondsFormat::Millis, true),
            transaction: entry.name().to_owned(),
            actor: event.actor,
            action: event.action,
            outcome: event.outcome,
            serial: event.serial,
            subject: event.subject,
            reason: event.reason,
            request_id: event.request_id,
            hash: data_encoding::HEXLOWER.encode(&entry.hash()),
        }
    }

    fn print(&self, form: Form) -> Result<Reader, Failure> {
        if form.is_json() {
            return self.print_json();
        }
        let about = [&self.serial, &self.subject, &self.reason]
            .into_iter()
            .filter(|part| !part.is_empty())
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(" ");
        let action = match self.action.is_empty() {
            true => &self.transaction,
            false => &self.action,
        };
        output::next_line(format_args!(
            "{:>8}  {}  {:<20} {:<24} {:<24} {about}",
            self.entry, self.time, self.actor, action, self.outcome
        ))
    }

    fn print_json(&self) -> Result<Reader, Failure> {
        let text = serde_json::to_string(self).map_err(|e| {
            Failure::new(Exit::Fault, format_args!("JSON could not be written: {e}"))
        })?;
        output::next_line(text)
    }
}

fn tail(args: &TailArgs) -> Result<(), Failure> {
    let data = data_of(&args.place)?;
    let mut seen = newest_change(&data);
    let ledger = LedgerFiles::open(&data)?;
    let last = ledger.head().sequence();
    for entry in ledger.entries(last.saturating_sub(args.lines).saturating_add(1)) {
        if Line::of(&entry?).print(args.form)? == Reader::Gone {
            return Ok(());
        }
    }
    if !args.follow {
        return Ok(());
    }
    let mut follower = ledger.follow(&data)?;
    loop {
        std::thread::sleep(FOLLOW_EVERY);
        let changed = newest_change(&data);
        if changed != seen {
            seen = changed;
            for entry in follower.look()? {
                if Line::of(&entry).print(args.form)? == Reader::Gone {
                    return Ok(());
                }
            }
        }
    }
}

/// When the newest segment was last written to.
fn newest_change(data: &Path) -> Option<SystemTime> {
    let segments = fs::read_dir(data.join("ledger")).ok()?;
    let changes = segments.filter_map(|segment| segment.ok()?.metadata().ok()?.modified().ok());
    changes.max()
}

fn export(args: &ExportArgs) -> Result<(), Failure> {
    if let Some(to) = args.to.filter(|to| *to < args.from) {
        return Err(Failure::new(
            Exit::Usage,
            format_args!("--from {} is after --to {to}; exchange them", args.from),
        ));
    }
    let ledger = LedgerFiles::open(&data_of(&args.place)?)?;
    // Whoever exports what was added may begin right behind the newest.
    if args.from > ledger.head().sequence().saturating_add(1) {
        return Err(not_held(&ledger, args.from));
    }
    for entry in ledger.entries(args.from.max(1)) {
        let entry = entry?;
        if args.to.is_some_and(|to| entry.sequence() > to) {
            break;
        }
        if Line::of(&entry).print_json()? == Reader::Gone {
            break;
        }
    }
    Ok(())
}

fn prove(args: &ProveArgs) -> Result<(), Failure> {
    let data = data_of(&args.place)?;
    let ledger = LedgerFiles::open(&data)?;
    if args.entry > ledger.head().sequence() {
        return Err(not_held(&ledger, args.entry));
    }
    let key = verifier(&data)?;
    output::json(&proof::prove(&data, &key, args.entry)?)
}

/// What a proof proves.
#[derive(Debug, Serialize)]
struct Proved {
    log: String,
    tree_size: u64,
    #[serde(flatten)]
    line: Line,
}

fn check_proof(args: &CheckProofArgs) -> Result<(), Failure> {
    let unfit = |e: &dyn std::fmt::Display| {
        Failure::new(Exit::Refused, format_args!("{}: {e}", args.proof.display()))
    };
    let key = read_verifier(&args.log_key).map_err(files::named)?;
    let bytes = fs::read(&args.proof).map_err(|e| files::unreadable(&args.proof, &e))?;
    let proof: Proof = serde_json::from_slice(&bytes).map_err(|e| {
        Failure::new(
            Exit::Refused,
            format_args!(
                "{} is no proof: {e}; name a file that `upkeep-server audit prove` printed",
                args.proof.display()
            ),
        )
    })?;
    let (payload, tree_size) = proof.check(&key).map_err(|e| unfit(&e))?;
    let entry = Entry::read(&payload)
        .filter(|entry| entry.sequence() == proof.entry)
        .ok_or_else(|| unfit(&"the payload is no entry, or another one"))?;
    let proved = Proved {
        log: key.name().to_owned(),
        tree_size,
        line: Line::of(&entry),
    };
    args.form.print(&proved, || {
        format!(
            "holds: entry {} is among the first {} of {}\n{} {} {} {}",
            proved.line.entry,
            proved.tree_size,
            proved.log,
            proved.line.time,
            proved.line.actor,
            proved.line.action,
            proved.line.outcome
        )
    })
}

fn checkpoint(args: &CheckpointArgs) -> Result<(), Failure> {
    let data = data_of(&args.place)?;
    let key = match verifier(&data) {
        Ok(_) => LogKey::open(&data)?,
        // A new one is named by the issuer, for good.
        Err(_) => {
            let config = args.place.own_config(&[])?;
            LogKey::open_or_create(&data, &config.settings().issuer, &SystemRandom)?
        }
    };
    let note = log::checkpoint(&data, &key)?;
    // Read back before it is handed out.
    note::open(&note, key.verifier()).map_err(|e| Failure::new(Exit::Fault, e))?;
    output::line(note.trim_end())
}

fn not_held(ledger: &LedgerFiles, entry: u64) -> Failure {
    Failure::new(
        Exit::Refused,
        format_args!(
            "the ledger has no entry {entry}: it ends with {}; `upkeep-server audit tail` shows the last",
            ledger.head().sequence()
        ),
    )
}

fn data_of(place: &Place) -> Result<PathBuf, Failure> {
    let data = place.config(&[])?.settings().data_dir.clone();
    place::check_there(&data)?;
    Ok(data)
}

fn key_of(data: &Path, given: Option<&Path>) -> Result<VerifierKey, Failure> {
    Ok(match given {
        Some(file) => read_verifier(file).map_err(files::named)?,
        None => verifier(data)?,
    })
}

impl From<AuditError> for Failure {
    fn from(error: AuditError) -> Self {
        match error {
            AuditError::Store(error @ StoreError::Io { .. }) => Self::new(Exit::Fault, error),
            AuditError::Store(error) => error.into(),
            AuditError::Io { .. } | AuditError::File(_) => Self::new(Exit::Fault, error),
            AuditError::NotCovered(_) => Self::new(Exit::Refused, error),
            AuditError::Note { .. } => Self::new(Exit::Data, error),
            AuditError::Witness { .. } => Self::new(Exit::Usage, error),
        }
    }
}

/// How often a follower looks.
const FOLLOW_EVERY: Duration = Duration::from_millis(250);
