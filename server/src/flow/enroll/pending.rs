//! Enrollments between their two calls: in memory, bounded, single use, gone after five minutes.
//!
//! Nothing is written for a device that has shown evidence but not yet the secret, so a flood of evidence fills no disk; after
//! a restart a client begins again. A challenge begins one enrollment: those used are remembered here as long as they are good.

use std::collections::{BTreeSet, HashMap};
use std::num::NonZero;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, TimeDelta, Utc};
use tokio::sync::Semaphore;
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

/// The pending enrollments of this process, and how many of them are verified at once.
pub(crate) struct Pending {
    inner: Mutex<Inner>,
    turns: Arc<Semaphore>,
}

#[derive(Default)]
struct Inner {
    sessions: HashMap<DeviceId, Session>,
    /// Used challenges, by the time until which they would be good.
    used: BTreeSet<(DateTime<Utc>, [u8; 16])>,
}

impl Default for Pending {
    fn default() -> Self {
        let cores = std::thread::available_parallelism().map_or(1, NonZero::get);
        Self {
            inner: Mutex::default(),
            turns: Arc::new(Semaphore::new(cores)),
        }
    }
}

impl Pending {
    /// The turns at the verifier: as many as there are cores.
    pub(crate) fn turns(&self) -> Arc<Semaphore> {
        Arc::clone(&self.turns)
    }

    /// Whether this challenge has begun an enrollment already: asked before the evidence is looked at, which costs a millisecond.
    pub(crate) fn is_used(&self, challenge: &Fresh) -> bool {
        self.lock().used.contains(&name(challenge))
    }

    /// Keeps a session under `id` and uses its challenge up. Of one TPM and network, and of one network, the oldest session makes
    /// room: who begins again and again has one way in, and holds up nobody elsewhere.
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
        let (ek_id, network) = (session.tpm.ek_id, session.network);
        inner.make_room(PER_TPM, |held| {
            held.tpm.ek_id == ek_id && held.network == network
        });
        inner.make_room(PER_NETWORK, |held| held.network == network);
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
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// Drops the oldest of the sessions that are `alike` when there are `most` of them.
    fn make_room(&mut self, most: usize, alike: impl Fn(&Session) -> bool) {
        let sessions = self.sessions.iter().filter(|(_, held)| alike(held));
        if sessions.clone().count() < most {
            return;
        }
        let oldest = sessions.min_by_key(|(id, held)| (held.expires_at, **id));
        if let Some(oldest) = oldest.map(|(id, _)| *id) {
            self.sessions.remove(&oldest);
        }
    }
}

fn name(challenge: &Fresh) -> (DateTime<Utc>, [u8; 16]) {
    (challenge.expires_at, challenge.nonce)
}

/// How long an enrollment may take: a slow chip needs some seconds.
pub(crate) const LIFETIME: TimeDelta = TimeDelta::minutes(5);
/// Sessions of one TPM from one network.
const PER_TPM: usize = 4;
/// Sessions of one network: a site that installs a few hundred machines at once fits.
const PER_NETWORK: usize = 512;
/// Sessions of all: about 32 KiB each at most.
const SESSIONS: usize = 2_048;
/// Used challenges that are still good: they live for two minutes, so this is more than the verifier can do.
const CHALLENGES: usize = 262_144;

#[cfg(test)]
mod tests {
    use std::net::{IpAddr, Ipv4Addr};

    use upkeep::artefact::{Counter, TpmName};
    use upkeep::id::ProductId;
    use upkeep::key::SigningKey;
    use upkeep::serial::SerialNumber;
    use uuid::Uuid;

    use super::*;
    use crate::domain::enrollment::{PivShown, Shown};
    use crate::domain::license::VirtualEnvironment;

    fn at(second: i64) -> DateTime<Utc> {
        DateTime::from_timestamp(second, 0).expect("in range")
    }

    fn id(number: u32) -> DeviceId {
        DeviceId::from_uuid(Uuid::from_u128(number.into()))
    }

    fn challenge(number: u32) -> Fresh {
        let mut nonce = [0; 16];
        nonce[..4].copy_from_slice(&number.to_be_bytes());
        Fresh {
            expires_at: at(120),
            nonce,
        }
    }

