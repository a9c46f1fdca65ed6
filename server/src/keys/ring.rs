//! The key ring: all issuing keys of a server, with the private halves of those that may sign.
//!
//! Which key signs when is decided in [`crate::domain::issuing`] and stands in the store; private keys stand where a [`Holder`] keeps
//! them. Nothing here is written but new private keys.

use std::fmt;
use std::fs;
use std::path::PathBuf;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use upkeep::artefact::KeyState;
use upkeep::jwks::KeySet;
use upkeep::jws::{JwsError, SigningInput};
use upkeep::key::{PublicKey, Thumbprint};

use super::KeysError;
use super::file::KeyFileError;
use crate::clock::Clock;
use crate::domain::issuing::IssuingKey;
use crate::random::{Random, uuid_v7};
use crate::signer::token::{TokenSettings, TokenSigner};
use crate::signer::{FileSigner, SignError, Signer};

/// Where private issuing keys are kept.
#[derive(Clone, Debug)]
pub enum Holder {
    /// Files in this directory; a place is a file's name.
    Files(PathBuf),
    /// A PKCS#11 token; a place is a key's label.
    Token(TokenSettings),
}

impl Holder {
    /// The place of the key that `init` made.
    pub fn first_place(&self) -> &str {
        match self {
            Self::Files(_) => super::SIGNING_KEY,
            Self::Token(settings) => &settings.key,
        }
    }

    /// Makes a new key; answers its place and the key.
    ///
    /// # Errors
    /// What the file system or the token refuse.
    pub fn make(
        &self,
        clock: &dyn Clock,
        random: &dyn Random,
    ) -> Result<(String, Arc<dyn Signer>), KeysError> {
        // A name of its own, so that nothing stands in the way of the next try.
        let id = uuid_v7(clock, random);
        match self {
            Self::Files(dir) => {
                let place = format!("signing.{id}.key");
                let signer = FileSigner::create(&dir.join(&place), random)?;
                Ok((place, Arc::new(signer)))
            }
            Self::Token(settings) => {
                let place = format!("{}.{id}", settings.key);
                let signer = TokenSigner::create(&labelled(settings, &place), random)?;
                Ok((place, Arc::new(signer)))
            }
        }
    }

    /// Opens the key at `place`.
    ///
    /// # Errors
    /// [`KeysError`] names what is missing or refused.
    pub fn open(&self, place: &str) -> Result<Arc<dyn Signer>, KeysError> {
        match self {
            Self::Files(dir) => {
                let path = dir.join(place);
                if place.contains('/') {
                    return Err(KeyFileError::malformed(&path, "its name is a path").into());
                }
                Ok(Arc::new(FileSigner::open(&path)?))
            }
            Self::Token(settings) => Ok(Arc::new(TokenSigner::open(&labelled(settings, place))?)),
        }
    }

    /// Lets go of a key that [`Self::make`] made and nothing names. In a token it stays, under a label that nothing uses.
    pub fn discard(&self, place: &str) {
        if let Self::Files(dir) = self
            && let Err(error) = fs::remove_file(dir.join(place))
        {
            tracing::warn!(%error, place, "a key that is not used could not be removed");
        }
    }
}

fn labelled(settings: &TokenSettings, label: &str) -> TokenSettings {
    TokenSettings {
        key: label.to_owned(),
        ..settings.clone()
    }
}

/// All issuing keys at one moment.
#[derive(Clone, Default)]
pub struct Ring(Vec<Held>);

#[derive(Clone)]
struct Held {
    issuing: IssuingKey,
    kid: Thumbprint,
    signer: Option<Arc<dyn Signer>>,
}

impl Ring {
    /// The ring of `keys`. Private keys are opened where they may sign at `now` or later.
    ///
    /// * `at_hand` - private keys that are open already.
    ///
    /// # Errors
    /// [`KeysError`] when the private half of such a key is missing, or is another key's.
    pub(crate) fn open(
        keys: Vec<IssuingKey>,
        holder: &Holder,
        at_hand: &[Arc<dyn Signer>],
        now: DateTime<Utc>,
    ) -> Result<Self, KeysError> {
        let open = |issuing: IssuingKey| {
            let kid = issuing.kid();
            let signer = match issuing.state(now) {
                KeyState::Next | KeyState::Signing => Some(match named(at_hand, &issuing.key) {
                    Some(signer) => signer,
                    None => {
                        let opened = holder.open(&issuing.place)?;
                        named(&[opened], &issuing.key).ok_or_else(|| KeysError::WrongKey {
                            place: issuing.place.clone(),
                            kid,
                        })?
                    }
                }),
                KeyState::Verifying | KeyState::Retired | KeyState::Revoked => None,
            };
            Ok(Held {
                issuing,
                kid,
                signer,
            })
        };
        keys.into_iter()
            .map(open)
            .collect::<Result<_, _>>()
            .map(Self)
    }

