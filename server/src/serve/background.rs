//! What runs beside the calls: the sweep, the due pass, and the watch over the store.

use std::sync::Arc;
use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use crate::flow::Deps;
use crate::flow::Outcome;
use crate::flow::due::{self, Pass};
use crate::flow::evidence;
use crate::flow::read;
use crate::flow::sweep;
use crate::metrics::{self, Metrics, PassResult};
use crate::store::{Store, StoreError};

/// Sweeps each minute, batch after batch. Nothing depends on when it runs, so a failure is logged and the next minute tries again.
pub(super) async fn sweep(deps: Arc<Deps>, metrics: Arc<Metrics>) {
    let mut minutes = interval(SWEEP_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minutes.tick().await;
        let result = match sweep::sweep(&deps).await {
            Ok(()) => PassResult::Done,
            Err(Outcome::Failed(fault)) => {
                tracing::error!(%fault, "the sweep failed; it runs again in a minute");
                PassResult::Failed
            }
            Err(Outcome::Refused(refusal)) => {
                tracing::error!(%refusal, "the sweep was refused, which is a defect");
                PassResult::Failed
            }
        };
        metrics.pass(metrics::Pass::Sweep, result, &*deps.clock);
    }
}

/// Does what is due, at the start and each minute: reminders, and terms that follow by themselves. What is due stays due until it
/// is done, so a failure is logged and the next minute tries again; the task may be ended between any two transactions.
pub(super) async fn due(deps: Arc<Deps>, metrics: Arc<Metrics>) {
    let mut minutes = interval(DUE_EVERY);
    minutes.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        minutes.tick().await;
        let ran = due::run(&deps, u64::MAX).await;
        let result = match &ran {
            Ok(_) => PassResult::Done,
            Err(_) => PassResult::Failed,
        };
        metrics.pass(metrics::Pass::Due, result, &*deps.clock);
        match ran {
            Ok(Pass { settled: 0, .. }) => {}
            Ok(pass) => tracing::info!(
                licenses = pass.settled,
                mails = pass.mails,
                terms = pass.extensions,
                passed = pass.passed,
                "did what was due"
            ),
            Err(Outcome::Failed(fault)) => {
                tracing::error!(%fault, "the due pass failed; it runs again in a minute");
            }
            Err(Outcome::Refused(refusal)) => {
                tracing::error!(%refusal, "the due pass was refused, which is a defect");
            }
        }
    }
}

/// Tells the operator, once at the start, on which seats the hardware's endorsement counts for less than it did: endorsements change
/// only there. The seats stay: what becomes of them is a person's to decide.
pub(super) async fn flag_doubtful(deps: Arc<Deps>) {
    let mut seats = 0_u64;
    let looked = evidence::doubtful(&deps, |seat| {
        seats += 1;
        let today = match seat.today {
            Ok(level) => format!("its level would be {level} today"),
            Err(error) => error.to_string(),
        };
        let (activation, serial) = (seat.activation, seat.serial);
        tracing::warn!(%activation, %serial, today, "the hardware of a seat is not endorsed as it was");
    });
    match looked.await {
        Err(Outcome::Failed(fault)) => {
            tracing::error!(%fault, "the evidence of seats cannot be looked at");
        }
        Err(Outcome::Refused(refusal)) => {
            tracing::error!(%refusal, "the evidence of seats cannot be looked at");
        }
        Ok(()) if seats > 0 => tracing::warn!(seats, "seats are not endorsed as they were"),
        Ok(()) => {}
    }
}

/// Signs a checkpoint of the ledger now and then. Nothing depends on it but how much a witness can vouch for.
pub(super) async fn checkpoints(deps: Arc<Deps>, every: Duration) {
    let mut turns = interval(every);
    turns.set_missed_tick_behavior(MissedTickBehavior::Delay);
    // The first turn comes at once: what was acknowledged before a crash is signed for then.
    loop {
        turns.tick().await;
        checkpoint(&deps).await;
    }
}

/// Signs one and keeps it.
pub(super) async fn checkpoint(deps: &Deps) {
    match read::checkpoint(deps).await {
        Ok(_) => {}
        Err(Outcome::Failed(fault)) => {
            tracing::error!(%fault, "no checkpoint could be signed and kept");
        }
        Err(Outcome::Refused(refusal)) => {
            tracing::error!(%refusal, "a checkpoint was refused, which is a defect");
        }
    }
}

/// Completes when the store has stopped, with the cause.
pub(super) async fn stopped(store: &Store) -> StoreError {
    let mut seconds = interval(LOOK_EVERY);
    seconds.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        seconds.tick().await;
        if let Err(fault @ StoreError::Stopped(_)) = store.get(ANY_KEY) {
            return fault;
        }
    }
}

const SWEEP_EVERY: Duration = Duration::from_secs(60);
const DUE_EVERY: Duration = Duration::from_secs(60);
/// Calls fail at once when the store has stopped; this only ends the process.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// Reading it tells whether the store answers; nothing stands there.
const ANY_KEY: &[u8] = b"\xFFalive";
