//! Which keys an installation verifies by: those that it pinned, and those that the vendor's root certified.
//!
//! Pure, as [`crate::check`]: no clock, no network, no file. A product pins issuing keys, or a root, or both. With a root it takes the
//! newest [`KeyList`] that reaches it, from a file or the network, and never goes back to an older one. What the newest list says of a
//! key counts, also for a key that was pinned. A key that a later list leaves out has ended: what it signed can be read, and counts no more.
//!
//! A key's window is held against `iat` at its end only. A stored artefact may be signed again by a later key with its claims
//! unchanged, so an `iat` from before a key's window is nothing wrong; one from after it is.

use crate::artefact::{
    ActivationCertificate, CertifiedKey, DeactivationReceipt, DeactivationTicket, Issuer, KeyList,
    KeyState, UnlockCode, UpgradeCode,
};
use crate::jwks::KeySet;
use crate::jws::{self, Claims, JwsError, Verified};
use crate::key::{PublicKey, Thumbprint, VerifyFn};

/// Claims of an artefact that an issuing key signs.
pub trait Issued: Claims {
    /// When it was issued, in seconds since 1970.
    fn issued_at(&self) -> u64;
}

macro_rules! issued {
    ($($claims:ty),+) => {
        $(impl Issued for $claims {
            fn issued_at(&self) -> u64 {
                self.iat
            }
        })+
    };
}

issued!(
    ActivationCertificate,
    DeactivationTicket,
    DeactivationReceipt,
    UpgradeCode,
    UnlockCode
);

/// The keys that count here.
#[derive(Debug, Default)]
pub struct TrustedKeys {
    pinned: KeySet,
    root: Option<PublicKey>,
    issuer: Option<Issuer>,
    list: Option<Held>,
    ended: Vec<CertifiedKey>,
}

#[derive(Debug)]
struct Held {
    text: String,
    list: KeyList,
}

impl TrustedKeys {
    /// Trusts these issuing keys, which were compiled in or fetched on a way that is trusted.
    pub fn pinned(keys: KeySet) -> Self {
        Self {
            pinned: keys,
            ..Self::default()
        }
    }

    /// Trusts every list that `root` certifies, beside what is pinned.
    #[must_use]
    pub fn with_root(self, root: PublicKey) -> Self {
        Self {
            root: Some(root),
            ..self
        }
    }

    /// Knows the keys of earlier lists that the newest one leaves out, as [`Self::ended`] gave them before; to be said before the list
    /// is learned again.
    #[must_use]
    pub fn with_ended(self, ended: Vec<CertifiedKey>) -> Self {
        Self { ended, ..self }
    }

    /// Says whose lists are taken while none is held; a list that is held says it itself.
    pub fn expect_issuer(&mut self, issuer: Issuer) {
        self.issuer = Some(issuer);
    }

    /// The root, where one is pinned.
    pub fn root(&self) -> Option<&PublicKey> {
        self.root.as_ref()
    }

    /// The newest list that was learned.
    pub fn list(&self) -> Option<&KeyList> {
        self.list.as_ref().map(|held| &held.list)
    }

    /// Its text, to be kept and given to [`Self::learn`] at the next start.
    pub fn list_text(&self) -> Option<&str> {
        self.list.as_ref().map(|held| held.text.as_str())
    }

    /// The keys of earlier lists that the newest one leaves out, to be kept beside it and given to [`Self::with_ended`].
    pub fn ended(&self) -> &[CertifiedKey] {
        &self.ended
    }

