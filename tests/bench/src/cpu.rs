//! CPU time as Linux counts it, in nanoseconds, from `/proc`: no unsafe call is needed for it.

use std::fs;
use std::time::Duration;

use anyhow::Context as _;

/// CPU time of a process, threads that have ended included; Linux counts it in hundredths of a second.
pub(crate) fn of_process(pid: u32) -> anyhow::Result<Duration> {
    spent(pid, 11)
}

/// CPU time of the children of this process that have ended.
pub(crate) fn of_children() -> anyhow::Result<Duration> {
    spent(std::process::id(), 13)
}

/// User and system time, two fields of `/proc/PID/stat` after the name, which may hold anything.
///
/// Source: proc_pid_stat(5).
fn spent(pid: u32, first: usize) -> anyhow::Result<Duration> {
    let text = fs::read_to_string(format!("/proc/{pid}/stat"))?;
    let (_, fields) = text.rsplit_once(')').context("/proc has no stat here")?;
    let ticks = fields
        .split_whitespace()
        .skip(first)
        .take(2)
        .map(str::parse::<u64>);
    let ticks = ticks.sum::<Result<u64, _>>()?;
    Ok(Duration::from_millis(ticks.saturating_mul(10)))
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

/// CPU time of a process while `work` runs and until it is at rest again: what it puts off is paid for, too.
pub(crate) async fn until_rest<T, E>(
    pid: u32,
    work: impl Future<Output = Result<T, E>>,
) -> anyhow::Result<(T, Duration)>
where
    anyhow::Error: From<E>,
{
    let before = of_process(pid)?;
    let done = work.await?;
    let after = rest(pid, LONGEST_REST).await?;
    Ok((done, after.saturating_sub(before)))
}

/// Waits until a process is at rest, for at most so many looks at it; gives its CPU time then.
pub(crate) async fn rest(pid: u32, looks: usize) -> anyhow::Result<Duration> {
    let mut last = of_process(pid)?;
    // Something runs each second; what is put off keeps a thread busy.
    for _ in 0..looks {
        tokio::time::sleep(LOOK_EVERY).await;
        let now = of_process(pid)?;
        let used = now.saturating_sub(last);
        last = now;
        if used <= AT_REST {
            break;
        }
    }
    Ok(last)
}

/// Longer than the server puts its index off.
const LOOK_EVERY: Duration = Duration::from_millis(700);
const AT_REST: Duration = Duration::from_millis(10);
const LONGEST_REST: usize = 20;
