//! What Linux says about this process and about files. Each answer is `None` where the system does not give it.

use std::fs;
use std::path::Path;

/// Resident memory in bytes. Source: proc(5), `/proc/self/statm`, in pages of 4 KiB on the platforms that are served.
pub(super) fn resident_bytes() -> Option<i64> {
    let statm = fs::read_to_string("/proc/self/statm").ok()?;
    let pages: i64 = statm.split_whitespace().nth(1)?.parse().ok()?;
    pages.checked_mul(PAGE)
}

/// Open file descriptors.
pub(super) fn open_files() -> Option<i64> {
    // One of them reads the directory.
    let count = fs::read_dir("/proc/self/fd").ok()?.count().checked_sub(1)?;
    i64::try_from(count).ok()
}

/// The most that may be open. Source: proc(5), `/proc/self/limits`, the soft limit.
pub(super) fn open_files_max() -> Option<i64> {
    let limits = fs::read_to_string("/proc/self/limits").ok()?;
    let line = limits
        .lines()
        .find_map(|l| l.strip_prefix("Max open files"))?;
    line.split_whitespace().next()?.parse().ok()
}

/// Bytes of the files in `dir` and below. What goes away meanwhile does not count.
pub(super) fn bytes_in(dir: &Path) -> u64 {
    let Ok(entries) = fs::read_dir(dir) else {
        return 0;
    };
    entries
        .flatten()
        .map(|entry| match entry.metadata() {
            Ok(found) if found.is_dir() => bytes_in(&entry.path()),
            Ok(found) => found.len(),
            Err(_) => 0,
        })
        .sum()
}

const PAGE: i64 = 4_096;
