//! Civil dates and maintenance terms: inclusive days in the vendor's calendar (N-01 to N-04).

use std::fmt;

use chrono::{Datelike, Days, NaiveDate};
use serde::{Deserialize, Serialize};

/// A civil date `YYYY-MM-DD` in the programme's time zone, years 1970 to 9999 (N-01, N-11). It names a day, never an instant.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct CivilDate(NaiveDate);

impl CivilDate {
    /// Parses exactly `YYYY-MM-DD`.
    ///
    /// # Errors
    /// [`DateError::Format`] for another form or a day that does not exist, [`DateError::Range`] outside 1970..=9999.
    pub fn parse(text: &str) -> Result<Self, DateError> {
        let bytes = text.as_bytes();
        let shaped = bytes.len() == 10
            && bytes.iter().enumerate().all(|(i, b)| match i {
                4 | 7 => *b == b'-',
                _ => b.is_ascii_digit(),
            });
        if !shaped {
            return Err(DateError::Format);
        }
        // By hand, like writing it: records are full of dates, and chrono reads its format string anew each time.
        let part = |at: std::ops::Range<usize>| text.get(at).and_then(|part| part.parse().ok());
        let year = text.get(..4).and_then(|part| part.parse().ok());
        let date = year
            .zip(part(5..7))
            .zip(part(8..10))
            .and_then(|((year, month), day)| NaiveDate::from_ymd_opt(year, month, day));
        Self::from_naive(date.ok_or(DateError::Format)?)
    }

    /// Wraps a calendar date.
    ///
    /// # Errors
    /// [`DateError::Range`] outside the years 1970..=9999.
    pub fn from_naive(date: NaiveDate) -> Result<Self, DateError> {
        if (1970..=9999).contains(&date.year()) {
            Ok(Self(date))
        } else {
            Err(DateError::Range)
        }
    }

    /// The calendar date.
    pub fn naive(self) -> NaiveDate {
        self.0
    }

    /// The next day.
    ///
    /// # Errors
    /// [`DateError::Range`] after 9999-12-31.
    pub fn next(self) -> Result<Self, DateError> {
        self.plus_days(1)
    }

    /// `days` later.
    ///
    /// # Errors
    /// [`DateError::Range`] after 9999-12-31.
    pub fn plus_days(self, days: u32) -> Result<Self, DateError> {
        self.0
            .checked_add_days(Days::new(days.into()))
            .ok_or(DateError::Range)
            .and_then(Self::from_naive)
    }
}

impl fmt::Display for CivilDate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self(day) = self;
        write!(f, "{:04}-{:02}-{:02}", day.year(), day.month(), day.day())
    }
}

impl TryFrom<String> for CivilDate {
    type Error = DateError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<CivilDate> for String {
    fn from(date: CivilDate) -> Self {
        date.to_string()
    }
}

/// Why a date or term is refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum DateError {
    /// Not `YYYY-MM-DD`, or a day that the calendar does not have.
    #[error("a date is written YYYY-MM-DD and must exist, such as 2026-08-31")]
    Format,
    /// Outside 1970..=9999.
    #[error("the year must lie in 1970 to 9999")]
    Range,
    /// The last day lies before the first.
    #[error("a term ends on or after its first day")]
    Order,
}

/// One maintenance term: both days are covered (N-02).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Term {
    first: CivilDate,
    last: CivilDate,
}

impl Term {
    /// A term from its two inclusive days.
    ///
    /// # Errors
    /// [`DateError::Order`] when `last` lies before `first`.
    pub fn new(first: CivilDate, last: CivilDate) -> Result<Self, DateError> {
        if last < first {
            Err(DateError::Order)
        } else {
            Ok(Self { first, last })
        }
    }

    /// The term of `months` months from `first` (N-03): it ends the day before the corresponding date, or on the last day of
    /// the month that lacks one (2020-02-29 + 12 ends 2021-02-28; the calendar's own month arithmetic would end a day early).
    ///
    /// # Errors
    /// [`DateError::Range`] when it would end after 9999-12-31; [`DateError::Order`] for 0 months.
    pub fn of_months(first: CivilDate, months: u32) -> Result<Self, DateError> {
        let start = first.0;
        let clamped = start
            .checked_add_months(chrono::Months::new(months))
            .ok_or(DateError::Range)?;
        let last = if clamped.day() == start.day() {
            clamped.pred_opt().ok_or(DateError::Range)?
        } else {
            clamped
        };
        Self::new(first, CivilDate::from_naive(last)?)
    }

    /// `count` terms of `months` months one after another from `first`, each counted from its own first day (N-04).
    ///
    /// # Errors
    /// As [`Term::of_months`].
    pub fn chain(first: CivilDate, months: u32, count: u32) -> Result<Vec<Self>, DateError> {
        let mut terms = Vec::new();
        let mut start = first;
        for index in 0..count {
            let term = Self::of_months(start, months)?;
            terms.push(term);
            if index.checked_add(1) != Some(count) {
                start = term.last.next()?;
            }
        }
        Ok(terms)
    }

    /// The first covered day.
    pub fn first(&self) -> CivilDate {
        self.first
    }

    /// The last covered day.
    pub fn last(&self) -> CivilDate {
        self.last
    }

    /// Whether `day` is covered by this term (N-02).
    pub fn covers(&self, day: CivilDate) -> bool {
        self.first <= day && day <= self.last
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn date(text: &str) -> CivilDate {
        CivilDate::parse(text).expect("test date")
    }

    #[test]
    fn n03_terms_end_before_the_corresponding_date() {
        for (first, months, last) in [
            ("2018-09-01", 12, "2019-08-31"), // D01, S-03
            ("2020-02-29", 12, "2021-02-28"), // D11
            ("2019-01-31", 1, "2019-02-28"),  // D12
            ("2019-03-01", 12, "2020-02-29"), // D13
            ("2017-09-01", 12, "2018-08-31"), // D85
        ] {
            let term = Term::of_months(date(first), months).expect("term");
            assert_eq!(term.last(), date(last), "{first} + {months}");
        }
    }

    #[test]
    fn n04_terms_are_chained_each_from_its_own_start() {
        // D16: 48 months in one step would end on 2024-02-28.
        let terms = Term::chain(date("2020-02-29"), 12, 4).expect("terms");
        assert_eq!(terms.last().map(Term::last), Some(date("2024-02-29")));
    }

    #[test]
    fn bad_dates_are_refused() {
        for text in [
            "2019-02-29",
            "2019-1-01",
            "+2019-01-1",
            "20190101",
            "2019-01-01T",
            "２019-01-01",
        ] {
            assert_eq!(CivilDate::parse(text), Err(DateError::Format), "{text}");
        }
        for text in ["1969-12-31", "0000-01-01"] {
            assert_eq!(CivilDate::parse(text), Err(DateError::Range), "{text}");
        }
        assert_eq!(date("9999-12-31").next(), Err(DateError::Range));
        assert_eq!(
            Term::of_months(date("9999-06-01"), 12),
            Err(DateError::Range)
        );
        assert_eq!(
            Term::of_months(date("2019-06-01"), 0),
            Err(DateError::Order)
        );
    }
}
