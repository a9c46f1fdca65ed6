//! Challenges of calls that changed nothing, so that each of them, too, is good for one request only.
//!
//! What changes nothing leaves no record, so its challenge can't be spent in the store. It is remembered here until it runs out. After a
//! restart it could come with another request once more: for an answer that changes nothing again, or through the transaction, which
//! spends it for good.

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use upkeep::id::RequestId;

use crate::challenge::Fresh;

/// The challenges of the last two minutes, with the request that each was for.
#[derive(Default)]
pub(crate) struct Seen(Mutex<BTreeMap<Place, RequestId>>);

/// When a challenge runs out, and its nonce.
type Place = (DateTime<Utc>, [u8; 16]);

/// Whose a challenge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// This request's, now or before.
    Own,
    /// Another request came with it.
    Anothers,
    /// Nothing is known of it, and nothing can be remembered: there are too many.
    Unknown,
}

impl Seen {
    /// Remembers that a request came with a challenge, and says whether it was the first.
    pub(crate) fn note(&self, fresh: &Fresh, request: RequestId, now: DateTime<Utc>) -> Use {
        // Whole entries only: after a panic elsewhere they are still good.
        let mut seen = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(first) = seen.first_entry()
            && first.key().0 <= now
        {
            first.remove();
        }
        let place = (fresh.expires_at, fresh.nonce);
        match seen.get(&place) {
            Some(known) if *known == request => Use::Own,
            Some(_) => Use::Anothers,
            None if seen.len() >= MOST => Use::Unknown,
            None => {
                seen.insert(place, request);
                Use::Own
            }
        }
    }
}

/// About 30 MiB; more go through the store.
const MOST: usize = 1 << 18;

#[cfg(test)]
mod tests {
    use chrono::TimeDelta;

    use super::*;

    #[test]
    fn a_challenge_is_one_requests_until_it_runs_out() {
        let seen = Seen::default();
        let now = DateTime::UNIX_EPOCH;
        let id = |n: u8| RequestId::from_uuid(uuid::Uuid::from_bytes([n; 16]));
        let fresh = Fresh {
            expires_at: now + TimeDelta::seconds(120),
            nonce: [1; 16],
        };
        assert_eq!(seen.note(&fresh, id(1), now), Use::Own);
        assert_eq!(seen.note(&fresh, id(1), now), Use::Own);
        assert_eq!(seen.note(&fresh, id(2), now), Use::Anothers);
        let other = Fresh {
            nonce: [2; 16],
            ..fresh
        };
        assert_eq!(seen.note(&other, id(2), now), Use::Own);
        assert_eq!(seen.note(&fresh, id(2), fresh.expires_at), Use::Own);
        assert_eq!(seen.0.lock().unwrap().len(), 1, "what has run out is gone");
    }
}
