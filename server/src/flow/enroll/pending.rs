//! Enrollments between their two calls: in memory, bounded, single use, gone after five minutes.
//!
//! Nothing is written for a device that has shown evidence but not yet the secret, so a flood of evidence fills no disk; after
//! a restart a client begins again. A challenge begins one enrollment: those used are remembered here as long as they are good.

use std::collections::{BTreeSet, HashMap};
use std::sync::{Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use upkeep::id::DeviceId;
use upkeep::key::PublicKey;
use upkeep::level::AssuranceLevel;
use upkeep::tpm::ClockInfo;
use zeroize::Zeroizing;

use crate::challenge::Fresh;
use crate::domain::enrollment::{Evidence, Subject, Tpm};
use crate::domain::guess::Network;
use crate::domain::refusal::{Reason, Refusal};

/// What waits for the secret of one credential.
pub(crate) struct Session {
    pub(crate) network: Network,
    pub(crate) secret: Zeroizing<[u8; 32]>,
    pub(crate) subject: Subject,
    pub(crate) evidence: Evidence,
    pub(crate) level: AssuranceLevel,
    pub(crate) key: PublicKey,
    pub(crate) tpm: Tpm,
    pub(crate) clock: ClockInfo,
    /// When its challenge was made: the evidence is not older.
    pub(crate) asked_at: DateTime<Utc>,
    pub(crate) expires_at: DateTime<Utc>,
}

/// The pending enrollments of this process.
#[derive(Default)]
pub(crate) struct Pending(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    sessions: HashMap<DeviceId, Session>,
    /// Used challenges, by the time until which they would be good.
    used: BTreeSet<(DateTime<Utc>, [u8; 16])>,
}

impl Pending {
    /// Whether this challenge has begun an enrollment already: asked before the evidence is looked at, which costs a millisecond.
    pub(crate) fn is_used(&self, challenge: &Fresh) -> bool {
        self.lock().used.contains(&name(challenge))
    }

    /// Keeps a session under `id` and uses its challenge up. Of one TPM and network the oldest session makes room: who begins
    /// again and again has one way in, and holds up nobody else.
    ///
    /// # Errors
    /// CHALLENGE_SPENT; TOO_MANY_TRIES when there are as many sessions as this process keeps.
    pub(crate) fn keep(
        &self,
        id: DeviceId,
        challenge: &Fresh,
        session: Session,
        now: DateTime<Utc>,
    ) -> Result<(), Refusal> {
        let mut inner = self.lock();
        inner.sessions.retain(|_, held| now < held.expires_at);
        while inner.used.first().is_some_and(|(end, _)| *end <= now) {
            inner.used.pop_first();
        }
        if inner.used.contains(&name(challenge)) {
            return Err(Reason::ChallengeSpent.into());
        }
        let own =
            |held: &Session| held.tpm.ek_id == session.tpm.ek_id && held.network == session.network;
        if inner.sessions.values().filter(|held| own(held)).count() >= PER_TPM {
            let mine = inner.sessions.iter().filter(|(_, held)| own(held));
            let oldest = mine.min_by_key(|(_, held)| held.expires_at);
            if let Some(oldest) = oldest.map(|(id, _)| *id) {
                inner.sessions.remove(&oldest);
            }
        }
        if inner.sessions.len() >= SESSIONS || inner.used.len() >= CHALLENGES {
            let soon = LIFETIME.to_std().unwrap_or_default();
            return Err(Refusal::new(Reason::TooManyTries).retry_after(soon));
        }
        inner.used.insert(name(challenge));
        inner.sessions.insert(id, session);
        Ok(())
    }

    /// Takes a session out: it works once, whatever comes of it.
    pub(crate) fn take(&self, id: &DeviceId, now: DateTime<Utc>) -> Option<Session> {
        let held = self.lock().sessions.remove(id)?;
        (now < held.expires_at).then_some(held)
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        // Each change is one insertion or removal: after a panic elsewhere the maps are still good.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn name(challenge: &Fresh) -> (DateTime<Utc>, [u8; 16]) {
    (challenge.expires_at, challenge.nonce)
}

/// How long an enrollment may take: a slow chip needs some seconds.
pub(crate) const LIFETIME: TimeDelta = TimeDelta::minutes(5);
/// Sessions of one TPM from one network.
const PER_TPM: usize = 4;
/// Sessions of all: about 32 KiB each at most.
const SESSIONS: usize = 2_048;
/// Used challenges that are still good: they live for two minutes, so this is more than the verifier can do.
const CHALLENGES: usize = 262_144;
