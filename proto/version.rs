//! Release versions, such as `10.2.1`.

use std::fmt;

use serde::{Deserialize, Serialize};

/// A release version: 1 to 4 decimal numbers of at most 9 digits, separated by dots. The first is the major (N-06, P-14).
///
/// Versions order number by number; a missing number counts as 0, but `10` and `10.0` stay different texts.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Version {
    text: String,
    numbers: [u32; 4],
}

impl Version {
    /// Parses the dotted text.
    ///
    /// # Errors
    /// [`VersionError`].
    pub fn parse(text: &str) -> Result<Self, VersionError> {
        let mut numbers = [0_u32; 4];
        let mut slots = numbers.iter_mut();
        for part in text.split('.') {
            let slot = slots.next().ok_or(VersionError)?;
            if part.is_empty() || part.len() > 9 || !part.bytes().all(|b| b.is_ascii_digit()) {
                return Err(VersionError);
            }
            *slot = part.parse().map_err(|_| VersionError)?;
        }
        Ok(Self {
            text: text.to_owned(),
            numbers,
        })
    }

    /// The text as it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The major version: what a paid upgrade changes (P-14).
    pub fn major(&self) -> u32 {
        self.numbers.first().copied().unwrap_or(0)
    }

    /// The numbers, for ordering.
    pub fn numbers(&self) -> [u32; 4] {
        self.numbers
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

impl TryFrom<String> for Version {
    type Error = VersionError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<Version> for String {
    fn from(version: Version) -> Self {
        version.text
    }
}

/// The text is no version.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a version is 1 to 4 numbers of at most 9 digits separated by dots, such as 10.2.1")]
pub struct VersionError;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_order_by_number() {
        let parsed = |text| Version::parse(text).map(|v| v.numbers());
        assert!(parsed("10.2").unwrap_or_default() > parsed("9.11.3").unwrap_or_default());
        for bad in ["", ".", "1.", "1.2.3.4.5", "v1", "1.-2", "1234567890", "١"] {
            assert_eq!(Version::parse(bad), Err(VersionError), "{bad:?}");
        }
    }
}
