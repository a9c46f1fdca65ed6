//! GetMaintenanceStatus: the flag of a serial, for anyone (T-02, A-22).

use std::sync::PoisonError;

use upkeep::serial::SerialNumber;

use super::{Call, Deps, Outcome};
use crate::domain::guess::GuessLimiter;
use crate::domain::license::License;
use crate::domain::machine::LicenseState;
use crate::domain::maintenance;
use crate::domain::refusal::Refusal;

/// The license whose flag may be shown: one that is covered today. Unknown, revoked, uncovered and expired serials all give
/// `None`, so the answer tells no serial from another; and who asks for many of those has to wait.
///
/// # Errors
/// TOO_MANY_TRIES.
pub(crate) fn public_status(
    deps: &Deps,
    call: &Call,
    serial: &SerialNumber,
) -> Result<Option<License>, Outcome> {
    let ip = call.caller.ip;
    queries(deps, |limiter| limiter.check(call.now, serial, ip)).map_err(Refusal::from)?;
    let mut store = &deps.store;
    let license = deps.license(&mut store, serial, call.now)?;
    let shown = match license {
        Some(license) if license.state != LicenseState::Revoked => {
            let today = deps.today(&license, call.now)?;
            maintenance::covered_on(&license.terms, today).then_some(license)
        }
        _ => None,
    };
    if shown.is_none() {
        queries(deps, |limiter| limiter.fail(call.now, serial, ip));
    }
    Ok(shown)
}

/// The lock is held for counting, never while the store is read.
fn queries<T>(deps: &Deps, act: impl FnOnce(&mut GuessLimiter) -> T) -> T {
    let limiter = deps.status_queries.lock();
    act(&mut limiter.unwrap_or_else(PoisonError::into_inner))
}
