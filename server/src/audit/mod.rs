//! The audit of a ledger: whether it is what it was, as far as its chain, its checkpoints and outside witnesses can tell.
//!
//! The chain alone finds what was changed by accident or by halves. Who may write to the disk can compute it anew, and can sign
//! new checkpoints where the key lies beside it: only a checkpoint that somebody else has kept finds that. All of this reads the
//! files, with a server on them or without.

pub mod log;
pub mod note;
pub mod proof;

use std::path::{Path, PathBuf};

use serde::Serialize;

use self::note::{Checkpoint, NoteError, VerifierKey};
use crate::keys::file::KeyFileError;
use crate::store::tree::{Frontier, Hash};
use crate::store::{Entry, Epoch, LedgerFiles, StoreError};

/// Where checkpoints are kept in a data directory.
pub fn checkpoints_dir(data: &Path) -> PathBuf {
    data.join("checkpoints")
}

/// Why an audit could not be made. What it finds is no error, see [`Finding`].
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuditError {
    /// The ledger cannot be read, or is damaged.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// A file of the audit cannot be read or written.
    #[error("cannot {action} {}: {source}", .file.display())]
    Io {
        /// The call, as a verb.
        action: &'static str,
        /// The file.
        file: PathBuf,
        /// The system's answer.
        source: std::io::Error,
    },
    /// A checkpoint cannot be kept.
    #[error(transparent)]
    File(#[from] KeyFileError),
    /// There is no such entry, or no checkpoint covers it.
    #[error("{0}")]
    NotCovered(String),
    /// What was brought to compare with is no checkpoint of this log.
    #[error(
        "{} is no checkpoint of this log: {source}; give what `upkeep-server audit checkpoint` printed, and the key of the same log with --log-key",
        .file.display()
    )]
    Witness {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
    /// A note is not what it should be.
    #[error("{}: {source}", .file.display())]
    Note {
        /// The file.
        file: PathBuf,
        /// What is wrong with it.
        source: NoteError,
    },
}

impl AuditError {
    fn io(action: &'static str, file: &Path) -> impl FnOnce(std::io::Error) -> Self {
        let file = file.to_owned();
        move |source| Self::Io {
            action,
            file,
            source,
        }
    }
}

/// Something that is not as it was.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The ledger, or the file of a checkpoint.
    pub at: String,
    /// What is wrong.
    pub what: String,
}

/// What an audit came to.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// The number of entries walked; each is chained to the one before.
    pub entries: u64,
    /// The hash of the last one (SHA-256, hex).
    pub hash: String,
    /// The root of the Merkle tree over all of them (hex).
    pub root: String,
    /// The epoch, from 1.
    pub epoch: u64,
    /// Checkpoints of the data directory that fit.
    pub kept: usize,
    /// Checkpoints of witnesses that fit.
    pub witnessed: usize,
    /// The largest tree that a witness vouches for; what lies behind it rests on the chain alone.
    pub witnessed_size: u64,
    /// What does not fit. Empty: nothing was found.
    pub findings: Vec<Finding>,
}

/// A checkpoint to hold the ledger against.
struct Claim {
    file: PathBuf,
    is_witness: bool,
    checkpoint: Checkpoint,
}

impl Claim {
    /// What to say of it if a later restore cut away some of the entries that it was signed for.
    fn cut_by(&self, restores: &[Epoch]) -> Option<String> {
        let Checkpoint { size, epoch, .. } = self.checkpoint;
        let later = restores.iter().filter(|restore| restore.number() > epoch);
        let kept = later.map(|restore| restore.kept().sequence()).min()?;
        (size > kept).then(|| {
            format!(
                "it was signed for {size} entries of epoch {epoch}; a restore, announced in the ledger, kept {kept} of them"
            )
        })
    }
}

