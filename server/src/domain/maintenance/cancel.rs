//! Cancelling a contract that goes on by itself, taking that back, and ending one for good (V-05, S-17, N-14; DOMAIN 7).

use upkeep::date::{CivilDate, Term};

use super::covered_on;
use crate::domain::machine::{Role, SmaEvent, SmaState, step};
use crate::domain::programme::Programme;
use crate::domain::refusal::{Reason, Refusal};

/// The state of a contract; `None` where there never was one or it was terminated.
pub fn state(terms: &[Term], cancelled_on: Option<CivilDate>) -> Option<SmaState> {
    if terms.is_empty() {
        None
    } else if cancelled_on.is_some() {
        Some(SmaState::EndsAtTerm)
    } else {
        Some(SmaState::InForce)
    }
}

/// The day of cancellation that a contract has once `role` cancels it on the day `today`. It never shortens the current term, and a
/// second one changes nothing: it could only count for a later end.
///
/// # Errors
/// ROLE_NOT_ALLOWED, SMA_FINAL without a contract, AUTO_EXTEND_OFF where nothing extends by itself (S-17).
pub fn cancel(
    programme: &Programme,
    terms: &[Term],
    cancelled_on: Option<CivilDate>,
    role: Role,
    today: CivilDate,
) -> Result<CivilDate, Refusal> {
    check(terms, cancelled_on, SmaEvent::Cancel, role)?;
    if programme.auto_extend().is_none() {
        return Err(Reason::AutoExtendOff.into());
    }
    Ok(cancelled_on.unwrap_or(today))
}

/// Whether `role` may take a cancellation back on the day `today`.
///
/// # Errors
/// ROLE_NOT_ALLOWED, SMA_FINAL without a contract, ILLEGAL_TRANSITION without a cancellation, SMA_EXPIRED when cover has ended.
pub fn withdraw(
    terms: &[Term],
    cancelled_on: Option<CivilDate>,
    role: Role,
    today: CivilDate,
) -> Result<(), Refusal> {
    check(terms, cancelled_on, SmaEvent::WithdrawCancel, role)?;
    if !covered_on(terms, today) {
        return Err(
            Refusal::new(Reason::SmaExpired).detail("cover has ended; buy maintenance again")
        );
    }
    Ok(())
}

/// Whether `role` may end a contract for good: its terms no longer count (N-06).
///
/// # Errors
/// ROLE_NOT_ALLOWED, SMA_FINAL without a contract.
pub fn terminate(
    terms: &[Term],
    cancelled_on: Option<CivilDate>,
    role: Role,
) -> Result<(), Refusal> {
    check(terms, cancelled_on, SmaEvent::Terminate, role)
}

fn check(
    terms: &[Term],
    cancelled_on: Option<CivilDate>,
    event: SmaEvent,
    role: Role,
) -> Result<(), Refusal> {
    let state = state(terms, cancelled_on).unwrap_or(SmaState::Terminated);
    Ok(step(state, event, role).map(|_| ())?)
}
