//! What other systems call the things that were imported from them.

use std::fmt;

use upkeep::id::{CustomerId, IdError, PartnerId};

/// An id in the system that something was imported from: 1 to 128 characters, none of them a control character, no blank at either
/// end. Its case counts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ExternalId(String);

impl ExternalId {
    /// Reads an id, without the blanks around it.
    ///
    /// # Errors
    /// What the rule is.
    pub fn parse(text: &str) -> Result<Self, &'static str> {
        let text = text.trim();
        let length = text.chars().count();
        if (1..=MAX_LEN).contains(&length) && !text.chars().any(char::is_control) {
            Ok(Self(text.to_owned()))
        } else {
            Err("must have 1 to 128 characters, none of them a control character")
        }
    }

    /// The text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for ExternalId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// An id of ours that can follow from an external one.
pub(crate) trait Named: Clone + PartialEq + fmt::Display {
    /// Reads it.
    fn parse_name(text: &str) -> Result<Self, IdError>;
}

impl Named for CustomerId {
    fn parse_name(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

impl Named for PartnerId {
    fn parse_name(text: &str) -> Result<Self, IdError> {
        Self::parse(text)
    }
}

/// The id of ours that stands for an external one: the same text where that is a name, else what it has of a name with a digest of
/// the whole behind it. The same external id always gives the same.
///
/// * `digest` - of the external id.
pub(crate) fn name_of<T: Named>(id: &ExternalId, digest: &[u8; 32]) -> Result<T, IdError> {
    if let Ok(same) = T::parse_name(id.as_str()) {
        return Ok(same);
    }
    let kept = id.as_str().chars().map(|c| match c.to_ascii_lowercase() {
        c @ ('a'..='z' | '0'..='9' | '.' | '_' | '-') => c,
        _ => '-',
    });
    let kept: String = kept.take(KEPT).collect();
    let kept = kept.trim_matches(['-', '.', '_']);
    let digest = data_encoding::HEXLOWER.encode(digest.get(..8).unwrap_or_default());
    T::parse_name(&match kept {
        "" => digest,
        kept => format!("{kept}-{digest}"),
    })
}

const MAX_LEN: usize = 128;
/// Of a text that is no name; with 16 digits behind it it is one.
const KEPT: usize = 40;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_have_bounds() {
        for bad in ["", "  ", "a\0b", "a\nb", &"x".repeat(129)] {
            assert!(ExternalId::parse(bad).is_err(), "{bad:?}");
        }
        let id = ExternalId::parse(" Ä/17 ").unwrap();
        assert_eq!(id.as_str(), "Ä/17");
    }

    #[test]
    fn each_external_id_gives_one_name() {
        let name = |text: &str, digest: u8| {
            let id = ExternalId::parse(text).unwrap();
            name_of::<CustomerId>(&id, &[digest; 32])
                .unwrap()
                .to_string()
        };
        assert_eq!(name("acme", 1), "acme");
        assert_eq!(name("ACME", 1), "acme-0101010101010101");
        assert_eq!(name("ACME", 2), "acme-0202020202020202");
        assert_eq!(name("顧客", 1), "0101010101010101");
        assert_eq!(
            name(&"K 17".repeat(30), 1).len(),
            40 + 1 + 16,
            "it is a name"
        );
    }
}
