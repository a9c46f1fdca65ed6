//! `backup`: takes and checks backups of a data directory. `restore`: makes a data directory of one.

use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};

use chrono::{DateTime, Utc};
use serde::Serialize;
use zeroize::Zeroizing;

use crate::cli::exit::{Exit, Failure};
use crate::cli::output::{self, Form};
use crate::cli::place::Place;
use crate::cli::progress::{Progress, Unit};
use crate::cli::serve::block_on;
use crate::clock::{Clock, SystemClock};
use crate::keys::sealed;
use crate::random::SystemRandom;
use crate::record;
use crate::record::event::Event;
use crate::store::Epoch;
use crate::store::backup::{self, BackupError, SEALED_KEYS, Seal};
use crate::store::restore::{self, LayDown, Unseal, Until};

/// Take a backup of the data directory, or check one
#[derive(Debug, clap::Subcommand)]
pub(super) enum Command {
    Create(CreateArgs),
    Verify(VerifyArgs),
}

/// Take a backup, or bring one up to date
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server backup create --data /var/lib/upkeep --out /backup/upkeep
  upkeep-server backup create --data /var/lib/upkeep --out /backup/upkeep \\
      --with-keys --passphrase-file /root/passphrase

Works while the server runs, and while it does not; it stops nobody. Everything acknowledged before \
it began is in it. Run again on the same directory it adds only what is new. The keys are not in it, \
unless --with-keys seals them under a passphrase: keep a copy of DIR/keys elsewhere, or no backup \
can be served again.")]
pub(super) struct CreateArgs {
    #[command(flatten)]
    place: Place,

    /// The directory of the backup: a new one, or one to bring up to date
    #[arg(long, value_name = "BACKUP")]
    out: PathBuf,

    /// Put the keys into it, sealed (argon2id, AES-256-GCM)
    #[arg(long, requires = "passphrase_file")]
    with_keys: bool,

    /// The file with the passphrase, in its first line; - for standard input
    #[arg(long, value_name = "FILE", requires = "with_keys")]
    passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    form: Form,
}

/// Check a backup: every file, every entry, every snapshot
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server backup verify /backup/upkeep
  upkeep-server backup verify /backup/upkeep --json

Exit code 0 when all of it is as it was taken, 4 when something is not: the message names the file.")]
pub(super) struct VerifyArgs {
    /// The directory of the backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    #[command(flatten)]
    form: Form,
}

/// Make a new data directory of a backup, as it was after any of its entries
#[derive(Debug, clap::Args)]
#[command(after_help = "\
Examples:
  upkeep-server restore /backup/upkeep --to /var/lib/upkeep-2
  upkeep-server restore /backup/upkeep --to /var/lib/upkeep-2 --entry 120000
  upkeep-server restore /backup/upkeep --to /var/lib/upkeep-2 --at 2027-03-01T08:00:00Z
  upkeep-server restore /backup/upkeep --to /var/lib/upkeep-2 \\
      --with-keys --passphrase-file /root/passphrase

Nothing is ever overwritten: the directory must not exist. What the server acknowledged after the \
entry it is restored to is gone; a new epoch begins, and its first entry, the log of the first start \
and GetServerInfo say so. Without --with-keys, put your copy of keys/ there before you start it.")]
pub(super) struct RestoreArgs {
    /// The directory of the backup
    #[arg(value_name = "BACKUP")]
    backup: PathBuf,

    /// The data directory to make
    #[arg(long, value_name = "NEWDIR")]
    to: PathBuf,

    /// Restore up to and with this entry of the ledger
    #[arg(long, value_name = "N", conflicts_with = "at")]
    entry: Option<u64>,

    /// Restore up to the last entry before anything later than this (RFC 3339)
    #[arg(long, value_name = "TIME")]
    at: Option<DateTime<Utc>>,

    /// Unseal the keys of the backup, too
    #[arg(long, requires = "passphrase_file")]
    with_keys: bool,

    /// The file with the passphrase, in its first line; - for standard input
    #[arg(long, value_name = "FILE", requires = "with_keys")]
    passphrase_file: Option<PathBuf>,

