//! How a dongle takes an unlock code: one way, and each code once (P-08, N-13).
//!
//! Pure. The caller has verified the code's signature before ([`crate::jws::verify`]), and writes the new state into the dongle.

use crate::artefact::UnlockCode;
use crate::date::CivilDate;
use crate::id::DongleNumber;

/// What stands in a dongle.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Device {
    /// Its number.
    pub number: DongleNumber,
    /// The counter of the last code that was applied; 0 when none was.
    pub counter: u64,
    /// The last day of maintenance; `None` when there never was one.
    pub last_day: Option<CivilDate>,
}

/// What a code says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unlock {
    /// The dongle that it is for.
    pub number: DongleNumber,
    /// Its counter, from 1.
    pub counter: u64,
    /// The new last day of maintenance.
    pub last_day: CivilDate,
}

impl From<&UnlockCode> for Unlock {
    fn from(code: &UnlockCode) -> Self {
        Self {
            number: code.dongle_number.clone(),
            counter: code.counter,
            last_day: code.maintenance_last_day,
        }
    }
}

/// The dongle after `code` (vectors D63 to D65).
///
/// Checks in this order: the dongle's number, the counter, which must be greater, the day, which must not be earlier.
///
/// # Errors
/// [`UnlockError`] names the check that failed.
pub fn apply(device: &Device, code: &Unlock) -> Result<Device, UnlockError> {
    if device.number != code.number {
        return Err(UnlockError::WrongDevice);
    }
    if code.counter <= device.counter {
        return Err(UnlockError::TooOld);
    }
    if device.last_day.is_some_and(|held| code.last_day < held) {
        return Err(UnlockError::WouldShorten);
    }
    Ok(Device {
        number: device.number.clone(),
        counter: code.counter,
        last_day: Some(code.last_day),
    })
}

/// Why a dongle does not take a code.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum UnlockError {
    /// The code is for another dongle.
    #[error("this unlock code is for another dongle: use it with the dongle that it names")]
    WrongDevice,
    /// The code, or a newer one, was applied.
    #[error("this unlock code or a newer one was applied to the dongle: use the newest code")]
    TooOld,
    /// The code's day is earlier than the dongle's.
    #[error("this unlock code would bring the date in the dongle forward: use the newest code")]
    WouldShorten,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn day(text: &str) -> CivilDate {
        CivilDate::parse(text).expect("test date")
    }

    fn number(text: &str) -> DongleNumber {
        DongleNumber::parse(text).expect("test number")
    }

    #[test]
    fn p08_number_then_counter_then_day() {
        let device = Device {
            number: number("D-1001"),
            counter: 4,
            last_day: Some(day("2019-08-31")),
        };
        let try_code = |dongle: &str, counter, last: &str| {
            let (number, last_day) = (number(dongle), day(last));
            apply(
                &device,
                &Unlock {
                    number,
                    counter,
                    last_day,
                },
            )
            .map(|after| after.last_day)
        };
        let extended = Some(day("2020-08-31"));
        assert_eq!(try_code("D-1001", 5, "2020-08-31"), Ok(extended));
        assert_eq!(try_code("D-1001", 9, "2019-08-31"), Ok(device.last_day));
        // Everything wrong at once: the number is told first, then the counter.
        let wrong = [
            ("D-1002", 4, "2018-08-31", UnlockError::WrongDevice),
            ("D-1001", 4, "2018-08-31", UnlockError::TooOld),
            ("D-1001", 3, "2020-08-31", UnlockError::TooOld),
            ("D-1001", 5, "2019-08-30", UnlockError::WouldShorten),
        ];
        for (dongle, counter, last, error) in wrong {
            assert_eq!(
                try_code(dongle, counter, last),
                Err(error),
                "{dongle} {counter} {last}"
            );
        }
        let fresh = Device {
            counter: 0,
            last_day: None,
            ..device
        };
        let first = Unlock {
            number: number("D-1001"),
            counter: 1,
            last_day: day("2019-08-31"),
        };
        assert!(apply(&fresh, &first).is_ok());
    }
}
