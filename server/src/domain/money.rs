//! Money: whole minor units of an ISO 4217 currency, and percentages in basis points (N-08). No floats anywhere.
//!
//! Products are taken in 128 bits and rounded half up once for each priced line; sums are checked.

use std::fmt;

use crate::domain::refusal::{Reason, Refusal};

/// An ISO 4217 currency, such as EUR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Currency(iso_currency::Currency);

impl Currency {
    /// Reads the three capital letters of an ISO 4217 code.
    ///
    /// # Errors
    /// [`MoneyError::Currency`].
    pub fn parse(code: &str) -> Result<Self, MoneyError> {
        iso_currency::Currency::from_code(code)
            .map(Self)
            .ok_or(MoneyError::Currency)
    }

    /// The three letters.
    pub fn code(self) -> &'static str {
        self.0.code()
    }

    /// How many decimals its minor unit stands for: 2 for EUR, 0 for JPY.
    pub fn digits(self) -> u32 {
        self.0.exponent().map_or(0, u32::from)
    }
}

impl fmt::Display for Currency {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.code())
    }
}

/// An amount, never negative: 24700 EUR minor units are 247.00 EUR.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Money {
    minor: i64,
    currency: Currency,
}

impl Money {
    /// An amount in minor units.
    ///
    /// # Errors
    /// [`MoneyError::Negative`].
    pub fn new(minor: i64, currency: Currency) -> Result<Self, MoneyError> {
        if minor < 0 {
            return Err(MoneyError::Negative);
        }
        Ok(Self { minor, currency })
    }

    /// Reads an amount in major units: digits, and behind a point as many decimals as the currency has, or fewer.
    ///
    /// # Errors
    /// [`MoneyError::Format`], [`MoneyError::Negative`], [`MoneyError::Overflow`].
    pub fn parse_major(text: &str, currency: Currency) -> Result<Self, MoneyError> {
        if text.starts_with('-') {
            return Err(MoneyError::Negative);
        }
        let (whole, part) = text.split_once('.').unwrap_or((text, ""));
        let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
        let places = usize::try_from(currency.digits()).unwrap_or(0);
        let ends_in_point = part.is_empty() && text.contains('.');
        if whole.is_empty() || ends_in_point || !digits(whole) || !digits(part) {
            return Err(MoneyError::Format);
        }
        if part.len() > places {
            return Err(MoneyError::Format);
        }
        let minor = format!("{whole}{part:0<places$}");
        let minor = minor.parse().map_err(|_| MoneyError::Overflow)?;
        Self::new(minor, currency)
    }

    /// Reads an amount with its currency behind it, such as `399.00 USD`: what [`fmt::Display`] writes.
    ///
    /// # Errors
    /// [`MoneyError::Currency`], and those of [`Self::parse_major`].
    pub fn parse(text: &str) -> Result<Self, MoneyError> {
        let (number, code) = text.split_once(' ').ok_or(MoneyError::Currency)?;
        Self::parse_major(number, Currency::parse(code)?)
    }

    /// Nothing, in `currency`.
    pub fn zero(currency: Currency) -> Self {
        Self { minor: 0, currency }
    }

    /// The minor units.
    pub fn minor(self) -> i64 {
        self.minor
    }

    /// The currency.
    pub fn currency(self) -> Currency {
        self.currency
    }

    /// The sum.
    ///
    /// # Errors
    /// [`MoneyError::Mismatch`] for another currency, [`MoneyError::Overflow`].
    pub fn plus(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mismatch);
        }
        let minor = self
            .minor
            .checked_add(other.minor)
            .ok_or(MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// What is left after taking `other` away; nothing where that is more.
    ///
    /// # Errors
    /// [`MoneyError::Mismatch`].
    pub fn less(self, other: Self) -> Result<Self, MoneyError> {
        if self.currency != other.currency {
            return Err(MoneyError::Mismatch);
        }
        Ok(Self {
            minor: self.minor.saturating_sub(other.minor).max(0),
            ..self
        })
    }

    /// The amount `count` times.
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn times(self, count: u32) -> Result<Self, MoneyError> {
        self.share(count, 1)
    }

    /// The part `bp` of it, rounded half up (vectors D30 to D32).
    ///
    /// # Errors
    /// [`MoneyError::Overflow`].
    pub fn percent(self, bp: BasisPoints) -> Result<Self, MoneyError> {
        self.share(bp.0, 10_000)
    }

    /// The amount times `numerator` / `denominator`, rounded half up once (N-07, N-08).
    ///
    /// # Errors
    /// [`MoneyError::Overflow`], also for a denominator of zero.
    pub fn share(self, numerator: u32, denominator: u32) -> Result<Self, MoneyError> {
        let (by, of) = (i128::from(numerator), i128::from(denominator));
        let twice = i128::from(self.minor)
            .checked_mul(by)
            .and_then(|product| product.checked_mul(2))
            .and_then(|product| product.checked_add(of))
            .ok_or(MoneyError::Overflow)?;
        let rounded = of
            .checked_mul(2)
            .and_then(|divisor| twice.checked_div(divisor))
            .ok_or(MoneyError::Overflow)?;
        let minor = i64::try_from(rounded).map_err(|_| MoneyError::Overflow)?;
        Ok(Self { minor, ..self })
    }

    /// The sum of `amounts`, all in `currency`.
    ///
    /// # Errors
    /// [`MoneyError::Mismatch`], [`MoneyError::Overflow`].
    pub fn sum(
        currency: Currency,
        amounts: impl IntoIterator<Item = Self>,
    ) -> Result<Self, MoneyError> {
        amounts
            .into_iter()
            .try_fold(Self::zero(currency), Self::plus)
    }
}

