//! Unlock codes: how the date in a dongle is extended after a renewal (P-08, N-13).
//!
//! The rule by which a dongle takes a code is shared with products: [`upkeep::unlock`].

use std::fmt::Display;

use upkeep::date::CivilDate;
use upkeep::id::DongleNumber;
use upkeep::unlock::{Device, Unlock, UnlockError, apply};

use crate::domain::programme::Programme;
use crate::domain::refusal::{Reason, Refusal};

/// What the next code for a dongle says: its counter is one more than that of the last code, so that each code works once and
/// only forward.
///
/// # Errors
/// ILLEGAL_TRANSITION when the programme has no unlock codes; CODE_WOULD_SHORTEN when the dongle has a later day; CODE_TOO_OLD when
/// no higher counter is left.
pub fn next(
    programme: &Programme,
    device: &Device,
    last_day: CivilDate,
) -> Result<Unlock, Refusal> {
    if programme.unlock().is_none() {
        return Err(Refusal::new(Reason::IllegalTransition)
            .detail("the programme extends no dongles by unlock codes"));
    }
    let code = Unlock {
        number: device.number.clone(),
        counter: device.counter.checked_add(1).ok_or(Reason::CodeTooOld)?,
        last_day,
    };
    apply(device, &code)?;
    Ok(code)
}

/// The day that a dongle is given: the earliest of the last days of the licenses on it, because the one date in it holds for all of
/// them. Bought together, they end on one day anyway (P-07).
///
/// * `members` - each license with its latest covered day.
///
/// # Errors
/// COTERM_INCOMPLETE with every license that never was covered; SMA_EXPIRED when there is none at all.
pub fn common_day<L: Display>(members: &[(L, Option<CivilDate>)]) -> Result<CivilDate, Refusal> {
    let missing: Vec<String> = members
        .iter()
        .filter(|(_, last_day)| last_day.is_none())
        .map(|(license, _)| license.to_string())
        .collect();
    if !missing.is_empty() {
        return Err(Refusal::new(Reason::CotermIncomplete)
            .detail("a license on the hardware key has no maintenance")
            .with("missing", missing.join(",")));
    }
    let days = members.iter().filter_map(|(_, last_day)| *last_day);
    days.min().ok_or_else(|| Reason::SmaExpired.into())
}

/// The state of a dongle of which only its number is known: no code was ever made for it.
pub fn fresh(number: DongleNumber) -> Device {
    Device {
        number,
        counter: 0,
        last_day: None,
    }
}

impl From<UnlockError> for Refusal {
    fn from(error: UnlockError) -> Self {
        let reason = match error {
            UnlockError::WrongDevice => Reason::WrongDevice,
            UnlockError::TooOld => Reason::CodeTooOld,
            UnlockError::WouldShorten => Reason::CodeWouldShorten,
            _ => Reason::IllegalTransition,
        };
        Self::new(reason).detail(error.to_string())
    }
}
