//! The sweep: forgets spent challenges, kept answers and unused enrollments whose time is over. What it leaves is found expired by whoever reads it,
//! so nothing depends on when it runs.

use std::sync::Arc;

use super::{Call, Caller, Deps, Fault, Outcome, enroll};
use crate::record::{Reads, keys};

/// Forgets up to a batch; says whether there was a full one, so more may be left.
///
/// # Errors
/// Store faults.
pub async fn sweep(deps: &Arc<Deps>) -> Result<Swept, Outcome> {
    let now = deps.clock.now();
    let call = Call {
        action: "Sweep",
        caller: Caller::system(),
        request: None,
        now,
    };
    let committed = deps
        .commit(call, move |tx, note| {
            note.silence();
            let (spent, kept) = (keys::spent_before(now), keys::once_expired(now));
            let challenges = tx.range(&spent.from, &spent.to, BATCH)?;
            let answers = tx.range(&kept.from, &kept.to, BATCH)?;
            let lapsed = keys::lapsed(now);
            let unused = tx.range(&lapsed.from, &lapsed.to, BATCH)?;
            let full = [&challenges, &answers, &unused]
                .iter()
                .any(|found| found.len() == BATCH);
            for (key, _) in challenges {
                tx.delete(key);
            }
            for (key, _) in answers {
                tx.delete(keys::once_of_expiry(&key).to_vec());
                tx.delete(key);
            }
            for (key, _) in unused {
                let device = keys::lapsed_device(&key);
                enroll::forget(tx, &device.ok_or(MALFORMED)?)?;
                tx.delete(key);
            }
            Ok(if full { Swept::MoreLeft } else { Swept::Clean })
        })
        .await?;
    Ok(committed.into_inner())
}

/// What a sweep found.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Swept {
    /// Nothing is left.
    Clean,
    /// There may be more.
    MoreLeft,
}

const BATCH: usize = 100;
const MALFORMED: Fault = Fault::Inconsistent("an enrollment lapses that has no id");
