//! The data directory: whose it is, how far the ledger goes, what the next start would do, how old snapshots are.

use std::fs;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::Path;
use std::time::Duration;

use crate::cli::doctor::{Finding, Findings, Level};
use crate::cli::exit::Exit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::keys::keys_dir;
use crate::store::{self, IndexState, Look, StoreError};

pub(super) fn look(settings: &Settings) -> Result<Look, StoreError> {
    store::look(&settings.data_dir)
}

pub(super) fn findings(
    settings: &Settings,
    look: &Result<Look, StoreError>,
    clock: &dyn Clock,
) -> Vec<Finding> {
    let mut findings = Findings::new(Exit::Data);
    let dir = &settings.data_dir;
    match look {
        Err(error) => findings.add("ledger", Level::Problem, error, remedy(error, dir)),
        Ok(look) => {
            findings.ok("ledger", ends(look, clock));
            index(&mut findings, look);
            reserve(&mut findings, look);
            snapshots(&mut findings, dir, clock);
        }
    }
    permissions(&mut findings, dir);
    findings.all
}

fn remedy(error: &StoreError, dir: &Path) -> String {
    match error {
        StoreError::Missing { .. } => format!(
            "name the right directory, or make one: upkeep-server init --data {} --name HOST",
            dir.display()
        ),
        StoreError::Damaged { .. } => {
            "keep a copy of the damaged directory; the message names the file and the way out"
                .to_owned()
        }
        StoreError::Newer { .. } => {
            "start it with the release that wrote it, or a later one".to_owned()
        }
        _ => "run doctor as the server's user; if it stays, look at the disk and the system's log"
            .to_owned(),
    }
}

fn ends(look: &Look, clock: &dyn Clock) -> String {
    let age = look
        .written_at_unix_ms
        .map(|at| (clock.now().timestamp_millis().saturating_sub(at)) / 1000);
    let who = match look.holder {
        Some(pid) => format!("process {pid} holds it"),
        None => "no server holds it".to_owned(),
    };
    match age {
        None => format!("it is sound and has no entry yet; {who}"),
        Some(secs) => format!(
            "its end is sound: entry {}, written {secs} s ago; {who}",
            look.head.sequence()
        ),
    }
}

fn index(findings: &mut Findings, look: &Look) {
    let entries = look.head.sequence();
    match look.index {
        IndexState::Closed(at) if at > entries => findings.add(
            "index",
            Level::Problem,
            format_args!("it was closed at entry {at}, but the ledger ends with entry {entries}"),
            "restore the ledger from a backup that reaches that entry; the next start refuses",
        ),
        IndexState::Closed(at) => findings.ok("index", format_args!("closed at entry {at}")),
        IndexState::Open if look.holder.is_some() => findings.ok("index", "open, in use"),
        IndexState::Open => findings.add(
            "index",
            Level::Note,
            "the server was not stopped cleanly; the index is believed and brought up",
            "nothing: the next start does it; stop the server with SIGTERM and give it drain_secs",
        ),
        IndexState::LeftOpen | IndexState::Unknown => findings.add(
            "index",
            Level::Warning,
            format_args!("the next start makes the index anew from {entries} entries, since it was not closed before the machine stopped, was copied while it was open, or has failed"),
            "start the server when it may take that long; after that it is quick again",
        ),
    }
}

fn reserve(findings: &mut Findings, look: &Look) {
    match look.reserve {
        Some(bytes) if bytes > 0 => {
            findings.ok(
                "reserve",
                format_args!("{bytes} bytes are kept for a start on a full disk"),
            );
        }
        _ => findings.add(
            "reserve",
            Level::Warning,
            "the reserve was given up for a start on a full disk",
            "free disk space and restart the server: it makes the reserve again",
        ),
    }
}

fn snapshots(findings: &mut Findings, dir: &Path, clock: &dyn Clock) {
    let newest = newest_in(&dir.join("snapshots"));
    let now = clock.now().timestamp();
    match newest {
        None => findings.add(
            "snapshots",
            Level::Note,
            "there is no snapshot in the data directory",
            "see that backups are made and kept on another machine (docs/operating.md, Backups)",
        ),
        Some(at) => {
            let age = Duration::from_secs(u64::try_from(now.saturating_sub(at)).unwrap_or(0));
            let days = age.as_secs() / 86_400;
            if age > OLD {
                findings.add(
                    "snapshots",
                    Level::Warning,
                    format_args!("the newest snapshot is {days} days old"),
                    "take one; without, starts replay more of the ledger each day",
                );
            } else {
                findings.ok("snapshots", format_args!("the newest is {days} days old"));
            }
        }
    }
}

/// When the newest file below `dir` was written, in seconds since 1970.
fn newest_in(dir: &Path) -> Option<i64> {
    let entries = fs::read_dir(dir).ok()?.flatten();
    entries
        .filter_map(|entry| Some(entry.metadata().ok()?.mtime()))
        .max()
}

/// Key files themselves are checked where they are opened.
fn permissions(findings: &mut Findings, dir: &Path) {
    let mut sound = true;
    for (path, most) in [(dir.to_owned(), 0o755), (keys_dir(dir), 0o700)] {
        let Ok(found) = fs::metadata(&path) else {
            continue;
        };
        let mode = found.permissions().mode() & 0o777;
        if mode & !most != 0 {
            sound = false;
            findings.add(
                "permissions",
                Level::Problem,
                format_args!(
                    "{} has mode {mode:03o}: others may get at it",
                    path.display()
                ),
                format_args!(
                    "chmod {most:o} {}, and think about who has been there",
                    path.display()
                ),
            );
        }
    }
    let owner = |path: &Path| fs::metadata(path).map(|found| found.uid()).ok();
    let (of_dir, of_ledger) = (owner(dir), owner(&dir.join("ledger")));
    if let (Some(of_dir), Some(of_ledger)) = (of_dir, of_ledger)
        && of_dir != of_ledger
    {
        sound = false;
        findings.add(
            "permissions",
            Level::Problem,
            format_args!(
                "the directory belongs to user {of_dir} and its ledger to user {of_ledger}"
            ),
            format_args!(
                "give it all to the server's user: chown -R USER {}",
                dir.display()
            ),
        );
    }
    let admin = dir.join("admin/admin.key");
    if admin.exists() {
        findings.add(
            "permissions",
            Level::Note,
            "the first administrator's key is still in admin/",
            "carry it away to the administrator's machine and delete it here",
        );
    }
    if sound {
        findings.ok("permissions", "nobody else may read or write there");
    }
}

/// A snapshot older than this is worth a line.
const OLD: Duration = Duration::from_secs(14 * 86_400);
