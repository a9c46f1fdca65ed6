//! GetMaintenanceStatus: the flag of a serial, for anyone (T-02, A-22).

use std::sync::PoisonError;

use upkeep::serial::SerialNumber;

use super::{Call, Deps, Outcome};
use crate::domain::guess::GuessLimiter;
use crate::domain::license::License;
use crate::domain::machine::LicenseState;
use crate::domain::maintenance;
use crate::domain::refusal::Refusal;
use crate::record::{Records, keys};

/// The license whose flag may be shown: one that is covered today. Unknown, revoked, uncovered and expired serials all give
/// `None` after the same work, so the answer tells no serial from another; and who asks for many of those has to wait.
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
    let stored: Option<License> = store.load(&keys::license(serial))?;
    let is_known = stored.is_some();
    let license = match stored {
        Some(license) => license,
        None => decoy(deps)?,
    };
    let license = deps.as_of(license, call.now)?;
    let today = deps.today(&license, call.now)?;
    let covered = maintenance::covered_on(&license.terms, today);
    let shown = is_known && covered && license.state != LicenseState::Revoked;
    let shown = shown.then_some(license);
    if shown.is_none() {
        queries(deps, |limiter| limiter.fail(call.now, serial, ip));
    }
    Ok(shown)
}

/// What an unknown serial is looked at instead, so that it costs what an expired one costs: by the rules of any programme.
fn decoy(deps: &Deps) -> Result<License, Outcome> {
    let mut decoy = deps.passwords.decoy()?;
    if let Some(programme) = deps.programmes.revisions().next() {
        decoy.programme = programme.id().clone();
        decoy.programme_rev = programme.revision();
    }
    Ok(decoy)
}

/// The lock is held for counting, never while the store is read.
fn queries<T>(deps: &Deps, act: impl FnOnce(&mut GuessLimiter) -> T) -> T {
    let limiter = deps.status_queries.lock();
    act(&mut limiter.unwrap_or_else(PoisonError::into_inner))
}