    #[command(flatten)]
    form: Form,
}

pub(super) fn run(command: &Command) -> Result<(), Failure> {
    match command {
        Command::Create(args) => create(args),
        Command::Verify(args) => verify(args),
    }
}

/// What a backup holds.
#[derive(Debug, Serialize)]
struct Held {
    backup: PathBuf,
    entries: u64,
    hash: String,
    epoch: u64,
    bytes: u64,
    #[serde(skip_serializing_if = "Option::is_none")]
    copied_bytes: Option<u64>,
    snapshots: usize,
    with_keys: bool,
    /// The last entry when the keys were sealed.
    #[serde(skip_serializing_if = "Option::is_none")]
    keys_sealed_at: Option<u64>,
}

impl Held {
    fn of(backup: &Path, manifest: &backup::Manifest) -> Self {
        let named = |part: &str| {
            manifest
                .files
                .iter()
                .filter(|f| f.name.starts_with(part))
                .count()
        };
        Self {
            backup: backup.to_owned(),
            entries: manifest.sequence,
            hash: manifest.hash.clone(),
            epoch: manifest.epoch,
            bytes: manifest.bytes(),
            copied_bytes: None,
            snapshots: named("snapshots/"),
            with_keys: named(SEALED_KEYS) > 0,
            keys_sealed_at: manifest.keys_sealed_at,
        }
    }

    /// Warns on stderr of keys that the backup does not hold.
    fn warn_of_older_keys(&self) {
        if self.with_keys && self.keys_sealed_at != Some(self.entries) {
            let at = match self.keys_sealed_at {
                Some(at) => format!("at entry {at}"),
                None => "by an earlier run".to_owned(),
            };
            output::note(format_args!(
                "warning: the keys in this backup were sealed {at}, and it goes to entry {}: keys that were made since are not \
                 in it; run `upkeep-server backup create --with-keys` again",
                self.entries
            ));
        }
    }
}

fn create(args: &CreateArgs) -> Result<(), Failure> {
    let data = args.place.config(&[])?.settings().data_dir.clone();
    let passphrase = args.passphrase_file.as_deref().map(passphrase);
    let passphrase = passphrase.transpose()?;
    if let Some(passphrase) = &passphrase {
        sealed::check(passphrase)?;
    }
    let mut seal = passphrase
        .as_ref()
        .map(|passphrase| || Ok(sealed::seal(&data, passphrase, &SystemRandom)?));
    let seal = seal.as_mut().map(|seal| seal as &mut Seal<'_>);
    let mut progress = Progress::new("backup", Unit::Bytes);
    let taken = backup::create(&data, &args.out, seal, &mut |at| {
        progress.at(at.done, at.total);
    })?;
    drop(progress);
    let held = Held {
        copied_bytes: Some(taken.copied),
        ..Held::of(&args.out, &taken.manifest)
    };
    held.warn_of_older_keys();
    args.form.print(&held, || {
        format!(
            "{} holds everything up to entry {} ({} new bytes)\nhash {}",
            held.backup.display(),
            held.entries,
            taken.copied,
            held.hash
        )
    })
}

fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let mut progress = Progress::new("checking", Unit::Bytes);
    let checked = backup::verify(&args.backup, &mut |at| progress.at(at.done, at.total))?;
    drop(progress);
    let held = Held::of(&args.backup, &checked.manifest);
    held.warn_of_older_keys();
    args.form.print(&held, || {
        format!(
            "sound: {} entries, {} snapshots, {} bytes\nhash {}",
            held.entries, held.snapshots, held.bytes, held.hash
        )
    })
}

/// What a restore made.
#[derive(Debug, Serialize)]
struct Made {
    data: PathBuf,
    epoch: u64,
    kept_entries: u64,
    cut_entries: u64,
    hash: String,
    with_keys: bool,
}

