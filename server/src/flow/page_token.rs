//! Page tokens: the last key that a page gave, under a keyed digest, so that nobody pages where this server did not lead.

use subtle::ConstantTimeEq;

use super::Outcome;
use crate::domain::refusal::{Refusal, Violation};
use crate::record::keys::Range;
use crate::secrets::Pepper;

/// The token of the page behind `last`.
pub(crate) fn write(pepper: &Pepper, listing: &str, last: &[u8]) -> String {
    let mut token = pepper.page(listing, last).to_vec();
    token.truncate(TAG_LEN);
    token.extend_from_slice(last);
    data_encoding::BASE64URL_NOPAD.encode(&token)
}

/// The key in a token: one that this server made for this listing and that lies in its range. None for the first page.
///
/// # Errors
/// INVALID_FIELD.
pub(crate) fn read(
    pepper: &Pepper,
    listing: &str,
    range: &Range,
    token: &str,
) -> Result<Option<Vec<u8>>, Outcome> {
    if token.is_empty() {
        return Ok(None);
    }
    let token = data_encoding::BASE64URL_NOPAD
        .decode(token.as_bytes())
        .map_err(|_| foreign())?;
    let (tag, key) = token.split_at_checked(TAG_LEN).ok_or_else(foreign)?;
    let expected = pepper.page(listing, key);
    let genuine = expected
        .get(..TAG_LEN)
        .is_some_and(|expected| bool::from(expected.ct_eq(tag)));
    if !genuine || !range.contains(key) {
        return Err(foreign());
    }
    Ok(Some(key.to_vec()))
}

/// The refusal of a token that is not this listing's.
pub(crate) fn foreign() -> Outcome {
    let violation = Violation::new(
        "page_token",
        "is not one that this listing gave; leave it empty to start again",
    );
    Refusal::invalid(vec![violation]).into()
}

const TAG_LEN: usize = 16;
