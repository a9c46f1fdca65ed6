//! The sweep: forgets spent challenges, kept answers and unused enrollments whose time is over. What it leaves is found expired by whoever reads it,
//! so nothing depends on when it runs.

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::once::KEPT_FOR;
use super::{Call, Caller, Deps, Fault, Outcome, enroll};
use crate::record::{Reads, keys};
use crate::store::Tx;

/// Forgets up to a batch of each kind, each in a transaction of its own; says whether there was a full one, so more may be left.
///
/// # Errors
/// Store faults.
pub async fn sweep(deps: &Arc<Deps>) -> Result<Swept, Outcome> {
    let now = deps.clock.now();
    let mut swept = Swept::Clean;
    for forget in [challenges, answers, enrollments] {
        let call = Call {
            action: "Sweep",
            caller: Caller::system(),
            request: None,
            now,
        };
        let committed = deps
            .commit(call, move |tx, note| {
                note.silence();
                forget(tx, now)
            })
            .await?;
        if committed.into_inner() == Swept::MoreLeft {
            swept = Swept::MoreLeft;
        }
    }
    Ok(swept)
}

/// A spent challenge stands for as long as the answer that it was spent for.
fn challenges(tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<Swept, Outcome> {
    let Some(before) = now.checked_sub_signed(KEPT_FOR) else {
        return Ok(Swept::Clean);
    };
    let spent = keys::spent_before(before);
    let found = tx.range(&spent.from, &spent.to, BATCH)?;
    let swept = Swept::of(found.len(), BATCH);
    for (key, answer) in found {
        if !answer.is_empty() {
            tx.delete(answer);
        }
        tx.delete(key);
    }
    Ok(swept)
}

fn answers(tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<Swept, Outcome> {
    let kept = keys::once_expired(now);
    let found = tx.range(&kept.from, &kept.to, BATCH)?;
    let swept = Swept::of(found.len(), BATCH);
    for (key, _) in found {
        tx.delete(keys::once_of_expiry(&key).to_vec());
        tx.delete(key);
    }
    Ok(swept)
}

fn enrollments(tx: &mut Tx<'_>, now: DateTime<Utc>) -> Result<Swept, Outcome> {
    let lapsed = keys::lapsed(now);
    let found = tx.range(&lapsed.from, &lapsed.to, ENROLLMENTS)?;
    let swept = Swept::of(found.len(), ENROLLMENTS);
    for (key, _) in found {
        let device = keys::lapsed_device(&key);
        enroll::forget(tx, &device.ok_or(MALFORMED)?)?;
        tx.delete(key);
    }
    Ok(swept)
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Nothing is left.
    Clean,
    /// There may be more.
    MoreLeft,
}

impl Swept {
    fn of(found: usize, batch: usize) -> Self {
        if found < batch {
            Self::Clean
        } else {
            Self::MoreLeft
        }
    }
}

/// Two keys each at most: well within a transaction's.
const BATCH: usize = 100;
/// Five keys each.
const ENROLLMENTS: usize = 50;
const MALFORMED: Fault = Fault::Inconsistent("an enrollment lapses that has no id");