pub(super) fn run_restore(args: &RestoreArgs) -> Result<(), Failure> {
    // Asked for first: nothing is made when it cannot be read.
    let passphrase = args
        .passphrase_file
        .as_deref()
        .map(passphrase)
        .transpose()?;
    let until = match (args.entry, args.at) {
        (Some(entry), _) => Until::Entry(entry),
        (None, Some(at)) => Until::Time(at.timestamp_millis()),
        (None, None) => Until::End,
    };
    block_on(async {
        let mut progress = Progress::new("restoring", Unit::Bytes);
        let mut watch = |at: backup::Progress<'_>| progress.at(at.done, at.total);
        let mut unseal = passphrase.as_ref().map(|passphrase| {
            |sealed: &[u8]| {
                let keys = sealed::unseal(sealed, passphrase)?;
                let lay_down: LayDown<'_> = Box::new(move |to| Ok(keys.lay_down(to)?));
                Ok(lay_down)
            }
        });
        let restored = restore::restore(
            &args.backup,
            &args.to,
            until,
            || SystemClock.now().timestamp_millis(),
            announcement,
            unseal.as_mut().map(|unseal| unseal as &mut Unseal<'_>),
            &mut watch,
        );
        let restored = restored.await?;
        drop(progress);
        let made = Made {
            data: args.to.clone(),
            epoch: restored.epoch.number(),
            kept_entries: restored.kept.sequence(),
            cut_entries: restored.known.saturating_sub(restored.kept.sequence()),
            hash: data_encoding::HEXLOWER.encode(&restored.head.hash()),
            with_keys: passphrase.is_some(),
        };
        args.form.print(&made, || made.report())
    })
}

impl Made {
    fn report(&self) -> String {
        let keys = match self.with_keys {
            true => "",
            false => "\nPut your copy of keys/ into it before you start it.",
        };
        format!(
            "Restored {} entries into {}; {} later ones of the backup were left out.\n\
             Epoch {} has begun: what was acknowledged later is not known to this server.{keys}\n\
             Start it with\n  upkeep-server serve --data {}",
            self.kept_entries,
            self.data.display(),
            self.cut_entries,
            self.epoch,
            self.data.display()
        )
    }
}

/// The event of the entry that begins an epoch.
fn announcement(epoch: &Epoch) -> Vec<u8> {
    record::encode(&Event {
        at: epoch.at_unix_ms().saturating_mul(1000),
        actor: "system".into(),
        action: "Restore".into(),
        outcome: "ok".into(),
        subject: format!("epoch {}", epoch.number()),
        reason: format!(
            "restored up to entry {} of {} in the backup",
            epoch.kept().sequence(),
            epoch.known()
        ),
        ..Event::default()
    })
}

/// The first line of a file, or of standard input.
fn passphrase(file: &Path) -> Result<Zeroizing<String>, Failure> {
    let unread = |e| Failure::new(Exit::Data, format_args!("{}: {e}", file.display()));
    let mut text = Zeroizing::new(String::new());
    if file == Path::new("-") {
        std::io::stdin().read_to_string(&mut text).map_err(unread)?;
    } else {
        let mut opened = fs::File::open(file).map_err(unread)?;
        opened.read_to_string(&mut text).map_err(unread)?;
    }
    let line = text.lines().next().unwrap_or_default();
    Ok(Zeroizing::new(line.to_owned()))
}

impl From<BackupError> for Failure {
    fn from(error: BackupError) -> Self {
        let exit = match error {
            BackupError::Store(error) => return error.into(),
            BackupError::Keys(fault) => {
                return match fault.downcast::<sealed::SealError>() {
                    Ok(error) => (*error).into(),
                    Err(fault) => Self::new(Exit::Data, fault),
                };
            }
            BackupError::Io { .. } => Exit::Fault,
            BackupError::Exists { .. }
            | BackupError::Inside { .. }
            | BackupError::OutOfReach { .. }
            | BackupError::BeforeAll => Exit::Usage,
            _ => Exit::Data,
        };
        Self::new(exit, error)
    }
}

impl From<sealed::SealError> for Failure {
    fn from(error: sealed::SealError) -> Self {
        let exit = match error {
            sealed::SealError::Short => Exit::Usage,
            _ => Exit::Data,
        };
        Self::new(exit, error)
    }
}