/// In major units with the currency's decimals: `247.00 EUR`, `2346 JPY`.
impl fmt::Display for Money {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let digits = usize::try_from(self.currency.digits()).unwrap_or(0);
        let text = format!("{:0>width$}", self.minor, width = digits.saturating_add(1));
        let (major, minor) = text.split_at(text.len().saturating_sub(digits));
        if minor.is_empty() {
            write!(f, "{major} {}", self.currency)
        } else {
            write!(f, "{major}.{minor} {}", self.currency)
        }
    }
}

/// Hundredths of a percent: 5000 is 50 %.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct BasisPoints(u32);

impl BasisPoints {
    /// A share in hundredths of a percent.
    pub fn new(bp: u32) -> Self {
        Self(bp)
    }

    /// The number.
    pub fn get(self) -> u32 {
        self.0
    }
}

/// As people write it: `50 %`, `19.5 %`, `0.25 %`.
impl fmt::Display for BasisPoints {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let text = format!("{:0>3}", self.0);
        let (whole, hundredths) = text.split_at(text.len().saturating_sub(2));
        match hundredths.trim_end_matches('0') {
            "" => write!(f, "{whole} %"),
            part => write!(f, "{whole}.{part} %"),
        }
    }
}

/// Why an amount can't be made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// No ISO 4217 code.
    #[error("must be an ISO 4217 currency code such as EUR")]
    Currency,
    /// No amount in the currency's decimals.
    #[error("must be an amount such as 399.00, with no more decimals than the currency has")]
    Format,
    /// Below zero.
    #[error("must not be negative")]
    Negative,
    /// Two currencies in one sum.
    #[error("amounts of different currencies can't be added")]
    Mismatch,
    /// More than 64 bits hold.
    #[error("is larger than any amount that can be kept")]
    Overflow,
}

impl From<MoneyError> for Refusal {
    fn from(error: MoneyError) -> Self {
        let reason = match error {
            MoneyError::Currency | MoneyError::Mismatch => Reason::CurrencyMismatch,
            MoneyError::Format | MoneyError::Negative | MoneyError::Overflow => {
                Reason::AmountOutOfRange
            }
        };
        Self::new(reason).detail(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn money(minor: i64, code: &str) -> Money {
        Money::new(minor, Currency::parse(code).unwrap()).unwrap()
    }

    #[test]
    fn amounts_read_as_people_write_them() {
        assert_eq!(money(24_700, "EUR").to_string(), "247.00 EUR");
        assert_eq!(money(7, "EUR").to_string(), "0.07 EUR");
        assert_eq!(money(2_346, "JPY").to_string(), "2346 JPY");
        assert_eq!(money(1_234, "KWD").to_string(), "1.234 KWD");
        for text in ["247.00 EUR", "0.07 EUR", "2346 JPY", "1.234 KWD"] {
            assert_eq!(Money::parse(text).unwrap().to_string(), text);
        }
        for (text, error) in [
            ("399.00", MoneyError::Currency),
            ("399.00 usd", MoneyError::Currency),
            ("399.000 USD", MoneyError::Format),
            (" USD", MoneyError::Format),
            ("-1.00 USD", MoneyError::Negative),
        ] {
            assert_eq!(Money::parse(text), Err(error), "{text}");
        }
        for (bp, text) in [
            (5_000, "50 %"),
            (1_950, "19.5 %"),
            (25, "0.25 %"),
            (0, "0 %"),
        ] {
            assert_eq!(BasisPoints::new(bp).to_string(), text);
        }
    }

    #[test]
    fn major_units_read_back() {
        let read = |text: &str, code: &str| {
            Money::parse_major(text, Currency::parse(code).unwrap()).map(Money::minor)
        };
        assert_eq!(read("399.00", "USD"), Ok(39_900));
        assert_eq!(read("399", "USD"), Ok(39_900));
        assert_eq!(read("0.5", "USD"), Ok(50));
        assert_eq!(read("12345", "JPY"), Ok(12_345));
        assert_eq!(read("1.234", "KWD"), Ok(1_234));
        for (bad, code) in [
            ("", "USD"),
            (".5", "USD"),
            ("5.", "USD"),
            ("1,000", "USD"),
            ("1.005", "USD"),
            ("1.0", "JPY"),
            ("+1", "USD"),
            ("1e3", "USD"),
            (" 1", "USD"),
        ] {
            assert_eq!(read(bad, code), Err(MoneyError::Format), "{bad:?}");
        }
        assert_eq!(read("-1", "USD"), Err(MoneyError::Negative));
        let over = "92233720368547758.08";
        assert_eq!(read(over, "USD"), Err(MoneyError::Overflow));
    }

    #[test]
    fn n08_halves_go_up_once() {
        // D30: half-even would give 199.98.
        let half = money(39_997, "USD").percent(BasisPoints::new(5_000));
        assert_eq!(half, Ok(money(19_999, "USD")));
        assert_eq!(money(5, "USD").share(1, 0), Err(MoneyError::Overflow));
    }

    #[test]
    fn amounts_that_do_not_fit_are_refused() {
        let most = money(i64::MAX, "EUR");
        assert_eq!(most.plus(money(1, "EUR")), Err(MoneyError::Overflow));
        assert_eq!(most.times(u32::MAX), Err(MoneyError::Overflow));
        assert_eq!(most.plus(money(1, "USD")), Err(MoneyError::Mismatch));
        let euro = Currency::parse("EUR").unwrap();
        assert_eq!(Money::new(-1, euro), Err(MoneyError::Negative));
        for code in ["", "eur", "EURO", "XX"] {
            assert_eq!(Currency::parse(code), Err(MoneyError::Currency), "{code}");
        }
    }
}