    /// Takes a certified list (bare JWS). Nothing changes unless it is good, of the same issuer and not older than what is held.
    ///
    /// Trust: `text` is untrusted; the root's signature is checked first.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn learn(&mut self, text: &str, verify: VerifyFn) -> Result<Learned, TrustError> {
        let Some(list) = self.newer(text, verify)? else {
            return Ok(Learned::Known);
        };
        if let Some(held) = self.list.take() {
            self.ended
                .extend(held.list.keys().iter().cloned().map(CertifiedKey::ended));
        }
        self.ended.retain(|key| list.get(&key.kid()).is_none());
        self.list = Some(Held {
            text: text.to_owned(),
            list,
        });
        Ok(Learned::New)
    }

    /// What [`Self::learn`] would say of a list, without taking it.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn judge(&self, text: &str, verify: VerifyFn) -> Result<Learned, TrustError> {
        Ok(match self.newer(text, verify)? {
            Some(_) => Learned::New,
            None => Learned::Known,
        })
    }

    /// The list, unless it is the one that is held.
    fn newer(&self, text: &str, verify: VerifyFn) -> Result<Option<KeyList>, TrustError> {
        let root = self.root.as_ref().ok_or(TrustError::NoRoot)?;
        let name = root.thumbprint();
        let find = |kid: &Thumbprint| (*kid == name).then(|| root.clone());
        let list = jws::verify::<KeyList>(text, find, verify)?.into_claims();
        let issuer = self.list().map(KeyList::issuer).or(self.issuer.as_ref());
        if let Some(issuer) = issuer.filter(|issuer| *issuer != list.issuer()) {
            return Err(TrustError::AnotherIssuer {
                known: issuer.clone(),
                offered: list.issuer().clone(),
            });
        }
        if let Some(held) = &self.list {
            let (held, offered) = (&held.list, &list);
            if offered.sequence() < held.sequence() {
                return Err(TrustError::Older {
                    held: held.sequence(),
                    offered: offered.sequence(),
                });
            }
            if offered.sequence() == held.sequence() {
                // A signature may differ, what it says may not.
                return if offered == held {
                    Ok(None)
                } else {
                    Err(TrustError::Another(held.sequence()))
                };
            }
        }
        Ok(Some(list))
    }

    /// Verifies an artefact by the keys that count now.
    ///
    /// Checks, in this order: signature by a known key, the claims, the key's state, its window as far as `iat` tells.
    ///
    /// # Errors
    /// [`TrustError`].
    pub fn verify<C: Issued>(
        &self,
        text: &str,
        verify: VerifyFn,
    ) -> Result<Verified<C>, TrustError> {
        let verified = self.verify_signature::<C>(text, verify)?;
        self.check_standing(&verified.kid(), verified.claims().issued_at())?;
        Ok(verified)
    }

    /// Verifies the signature by any key that is known here, whatever became of it: to read what is held after its key was revoked.
    ///
    /// # Errors
    /// [`JwsError`].
    pub fn verify_signature<C: Claims>(
        &self,
        text: &str,
        verify: VerifyFn,
    ) -> Result<Verified<C>, JwsError> {
        jws::verify::<C>(text, |kid| self.find(kid).cloned(), verify)
    }

    /// Whether what the key `kid` signed at `issued_at` (seconds since 1970) counts.
    ///
    /// # Errors
    /// [`TrustError::Ended`], [`TrustError::AfterWindow`]; [`TrustError::Artefact`] for an unknown key.
    pub fn check_standing(&self, kid: &Thumbprint, issued_at: u64) -> Result<(), TrustError> {
        let Some(listed) = self.certified(kid) else {
            return match self.pinned.get(kid) {
                Some(_) => Ok(()),
                None => Err(JwsError::UnknownKey.into()),
            };
        };
        if !listed.state().verifies() {
            return Err(TrustError::Ended {
                kid: *kid,
                state: listed.state(),
            });
        }
        if listed.signs_until().is_some_and(|end| issued_at >= end) {
            return Err(TrustError::AfterWindow { kid: *kid });
        }
        Ok(())
    }

    /// The keys whose signatures count now: those of the list first.
    pub fn keys(&self) -> KeySet {
        let listed = self.list().map(KeyList::keys).unwrap_or_default();
        let pinned = self.pinned.keys().filter(|key| {
            let name = key.thumbprint();
            listed
                .iter()
                .chain(&self.ended)
                .all(|one| one.kid() != name)
        });
        let good = listed.iter().filter(|key| key.state().verifies());
        KeySet::new(good.map(|key| key.key().clone()).chain(pinned.cloned()))
    }

    fn find(&self, kid: &Thumbprint) -> Option<&PublicKey> {
        self.certified(kid)
            .map(CertifiedKey::key)
            .or_else(|| self.pinned.get(kid))
    }

    /// The key as the newest list that had it says, ended where a later one leaves it out.
    fn certified(&self, kid: &Thumbprint) -> Option<&CertifiedKey> {
        let listed = self.list().and_then(|list| list.get(kid));
        listed.or_else(|| self.ended.iter().find(|key| key.kid() == *kid))
    }
}

