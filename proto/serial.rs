//! Serial numbers: the one name a license keeps for life (DESIGN 4, T-24, T-25).

use std::fmt;

use serde::{Deserialize, Serialize};

/// A canonical license serial number: 4 to 64 characters of `[A-Z0-9-]`.
///
/// Parsing trims and upper-cases (ASCII), so every spelling of a serial counts as one (N-13, vector D101).
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SerialNumber(String);

impl SerialNumber {
    /// Parses what a user typed into the canonical form.
    ///
    /// # Errors
    /// [`SerialError`] names the rule that the text breaks; nothing of the text is repeated in it.
    pub fn parse(text: &str) -> Result<Self, SerialError> {
        let trimmed = text.trim();
        if trimmed.len() < MIN_LEN || trimmed.len() > MAX_LEN {
            return Err(SerialError::Length);
        }
        if !trimmed
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || b == b'-')
        {
            return Err(SerialError::Alphabet);
        }
        Ok(Self(trimmed.to_ascii_uppercase()))
    }

    /// The canonical text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for SerialNumber {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

impl TryFrom<String> for SerialNumber {
    type Error = SerialError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        Self::parse(&text)
    }
}

impl From<SerialNumber> for String {
    fn from(serial: SerialNumber) -> Self {
        serial.0
    }
}

/// Why a text is no serial number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SerialError {
    /// Shorter than 4 or longer than 64 characters.
    #[error("a serial number has 4 to 64 characters")]
    Length,
    /// A character outside `[A-Z0-9-]`.
    #[error("a serial number has only the letters A to Z, digits and '-'")]
    Alphabet,
}

const MIN_LEN: usize = 4;
const MAX_LEN: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_spelling_is_one_serial() {
        for text in ["nsp-0042", " NSP-0042\n", "Nsp-0042"] {
            assert_eq!(
                SerialNumber::parse(text).map(String::from),
                Ok("NSP-0042".to_owned())
            );
        }
    }

    #[test]
    fn bad_serials_are_refused_by_rule() {
        for (text, error) in [
            ("", SerialError::Length),
            ("ABC", SerialError::Length),
            (&*"A".repeat(65), SerialError::Length),
            ("NSP\u{0}0042", SerialError::Alphabet),
            ("NSP\u{202e}0042", SerialError::Alphabet),
            ("ＮＳＰ0042", SerialError::Alphabet),
            ("NSP 0042", SerialError::Alphabet),
        ] {
            assert_eq!(SerialNumber::parse(text), Err(error), "{text:?}");
        }
    }
}
