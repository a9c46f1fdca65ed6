//! CPU time as Linux counts it, in nanoseconds, from `/proc`: no unsafe call is needed for it.

use std::fs;
use std::time::Duration;

use anyhow::Context;

/// CPU time of all threads of a process that are alive. The server's threads live as long as it does.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    let mut total = Duration::ZERO;
    for entry in fs::read_dir(format!("/proc/{pid}/task"))? {
        let path = entry?.path().join("schedstat");
        // A thread may end between the listing and the reading.
        if let Ok(text) = fs::read_to_string(path) {
            total += on_cpu(&text)?;
        }
    }
    Ok(total)
}

/// CPU time of the calling thread.
pub(crate) fn of_this_thread() -> anyhow::Result<Duration> {
    on_cpu(&fs::read_to_string("/proc/thread-self/schedstat")?)
}

fn on_cpu(schedstat: &str) -> anyhow::Result<Duration> {
    let nanos = schedstat
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    nanos
        .map(Duration::from_nanos)
        .context("/proc has no schedstat here: this benchmark needs Linux")
}
