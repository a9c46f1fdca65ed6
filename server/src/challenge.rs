//! Challenges: fresh, for one purpose, single use, and stateless until they are spent (SECURITY USR10).
//!
//! 42 bytes: version 1, purpose, expiry (milliseconds since 1970, u64), 16 random bytes, 16 bytes of a keyed digest over these.
//! Nothing is kept for a challenge that never comes back; a spent one stands in the store for as long as the answer that it was for.

use chrono::{DateTime, TimeDelta, Utc};
use subtle::ConstantTimeEq;

use crate::domain::refusal::Reason;
use crate::random::Random;
use crate::secrets::Pepper;

/// The call a challenge is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Purpose {
    Activate,
    Verify,
    BeginDeactivation,
    Redeem,
    Enroll,
}

/// A challenge whose digest, purpose and time are right. Whether it is spent is decided in the transaction that spends it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Fresh {
    pub(crate) expires_at: DateTime<Utc>,
    pub(crate) nonce: [u8; 16],
}

impl Fresh {
    /// When it was made: what answers it is not older.
    pub(crate) fn made_at(&self) -> DateTime<Utc> {
        self.expires_at
            .checked_sub_signed(LIFETIME)
            .unwrap_or(self.expires_at)
    }
}

/// Makes a challenge.
pub(crate) fn make(
    pepper: &Pepper,
    random: &dyn Random,
    purpose: Purpose,
    now: DateTime<Utc>,
) -> (Vec<u8>, DateTime<Utc>) {
    let mut nonce = [0; 16];
    random.fill(&mut nonce);
    let expires_at = now.checked_add_signed(LIFETIME).unwrap_or(now);
    let mut bytes = head(purpose, expires_at, &nonce);
    let tag = tag(pepper, &bytes);
    bytes.extend_from_slice(&tag);
    (bytes, expires_at)
}

/// Checks a challenge that came back.
///
/// # Errors
/// CHALLENGE_INVALID for anything this server did not make for this purpose, CHALLENGE_EXPIRED after 120 seconds, and before it was made.
pub(crate) fn check(
    pepper: &Pepper,
    purpose: Purpose,
    bytes: &[u8],
    now: DateTime<Utc>,
) -> Result<Fresh, Reason> {
    let (stated, shown) = bytes
        .split_at_checked(HEAD_LEN)
        .ok_or(Reason::ChallengeInvalid)?;
    if !bool::from(tag(pepper, stated).ct_eq(shown)) {
        return Err(Reason::ChallengeInvalid);
    }
    let (&[version, made_for], rest) = stated
        .split_first_chunk::<2>()
        .ok_or(Reason::ChallengeInvalid)?;
    let (millis, nonce) = rest
        .split_first_chunk::<8>()
        .ok_or(Reason::ChallengeInvalid)?;
    let nonce = nonce.try_into().map_err(|_| Reason::ChallengeInvalid)?;
    if version != VERSION || made_for != number(purpose) {
        return Err(Reason::ChallengeInvalid);
    }
    let expires_at = i64::try_from(u64::from_be_bytes(*millis))
        .ok()
        .and_then(DateTime::from_timestamp_millis)
        .ok_or(Reason::ChallengeInvalid)?;
    // One that would be good for longer was made before the clock was set back: it would pass for newer than what came after it.
    let latest = now.checked_add_signed(LIFETIME).unwrap_or(now);
    if now >= expires_at || expires_at > latest {
        return Err(Reason::ChallengeExpired);
    }
    Ok(Fresh { expires_at, nonce })
}

fn head(purpose: Purpose, expires_at: DateTime<Utc>, nonce: &[u8; 16]) -> Vec<u8> {
    let mut bytes = vec![VERSION, number(purpose)];
    bytes.extend_from_slice(
        &u64::try_from(expires_at.timestamp_millis())
            .unwrap_or(0)
            .to_be_bytes(),
    );
    bytes.extend_from_slice(nonce);
    bytes
}

fn tag(pepper: &Pepper, stated: &[u8]) -> [u8; 16] {
    let mut tag = [0; 16];
    for (to, from) in tag.iter_mut().zip(pepper.challenge(stated)) {
        *to = from;
    }
    tag
}

fn number(purpose: Purpose) -> u8 {
    match purpose {
        Purpose::Activate => 1,
        Purpose::Verify => 2,
        Purpose::BeginDeactivation => 3,
        Purpose::Redeem => 4,
        Purpose::Enroll => 5,
    }
}

const VERSION: u8 = 1;
const HEAD_LEN: usize = 26;
const LIFETIME: TimeDelta = TimeDelta::seconds(120);

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keys::SecretKey32;
    use crate::random::SeededRandom;

    #[test]
    fn a_challenge_is_good_for_its_purpose_and_time_and_no_other() {
        let pepper = Pepper::new(&SecretKey32::from_bytes([1; 32]));
        let now = DateTime::UNIX_EPOCH;
        let (bytes, expires_at) = make(&pepper, &SeededRandom::new(1), Purpose::Activate, now);
        assert!(check(&pepper, Purpose::Activate, &bytes, now).is_ok());
        assert_eq!(
            check(&pepper, Purpose::Verify, &bytes, now).err(),
            Some(Reason::ChallengeInvalid)
        );
        for wrong in [expires_at, now - TimeDelta::milliseconds(1)] {
            assert_eq!(
                check(&pepper, Purpose::Activate, &bytes, wrong).err(),
                Some(Reason::ChallengeExpired)
            );
        }
        for index in 0..bytes.len() {
            let mut changed = bytes.clone();
            changed[index] ^= 1;
            assert!(
                check(&pepper, Purpose::Activate, &changed, now).is_err(),
                "byte {index}"
            );
            assert!(
                check(&pepper, Purpose::Activate, &bytes[..index], now).is_err(),
                "length {index}"
            );
        }
    }
}