/// What a list was to whoever held one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[allow(clippy::exhaustive_enums, reason = "a list is new or it is not")]
pub enum Learned {
    /// Newer than what was held.
    New,
    /// What was held already.
    Known,
}

/// Why a list or an artefact does not count here.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum TrustError {
    /// The text itself, or its signature.
    #[error(transparent)]
    Artefact(#[from] JwsError),
    /// No root is pinned, so no list can be believed.
    #[error("no root key is pinned here, so a key list says nothing")]
    NoRoot,
    /// A list from before the one that is held.
    #[error(
        "this key list has the number {offered}, and number {held} is known here: it is out of date"
    )]
    Older {
        /// The number of the list that is held.
        held: u64,
        /// The number of the list that was offered.
        offered: u64,
    },
    /// Another list of the same number: the root signed twice.
    #[error(
        "another key list of the same number {0} is known here: ask the vendor which of the two is right"
    )]
    Another(u64),
    /// A list of another issuer: the root signs for several.
    #[error(
        "this key list is of the issuer {offered}, and the licenses here are of {known}: get the list of {known}"
    )]
    AnotherIssuer {
        /// Whose lists are taken here.
        known: Issuer,
        /// Whose list was offered.
        offered: Issuer,
    },
    /// The key was retired or revoked, or the newest list leaves it out.
    #[error("the key {kid} that signed is {}: nothing that it signed counts any more", .state.as_str())]
    Ended {
        /// The key.
        kid: Thumbprint,
        /// Retired or revoked.
        state: KeyState,
    },
    /// The key had stopped signing by then.
    #[error("the key {kid} had stopped signing when this was issued")]
    AfterWindow {
        /// The key.
        kid: Thumbprint,
    },
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::expect_used,
        clippy::unwrap_used,
        reason = "a test fails by panicking"
    )]

    use super::*;
    use crate::artefact::{ArtefactId, CertifiedKey, Issuer};
    use crate::id::DongleNumber;
    use crate::jws::SigningInput;
    use crate::key::{self, SigningKey};

    fn signing(seed: u8) -> SigningKey {
        SigningKey::from_seed(&[seed; 32]).unwrap()
    }

    fn issuer() -> Issuer {
        Issuer::parse("https://vendor.example").unwrap()
    }

    fn listed(seed: u8, state: KeyState, window: (u64, Option<u64>)) -> CertifiedKey {
        let key = signing(seed).public_key().clone();
        CertifiedKey::new(key, state, window.0, window.1)
    }

    fn sealed(by: &SigningKey, claims: &impl Claims) -> String {
        let input = SigningInput::new(by.public_key().thumbprint(), claims).unwrap();
        input.seal(&by.sign(input.signing_bytes()))
    }

    fn list(root: u8, sequence: u64, keys: &[CertifiedKey]) -> String {
        let list = KeyList::new(issuer(), 1_000, sequence, keys.to_vec()).unwrap();
        sealed(&signing(root), &list)
    }

    fn code(seed: u8, iat: u64) -> String {
        let claims = UnlockCode {
            iss: issuer(),
            jti: ArtefactId::parse("one").unwrap(),
            iat,
            dongle_number: DongleNumber::parse("1001").unwrap(),
            counter: 1,
            maintenance_last_day: crate::date::CivilDate::parse("2026-12-31").unwrap(),
        };
        sealed(&signing(seed), &claims)
    }

    fn rooted() -> TrustedKeys {
        TrustedKeys::default().with_root(signing(9).public_key().clone())
    }

    fn verdict(keys: &TrustedKeys, text: &str) -> Result<(), TrustError> {
        keys.verify::<UnlockCode>(text, key::verify).map(drop)
    }

    #[test]
    fn a_root_brings_keys_that_nobody_had_when_the_product_was_built() {
        let mut keys = rooted();
        assert!(verdict(&keys, &code(1, 5)).is_err(), "nothing is known yet");
        let first = list(9, 1, &[listed(1, KeyState::Signing, (0, None))]);
        assert_eq!(keys.learn(&first, key::verify), Ok(Learned::New));
        assert_eq!(keys.learn(&first, key::verify), Ok(Learned::Known));
        verdict(&keys, &code(1, 5)).unwrap();
        let after_two = list(
            9,
            2,
            &[
                listed(1, KeyState::Verifying, (0, Some(10))),
                listed(2, KeyState::Verifying, (10, Some(20))),
                listed(3, KeyState::Signing, (20, None)),
            ],
        );
        assert_eq!(keys.learn(&after_two, key::verify), Ok(Learned::New));
        for (seed, iat) in [(1, 5), (2, 15), (3, 25), (3, 5)] {
            verdict(&keys, &code(seed, iat)).unwrap();
        }
        assert!(matches!(
            verdict(&keys, &code(1, 10)),
            Err(TrustError::AfterWindow { .. })
        ));
        assert_eq!(keys.keys().keys().count(), 3);
    }

    #[test]
    fn a_list_is_never_exchanged_for_an_older_or_another_one() {
        let mut keys = rooted();
        let second = list(9, 2, &[listed(1, KeyState::Revoked, (0, None))]);
        keys.learn(&second, key::verify).unwrap();
        let first = list(9, 1, &[listed(1, KeyState::Signing, (0, None))]);
        assert_eq!(
            keys.learn(&first, key::verify),
            Err(TrustError::Older {
                held: 2,
                offered: 1
            })
        );
        let other = list(9, 2, &[listed(1, KeyState::Signing, (0, None))]);
        assert_eq!(keys.learn(&other, key::verify), Err(TrustError::Another(2)));
        let foreign = list(8, 3, &[listed(1, KeyState::Signing, (0, None))]);
        assert_eq!(
            keys.learn(&foreign, key::verify),
            Err(JwsError::UnknownKey.into())
        );
        assert!(matches!(
            verdict(&keys, &code(1, 5)),
            Err(TrustError::Ended {
                state: KeyState::Revoked,
                ..
            })
        ));
    }

    #[test]
    fn what_a_list_says_of_a_pinned_key_counts() {
        let mut keys = TrustedKeys::pinned(KeySet::new([signing(1).public_key().clone()]));
        verdict(&keys, &code(1, 5)).unwrap();
        let revoked = list(
            9,
            1,
            &[
                listed(1, KeyState::Revoked, (0, None)),
                listed(2, KeyState::Signing, (0, None)),
            ],
        );
        assert_eq!(keys.learn(&revoked, key::verify), Err(TrustError::NoRoot));
        keys = keys.with_root(signing(9).public_key().clone());
        keys.learn(&revoked, key::verify).unwrap();
        assert!(verdict(&keys, &code(1, 5)).is_err());
        assert!(
            keys.verify_signature::<UnlockCode>(&code(1, 5), key::verify)
                .is_ok(),
            "it can still be read"
        );
        verdict(&keys, &code(2, 5)).unwrap();
        assert_eq!(keys.keys().keys().count(), 1);
    }

    #[test]
    fn a_key_that_a_later_list_leaves_out_has_ended_and_can_be_read() {
        let pinned = || {
            let pins = [1, 5].map(|seed| signing(seed).public_key().clone());
            TrustedKeys::pinned(KeySet::new(pins)).with_root(signing(9).public_key().clone())
        };
        let mut keys = pinned();
        let both = [
            listed(1, KeyState::Revoked, (0, None)),
            listed(2, KeyState::Signing, (0, None)),
        ];
        keys.learn(&list(9, 1, &both), key::verify).unwrap();
        let only = list(9, 2, &[listed(3, KeyState::Signing, (0, None))]);
        assert_eq!(keys.judge(&only, key::verify), Ok(Learned::New));
        verdict(&keys, &code(2, 5)).unwrap();
        keys.learn(&only, key::verify).unwrap();
        // As at the next start.
        let mut again = pinned().with_ended(keys.ended().to_vec());
        again.learn(keys.list_text().unwrap(), key::verify).unwrap();
        for keys in [&keys, &again] {
            for (seed, state) in [(1, KeyState::Revoked), (2, KeyState::Retired)] {
                let kid = signing(seed).public_key().thumbprint();
                let ended = Err(TrustError::Ended { kid, state });
                assert_eq!(verdict(keys, &code(seed, 5)), ended);
                let read = keys.verify_signature::<UnlockCode>(&code(seed, 5), key::verify);
                assert!(read.is_ok(), "{seed}");
            }
            verdict(keys, &code(3, 5)).unwrap();
            verdict(keys, &code(5, 5)).unwrap();
            assert_eq!(keys.keys().keys().count(), 2);
        }
        // A list that has the key again says what it is.
        let back = [
            listed(2, KeyState::Verifying, (0, Some(10))),
            listed(3, KeyState::Signing, (0, None)),
        ];
        again.learn(&list(9, 3, &back), key::verify).unwrap();
        verdict(&again, &code(2, 5)).unwrap();
        assert!(verdict(&again, &code(1, 5)).is_err());
    }

    #[test]
    fn a_list_of_another_issuer_is_refused() {
        let other = Issuer::parse("https://other.example").unwrap();
        let one = vec![listed(1, KeyState::Signing, (0, None))];
        let theirs = KeyList::new(other.clone(), 1_000, 2, one.clone()).unwrap();
        let theirs = sealed(&signing(9), &theirs);
        let refused = Err(TrustError::AnotherIssuer {
            known: issuer(),
            offered: other,
        });
        let mut keys = rooted();
        keys.expect_issuer(issuer());
        assert_eq!(keys.learn(&theirs, key::verify), refused);
        let mut keys = rooted();
        keys.learn(&list(9, 1, &one), key::verify).unwrap();
        assert_eq!(keys.learn(&theirs, key::verify), refused);
        assert_eq!(keys.list().unwrap().sequence(), 1);
    }

    #[test]
    fn an_issuing_key_cannot_write_lists() {
        let mut keys = rooted();
        let good = list(9, 1, &[listed(1, KeyState::Signing, (0, None))]);
        keys.learn(&good, key::verify).unwrap();
        let own = list(1, 2, &[listed(1, KeyState::Signing, (0, None))]);
        assert!(keys.learn(&own, key::verify).is_err());
        // Nor does the root sign licenses.
        assert!(verdict(&keys, &code(9, 5)).is_err());
    }

    #[test]
    fn a_malformed_list_is_refused() {
        let one = listed(1, KeyState::Signing, (0, None));
        assert!(KeyList::new(issuer(), 1, 0, vec![one.clone()]).is_err());
        assert!(KeyList::new(issuer(), 1, 1, vec![]).is_err());
        assert!(KeyList::new(issuer(), 1, 1, vec![one.clone(), one.clone()]).is_err());
        let many = (1..=25).map(|seed| listed(seed, KeyState::Next, (u64::MAX, None)));
        assert!(KeyList::new(issuer(), 1, 1, many.clone().collect()).is_err());
        // The longest list that is taken fits into an artefact.
        let longest = Issuer::parse(&"x".repeat(255)).unwrap();
        let most: Vec<_> = (1..=24)
            .map(|seed| listed(seed, KeyState::Verifying, (u64::MAX, Some(u64::MAX))))
            .collect();
        let list = KeyList::new(longest, u64::MAX, u64::MAX, most).unwrap();
        assert!(sealed(&signing(9), &list).len() <= jws::MAX_LEN);
    }
}
