//! The sweep: forgets spent challenges, kept answers and unused enrollments whose time is over. What it leaves is found expired by whoever reads it,
//! so nothing depends on when it runs.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::once::KEPT_FOR;
use super::{Call, Caller, Deps, Fault, Outcome, enroll};
use crate::record::Reads;
use crate::record::keys::{self, Range};
use crate::store::{Pair, Tx};

/// Forgets all whose time is over, batch after batch, each in a transaction of its own.
///
/// # Errors
/// Store faults; what was forgotten before stays so.
pub async fn sweep(deps: &Arc<Deps>) -> Result<(), Outcome> {
    let now = deps.clock.now();
    // A spent challenge stands for as long as the answer that it was spent for.
    if let Some(before) = now.checked_sub_signed(KEPT_FOR) {
        sweep_range(deps, now, keys::spent_before(before), challenges).await?;
    }
    sweep_range(deps, now, keys::once_expired(now), answers).await?;
    sweep_range(deps, now, keys::lapsed(now), enrollments).await
}

/// Forgets a first batch of a range, and gives the rest if there may be more.
type Forget = fn(&mut Tx<'_>, &Range) -> Result<Option<Range>, Outcome>;

async fn sweep_range(
    deps: &Arc<Deps>,
    now: DateTime<Utc>,
    range: Range,
    forget: Forget,
) -> Result<(), Outcome> {
    let mut left = Some(range);
    while let Some(range) = left {
        let call = Call {
            action: "Sweep",
            caller: Caller::system(),
            request: None,
            now,
        };
        let committed = deps
            .commit(call, move |tx, note| {
                note.silence();
                forget(tx, &range)
            })
            .await?;
        left = committed.into_inner();
    }
    Ok(())
}

fn challenges(tx: &mut Tx<'_>, range: &Range) -> Result<Option<Range>, Outcome> {
    let found = tx.range(&range.from, &range.to, BATCH)?;
    let left = rest(range, &found, BATCH);
    for (key, answer) in found {
        if !answer.is_empty() {
            tx.delete(answer);
        }
        tx.delete(key);
    }
    Ok(left)
}

fn answers(tx: &mut Tx<'_>, range: &Range) -> Result<Option<Range>, Outcome> {
    let found = tx.range(&range.from, &range.to, BATCH)?;
    let left = rest(range, &found, BATCH);
    for (key, _) in found {
        tx.delete(keys::once_of_expiry(&key).to_vec());
        tx.delete(key);
    }
    Ok(left)
}

fn enrollments(tx: &mut Tx<'_>, range: &Range) -> Result<Option<Range>, Outcome> {
    let found = tx.range(&range.from, &range.to, ENROLLMENTS)?;
    let left = rest(range, &found, ENROLLMENTS);
    for (key, _) in found {
        let device = keys::lapsed_device(&key);
        enroll::forget(tx, &device.ok_or(MALFORMED)?)?;
        tx.delete(key);
    }
    Ok(left)
}

/// What is left of a range behind a full batch. A batch that began with the range again would read all that the ones before it deleted:
/// the index does not know that yet.
fn rest(range: &Range, found: &[Pair], batch: usize) -> Option<Range> {
    let (last, _) = found.last().filter(|_| found.len() >= batch)?;
    Some(range.after(last))
}

/// Two keys each at most: well within a transaction's.
const BATCH: usize = 100;
/// Five keys each.
const ENROLLMENTS: usize = 50;
const MALFORMED: Fault = Fault::Inconsistent("an enrollment lapses that has no id");

#[cfg(test)]
#[allow(clippy::unwrap_used, reason = "a test may stop where it likes")]
mod tests {
    use super::*;

    #[test]
    fn a_batch_begins_where_the_one_before_ended() {
        let range = Range {
            from: b"n/".to_vec(),
            to: b"n0".to_vec(),
        };
        let found = [b"n/1", b"n/2"].map(|key| (key.to_vec(), Vec::new()));
        let left = rest(&range, &found, 2).unwrap();
        assert!(!left.contains(b"n/2") && left.contains(b"n/2\0") && left.contains(b"n/3"));
        assert_eq!(left.to, range.to);
        assert!(rest(&range, &found, 3).is_none());
        assert!(rest(&range, &[], 2).is_none());
    }
}