    /// A session of the TPM `ek` from the network 10.0.`net`.0.
    fn session(ek: u8, net: u8, until: i64) -> Session {
        let name = TpmName::from_bytes(&[&[0, 0x0b][..], &[2; 32]].concat()).expect("a name");
        Session {
            network: Network::of(IpAddr::V4(Ipv4Addr::new(10, 0, net, 1))),
            secret: Zeroizing::new([7; 32]),
            subject: Subject {
                serial: SerialNumber::parse("LS-1000").expect("serial"),
                product: ProductId::parse("label").expect("product"),
                vm: VirtualEnvironment::No,
                client_build: String::new(),
            },
            evidence: Evidence {
                device: id(0),
                challenge: Vec::new(),
                shown: Shown::Piv(PivShown {
                    slot_certificate: Vec::new(),
                    attestation_certificate: Vec::new(),
                    intermediate_certificates: Vec::new(),
                    signature: [0; 64],
                }),
            },
            level: AssuranceLevel::Hardware,
            key: SigningKey::from_seed(&[1; 32])
                .expect("a key")
                .public_key()
                .clone(),
            tpm: Tpm {
                ek_id: [ek; 32],
                ak_name: name,
                ak_public: Vec::new(),
                device_name: name,
                nv_public: Vec::new(),
                counter: Counter { name, value: 1 },
                firmware: 0,
                manufacturer: 0,
                era: 0,
                warnings: Vec::new(),
            },
            clock: ClockInfo {
                clock: 0,
                reset_count: 0,
                restart_count: 0,
                safe: true,
            },
            asked_at: at(0),
            expires_at: at(until),
        }
    }

    #[test]
    fn a_session_is_taken_once_and_in_time() {
        let pending = Pending::default();
        for number in [1, 2] {
            let kept = pending.keep(id(number), &challenge(number), session(1, 1, 300), at(0));
            assert_eq!(kept, Ok(()));
        }
        assert!(pending.take(&id(1), at(299)).is_some());
        assert!(pending.take(&id(1), at(299)).is_none());
        assert!(pending.take(&id(2), at(300)).is_none());
        assert!(pending.take(&id(3), at(0)).is_none());
    }

    #[test]
    fn a_challenge_is_used_as_long_as_it_is_good() {
        let pending = Pending::default();
        let begin = |number, now| pending.keep(id(number), &challenge(1), session(1, 1, 300), now);
        assert!(!pending.is_used(&challenge(1)));
        assert_eq!(begin(1, at(0)), Ok(()));
        assert!(pending.is_used(&challenge(1)));
        let again = begin(2, at(119)).map_err(|refusal| refusal.reason);
        assert_eq!(again, Err(Reason::ChallengeSpent));
        // A session that is over does not give its challenge back.
        assert!(pending.take(&id(1), at(1)).is_some());
        assert!(pending.is_used(&challenge(1)));
        let other = pending.keep(id(3), &challenge(2), session(1, 1, 300), at(120));
        assert_eq!(other, Ok(()));
        assert!(!pending.is_used(&challenge(1)));
    }

    #[test]
    fn the_oldest_of_one_tpm_and_network_makes_room_and_nobody_elses() {
        let pending = Pending::default();
        let keep = |number: u32, ek, net| {
            let until = 200 + i64::from(number);
            let session = session(ek, net, until);
            pending.keep(id(number), &challenge(number), session, at(0))
        };
        assert_eq!((keep(1, 9, 1), keep(2, 1, 9)), (Ok(()), Ok(())));
        for number in 3..=7 {
            assert_eq!(keep(number, 1, 1), Ok(()));
        }
        let here = |number| pending.take(&id(number), at(0)).is_some();
        assert!(!here(3), "the fifth took its place");
        assert!([1, 2, 4, 5, 6, 7].into_iter().all(here));
    }

    #[test]
    fn one_network_never_fills_the_memory() {
        let pending = Pending::default();
        let most = u32::try_from(SESSIONS).expect("small") + 10;
        for number in 0..most {
            let ek = u8::try_from(number % 251).expect("small");
            let kept = pending.keep(id(number), &challenge(number), session(ek, 1, 300), at(0));
            assert_eq!(kept, Ok(()));
        }
        let other = pending.keep(id(most), &challenge(most), session(1, 2, 300), at(0));
        assert_eq!(other, Ok(()));
        assert!(pending.lock().sessions.len() <= PER_NETWORK + 1);
    }
}
