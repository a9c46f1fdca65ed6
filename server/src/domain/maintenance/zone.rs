//! The instant at which cover ends, for those who need one (N-01, N-02). Rules compare dates, never instants.

use chrono::{DateTime, Days, NaiveDateTime, NaiveTime, Offset, TimeDelta, TimeZone, Utc};
use chrono_tz::Tz;
use upkeep::date::CivilDate;

/// The first whole second that is no longer covered when cover ends with `last_day`: from it on the date in `zone` is later, and stays
/// so (N-02).
///
/// Exact where midnight does not exist (Sao Paulo) or comes twice, and where a whole day is skipped (Apia): it is the second after
/// the last one whose date is not later than `last_day`.
pub fn first_uncovered(zone: Tz, last_day: CivilDate) -> DateTime<Utc> {
    let naive = last_day.naive();
    let midnight = naive
        .checked_add_days(Days::new(1))
        .unwrap_or(naive)
        .and_time(NaiveTime::MIN);
    let mut end = shifted(midnight, WIDEST);
    let mut offset = offset_at(zone, end);
    // Backwards over stretches of one offset: within one, dates never go back.
    loop {
        let start = start_of_offset(zone, end, offset, shifted(midnight, -WIDEST));
        // The first second of the new day, were this the offset all the time.
        let turns = shifted(midnight, offset.saturating_neg());
        if turns > start {
            return utc(turns.min(shifted(end, 1)));
        }
        let before = shifted(start, -1);
        if before <= shifted(midnight, -WIDEST) {
            return utc(start);
        }
        end = before;
        offset = offset_at(zone, end);
    }
}

/// The first second of the stretch with `offset` that holds `end`, looked for back to `floor`.
fn start_of_offset(
    zone: Tz,
    end: NaiveDateTime,
    offset: i64,
    floor: NaiveDateTime,
) -> NaiveDateTime {
    let mut within = end;
    loop {
        if within <= floor {
            return within;
        }
        let before = shifted(within, -STEP);
        if offset_at(zone, before) != offset {
            return first_second(zone, before, within, offset);
        }
        within = before;
    }
}

/// The first second with `offset` between `before`, which has another, and `within`, which has it.
fn first_second(
    zone: Tz,
    mut before: NaiveDateTime,
    mut within: NaiveDateTime,
    offset: i64,
) -> NaiveDateTime {
    loop {
        let apart = within.signed_duration_since(before).num_seconds();
        if apart <= 1 {
            return within;
        }
        let middle = shifted(before, apart.checked_div(2).unwrap_or(1));
        if offset_at(zone, middle) == offset {
            within = middle;
        } else {
            before = middle;
        }
    }
}

/// Seconds east of Greenwich at an instant in UTC.
fn offset_at(zone: Tz, at: NaiveDateTime) -> i64 {
    let fixed = zone.offset_from_utc_datetime(&at).fix();
    i64::from(fixed.local_minus_utc())
}

/// Days of 1970 to 9999 and a day around them always fit.
fn shifted(at: NaiveDateTime, seconds: i64) -> NaiveDateTime {
    TimeDelta::try_seconds(seconds)
        .and_then(|delta| at.checked_add_signed(delta))
        .unwrap_or(at)
}

fn utc(at: NaiveDateTime) -> DateTime<Utc> {
    at.and_utc()
}

/// No zone was ever further from Greenwich than a day.
const WIDEST: i64 = 26 * 60 * 60;
/// No two changes of a zone's clock are closer.
const STEP: i64 = 15 * 60;