/// Audits the ledger of a data directory.
///
/// * `key` - the log's key; without one, checkpoints of the data directory are findings only if they are unreadable.
/// * `witnesses` - files with checkpoints that were kept elsewhere.
/// * `passed` - told each entry.
///
/// # Errors
/// [`AuditError`] if the ledger or a file cannot be read at all, or a witness is no checkpoint by this key; damage of the ledger is a
/// finding.
pub fn verify(
    data: &Path,
    key: &VerifierKey,
    witnesses: &[PathBuf],
    passed: &mut dyn FnMut(&Entry),
) -> Result<Report, AuditError> {
    let mut findings = Vec::new();
    let mut claims = Vec::new();
    let kept = kept(data)?.into_iter().map(|file| (file, false));
    let brought = witnesses.iter().map(|file| (file.clone(), true));
    for (file, is_witness) in kept.chain(brought) {
        let text = std::fs::read_to_string(&file).map_err(AuditError::io("read", &file))?;
        match note::open(&text, key) {
            Ok(checkpoint) => claims.push(Claim {
                file,
                is_witness,
                checkpoint,
            }),
            // What is brought to compare with says nothing about the ledger until it is what it should be.
            Err(error) if is_witness => {
                return Err(AuditError::Witness {
                    file,
                    source: error,
                });
            }
            Err(error) => findings.push(Finding {
                at: file.display().to_string(),
                what: error.to_string(),
            }),
        }
    }
    claims.sort_by_key(|claim| claim.checkpoint.size);

    let mut tree = Frontier::default();
    let (mut hash, mut epoch) = ([0; 32], Epoch::FIRST);
    let mut waiting = claims.into_iter().peekable();
    let (mut kept, mut witnessed, mut witnessed_size) = (0, 0, 0);
    let mut restores = Vec::new();
    let mut settle = |tree: &Frontier, restores: &[Epoch], findings: &mut Vec<Finding>| {
        while let Some(claim) = waiting.next_if(|claim| claim.checkpoint.size <= tree.size()) {
            if claim.checkpoint.root != tree.root() {
                let what = claim.cut_by(restores).unwrap_or_else(|| {
                    format!(
                        "the first {} entries are not those that it was signed for",
                        claim.checkpoint.size
                    )
                });
                findings.push(Finding {
                    at: claim.file.display().to_string(),
                    what,
                });
            } else if claim.is_witness {
                witnessed += 1;
                witnessed_size = claim.checkpoint.size;
            } else {
                kept += 1;
            }
        }
    };
    settle(&tree, &restores, &mut findings);
    let mut is_damaged = false;
    let ledger = match LedgerFiles::open(data) {
        Ok(ledger) => Some(ledger),
        Err(damage @ StoreError::Damaged { .. }) => {
            findings.push(of_ledger(&damage));
            is_damaged = true;
            None
        }
        Err(fault) => return Err(fault.into()),
    };
    for entry in ledger.iter().flat_map(|ledger| ledger.entries(1)) {
        let entry = match entry {
            Ok(entry) => entry,
            Err(damage @ StoreError::Damaged { .. }) => {
                findings.push(of_ledger(&damage));
                is_damaged = true;
                break;
            }
            Err(fault) => return Err(fault.into()),
        };
        tree.push(&entry.hash());
        hash = entry.hash();
        if let Some(begun) = Epoch::begun_by(&entry) {
            epoch = begun;
            restores.push(begun);
        }
        settle(&tree, &restores, &mut findings);
        passed(&entry);
    }
    // Of a ledger that can be read no further, nobody knows where it ends.
    for claim in waiting.filter(|_| !is_damaged) {
        let (size, last) = (claim.checkpoint.size, tree.size());
        let what = claim.cut_by(&restores).unwrap_or_else(|| {
            format!("it was signed for {size} entries, and the ledger ends after {last}")
        });
        findings.push(Finding {
            at: claim.file.display().to_string(),
            what,
        });
    }
    Ok(Report {
        entries: tree.size(),
        hash: hex(&hash),
        root: hex(&tree.root()),
        epoch: epoch.number(),
        kept,
        witnessed,
        witnessed_size,
        findings,
    })
}

/// The files of the checkpoints that a data directory keeps, by size.
///
/// # Errors
/// [`AuditError::Io`].
pub fn kept(data: &Path) -> Result<Vec<PathBuf>, AuditError> {
    let dir = checkpoints_dir(data);
    let names = match std::fs::read_dir(&dir) {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
        names => names.map_err(AuditError::io("list", &dir))?,
    };
    let mut files = Vec::new();
    for name in names {
        let path = name.map_err(AuditError::io("list", &dir))?.path();
        if path.extension().is_some_and(|kind| kind == "note") {
            files.push(path);
        }
    }
    files.sort();
    Ok(files)
}

fn of_ledger(damage: &StoreError) -> Finding {
    Finding {
        at: "the ledger".into(),
        what: damage.to_string(),
    }
}

fn hex(hash: &Hash) -> String {
    data_encoding::HEXLOWER.encode(hash)
}
