//! The machine: disk space, file limits, the clock.

use std::fs;
use std::path::Path;

use crate::cli::doctor::{Finding, Findings, Level};
use crate::cli::exit::Exit;
use crate::clock::Clock;
use crate::config::Settings;
use crate::store::{Look, StoreError};

pub(super) fn resources(
    settings: &Settings,
    look: &Result<Look, StoreError>,
    clock: &dyn Clock,
) -> Vec<Finding> {
    let mut findings = Findings::new(Exit::Fault);
    let holder = look.as_ref().ok().and_then(|look| look.holder);
    disk(&mut findings, &settings.data_dir);
    files(&mut findings, settings, holder);
    if let Ok(look) = look {
        time(&mut findings, look, clock);
    }
    findings.all
}

fn disk(findings: &mut Findings, dir: &Path) {
    let Ok(space) = rustix::fs::statvfs(dir) else {
        // That there is no such directory was told.
        return;
    };
    let free = space.f_bavail.saturating_mul(space.f_frsize);
    let percent = (space.f_bavail.saturating_mul(100))
        .checked_div(space.f_blocks)
        .unwrap_or(0);
    let found = format!("{} MiB are free, {percent} % of the disk", free >> 20);
    let remedy = "free space or move the data directory to a larger disk; the server stops at the first write that fails";
    if free < LEAST_FREE {
        findings.add("disk", Level::Problem, found, remedy);
    } else if free < WARN_FREE || percent < WARN_PERCENT {
        findings.add("disk", Level::Warning, found, remedy);
    } else {
        findings.ok("disk", found);
    }
    if space.f_files > 0 && space.f_favail < LEAST_INODES {
        findings.add(
            "disk",
            Level::Problem,
            format_args!("{} files may still be made on the disk", space.f_favail),
            "remove what is not needed; a full table of files is as bad as a full disk",
        );
    }
}

/// The limit of the server's process where there is one, else of a process as this one.
fn files(findings: &mut Findings, settings: &Settings, server: Option<u32>) {
    let of = server.map_or_else(|| "self".to_owned(), |pid| pid.to_string());
    let limits = fs::read_to_string(format!("/proc/{of}/limits")).unwrap_or_default();
    let open_files = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max open files"));
    let soft = open_files.and_then(|rest| rest.split_whitespace().next());
    let Some(most) = soft.and_then(|soft| soft.parse::<u64>().ok()) else {
        return;
    };
    // Both listeners' connections, and the store's own files.
    let connections = u64::try_from(settings.connections.connections).unwrap_or(u64::MAX);
    let needed = connections.saturating_mul(2).saturating_add(OWN_FILES);
    let whose = match server {
        Some(pid) => format!("the server (process {pid})"),
        None => "a process started here".to_owned(),
    };
    if most < needed {
        findings.add(
            "files",
            Level::Warning,
            format_args!(
                "{whose} may open {most} files; {needed} are needed when all connections are taken"
            ),
            "set LimitNOFILE in its unit (or ulimit -n), or lower limits.connections",
        );
    } else {
        findings.ok("files", format_args!("{whose} may open {most} files"));
    }
}

/// What was written last bears witness of the time.
fn time(findings: &mut Findings, look: &Look, clock: &dyn Clock) {
    let now = clock.now().timestamp_millis();
    let ahead = look
        .written_at_unix_ms
        .map_or(0, |at| at.saturating_sub(now));
    if ahead > CLOCK_TOLERANCE_MS {
        findings.add(
            "clock",
            Level::Problem,
            format_args!("the clock is {} s behind the ledger's last entry", ahead / 1000),
            "set the clock (timedatectl, chronyc tracking) before the server starts: terms, leases and challenges go by it",
        );
    } else if now < SINCE_UNIX_MS {
        findings.add(
            "clock",
            Level::Problem,
            "the clock stands before this release was made",
            "set it (timedatectl, chronyc tracking) before the server starts",
        );
    } else {
        findings.ok("clock", "it is not behind what was written last");
    }
}

/// Below this a start may be refused: the reserve, and a segment of the ledger.
const LEAST_FREE: u64 = 128 << 20;
const WARN_FREE: u64 = 1 << 30;
const WARN_PERCENT: u64 = 5;
const LEAST_INODES: u64 = 1_000;
const OWN_FILES: u64 = 256;
const CLOCK_TOLERANCE_MS: i64 = 1_000;
/// 2026-01-01.
const SINCE_UNIX_MS: i64 = 1_767_225_600_000;
