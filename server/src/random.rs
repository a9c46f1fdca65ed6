//! Randomness, behind a trait, so that a simulation can be run again from its seed.
//!
//! What comes out of here becomes keys, nonces and identifiers. Signature nonces do not: the cryptographic library
//! draws those itself.

use std::fmt;
use std::sync::{Mutex, PoisonError};

use sha2::{Digest, Sha256};
use uuid::Uuid;

use crate::clock::Clock;

/// Where the server takes unpredictable bytes from.
pub trait Random: Send + Sync {
    /// Fills all of `bytes`.
    fn fill(&self, bytes: &mut [u8]);
}

/// 32 fresh bytes: a key, a nonce or a salt.
pub fn bytes32(random: &dyn Random) -> [u8; 32] {
    let mut bytes = [0; 32];
    random.fill(&mut bytes);
    bytes
}

/// A fresh UUID of version 7: it sorts by the time of its making, to the millisecond.
///
/// Source: RFC 9562 section 5.7.
pub fn uuid_v7(clock: &dyn Clock, random: &dyn Random) -> Uuid {
    let mut tail = [0; 10];
    random.fill(&mut tail);
    let millis = u64::try_from(clock.now().timestamp_millis()).unwrap_or(0);
    uuid::Builder::from_unix_timestamp_millis(millis, &tail).into_uuid()
}

/// The generator of the cryptographic library (aws-lc), seeded by the operating system.
#[derive(Clone, Copy, Debug, Default)]
pub struct SystemRandom;

impl Random for SystemRandom {
    fn fill(&self, bytes: &mut [u8]) {
        if aws_lc_rs::rand::fill(bytes).is_err() {
            // A server that goes on with predictable keys is worse than no server.
            tracing::error!("the operating system gives no randomness; stopping at once");
            std::process::abort();
        }
    }
}

/// Bytes that follow from a seed: for tests and simulations, **never** for a server that holds real licenses.
///
/// The stream is SHA-256(seed, block number), so that the same seed gives the same run on every machine.
pub struct SeededRandom {
    seed: u64,
    blocks: Mutex<u64>,
}

impl SeededRandom {
    /// A generator whose bytes follow from `seed` and the order of calls.
    pub fn new(seed: u64) -> Self {
        Self {
            seed,
            blocks: Mutex::new(0),
        }
    }
}

impl Random for SeededRandom {
    fn fill(&self, bytes: &mut [u8]) {
        let mut block = self.blocks.lock().unwrap_or_else(PoisonError::into_inner);
        for part in bytes.chunks_mut(32) {
            let digest = Sha256::new()
                .chain_update(self.seed.to_be_bytes())
                .chain_update(block.to_be_bytes())
                .finalize();
            for (to, from) in part.iter_mut().zip(digest) {
                *to = from;
            }
            *block = block.wrapping_add(1);
        }
    }
}

impl fmt::Debug for SeededRandom {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SeededRandom")
            .field("seed", &self.seed)
            .finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use chrono::DateTime;

    use super::*;
    use crate::clock::ManualClock;

    #[test]
    fn a_seed_repeats_and_another_differs() {
        let draw = |seed| {
            let random = SeededRandom::new(seed);
            (bytes32(&random), bytes32(&random))
        };
        assert_eq!(draw(1), draw(1));
        assert_ne!(draw(1), draw(2));
        assert_ne!(draw(1).0, draw(1).1);
    }

    #[test]
    fn system_bytes_differ() {
        assert_ne!(bytes32(&SystemRandom), bytes32(&SystemRandom));
    }

    #[test]
    fn version_7_ids_sort_by_time() {
        let (clock, random) = (ManualClock::at(DateTime::UNIX_EPOCH), SeededRandom::new(1));
        let first = uuid_v7(&clock, &random);
        clock.advance(chrono::TimeDelta::milliseconds(1));
        let second = uuid_v7(&clock, &random);
        assert!(first < second);
        assert_eq!(first.get_version_num(), 7);
    }
}