    /// The private keys that are open.
    pub(crate) fn signers(&self) -> Vec<Arc<dyn Signer>> {
        self.0
            .iter()
            .filter_map(|held| held.signer.clone())
            .collect()
    }

    /// The keys as they are on record.
    pub(crate) fn keys(&self) -> Vec<IssuingKey> {
        self.0.iter().map(|held| held.issuing.clone()).collect()
    }

    /// The same ring without what `keys` no longer lets sign: what a change takes away is taken away before it is written, and what it
    /// gives is given after.
    pub(crate) fn narrowed(&self, keys: &[IssuingKey]) -> Self {
        let narrow = |held: &Held| {
            let mut held = held.clone();
            if let Some(to) = keys.iter().find(|key| key.kid() == held.kid) {
                let mine = &mut held.issuing;
                mine.signs_until = earlier(mine.signs_until, to.signs_until);
                mine.verifies_until = earlier(mine.verifies_until, to.verifies_until);
                mine.revoked_at = earlier(mine.revoked_at, to.revoked_at);
            }
            held
        };
        Self(self.0.iter().map(narrow).collect())
    }

    /// The name of the key that signs at `now`.
    ///
    /// # Errors
    /// [`SignError`] when no key's window is open.
    pub(crate) fn kid(&self, now: DateTime<Utc>) -> Result<Thumbprint, SignError> {
        self.signing(now).map(|held| held.kid)
    }

    /// Signs a stored `header.payload` by the key whose window is open at `now`. Where it names another key, the header names the one
    /// that signs; the claims stay as they are stored (I5).
    ///
    /// # Errors
    /// [`SealError`].
    pub fn seal(&self, stored: &str, now: DateTime<Utc>) -> Result<String, SealError> {
        let input = SigningInput::parse(stored)?;
        let held = self.signing(now)?;
        let signer = held.signer.as_ref().ok_or(SignError::NO_KEY)?;
        let input = match input.kid() == held.kid {
            true => input,
            false => input.for_key(held.kid),
        };
        let signature = signer.sign(input.signing_bytes())?;
        Ok(input.seal(&signature))
    }

    /// The key of this name, while what it signed counts.
    pub fn verifying(&self, kid: &Thumbprint, now: DateTime<Utc>) -> Option<&PublicKey> {
        let held = self.0.iter().find(|held| held.kid == *kid)?;
        held.issuing
            .state(now)
            .verifies()
            .then_some(&held.issuing.key)
    }

    /// The key of this name, whatever became of it: for what was accepted while it counted.
    pub(crate) fn known(&self, kid: &Thumbprint) -> Option<&PublicKey> {
        let held = self.0.iter().find(|held| held.kid == *kid)?;
        Some(&held.issuing.key)
    }

    /// Any key, to do the work of a verification that can only fail.
    pub(crate) fn any(&self) -> Option<&PublicKey> {
        self.0.first().map(|held| &held.issuing.key)
    }

    /// The keys that are published: those that verify, and those that will.
    pub fn published(&self, now: DateTime<Utc>) -> KeySet {
        let good = self
            .0
            .iter()
            .filter(|held| held.issuing.state(now).verifies());
        KeySet::new(good.map(|held| held.issuing.key.clone()))
    }

    fn signing(&self, now: DateTime<Utc>) -> Result<&Held, SignError> {
        self.0
            .iter()
            .filter(|held| held.issuing.state(now) == KeyState::Signing)
            .max_by_key(|held| held.issuing.not_before)
            .ok_or(SignError::NO_KEY)
    }
}

impl fmt::Debug for Ring {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list()
            .entries(self.0.iter().map(|held| held.kid))
            .finish()
    }
}

/// Why a stored artefact was not signed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SealError {
    /// What is stored is no signing input.
    #[error(transparent)]
    Stored(#[from] JwsError),
    /// The key.
    #[error(transparent)]
    Key(#[from] SignError),
}

fn named(signers: &[Arc<dyn Signer>], key: &PublicKey) -> Option<Arc<dyn Signer>> {
    signers
        .iter()
        .find(|signer| signer.public_key_sec1() == *key.sec1_bytes())
        .cloned()
}

fn earlier(one: Option<DateTime<Utc>>, other: Option<DateTime<Utc>>) -> Option<DateTime<Utc>> {
    match (one, other) {
        (Some(one), Some(other)) => Some(one.min(other)),
        (one, other) => one.or(other),
    }
}

/// The keys of a server that has no record of any: the one that `init` made.
pub(crate) fn first(holder: &Holder, key: PublicKey) -> Vec<IssuingKey> {
    vec![IssuingKey::first(key, holder.first_place().to_owned())]
}
