//! Puts [`Deps`] together from what the server has opened.

use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use upkeep::artefact::Issuer;
use upkeep::jwks::KeySet;
use upkeep::key::{PublicKey, Thumbprint};

use super::authenticate::Passwords;
use super::enroll::Pending;
use super::seen::Seen;
use super::{Deps, Fault};
use crate::attest::Endorsements;
use crate::audit::log::Log;
use crate::clock::Clock;
use crate::domain::guess::{Backoff, GuessLimiter, GuessLimits};
use crate::domain::programme::Programmes;
use crate::keys::Keys;
use crate::mail::Stationery;
use crate::personal::Personal;
use crate::random::{Random, bytes32};
use crate::secrets::{Codes, Pepper};
use crate::store::Store;

/// Which passwords a license may have (DESIGN 4).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PasswordRule {
    /// 12 characters and more, kept as a keyed digest.
    Strong,
    /// 4 characters and more; every check costs one argon2id.
    WeakAllowed,
}

/// What [`Deps`] is made of.
pub struct Parts {
    /// The open store.
    pub store: Store,
    /// Where customers' keys are kept: `keys/customers` of the data directory.
    pub personal_dir: PathBuf,
    /// The time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub random: Arc<dyn Random>,
    /// The vendors' rules.
    pub programmes: Programmes,
    /// What the letters of this server have in common.
    pub stationery: Stationery,
    /// How many wrong credentials are free.
    pub guess_limits: GuessLimits,
    /// Which passwords may be set.
    pub passwords: PasswordRule,
    /// What artefacts carry as `iss`.
    pub issuer: Issuer,
    /// Whose chips are believed; none by default.
    pub endorsements: Arc<Endorsements>,
    /// Signs checkpoints of the ledger.
    pub log: Arc<Log>,
}

impl Deps {
    /// Puts everything together.
    ///
    /// # Errors
    /// [`Fault::Key`] for a malformed signing key, [`Fault::Inconsistent`] when argon2id does not work here.
    pub fn new(keys: &Keys, parts: Parts) -> Result<Self, Fault> {
        let signer = keys.signer();
        let public = PublicKey::from_sec1(&signer.public_key_sec1())?;
        let kid: Thumbprint = public.thumbprint();
        let passwords = match parts.passwords {
            PasswordRule::Strong => Passwords::strong(),
            PasswordRule::WeakAllowed => Passwords::weak(&bytes32(&*parts.random))?,
        };
        Ok(Self {
            store: parts.store,
            signer,
            keys: KeySet::new([public]),
            clock: parts.clock,
            personal: Personal::new(parts.personal_dir, Arc::clone(&parts.random)),
            random: parts.random,
            codes: Codes::new(keys.code_key()),
            pepper: Pepper::new(keys.pepper()),
            programmes: parts.programmes,
            stationery: parts.stationery,
            guesses: Mutex::new(GuessLimiter::new(parts.guess_limits)),
            status_queries: Mutex::new(GuessLimiter::new(parts.guess_limits)),
            strangers: Mutex::new(GuessLimiter::new(parts.guess_limits)),
            enrollments: Mutex::new(GuessLimiter::new(enrollment_limits(&parts.guess_limits))),
            passwords,
            issuer: parts.issuer,
            kid,
            endorsements: parts.endorsements,
            enrolling: Pending::default(),
            log: parts.log,
            verified: Seen::default(),
        })
    }

    /// The store, for closing it and for looking at its head.
    pub fn store(&self) -> &Store {
        &self.store
    }
}

/// How often BeginEnrollment may be called: a site that sets up some hundred machines at once fits, and then one in ten seconds.
fn enrollment_limits(guesses: &GuessLimits) -> GuessLimits {
    GuessLimits {
        network: Backoff {
            free: guesses.network.free.saturating_mul(5),
            first: Duration::from_secs(1),
            longest: Duration::from_secs(10),
        },
        global_per_minute: guesses.global_per_minute.saturating_mul(6),
        forget_after: Duration::from_secs(60 * 60),
        ..*guesses
    }
}
