//! Challenges of calls that changed nothing, so that each of them, too, is good for one request only.
//!
//! What changes nothing leaves no record, so its challenge can't be spent in the store. It is remembered here until it runs out. After a
//! restart it could come with another request once more: for an answer that changes nothing again, or through the transaction, which
//! spends it for good.

use std::collections::{BTreeMap, HashMap};
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};
use upkeep::id::{ActivationId, RequestId};

use crate::challenge::Fresh;

/// The challenges of the last two minutes, with the request that each was for.
#[derive(Default)]
pub(crate) struct Seen(Mutex<Uses>);

#[derive(Default)]
struct Uses {
    requests: BTreeMap<Place, RequestId>,
    /// The two minutes that are counted in, by number since 1970.
    window: i64,
    /// How many requests of a share of the activations were remembered in them.
    counts: HashMap<u16, u8>,
}

/// When a challenge runs out, in milliseconds since 1970, and half of its nonce: that much of a random number tells them apart.
type Place = (i64, u64);

/// Whose a challenge is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Use {
    /// This request's, now or before.
    Own,
    /// Another request came with it.
    Anothers,
    /// Nothing is known of it, and nothing can be remembered: there are too many, in all or of this activation.
    Unknown,
}

impl Seen {
    /// Remembers that a request came with a challenge, and says whether it was the first.
    ///
    /// * `activation` - whose device has signed it.
    pub(crate) fn note(
        &self,
        fresh: &Fresh,
        activation: ActivationId,
        request: RequestId,
        now: DateTime<Utc>,
    ) -> Use {
        // After a panic elsewhere no more than a count is wrong.
        let mut uses = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        uses.forget(now);
        let [a, b, c, d, e, f, g, h, ..] = fresh.nonce;
        let half = u64::from_be_bytes([a, b, c, d, e, f, g, h]);
        let place = (fresh.expires_at.timestamp_millis(), half);
        match uses.requests.get(&place) {
            Some(known) if *known == request => Use::Own,
            Some(_) => Use::Anothers,
            None if uses.requests.len() >= MOST => Use::Unknown,
            None => {
                let count = uses.counts.entry(share(activation)).or_default();
                if *count >= MOST_OF_ONE {
                    return Use::Unknown;
                }
                *count = count.saturating_add(1);
                uses.requests.insert(place, request);
                Use::Own
            }
        }
    }
}

impl Uses {
    /// Forgets of what has run out more than one call can add, and no more than one call can wait for.
    fn forget(&mut self, now: DateTime<Utc>) {
        let window = now.timestamp().div_euclid(WINDOW_SECS);
        if self.window != window {
            self.window = window;
            self.counts.clear();
        }
        for _ in 0..FORGOTTEN_AT_ONCE {
            match self.requests.first_entry() {
                Some(first) if first.key().0 <= now.timestamp_millis() => first.remove(),
                _ => break,
            };
        }
    }
}

/// Which activations are counted together: one in 65,536, by what is random in an identifier that the server made.
fn share(activation: ActivationId) -> u16 {
    let [.., a, b] = *activation.as_bytes();
    u16::from_be_bytes([a, b])
}

/// 17,000 calls a second for two minutes; about 110 MiB. More go through the store.
const MOST: usize = 1 << 21;

/// So many of one activation in two minutes, so that a device can't fill it for all; more go through the store.
const MOST_OF_ONE: u8 = 128;
const WINDOW_SECS: i64 = 120;
const FORGOTTEN_AT_ONCE: usize = 64;

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
        let note = |fresh, n, at| seen.note(fresh, activation(0), id(n), at);
        assert_eq!(note(&fresh, 1, now), Use::Own);
        assert_eq!(note(&fresh, 1, now), Use::Own);
        assert_eq!(note(&fresh, 2, now), Use::Anothers);
        let of_another = seen.note(&fresh, activation(1), id(2), now);
        assert_eq!(of_another, Use::Anothers);
        let other = Fresh {
            nonce: [2; 16],
            ..fresh
        };
        assert_eq!(note(&other, 2, now), Use::Own);
        assert_eq!(note(&fresh, 2, fresh.expires_at), Use::Own);
        let left = seen.0.lock().unwrap().requests.len();
        assert_eq!(left, 1, "what has run out is gone");
    }

    #[test]
    fn one_activation_does_not_fill_it_for_all() {
        let seen = Seen::default();
        let now = DateTime::UNIX_EPOCH;
        let request = RequestId::from_uuid(uuid::Uuid::nil());
        let fresh = |n: u8, made: DateTime<Utc>| Fresh {
            expires_at: made + TimeDelta::seconds(120),
            nonce: [n; 16],
        };
        let note = |n, of, at| seen.note(&fresh(n, at), activation(of), request, at);
        for n in 0..MOST_OF_ONE {
            assert_eq!(note(n, 1, now), Use::Own);
        }
        let more = MOST_OF_ONE;
        assert_eq!(note(more, 1, now), Use::Unknown);
        assert_eq!(note(0, 1, now), Use::Own, "what is known stays known");
        assert_eq!(note(more, 2, now), Use::Own);
        let later = now + TimeDelta::seconds(WINDOW_SECS);
        assert_eq!(note(more, 1, later), Use::Own);
    }

    fn activation(n: u128) -> ActivationId {
        ActivationId::from_uuid(uuid::Uuid::from_u128(n))
    }
}
