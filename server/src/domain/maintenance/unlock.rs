//! Unlock codes: how the date in a dongle is extended after a renewal (P-08, N-13).
//!
//! The rule by which a dongle takes a code is shared with products: [`upkeep::unlock`].

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
